import fc from 'fast-check';
import {
  barPlace,
  clampFrame,
  covers,
  frameAtMediaTime,
  frameAtTime,
  frameMiddle,
  frameOnBar,
  orderedRange,
  rateName,
  runningTime,
  shuttle,
} from './frames.js';

const rates = fc.constantFrom(
  { num: 24000, den: 1001 },
  { num: 24, den: 1 },
  { num: 25, den: 1 },
  { num: 30000, den: 1001 },
  { num: 60000, den: 1001 },
  { num: 120, den: 1 },
);

describe('frames and a player’s seconds', () => {
  it('aim at the middle of the frame', () => {
    expect(frameMiddle(0, { num: 24, den: 1 })).toBeCloseTo(1 / 48, 12);
    expect(frameMiddle(62, { num: 24000, den: 1001 })).toBeCloseTo((62.5 * 1001) / 24000, 12);
    expect(frameMiddle(0, { num: 25, den: 1 }, 0.08)).toBeCloseTo(0.1, 12);
  });

  it('come back to the same frame for hours, at any rate and offset', () => {
    fc.assert(
      fc.property(rates, fc.nat(2_000_000), fc.constantFrom(0, 0.0833, 0.021333), (rate, frame, offset) => {
        const start = offset + (frame * rate.den) / rate.num;
        expect(frameAtTime(frameMiddle(frame, rate, offset), rate, offset)).toBe(frame);
        expect(frameAtMediaTime(start, rate, offset)).toBe(frame);
        // Containers round times to a microsecond or to 1/90000 s.
        expect(frameAtMediaTime(Math.round(start * 1e6) / 1e6, rate, offset)).toBe(frame);
        expect(frameAtMediaTime(Math.round(start * 90_000) / 90_000, rate, offset)).toBe(frame);
        expect(frameAtTime(Math.round(start * 1e6) / 1e6, rate, offset)).toBe(frame);
      }),
    );
  });

  it('stay within the clip', () => {
    expect([-5, 0, 239, 240, 9e9].map((frame) => clampFrame(frame, 240))).toEqual([0, 0, 239, 239, 239]);
    expect(clampFrame(3, 0)).toBe(0);
  });
});

describe('the scrub bar', () => {
  it('gives every frame its own share, and back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(), (frames, at) => {
        const frame = at % frames;
        const { left, width } = barPlace({ in: frame, out: frame }, frames);
        expect(frameOnBar(left + width / 2, frames)).toBe(frame);
      }),
    );
    expect(frameOnBar(1, 240)).toBe(239);
    expect(frameOnBar(0, 240)).toBe(0);
  });

  it('draws ranges with both ends in', () => {
    expect(barPlace({ in: 0, out: 99 }, 100)).toEqual({ left: 0, width: 1 });
    expect(barPlace({ in: 50, out: 54 }, 100)).toEqual({ left: 0.5, width: 0.05 });
    expect(barPlace({ in: 90, out: 500 }, 100).width).toBeCloseTo(0.1);
  });
});

it('ranges hold both ends, in whichever order they were set', () => {
  expect(orderedRange(9, 4)).toEqual({ in: 4, out: 9 });
  expect([3, 4, 9, 10].map((frame) => covers({ in: 4, out: 9 }, frame))).toEqual([false, true, true, false]);
  expect(covers(null, 4)).toBe(false);
});

it('J and L go faster up to four times, and turn round at once', () => {
  const speeds = [1, 1, 1, 1, -1, -1, -1, -1, 1].reduce<number[]>(
    (list, direction) => [...list, shuttle(list[list.length - 1] ?? 0, direction as 1 | -1)],
    [],
  );
  expect(speeds).toEqual([1, 2, 4, 4, -1, -2, -4, -4, 1]);
});

it('names rates and lengths as people do', () => {
  expect(
    [
      { num: 24000, den: 1001 },
      { num: 25, den: 1 },
      { num: 30000, den: 1001 },
    ].map(rateName),
  ).toEqual(['23.976', '25', '29.97']);
  expect(runningTime(240, { num: 24000, den: 1001 })).toBe('10 s');
  expect(runningTime(25 * 200, { num: 25, den: 1 })).toBe('3 min 20 s');
  expect(runningTime(25 * 3725, { num: 25, den: 1 })).toBe('1 h 2 min 5 s');
});
