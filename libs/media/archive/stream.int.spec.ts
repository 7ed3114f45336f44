import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileSource } from '../bytes.js';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, readFrameNumbers, type ClipOptions } from '../testmedia.js';
import { RATES } from '../timecode.js';
import { ArchiveStreams, findMember, indexTar, makeSegment, planSegments, type ArchivedMedium } from './index.js';

let folder: string;
let medium: ArchivedMedium;

async function archived(name: string, options: ClipOptions): Promise<ArchivedMedium> {
  await makeClip(join(folder, name), options);
  await writeFile(join(folder, 'notes.txt'), 'before the film');
  const path = join(folder, `${name}.tar`);
  await promisify(execFile)('tar', ['-c', '--format=pax', '-f', path, 'notes.txt', name], { cwd: folder });
  const index = unwrap(await indexTar(await fileSource(path)));
  const { offset, size } = unwrap(findMember(index, name));
  const info = unwrap(await probe(path, { part: { offset, size } }));
  return { path, part: { offset, size }, info, key: `${name} ${offset}` };
}

const upTo = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

/** Times of a stream's packets, in ticks of 90 kHz. */
async function times(file: string, select: string): Promise<number[]> {
  const { stdout } = await promisify(execFile)('ffprobe', [
    ...['-v', 'error', '-select_streams', select, '-show_entries', 'packet=pts', '-of', 'csv=p=0', file],
  ]);
  return stdout
    .split('\n')
    .map((line) => Number.parseInt(line, 10))
    .filter(Number.isFinite);
}

/** A tone of 550 Hz on the second channel: how far a sample is from what the two before it make it, at worst. */
async function worstJump(film: string): Promise<number> {
  const tone = unwrap(
    await runFfmpeg({
      inputs: [{ path: film, demuxer: 'mov' }],
      output: ['-map', '0:a:0', '-af', 'pan=mono|c0=c1', '-f', 'f32le', '-c:a', 'pcm_f32le', 'pipe:1'],
    }),
  ).stdout;
  const samples = new Float32Array(tone.buffer.slice(tone.byteOffset, tone.byteOffset + tone.length));
  const turn = 2 * Math.cos((2 * Math.PI * 550) / 48_000);
  return samples
    .slice(4096, -4096)
    .reduce(
      (worst, value, at, all) =>
        at < 2 ? worst : Math.max(worst, Math.abs(value - turn * all[at - 1]! + all[at - 2]!)),
      0,
    );
}

/** Segments in order, joined: every frame once, at its time; sound in whole packets without a gap. */
async function expectJoined(parts: readonly Buffer[], name: string, frames: number, { num, den } = RATES['23.976']) {
  const joined = join(folder, `${name}.joined.ts`);
  await writeFile(joined, Buffer.concat(parts));
  const whole = join(folder, `${name}.joined.mp4`);
  await promisify(execFile)('ffmpeg', ['-v', 'error', '-i', joined, '-c', 'copy', '-y', whole]);
  expect(await readFrameNumbers(whole)).toEqual(upTo(0, frames));
  const picture = await times(joined, 'v');
  expect(picture).toHaveLength(frames);
  picture.forEach((pts, frame) => expect(Math.abs(pts - (frame * den * 90_000) / num)).toBeLessThanOrEqual(3));
  // Packets of 1024 samples of 48 kHz are 1920 ticks.
  const sound = await times(joined, 'a');
  sound.forEach((pts, packet) => expect(Math.abs(pts - packet * 1920)).toBeLessThanOrEqual(3));
  expect(sound).toHaveLength(Math.ceil((frames * den * 48_000) / (num * 1024)));
  expect(await worstJump(whole)).toBeLessThan(0.005);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-stream-'));
  medium = await archived('clip.mov', { codec: 'prores', frames: 100, width: 640, height: 360, noise: 2 });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('a member is probed in place, as if it were alone', async () => {
  expect(medium.info).toEqual(unwrap(await probe(join(folder, 'clip.mov'))));
  const [first] = unwrap(planSegments(medium.info));
  expect(first).toEqual({ first: 0, count: 12 });
});

test('segments made one by one join: every frame once, at its time, and sound without a gap', async () => {
  const streams = await ArchiveStreams.open(join(folder, 'cache'));
  const server: Server = createServer(
    (request, response) => void streams.serve(request, response, medium, request.url!.slice(1)),
  );
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const playlist = await (await fetch(`${base}/index.m3u8`)).text();
    const names = playlist.split('\n').filter((line) => line.endsWith('.ts'));
    expect(names).toEqual(['0.ts', '1.ts', '2.ts', '3.ts']);
    const lengths = [...playlist.matchAll(/#EXTINF:([\d.]+)/g)].map((match) => Number(match[1]));
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBeCloseTo((100 * 1001) / 24000, 5);
    // Two at once are made once; the last one is asked for before the others.
    const parts = new Map<string, Buffer>();
    for (const name of ['3.ts', '0.ts', '1.ts', '2.ts']) {
      const [one, two] = await Promise.all([fetch(`${base}/${name}`), fetch(`${base}/${name}`)]);
      expect([one.status, one.headers.get('cache-control')]).toEqual([200, 'private, max-age=31536000, immutable']);
      expect(one.headers.get('etag')).toBe(two.headers.get('etag'));
      parts.set(name, Buffer.from(await one.arrayBuffer()));
      await two.arrayBuffer();
    }
    expect((await fetch(`${base}/4.ts`)).status).toBe(404);
    expect((await fetch(`${base}/0.ts`, { headers: { range: 'bytes=0-187' } })).status).toBe(206);
    await expectJoined(
      names.map((name) => parts.get(name)!),
      'served',
      100,
    );
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});

test.each([
  ['open.mxf', { codec: 'h264', gop: 12, openGop: true }],
  ['closed.mxf', { codec: 'h264', gop: 12 }],
  ['long.mxf', { codec: 'h264', rate: RATES['23.976'] }],
  ['far.mxf', { codec: 'h264', gop: 12, openGop: true, frames: 330 }],
  ['mpeg2.mxf', { codec: 'mpeg2' }],
  ['prores.mxf', { codec: 'prores' }],
  ['prores.mov', { codec: 'prores', rate: RATES['29.97'] }],
  ['open.mp4', { codec: 'h264', gop: 12, openGop: true, rate: RATES['50'] }],
] as [string, ClipOptions][])(
  'each segment has its own frames, the first and the last too: %s',
  async (name, given) => {
    const options = { rate: RATES['25'], ...given };
    const frames = given.frames ?? 150;
    const source = await archived(name, { width: 256, height: 144, ...options, frames });
    const segments = unwrap(planSegments(source.info));
    expect(segments.length).toBeGreaterThan(2);
    const parts: Buffer[] = [];
    for (const [n, segment] of segments.entries()) {
      const file = join(folder, `${name}.${n}.ts`);
      unwrap(await makeSegment(source, segment, file));
      const alone = `${file}.mp4`;
      await promisify(execFile)('ffmpeg', ['-v', 'error', '-i', file, '-map', '0:v', '-c', 'copy', '-y', alone]);
      expect([n, await readFrameNumbers(alone)]).toEqual([n, upTo(segment.first, segment.count)]);
      parts.push(await readFile(file));
    }
    await expectJoined(parts, name, frames, options.rate);
  },
);

test('the cache stays within its size, and begins empty', async () => {
  const directory = join(folder, 'small');
  const streams = await ArchiveStreams.open(directory, { maxBytes: 1 });
  const plan = unwrap(planSegments(medium.info));
  const first = unwrap(await streams.segment(medium, plan, 0));
  expect((await readFile(first.file)).length).toBe(first.size);
  const second = unwrap(await streams.segment(medium, plan, 1));
  expect(await streams.usage()).toBe(second.size);
  await ArchiveStreams.open(directory);
  expect(await streams.usage()).toBe(0);
  const outside = { ...medium, part: { offset: -5, size: 10 } };
  await expect(streams.segment({ ...outside, key: 'other' }, plan, 0)).rejects.toThrow(TypeError);
});
