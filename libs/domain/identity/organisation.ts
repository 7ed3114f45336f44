/** A studio: the owner of everything else. Stream `organisation-<organisationId>`. */
import { OrganisationCreated, type Decider, type OrganisationEvent } from '#libs/events/catalogue/index.js';
import { alreadyThere, notFound, type CommandsOf } from '../kit.js';

export const commands = {
  /** The envelope's organisation is the one being created. */
  CreateOrganisation: OrganisationCreated.schema,
};
export type OrganisationCommand = CommandsOf<typeof commands>;

export type OrganisationState = { readonly organisationId: string; readonly name: string } | null;

export const organisationDecider: Decider<OrganisationState, OrganisationCommand, OrganisationEvent> = {
  category: 'organisation',
  initialState: null,
  decide({ data, meta }, state) {
    if (state) return alreadyThere('organisation', state, meta);
    if (data.organisationId !== meta.organisationId) return notFound('organisation');
    return [{ type: 'OrganisationCreated', data }];
  },
  evolve(state, event) {
    switch (event.type) {
      case 'OrganisationCreated':
        return { organisationId: event.data.organisationId, name: event.data.name };
      default:
        return state;
    }
  },
};
