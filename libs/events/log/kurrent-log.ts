import {
  BACKWARDS,
  END,
  eventTypeFilter,
  jsonEvent,
  KurrentDBClient,
  MaxAppendSizeExceededError,
  START,
  StreamDeletedError,
  StreamNotFoundError,
  streamNameFilter,
  UnavailableError,
  WrongExpectedVersionError,
  type AllStreamSubscription,
  type JSONRecordedEvent,
  type Position,
  type ResolvedEvent,
} from '@kurrent/kurrentdb-client';
import { setTimeout as sleep } from 'node:timers/promises';
import { categories as allCategories, type RecordedEvent } from '../catalogue/index.js';
import { AppendCall } from './append-call.js';
import { isNativelyUnavailable, type Place, readInBulk } from './bulk-read.js';
import type { EncodedEvent } from './append-wire.js';
import { decodeEvent, encodeEvent, encodeMetadata, unreadableEvent } from './codec.js';
import { AppendTooLarge, InvalidEvent, LogUnavailable } from './errors.js';
import type {
  AppendResult,
  EventBatch,
  EventLog,
  ExpectedState,
  LogSubscription,
  NewEvent,
  PersonCipher,
  SubscribeOptions,
} from './types.js';

export interface EventLogOptions {
  /** `kurrentdb://…` or `esdb://…` connection string. */
  readonly url: string;
  readonly cipher: PersonCipher;
  /** How long an append or a small read may take, milliseconds. */
  readonly timeoutMs?: number;
  readonly logger?: { warn(details: object, message: string): void };
}

/** Positions at or above this are the protocol's "unknown" (-1 as unsigned). */
const UNKNOWN_POSITION = 1n << 63n;
const MAX_BATCH = 2000;
const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2000;

/** Waits, and wakes early when the signal aborts. */
const pause = (ms: number, signal: AbortSignal) => sleep(ms, undefined, { signal }).catch(() => undefined);

export function openEventLog(options: EventLogOptions): EventLog {
  return new KurrentLog(options);
}

class KurrentLog implements EventLog {
  readonly #url: string;
  #current: KurrentDBClient | undefined;
  /** Ends the streams that run on the client of now. */
  readonly #onRenewal = new Set<() => void>();
  readonly #cipher: PersonCipher;
  readonly #timeoutMs: number;
  readonly #logger: EventLogOptions['logger'];
  readonly #subscriptions = new Set<LogSubscription>();
  readonly #appends = new WeakMap<KurrentDBClient, AppendCall>();

  constructor({ url, cipher, timeoutMs = 10_000, logger }: EventLogOptions) {
    this.#url = url;
    this.#cipher = cipher;
    this.#timeoutMs = timeoutMs;
    this.#logger = logger;
  }

  /** Made at its first use: it looks for the server when it is made. */
  get #client(): KurrentDBClient {
    return (this.#current ??= KurrentDBClient.connectionString(this.#url));
  }

  async append(stream: string, events: readonly NewEvent[], expected: ExpectedState): Promise<AppendResult> {
    const encoded: EncodedEvent[] = [];
    for (const event of events)
      encoded.push({
        id: event.id,
        type: event.type,
        data: Buffer.from(JSON.stringify(await encodeEvent(event, this.#cipher))),
        metadata: Buffer.from(JSON.stringify(await encodeMetadata(event.metadata, this.#cipher))),
      });
    const client = this.#client;
    try {
      return await this.#inTime(this.#send(client, stream, encoded, expected));
    } catch (error) {
      if (error instanceof WrongExpectedVersionError) {
        const current = error.actualState;
        return { ok: false, conflict: true, currentRevision: typeof current === 'bigint' ? current : null };
      }
      if (error instanceof MaxAppendSizeExceededError) throw tooLarge(stream, error);
      if (error instanceof AppendTooLarge || error instanceof StreamDeletedError) throw error;
      this.#renew(client, error);
      throw error instanceof LogUnavailable ? error : new LogUnavailable(`Append to ${stream} failed`, error);
    }
  }

  async #send(
    client: KurrentDBClient,
    stream: string,
    events: readonly EncodedEvent[],
    expected: ExpectedState,
  ): Promise<AppendResult> {
    let call = this.#appends.get(client);
    if (!call) this.#appends.set(client, (call = new AppendCall(client)));
    if (!(await call.takes(events))) {
      // `streamState` it is in client 1.x: an `expectedRevision` here would be ignored without a word.
      const result = await client.appendToStream(stream, events.map(forClient), {
        streamState: expected,
        deadline: this.#timeoutMs,
      });
      return { ok: true, revision: result.nextExpectedRevision, position: result.position?.commit ?? 0n };
    }
    const answer = await call.append(stream, events, expected, this.#timeoutMs);
    if (!('error' in answer)) return { ok: true, revision: answer.revision, position: answer.position };
    const cause = new Error(`The event store refused an append: ${answer.error} (${answer.message})`);
    switch (answer.error) {
      case 'WrongExpectedVersion':
        return { ok: false, conflict: true, currentRevision: answer.current };
      case 'MaximumAppendSizeExceeded':
        throw tooLarge(stream, cause);
      case 'StreamDeleted':
        throw StreamDeletedError.fromStreamName(stream);
      default:
        throw cause;
    }
  }

  async *readStream(stream: string, { from = 0n, limit }: { from?: bigint; limit?: number } = {}) {
    const client = this.#client;
    try {
      const read = client.readStream(stream, {
        fromRevision: from,
        ...(limit === undefined ? {} : { maxCount: limit }),
      });
      for await (const resolved of unlessSilent(read, this.#timeoutMs)) {
        const event = await this.#decode(resolved);
        if (event) yield event;
      }
    } catch (error) {
      if (error instanceof StreamNotFoundError || error instanceof StreamDeletedError) return;
      if (error instanceof InvalidEvent) throw error;
      this.#renew(client, error);
      if (error instanceof LogUnavailable) throw error;
      throw new LogUnavailable(`Reading ${stream} failed`, error);
    }
  }

  async *readAll({
    after = null,
    categories,
  }: { after?: bigint | null; categories?: readonly string[] } = {}): AsyncIterable<RecordedEvent> {
    const read = this.#client.readAll({ fromPosition: placeOf(after), filter: this.#filter({ categories }) });
    // The server may search long for the first event that matches.
    for await (const resolved of unlessSilent(read, this.#timeoutMs * 6)) {
      // Reads of $all start at the position they are given; ours are exclusive.
      if (after !== null && (positionOf(resolved) ?? 0n) <= after) continue;
      const decoded = this.#decode(resolved);
      const event = decoded instanceof Promise ? await decoded : decoded;
      if (event) yield event;
    }
  }

  async head(): Promise<bigint> {
    const client = this.#client;
    try {
      const read = client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 });
      for await (const resolved of unlessSilent(read, this.#timeoutMs)) return positionOf(resolved) ?? 0n;
      return 0n;
    } catch (error) {
      this.#renew(client, error);
      throw error;
    }
  }

  subscribe(options: SubscribeOptions): LogSubscription {
    const abort = new AbortController();
    options.signal?.addEventListener('abort', () => abort.abort(), { once: true });
    if (options.signal?.aborted) abort.abort();
    const done = this.#run(options, abort.signal);
    const subscription: LogSubscription = {
      done,
      stop: async () => {
        abort.abort();
        await done.catch(() => undefined);
      },
    };
    this.#subscriptions.add(subscription);
    void done.catch(() => undefined).finally(() => this.#subscriptions.delete(subscription));
    return subscription;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((s) => s.stop()));
    await this.#current?.dispose();
  }

  /**
   * The client does not find its way back by itself: what has once failed to connect may fail for ever, with the server
   * up again. So a client that could not reach it is replaced, once for all who used it.
   */
  #renew(failed: KurrentDBClient, error: unknown): void {
    if (failed !== this.#current || !isUnavailable(error)) return;
    this.#current = undefined;
    // The client ends its streams without a word when it is disposed of.
    for (const end of [...this.#onRenewal]) end();
    void failed.dispose().catch(() => undefined);
  }

  /** Keeps a subscription alive until it is stopped or its handler fails. */
  async #run(options: SubscribeOptions, signal: AbortSignal): Promise<void> {
    let after = options.after;
    let backoff = FIRST_BACKOFF_MS;
    const deliver = async (batch: EventBatch) => {
      try {
        await options.onBatch(batch);
      } catch (error) {
        throw new HandlerFailed(error);
      }
      after = batch.position;
      backoff = FIRST_BACKOFF_MS;
    };
    while (!signal.aborted) {
      const client = this.#client;
      try {
        // History in bulk by the native reader, then live from where it ended: the reader is several times faster.
        after = await this.#catchUp(options, after, deliver, signal);
        if (signal.aborted) return;
        options.onConnection?.('connected');
        await this.#follow(options, after, deliver, signal);
      } catch (error) {
        if (error instanceof HandlerFailed) throw error.cause;
        if (signal.aborted) return;
        this.#renew(client, error);
        options.onConnection?.('lost', error);
        this.#logger?.warn({ err: error, after: String(after) }, 'Subscription lost, will resume');
        await pause(backoff * (0.5 + Math.random()), signal);
        backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
      }
    }
  }

  async #catchUp(
    { categories, types, maxBatch = MAX_BATCH, unreadable }: SubscribeOptions,
    after: bigint | null,
    deliver: (batch: EventBatch) => Promise<void>,
    signal: AbortSignal,
  ): Promise<bigint | null> {
    const head = await this.head();
    if (head <= (after ?? 0n)) return after;
    let events: RecordedEvent[] = [];
    let position = after;
    // One batch is handled while the next is read: reading and writing overlap, memory stays bounded.
    let inFlight: Promise<void> = Promise.resolve();
    const read = readInBulk(this.#client, placeOf(after), this.#filter({ categories, types }));
    const silence = new Silence(this.#timeoutMs * 6, signal);
    const reading = async (): Promise<void> => {
      for await (const batch of read) {
        if (silence.over) return;
        silence.heard();
        for (const resolved of batch) {
          const at = positionOf(resolved);
          // Reads of $all start at the position they are given; ours are exclusive.
          if (after !== null && (at ?? 0n) <= after) continue;
          const decoded = this.#decode(resolved, unreadable);
          const event = decoded instanceof Promise ? await decoded : decoded;
          if (!event) continue;
          events.push(event);
          position = event.position;
          if (events.length < maxBatch) continue;
          await silence.except(inFlight);
          if (silence.over) return;
          inFlight = deliver({ events, position, live: false });
          inFlight.catch(() => undefined);
          events = [];
        }
      }
    };
    try {
      await silence.during(reading());
    } finally {
      await inFlight;
    }
    if (signal.aborted) return position;
    if (position === null || position < head) position = head;
    await deliver({ events, position, live: false });
    return position;
  }

  async #follow(
    { categories, types, maxBatch = MAX_BATCH, gatherMs = 0, unreadable }: SubscribeOptions,
    after: bigint | null,
    deliver: (batch: EventBatch) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    // Checkpoints and "caught up" come past the event buffer; pushed into it as marks, they keep their place in line.
    const subscription: AllStreamSubscription = this.#client.subscribeToAll({
      fromPosition: placeOf(after),
      filter: this.#filter({ categories, types }, (position) => {
        subscription.push({ mark: position.commit } satisfies Mark);
      }),
    });
    subscription.on('caughtUp', () => subscription.push({ mark: 'live' } satisfies Mark));
    const stop = () => {
      void subscription.unsubscribe().catch(() => undefined);
      subscription.destroy();
    };
    signal.addEventListener('abort', stop, { once: true });

    let queue: (ResolvedEvent | Mark)[] = [];
    let wake: (() => void) | undefined;
    let ended: { error?: unknown } | undefined;
    const end = (error?: unknown) => {
      ended ??= { error };
      wake?.();
    };
    subscription.on('data', (item: ResolvedEvent | Mark) => {
      queue.push(item);
      if (queue.length >= maxBatch * 2) subscription.pause();
      wake?.();
    });
    const renewed = () => end(new LogUnavailable('The connection was made anew'));
    this.#onRenewal.add(renewed);
    subscription.on('error', end);
    subscription.on('close', () => end());
    subscription.on('end', () => end());
    let position = after;
    let live = false;
    let gatherUntil = 0;
    try {
      while (!signal.aborted) {
        if (queue.length === 0) {
          if (ended) throw new LogUnavailable('The subscription ended', ended.error);
          await new Promise<void>((resolve) => (wake = resolve));
          wake = undefined;
          continue;
        }
        const early = gatherUntil - performance.now();
        if (early > 0 && queue.length < maxBatch) await pause(early, signal);
        const items = queue;
        queue = [];
        subscription.resume();
        for (let i = 0; i < items.length; i += maxBatch) {
          const events: RecordedEvent[] = [];
          let moved = false;
          for (const item of items.slice(i, i + maxBatch)) {
            if ('mark' in item) {
              if (item.mark === 'live') live = true;
              else if (position === null || item.mark > position) [position, moved] = [item.mark, true];
              continue;
            }
            const at = positionOf(item);
            if (at !== undefined && position !== null && at <= position) continue;
            if (at !== undefined) [position, moved] = [at, true];
            const decoded = this.#decode(item, unreadable);
            const event = decoded instanceof Promise ? await decoded : decoded;
            if (event) events.push(event);
          }
          if (moved && position !== null && !signal.aborted) {
            await deliver({ events, position, live });
            if (live) gatherUntil = performance.now() + gatherMs;
          }
        }
      }
    } finally {
      this.#onRenewal.delete(renewed);
      signal.removeEventListener('abort', stop);
      // An error after this has no reader; without a listener it would be uncaught.
      subscription.on('error', () => undefined);
      stop();
    }
  }

  #filter({ categories = allCategories, types }: Selection, reached?: (position: Position) => void) {
    const options = {
      checkpointInterval: 1,
      // A server sends a checkpoint after interval times window events that don't match: with more than one, whoever waits
      // for a position would wait for others to write.
      maxSearchWindow: reached ? 1 : 100,
      ...(reached ? { checkpointReached: (_s: AllStreamSubscription, position: Position) => reached(position) } : {}),
    };
    return types
      ? eventTypeFilter({ regex: `^(?:${types.join('|')})$`, ...options })
      : streamNameFilter({ prefixes: categories.map((c) => `${c}-`), ...options });
  }

  #decode(
    resolved: ResolvedEvent,
    unreadable?: SubscribeOptions['unreadable'],
  ): RecordedEvent | Promise<RecordedEvent> | undefined {
    const raw = resolved.event;
    if (!raw?.isJson) return undefined;
    const position = positionOf(resolved);
    try {
      return decodeEvent(raw as JSONRecordedEvent, position, this.#cipher);
    } catch (error) {
      // What can't be decoded now never can; only deciphering may, and that is told by a promise.
      if (unreadable !== 'deliver') throw error;
      return unreadableEvent(raw as JSONRecordedEvent, position, error);
    }
  }

  /** The client waits for ever when a server accepts and never answers; we don't. */
  async #inTime<T>(work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new LogUnavailable(`No answer within ${this.#timeoutMs} ms`)), this.#timeoutMs);
    });
    try {
      return await Promise.race([work, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Where a reader of $all begins that has seen everything up to a position. */
const placeOf = (after: bigint | null): Place => (after === null ? START : { commit: after, prepare: after });

/** Which events: of streams of some categories (default: all of them), or of some types. */
type Selection = Pick<SubscribeOptions, 'categories' | 'types'>;

/** A mark in the subscription's own buffer: everything before it has been read. */
interface Mark {
  readonly mark: bigint | 'live';
}

/**
 * What a reader yields, until it says nothing for so long, milliseconds. The client's reader knows neither a deadline nor a
 * way to be cancelled while it waits: it is left behind.
 *
 * @throws LogUnavailable
 */
async function* unlessSilent<T>(source: AsyncIterable<T>, ms: number): AsyncGenerator<T> {
  const reader = source[Symbol.asyncIterator]();
  let give: ((error: LogUnavailable) => void) | undefined;
  // One timer for the whole read; a bulk read would spend more on timers than on events.
  const timer = setTimeout(() => give?.(new LogUnavailable(`The log was silent for ${ms} ms`)), ms);
  try {
    for (;;) {
      timer.refresh();
      const next = await new Promise<IteratorResult<T>>((resolve, reject) => {
        give = reject;
        reader.next().then(resolve, reject);
      });
      give = undefined;
      if (next.done) return;
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    // Not awaited: a generator that waits for the network can't end before the network does.
    void reader.return?.().then(undefined, () => undefined);
  }
}

/**
 * Watches over a read that may wait for ever: the client's reader knows neither a deadline nor a way to be cancelled. One
 * timer looks now and then; a timer or a promise for each event would cost more than reading it.
 */
class Silence {
  /** The read was given up, or has ended: what comes still is nobody's. */
  over = false;
  #heard = 0;
  #excused = 0;

  constructor(
    private readonly ms: number,
    private readonly signal: AbortSignal,
  ) {}

  heard(): void {
    this.#heard++;
  }

  /** Waits for something else than the log. */
  async except(work: Promise<void>): Promise<void> {
    this.#excused++;
    try {
      await work;
    } finally {
      this.#excused--;
      this.#heard++;
    }
  }

  /** The result of `reading`, unless the log says nothing for so long, or the signal aborts: then it is left behind. @throws LogUnavailable */
  async during(reading: Promise<void>): Promise<void> {
    let heard = this.#heard;
    let timer: NodeJS.Timeout | undefined;
    let aborted: (() => void) | undefined;
    const givenUp = new Promise<void>((resolve, reject) => {
      aborted = resolve;
      timer = setInterval(() => {
        if (this.#excused === 0 && this.#heard === heard)
          reject(new LogUnavailable(`The log was silent for ${this.ms} ms`));
        heard = this.#heard;
      }, this.ms);
      if (this.signal.aborted) resolve();
      this.signal.addEventListener('abort', aborted, { once: true });
    });
    reading.catch(() => undefined);
    try {
      await Promise.race([reading, givenUp]);
    } finally {
      this.over = true;
      clearInterval(timer);
      this.signal.removeEventListener('abort', aborted!);
    }
  }
}

/** As the client's own append takes it. */
const forClient = ({ id, type, data, metadata }: EncodedEvent) =>
  jsonEvent({ id, type, data: JSON.parse(Buffer.from(data).toString()) as Record<string, unknown>, metadata });

const tooLarge = (stream: string, cause: unknown) =>
  new AppendTooLarge(`An append to ${stream} takes more than the store allows`, { cause });

/** Tells a handler's own error from a lost connection. */
class HandlerFailed extends Error {
  constructor(override readonly cause: unknown) {
    super('The batch handler failed');
  }
}

function positionOf(resolved: ResolvedEvent): bigint | undefined {
  const position = resolved.commitPosition ?? resolved.event?.position?.commit;
  return position === undefined || position >= UNKNOWN_POSITION ? undefined : position;
}

/** The server could not be reached, or says nothing: not an answer that it gave. */
function isUnavailable(error: unknown): boolean {
  if (error instanceof UnavailableError || error instanceof LogUnavailable || isNativelyUnavailable(error)) return true;
  return (error as { code?: unknown }).code === 14;
}
