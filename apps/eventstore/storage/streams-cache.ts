import type { StreamHead } from '../core/expected-revision.js';
import type { StreamMetadata } from '../core/stream-metadata.js';

/** What the server knows of a stream and its metadata stream. Immutable: a change makes a new one. */
export type StreamState = StreamHead & {
  metadata: StreamMetadata;
  /** Data of the last metadata event, as written. */
  rawMetadata: Buffer | undefined;
  /** Ids of the last events, in order; the last one is that of `lastRevision`. */
  recentIds: readonly string[];
};

const RECENT_IDS_PER_STREAM = 32;

export const UNKNOWN_STREAM: StreamState = {
  lastRevision: -1,
  tombstoned: false,
  softDeleted: false,
  metaLastRevision: -1,
  metadata: {},
  rawMetadata: undefined,
  recentIds: [],
};

export function appendRecentIds(recent: readonly string[], ids: readonly string[]): readonly string[] {
  const all = recent.length === 0 ? ids : recent.concat(ids);
  return all.length > RECENT_IDS_PER_STREAM ? all.slice(-RECENT_IDS_PER_STREAM) : all;
}

/** Id of the event at `revision`, if it is among the recent ones. */
export function recentIdAt(state: StreamState, revision: number): string | undefined {
  return state.recentIds[state.recentIds.length - 1 - (state.lastRevision - revision)];
}

/**
 * A map that forgets what wasn't used for long. Two generations: the young one takes what is written or found again; when
 * it is half of the limit, it becomes the old one and the old one goes. (Deleting the first key of one big map instead
 * makes every later look for the first key walk over the holes.)
 */
export class BoundedMap<V> {
  private young = new Map<string, V>();
  private old = new Map<string, V>();

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.young.size + this.old.size;
  }

  get(key: string): V | undefined {
    const value = this.young.get(key);
    if (value !== undefined) return value;
    const old = this.old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, value: V): void {
    this.young.set(key, value);
    if (this.young.size * 2 < this.limit) return;
    this.old = this.young;
    this.young = new Map();
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }
}
