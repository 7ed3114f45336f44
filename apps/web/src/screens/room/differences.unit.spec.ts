import { differencesOf, type Range } from './differences.js';

const frames = (first: number, last: number) => ({
  in: first,
  out: last,
  timecodeIn: `tc ${first}`,
  timecodeOut: `tc ${last}`,
});
const range = (kind: Range['kind'], from: [number, number] | null, to: [number, number] | null): Range =>
  ({ kind, from: from && frames(...from), to: to && frames(...to), still: null }) as Range;

test('leads to the frames that differ, and for what was removed to what follows', () => {
  expect(
    differencesOf([
      range('SAME', [0, 39], [0, 39]),
      range('REMOVED', [40, 49], null),
      range('SAME', [50, 69], [40, 59]),
      { ...range('CHANGED', [70, 81], [60, 71]), still: { url: '/media/x/difference-01.png' } } as Range,
      range('INSERTED', null, [72, 72]),
    ]),
  ).toEqual([
    { kind: 'REMOVED', at: 40, timecode: 'tc 40 – tc 49', frames: 10, still: null },
    { kind: 'CHANGED', at: 60, timecode: 'tc 60 – tc 71', frames: 12, still: '/media/x/difference-01.png' },
    { kind: 'INSERTED', at: 72, timecode: 'tc 72', frames: 1, still: null },
  ]);
  expect(differencesOf([range('SAME', [0, 9], [0, 9])])).toEqual([]);
});
