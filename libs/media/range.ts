/** Conditional and range requests as RFC 9110 has them (sections 13 and 14). Pure. */
import type { ByteRange } from './blobs.js';

export type RangeDecision =
  /** No usable Range header: the whole representation. */
  | { readonly kind: 'WHOLE' }
  | { readonly kind: 'PART'; readonly range: ByteRange }
  /** 416. */
  | { readonly kind: 'UNSATISFIABLE' };

const WHOLE: RangeDecision = { kind: 'WHOLE' };
const UNSATISFIABLE: RangeDecision = { kind: 'UNSATISFIABLE' };

/**
 * What a Range header asks of a representation of `size` bytes. Other units and broken syntax are ignored, as section 14.2 allows.
 * More than one range is refused (416): no player asks for it, and a multipart answer from a large file is a way to make a server
 * work.
 */
export function decideRange(header: string | undefined, size: number): RangeDecision {
  const set = /^bytes\s*=\s*(.*)$/i.exec(header?.trim() ?? '')?.[1];
  if (!set) return WHOLE;
  const specs = set.split(',').map((spec) => /^(\d*)-(\d*)$/.exec(spec.trim()));
  if (specs.some((spec) => !spec || (spec[1] === '' && spec[2] === ''))) return WHOLE;
  const [first, last] = [specs[0]![1]!, specs[0]![2]!];
  if (first !== '' && last !== '' && Number(last) < Number(first)) return WHOLE;
  if (specs.length > 1) return UNSATISFIABLE;
  if (first === '') {
    const length = Math.min(Number(last), size);
    return length === 0 ? UNSATISFIABLE : { kind: 'PART', range: { start: size - length, end: size - 1 } };
  }
  const start = Number(first);
  if (start >= size) return UNSATISFIABLE;
  return { kind: 'PART', range: { start, end: last === '' ? size - 1 : Math.min(Number(last), size - 1) } };
}

/** What is known of a representation when a conditional request is judged. */
export interface Validators {
  /** Strong, with its quotes. */
  readonly etag: string;
  /** Last-Modified, seconds since 1970 UTC; null for content without a date: conditions by date are ignored then. */
  readonly modified?: number | null;
}

export interface ConditionHeaders {
  readonly 'if-match'?: string;
  readonly 'if-none-match'?: string;
  readonly 'if-modified-since'?: string;
  readonly 'if-unmodified-since'?: string;
}

/** The answer to a GET or HEAD that its conditions ask for, in the order of section 13.2.2. Null: go on. */
export function decideConditions(headers: ConditionHeaders, { etag, modified = null }: Validators): 304 | 412 | null {
  if (headers['if-match'] !== undefined) {
    if (!matchesEtag(headers['if-match'], etag, 'strong')) return 412;
  } else if (modified !== null) {
    const date = parseHttpDate(headers['if-unmodified-since']);
    if (date !== null && modified > date) return 412;
  }
  if (headers['if-none-match'] !== undefined) {
    if (matchesEtag(headers['if-none-match'], etag, 'weak')) return 304;
  } else if (modified !== null) {
    const date = parseHttpDate(headers['if-modified-since']);
    if (date !== null && modified <= date) return 304;
  }
  return null;
}

/** `If-None-Match` and `If-Match` lists; weak tags match only in the weak comparison. */
export function matchesEtag(header: string, etag: string, comparison: 'weak' | 'strong'): boolean {
  if (header.trim() === '*') return true;
  const tags = header.match(/(?:W\/)?"[^"]*"/g) ?? [];
  return tags.some((tag) => tag === etag || (comparison === 'weak' && tag === `W/${etag}`));
}

/** Whether `If-Range` lets the range through: only the same strong tag does. Dates never: two contents may share a second. */
export function ifRangeHolds(header: string | undefined, etag: string): boolean {
  return header === undefined || header.trim() === etag;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const HTTP_DATES = [
  // Sun, 06 Nov 1994 08:49:37 GMT
  /^[A-Z][a-z]{2}, (?<day>\d\d) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d\d:\d\d:\d\d) GMT$/,
  // Sunday, 06-Nov-94 08:49:37 GMT
  /^[A-Z][a-z]+day, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) (?<time>\d\d:\d\d:\d\d) GMT$/,
  // Sun Nov  6 08:49:37 1994
  /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<time>\d\d:\d\d:\d\d) (?<year>\d{4})$/,
];

/** Seconds since 1970 UTC of an HTTP-date in any of its three forms (section 5.6.7); null for anything else. */
export function parseHttpDate(text: string | undefined): number | null {
  const fields = HTTP_DATES.map((form) => form.exec(text?.trim() ?? '')?.groups).find((groups) => groups);
  const month = fields ? MONTHS.indexOf(fields['month']!) : -1;
  if (!fields || month < 0) return null;
  const [hour, minute, second] = fields['time']!.split(':').map(Number) as [number, number, number];
  const short = fields['year']!.length === 2;
  const century = new Date().getUTCFullYear();
  let year = Number(fields['year']) + (short ? century - (century % 100) : 0);
  // A year of two digits that looks more than 50 years ahead is in the past.
  if (short && year > century + 50) year -= 100;
  const seconds = Date.UTC(year, month, Number(fields['day']), hour, minute, second) / 1000;
  return hour < 24 && minute < 60 && second <= 60 && Number.isFinite(seconds) ? seconds : null;
}
