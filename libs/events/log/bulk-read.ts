import type {
  Filter,
  JSONRecordedEvent,
  KurrentDBClient,
  Position,
  ResolvedEvent,
  START,
} from '@kurrent/kurrentdb-client';
import { readAhead } from './read-ahead.js';

interface NativeRecord {
  readonly id: string;
  readonly streamId: string;
  readonly revision: bigint;
  readonly type: string;
  readonly created: number | string;
  readonly isJson: boolean;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
  readonly position?: { readonly commit: bigint; readonly prepare: bigint };
}
interface NativeEvent {
  readonly event?: NativeRecord;
  readonly commitPosition?: bigint;
}

/** What the client has for its own modules: its native reader, with discovery, TLS and credentials. */
interface Inside {
  readonly rustClient: {
    readAll(options: object): AsyncIterable<readonly NativeEvent[]>;
  };
  resolveBridgeCredentials(perCall?: undefined): Promise<unknown>;
}

/**
 * Batches of the native reader, 64 events each. The connection's window holds a few milliseconds of reading only; on a busy
 * machine the server is often away for longer.
 */
const AHEAD = 16;

/** A place in `$all`, as the client has it. */
export type Place = Position | typeof START;

/**
 * Events of `$all` by the handful, as the client's native reader has them. Its own `readAll` hands them over one by one, with
 * promises for each, and copies their bytes first: a third of what reading a long log costs.
 *
 * What is no JSON has no event.
 */
export async function* readInBulk(
  client: KurrentDBClient,
  fromPosition: Place,
  filter: Filter,
): AsyncGenerator<readonly ResolvedEvent[]> {
  const inside = client as unknown as Inside;
  const credentials = await inside.resolveBridgeCredentials();
  const batches = inside.rustClient.readAll({
    credentials,
    direction: 'forwards',
    fromPosition,
    filter,
    maxCount: BigInt(Number.MAX_SAFE_INTEGER),
    requiresLeader: false,
    resolvesLink: false,
  });
  for await (const batch of readAhead(batches, AHEAD)) yield batch.map(resolved);
}

/** A failure of the native reader because the server can't be reached. */
export const isNativelyUnavailable = (error: unknown): boolean => (error as Error).name === 'UnavailableError';

function resolved({ event, commitPosition }: NativeEvent): ResolvedEvent {
  return { event: event?.isJson ? recorded(event) : undefined, commitPosition } as ResolvedEvent;
}

/** One literal: there is one for every event. */
const recorded = (native: NativeRecord): JSONRecordedEvent =>
  ({
    id: native.id,
    streamId: native.streamId,
    revision: native.revision,
    type: native.type,
    isJson: true,
    created: new Date(native.created),
    position: native.position,
    data: parsed(native.data),
    metadata: native.metadata.length === 0 ? undefined : parsed(native.metadata),
  }) as unknown as JSONRecordedEvent;

/** What is meant to be JSON and is not, stays text. The bytes are not copied. */
function parsed({ buffer, byteOffset, byteLength }: Uint8Array): unknown {
  const text = Buffer.from(buffer, byteOffset, byteLength).toString();
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
