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

/** `If-None-Match` and `If-Match` lists; weak tags match only in the weak comparison. */
export function matchesEtag(header: string, etag: string, comparison: 'weak' | 'strong'): boolean {
  if (header.trim() === '*') return true;
  const tags = header.match(/(?:W\/)?"[^"]*"/g) ?? [];
  return tags.some((tag) => tag === etag || (comparison === 'weak' && tag === `W/${etag}`));
}

/** Whether `If-Range` lets the range through: only the same strong tag does. Dates never, as content has no date here. */
export function ifRangeHolds(header: string | undefined, etag: string): boolean {
  return header === undefined || header.trim() === etag;
}
