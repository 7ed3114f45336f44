import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ffmpegCapabilities, inputArguments, runFfmpeg, runFfprobe, useFfmpeg, type FfmpegProgress } from './index.js';
import { probe } from '../probe/index.js';
import type { Demuxer } from '../sniff.js';
import { makeClip } from '../testmedia.js';

let folder: string;
let secret: string;
let secretFrames: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-ffmpeg-'));
  secret = join(folder, 'secret.mp4');
  await makeClip(secret, { frames: 10, width: 320, height: 180, audioChannels: 0 });
  secretFrames = await frameSum(['-i', secret]);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** A program in ffmpeg's place for the time of a call. */
async function standIn(script: string): Promise<<T>(use: () => Promise<T>) => Promise<T>> {
  const file = join(folder, `ffmpeg-${randomUUID()}`);
  await writeFile(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return async (use) => {
    useFfmpeg({ ffmpeg: file });
    try {
      return await use();
    } finally {
      useFfmpeg({ ffmpeg: 'ffmpeg' });
    }
  };
}

/** Decodes with a bare ffmpeg; empty when it can't. */
async function frameSum(input: string[]): Promise<string> {
  const args = ['-v', 'error', ...input, '-map', '0:v', '-f', 'md5', '-'];
  return promisify(execFile)('ffmpeg', args).then(
    ({ stdout }) => stdout.trim(),
    () => '',
  );
}

// One that reads headers, those that search for sync bytes in anything, and a picture.
const DEMUXERS: Demuxer[] = ['mov', 'matroska', 'mp3', 'aac', 'png_pipe'];

describe('a file that points at another', () => {
  const attacks: [name: string, script: () => string][] = [
    ['HLS playlist', () => `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n${secret}\n#EXT-X-ENDLIST\n`],
    ['ffconcat script', () => `ffconcat version 1.0\nfile secret.mp4\n`],
  ];

  test.each(attacks)('%s: bare ffmpeg shows the secret, none of our demuxers does', async (name, script) => {
    const file = join(folder, `${name.replace(' ', '-')}.mp4`);
    await writeFile(file, script());
    // The danger is real: without the list, the text named .mp4 is followed and the secret's frames come out.
    expect(await frameSum(['-allowed_extensions', 'ALL', '-i', file].slice(name.startsWith('HLS') ? 0 : 2))).toBe(
      secretFrames,
    );
    for (const demuxer of DEMUXERS) {
      const run = await runFfmpeg({ inputs: [{ path: file, demuxer }], output: ['-map', '0:v', '-f', 'md5', '-'] });
      expect(run.ok ? run.value.stdout.toString() : '').not.toContain(secretFrames);
    }
    expect(await probe(file)).toMatchObject({ error: { code: 'UNSUPPORTED_MEDIA' } });
  });

  test('names that are protocols or patterns are plain names', async () => {
    for (const name of [
      'concat:secret.mp4',
      'subfile,,start,0,end,0,,:secret.mp4',
      'frame%03d.mp4',
      '-y.mp4',
      'data:x.mp4',
    ]) {
      const file = join(folder, name);
      await writeFile(file, await readFile(secret));
      const run = await runFfprobe({ input: { path: file, demuxer: 'mov' }, args: ['-show_format', '-of', 'json'] });
      expect(run.ok).toBe(true);
    }
  });

  test('a caller can’t widen what is opened', () => {
    for (const option of ['-f', '-i', '-protocol_whitelist', '-format_whitelist', '-enable_drefs']) {
      expect(() => inputArguments({ path: 'x', demuxer: 'mov', options: [option, 'x'] })).toThrow(TypeError);
    }
  });
});

const endless = { lavfi: 'testsrc2=size=320x180:rate=25' };
const nowhere = ['-f', 'null', '-'];

test('progress is typed and moves on', async () => {
  const seen: FfmpegProgress[] = [];
  const run = await runFfmpeg({
    inputs: [{ lavfi: 'testsrc2=size=320x180:rate=25:duration=2', options: ['-re'] }],
    output: nowhere,
    onProgress: (progress) => seen.push(progress),
    threads: 1,
  });
  expect(run.ok).toBe(true);
  expect(seen.length).toBeGreaterThan(1);
  expect(seen.at(-1)).toMatchObject({ frame: 50 });
  expect(Math.abs(seen.at(-1)!.outTimeUs - 2e6)).toBeLessThan(100_000);
  expect(seen.every(({ frame }, index) => index === 0 || frame >= seen[index - 1]!.frame)).toBe(true);
});

test('cancel, time-out and stall kill the process and say so', async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 300);
  const started = Date.now();
  expect(await runFfmpeg({ inputs: [endless], output: nowhere, signal: controller.signal })).toMatchObject({
    error: { code: 'MEDIA_CANCELLED' },
  });
  expect(await runFfmpeg({ inputs: [endless], output: nowhere, timeoutMs: 300 })).toMatchObject({
    error: { code: 'MEDIA_TIMEOUT' },
  });
  // `-re` with a rate of one frame in an hour: alive, and going nowhere.
  const frozen = { lavfi: 'testsrc2=size=64x64:rate=1/3600', options: ['-re'] };
  expect(await runFfmpeg({ inputs: [frozen], output: nowhere, stallMs: 700 })).toMatchObject({
    error: { code: 'MEDIA_STALLED' },
  });
  expect(Date.now() - started).toBeLessThan(8000);
  expect(await runFfmpeg({ inputs: [endless], output: nowhere, signal: AbortSignal.abort() })).toMatchObject({
    error: { code: 'MEDIA_CANCELLED' },
  });
});

test('a failure carries ffmpeg’s own words, without our paths', async () => {
  const file = join(folder, 'noise.mp4');
  await writeFile(file, Buffer.alloc(5000, 7));
  const run = await runFfmpeg({ inputs: [{ path: file, demuxer: 'mov' }], output: nowhere });
  expect(run).toMatchObject({ error: { code: 'FFMPEG_FAILED' } });
  if (run.ok) return;
  expect(run.error.reason).toMatch(/moov atom not found|Invalid data/);
  expect(run.error.reason).not.toContain(folder);
});

test('endless output and endless complaints stay bounded', async () => {
  const run = await runFfmpeg({
    inputs: [endless],
    output: ['-f', 'rawvideo', 'pipe:1'],
    maxStdoutBytes: 1 << 20,
  });
  expect(run).toMatchObject({ error: { code: 'FFMPEG_FAILED' } });
  const complaining = await standIn(
    'i=0; while [ $i -lt 20000 ]; do echo "[x @ 0x1] [error] wrong $i" >&2; i=$((i+1)); done; exit 1',
  );
  const complained = await complaining(() => runFfmpeg({ inputs: [endless], output: nowhere }));
  expect(complained).toMatchObject({
    error: { code: 'FFMPEG_FAILED', reason: 'x: wrong 19997; x: wrong 19998; x: wrong 19999' },
  });
  const dumping = await standIn('head -c 50000000 /dev/zero | tr "\\0" x >&2; exit 1');
  const dumped = await dumping(() => runFfmpeg({ inputs: [endless], output: nowhere }));
  expect(dumped).toMatchObject({ error: { code: 'FFMPEG_FAILED' } });
  expect(dumped.ok ? '' : dumped.error.reason!.length).toBeLessThan(2000);
});

test('a full disk is told as such', async () => {
  const run = await runFfmpeg({ inputs: [endless], output: ['-frames:v', '50', '-f', 'rawvideo', 'file:/dev/full'] });
  expect(run).toMatchObject({ error: { code: 'DISK_FULL', reason: expect.stringContaining('No space left') } });
});

test('threads and niceness reach the process', async () => {
  const record = join(folder, 'record');
  const recording = await standIn(`{ nice; echo "$@"; } > ${record}; exec ffmpeg "$@"`);
  const job = { inputs: [{ path: secret, demuxer: 'mov' as const }], output: nowhere, threads: 1, nice: 7 };
  expect((await recording(() => runFfmpeg(job))).ok).toBe(true);
  const [nice, args] = (await readFile(record, 'utf8')).split('\n');
  expect(nice).toBe('7');
  expect(args).toMatch(
    /-filter_complex_threads 1 .*-threads 1 -f mov -format_whitelist mov -protocol_whitelist file -i file:/,
  );
});

test('a machine without ffmpeg is told so', async () => {
  useFfmpeg({ ffmpeg: 'no-such-ffmpeg', ffprobe: 'no-such-ffprobe' });
  try {
    expect(await ffmpegCapabilities()).toMatchObject({ error: { code: 'FFMPEG_MISSING' } });
    expect(await probe(secret)).toMatchObject({ error: { code: 'FFMPEG_MISSING' } });
  } finally {
    useFfmpeg({ ffmpeg: 'ffmpeg', ffprobe: 'ffprobe' });
  }
  const capabilities = await ffmpegCapabilities();
  expect(capabilities).toMatchObject({ ok: true });
  if (!capabilities.ok) return;
  expect(capabilities.value.version).toMatch(/^\S*\d/);
  expect([...capabilities.value.encoders]).toEqual(expect.arrayContaining(['libx264', 'aac', 'mjpeg', 'png']));
  expect([...capabilities.value.filters]).toEqual(expect.arrayContaining(['scale', 'split', 'tile', 'select']));
});
