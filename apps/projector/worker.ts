import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { EventBatch, EventLog } from '#libs/events/log/types.js';
import { ensureDatabase, type Pool } from '#libs/postgres/index.js';
import {
  completeReadModel,
  ensureReadModel,
  partitionOf,
  partitionsOf,
  reachedEnd,
  ReadModelChanged,
} from '#libs/read-models/index.js';
import { Bulk, type Queryable } from './bulk.js';
import { CheckpointAheadOfLog, CheckpointMoved, EventFailed, isDropped, isTransient, Superseded } from './errors.js';
import { parkedOf, parkStatement, type PutAside, readPutAside } from './parking.js';
import { applyEvents, type BatchHandlers, categoriesOf, type Projection } from './projection.js';
import { type Claim, type Share, Session } from './session.js';

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
  readonly log: EventLog;
  /** Names this process among those that may run a projection. */
  readonly holder: string;
  readonly signal: AbortSignal;
  readonly logger: ProjectorLogger | undefined;
  /** While catching up, this many events share a transaction. */
  readonly gatherEvents?: number;
  /** The worker leads and knows its position: give it batches. */
  admit(worker: Worker): void;
  /** No more batches, please. */
  dismiss(worker: Worker): void;
  /** Position or state have changed. */
  changed(worker: Worker): void;
  /** The tables have got their keys and indexes, which those who run the other partitions wait for. */
  completed?(worker: Worker): void;
}

const LOCK_POLL_MS = 200;
/** A runner that shows no sign of life for so long is deposed by one that stands by. */
const SILENT_MS = 5_000;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2_000;
/** What has failed is tried again after this, growing to the second. */
const STOPPED_MS = 5_000;
const STOPPED_MAX_MS = 60_000;
const ATTEMPTS = 3;
/** While catching up, this many events share a transaction. */
const CATCH_UP_EVENTS = 5_000;

type End = { readonly failure?: Error };

/** Begin anew, from the checkpoint. */
class Anew extends Error {}

/** Rows collected while catching up, written when there are enough. */
interface Gathering {
  readonly bulk: Bulk;
  readonly handlers: BatchHandlers;
  events: number;
  to: bigint;
  lastEventAt: Date | undefined;
  /** A handler needed its rows in the tables, so the transaction has begun already. */
  begun: boolean;
}

/** Keeps one projection, or one partition of it, going: becomes its only runner, writes the batches it is given, starts over when Postgres goes away. */
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
  #epoch = 0n;
  #end: ((end: End) => void) | undefined;
  /** The tables are new: foreign keys and indexes follow when the log's end is reached. */
  #filling = false;
  #putAside: PutAside = { streams: new Set(), skipped: new Set() };
  #gathering: Gathering | undefined;
  /** The write of what was gathered before; the next is gathered meanwhile. */
  #writing: Promise<void> | undefined;
  /** Everything up to here is in the rows or on its way there. */
  #readTo = -1n;
  /** Something up to here can't be written in bulk: event by event, to find out what. */
  #carefulTo = -2n;
  #droppedAt: bigint | null | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #again: (() => void) | undefined;

  constructor(
    readonly projection: Projection,
    private readonly context: WorkerContext,
    /** Which share of the streams is its own. */
    readonly partition = 0,
  ) {
    this.#categories = new Set(projection.model.categories);
  }

  get name(): string {
    return this.projection.model.name;
  }

  get filling(): boolean {
    return this.#filling;
  }

  /** Resolves when stopped; never rejects. */
  async run(): Promise<void> {
    const { signal, logger } = this.context;
    let backoff = FIRST_BACKOFF_MS;
    let stopped = STOPPED_MS;
    while (!signal.aborted) {
      let session: Session | undefined;
      let failure: Error | undefined;
      try {
        this.preparing = true;
        session = await this.#lead();
        if (!session || signal.aborted) break;
        const leading = session;
        const ended = new Promise<End>((resolve) => {
          this.#end = resolve;
          leading.onLost = () => resolve({});
          signal.addEventListener('abort', () => resolve({}), { once: true });
        });
        this.#session = session;
        this.failure = undefined;
        this.#become('leading');
        logger?.info({ projection: this.name, position: String(this.position) }, 'projection leads');
        backoff = FIRST_BACKOFF_MS;
        this.preparing = false;
        const before = this.position;
        this.context.admit(this);
        ({ failure } = await ended);
        if (this.position !== before) stopped = STOPPED_MS;
        if (!failure && !signal.aborted)
          logger?.warn({ projection: this.name }, 'projection pauses: its connection is gone, or it has to begin anew');
      } catch (error) {
        if (error instanceof ReadModelChanged) failure = error;
        else logger?.warn({ projection: this.name, err: error }, 'projection waits for its database');
      } finally {
        this.preparing = false;
        this.#session = undefined;
        this.context.dismiss(this);
        await this.#writing?.catch(() => undefined);
        this.#writing = this.#gathering = undefined;
        await session?.close();
      }
      if (failure) {
        this.#fail(failure);
        // What could do harm needs a person; the rest goes on by itself once its cause is gone.
        const harmful = failure instanceof CheckpointMoved || failure instanceof CheckpointAheadOfLog;
        const wait = harmful || failure instanceof ReadModelChanged ? undefined : stopped;
        stopped = Math.min(stopped * 2, STOPPED_MAX_MS);
        await this.#untilAgain(wait);
        continue;
      }
      if (signal.aborted) break;
      this.#become('waiting');
      await sleep(backoff * (0.5 + Math.random()), undefined, { signal }).catch(() => undefined);
      backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
    }
    this.#become('stopped');
  }

  /** Begins again after a failure; nothing happens when there is none. */
  again(): void {
    this.#again?.();
  }

  /** Whether the stream is of its share. */
  owns(stream: string): boolean {
    const partitions = partitionsOf(this.projection.model);
    return partitions === 1 || partitionOf(stream, partitions) === this.partition;
  }

  /** Rows are complete and indexed up to the position. */
  isAt(position: bigint): boolean {
    return this.state === 'leading' && !this.#filling && (this.position ?? -1n) >= position;
  }

  /**
   * Runs one after the other what may not overlap: batches, retries, a change of tables. Who needs the turns of several takes
   * them in the order of {@link inOrder}.
   */
  serially<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** Writes what concerns the projection. Never rejects: what goes wrong ends its leading, the reader goes on for others. */
  apply(batch: EventBatch, atEnd: boolean): Promise<void> {
    return this.serially(async () => {
      const session = this.#session;
      if (!session) return;
      try {
        const after = this.#readTo;
        if (batch.position > after) {
          const events = this.#concerning(batch, after);
          if (this.#gathers(batch)) await this.#gather(session, events, batch.position);
          else {
            await this.#settle(session);
            await this.#write(session, events, batch.position, batch.live, 1);
          }
        }
        if (atEnd && this.#session === session) {
          await this.#settle(session);
          if (this.#filling) await this.#complete();
        }
        this.context.changed(this);
      } catch (error) {
        // The error of a connection that was given up meanwhile says nothing about the one that followed.
        if (this.#session === session) this.#end?.(this.#judge(session, error as Error));
      }
    });
  }

  /** Resolves when what is on its way is in the rows, or has failed. */
  async written(): Promise<void> {
    await this.#writing?.catch(() => undefined);
  }

  /** Ends the projection's leading for good. */
  fail(error: Error): void {
    this.#end?.({ failure: error });
  }

  /** Gives up leading and begins anew. */
  restart(): void {
    this.#end?.({});
  }

  /**
   * What the projection would write of a batch in a transaction that it shares; undefined when it has to go alone. Called,
   * and its work done, in the worker's turn.
   */
  contribute(batch: EventBatch): Contribution | undefined {
    const session = this.#session;
    if (!session || this.#filling || this.#gathering || this.#writing || this.#carefulTo >= this.#readTo)
      return undefined;
    if (batch.position <= this.#readTo) return undefined;
    const { due, waiting } = this.#sorted(this.#concerning(batch, this.#readTo));
    return {
      claim: this.#claim(),
      empty: due.length + waiting.length === 0,
      write: (connection) => this.#apply(connection, due, waiting),
      done: () => {
        if (this.#session === session) this.#moved(batch.position, due);
        this.context.changed(this);
      },
      confirm: async () => {
        if (this.#session !== session) return;
        try {
          this.position = await session.confirm(this.#claim());
          this.#readTo = this.position ?? -1n;
        } catch (error) {
          if (this.#session === session) this.#end?.(this.#judge(session, error as Error));
        }
      },
    };
  }

  /** Tries parked events of some streams again, in order, each with what waits for it. */
  retry(streams: readonly string[]): Promise<void> {
    return this.serially(async () => {
      const session = this.#session;
      if (!session) return;
      try {
        await this.#settle(session);
        for (const stream of streams) await this.#retryStream(session, stream);
        this.#putAside = await this.#readPutAside(session);
      } catch (error) {
        if (this.#session === session) this.#end?.(this.#judge(session, error as Error));
      }
    });
  }

  /** The rows have become those of another build that stands at `position` or after it, in the worker's turn. */
  moveTo(claim: Claim): void {
    this.#epoch = claim.epoch;
    this.position = claim.position;
    this.#readTo = claim.position ?? -1n;
    this.#putAside = { ...this.#putAside, streams: new Set() };
    this.context.changed(this);
  }

  /** Where it stands, in the worker's turn; undefined while it does not lead or has something in hand. */
  claim(): Claim | undefined {
    return this.#session && !this.#gathering && !this.#writing && !this.#filling ? this.#claim() : undefined;
  }

  /** Its tables are somebody else's now: ends without touching them again. */
  retire(): void {
    this.#session = undefined;
    this.#end?.({});
  }

  /** Makes the tables complete if everybody has reached the end of the log; for those that wait for other partitions. */
  async complete(): Promise<void> {
    await this.serially(async () => {
      const session = this.#session;
      if (!session || !this.#filling || this.#gathering || this.#writing) return;
      try {
        await this.#complete(false);
        this.context.changed(this);
      } catch (error) {
        if (this.#session === session) this.#end?.(this.#judge(session, error as Error));
      }
    });
  }

  async #readPutAside(session: Session): Promise<PutAside> {
    const { streams, skipped } = await readPutAside(session, this.projection.model);
    return { streams: new Set([...streams].filter((stream) => this.owns(stream))), skipped };
  }

  get #share(): Share {
    return { model: this.projection.model, partition: this.partition };
  }

  #claim(): Claim {
    return { ...this.#share, epoch: this.#epoch, position: this.position };
  }

  #concerning({ events }: EventBatch, after: bigint): RecordedEvent[] {
    const { skipped } = this.#putAside;
    const categories = categoriesOf(events);
    return events.filter(
      (event, n) =>
        event.position > after &&
        this.#categories.has(categories[n]!) &&
        this.owns(event.stream) &&
        !(skipped.size > 0 && skipped.has(event.id)),
    );
  }

  /** Events to be processed, and those that wait for a parked one of their stream. */
  #sorted(events: readonly RecordedEvent[]): { due: readonly RecordedEvent[]; waiting: readonly RecordedEvent[] } {
    const { streams } = this.#putAside;
    if (streams.size === 0 || this.projection.afterParked === 'goOn') return { due: events, waiting: [] };
    return {
      due: events.filter(({ stream }) => !streams.has(stream)),
      waiting: events.filter(({ stream }) => streams.has(stream)),
    };
  }

  #gathers(batch: EventBatch): boolean {
    return !batch.live && this.#putAside.streams.size === 0 && this.#carefulTo < this.#readTo;
  }

  #judge(session: Session, error: Error): End {
    if (error instanceof CheckpointMoved || error instanceof EventFailed) return { failure: error };
    if (session.lost || error instanceof Anew || error instanceof Superseded || isTransient(error)) return {};
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
    const session = await Session.open(url, model.name).catch(async (error: unknown) => {
      if ((error as { code?: unknown }).code !== '3D000') throw error;
      await ensureDatabase(url);
      return Session.open(url, model.name);
    });
    try {
      let told = false;
      for (let polls = 1; !signal.aborted; polls++) {
        if (await session.tryLock(this.#share)) {
          this.preparing = true;
          await this.#prepare();
          const claim = await session.claim(this.#share, this.context.holder);
          this.#epoch = claim.epoch;
          this.position = claim.position;
          this.#readTo = claim.position ?? -1n;
          this.#putAside = await this.#readPutAside(session);
          // The runner before may have ended between the last event and the indexes; no batch may come to tell.
          if (this.#filling && this.#readTo >= (await this.context.log.head())) await this.#complete();
          return session;
        }
        this.preparing = false;
        if (!told) logger?.info({ projection: model.name }, 'another projector runs this projection: standing by');
        told = true;
        if (polls % 5 === 0 && (await this.#depose(session)))
          logger?.warn({ projection: model.name }, 'its runner gave no sign of life: taking over');
        await sleep(LOCK_POLL_MS, undefined, { signal }).catch(() => undefined);
      }
    } catch (error) {
      await session.close();
      throw error;
    }
    await session.close();
    return undefined;
  }

  /** Before the first runner has made its tables there is nobody to depose. */
  #depose(session: Session): Promise<boolean> {
    return session.depose(this.#share, SILENT_MS).catch((error: unknown) => {
      if (isDropped(error)) return false;
      throw error;
    });
  }

  async #prepare(): Promise<void> {
    const { pool, logger, log } = this.context;
    const { model } = this.projection;
    // Without the log there is no telling how much there is to fill; complete tables are always right.
    const fill = (await log.head().catch(() => 0n)) > 0n;
    const { created, state } = await ensureReadModel(pool, model, { changed: 'recreate', fill });
    this.#filling = state === 'filling';
    if (created)
      logger?.info({ projection: model.name, schema: model.schema }, 'read model made, to be filled from the log');
  }

  /** @param atEnd the end of the log was reached just now */
  async #complete(atEnd = true): Promise<void> {
    const { pool, logger } = this.context;
    const { model } = this.projection;
    // Whoever is the last of the partitions makes the keys; the others find them made.
    if (!(await reachedEnd(pool, model, atEnd ? this.partition : undefined))) return;
    await completeReadModel(pool, model);
    this.#filling = false;
    logger?.info({ projection: this.name }, 'read model filled');
    this.context.completed?.(this);
  }

  /** Collects while there is more to come. Rows are text already when the events are let go: memory stays flat. */
  async #gather(session: Session, events: readonly RecordedEvent[], to: bigint): Promise<void> {
    const gathering = (this.#gathering ??= this.#beginGathering(session));
    try {
      await applyEvents(gathering.handlers, events);
    } catch (error) {
      throw await this.#bitByBit(session, error, to);
    }
    gathering.events += events.length;
    gathering.to = this.#readTo = to;
    gathering.lastEventAt = events.at(-1)?.created ?? gathering.lastEventAt;
    if (gathering.events >= (this.context.gatherEvents ?? CATCH_UP_EVENTS)) await this.#settle(session, false);
  }

  #beginGathering(session: Session): Gathering {
    const { model } = this.projection;
    const bulk = new Bulk(model.schema, model.entities, { copy: true, appendOnly: model.appendOnly ?? false });
    const flush = async (): Promise<void> => {
      if (!gathering.begun) {
        await this.#writing;
        gathering.begun = true;
        await session.begin(this.#claim(), { durable: false });
      }
      await bulk.flush(session);
    };
    const gathering: Gathering = {
      bulk,
      handlers: this.projection.begin({ bulk, flush }),
      events: 0,
      to: -1n,
      lastEventAt: undefined,
      begun: false,
    };
    return gathering;
  }

  /** Writes what was gathered, when the write before it is done; `wait` until it is written. */
  async #settle(session: Session, wait = true): Promise<void> {
    const gathering = this.#gathering;
    if (gathering) {
      await this.#writing;
      this.#gathering = undefined;
      this.#writing = this.#writeGathered(session, gathering).catch(async (error: unknown) => {
        throw await this.#bitByBit(session, error, gathering.to);
      });
      // It is thrown where the next one waits, which is later.
      this.#writing.catch(() => undefined);
    }
    if (!wait || !this.#writing) return;
    await this.#writing;
    this.#writing = undefined;
  }

  async #writeGathered(session: Session, { handlers, bulk, begun, events, to, lastEventAt }: Gathering): Promise<void> {
    const claim = this.#claim();
    const options = { durable: false, notify: this.#note(to) };
    handlers.end?.();
    if (!begun) await session.transaction([claim], to, options, () => bulk.flush(session));
    else {
      await bulk.flush(session);
      await session.commit(claim, to, options);
    }
    if (this.#session !== session) return;
    this.position = to;
    this.events += events;
    this.batches++;
    this.lastEventAt = lastEventAt ?? this.lastEventAt;
    this.context.changed(this);
  }

  /** What can't be written in bulk is read again and written bit by bit; the error to throw says so. */
  async #bitByBit(session: Session, error: unknown, to: bigint): Promise<unknown> {
    if (error instanceof Anew || error instanceof CheckpointMoved || error instanceof Superseded) return error;
    if (!session.lost) await session.rollback();
    if (session.lost || isTransient(error) || isDropped(error)) return error;
    this.context.logger?.warn({ projection: this.name, err: error }, 'writing in bulk failed, going on bit by bit');
    this.#carefulTo = to;
    return new Anew();
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
      if (error instanceof CheckpointMoved || error instanceof Superseded) throw error;
      if (session.lost || isTransient(error) || isDropped(error)) throw error;
      if (attempt < ATTEMPTS) {
        this.context.logger?.warn({ projection: this.name, err: error, attempt }, 'batch failed, trying again');
        await sleep(20 * attempt);
        return this.#write(session, events, to, live, attempt + 1);
      }
      // It is not the moment, it is an event: write what comes before it, and put it aside.
      const first = events[0];
      if (!first) throw error;
      if (events.length === 1) return this.#park(session, first, to, error);
      const middle = events.length >> 1;
      await this.#write(session, events.slice(0, middle), events[middle - 1]!.position, live, ATTEMPTS);
      await this.#write(session, events.slice(middle), to, live, ATTEMPTS);
    }
  }

  async #commit(session: Session, events: readonly RecordedEvent[], to: bigint, live: boolean): Promise<void> {
    const { due, waiting } = this.#sorted(events);
    await session.transaction(
      [this.#claim()],
      to,
      { durable: live && events.length > 0, notify: this.#note(to) },
      events.length === 0 ? undefined : () => this.#apply(session, due, waiting),
    );
    if (this.#session === session) this.#moved(to, due);
  }

  /** Rows of a batch, in a transaction that is open. */
  async #apply(connection: Queryable, due: readonly RecordedEvent[], waiting: readonly RecordedEvent[]): Promise<void> {
    const { model } = this.projection;
    if (due.length > 0) {
      const bulk = new Bulk(model.schema, model.entities, { appendOnly: model.appendOnly ?? false });
      const flush = (): Promise<void> => bulk.flush(connection);
      const handlers = this.projection.begin({ bulk, flush });
      await applyEvents(handlers, due);
      handlers.end?.();
      await flush();
    }
    if (waiting.length > 0) await connection.query(parkStatement(model, 'WAITING', waiting));
  }

  #moved(to: bigint, events: readonly RecordedEvent[]): void {
    this.position = this.#readTo = to;
    this.events += events.length;
    this.batches++;
    const last = events.at(-1);
    if (last) this.lastEventAt = last.created;
  }

  /** Listeners are told of what they can read: not of copies, and not of tables that are not ready. */
  #note(to: bigint): string | undefined {
    return this.projection.model.copyOf === undefined ? `${this.name}:${to}` : undefined;
  }

  /** Goes on after an event that can't be processed; a rebuild stops at it. */
  async #park(session: Session, event: RecordedEvent, to: bigint, cause: unknown): Promise<void> {
    const { model } = this.projection;
    const { logger, pool } = this.context;
    const failed = new EventFailed(model, event, cause);
    const error = { message: failed.message, attempts: ATTEMPTS };
    // Who rebuilds beside, or verifies, reports by itself.
    if (model.copyOf !== undefined) throw failed;
    if (this.#filling) {
      await pool.query(parkStatement(model, 'STOPPED', [event], error));
      throw failed;
    }
    await session.transaction([this.#claim()], to, { durable: true, notify: this.#note(to) }, async () => {
      await session.query(parkStatement(model, 'PARKED', [event], error));
    });
    this.#putAside = { ...this.#putAside, streams: new Set(this.#putAside.streams).add(event.stream) };
    if (this.#session === session) this.#moved(to, []);
    logger?.error(
      { projection: this.name, event: event.id, position: String(event.position), err: cause },
      'event parked',
    );
  }

  async #retryStream(session: Session, stream: string): Promise<void> {
    const { model, afterParked } = this.projection;
    const { log, logger } = this.context;
    for (const parked of await parkedOf(session, model, stream)) {
      const gone = {
        text: `DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND position = $3`,
        values: [parked.projection, parked.version, parked.position],
      };
      try {
        const event = await this.#find(log, stream, parked.revision);
        const to = this.position ?? -1n;
        await session.transaction([this.#claim()], to, { durable: true, notify: this.#note(to) }, async () => {
          await this.#apply(session, [{ ...event, position: parked.position }], []);
          await session.query(gone);
        });
        logger?.info({ projection: this.name, event: parked.eventId, stream }, 'parked event processed');
      } catch (error) {
        if (error instanceof CheckpointMoved || error instanceof Superseded) throw error;
        if (session.lost || isTransient(error) || isDropped(error)) throw error;
        const message = error instanceof Error ? error.message : String(error);
        await session.query({
          text: `UPDATE projection.parked SET state = 'PARKED', error = $4, attempts = attempts + 1, retry = false,
                        updated_at = clock_timestamp() WHERE name = $1 AND version = $2 AND position = $3`,
          values: [...gone.values, message],
        });
        logger?.warn({ projection: this.name, event: parked.eventId, err: error }, 'parked event failed again');
        if (afterParked !== 'goOn') break;
      }
    }
    await session.query({
      text: `UPDATE projection.parked SET retry = false WHERE name = $1 AND version = $2 AND stream = $3 AND retry`,
      values: [model.name, model.version, stream],
    });
  }

  async #find(log: EventLog, stream: string, revision: number): Promise<RecordedEvent> {
    for await (const event of log.readStream(stream, { from: BigInt(revision), limit: 1 }))
      if (event.revision === revision) return event;
    throw new Error(`The log has no event ${revision}@${stream}`);
  }

  async #untilAgain(ms: number | undefined): Promise<void> {
    const { signal } = this.context;
    const again = new AbortController();
    this.#again = () => again.abort();
    const either = AbortSignal.any([signal, again.signal]);
    if (ms !== undefined) await sleep(ms, undefined, { signal: either }).catch(() => undefined);
    else if (!either.aborted)
      await new Promise<void>((resolve) => either.addEventListener('abort', () => resolve(), { once: true }));
    this.#again = undefined;
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

/** By projection and partition: one order for all who wait for several, so that nobody waits in a circle. */
export const inOrder = (workers: Iterable<Worker>): Worker[] =>
  [...workers].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.partition - b.partition));

/** Does the work when it is everybody's turn. @param workers in order */
export const together = <T>(workers: readonly Worker[], work: () => Promise<T>): Promise<T> =>
  workers.reduceRight<() => Promise<T>>((inner, worker) => () => worker.serially(inner), work)();

/** A projection's part of a transaction of several. */
export interface Contribution {
  readonly claim: Claim;
  /** There is nothing to write but the checkpoint. */
  readonly empty: boolean;
  write(connection: Queryable): Promise<void>;
  /** It is committed. */
  done(): void;
  /** It failed, or that is in doubt: finds out where the projection stands. */
  confirm(): Promise<void>;
}

/** Names a process among those that may run projections. */
export const newHolder = (): string => randomUUID();
