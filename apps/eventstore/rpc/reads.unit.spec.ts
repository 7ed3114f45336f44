import { firstPositions } from './reads.js';

describe('the first positions a read is told', () => {
  // Found with the reference server: where a read begins, how much it asks for, what the stream shows, what it was told.
  it.each([
    { from: 0, maxCount: 100, first: 0, last: 2, told: [] },
    { from: 3, maxCount: 1, first: 0, last: 2, told: [] },
    { from: 4, maxCount: 1, first: 0, last: 2, told: [3] },
    { from: 0, maxCount: 1, first: 2, last: 2, told: [2] },
    { from: 0, maxCount: 2, first: 2, last: 2, told: [2] },
    { from: 0, maxCount: 3, first: 2, last: 2, told: [] },
    { from: 0, maxCount: 100, first: 10, last: 2, told: [3] },
    { from: 0, maxCount: 100, first: 1_000, last: 2_000, told: [1_000] },
  ])('from $from, $maxCount of $first to $last', ({ from, maxCount, first, last, told }) =>
    expect(firstPositions(from, maxCount, first, last)).toEqual(told),
  );
});
