import fc from 'fast-check';
import { lightToPq, parseCube, pqToLight, toStandardDisplay, toneMapped, toneMapCube, writeCube } from './lut.js';
import { unwrap } from './result.js';

const small = (extra = '', values = 8) =>
  `TITLE "a look"\n# comment\n${extra}LUT_3D_SIZE 2\n\n${Array.from({ length: values }, (_, n) => `${n / 8} 0.5 1e0`).join('\r\n')}\n`;

test('a cube is read: title, domain, red running fastest, any line end, byte order mark', () => {
  const cube = unwrap(parseCube(`\ufeff${small('DOMAIN_MIN -0.5 0 0\nDOMAIN_MAX 2 1 1\n')}`));
  expect(cube).toMatchObject({ title: 'a look', size: 2, domainMin: [-0.5, 0, 0], domainMax: [2, 1, 1] });
  expect([...cube.values.subarray(0, 6)]).toEqual([0, 0.5, 1, 0.125, 0.5, 1]);
  expect(unwrap(parseCube(writeCube(cube))).values).toEqual(cube.values);
});

test.each([
  ['no size', 'TITLE "a"\n', /LUT_3D_SIZE is missing/],
  ['two sizes', small('LUT_3D_SIZE 2\n'), /line 4.*LUT_3D_SIZE/],
  ['a size of one', 'LUT_3D_SIZE 1\n0 0 0\n', /from 2 to 129/],
  ['an absurd size', 'LUT_3D_SIZE 9999\n', /from 2 to 129/],
  ['one dimension', 'LUT_1D_SIZE 2\n', /one dimension/],
  ['too few values', small('', 7), /7 values instead of 2³/],
  ['too many values', small('', 9), /more values than 2³/],
  ['two numbers', small('').replace('0.125 0.5 1e0', '0.125 0.5'), /three numbers/],
  ['not a number', small('').replace('0.125 0.5 1e0', '0.125 nan 1'), /three numbers/],
  ['beyond any display', small('').replace('0.125 0.5 1e0', '0.125 1e30 1'), /three numbers/],
  ['an unknown word', small('LUT_3D_INPUT_RANGE 0 1\n'), /unknown word/],
  ['a word after the values', `${small()}DOMAIN_MIN 0 0 0\n`, /after the first value/],
  ['an empty domain', small('DOMAIN_MAX 0 1 1\n'), /domain is empty/],
  ['a path', 'LUT_3D_SIZE 2\n/etc/passwd\n', /unknown word/],
] as [string, string, RegExp][])('refused: %s', (_, text, message) => {
  expect(parseCube(text)).toMatchObject({ error: { code: 'LUT_INVALID' } });
  const result = parseCube(text);
  expect(result.ok ? '' : result.error.message).toMatch(message);
});

test('PQ and its levels are those of ITU-R BT.2408', () => {
  for (const [light, signal] of [
    [0, 0],
    [100, 0.508],
    [203, 0.5807],
    [1000, 0.7518],
    [10_000, 1],
  ] as const) {
    expect(Math.abs(lightToPq(light) - signal)).toBeLessThan(0.0001);
  }
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1, noNaN: true }), (x) => Math.abs(lightToPq(pqToLight(x)) - x) < 1e-6),
  );
});

test('tone mapping leaves shadows alone, never folds, and brings the peak to white', () => {
  const peak = fc.double({ min: 250, max: 10_000, noNaN: true });
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(peak, share, share, (top, a, b) => {
      const [low, high] = [Math.min(a, b) * top, Math.max(a, b) * top];
      expect(toneMapped(high, top)).toBeGreaterThanOrEqual(toneMapped(low, top) - 1e-6);
      expect(toneMapped(low, top)).toBeLessThanOrEqual(Math.min(203, low) + 1e-6);
    }),
  );
  expect(toneMapped(1000, 1000)).toBeCloseTo(203, 6);
  expect(toneMapped(80, 1000)).toBe(80);
  expect(toneMapped(150, 100)).toBe(150);
});

// Of another implementation of ST 2084, BT.2100, BT.2390, BT.2087 and BT.1886, for a peak of 1000 cd/m²; 8 bits, full range.
test.each([
  ['smpte2084', [0.5081, 0.5081, 0.5081], [189.4, 189.3, 189.3]],
  ['smpte2084', [0.5807, 0.5807, 0.5807], [230.4, 230.3, 230.3]],
  ['smpte2084', [0.7518, 0.7518, 0.7518], [255, 255, 255]],
  ['smpte2084', [0.39288, 0.39288, 0.5493], [95.4, 108.6, 223.6]],
  ['smpte2084', [0.65258, 0.62186, 0.57913], [255, 218.2, 181.8]],
  ['arib-std-b67', [0.75, 0.75, 0.75], [230.4, 230.4, 230.4]],
  ['arib-std-b67', [0.38, 0.38, 0.38], [108.7, 108.7, 108.7]],
  ['arib-std-b67', [0.7, 0.4, 0.3], [243.6, 97.7, 84.7]],
] as const)('%s %p is shown as %p', (transfer, signal, expected) => {
  toStandardDisplay(signal, transfer, 1000).forEach((value, channel) =>
    expect(Math.abs(value * 255 - expected[channel]!)).toBeLessThan(0.6),
  );
});

test('the table has the same at its points', () => {
  const cube = toneMapCube('smpte2084', 1000);
  const at = 3 * (10 + 33 * (20 + 33 * 5));
  toStandardDisplay([10 / 32, 20 / 32, 5 / 32], 'smpte2084', 1000).forEach((value, channel) =>
    expect(cube.values[at + channel]).toBeCloseTo(value, 6),
  );
});
