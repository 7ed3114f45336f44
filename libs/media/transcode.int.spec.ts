import { copyFile, cp, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LocalBlobStore, hashFile } from './blobs.js';
import { runFfmpeg, runFfprobe } from './ffmpeg/index.js';
import { parseMediaPlaylist } from './hls.js';
import { probe } from './probe/index.js';
import { unwrap } from './result.js';
import {
  makeClip,
  makeFlipped,
  makeStill,
  makeTruncated,
  readFrameNumbers,
  setRotation,
  type ClipOptions,
} from './testmedia.js';
import { RATES } from './timecode.js';
import {
  readReviewManifest,
  storeReviewSet,
  transcodeReview,
  type ReviewSet,
  type TranscodeProgress,
} from './transcode.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-transcode-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const fast = { preset: 'ultrafast', threads: 2 } as const;

async function review(file: string, threads = 2): Promise<ReviewSet> {
  return unwrap(await transcodeReview(file, `${file}.review`, unwrap(await probe(file)), { ...fast, threads }));
}

async function reviewClip(name: string, options: ClipOptions): Promise<{ file: string; set: ReviewSet }> {
  const file = join(folder, name);
  await makeClip(file, options);
  return { file, set: await review(file) };
}

function at(set: ReviewSet, name: string): string {
  return join(set.directory, name);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

async function packets(file: string): Promise<{ pts: number; key: boolean }[]> {
  const run = unwrap(
    await runFfprobe({
      input: { path: file, demuxer: 'mov' },
      args: ['-select_streams', 'v', '-show_entries', 'packet=pts_time,flags', '-of', 'csv=p=0'],
    }),
  );
  const lines = run.stdout.toString().trim().split('\n');
  return lines.map((line) => ({ pts: Number(line.split(',')[0]), key: line.includes('K') }));
}

/** One pixel of one frame, as red, green, blue. */
async function pixel(file: string, demuxer: 'png_pipe' | 'jpeg_pipe' | 'mov', x: number, y: number): Promise<number[]> {
  const run = unwrap(
    await runFfmpeg({
      inputs: [{ path: file, demuxer, options: ['-noautorotate'] }],
      output: ['-frames:v', '1', '-vf', `format=rgb24,crop=1:1:${x}:${y}`, '-f', 'rawvideo', 'pipe:1'],
    }),
  );
  return [...run.stdout];
}

describe('a clip of 23.976 with sound', () => {
  const frames = 110;
  let set: ReviewSet;
  const progress: TranscodeProgress[] = [];
  beforeAll(async () => {
    const file = join(folder, 'main.mov');
    await makeClip(file, { frames, width: 1920, height: 1080, codec: 'prores' });
    const info = unwrap(await probe(file));
    set = unwrap(
      await transcodeReview(file, join(folder, 'main'), info, { ...fast, onProgress: (p) => progress.push(p) }),
    );
  }, 120_000);

  test('frame n of every rendition is frame n of the source', async () => {
    expect(set.frames).toBe(frames);
    for (const name of ['proxy.mp4', 'hls_v0.mp4', 'hls_v1.mp4']) {
      expect(await readFrameNumbers(at(set, name))).toEqual(upTo(frames));
    }
  });

  test('frame n is shown at exactly n / rate, from 0', async () => {
    for (const name of ['proxy.mp4', 'hls_v0.mp4', 'hls_v1.mp4']) {
      const times = await packets(at(set, name));
      expect(Math.max(...times.map(({ pts }, n) => Math.abs(pts - (n * 1001) / 24000)))).toBeLessThan(0.00005);
    }
  });

  test('rungs of 1080 and 540 lines are cut at the same frames, every 48, each group closed by its key frame', async () => {
    for (const [name, size] of [
      ['hls_v0', [1920, 1080]],
      ['hls_v1', [960, 540]],
    ] as const) {
      const keys = (await packets(at(set, `${name}.mp4`))).flatMap(({ key }, n) => (key ? [n] : []));
      expect(keys).toEqual([0, 48, 96]);
      const playlist = parseMediaPlaylist(await readFile(at(set, `${name}.m3u8`), 'utf8'))!;
      expect(playlist.complete).toBe(true);
      expect(playlist.bytes).toBe((await stat(at(set, `${name}.mp4`))).size);
      const expected = [2.002, 2.002, (14 * 1001) / 24000];
      playlist.segments.forEach(({ seconds }, index) =>
        expect(Math.abs(seconds - expected[index]!)).toBeLessThan(0.00001),
      );
      expect(playlist.segments).toHaveLength(3);
      const [width, height] = size;
      expect(set.files.find((file) => file.name === `${name}.mp4`)).toMatchObject({
        width,
        height,
        frames,
        role: 'HLS_SEGMENTS',
      });
    }
  });

  test('the master names both rungs, their codecs and the shared sound; every file it leads to is there', async () => {
    const master = await readFile(at(set, 'master.m3u8'), 'utf8');
    expect(master).toMatch(
      /RESOLUTION=1920x1080,FRAME-RATE=23\.976,CODECS="avc1\.[0-9a-f]{6},mp4a\.40\.2",AUDIO="sound"\nhls_v0\.m3u8/,
    );
    expect(master).toMatch(/RESOLUTION=960x540,.*\nhls_v1\.m3u8/);
    expect(master).toContain('URI="hls_a0.m3u8"');
    const sound = parseMediaPlaylist(await readFile(at(set, 'hls_a0.m3u8'), 'utf8'))!;
    const seconds = sound.segments.reduce((sum, segment) => sum + segment.seconds, 0);
    expect(Math.abs(seconds - (frames * 1001) / 24000)).toBeLessThan(0.06);
    expect((await readdir(set.directory)).sort()).toEqual(set.files.map(({ name }) => name).sort());
  });

  test('the proxy is 480 lines, starts playing at once, and keeps timecode, rate and colour', async () => {
    const info = unwrap(await probe(at(set, 'proxy.mp4')));
    expect(info).toMatchObject({
      durationFrames: frames,
      rate: RATES['23.976'],
      startTimecode: { text: '01:00:00:00' },
      video: {
        width: 854,
        height: 480,
        colour: { primaries: 'bt709', transfer: 'bt709', matrix: 'bt709', range: 'tv' },
        startSeconds: 0,
      },
      audio: [{ codec: 'aac', channels: 2 }],
    });
    const head = (await readFile(at(set, 'proxy.mp4'))).subarray(0, 64);
    expect(head.includes('moov')).toBe(true);
  });

  test('progress ends at one', () => {
    expect(progress.at(-1)).toMatchObject({ fraction: 1, frame: frames });
  });

  test('a manifest blob leads to every file, twice the same', async () => {
    const blobs = new LocalBlobStore(join(folder, 'blobs'));
    const kept = join(folder, 'kept');
    await cp(set.directory, kept, { recursive: true });
    const copy = {
      ...set,
      directory: kept,
      files: set.files.map((file) => ({ ...file, path: join(kept, file.name) })),
    };
    const first = await storeReviewSet(blobs, 'studio', copy);
    await cp(set.directory, kept, { recursive: true });
    expect((await storeReviewSet(blobs, 'studio', copy)).ref).toEqual(first.ref);
    const manifest = await readReviewManifest(blobs, 'studio', first.ref.hash);
    expect(manifest.files.map(({ role }) => role).sort()).toEqual([
      'HLS_MASTER',
      'HLS_MEDIA',
      'HLS_MEDIA',
      'HLS_MEDIA',
      'HLS_SEGMENTS',
      'HLS_SEGMENTS',
      'HLS_SEGMENTS',
      'LOUDNESS',
      'POSTER',
      'PROXY',
      'SPRITES',
      'SPRITES_VTT',
      'THUMBNAIL',
      'WAVEFORM',
    ]);
    for (const file of manifest.files) {
      expect((await hashFile(at(set, file.name))).hash).toBe(file.hash);
      expect(await blobs.stat('studio', file.hash)).toEqual({ hash: file.hash, size: file.size });
    }
    await expect(stat(kept)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

test.each([
  ['25.mp4', { rate: RATES['25'] }, 51],
  ['29df.mxf', { rate: RATES['29.97'], codec: 'mpeg2', startTimecode: '00:59:59;20' }, 40],
  ['5994.mkv', { rate: RATES['59.94'], audioChannels: 1 }, 121],
  ['24.webm', { rate: RATES['24'], codec: 'vp9' }, 30],
  ['30.mov', { rate: RATES['30'], codec: 'dnxhr', audioChannels: 16 }, 31],
  ['47952.mov', { rate: RATES['47.952'], codec: 'mjpeg', audioChannels: 0 }, 50],
] as [string, ClipOptions, number][])(
  '%s: every frame in its place, the timecode kept',
  async (name, options, frames) => {
    const { file, set } = await reviewClip(name, { ...options, frames });
    expect(set.frames).toBe(frames);
    expect(await readFrameNumbers(at(set, 'hls_v0.mp4'))).toEqual(upTo(frames));
    expect(await readFrameNumbers(at(set, 'proxy.mp4'))).toEqual(upTo(frames));
    const [source, proxy] = [unwrap(await probe(file)), unwrap(await probe(at(set, 'proxy.mp4')))];
    expect(proxy.startTimecode).toEqual(source.startTimecode);
    expect(proxy.rate).toEqual(options.rate);
    expect(proxy.audio.map(({ channels }) => channels)).toEqual(
      options.audioChannels === 0 ? [] : source.audio.length ? [2] : [],
    );
  },
);

test('variable rate keeps each frame’s own time', async () => {
  const { file, set } = await reviewClip('vfr.mp4', { rate: RATES['30'], frames: 120, variableRate: true });
  expect(set.frames).toBe(90);
  const source = await packets(file);
  const times = source.map(({ pts }) => pts).sort((a, b) => a - b);
  for (const name of ['proxy.mp4', 'hls_v0.mp4', 'hls_v1.mp4']) {
    const made = await packets(at(set, name));
    expect(made).toHaveLength(90);
    expect(Math.max(...made.map(({ pts }, n) => Math.abs(pts - (times[n]! - times[0]!))))).toBeLessThan(0.001);
    expect((await readFrameNumbers(at(set, name))).slice(-3)).toEqual([114, 116, 118]);
  }
  const [v0, v1] = await Promise.all(
    ['hls_v0.m3u8', 'hls_v1.m3u8'].map(async (name) => parseMediaPlaylist(await readFile(at(set, name), 'utf8'))!),
  );
  expect(v0!.segments.map(({ seconds }) => seconds)).toEqual(v1!.segments.map(({ seconds }) => seconds));
  expect(v0!.segments[0]!.seconds).toBeCloseTo(2, 3);
});

test('odd size, rotated, anamorphic: upright with square pixels, never enlarged', async () => {
  const odd = await reviewClip('odd.mkv', { frames: 10, width: 641, height: 361, codec: 'ffv1' });
  expect(odd.set.files.find(({ role }) => role === 'PROXY')).toMatchObject({ width: 640, height: 360 });
  const turned = join(folder, 'turned.mp4');
  await makeClip(turned, { frames: 10, audioChannels: 0 });
  await setRotation(turned, 90);
  const set = await review(turned);
  expect(unwrap(await probe(at(set, 'proxy.mp4'))).video).toMatchObject({ width: 360, height: 640, rotation: 0 });
  // The code along the top, white first, is now along the right edge, white at the top.
  expect((await pixel(at(set, 'proxy.mp4'), 'mov', 350, 10))[0]).toBeGreaterThan(200);
  expect((await pixel(at(set, 'proxy.mp4'), 'mov', 350, 50))[0]).toBeLessThan(50);
  const wide = await reviewClip('wide.mov', {
    frames: 10,
    width: 720,
    height: 576,
    sampleAspect: '64/45',
    codec: 'mjpeg',
    rate: RATES['25'],
  });
  expect(unwrap(await probe(at(wide.set, 'hls_v0.mp4'))).video).toMatchObject({
    width: 1024,
    height: 576,
    sampleAspect: { num: 1, den: 1 },
  });
});

test('HDR is mapped to BT.709 and tagged so', async () => {
  for (const colour of ['pq', 'hlg'] as const) {
    const { set } = await reviewClip(`${colour}.mp4`, { frames: 8, codec: 'hevc', colour });
    expect(unwrap(await probe(at(set, 'hls_v0.mp4'))).video).toMatchObject({
      hdr: false,
      pixelFormat: 'yuv420p',
      colour: { primaries: 'bt709', transfer: 'bt709', matrix: 'bt709', range: 'tv' },
    });
  }
});

test('sound alone becomes an audio stream with a waveform', async () => {
  const file = join(folder, 'sound.wav');
  const source = { lavfi: 'sine=duration=5:sample_rate=44100' };
  unwrap(await runFfmpeg({ inputs: [source], output: ['-ac', '2', file] }));
  const set = await review(file);
  expect(set.frames).toBeNull();
  expect(set.files.map(({ role }) => role).sort()).toEqual([
    'HLS_MASTER',
    'HLS_MEDIA',
    'HLS_SEGMENTS',
    'LOUDNESS',
    'POSTER',
    'PROXY',
    'THUMBNAIL',
    'WAVEFORM',
  ]);
  expect(unwrap(await probe(at(set, 'proxy.m4a')))).toMatchObject({
    kind: 'AUDIO',
    audio: [{ channels: 2, sampleRate: 48_000 }],
  });
  await makeTruncated(file, join(folder, 'cut.wav'), 0.5);
  const cut = await transcodeReview(join(folder, 'cut.wav'), join(folder, 'cut-wav'), unwrap(await probe(file)), fast);
  expect(cut).toMatchObject({ error: { code: 'TRANSCODE_FAILED' } });
});

test.each([
  ['alpha.png', { alpha: true, deep: true }, 'view.png'],
  ['alpha.tiff', { alpha: true }, 'view.png'],
  ['alpha.webp', { alpha: true }, 'view.jpg'],
] as const)('%s is flattened on white', async (name, options, view) => {
  const file = join(folder, name);
  await makeStill(file, options);
  const set = await review(file);
  const demuxer = view.endsWith('png') ? 'png_pipe' : 'jpeg_pipe';
  for (const [x, colour] of [
    [40, [255, 0, 0]],
    [280, [255, 255, 255]],
  ] as const) {
    const seen = await pixel(at(set, view), demuxer, x, 90);
    seen.forEach((value, channel) => expect(Math.abs(value - colour[channel]!)).toBeLessThan(4));
  }
  expect(unwrap(await probe(at(set, view))).video).toMatchObject({ hasAlpha: false, bitDepth: 8 });
});

test('a photo that lies on its side stands up', async () => {
  const plain = join(folder, 'plain.jpg');
  await makeStill(plain);
  const bytes = await readFile(plain);
  // APP1 with one entry: orientation 6, turn clockwise.
  const exif = Buffer.from('ffe1002245786966000049492a000800000001001201030001000000060000000000000000', 'hex');
  const file = join(folder, 'photo.jpg');
  await writeFile(file, Buffer.concat([bytes.subarray(0, 2), exif.subarray(0, 36), bytes.subarray(2)]));
  const info = unwrap(await probe(file));
  expect(info.video).toMatchObject({ rotation: 90, width: 320, height: 180, displayWidth: 180, displayHeight: 320 });
  const set = await review(file);
  expect(unwrap(await probe(at(set, 'view.jpg'))).video).toMatchObject({ width: 180, height: 320 });
});

describe('damage', () => {
  test('a truncated MP4 fails with ffmpeg’s reason and leaves nothing', async () => {
    const whole = join(folder, 'whole.mp4');
    await makeClip(whole, { frames: 96 });
    for (const part of [0.3, 0.6, 0.95]) {
      const file = join(folder, `cut-${part}.mp4`);
      await makeTruncated(whole, file, part);
      const info = unwrap(await probe(file));
      expect(info.durationFrames).toBe(96);
      const result = await transcodeReview(file, join(folder, `cut-${part}`), info, fast);
      expect(result).toMatchObject({ ok: false, error: { code: 'TRANSCODE_FAILED' } });
      expect(result.ok ? '' : result.error.reason).toMatch(/partial file|corrupt|Invalid|missing picture/i);
    }
    const left = (await readdir(folder)).filter((name) => name.includes('.part') || /^cut-[\d.]+$/.test(name));
    expect(left).toEqual([]);
  });

  test('a truncated MKV and flipped bytes fail too, though ffmpeg itself would exit with 0', async () => {
    const whole = join(folder, 'whole.mkv');
    await makeClip(whole, { frames: 96, audioChannels: 0 });
    const cut = join(folder, 'cut.mkv');
    await makeTruncated(whole, cut, 0.6);
    expect((await runFfmpeg({ inputs: [{ path: cut, demuxer: 'matroska' }], output: ['-f', 'null', '-'] })).ok).toBe(
      true,
    );
    for (const countBelowBytes of [0, 1 << 30]) {
      const info = unwrap(await probe(cut, { countBelowBytes }));
      expect(await transcodeReview(cut, join(folder, 'cut-mkv'), info, fast)).toMatchObject({
        error: { code: 'TRANSCODE_FAILED' },
      });
    }
    const flipped = join(folder, 'flipped.mp4');
    await makeFlipped(join(folder, 'whole.mp4'), flipped, 20);
    expect(await transcodeReview(flipped, join(folder, 'flipped'), unwrap(await probe(flipped)), fast)).toMatchObject({
      error: { code: 'TRANSCODE_FAILED' },
    });
  });

  test('cancelling leaves nothing', async () => {
    const file = join(folder, 'long.mp4');
    await makeClip(file, { frames: 200 });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 250);
    const info = unwrap(await probe(file));
    const result = await transcodeReview(file, join(folder, 'cancelled'), info, {
      ...fast,
      preset: 'medium',
      signal: controller.signal,
    });
    expect(result).toMatchObject({ error: { code: 'MEDIA_CANCELLED' } });
    expect((await readdir(folder)).filter((name) => name.startsWith('cancelled'))).toEqual([]);
  });

  test('two runs of the same file give the same bytes, with one thread', async () => {
    const file = join(folder, 'same.mp4');
    await makeClip(file, { frames: 50 });
    const again = join(folder, 'again.mp4');
    await copyFile(file, again);
    const one = await review(file, 1);
    const two = await review(again, 1);
    const hashes = async (set: ReviewSet) =>
      Object.fromEntries(
        await Promise.all(set.files.map(async ({ name }) => [name, (await hashFile(at(set, name))).hash])),
      );
    expect(await hashes(one)).toEqual(await hashes(two));
  });
});

test('progress is told from the first frames on, not only when the last picture has come', async () => {
  const file = join(folder, 'progress.mp4');
  await makeClip(file, { frames: 96 });
  const told: TranscodeProgress[] = [];
  unwrap(
    await transcodeReview(file, `${file}.review`, unwrap(await probe(file)), {
      ...fast,
      onProgress: (progress) => told.push(progress),
    }),
  );
  expect(told[0]!.fraction).toBeLessThan(0.5);
  expect(told.at(-1)!.fraction).toBe(1);
});
