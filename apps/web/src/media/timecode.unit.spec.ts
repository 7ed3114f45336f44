import fc from 'fast-check';
import {
  formatCount,
  frameFromText,
  labelling,
  parseCount,
  type Rate,
  supportsDropFrame,
  timecodeAt,
} from './timecode.js';

const FILM: Rate = { num: 24000, den: 1001 };
const PAL: Rate = { num: 25, den: 1 };
const NTSC: Rate = { num: 30000, den: 1001 };
const NTSC60: Rate = { num: 60000, den: 1001 };

describe('labels of frames', () => {
  it('count from the start timecode', () => {
    const labels = labelling(FILM, '01:00:00:00', false);
    expect(timecodeAt(0, labels)).toBe('01:00:00:00');
    expect(timecodeAt(62, labels)).toBe('01:00:02:14');
    expect(timecodeAt(24 * 60, labels)).toBe('01:01:00:00');
  });

  // ST 12-1: the first two labels of each minute are left out, but not of each tenth.
  it.each([
    [1799, NTSC, '00:00:59;29'],
    [1800, NTSC, '00:01:00;02'],
    [17981, NTSC, '00:09:59;29'],
    [17982, NTSC, '00:10:00;00'],
    [107892, NTSC, '01:00:00;00'],
    [3599, NTSC60, '00:00:59;59'],
    [3600, NTSC60, '00:01:00;04'],
    [35964, NTSC60, '00:10:00;00'],
  ])('frame %d is %j drop-frame: %s', (count, rate, label) => {
    expect(formatCount(count, rate, true)).toBe(label);
    expect(parseCount(label, rate, true)).toBe(count);
  });

  it('knows where drop-frame exists', () => {
    expect([FILM, PAL, NTSC, NTSC60, { num: 30, den: 1 }].map(supportsDropFrame)).toEqual([
      false,
      false,
      true,
      true,
      false,
    ]);
    expect(labelling(FILM, '01:00:00;00', true).dropFrame).toBe(false);
  });

  it('refuses labels that do not exist', () => {
    for (const label of ['00:01:00;00', '00:01:00;01', '00:09:00;01']) expect(parseCount(label, NTSC, true)).toBeNull();
    for (const label of ['24:00:00:00', '00:60:00:00', '00:00:60:00', '00:00:00:25', 'x', '1:2:3']) {
      expect(parseCount(label, PAL, false)).toBeNull();
    }
    expect(parseCount('00:10:00;00', NTSC, true)).toBe(17982);
  });

  it('roll over at a day, and under at zero', () => {
    expect(formatCount(86_400 * 25, PAL, false)).toBe('00:00:00:00');
    expect(formatCount(-1, PAL, false)).toBe('23:59:59:24');
  });

  it('read back to the same frame, and never twice the same in a row', () => {
    const rates = fc.constantFrom(
      [FILM, false],
      [PAL, false],
      [NTSC, true],
      [NTSC, false],
      [NTSC60, true],
    ) as fc.Arbitrary<[Rate, boolean]>;
    fc.assert(
      fc.property(rates, fc.nat(2_000_000), ([rate, drop], count) => {
        const label = formatCount(count, rate, drop);
        expect(parseCount(label, rate, drop)).toBe(count);
        expect(formatCount(count + 1, rate, drop) > label).toBe(true);
      }),
    );
  });
});

describe('what somebody types to go somewhere', () => {
  const labels = labelling(FILM, '01:00:00:00', false);
  it.each([
    ['01:00:02:14', 62],
    ['2:14', 62],
    ['1:00:00', 1440],
    ['120', 120],
    ['+12', 112],
    ['-12', 88],
    ['2:24', null],
    ['later', null],
    ['', null],
  ])('%j from frame 100 is %j', (text, frame) => {
    expect(frameFromText(text, labels, 100)).toBe(frame);
  });
});
