import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NextFunction, Request, Response } from 'express';
import { z } from 'zod';
import { can, type Permission } from '#libs/domain/index.js';
import { catalogue, categories, type RecordedEvent } from '#libs/events/catalogue/index.js';
import { LogUnavailable, type EventLog } from '#libs/events/log/index.js';
import { ProjectRow } from '#libs/read-models/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { seesProjectIn, type Access } from '../platform/access.js';
import type { Viewer } from '../platform/context.js';
import type { ReadStore } from '../platform/read-store.js';
import { toCloudEvent } from './cloud-event.js';
import { LogTail } from './tail.js';
import { projectOf, visibleTo, withPersonalFields } from './visibility.js';

export interface FeedOptions {
  /** Opens personal fields. */
  readonly log: EventLog;
  /** The same log without keys: personal fields read as redacted, so that nothing personal waits in memory. */
  readonly sealedLog: EventLog;
  readonly store: ReadStore;
  readonly access: Access;
  readonly secrets: Secrets;
  readonly publicUrl: () => string;
  readonly onError: (error: unknown) => void;
  /** A sign of life after this much silence, milliseconds. Default 15,000. */
  readonly heartbeatMs?: number;
  /** A client that takes nothing for this long is cut off, milliseconds; it resumes where it was. Default 60,000. */
  readonly stalledMs?: number;
}

const PAGE = 200;
const MOST_PER_PERSON = 50;
const RETRY_MS = 1000;

const list = (known: (name: string) => boolean, what: string) =>
  z
    .union([z.string(), z.array(z.string())])
    .transform((given) =>
      [given]
        .flat()
        .flatMap((text) => text.split(','))
        .filter(Boolean),
    )
    .refine((names) => names.every(known), `names what is no ${what}`);
const position = z
  .string()
  .regex(/^\d{1,19}$/, 'is not a position')
  .transform(BigInt);
const filters = {
  category: list((name) => categories.includes(name), 'category of the catalogue').optional(),
  type: list((name) => catalogue.has(name), 'event type of the catalogue').optional(),
  project: z.uuid('is not the id of a project').optional(),
  after: position.optional(),
};
const feedParameters = z.strictObject(filters);
const exportParameters = z.strictObject({ ...filters, until: position.optional() });
type Filters = Pick<z.output<typeof feedParameters>, 'category' | 'type' | 'project'>;

class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const wants =
  ({ category, type, project }: Filters, organisationId: string) =>
  (event: RecordedEvent): boolean =>
    event.metadata.organisationId === organisationId &&
    (type === undefined || type.includes(event.type)) &&
    (category === undefined || category.includes(catalogue.get(event.type)?.category ?? '')) &&
    (project === undefined || projectOf(event) === project.toLowerCase());

interface Caller {
  readonly viewer: Viewer;
  readonly sessionId: string;
}

/**
 * `GET /events` (Server-Sent Events) and `GET /events/export` (NDJSON): the log of the caller's organisation as CloudEvents,
 * upcast, each event only for who may see it at that moment. See docs/feeds.md.
 */
export class Feeds {
  readonly #options: FeedOptions;
  readonly #tail: LogTail;
  readonly #open = new Map<AbortController, Caller>();
  readonly #stopListening: () => void;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#tail = new LogTail(options.sealedLog, categories, options.onError);
    this.#stopListening = options.secrets.sessions.onTerminated(({ sessionId }) => {
      for (const [abort, caller] of this.#open) if (caller.sessionId === sessionId) abort.abort();
    });
  }

  async close(): Promise<void> {
    this.#stopListening();
    for (const abort of this.#open.keys()) abort.abort();
    await this.#tail.close();
  }

  readonly handler = async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    try {
      if (request.path !== '/' && request.path !== '/export') return next();
      if (request.method !== 'GET') {
        response.set('allow', 'GET');
        throw new Refused(405, 'METHOD_NOT_ALLOWED', 'Feeds can be read only.');
      }
      if (request.path === '/') await this.#feed(request, response);
      else await this.#export(request, response);
    } catch (error) {
      if (response.headersSent) {
        this.#options.onError(error);
        response.destroy();
      } else if (error instanceof Refused)
        response
          .status(error.status)
          .set('cache-control', 'no-store')
          .json({ code: error.code, message: error.message });
      else if (error instanceof LogUnavailable)
        response.status(503).json({ code: error.code, message: 'The event log cannot be reached right now.' });
      else next(error);
    }
  };

  /** @throws Refused */
  async #caller(request: Request, permission: Permission): Promise<Caller> {
    const { secrets, access } = this.#options;
    const token = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1];
    const session = token ? await secrets.sessions.authenticate(token) : undefined;
    const viewer = session && (await access.viewer(session.userId, session.organisationId));
    if (!viewer) throw new Refused(401, 'UNAUTHENTICATED', 'Sign in first.');
    if (!can(viewer.role, permission))
      throw new Refused(403, 'FORBIDDEN', `Your role does not include “${permission}”.`);
    return { viewer, sessionId: session.sessionId };
  }

  /** @throws Refused */
  async #parameters<T extends Filters>(shape: z.ZodType<T>, request: Request, { viewer }: Caller): Promise<T> {
    const parsed = shape.safeParse(request.query);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new Refused(400, 'INVALID_INPUT', `${issue!.path.join('.')} ${issue!.message}`.trim());
    }
    const { project } = parsed.data;
    if (project === undefined) return parsed.data;
    const read = this.#options.store.session();
    try {
      const row = await read.byId(ProjectRow, project);
      const seen =
        row && (await seesProjectIn(read, viewer, { projectId: row.id, organisationId: row.organisationId }));
      if (!seen) throw new Refused(404, 'NOT_FOUND', 'There is no such project.');
    } finally {
      await read.release();
    }
    return parsed.data;
  }

  /** @throws Refused when the log has not got that far */
  async #known(at: bigint): Promise<bigint> {
    if (at > (await this.#tail.start()) && at > (await this.#options.log.head()))
      throw new Refused(400, 'POSITION_UNKNOWN', `The log does not reach ${at}: the position is of another log.`);
    return at;
  }

  async #feed(request: Request, response: Response): Promise<void> {
    const caller = await this.#caller(request, 'feed.read');
    const filter = await this.#parameters(feedParameters, request, caller);
    const last = position.safeParse(request.headers['last-event-id']);
    if (request.headers['last-event-id'] && !last.success)
      throw new Refused(400, 'INVALID_INPUT', 'Last-Event-ID is not a position');
    const after = last.data ?? filter.after;
    let cursor = after === undefined ? await this.#tail.start() : await this.#known(after);
    const { userId } = caller.viewer;
    if ([...this.#open.values()].filter(({ viewer }) => viewer.userId === userId).length >= MOST_PER_PERSON)
      throw new Refused(429, 'TOO_MANY_FEEDS', `At most ${MOST_PER_PERSON} feeds at a time.`);

    const { heartbeatMs = 15_000, secrets } = this.#options;
    const abort = new AbortController();
    const { signal } = abort;
    this.#open.set(abort, caller);
    response.on('close', () => abort.abort());
    response.on('error', () => abort.abort());
    try {
      response.set({
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
      });
      // The place it starts from: who is cut off before the first event comes back to it.
      let told = cursor;
      await this.#write(response, `retry: ${RETRY_MS}\nid: ${cursor}\n\n`, signal);
      let silentSince = performance.now();
      let checkedAt = silentSince;
      while (!signal.aborted) {
        const page = await this.#tail.after(cursor, PAGE);
        const shown = await this.#shown(
          page.events.filter(wants(filter, caller.viewer.organisationId)),
          caller,
          signal,
        );
        if (!shown || signal.aborted) break;
        for (const event of shown) {
          const json = JSON.stringify(toCloudEvent(event, this.#options.publicUrl()));
          await this.#write(response, `id: ${event.position}\ndata: ${json}\n\n`, signal);
          if (signal.aborted) return;
          told = event.position;
          silentSince = performance.now();
        }
        cursor = page.position;
        if (page.events.length === 0) await this.#tail.more(cursor, heartbeatMs, signal);
        // An open feed is use of its session; one that ended must not go on.
        if (performance.now() - checkedAt >= heartbeatMs) {
          if (!(await secrets.sessions.touch(caller.sessionId))) break;
          checkedAt = performance.now();
        }
        if (performance.now() - silentSince < heartbeatMs) continue;
        // An id without data tells nobody of anything, and a client that comes back begins there.
        await this.#write(response, cursor === told ? ':\n\n' : `id: ${cursor}\n\n`, signal);
        told = cursor;
        silentSince = performance.now();
      }
    } finally {
      this.#open.delete(abort);
      response.end();
    }
  }

  async #export(request: Request, response: Response): Promise<void> {
    const caller = await this.#caller(request, 'feed.export');
    const filter = await this.#parameters(exportParameters, request, caller);
    const head = await this.#options.log.head();
    if (filter.until !== undefined) await this.#known(filter.until);
    if (filter.after !== undefined) await this.#known(filter.after);
    // What comes while it runs is left for the next one: an export ends.
    const until = filter.until ?? head;
    const abort = new AbortController();
    response.on('close', () => abort.abort());
    response.set({
      'content-type': 'application/x-ndjson; charset=utf-8',
      'content-disposition': 'attachment; filename="events.ndjson"',
      'cache-control': 'no-store',
      'x-picturelock-until': String(until),
    });
    response.flushHeaders();
    const send = async (events: readonly RecordedEvent[]): Promise<boolean> => {
      if (!(await this.#options.secrets.sessions.touch(caller.sessionId))) return false;
      const shown = await this.#shown(events, caller, abort.signal, 'feed.export');
      for (const event of shown ?? [])
        await this.#write(
          response,
          `${JSON.stringify(toCloudEvent(event, this.#options.publicUrl()))}\n`,
          abort.signal,
        );
      return shown !== null && !abort.signal.aborted;
    };
    const wanted = wants(filter, caller.viewer.organisationId);
    let batch: RecordedEvent[] = [];
    const read = this.#options.sealedLog.readAll({
      after: filter.after ?? null,
      categories: filter.category ?? categories,
    });
    for await (const event of read) {
      if (event.position > until || abort.signal.aborted) break;
      if (wanted(event)) batch.push(event);
      if (batch.length < PAGE) continue;
      // Nothing but a broken connection tells a client that what it has is not all.
      if (!(await send(batch))) return void response.destroy();
      batch = [];
    }
    if (batch.length > 0 && !(await send(batch))) return void response.destroy();
    response.end();
  }

  /** Of the events those that may be seen, as they may be seen; null when the caller may see nothing any more. */
  async #shown(
    events: readonly RecordedEvent[],
    { viewer }: Caller,
    signal: AbortSignal,
    permission: Permission = 'feed.read',
  ): Promise<readonly RecordedEvent[] | null> {
    if (events.length === 0) return [];
    const { store, log, onError } = this.#options;
    while (!signal.aborted) {
      try {
        const seen = await visibleTo(viewer, events, store, permission);
        if (!seen) return null;
        const asSeen = { userId: viewer.userId, role: seen.role };
        return await Promise.all(seen.events.map((event) => withPersonalFields(event, asSeen, (e) => opened(log, e))));
      } catch (error) {
        // Permissions as new as the events are not known yet, or a database is away: nothing is shown meanwhile.
        onError(error);
        await sleep(RETRY_MS, undefined, { signal }).catch(() => undefined);
      }
    }
    return null;
  }

  async #write(response: Response, text: string, signal: AbortSignal): Promise<void> {
    if (response.destroyed || response.write(text)) return;
    const { stalledMs = 60_000 } = this.#options;
    const settled = new AbortController();
    const either = AbortSignal.any([signal, settled.signal]);
    const stalled = await Promise.race([
      once(response, 'drain', { signal: either }).then(
        () => false,
        () => false,
      ),
      sleep(stalledMs, true, { signal: either }).catch(() => false),
    ]);
    settled.abort();
    if (stalled) response.destroy();
  }
}

async function opened(log: EventLog, { stream, revision }: RecordedEvent): Promise<RecordedEvent | undefined> {
  for await (const event of log.readStream(stream, { from: BigInt(revision), limit: 1 })) return event;
  return undefined;
}
