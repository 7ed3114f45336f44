import fc from 'fast-check';
import { unwrap } from './result.js';
import { RATES, addFrames, framesPerDay, timecode, timecodeText } from './timecode.js';
import {
  intersectRanges,
  mediumRange,
  parseRange,
  rangeBetween,
  rangeContains,
  rangeEnd,
  rangeSeconds,
  rangeText,
  timecodeRange,
  withHandles,
} from './timerange.js';

const rate = RATES['29.97'];

test('in and out labels make a range without its out point', () => {
  const range = unwrap(parseRange('00:59:59;20', '01:00:00;10', rate));
  expect(range.frames).toBe(20);
  expect(timecodeText(rangeEnd(range))).toBe('01:00:00;10');
  expect(rangeContains(range, range.start)).toBe(true);
  expect(rangeContains(range, rangeEnd(range))).toBe(false);
  expect(rangeText(range)).toBe('00:59:59;20 - 01:00:00;10');
  expect(rangeSeconds(range)).toEqual({ num: 1001, den: 1500 });
});

test('a range over midnight goes on', () => {
  const range = unwrap(parseRange('23:59:59:00', '00:00:01:00', RATES['25']));
  expect(range.frames).toBe(50);
  expect(timecodeText(rangeEnd(range))).toBe('00:00:01:00');
  expect(unwrap(parseRange('10:00:00:00', '10:00:00:00', RATES['25'])).frames).toBe(0);
});

test('refusals', () => {
  expect(parseRange('01:00:00;00', '01:00:10:00', rate)).toMatchObject({ error: { code: 'INVALID_TIMECODE' } });
  expect(parseRange('01:00:00;00', '01:01:00;00', rate)).toMatchObject({ error: { code: 'INVALID_TIMECODE' } });
  expect(() => timecodeRange(timecode(0, rate), -1)).toThrow(RangeError);
  const medium = mediumRange(1000, 100, rate);
  expect(withHandles(timecodeRange(timecode(1090, rate), 20), { head: 0, tail: 0 }, medium)).toMatchObject({
    error: { code: 'INVALID_TIMECODE' },
  });
});

test('handles end where the medium ends', () => {
  const medium = mediumRange(1000, 100, rate);
  const inside = withHandles(timecodeRange(timecode(1004, rate), 90), { head: 12, tail: 3 }, medium);
  expect(unwrap(inside)).toMatchObject({ head: 4, tail: 3, range: { start: { frame: 1000 }, frames: 97 } });
});

test('what two ranges share is in both, and lies in neither’s outside', () => {
  const range = fc.tuple(fc.integer({ min: -50, max: 50 }), fc.nat(40));
  fc.assert(
    fc.property(range, range, ([a, m], [b, n]) => {
      const [one, two] = [timecodeRange(timecode(a, rate), m), timecodeRange(timecode(b, rate), n)];
      const shared = intersectRanges(one, two);
      for (let frame = -60; frame < 100; frame += 1) {
        const at = timecode(frame, rate);
        expect(shared !== null && rangeContains(shared, at)).toBe(rangeContains(one, at) && rangeContains(two, at));
      }
    }),
    { numRuns: 50 },
  );
});

test('from any label to any other of the day', () => {
  const day = framesPerDay(rate, true);
  fc.assert(
    fc.property(fc.nat(day - 1), fc.nat(day - 1), (a, b) => {
      const range = rangeBetween(timecode(a, rate, true), timecode(b, rate, true));
      expect(range.frames).toBe((b - a + day) % day);
      expect(timecodeText(rangeEnd(range))).toBe(timecodeText(timecode(b, rate, true)));
      expect(addFrames(range.start, range.frames).frame).toBe(a + range.frames);
    }),
  );
});
