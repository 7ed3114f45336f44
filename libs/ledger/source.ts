import { setTimeout as sleep } from 'node:timers/promises';
import {
  BACKWARDS,
  END,
  excludeSystemEvents,
  FORWARDS,
  KurrentDBClient,
  START,
  StreamDeletedError,
  StreamNotFoundError,
} from '@kurrent/kurrentdb-client';
import { isLeaf, type LedgerEvent } from './leaf.js';

/** What `$all` gave: an event with its commit position. */
export interface SourceEvent {
  readonly event: LedgerEvent;
  readonly position: bigint;
}

/** What allows the store to have removed events of a stream: its metadata, or its end. */
export interface StreamPolicy {
  readonly stream: string;
  readonly maxCount?: number;
  /** Seconds. */
  readonly maxAge?: number;
  readonly truncateBefore?: number;
  /** Deleted: nothing of it need be there any more. */
  readonly deleted?: boolean;
  /** Revision of the newest event there, -1 when there is none. */
  readonly last: number;
}

export interface LedgerSource {
  /** Commit position of the newest event of any kind, 0 when the log is empty. */
  head(): Promise<bigint>;
  /** Leaves after a position, or from it, in log order, up to the end there is when it is asked. */
  read(position: bigint, options?: { inclusive?: boolean }): AsyncIterable<SourceEvent>;
  policy(stream: string): Promise<StreamPolicy>;
  close(): Promise<void>;
}

/** The log could not be read; asking again may help. */
export class SourceUnavailable extends Error {
  override readonly name = 'SourceUnavailable';
  readonly code = 'LOG_UNAVAILABLE';
}

/** A batch of the client's own reader: bytes as they came, before anything is parsed. */
interface RawEvent {
  readonly event?: {
    readonly streamId: string;
    readonly id: string;
    readonly type: string;
    readonly isJson: boolean;
    readonly revision: bigint;
    /** Milliseconds since 1970. */
    readonly created: number;
    readonly data: Uint8Array;
    readonly metadata: Uint8Array;
    readonly position?: { readonly commit: bigint };
  };
  readonly commitPosition?: bigint;
}

const SILENCE_MS = 60_000;

/**
 * The log as any server of the protocol gives it, read with the stock client. The leaves are made of bytes, so its reader is
 * asked before it parses JSON.
 */
export function openSource(url: string, silenceMs = SILENCE_MS): LedgerSource {
  let current: KurrentDBClient | undefined;
  const client = (): KurrentDBClient => (current ??= KurrentDBClient.connectionString(url));
  /** A client that has lost its server may not find it again: the next call gets a new one. */
  const failed = async (error: unknown): Promise<SourceUnavailable> => {
    const lost = current;
    current = undefined;
    await lost?.dispose().catch(() => undefined);
    return error instanceof SourceUnavailable
      ? error
      : new SourceUnavailable(`The log could not be read: ${(error as Error).message}`, { cause: error });
  };
  const inTime = async <T>(work: Promise<T>): Promise<T> => {
    const abort = new AbortController();
    try {
      return await Promise.race([
        work,
        sleep(silenceMs, undefined, { signal: abort.signal }).then(() => {
          throw new SourceUnavailable(`The log was silent for ${silenceMs} ms`);
        }),
      ]);
    } finally {
      abort.abort();
    }
  };
  const batches = async function* (from: bigint | null, direction: string, maxCount?: number) {
    const reader = client()
      .rustClient.readAll({
        fromPosition: from === null ? (direction === BACKWARDS ? END : START) : { commit: from, prepare: from },
        direction,
        maxCount: BigInt(maxCount ?? Number.MAX_SAFE_INTEGER),
        requiresLeader: false,
        resolvesLink: false,
        ...(direction === FORWARDS ? { filter: excludeSystemEvents() } : {}),
      })
      [Symbol.asyncIterator]() as AsyncIterator<readonly RawEvent[]>;
    for (;;) {
      const next = await inTime(reader.next());
      if (next.done) return;
      yield next.value;
    }
  };
  const positionOf = (raw: RawEvent): bigint => raw.commitPosition ?? raw.event?.position?.commit ?? 0n;

  return {
    async head() {
      try {
        for await (const [newest] of batches(null, BACKWARDS, 1)) if (newest) return positionOf(newest);
        return 0n;
      } catch (error) {
        throw await failed(error);
      }
    },
    async *read(after, { inclusive = false } = {}) {
      try {
        for await (const batch of batches(after > 0n ? after : null, FORWARDS)) {
          for (const raw of batch) {
            const position = positionOf(raw);
            if (!raw.event || position < after || (position === after && !inclusive)) continue;
            const { streamId, id, type, isJson, revision, created, data, metadata } = raw.event;
            if (!isLeaf({ stream: streamId, type })) continue;
            yield {
              position,
              event: {
                stream: streamId,
                revision: Number(revision),
                type,
                id: id.toLowerCase(),
                created: new Date(created).toISOString(),
                contentType: isJson ? 'application/json' : 'application/octet-stream',
                data: Buffer.from(data),
                metadata: Buffer.from(metadata),
              },
            };
          }
        }
      } catch (error) {
        throw await failed(error);
      }
    },
    async policy(stream) {
      try {
        const { metadata = {} } = await inTime(client().getStreamMetadata(stream));
        let last = -1;
        let deleted = false;
        try {
          const newest = client().readStream(stream, { direction: BACKWARDS, fromRevision: END, maxCount: 1 });
          for await (const { event } of newest) if (event) last = Number(event.revision);
        } catch (error) {
          if (!(error instanceof StreamNotFoundError) && !(error instanceof StreamDeletedError)) throw error;
          deleted = true;
        }
        const { maxCount, maxAge, truncateBefore } = metadata as {
          maxCount?: number;
          maxAge?: number;
          truncateBefore?: number | bigint;
        };
        return {
          stream,
          last,
          ...(maxCount === undefined ? {} : { maxCount }),
          ...(maxAge === undefined ? {} : { maxAge }),
          ...(truncateBefore === undefined ? {} : { truncateBefore: Number(truncateBefore) }),
          ...(deleted ? { deleted } : {}),
        };
      } catch (error) {
        if (error instanceof StreamDeletedError) return { stream, last: -1, deleted: true };
        throw await failed(error);
      }
    },
    async close() {
      await current?.dispose();
    },
  };
}
