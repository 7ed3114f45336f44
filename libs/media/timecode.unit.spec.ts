import { createRequire } from 'node:module';
import fc from 'fast-check';
import {
  RATES,
  addFrames,
  formatTimecode,
  frameAtTime,
  framesPerDay,
  framesToSamples,
  framesToSeconds,
  nominalRate,
  parseRate,
  parseTimecode,
  rational,
  secondsToFrames,
  supportsDropFrame,
  timecode,
  timecodeText,
  type Rate,
  type RateName,
} from './timecode.js';

// It has no types of its own.
const SmpteTimecode = createRequire(import.meta.url)('smpte-timecode') as (
  frame: number,
  rate: number,
  dropFrame: boolean,
) => { toString(): string };

const named = Object.entries(RATES) as [RateName, Rate][];
const counted: [string, Rate, boolean][] = named.flatMap(([name, rate]) =>
  supportsDropFrame(rate)
    ? [
        [`${name} NDF`, rate, false],
        [`${name} DF`, rate, true],
      ]
    : [[name, rate, false]],
);

function parsed(text: string, rate: Rate) {
  const result = parseTimecode(text, rate);
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
}

test('drop-frame counting exists at 29.97, 59.94 and 119.88 only', () => {
  expect(named.filter(([, rate]) => supportsDropFrame(rate)).map(([name]) => name)).toEqual([
    '29.97',
    '59.94',
    '119.88',
  ]);
});

test.each([
  // SMPTE ST 12-1: two labels are left out each minute except every tenth, so an hour has 107,892 frames.
  ['00:00:59;29', '29.97', 1799],
  ['00:01:00;02', '29.97', 1800],
  ['00:10:00;00', '29.97', 17_982],
  ['01:00:00;00', '29.97', 107_892],
  ['23:59:59;29', '29.97', 2_589_407],
  ['00:01:00;04', '59.94', 3600],
  ['01:00:00;00', '59.94', 215_784],
  ['01:00:00:00', '29.97', 108_000],
  ['01:00:00:00', '23.976', 86_400],
  ['02:14:05:23', '47.952', 386_183],
  ['00:00:01:119', '120', 239],
] as const)('%s at %s is frame %d', (text, name, frame) => {
  const value = parsed(text, RATES[name]);
  expect(value.frame).toBe(frame);
  expect(timecodeText(value)).toBe(text);
});

test.each([
  ['00:01:00;00', '29.97'],
  ['00:01:00;01', '29.97'],
  ['00:01:00;03', '59.94'],
  ['00:59:00;00', '29.97'],
  ['01:00:00;00', '30'],
  ['01:00:00;00', '23.976'],
  ['01:00:00;00', '25'],
  ['01:00:00:24', '24'],
  ['01:00:00:30', '29.97'],
  ['24:00:00:00', '24'],
  ['00:60:00:00', '24'],
  ['00:00:60:00', '24'],
  ['00;00:00:00', '29.97'],
  ['1:00:00:00', '24'],
  ['00:00:00:000', '24'],
  ['00:00:00:00', '120'],
  ['', '24'],
  ['now', '24'],
] as const)('%s at %s is refused', (text, name) => {
  expect(parseTimecode(text, RATES[name])).toMatchObject({ ok: false, error: { code: 'INVALID_TIMECODE' } });
});

test('other marks for drop-frame are understood, and labels that exist in a tenth minute', () => {
  for (const text of ['00:10:00;01', '00:10:00.01', '00:10:00,01', '00;10;00;01']) {
    expect(parsed(text, RATES['29.97'])).toMatchObject({ frame: 17_983, dropFrame: true });
  }
});

test('a comment at 02:14 of a 23.976 clip that starts at 01:00:00:00', () => {
  const start = parsed('01:00:00:00', RATES['23.976']);
  expect(formatTimecode(134 * 24, RATES['23.976'], { start })).toBe('01:02:14:00');
  expect(formatTimecode(24 * 3600 * 23, RATES['23.976'], { start })).toBe('00:00:00:00');
  expect(formatTimecode(-1, RATES['23.976'])).toBe('23:59:59:23');
});

test.each(counted)('%s: every label of a day comes once, in order, and parses back', (_name, rate, dropFrame) => {
  const day = framesPerDay(rate, dropFrame);
  const nominal = nominalRate(rate);
  const drop = nominal / 15;
  // An odometer that knows the rule and nothing of the arithmetic.
  let [hours, minutes, seconds, frames] = [0, 0, 0, 0];
  const width = nominal > 100 ? 3 : 2;
  const two = (value: number) => String(value).padStart(2, '0');
  for (let frame = 0; frame < day; frame += 1) {
    const interesting = frames < 6 || frames === nominal - 1;
    if (interesting && (seconds === 0 || seconds === 59)) {
      const text = `${two(hours)}:${two(minutes)}:${two(seconds)}${dropFrame ? ';' : ':'}${String(frames).padStart(width, '0')}`;
      if (formatTimecode(frame, rate, { dropFrame }) !== text || parsed(text, rate).frame !== frame) {
        throw new Error(`frame ${frame}: expected ${text}, got ${formatTimecode(frame, rate, { dropFrame })}`);
      }
    }
    frames += 1;
    if (frames === nominal) [frames, seconds] = [0, seconds + 1];
    if (seconds === 60) {
      [seconds, minutes] = [0, minutes + 1];
      if (minutes === 60) [minutes, hours] = [0, hours + 1];
      if (dropFrame && minutes % 10 !== 0) frames = drop;
    }
  }
  expect([hours, minutes, seconds, frames]).toEqual([24, 0, 0, 0]);
});

// smpte-timecode is right at these rates and throws at others.
test.each(counted.filter(([name]) => !/^(47|48|100|119|120)/.test(name)))(
  '%s agrees with smpte-timecode',
  (name, rate, dropFrame) => {
    const theirs = Number(/^[\d.]+/.exec(name)![0]);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: framesPerDay(rate, dropFrame) - 1 }), (frame) => {
        expect(formatTimecode(frame, rate, { dropFrame })).toBe(SmpteTimecode(frame, theirs, dropFrame).toString());
      }),
      { numRuns: 500 },
    );
  },
);

test('round trip, order and addition hold at every rate', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...counted),
      fc.nat(5_000_000),
      fc.integer({ min: -9999, max: 9999 }),
      ([, rate, df], frame, step) => {
        const day = framesPerDay(rate, df);
        const value = timecode(frame % day, rate, df);
        expect(parsed(timecodeText(value), rate)).toEqual(value);
        const moved = addFrames(value, step);
        expect(parsed(timecodeText(moved), rate).frame).toBe((((value.frame + step) % day) + day) % day);
        expect(addFrames(moved, -step)).toEqual(value);
      },
    ),
  );
});

test('frame to seconds and back is exact for every frame of an hour, also through a player’s floating point', () => {
  for (const [, rate] of named) {
    for (let frame = 0; frame < 3600 * nominalRate(rate); frame += 7) {
      const seconds = framesToSeconds(frame, rate);
      if (secondsToFrames(seconds, rate) !== frame) throw new Error(`frame ${frame}`);
      if (frameAtTime(seconds.num / seconds.den, rate) !== frame) throw new Error(`float frame ${frame}`);
      if (frameAtTime(Math.fround(seconds.num / seconds.den) - 1e-6, rate, 0.05) !== frame && frame < 1000) {
        throw new Error(`early float frame ${frame}`);
      }
    }
  }
  expect(framesToSeconds(1001, RATES['23.976'])).toEqual({ num: 1_002_001, den: 24_000 });
  expect(secondsToFrames({ num: -1, den: 100 }, RATES['24'])).toBe(-1);
  expect(framesToSamples(1, RATES['23.976'], 48_000)).toBe(2002);
  expect(framesToSamples(1, RATES['29.97'], 48_000)).toBe(1602);
});

test.each([
  ['24000/1001', 24000, 1001],
  ['23.976', 24000, 1001],
  ['23.98', 24000, 1001],
  ['29.97', 30000, 1001],
  ['47.95', 48000, 1001],
  ['47.952', 48000, 1001],
  ['59.94', 60000, 1001],
  ['119.88', 120000, 1001],
  ['25', 25, 1],
  ['50.000', 50, 1],
  ['50/2', 25, 1],
  ['12.5', 25, 2],
])('rate %s', (text, num, den) => {
  expect(parseRate(text)).toEqual({ ok: true, value: { num, den } });
});

test.each(['', '0', '0/1', '1/0', '-24', 'fast', '24/'])('rate “%s” is refused', (text) => {
  expect(parseRate(text)).toMatchObject({ ok: false, error: { code: 'INVALID_RATE' } });
});

test('what is not a frame number or a rational throws', () => {
  expect(() => formatTimecode(1.5, RATES['24'])).toThrow(RangeError);
  expect(() => formatTimecode(0, RATES['24'], { dropFrame: true })).toThrow(RangeError);
  expect(() => timecode(Number.NaN, RATES['24'])).toThrow(RangeError);
  expect(() => rational(1, 0)).toThrow(RangeError);
});
