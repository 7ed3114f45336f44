import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe, type MediaInfo } from './index.js';
import { unwrap } from '../result.js';
import { makeClip, makeStill, makeTruncated, readFrameNumbers, setRotation, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-probe-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function clip(name: string, options: ClipOptions): Promise<MediaInfo> {
  const file = join(folder, name);
  await makeClip(file, { width: 320, height: 180, ...options });
  return unwrap(await probe(file));
}

test.each(Object.entries(RATES))('rate %s is exact, with the count and the start timecode', async (name, rate) => {
  // The timecode track of MOV has no 119.88 and 120 in ffmpeg; 100 has.
  const label = rate.num / rate.den > 101 ? null : '01:00:00:00';
  const info = await clip(`rate-${name}.mov`, { rate, frames: 25, startTimecode: label });
  expect(info).toMatchObject({
    durationFrames: 25,
    durationExact: true,
    rate,
    video: { rate, variableRate: false },
    warnings: [],
  });
  expect(info.startTimecode?.text ?? null).toBe(label);
});

test.each([
  ['mov', '29.97', 'prores', '00:59:59;20'],
  ['mxf', '29.97', 'mpeg2', '01:00:00;00'],
  ['mkv', '59.94', 'ffv1', '10:11:12;13'],
  ['mp4', '23.976', 'h264', '23:59:59:23'],
  ['webm', '25', 'vp9', '01:02:03:04'],
] as const)('%s at %s in %s keeps %s', async (extension, rate, codec, text) => {
  const info = await clip(`tc.${extension}`, { rate: RATES[rate], codec, frames: 15, startTimecode: text });
  expect(info.startTimecode).toMatchObject({ text, dropFrame: text.includes(';') });
  expect(info).toMatchObject({ durationFrames: 15, durationExact: true, rate: RATES[rate] });
});

test('picture, colour, sound and reel are told', async () => {
  const info = await clip('full.mov', { codec: 'prores', frames: 5, audioChannels: 6, reel: 'A001C002' });
  expect(info).toMatchObject({
    kind: 'VIDEO',
    container: 'MOV',
    mime: 'video/quicktime',
    reel: 'A001C002',
    video: {
      codec: 'prores',
      profile: 'HQ',
      pixelFormat: 'yuv422p10le',
      bitDepth: 10,
      hasAlpha: false,
      hdr: false,
      fieldOrder: 'progressive',
      colour: { primaries: 'bt709', transfer: 'bt709', matrix: 'bt709' },
    },
    audio: [{ codec: 'pcm_s16le', channels: 6, layout: '5.1', sampleRate: 48_000 }],
  });
  expect(await clip('pq.mp4', { codec: 'hevc', colour: 'pq', frames: 5 })).toMatchObject({
    video: { hdr: true, bitDepth: 10, colour: { primaries: 'bt2020', transfer: 'smpte2084', matrix: 'bt2020nc' } },
  });
});

test('variable rate is seen, frames are counted, the rate is the average', async () => {
  for (const name of ['vfr.mp4', 'vfr.mkv']) {
    const info = await clip(name, { rate: RATES['30'], frames: 60, variableRate: true });
    expect(info).toMatchObject({ durationFrames: 45, durationExact: true, video: { variableRate: true } });
    expect(Math.abs(info.rate!.num / info.rate!.den - 22.5)).toBeLessThan(1.5);
  }
});

test('rotation and sample aspect give the size as shown', async () => {
  const file = join(folder, 'phone.mp4');
  await makeClip(file, { width: 320, height: 180, frames: 5 });
  for (const degrees of [90, 180, 270] as const) {
    await setRotation(file, degrees);
    const info = unwrap(await probe(file));
    const [displayWidth, displayHeight] = degrees === 180 ? [320, 180] : [180, 320];
    expect(info.video).toMatchObject({ rotation: degrees, width: 320, height: 180, displayWidth, displayHeight });
  }
  expect(
    await clip('dv.mov', { width: 720, height: 576, sampleAspect: '64/45', codec: 'mjpeg', frames: 3 }),
  ).toMatchObject({
    video: { sampleAspect: { num: 64, den: 45 }, displayWidth: 1024, displayHeight: 576 },
  });
});

test.each(['png', 'tiff', 'jpg', 'webp'])('a %s is a still', async (extension) => {
  const file = join(folder, `still.${extension}`);
  const alpha = extension !== 'jpg';
  await makeStill(file, { alpha });
  expect(unwrap(await probe(file))).toMatchObject({
    kind: 'IMAGE',
    durationFrames: null,
    rate: null,
    audio: [],
    video: { width: 320, height: 180, hasAlpha: alpha },
  });
});

test.each(['wav', 'flac', 'mp3', 'aac', 'ogg', 'm4a', 'mka'])('%s is sound', async (extension) => {
  const file = join(folder, `sound.${extension}`);
  const codec = { aac: ['-c:a', 'aac'], m4a: ['-c:a', 'aac'], ogg: ['-c:a', 'libvorbis'] }[extension] ?? [];
  unwrap(await runFfmpeg({ inputs: [{ lavfi: 'sine=duration=2:sample_rate=48000' }], output: [...codec, file] }));
  const info = unwrap(await probe(file));
  expect(info).toMatchObject({
    kind: 'AUDIO',
    video: null,
    durationFrames: null,
    audio: [{ channels: 1, sampleRate: 48_000 }],
  });
  expect(Math.abs(info.durationSeconds! - 2)).toBeLessThan(0.15);
  expect(info.mime).toMatch(/^audio\//);
});

test('what can’t be read is told apart', async () => {
  const whole = join(folder, 'whole.mkv');
  await makeClip(whole, { frames: 48, width: 320, height: 180 });
  await makeTruncated(whole, join(folder, 'cut.mkv'), 0.5);
  expect(unwrap(await probe(join(folder, 'cut.mkv'))).warnings).toEqual(['DURATION_MISMATCH']);
  await makeTruncated(whole, join(folder, 'stub.mkv'), 0.002);
  expect(await probe(join(folder, 'stub.mkv'))).toMatchObject({
    error: { code: expect.stringMatching(/UNREADABLE|UNSUPPORTED/) },
  });
  const empty = join(folder, 'empty.mp4');
  await writeFile(empty, '');
  expect(await probe(empty)).toMatchObject({ error: { code: 'EMPTY_FILE' } });
  await expect(probe(join(folder, 'missing.mp4'))).rejects.toMatchObject({ code: 'ENOENT' });
  expect(await probe(whole, { signal: AbortSignal.abort() })).toMatchObject({ error: { code: 'MEDIA_CANCELLED' } });
});

test('the bar code reads back every frame number, whatever the codec', async () => {
  for (const name of ['bars.mp4', 'bars.mkv']) {
    const file = join(folder, name);
    await makeClip(file, { frames: 30, width: 320, height: 180, codec: extname(name) === '.mkv' ? 'ffv1' : 'h264' });
    expect(await readFrameNumbers(file)).toEqual(Array.from({ length: 30 }, (_, index) => index));
  }
});
