import { GraphQLError, type DocumentNode, type OperationDefinitionNode, Kind } from 'graphql';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { can } from '#libs/domain/index.js';
import { refuse } from '#libs/events/catalogue/index.js';
import type { EventLog } from '#libs/events/log/index.js';
import { createPool, type Pool } from '#libs/postgres/index.js';
import {
  AS_OF_MODELS,
  asOfCopy,
  AsOfBuilds,
  audit,
  AuditRow,
  ProjectAccessRow,
  READ_MODELS,
  tableOf,
  type AsOfBuild,
  type AsOfLimits,
} from '#libs/read-models/index.js';
import { forbidden, unauthenticated, type Viewer } from '../platform/context.js';
import { ReadSession, type ReadStore } from '../platform/read-store.js';
import { refusalError } from '../platform/refusals.js';
import { momentOf } from './as-of.js';

/** Queries that are answered from what is built; any other would mix then and now without saying so. */
const ANSWERED = new Set([
  'comparison',
  'deliverable',
  'myWork',
  'node',
  'organisation',
  'pipelineTemplates',
  'project',
  'projects',
  'stage',
  'users',
  'version',
  'versionStack',
  'viewer',
]);
const RETRY_SECONDS = 1;

/** `X-As-Of` of a request: a position, or a time with its zone. @throws INVALID_AS_OF */
export function parseAsOf(header: string): { position: string } | { time: Date } {
  if (/^\d{1,20}$/.test(header)) return { position: header };
  const time = z.iso.datetime({ offset: true }).safeParse(header);
  if (time.success) return { time: new Date(time.data) };
  throw refusalError(refuse('INVALID_AS_OF', 'X-As-Of is a log position or an ISO 8601 time with its zone.'));
}

/** @throws AS_OF_QUERIES_ONLY, AS_OF_NOT_AVAILABLE */
export function checkAsOf(operation: OperationDefinitionNode, document: DocumentNode): void {
  if (operation.operation !== 'query')
    throw refusalError(refuse('AS_OF_QUERIES_ONLY', 'The past can be read, not changed or followed.'));
  const visit = (selections: OperationDefinitionNode['selectionSet']['selections']): void => {
    for (const selection of selections) {
      if (selection.kind === Kind.FIELD) {
        const { value } = selection.name;
        if (!ANSWERED.has(value) && !value.startsWith('__'))
          throw refusalError(
            refuse('AS_OF_NOT_AVAILABLE', `“${value}” can’t be had as of a moment.`, { details: { field: value } }),
          );
      } else if (selection.kind === Kind.INLINE_FRAGMENT) visit(selection.selectionSet.selections);
      else {
        const fragment = document.definitions.find(
          (d) => d.kind === Kind.FRAGMENT_DEFINITION && d.name.value === selection.name.value,
        );
        if (fragment && 'selectionSet' in fragment) visit(fragment.selectionSet.selections);
      }
    }
  };
  visit(operation.selectionSet.selections);
}

interface Opened {
  readonly source: DataSource;
  expiresAt: number;
}

/**
 * Reads as of a moment: the same queries over throw-away read models of one organisation, made by the projector when
 * first asked for. What they show is of then; people, and who may see what, are of today.
 */
export class AsOfReads {
  readonly #pool: Pool;
  readonly builds: AsOfBuilds;
  readonly #opened = new Map<string, Promise<Opened>>();

  constructor(
    private readonly options: {
      readonly url: string;
      readonly store: ReadStore;
      readonly log: EventLog;
      readonly limits: AsOfLimits;
      readonly onError: (error: Error) => void;
    },
  ) {
    this.#pool = createPool(options.url, { max: 2, applicationName: 'picturelock as-of', onError: options.onError });
    this.builds = new AsOfBuilds(this.#pool);
  }

  /**
   * @throws UNAUTHENTICATED, FORBIDDEN, INVALID_AS_OF, AS_OF_IN_FUTURE, AS_OF_UNKNOWN_POSITION, AS_OF_QUOTA,
   * BUILDING (come again), AS_OF_FAILED
   */
  async session(header: string, viewer: Viewer | null): Promise<ReadSession> {
    if (!viewer) throw unauthenticated();
    if (!can(viewer.role, 'history.rebuild')) throw refusalError(forbidden('history.rebuild'));
    const build = await this.request(header, viewer.organisationId);
    if (build.state === 'FAILED')
      throw refusalError(refuse('AS_OF_FAILED', 'The read models of that moment could not be made.'));
    if (build.state !== 'READY')
      throw new GraphQLError('The read models of that moment are being made; ask again.', {
        extensions: {
          code: 'BUILDING',
          retryAfterSeconds: RETRY_SECONDS,
          http: { status: 503, headers: new Map([['retry-after', String(RETRY_SECONDS)]]) },
        },
      });
    return new ReadSession(this.options.store, (await this.#open(build)).source);
  }

  /**
   * The moment's read models, asked for when there are none.
   * @throws INVALID_AS_OF, AS_OF_IN_FUTURE, AS_OF_UNKNOWN_POSITION, AS_OF_QUOTA
   */
  async request(moment: string, organisationId: string): Promise<AsOfBuild> {
    const position = await this.#positionOf(moment, organisationId);
    const { limits } = this.options;
    const build = await this.builds.request(organisationId, position, limits);
    if (build === 'TOO_MANY')
      throw refusalError(
        refuse('AS_OF_QUOTA', `An organisation has at most ${limits.builds} moments built at a time; let one expire.`),
      );
    if (build === 'NO_ROOM')
      throw refusalError(refuse('AS_OF_QUOTA', 'Moments that are built take all the room there is for them.'));
    return build;
  }

  async close(): Promise<void> {
    for (const opened of this.#opened.values())
      await opened.then(({ source }) => source.destroy()).catch(() => undefined);
    await this.#pool.end();
  }

  /** Of the organisation's last event that is part of the moment, or later. */
  async #positionOf(header: string, organisationId: string): Promise<bigint> {
    const { log } = this.options;
    const asOf = parseAsOf(header);
    await momentOf(asOf, log);
    if ('position' in asOf) return BigInt(asOf.position);
    const head = await log.head();
    await this.options.store.waitFor(head, [audit.name]);
    const { rows } = await this.#pool.query<{ next: string | null }>(
      `SELECT min(position)::text AS next FROM ${audit.schema}.${tableOf(AuditRow).name}
       WHERE organisation_id = $1 AND recorded_at > $2 AND code IS NULL`,
      [organisationId, asOf.time],
    );
    return rows[0]!.next === null ? head : BigInt(rows[0]!.next) - 1n;
  }

  async #open(build: AsOfBuild): Promise<Opened> {
    await this.#closeExpired();
    let opened = this.#opened.get(build.id);
    if (!opened) {
      opened = this.#connect(build);
      this.#opened.set(build.id, opened);
      opened.catch(() => this.#opened.delete(build.id));
    }
    const { source } = await opened;
    (await opened).expiresAt = build.expiresAt.getTime();
    return { source, expiresAt: build.expiresAt.getTime() };
  }

  async #connect(build: AsOfBuild): Promise<Opened> {
    const source = new DataSource({
      type: 'postgres',
      url: this.options.url,
      entities: READ_MODELS.flatMap(({ entities }) => [...entities]),
      applicationName: 'picturelock api as-of',
      poolSize: 2,
      extra: { statement_timeout: 15_000, idle_in_transaction_session_timeout: 30_000, idleTimeoutMillis: 10_000 },
      poolErrorHandler: this.options.onError,
    });
    await source.initialize();
    for (const model of AS_OF_MODELS)
      for (const entity of model.entities) {
        // Who may see what is asked of today.
        if (entity === ProjectAccessRow) continue;
        const metadata = source.getMetadata(entity);
        metadata.schema = asOfCopy(model, build).schema;
        metadata.tablePath = `${metadata.schema}.${metadata.tableName}`;
      }
    return { source, expiresAt: build.expiresAt.getTime() };
  }

  async #closeExpired(): Promise<void> {
    for (const [id, opening] of this.#opened) {
      const opened = await opening.catch(() => undefined);
      if (!opened || opened.expiresAt > Date.now()) continue;
      this.#opened.delete(id);
      await opened.source.destroy();
    }
  }
}
