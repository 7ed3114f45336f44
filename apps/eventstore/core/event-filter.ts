/** Server-side filters of `$all`: by stream name or event type, by prefix or regular expression. Pure. */

export type EventFilter = {
  on: 'stream' | 'type';
  by: { kind: 'prefix'; prefixes: readonly string[] } | { kind: 'regex'; regex: RegExp };
};

export type FilterableEvent = { stream: string; type: string };

/** The usual spelling of “no system events”, which the database can decide without a regular expression. */
const NO_SYSTEM = new Set(['^[^\\$].*', '^[^$].*', '^[^\\$]', '^[^$]']);

export class InvalidFilter extends Error {
  readonly code = 'INVALID_FILTER';
}

/** Builds a filter from an expression of the protocol; a regular expression wins over prefixes as in the real server. */
export function createFilter(on: EventFilter['on'], regex: string, prefixes: readonly string[]): EventFilter {
  if (regex === '') {
    if (prefixes.length === 0) throw new InvalidFilter('A filter needs a regular expression or at least one prefix.');
    return { on, by: { kind: 'prefix', prefixes } };
  }
  try {
    return { on, by: { kind: 'regex', regex: new RegExp(regex, 'u') } };
  } catch {
    try {
      return { on, by: { kind: 'regex', regex: new RegExp(regex) } };
    } catch (error) {
      throw new InvalidFilter(error instanceof Error ? error.message : String(error));
    }
  }
}

export function matches(filter: EventFilter, event: FilterableEvent): boolean {
  const subject = filter.on === 'stream' ? event.stream : event.type;
  if (filter.by.kind === 'regex') return filter.by.regex.test(subject);
  for (const prefix of filter.by.prefixes) if (subject.startsWith(prefix)) return true;
  return false;
}

/** True when the filter only leaves out names that start with `$`. */
export function excludesOnlySystem(filter: EventFilter): boolean {
  return filter.by.kind === 'regex' && NO_SYSTEM.has(filter.by.regex.source);
}
