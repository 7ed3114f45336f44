/**
 * Whether a schema may take another's place under the same version number: what was stored must still fit, and who was
 * written against the old one must still be able to read. The rules are in docs/feeds.md.
 */
import type { JsonSchema } from './json-schema.js';

/** Words for people and for generators; they bind nobody. */
const SILENT = new Set(['title', 'description', 'examples', '$schema', '$id', 'default']);
/** Keyword → whether a larger value lets less through. */
const LIMITS = new Map([
  ['minimum', true],
  ['exclusiveMinimum', true],
  ['minLength', true],
  ['minItems', true],
  ['maximum', false],
  ['exclusiveMaximum', false],
  ['maxLength', false],
  ['maxItems', false],
]);

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
const objectOf = (value: unknown): Record<string, JsonSchema> =>
  typeof value === 'object' && value !== null ? (value as Record<string, JsonSchema>) : {};
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** What is broken, in words, each with its path; empty when nothing is. */
export function breakingChanges(older: JsonSchema, newer: JsonSchema, path = ''): string[] {
  const at = path || 'data';
  const found: string[] = [];
  const [was, is] = [objectOf(older['properties']), objectOf(newer['properties'])];
  const [had, has] = [listOf(older['required']), listOf(newer['required'])];
  for (const [name, schema] of Object.entries(was)) {
    const field = path ? `${path}.${name}` : name;
    if (!is[name]) found.push(`${field} was removed`);
    else found.push(...breakingChanges(schema, is[name], field));
    if (is[name] && had.includes(name) && !has.includes(name)) found.push(`${field} may be absent now`);
  }
  for (const name of has)
    if (!had.includes(name)) found.push(`${path ? `${path}.` : ''}${String(name)} is required now`);

  for (const key of ['enum'] as const) {
    const gone = listOf(older[key]).filter((value) => !listOf(newer[key]).includes(value));
    if (older[key] && newer[key] && gone.length > 0) found.push(`${at} lost the values ${gone.join(', ')}`);
    else if (Boolean(older[key]) !== Boolean(newer[key]))
      found.push(`${at} ${newer[key] ? 'became' : 'is no longer'} a closed set`);
  }
  for (const key of ['anyOf', 'oneOf'] as const) {
    const [options, choices] = [listOf(older[key]) as JsonSchema[], listOf(newer[key]) as JsonSchema[]];
    options.forEach((option, i) => {
      const kept = choices.find((choice) => same(choice, option)) ?? choices[i];
      if (!kept) found.push(`${at} lost one of its forms`);
      else found.push(...breakingChanges(option, kept, path ? `${path}|${i}` : `|${i}`));
    });
    // One more kind of a union is like one more value of a set; null where there was none is not.
    const nullable = choices.some((choice) => choice['type'] === 'null') && !options.some((o) => o['type'] === 'null');
    if (nullable || (options.length === 0) !== (choices.length === 0)) found.push(`${at} has another type`);
  }
  if (older['items'] && newer['items'])
    found.push(...breakingChanges(older['items'] as JsonSchema, newer['items'] as JsonSchema, `${path}[]`));

  for (const [key, tightens] of LIMITS) {
    const [before, now] = [older[key], newer[key]];
    const tighter = typeof now === 'number' && (typeof before !== 'number' || (tightens ? now > before : now < before));
    if (tighter) found.push(`${at} has a tighter ${key}`);
  }
  const other = new Set([...Object.keys(older), ...Object.keys(newer)]);
  for (const key of ['properties', 'required', 'enum', 'anyOf', 'oneOf', 'items', ...LIMITS.keys(), ...SILENT])
    if (key !== 'items' || Boolean(older[key]) === Boolean(newer[key])) other.delete(key);
  for (const key of other) if (!same(older[key], newer[key])) found.push(`${at} has another ${key}`);
  return found;
}
