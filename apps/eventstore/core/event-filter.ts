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

/**
 * Builds a filter from an expression of the protocol; a regular expression wins over prefixes as in the real server, and
 * with neither nothing passes.
 */
export function createFilter(on: EventFilter['on'], regex: string, prefixes: readonly string[]): EventFilter {
  if (regex === '') return { on, by: { kind: 'prefix', prefixes } };
  const { source, flags } = translate(regex);
  try {
    return { on, by: { kind: 'regex', regex: new RegExp(source, `u${flags}`) } };
  } catch {
    try {
      return { on, by: { kind: 'regex', regex: new RegExp(source, flags) } };
    } catch (error) {
      throw new InvalidFilter(error instanceof Error ? error.message : String(error));
    }
  }
}

/** Options .NET takes at the very start of an expression, where they hold for all of it. */
const OPTIONS = /^\(\?([a-z]+)\)/;
/** What .NET spells differently: names of groups, and anchors. */
const GROUP = /^\(\?'(\w+)'/;
const ANCHORS: Readonly<Record<string, string>> = { A: '^', z: '$', Z: '(?=\\n?$)' };

/** A .NET expression in JavaScript's words. Throws for what would mean something else there without a complaint. */
function translate(expression: string): { source: string; flags: string } {
  const options = OPTIONS.exec(expression)?.[1] ?? '';
  if (/[^ims]/.test(options))
    throw new InvalidFilter(`Options '${options}' of a regular expression are not supported.`);
  let source = '';
  let inClass = false;
  for (let at = options === '' ? 0 : options.length + 3; at < expression.length; at++) {
    const [character, next = ''] = [expression[at]!, expression[at + 1]];
    if (character === '\\') {
      if (!inClass && 'Gea'.includes(next))
        throw new InvalidFilter(`'\\${next}' in a regular expression is not supported.`);
      source += (inClass ? undefined : ANCHORS[next]) ?? character + next;
      at++;
    } else if (inClass) {
      if (character === '-' && next === '[')
        throw new InvalidFilter('Subtraction of character classes is not supported.');
      if (character === ']') inClass = false;
      source += character;
    } else {
      const group = GROUP.exec(expression.slice(at));
      // A bracket that comes first in a class is one of its characters.
      const opening = /^\[\^?(\])?/.exec(expression.slice(at));
      if (opening !== null) {
        inClass = true;
        source += opening[1] === undefined ? opening[0] : opening[0].replace(']', '\\]');
      } else source += group === null ? character : `(?<${group[1]}>`;
      at += (opening?.[0] ?? group?.[0] ?? character).length - 1;
    }
  }
  return { source, flags: [...new Set(options)].join('') };
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
