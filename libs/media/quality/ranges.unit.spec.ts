import fc from 'fast-check';
import { alignFrames, type MapBlock } from './align.js';
import type { Comparison, Difference } from './compare.js';
import { comparedRanges, comparisonReport, worstPairs } from './ranges.js';

const changed = (a: number, b: number, count: number, still: string | null = null): Difference => ({
  kind: 'CHANGED',
  a: { first: a, count },
  b: { first: b, count },
  ssim: { mean: 0.9, min: 0.8 },
  still,
  stillOf: still ? { a: a + 1, b: b + 1 } : null,
});
const other = (block: MapBlock): Difference =>
  ({ ...block, ssim: null, still: null, stillOf: null }) as unknown as Difference;
const comparison = (blocks: MapBlock[], differences: Difference[], more: Partial<Comparison> = {}): Comparison => ({
  frames: { a: 0, b: 0 },
  blocks,
  differences,
  pairs: [],
  overall: null,
  ...more,
});
const told = (of: Comparison) =>
  comparedRanges(of).map(({ kind, from, to }) => [kind, from && [from.in, from.out], to && [to.in, to.out]]);

test('what is the same is told around what has changed, and what was removed stands where it was', () => {
  const removed: MapBlock = { kind: 'REMOVED', a: { first: 20, count: 10 }, b: null };
  const blocks: MapBlock[] = [
    { kind: 'SAME', a: { first: 0, count: 20 }, b: { first: 0, count: 20 } },
    removed,
    { kind: 'SAME', a: { first: 30, count: 90 }, b: { first: 20, count: 90 } },
  ];
  const of = comparison(blocks, [other(removed), changed(47, 37, 12, 'difference-01.png')]);
  expect(told(of)).toEqual([
    ['SAME', [0, 19], [0, 19]],
    ['REMOVED', [20, 29], null],
    ['SAME', [30, 46], [20, 36]],
    ['CHANGED', [47, 58], [37, 48]],
    ['SAME', [59, 119], [49, 109]],
  ]);
  expect(comparedRanges(of)[3]).toMatchObject({
    ssim: { mean: 0.9, min: 0.8 },
    still: { name: 'difference-01.png', from: 48, to: 38 },
  });
});

test('a change at the edge of a block leaves nothing empty, and what was re-timed is told with what changed in it', () => {
  const retimed: MapBlock = { kind: 'RETIMED', a: { first: 10, count: 20 }, b: { first: 10, count: 10 } };
  const blocks: MapBlock[] = [{ kind: 'SAME', a: { first: 0, count: 10 }, b: { first: 0, count: 10 } }, retimed];
  expect(told(comparison(blocks, [changed(0, 0, 2), changed(8, 8, 2), other(retimed), changed(14, 12, 1)]))).toEqual([
    ['CHANGED', [0, 1], [0, 1]],
    ['SAME', [2, 7], [2, 7]],
    ['CHANGED', [8, 9], [8, 9]],
    ['RETIMED', [10, 29], [10, 19]],
    ['CHANGED', [14, 14], [12, 12]],
  ]);
  expect(told(comparison([{ kind: 'INSERTED', a: null, b: { first: 0, count: 3 } }], []))).toEqual([
    ['INSERTED', null, [0, 2]],
  ]);
});

test('every frame is in exactly one range, whatever the edit', () => {
  /** A picture that is like no other one. */
  const picture = (of: number, cells: number) =>
    Array.from({ length: cells }, (_, cell) => {
      let mixed = Math.imul(of * 64 + cell + 1, 0x9e3779b1);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca77);
      return (mixed ^ (mixed >>> 13)) & 255;
    });
  const signatures = (frames: readonly number[]) => ({
    count: frames.length,
    columns: 8,
    rows: 6,
    data: Uint8Array.from(frames.flatMap((of) => picture(of, 48))),
  });
  const frames = Array.from({ length: 80 }, (_, frame) => frame);
  fc.assert(
    fc.property(fc.nat(40), fc.nat(30), fc.nat(60), fc.nat(20), (cut, length, insert, more) => {
      const kept = frames.filter((frame) => frame < cut || frame >= cut + length);
      const new_ = Array.from({ length: more }, (_, i) => 1000 + i);
      const edited = [...kept.slice(0, insert), ...new_, ...kept.slice(insert)];
      const map = alignFrames(signatures(frames), signatures(edited));
      const ranges = comparedRanges(comparison([...map.blocks], []));
      const all = (side: 'from' | 'to') =>
        ranges
          .flatMap(({ [side]: range }) =>
            range ? Array.from({ length: range.out - range.in + 1 }, (_, i) => range.in + i) : [],
          )
          .sort((a, b) => a - b);
      expect(all('to')).toEqual(edited.map((_, frame) => frame));
      expect(all('from')).toEqual(frames);
    }),
    { numRuns: 50 },
  );
});

test('the report has every pair, and the worst are named', () => {
  const pairs = [
    { a: 0, b: 0, ssim: 1, psnr: null },
    { a: 1, b: 1, ssim: 0.91234567, psnr: 31.23456 },
    { a: 2, b: 2, ssim: 0.5, psnr: 12 },
  ];
  const of = comparison([], [], { pairs, frames: { a: 3, b: 3 }, overall: { ssim: 0.8, psnr: 15 } });
  expect(comparisonReport(of)).toEqual({
    schema: 'picturelock.comparison/1',
    frames: { from: 3, to: 3 },
    quality: { ssim: 0.8, psnr: 15 },
    ranges: [],
    pairs: [
      [0, 0, 1, null],
      [1, 1, 0.912346, 31.235],
      [2, 2, 0.5, 12],
    ],
  });
  expect(worstPairs(of, 2)).toEqual([pairs[2], pairs[1]]);
});
