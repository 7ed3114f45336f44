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

/** A map that forgets the entries written longest ago. */
export class BoundedMap<V> {
  private readonly map = new Map<string, V>();

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.map.size;
  }

  get(key: string): V | undefined {
    return this.map.get(key);
  }

  set(key: string, value: V): void {
    // Deleted first, so that a busy entry moves to the young end.
    this.map.delete(key);
    this.map.set(key, value);
    if (this.map.size > this.limit) {
      const oldest = this.map.keys().next();
      if (oldest.done !== true) this.map.delete(oldest.value);
    }
  }

  clear(): void {
    this.map.clear();
  }
}
