/** A comparison as one list of ranges, and as a report. Pure. */
import type { Comparison, Difference, DifferenceKind } from './compare.js';
import type { FrameSpan } from './measure.js';

/** First and last frame, both included. */
export interface FrameInOut {
  readonly in: number;
  readonly out: number;
}

export interface ComparedRange {
  readonly kind: DifferenceKind | 'SAME';
  /** Null for INSERTED. */
  readonly from: FrameInOut | null;
  /** Null for REMOVED. */
  readonly to: FrameInOut | null;
  readonly ssim: { readonly mean: number; readonly min: number } | null;
  readonly still: { readonly name: string; readonly from: number; readonly to: number } | null;
}

const inOut = (span: FrameSpan | null): FrameInOut | null =>
  span && { in: span.first, out: span.first + span.count - 1 };

const toRange = ({ kind, a, b, ssim, still, stillOf }: Difference): ComparedRange => ({
  kind,
  from: inOut(a),
  to: inOut(b),
  ssim,
  still: still !== null && stillOf ? { name: still, from: stillOf.a, to: stillOf.b } : null,
});

const isAt = (one: FrameSpan | null, other: FrameSpan | null): boolean =>
  one?.first === other?.first && one?.count === other?.count;

/**
 * Every frame of the two in one range, in the order of the second: what is the same, with the changed frames in between
 * as ranges of their own, and what was moved, re-timed, replaced, inserted and removed. Changed frames of what was re-timed
 * are in two.
 */
export function comparedRanges({ blocks, differences }: Comparison): ComparedRange[] {
  const changed = differences.filter(({ kind }) => kind === 'CHANGED');
  const ranges: ComparedRange[] = [];
  for (const { kind, a, b } of blocks) {
    if (kind !== 'SAME') {
      const known = differences.find((one) => one.kind === kind && isAt(one.a, a) && isAt(one.b, b));
      ranges.push(toRange(known ?? { kind, a, b, ssim: null, still: null, stillOf: null }));
    }
    if (!a || !b) continue;
    const end = b.first + b.count;
    const inside = changed.filter((one) => one.b!.first < end && one.b!.first + one.b!.count > b.first);
    let next = b.first;
    const same = (until: number): void => {
      if (kind === 'SAME' && until > next) {
        const shift = a.first - b.first;
        const to = { in: next, out: until - 1 };
        ranges.push({ kind, from: { in: to.in + shift, out: to.out + shift }, to, ssim: null, still: null });
      }
    };
    for (const one of inside) {
      same(one.b!.first);
      // One that began in the block before has been told there.
      if (one.b!.first >= b.first) ranges.push(toRange(one));
      next = one.b!.first + one.b!.count;
    }
    same(end);
  }
  return ranges;
}

/** Pairs least alike, worst first. */
export const worstPairs = ({ pairs }: Comparison, most: number): Comparison['pairs'] =>
  [...pairs].sort((one, other) => one.ssim - other.ssim || one.b - other.b).slice(0, most);

const digits = (value: number, places: number): number => Number(value.toFixed(places));

/** `picturelock.comparison/1`: all there is to know, as JSON; `pairs` are `[from, to, ssim, psnr]`, PSNR null for identical frames. */
export const comparisonReport = (comparison: Comparison) => ({
  schema: 'picturelock.comparison/1' as const,
  frames: { from: comparison.frames.a, to: comparison.frames.b },
  quality: comparison.overall,
  ranges: comparedRanges(comparison),
  pairs: comparison.pairs.map(({ a, b, ssim, psnr }) => [
    a,
    b,
    digits(ssim, 6),
    psnr === null ? null : digits(psnr, 3),
  ]),
});
