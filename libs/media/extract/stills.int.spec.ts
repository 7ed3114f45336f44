import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe, type MediaInfo } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, readFrameNumbers, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { assembleSequence, extractStills, findSequences, type StillFormat } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-stills-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function clip(name: string, options: ClipOptions): Promise<{ file: string; info: MediaInfo }> {
  const file = join(folder, name);
  await makeClip(file, { width: 256, height: 144, frames: 40, audioChannels: 0, ...options });
  return { file, info: unwrap(await probe(file)) };
}

/** The number in the code of pictures, and their pixel format, read by a bare sequence decode. */
async function numbers(pattern: string, first: number, count: number): Promise<number[]> {
  const film = join(folder, `read-${Math.random()}.mkv`);
  unwrap(
    await runFfmpeg({
      inputs: [{ pattern, options: ['-start_number', String(first)] }],
      output: ['-frames:v', String(count), '-vf', 'format=gray', '-c:v', 'ffv1', film],
    }),
  );
  return readFrameNumbers(film);
}

async function pixelFormat(file: string): Promise<string> {
  const args = ['-v', 'error', '-show_entries', 'stream=pix_fmt', '-of', 'csv=p=0', file];
  return (await promisify(execFile)('ffprobe', args)).stdout.trim();
}

test.each([
  ['png', 'h264', 8, 'rgb24'],
  ['png', 'prores', 16, 'rgb48be'],
  ['tiff', 'prores', 16, 'rgb48le'],
  ['dpx', 'h264', 8, 'rgb24'],
  ['dpx', 'prores', 10, 'gbrp10le'],
  ['exr', 'prores', 16, 'gbrpf32le'],
  ['png', 'prores4444', 16, 'rgba64be'],
] as [StillFormat, 'h264' | 'prores' | 'prores4444', number, string][])(
  '%s of %s has %d bits',
  async (format, codec, depth, pixels) => {
    const { file, info } = await clip(`${codec}-${format}.mov`, { codec, gop: 12, openGop: true });
    const target = join(folder, `still-${codec}-${format}`);
    const range = { first: 13, count: 3 };
    const made = unwrap(await extractStills(file, target, info, range, format));
    expect(made.depth).toBe(depth);
    expect(made.paths).toEqual([13, 14, 15].map((number) => `${target}.0000${number}.${format}`));
    expect(await pixelFormat(made.paths[0]!)).toBe(pixels);
    expect(await numbers(`${target}.%06d.${format}`, 13, 3)).toEqual([13, 14, 15]);
  },
);

test('first and last frame alone, long-GOP and intra', async () => {
  for (const codec of ['h264', 'mjpeg'] as const) {
    const { file, info } = await clip(`one-${codec}.mp4`, { codec, rate: RATES['29.97'] });
    for (const first of [0, 39]) {
      const { paths } = unwrap(
        await extractStills(file, join(folder, `one-${codec}-${first}`), info, { first, count: 1 }, 'png'),
      );
      expect(await numbers(paths[0]!, 0, 1)).toEqual([first]);
    }
  }
});

test.each([
  ['open.mxf', { codec: 'h264', gop: 12, openGop: true }],
  ['closed.mxf', { codec: 'h264', gop: 12 }],
  ['mpeg2.mxf', { codec: 'mpeg2' }],
] as [string, ClipOptions][])('long-GOP MXF, whose times may be those of decoding: %s', async (name, options) => {
  const { file, info } = await clip(name, { ...options, rate: RATES['25'], frames: 100 });
  for (const first of [0, 1, 13, 50, 75, 99]) {
    const count = Math.min(3, 100 - first);
    const target = join(folder, `${name}-${first}`);
    unwrap(await extractStills(file, target, info, { first, count }, 'png'));
    const seen = count === 1 ? await numbers(`${target}.png`, 0, 1) : await numbers(`${target}.%06d.png`, first, count);
    expect([first, seen]).toEqual([first, Array.from({ length: count }, (_, index) => first + index)]);
  }
});

test('grey is the same grey: levels and matrix are the source’s', async () => {
  const file = join(folder, 'grey.mov');
  // 8-bit limited 128, that is 10-bit 512: full-range (512 - 64) / 876.
  const output = ['-frames:v', '1', '-c:v', 'prores', '-profile:v', '3', file];
  unwrap(
    await runFfmpeg({
      inputs: [{ lavfi: 'color=c=black:size=256x144:rate=24,format=yuv422p10le,geq=lum=512:cb=512:cr=512' }],
      output,
    }),
  );
  const info = unwrap(await probe(file));
  const sample = async (path: string, format: string) => {
    const args = ['-frames:v', '1', '-vf', `format=${format},crop=1:1:9:9`, '-f', 'rawvideo', 'pipe:1'];
    return unwrap(await runFfmpeg({ inputs: [{ pattern: path }], output: args })).stdout;
  };
  const value = (512 - 64) / 876;
  const png = unwrap(await extractStills(file, join(folder, 'grey'), info, { first: 0, count: 1 }, 'png'));
  expect(Math.abs((await sample(png.paths[0]!, 'rgb48le')).readUInt16LE(0) / 65_535 - value)).toBeLessThan(0.002);
  const tagged = {
    ...info,
    video: { ...info.video!, colour: { ...info.video!.colour, primaries: 'bt709', transfer: 'bt709' } },
  };
  const exr = unwrap(await extractStills(file, join(folder, 'grey'), tagged, { first: 0, count: 1 }, 'exr'));
  expect(exr.linear).toBe(true);
  // BT.709, and zimg's display-referred reading of it (BT.1886, gamma 2.4), agree that mid grey is much darker in linear light.
  const linear = (await sample(exr.paths[0]!, 'gbrpf32le')).readFloatLE(0);
  expect(linear).toBeGreaterThan(0.15);
  expect(linear).toBeLessThan(0.24);
});

test('pictures become a film again, frame by frame; a missing one is told', async () => {
  const { file, info } = await clip('again.mov', { codec: 'prores', rate: RATES['29.97'] });
  for (const format of ['exr', 'dpx', 'png', 'tiff'] as const) {
    const directory = await mkdtemp(join(folder, `100%d ${format}-`));
    unwrap(await extractStills(file, join(directory, 'shot'), info, { first: 5, count: 8 }, format));
    const [sequence, ...others] = await findSequences(directory);
    expect(others).toEqual([]);
    expect(sequence).toMatchObject({
      prefix: 'shot.',
      suffix: `.${format}`,
      digits: 6,
      first: 5,
      count: 8,
      missing: [],
    });
    const film = unwrap(
      await assembleSequence(sequence!, join(folder, `film-${format}`), {
        rate: RATES['29.97'],
        startTimecode: '00:59:59;20',
      }),
    );
    expect(await readFrameNumbers(film)).toEqual([5, 6, 7, 8, 9, 10, 11, 12]);
    expect(unwrap(await probe(film))).toMatchObject({
      rate: RATES['29.97'],
      startTimecode: { text: '00:59:59;20' },
      video: { flavour: 'ProRes 4444', colour: { primaries: 'bt709', transfer: 'bt709', matrix: 'bt709' } },
    });
    await rename(join(directory, `shot.000007.${format}`), join(directory, 'elsewhere'));
    const gap = (await findSequences(directory))[0]!;
    expect(gap.missing).toEqual([7]);
    expect(await assembleSequence(gap, join(folder, 'gap'), { rate: RATES['25'] })).toMatchObject({
      error: { code: 'EXTRACTION_FAILED', reason: 'the first is 7' },
    });
  }
  expect((await readdir(folder)).filter((name) => name.includes('.part') || name.startsWith('gap'))).toEqual([]);
}, 60_000);

test('frames that are not there', async () => {
  const { file, info } = await clip('short.mov', { codec: 'mjpeg', frames: 5 });
  expect(await extractStills(file, join(folder, 'no'), info, { first: 5, count: 1 }, 'png')).toMatchObject({
    error: { code: 'RANGE_OUTSIDE_MEDIA' },
  });
  const wrong = { ...info, durationFrames: 9 };
  expect(await extractStills(file, join(folder, 'no'), wrong, { first: 4, count: 3 }, 'png')).toMatchObject({
    error: { code: 'EXTRACTION_FAILED', reason: expect.stringContaining('instead of 3') },
  });
  expect((await readdir(folder)).filter((name) => name.includes('.part') || name.startsWith('no'))).toEqual([]);
});
