import { decideRange, ifRangeHolds, matchesEtag } from './range.js';

const part = (start: number, end: number) => ({ kind: 'PART', range: { start, end } });

test.each([
  [undefined, { kind: 'WHOLE' }],
  ['bytes=0-0', part(0, 0)],
  ['bytes=0-99', part(0, 99)],
  ['bytes=10-', part(10, 99)],
  ['bytes=-1', part(99, 99)],
  ['bytes=-1000', part(0, 99)],
  ['bytes=50-5000', part(50, 99)],
  ['bytes=50-99999999999999999999999', part(50, 99)],
  ['Bytes = 1-2', part(1, 2)],
  ['bytes=100-', { kind: 'UNSATISFIABLE' }],
  ['bytes=-0', { kind: 'UNSATISFIABLE' }],
  ['bytes=99999999999999999999999-', { kind: 'UNSATISFIABLE' }],
  ['bytes=0-1,5-6', { kind: 'UNSATISFIABLE' }],
  ['bytes=5-2', { kind: 'WHOLE' }],
  ['bytes=-', { kind: 'WHOLE' }],
  ['bytes=', { kind: 'WHOLE' }],
  ['bytes=a-b', { kind: 'WHOLE' }],
  ['bytes=0-1,x', { kind: 'WHOLE' }],
  ['bytes=--5', { kind: 'WHOLE' }],
  ['lines=0-1', { kind: 'WHOLE' }],
  ['0-1', { kind: 'WHOLE' }],
])('%s of 100 bytes', (header, decision) => {
  expect(decideRange(header, 100)).toEqual(decision);
});

test('nothing has no ranges', () => {
  expect(decideRange('bytes=0-', 0)).toEqual({ kind: 'UNSATISFIABLE' });
  expect(decideRange('bytes=-5', 0)).toEqual({ kind: 'UNSATISFIABLE' });
});

test('If-Range takes only the same strong tag', () => {
  expect(ifRangeHolds(undefined, '"a"')).toBe(true);
  expect(ifRangeHolds('"a"', '"a"')).toBe(true);
  expect(ifRangeHolds('W/"a"', '"a"')).toBe(false);
  expect(ifRangeHolds('"b"', '"a"')).toBe(false);
  expect(ifRangeHolds('Wed, 21 Oct 2026 07:28:00 GMT', '"a"')).toBe(false);
});

test('entity-tag lists', () => {
  expect(matchesEtag('*', '"a"', 'strong')).toBe(true);
  expect(matchesEtag('"x", "a"', '"a"', 'strong')).toBe(true);
  expect(matchesEtag('W/"a"', '"a"', 'weak')).toBe(true);
  expect(matchesEtag('W/"a"', '"a"', 'strong')).toBe(false);
  expect(matchesEtag('a', '"a"', 'weak')).toBe(false);
});
