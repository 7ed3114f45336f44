import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { unwrap } from '../result.js';
import { type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { Workbench, type Source } from './extract.fixture.js';
import { type FrameRange, type SmartObstacle } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-smart-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
const bench = new Workbench(() => folder);
const smart = { smart: true } as const;

/** MD5 of decoded pictures, one for each. */
async function pictures(file: string, demuxer: 'mov' | 'matroska', from: number, count: number): Promise<string[]> {
  const run = await runFfmpeg({
    globals: ['-xerror'],
    inputs: [{ path: file, demuxer }],
    output: [
      ...['-map', '0:v', '-vf', `trim=start_frame=${from}:end_frame=${from + count}`, '-fps_mode', 'passthrough'],
      ...['-f', 'framemd5', 'pipe:1'],
    ],
  });
  const lines = unwrap(run).stdout.toString().split('\n');
  return lines.filter((line) => line && !line.startsWith('#')).map((line) => line.split(',').at(-1)!.trim());
}

async function expectSmart(from: Source, range: FrameRange, copied: FrameRange | null): Promise<void> {
  const { extract, made } = await bench.expectExact(from, range, smart);
  expect(extract).toMatchObject({ method: 'SMART', copied });
  expect(extract.warnings).toContain('PARAMETER_SETS_VARY');
  expect(made.video).toMatchObject({ codec: from.info.video!.codec, colour: from.info.video!.colour });
  const demuxer = from.info.container === 'MKV' ? 'matroska' : 'mov';
  // Decoded, the middle is the source's to the bit; the edges are others.
  const { first, count } = extract.copied!;
  const ours = await pictures(extract.path, 'mov', first - range.first, count);
  expect(ours).toHaveLength(count);
  expect(ours).toEqual(await pictures(from.file, demuxer, first, count));
}

test.each([
  ['h264.mp4', { codec: 'h264', gop: 10, rate: RATES['23.976'] }, { first: 7, count: 28 }, { first: 10, count: 20 }],
  ['h264.mkv', { codec: 'h264', gop: 10, rate: RATES['59.94'] }, { first: 10, count: 25 }, { first: 10, count: 20 }],
  // To the end of the medium no edge is needed.
  ['hevc.mov', { codec: 'hevc', gop: 12, rate: RATES['25'] }, { first: 5, count: 39 }, { first: 12, count: 32 }],
  ['whole.mp4', { codec: 'h264', gop: 10, rate: RATES['29.97'] }, { first: 0, count: 44 }, { first: 0, count: 44 }],
] as [string, ClipOptions, FrameRange, FrameRange][])(
  '%s: whole groups are copied, the edges encoded',
  async (name, options, range, copied) => {
    await expectSmart(await bench.source(name, { audioChannels: 1, ...options }), range, copied);
  },
  180_000,
);

test.each([
  ['one group', 'h264.mp4', { codec: 'h264', gop: 10 }, { first: 12, count: 15 }, 'SMART_NO_CLOSED_GROUP'],
  [
    'open groups',
    'open.mp4',
    { codec: 'h264', gop: 10, openGop: true },
    { first: 5, count: 35 },
    'SMART_NO_CLOSED_GROUP',
  ],
  [
    'open groups of HEVC',
    'o.mov',
    { codec: 'hevc', gop: 10, openGop: true },
    { first: 5, count: 35 },
    'SMART_NO_CLOSED_GROUP',
  ],
  ['another codec', 'vp9.webm', { codec: 'vp9', rate: RATES['25'] }, { first: 2, count: 4 }, 'SMART_NOT_THIS_CODEC'],
  ['fields', 'fields.mov', { codec: 'h264', interlaced: true, gop: 10 }, { first: 2, count: 32 }, 'SMART_NOT_REGULAR'],
] as [string, string, ClipOptions, FrameRange, SmartObstacle][])(
  '%s: all is encoded, and why is said',
  async (_, name, options, range, obstacle) => {
    const { extract } = await bench.expectExact(await bench.source(name, options), range, smart);
    expect(extract).toMatchObject({ method: 'ENCODE', copied: null });
    expect(extract.warnings).toContain(obstacle);
    expect((await readdir(folder)).filter((entry) => entry.includes('.part'))).toEqual([]);
  },
  180_000,
);

test('what can be copied as it is, and another codec asked for, are not smart rendered', async () => {
  const intra = await bench.source('prores.mov', { codec: 'prores', audioChannels: 0 });
  expect(await bench.take(intra, { first: 3, count: 5 }, smart)).toMatchObject({ method: 'COPY', warnings: [] });
  const long = await bench.source('h264.mp4', { codec: 'h264', gop: 10 });
  expect(await bench.take(long, { first: 0, count: 20 }, { smart: true, codec: 'prores422hq' })).toMatchObject({
    method: 'ENCODE',
    warnings: ['SMART_NOT_THIS_CODEC'],
  });
});
