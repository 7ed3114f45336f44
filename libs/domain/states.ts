/** States of aggregates as plain data, and what differs between two of them. Pure. */
import { PersistentMap } from './persistentMap.js';

export type Plain = null | boolean | number | string | readonly Plain[] | { readonly [key: string]: Plain };

/** One value that changed; `path` as in `comments.<id>.text`. What was not there, or is no more, is null. */
export interface Change {
  readonly path: string;
  readonly old: Plain;
  readonly new: Plain;
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

/** Named parts of a value; undefined for one that has none. */
function partsOf(value: unknown): Map<string, unknown> | undefined {
  if (value instanceof PersistentMap) return new Map(value.entries() as [string, unknown][]);
  if (value instanceof Map) return new Map(value as Map<string, unknown>);
  if (value instanceof Set) return undefined;
  if (Array.isArray(value)) {
    // Things in a list go by the id they bear, so that one that moves is not taken for another.
    const ids = value.map((item) =>
      isObject(item) ? Object.entries(item).find(([key]) => key.endsWith('Id')) : undefined,
    );
    return ids.every((id) => typeof id?.[1] === 'string')
      ? new Map(value.map((item, i) => [ids[i]![1] as string, item as unknown]))
      : undefined;
  }
  return isObject(value) ? new Map(Object.entries(value)) : undefined;
}

/** Maps become objects, keys sorted; sets become sorted lists. */
export function plain(value: unknown): Plain {
  if (value === undefined || value === null) return null;
  if (value instanceof Set) return [...value].map(plain).sort();
  if (Array.isArray(value)) return value.map(plain);
  const parts = partsOf(value);
  if (!parts) return value as Plain;
  return Object.fromEntries([...parts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, part]) => [key, plain(part)]));
}

/**
 * What differs, in the order of paths. States share what did not change, so only what did is looked at, and the cost is
 * that of the largest map on the way.
 */
export function changesBetween(before: unknown, after: unknown): Change[] {
  const changes: Change[] = [];
  const walk = (path: string, old: unknown, now: unknown): void => {
    if (Object.is(old, now)) return;
    // A state that begins or ends is told field by field.
    const [was, is] = [partsOf(old ?? (path === '' ? {} : null)), partsOf(now ?? (path === '' ? {} : null))];
    if (was && is) {
      for (const key of new Set([...was.keys(), ...is.keys()]))
        walk(path === '' ? key : `${path}.${key}`, was.get(key), is.get(key));
      return;
    }
    const [from, to] = [plain(old), plain(now)];
    if (JSON.stringify(from) !== JSON.stringify(to)) changes.push({ path, old: from, new: to });
  };
  walk('', before, after);
  return changes.sort((a, b) => (a.path < b.path ? -1 : 1));
}
