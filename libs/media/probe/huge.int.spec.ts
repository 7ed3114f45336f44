import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeHugeMkv, makeHugeMov, makeHugeMxf, makeHugeWave } from '../corpus.fixture.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { unwrap } from '../result.js';
import { makeClip } from '../testmedia.js';
import { probe } from './index.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-huge-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

// Reading a terabyte, holes or not, takes far longer than the probe's own limit of 30 s: an answer shows that it was not read.
const TERABYTE = 2 ** 40;

test('a terabyte MOV with its headers at the end', async () => {
  const [clip, plain, huge] = ['clip.mov', 'plain.mov', 'huge.mov'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await makeClip(clip, { codec: 'prores', frames: 6, width: 256, height: 144, reel: 'A001' });
  unwrap(
    await runFfmpeg({
      inputs: [{ path: clip, demuxer: 'mov' }],
      output: ['-map', '0', '-c', 'copy', '-f', 'mov', plain],
    }),
  );
  await makeHugeMov(plain, huge);
  expect((await stat(huge)).size).toBeGreaterThan(TERABYTE);
  expect((await stat(huge)).blocks * 512).toBeLessThan(4 << 20);
  expect(unwrap(await probe(huge))).toMatchObject({
    sizeBytes: (await stat(huge)).size,
    durationFrames: 6,
    durationExact: true,
    startTimecode: { text: '01:00:00:00' },
    reel: 'A001',
    video: { flavour: 'ProRes 422 HQ' },
  });
});

test('a terabyte MXF, Matroska and wave file', async () => {
  const mxf = join(folder, 'clip.mxf');
  await makeClip(mxf, { codec: 'mpeg2', frames: 6, width: 256, height: 144 });
  await makeHugeMxf(mxf, join(folder, 'huge.mxf'));
  expect(unwrap(await probe(join(folder, 'huge.mxf')))).toMatchObject({
    durationFrames: 6,
    durationExact: true,
    startTimecode: { text: '01:00:00:00' },
  });
  const mkv = join(folder, 'clip.mkv');
  await makeClip(mkv, { frames: 12, width: 256, height: 144 });
  await makeHugeMkv(mkv, join(folder, 'huge.mkv'));
  // Without a frame table in Matroska, and too large to count: told from the header, and marked so.
  expect(unwrap(await probe(join(folder, 'huge.mkv')))).toMatchObject({ durationFrames: 12, durationExact: false });
  const wave = join(folder, 'huge.wav');
  await makeHugeWave(wave);
  expect(unwrap(await probe(wave))).toMatchObject({
    kind: 'AUDIO',
    audio: [{ channels: 2, sampleRate: 48_000, durationSamples: TERABYTE / 4 }],
  });
});
