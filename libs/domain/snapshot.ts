/** States as JSON and back, for snapshots. Pure. */
import type { SnapshotCodec } from '#libs/events/catalogue/index.js';
import { PersistentMap } from './persistentMap.js';

const TAG = '$kind';

const encode = (value: unknown): unknown => {
  if (value instanceof PersistentMap) return { [TAG]: 'persistentMap', of: value.entries().map(encode) };
  if (value instanceof Map) return { [TAG]: 'map', of: [...value].map(encode) };
  if (value instanceof Set) return { [TAG]: 'set', of: [...value].map(encode) };
  if (Array.isArray(value)) return value.map(encode);
  if (typeof value !== 'object' || value === null) {
    // What JSON would drop or bend must not come back as something else.
    if (value === undefined || (typeof value === 'number' && !Number.isFinite(value)) || typeof value === 'bigint')
      throw new TypeError(`A snapshot can't hold ${String(value)}`);
    return value;
  }
  const prototype = Object.getPrototypeOf(value) as unknown;
  if ((prototype !== Object.prototype && prototype !== null) || TAG in value)
    throw new TypeError('A snapshot holds plain objects, lists, maps and sets only');
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, encode(part)]));
};

/** In place: what was parsed for this is nobody else's, and building all of it again would be most of the work. */
const decode = (value: unknown): unknown => {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (typeof value[i] === 'object') value[i] = decode(value[i]);
    return value;
  }
  if (TAG in value) {
    const { [TAG]: kind, of } = value as { [TAG]: unknown; of: unknown[] };
    const parts = decode(of) as unknown[];
    if (kind === 'persistentMap') return new PersistentMap(parts as [unknown, unknown][]);
    if (kind === 'map') return new Map(parts as [unknown, unknown][]);
    if (kind === 'set') return new Set(parts);
    throw new TypeError(`A snapshot of another build: ${String(kind)}`);
  }
  const parts = value as Record<string, unknown>;
  for (const key in parts) if (typeof parts[key] === 'object') parts[key] = decode(parts[key]);
  return value;
};

/**
 * Snapshots of a decider's states. `version` grows with every change of what a state holds or means: older snapshots are
 * then passed over. States may be plain objects, lists, maps, sets and {@link PersistentMap}s.
 */
export const snapshots = <S>(version: number): SnapshotCodec<S> => ({
  version,
  encode: (state) => encode(state),
  decode: (json) => decode(json) as S,
});
