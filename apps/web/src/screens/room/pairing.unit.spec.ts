import { pairByNumber, pairByRanges, type PairedRange } from './pairing.js';

const range = (from: [number, number] | null, to: [number, number] | null): PairedRange => ({
  from: from && { in: from[0], out: from[1] },
  to: to && { in: to[0], out: to[1] },
});
const at = (frame: number, skipped = 0) => ({ frame, paired: true, skipped });
const none = (frame: number) => ({ frame, paired: false, skipped: 0 });

const CUT = [
  range([0, 39], [0, 39]),
  range([40, 59], null),
  range([60, 79], [40, 59]),
  range(null, [60, 71]),
  range([80, 95], [72, 87]),
];

test('frames are those of the comparison; what was taken out is jumped over, what is new has none', () => {
  const pair = pairByRanges(CUT, 'to', 96);
  expect([0, 39, 40, 41, 59, 60, 71, 72, 87].map(pair)).toEqual([
    ...[at(0), at(39), at(60, 20), at(61), at(79), none(79), none(79), at(80), at(95)],
  ]);
});

test('the other way round too', () => {
  const pair = pairByRanges(CUT, 'from', 88);
  expect([39, 40, 59, 60, 79, 80, 95].map(pair)).toEqual([
    at(39),
    none(39),
    none(39),
    at(40),
    at(59),
    at(72, 12),
    at(87),
  ]);
});

test('moved shots, other speeds, and something new at the very beginning', () => {
  const pair = pairByRanges([range(null, [0, 4]), range([10, 19], [5, 14]), range([0, 9], [15, 34])], 'to', 20);
  expect([2, 5, 14, 15, 24, 34].map(pair)).toEqual([none(0), at(10), at(19), at(0), at(4), at(9)]);
});

test('without a comparison, or outside of it, numbers are equal, to the end of the shorter one', () => {
  expect([0, 95, 96, 140].map(pairByNumber(96))).toEqual([at(0), at(95), none(95), none(95)]);
  expect(pairByRanges([], 'to', 96)(12)).toEqual(at(12));
});
