import { createRequire } from 'node:module';
import fc from 'fast-check';
import {
  RATES,
  addFrames,
  addRationals,
  atRate,
  compareTimecodes,
  formatFcpxTime,
  formatFeetFrames,
  formatTimecode,
  frameAtTime,
  framesBetween,
  framesPerDay,
  framesToSamples,
  framesToSeconds,
  multiplyRationals,
  nominalRate,
  parseFcpxTime,
  parseFeetFrames,
  parseRate,
  parseTimecode,
  rational,
  rollOver,
  samplesToFrames,
  secondsToFrames,
  supportsDropFrame,
  timecode,
  timecodeText,
  wholeFrames,
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

// What the Python library `timecode` 1.5.0 (E. Ozgur Yilmaz, MIT) printed for these frames, counted from 0: all rates, DF and NDF.
test.each([
  ['23.976', '1799=00:01:14:23 17982=00:12:29:06 107892=01:14:55:12 2073599=23:59:59:23 679126=07:51:36:22'],
  ['24', '1799=00:01:14:23 17982=00:12:29:06 107892=01:14:55:12 2073599=23:59:59:23 828004=09:35:00:04'],
  ['25', '1799=00:01:11:24 17982=00:11:59:07 107892=01:11:55:17 2159999=23:59:59:24 303819=03:22:32:19'],
  ['29.97 NDF', '1799=00:00:59:29 17982=00:09:59:12 107892=00:59:56:12 2591999=23:59:59:29 2444390=22:37:59:20'],
  ['29.97 DF', '1799=00:00:59;29 17982=00:10:00;00 107892=01:00:00;00 2589407=23:59:59;29 900509=08:20:46;29'],
  ['30', '1799=00:00:59:29 17982=00:09:59:12 107892=00:59:56:12 2591999=23:59:59:29 1818841=16:50:28:01'],
  ['47.952', '1799=00:00:37:23 17982=00:06:14:30 107892=00:37:27:36 4147199=23:59:59:47 1009413=05:50:29:21'],
  ['48', '1799=00:00:37:23 17982=00:06:14:30 107892=00:37:27:36 4147199=23:59:59:47 1780562=10:18:15:02'],
  ['50', '1799=00:00:35:49 17982=00:05:59:32 107892=00:35:57:42 4319999=23:59:59:49 1038526=05:46:10:26'],
  ['59.94 NDF', '1799=00:00:29:59 17982=00:04:59:42 107892=00:29:58:12 5183999=23:59:59:59 4841090=22:24:44:50'],
  ['59.94 DF', '1799=00:00:29;59 17982=00:04:59;58 107892=00:30:00;00 5178815=23:59:59;59 1854568=08:35:40;24'],
  ['60', '1799=00:00:29:59 17982=00:04:59:42 107892=00:29:58:12 5183999=23:59:59:59 4669643=21:37:07:23'],
  ['100', '1799=00:00:17:99 17982=00:02:59:82 107892=00:17:58:92 8639999=23:59:59:99 7031986=19:31:59:86'],
  ['119.88 NDF', '1799=00:00:14:119 17982=00:02:29:102 107892=00:14:59:12 10367999=23:59:59:119 9578342=22:10:19:62'],
  ['119.88 DF', '1799=00:00:14;119 17982=00:02:29;118 107892=00:14:59;116 10357631=23:59:59;119 1728987=04:00:22;75'],
  ['120', '1799=00:00:14:119 17982=00:02:29:102 107892=00:14:59:12 10367999=23:59:59:119 9583219=22:11:00:19'],
])('%s agrees with Python’s timecode', (name, vectors) => {
  const [, rate, dropFrame] = counted.find(([known]) => known === name)!;
  for (const [frame, theirs] of vectors.split(' ').map((pair) => pair.split('=') as [string, string])) {
    // It writes frames with two digits even where they go to 119.
    const label = theirs.replace(/([:;])(\d\d)$/, nominalRate(rate) > 100 ? '$10$2' : '$1$2');
    expect(formatTimecode(Number(frame), rate, { dropFrame })).toBe(label);
    expect(parsed(label, rate)).toEqual({ frame: Number(frame), rate, dropFrame });
  }
});

// Constants of the tests of swift-timecode 3 (Steffan Andrews, MIT), checked there against Pro Tools and Cubase: frames of a day,
// feet+frames of 01:02:03:04 on 35 mm, and samples of a day at 48 kHz.
test.each([
  ['23.976', 2_073_600, '5584+12', 4_151_347_200],
  ['24', 2_073_600, '5584+12', 4_147_200_000],
  ['25', 2_160_000, '5817+07', 4_147_200_000],
  ['29.97 NDF', 2_592_000, '6980+14', 4_151_347_200],
  ['29.97 DF', 2_589_408, '6973+14', 4_147_195_853],
  ['30', 2_592_000, '6980+14', 4_147_200_000],
  ['47.952', 4_147_200, '11169+04', 4_151_347_200],
  ['48', 4_147_200, '11169+04', 4_147_200_000],
  ['50', 4_320_000, '11634+10', 4_147_200_000],
  ['59.94 NDF', 5_184_000, '13961+08', 4_151_347_200],
  ['59.94 DF', 5_178_816, '13947+08', 4_147_195_853],
  ['60', 5_184_000, '13961+08', 4_147_200_000],
  ['100', 8_640_000, '23269+00', 4_147_200_000],
  ['119.88 NDF', 10_368_000, '27922+12', 4_151_347_200],
  ['119.88 DF', 10_357_632, '27894+12', 4_147_195_853],
  ['120', 10_368_000, '27922+12', 4_147_200_000],
])('%s agrees with swift-timecode on a day, feet+frames and samples', (name, day, feet, samples) => {
  const [, rate, dropFrame] = counted.find(([known]) => known === name)!;
  expect(framesPerDay(rate, dropFrame)).toBe(day);
  const label = `01:02:03${dropFrame ? ';' : ':'}${nominalRate(rate) > 100 ? '004' : '04'}`;
  const { frame } = parsed(label, rate);
  expect(formatFeetFrames(frame, '35mm')).toBe(feet);
  expect(parseFeetFrames(feet, '35mm')).toEqual({ ok: true, value: frame });
  // They round a drop-frame day of 4,147,195,852.8 samples; ours is the first sample at or after.
  expect(framesToSamples(day, rate, 48_000)).toBe(samples);
});

test('feet+frames of 16 mm have forty frames, of 35 mm sixteen', () => {
  expect(formatFeetFrames(24 * 60, '16mm')).toBe('36+00');
  expect(formatFeetFrames(-17, '35mm')).toBe('-1+01');
  for (const text of ['1+16', '1', '+3', '1+3+4', '1.5+2']) {
    expect(parseFeetFrames(text, '35mm')).toMatchObject({ error: { code: 'INVALID_TIMECODE' } });
  }
  fc.assert(
    fc.property(
      fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
      fc.constantFrom('16mm' as const, '35mm' as const),
      (n, gauge) => expect(parseFeetFrames(formatFeetFrames(n, gauge), gauge)).toEqual({ ok: true, value: n }),
    ),
  );
});

test('FCPXML times are exact and on a frame, or refused', () => {
  expect(formatFcpxTime(framesToSeconds(1, RATES['23.976']))).toBe('1001/24000s');
  expect(formatFcpxTime(framesToSeconds(120, RATES['24']))).toBe('5s');
  expect(parseFcpxTime('86486400/24000s')).toEqual({ ok: true, value: { num: 18018, den: 5 } });
  expect(parseFcpxTime('-1.5s')).toEqual({ ok: true, value: { num: -3, den: 2 } });
  expect(wholeFrames({ num: 18018, den: 5 }, RATES['23.976'])).toEqual({ ok: true, value: 86_400 });
  expect(wholeFrames({ num: 1, den: 24 }, RATES['23.976'])).toMatchObject({ error: { code: 'INVALID_TIMECODE' } });
  for (const text of ['', '5', '1/0s', 's', '1/2/3s', 'NaNs', '9999999999999999999s', '1e3s']) {
    expect(parseFcpxTime(text)).toMatchObject({ error: { code: 'INVALID_TIMECODE' } });
  }
  fc.assert(
    fc.property(fc.constantFrom(...named), fc.integer({ min: -10_000_000, max: 10_000_000 }), ([, rate], frame) => {
      const back = parseFcpxTime(formatFcpxTime(framesToSeconds(frame, rate)));
      expect(back.ok && wholeFrames(back.value, rate)).toEqual({ ok: true, value: frame });
    }),
  );
});

test('negative instants roll under midnight or carry a sign, and values can’t be changed', () => {
  const second = timecode(-30, RATES['29.97'], true);
  expect(timecodeText(second)).toBe('23:59:59;00');
  expect(formatTimecode(-30, RATES['29.97'], { dropFrame: true, signed: true })).toBe('-00:00:01;00');
  expect(parsed('-00:00:01;00', RATES['29.97'])).toEqual(second);
  expect(formatTimecode(17_982, RATES['29.97'], { dropFrame: true, dropMark: '.' })).toBe('00:10:00.00');
  expect(rollOver(second).frame).toBe(framesPerDay(RATES['29.97'], true) - 30);
  expect(() => ((second as { frame: number }).frame = 0)).toThrow(TypeError);
});

test('order and distance across and within rates', () => {
  const [ntsc, film] = [parsed('01:00:00:00', RATES['23.976']), parsed('01:00:00:00', RATES['24'])];
  expect(compareTimecodes(film, ntsc)).toBe(-1);
  expect(compareTimecodes(ntsc, ntsc)).toBe(0);
  expect(() => framesBetween(ntsc, film)).toThrow(RangeError);
  expect(framesBetween(ntsc, parsed('01:00:01:00', RATES['23.976']))).toBe(24);
  // An hour of real time at 25 is 24 × 3600 frames at 24, and 107,892 of 29.97: drop-frame keeps the clock.
  expect(timecodeText(atRate(parsed('01:00:00:00', RATES['25']), RATES['24']))).toBe('01:00:00:00');
  expect(timecodeText(atRate(parsed('01:00:00:00', RATES['25']), RATES['29.97'], true))).toBe('01:00:00;00');
  expect(addRationals({ num: 1, den: 6 }, { num: 1, den: 3 })).toEqual({ num: 1, den: 2 });
  expect(multiplyRationals({ num: 1001, den: 24000 }, RATES['23.976'])).toEqual({ num: 1, den: 1 });
});

test('samples and frames lead back to each other', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...named),
      fc.integer({ min: -5_000_000, max: 5_000_000 }),
      fc.constantFrom(44_100, 48_000, 96_000),
      ([, rate], frame, sampleRate) => {
        const first = framesToSamples(frame, rate, sampleRate);
        expect(samplesToFrames(first, rate, sampleRate)).toBe(frame);
        expect(samplesToFrames(first - 1, rate, sampleRate)).toBe(frame - 1);
      },
    ),
  );
});

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
