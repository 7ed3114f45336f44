import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { EventBatch } from '#libs/events/log/types.js';
import { ensureDatabase, type Pool } from '#libs/postgres/index.js';
import { completeReadModel, ensureReadModel, readCheckpoint, ReadModelChanged } from '#libs/read-models/index.js';
import { Bulk } from './bulk.js';
import { CheckpointMoved, EventFailed, isDropped, isTransient } from './errors.js';
import { applyEvents, categoryOf, type Projection } from './projection.js';
import { Session } from './session.js';

export interface ProjectorLogger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

/** `waiting` for the database or for another runner to end; `failed` needs a person. */
export type ProjectionState = 'waiting' | 'leading' | 'failed' | 'stopped';

export interface WorkerContext {
  readonly url: string;
  readonly pool: Pool;
  readonly signal: AbortSignal;
  readonly logger: ProjectorLogger | undefined;
  /** Commit position of the log's last event. */
  head(): Promise<bigint>;
  /** The worker leads and knows its position: give it batches. */
  admit(worker: Worker): void;
  /** No more batches, please. */
  dismiss(worker: Worker): void;
  /** Position or state have changed. */
  changed(worker: Worker): void;
}

const LOCK_POLL_MS = 200;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2_000;
const ATTEMPTS = 3;

type End = { readonly failure?: Error };

/** Keeps one projection going: becomes its only runner, writes the batches it is given, starts over when Postgres goes away. */
export class Worker {
  state: ProjectionState = 'waiting';
  failure: Error | undefined;
  /** Everything up to here is in the rows; null before the first event or when not yet known. */
  position: bigint | null = null;
  /** Creation time of the last event written. */
  lastEventAt: Date | undefined;
  /** Events read that concern it, and batches committed, since the start of the process. */
  events = 0;
  batches = 0;

  /** Connecting or making tables; soon it leads, or is known to wait. */
  preparing = true;

  readonly #categories: ReadonlySet<string>;
  #session: Session | undefined;
  #end: ((end: End) => void) | undefined;
  /** The tables are new: foreign keys and indexes follow when the log's end is reached. */
  #filling = false;
  #droppedAt: bigint | null | undefined;

  constructor(
    readonly projection: Projection,
    private readonly context: WorkerContext,
  ) {
    this.#categories = new Set(projection.model.categories);
  }

  get name(): string {
    return this.projection.model.name;
  }

  /** Resolves when stopped or failed; never rejects. */
  async run(): Promise<void> {
    const { signal, logger } = this.context;
    let backoff = FIRST_BACKOFF_MS;
    while (!signal.aborted) {
      let session: Session | undefined;
      try {
        this.preparing = true;
        session = await this.#lead();
        if (!session) break;
        this.position = await readCheckpoint(this.context.pool, this.projection.model);
        const leading = session;
        const ended = new Promise<End>((resolve) => {
          this.#end = resolve;
          leading.onLost = () => resolve({});
          signal.addEventListener('abort', () => resolve({}), { once: true });
        });
        this.#session = session;
        this.#become('leading');
        logger?.info({ projection: this.name, position: String(this.position) }, 'projection leads');
        backoff = FIRST_BACKOFF_MS;
        this.preparing = false;
        this.context.admit(this);
        const { failure } = await ended;
        if (failure) return this.#fail(failure);
        if (!signal.aborted)
          logger?.warn({ projection: this.name }, 'projection pauses: its database connection is gone');
      } catch (error) {
        if (error instanceof ReadModelChanged) return this.#fail(error);
        logger?.warn({ projection: this.name, err: error }, 'projection waits for its database');
      } finally {
        this.preparing = false;
        this.#session = undefined;
        this.context.dismiss(this);
        await session?.close();
      }
      if (signal.aborted) break;
      this.#become('waiting');
      await sleep(backoff * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
      backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
    }
    this.#become('stopped');
  }

  /** Rows are complete and indexed up to the position. */
  isAt(position: bigint): boolean {
    return this.state === 'leading' && !this.#filling && (this.position ?? -1n) >= position;
  }

  /** Writes what concerns the projection. Never rejects: what goes wrong ends its leading, the reader goes on for others. */
  async apply(batch: EventBatch, atEnd: boolean): Promise<void> {
    const session = this.#session;
    if (!session) return;
    const after = this.position ?? -1n;
    try {
      if (batch.position > after) {
        const events = batch.events.filter(
          (event) => event.position > after && this.#categories.has(categoryOf(event.stream)),
        );
        await this.#write(session, events, batch.position, batch.live, 1);
      }
      if (this.#filling && atEnd && this.#session === session) await this.#complete();
      this.context.changed(this);
    } catch (error) {
      // The error of a connection that was given up meanwhile says nothing about the one that followed.
      if (this.#session === session) this.#end?.(this.#judge(session, error as Error));
    }
  }

  /** Ends the projection for good. */
  fail(error: Error): void {
    this.#end?.({ failure: error });
  }

  #judge(session: Session, error: Error): End {
    if (error instanceof CheckpointMoved || error instanceof EventFailed) return { failure: error };
    if (session.lost || isTransient(error)) return {};
    // Dropped tables are made again and filled; if that doesn't help, something else is wrong.
    if (isDropped(error) && this.#droppedAt !== this.position) {
      this.#droppedAt = this.position;
      return {};
    }
    return { failure: error };
  }

  /** Connects, waits until there is no other runner, and makes the tables. Undefined when stopped meanwhile. */
  async #lead(): Promise<Session | undefined> {
    const { url, signal, logger } = this.context;
    const { model } = this.projection;
    const session = await Session.open(url, model).catch(async (error: unknown) => {
      if ((error as { code?: unknown }).code !== '3D000') throw error;
      await ensureDatabase(url);
      return Session.open(url, model);
    });
    try {
      let told = false;
      while (!signal.aborted) {
        if (await session.tryLock()) {
          this.preparing = true;
          await this.#prepare();
          return session;
        }
        this.preparing = false;
        if (!told) logger?.info({ projection: model.name }, 'another projector runs this projection: standing by');
        told = true;
        await sleep(LOCK_POLL_MS, undefined, { signal }).catch(() => undefined);
      }
    } catch (error) {
      await session.close();
      throw error;
    }
    await session.close();
    return undefined;
  }

  async #prepare(): Promise<void> {
    const { pool, logger, head } = this.context;
    const { model } = this.projection;
    // Without the log there is no telling how much there is to fill; complete tables are always right.
    const fill = (await head().catch(() => 0n)) > 0n;
    const { created, state } = await ensureReadModel(pool, model, { changed: 'recreate', fill });
    this.#filling = state === 'filling';
    if (created)
      logger?.info({ projection: model.name, schema: model.schema }, 'read model made, to be filled from the log');
  }

  async #complete(): Promise<void> {
    const { pool, logger } = this.context;
    await completeReadModel(pool, this.projection.model);
    this.#filling = false;
    logger?.info({ projection: this.name }, 'read model filled');
  }

  async #write(
    session: Session,
    events: readonly RecordedEvent[],
    to: bigint,
    live: boolean,
    attempt: number,
  ): Promise<void> {
    try {
      await this.#commit(session, events, to, live);
    } catch (error) {
      if (error instanceof CheckpointMoved || session.lost || isTransient(error) || isDropped(error)) throw error;
      if (attempt < ATTEMPTS) {
        this.context.logger?.warn({ projection: this.name, err: error, attempt }, 'batch failed, trying again');
        await sleep(20 * attempt);
        return this.#write(session, events, to, live, attempt + 1);
      }
      // It is not the moment, it is an event: write what comes before it, and name it.
      const first = events[0];
      if (!first) throw error;
      // Parking will hook in here: store the event with its reason, and go on after it.
      if (events.length === 1) throw new EventFailed(this.projection.model, first, error);
      const middle = events.length >> 1;
      await this.#write(session, events.slice(0, middle), events[middle - 1]!.position, live, ATTEMPTS);
      await this.#write(session, events.slice(middle), to, live, ATTEMPTS);
    }
  }

  async #commit(session: Session, events: readonly RecordedEvent[], to: bigint, live: boolean): Promise<void> {
    const { model } = this.projection;
    if (events.length === 0) await session.transaction(this.position, to, false, undefined);
    else
      await session.transaction(this.position, to, live, async () => {
        const bulk = new Bulk(model.schema, model.entities);
        const flush = (): Promise<void> => bulk.flush(session);
        await applyEvents(this.projection.begin({ bulk, flush }), events);
        await flush();
      });
    if (this.#session !== session) return;
    this.position = to;
    this.events += events.length;
    this.batches++;
    const last = events.at(-1);
    if (last) this.lastEventAt = last.created;
  }

  #become(state: ProjectionState): void {
    this.state = state;
    this.context.changed(this);
  }

  #fail(error: Error): void {
    this.failure = error;
    this.context.logger?.error(
      { projection: this.name, position: String(this.position), err: error },
      'projection stopped',
    );
    this.#become('failed');
  }
}
