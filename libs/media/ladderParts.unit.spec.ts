import { deepZoomDescriptor, tileAt, tileGraph, tileLevels, type TilesIndex } from './deepZoom.js';
import { mapToConstantRate, steadyRate } from './frameMap.js';
import { LoudnessReader, programmesOf } from './loudness.js';
import type { AudioTrack } from './probe/index.js';
import { RATES } from './timecode.js';
import { WaveformBuilder, samplesPerPixel } from './waveform.js';

function stereo(pairs: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(4 * pairs.length);
  pairs.forEach(([left, right], at) => {
    bytes.writeInt16LE(left, 4 * at);
    bytes.writeInt16LE(right, 4 * at + 2);
  });
  return bytes;
}

describe('waveform', () => {
  test('lowest and highest of the averaged channels, eight bits, the rest as a shorter pair', () => {
    const builder = new WaveformBuilder(48_000, 2);
    const bytes = stereo([
      [32767, 32767],
      [-32768, -32768],
      [1000, -1000],
      [512, 513],
      [-300, -300],
    ]);
    // In pieces that do not end with a sample.
    for (const [from, to] of [
      [0, 3],
      [3, 9],
      [9, 20],
    ] as const)
      builder.add(bytes.subarray(from, to));
    expect(builder.finish()).toEqual({
      version: 2,
      channels: 1,
      sample_rate: 48_000,
      samples_per_pixel: 2,
      bits: 8,
      length: 3,
      data: [-128, 127, 0, 2, -1, -1],
    });
  });

  test('long media get fewer pairs', () => {
    expect(samplesPerPixel(60, 48_000)).toBe(256);
    expect(samplesPerPixel(null, 48_000)).toBe(256);
    expect((7200 * 48_000) / samplesPerPixel(7200, 48_000)).toBeLessThanOrEqual(300_000);
  });
});

describe('loudness', () => {
  const track = (index: number, channels: number) => ({ index, channels, layout: null }) as AudioTrack;
  test('mono tracks are taken in pairs, at most eight programmes', () => {
    const indexes = (tracks: AudioTrack[]) => programmesOf(tracks).map((one) => one.tracks.map(({ index }) => index));
    expect(indexes([track(1, 1), track(2, 1), track(3, 6), track(4, 1), track(5, 2)])).toEqual([[1, 2], [3], [4], [5]]);
    expect(indexes(Array.from({ length: 24 }, (_, n) => track(n, 2)))).toHaveLength(8);
  });

  test('the summaries are told apart by their instance; a missing one is known; silence has no loudness', () => {
    const programmes = programmesOf([track(1, 2), track(2, 2)]);
    const summary = (id: string, i: string, peak: string) =>
      `[ebur128@${id} @ 0x1] [info] Summary:\n\n  Integrated loudness:\n    I:         ${i} LUFS\n    Threshold: -33.4 LUFS\n\n` +
      `  Loudness range:\n    LRA:         5.2 LU\n    Threshold: -43.4 LUFS\n    LRA low:   -27.0 LUFS\n    LRA high:  -21.8 LUFS\n\n` +
      `  True peak:\n    Peak:       ${peak} dBFS`;
    const reader = new LoudnessReader();
    for (const line of `${summary('programme1', '-70.0', '-inf')}\n[hls @ 0x2] [info] Opening\n`.split('\n'))
      reader.line(line);
    expect(reader.finish(programmes)).toBeNull();
    for (const line of summary('programme0', '-23.1', '-1.5').split('\n')) reader.line(line);
    expect(reader.finish(programmes)).toEqual([
      { tracks: [1], integrated: -23.1, range: 5.2, truePeak: -1.5 },
      { tracks: [2], integrated: null, range: 5.2, truePeak: null },
    ]);
  });
});

describe('frame map', () => {
  const timeBase = { num: 1, den: 1000 };
  test('frames stay until the next one; of two at one place the last is shown', () => {
    const map = mapToConstantRate({ timeBase, ticks: [100, 140, 141, 300, 340] }, RATES['25']);
    expect(map.frames).toEqual([0, 2, 2, 2, 2, 3, 4]);
    expect(map.times).toEqual([0, 40, 41, 200, 240]);
  });
  test('the rate is the usual one that most frames keep', () => {
    expect(steadyRate({ timeBase, ticks: [0, 33, 67, 100, 133, 600, 633, 667] })).toEqual(RATES['30']);
    expect(steadyRate({ timeBase, ticks: [0] })).toEqual(RATES['25']);
  });
});

describe('deep zoom', () => {
  test.each([
    [1, 1],
    [512, 512],
    [513, 1],
    [5000, 3333],
    [100_000, 2],
  ])('%d × %d: levels halve to one pixel, parts cover each once', (width, height) => {
    const levels = tileLevels({ width, height });
    expect(levels[0]).toMatchObject({ width, height, level: Math.ceil(Math.log2(Math.max(width, height))) });
    expect(levels.at(-1)).toMatchObject({ level: 0, width: 1, height: 1, columns: 1, rows: 1 });
    for (const { width: w, height: h, columns, rows, parts } of levels) {
      expect([columns, rows]).toEqual([Math.ceil(w / 512), Math.ceil(h / 512)]);
      const area = parts.reduce((sum, part) => sum + part.columns * part.rows * part.tileWidth * part.tileHeight, 0);
      expect(area).toBe(w * h);
      expect(parts.reduce((sum, part) => sum + part.columns * part.rows, 0)).toBe(columns * rows);
    }
    expect(tileGraph(levels, 'full').output.filter((word) => word === '-map')).toHaveLength(
      levels.reduce((sum, { parts }) => sum + parts.length, 0),
    );
  });

  test('a tile is found by its path, and nothing else', () => {
    const index: TilesIndex = {
      schema: 'picturelock.tiles/1',
      tileSize: 512,
      levels: [
        {
          width: 600,
          height: 10,
          columns: 2,
          rows: 1,
          tiles: [
            [0, 7],
            [7, 9],
          ],
        },
      ],
    };
    expect(tileAt(index, '0/1_0.jpg')).toEqual({ offset: 7, size: 9 });
    for (const path of ['0/2_0.jpg', '0/0_1.jpg', '1/0_0.jpg', '0/0_0.png', '../0/0_0.jpg', '0/-1_0.jpg', '']) {
      expect(tileAt(index, path)).toBeNull();
    }
    expect(deepZoomDescriptor({ width: 600, height: 10 })).toContain('<Size Width="600" Height="10"/>');
  });
});
