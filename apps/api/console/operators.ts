import { OrganisationRow } from '#libs/read-models/index.js';
import { can } from '#libs/domain/index.js';
import { GraphQLError } from 'graphql';
import { forbidden, unauthenticated, type RequestContext, type Viewer } from '../platform/context.js';
import type { ReadStore } from '../platform/read-store.js';

/**
 * Who may run the installation: whoever holds the operator's token, and administrators of the organisation that was
 * founded first. Other organisations on the machine are guests: projections and queues are not theirs alone.
 */
export class Operators {
  #first: string | undefined;

  constructor(private readonly store: Pick<ReadStore, 'manager'>) {}

  /** @throws UNAUTHENTICATED, FORBIDDEN */
  async require(context: Pick<RequestContext, 'operator' | 'viewer'>): Promise<void> {
    if (context.operator) return;
    if (!context.viewer) throw unauthenticated();
    if (!(await this.#runs(context.viewer)))
      throw new GraphQLError(forbidden('projection.manage').message, {
        extensions: { code: 'FORBIDDEN', permission: 'projection.manage' },
      });
  }

  async #runs(viewer: Viewer): Promise<boolean> {
    if (!can(viewer.role, 'projection.manage')) return false;
    this.#first ??= (
      await this.store.manager
        .getRepository(OrganisationRow)
        .findOne({ where: {}, order: { createdAt: 'ASC', id: 'ASC' } })
    )?.id;
    return viewer.organisationId === this.#first;
  }
}
