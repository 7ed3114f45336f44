/** What differs between two versions, as a list that leads to frames of the later one. Pure. */
import type { ComparisonQuery } from '../../generated/graphql.js';

export type Range = NonNullable<ComparisonQuery['comparison']>['ranges']['edges'][number]['node'];

export interface Difference {
  readonly kind: Exclude<Range['kind'], 'SAME'>;
  /** Frame of the later version to look at: for what was removed, the first one after. */
  readonly at: number;
  /** `01:00:02:22 – 01:00:03:09`, of the version the frames are in. */
  readonly timecode: string;
  readonly frames: number;
  readonly still: string | null;
}

/** @param ranges all of them, in order */
export function differencesOf(ranges: readonly Range[]): Difference[] {
  const differences: Difference[] = [];
  let next = 0;
  for (const { kind, from, to, still } of ranges) {
    const range = to ?? from;
    if (kind !== 'SAME' && range) {
      const [first, last] = [range.timecodeIn ?? String(range.in), range.timecodeOut ?? String(range.out)];
      differences.push({
        kind,
        at: to?.in ?? next,
        timecode: range.in === range.out ? first : `${first} – ${last}`,
        frames: range.out - range.in + 1,
        still: still?.url ?? null,
      });
    }
    if (to) next = Math.max(next, to.out + 1);
  }
  return differences;
}
