import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { type ClipCodec } from '../testmedia.js';
import { RATES, nominalRate } from '../timecode.js';
import { Workbench, FRAMES, counted, ends, startLabel } from './extract.fixture.js';

/**
 * Every rate in every codec and container. `MEDIA_MATRIX=full` runs it; `MEDIA_MATRIX=full npm run jest -- extract/matrix -t 'in mxf'`
 * a part. Without, only what says that the table is whole.
 */
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-matrix-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const bench = new Workbench(() => folder);

const CODECS = ['h264', 'hevc', 'prores', 'prores4444', 'dnxhrHqx', 'mjpeg', 'ffv1', 'vp9', 'av1'] as const;
const CONTAINERS = ['mov', 'mp4', 'mxf', 'mkv'] as const;

/** What ffmpeg can't write, and what it says then. */
const NO_PLACE = /could not find (tag for codec|essence container ul)|only supported in MP4/i;
const IMPOSSIBLE: Readonly<Record<(typeof CONTAINERS)[number], readonly ClipCodec[]>> = {
  // QuickTime has no sample entry for these two.
  mov: ['vp9', 'av1'],
  // ISO media has none for professional codecs of others.
  mp4: ['prores', 'prores4444', 'dnxhrHqx', 'ffv1'],
  // No mapping to MXF is standardised, or ffmpeg does not write it.
  mxf: ['hevc', 'mjpeg', 'ffv1', 'vp9', 'av1'],
  mkv: [],
};
const ENCODERS: Partial<Record<ClipCodec, string[]>> = {
  hevc: ['-c:v', 'libx265', '-x265-params', 'log-level=error'],
  prores: ['-c:v', 'prores', '-pix_fmt', 'yuv422p10le'],
  prores4444: ['-c:v', 'prores_ks', '-profile:v', '4', '-pix_fmt', 'yuva444p10le'],
  dnxhrHqx: ['-c:v', 'dnxhd', '-profile:v', 'dnxhr_hqx', '-pix_fmt', 'yuv422p10le'],
  mjpeg: ['-c:v', 'mjpeg', '-pix_fmt', 'yuvj422p'],
  ffv1: ['-c:v', 'ffv1'],
  vp9: ['-c:v', 'libvpx-vp9'],
  // SVT-AV1 does not come to an end when the header is refused.
  av1: ['-c:v', 'libaom-av1', '-cpu-used', '8'],
};

test.each(CONTAINERS.flatMap((container) => IMPOSSIBLE[container].map((codec) => ({ container, codec }))))(
  '$codec has no place in $container',
  async ({ container, codec }) => {
    const output = ['-frames:v', '1', ...ENCODERS[codec]!, '-f', container, join(folder, `none.${container}`)];
    const run = await runFfmpeg({ inputs: [{ lavfi: 'color=size=256x144:rate=25' }], output });
    expect(run).toMatchObject({ ok: false, error: { reason: expect.stringMatching(NO_PLACE) } });
  },
);

const matrix = CONTAINERS.flatMap((container) =>
  CODECS.filter((codec) => !IMPOSSIBLE[container].includes(codec)).flatMap((codec) =>
    counted
      // ffmpeg's MXF has no edit rate of 120000/1001, and writes 120 for it.
      .filter(([name]) => container !== 'mxf' || !name.startsWith('119.88'))
      // Each takes one of the ends, so that every rate and every codec has both.
      .map(([name, rate, dropFrame], index) => ({
        ...{ container, codec, name, rate, dropFrame },
        ranges: [ends[(index + CODECS.indexOf(codec)) % 2]!, ends[2]!],
      })),
  ),
);

test('the matrix is whole', () => {
  expect(counted).toHaveLength(16);
  expect(matrix).toHaveLength((7 + 5 + 9) * 16 + 4 * 14);
});

if (process.env.MEDIA_MATRIX === 'full') {
  test.each(matrix)(
    '$codec in $container at $name',
    async ({ container, codec, name, rate, dropFrame, ranges }) => {
      // The timecode track of MOV and MP4 counts frames in one byte, and ffmpeg knows no rate beyond 100 in it.
      const startTimecode = container === 'mkv' || nominalRate(rate) <= 100 ? startLabel(rate, dropFrame) : null;
      const from = await bench.make(`${codec} ${name}.${container}`, {
        ...{ rate, codec, startTimecode, audioChannels: 1 },
        ...(codec === 'h264' || codec === 'hevc' ? { gop: 12 } : {}),
      });
      expect(from.info).toMatchObject({ rate, durationFrames: FRAMES, video: { variableRate: false } });
      for (const range of ranges) await bench.expectExact(from, range);
      await rm(from.file);
    },
    120_000,
  );

  test.each(['23.976', '24', '25', '29.97', '59.94'] as const)(
    'every in-point at %s',
    async (name) => {
      for (const codec of ['prores', 'h264'] as const) {
        const from = await bench.source(`all-${name}-${codec}.mov`, {
          rate: RATES[name],
          codec,
          gop: 9,
          openGop: true,
        });
        for (let first = 0; first < FRAMES; first += 1) {
          await bench.expectExact(from, { first, count: Math.min(2, FRAMES - first) });
        }
      }
    },
    600_000,
  );
}
