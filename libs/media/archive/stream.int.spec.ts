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
import { makeClip, readFrameNumbers } from '../testmedia.js';
import { ArchiveStreams, findMember, indexTar, planSegments, type ArchivedMedium } from './index.js';

let folder: string;
let medium: ArchivedMedium;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-stream-'));
  await makeClip(join(folder, 'clip.mov'), { codec: 'prores', frames: 100, width: 640, height: 360, noise: 2 });
  await writeFile(join(folder, 'notes.txt'), 'before the film');
  await promisify(execFile)('tar', ['-c', '--format=pax', '-f', 'a.tar', 'notes.txt', 'clip.mov'], { cwd: folder });
  const path = join(folder, 'a.tar');
  const index = unwrap(await indexTar(await fileSource(path)));
  const { offset, size } = unwrap(findMember(index, 'clip.mov'));
  const info = unwrap(await probe(path, { part: { offset, size } }));
  medium = { path, part: { offset, size }, info, key: `test ${offset}` };
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
    const joined = join(folder, 'joined.ts');
    await writeFile(joined, Buffer.concat(names.map((name) => parts.get(name)!)));
    const whole = join(folder, 'whole.mp4');
    await promisify(execFile)('ffmpeg', ['-v', 'error', '-i', joined, '-c', 'copy', '-y', whole]);
    expect(await readFrameNumbers(whole)).toEqual(Array.from({ length: 100 }, (_, frame) => frame));
    const times = async (select: string) => {
      const { stdout } = await promisify(execFile)('ffprobe', [
        ...['-v', 'error', '-select_streams', select, '-show_entries', 'packet=pts', '-of', 'csv=p=0', joined],
      ]);
      return stdout
        .split('\n')
        .map((line) => Number.parseInt(line, 10))
        .filter(Number.isFinite);
    };
    const picture = await times('v');
    expect(picture).toHaveLength(100);
    picture.forEach((pts, frame) => expect(Math.abs(pts - (frame * 1001 * 90_000) / 24_000)).toBeLessThanOrEqual(3));
    // Packets of 1024 samples of 48 kHz are 1920 ticks.
    const sound = await times('a');
    sound.forEach((pts, packet) => expect(Math.abs(pts - packet * 1920)).toBeLessThanOrEqual(3));
    expect(sound).toHaveLength(Math.ceil((100 * 2002) / 1024));
    // A tone joins smoothly: what a tone's next sample must be by the two before it, it is.
    const tone = unwrap(
      await runFfmpeg({
        inputs: [{ path: whole, demuxer: 'mov' }],
        output: ['-map', '0:a:0', '-af', 'pan=mono|c0=c1', '-f', 'f32le', '-c:a', 'pcm_f32le', 'pipe:1'],
      }),
    ).stdout;
    const samples = new Float32Array(tone.buffer.slice(tone.byteOffset, tone.byteOffset + tone.length));
    const turn = 2 * Math.cos((2 * Math.PI * 550) / 48_000);
    const jump = samples
      .slice(4096, -4096)
      .reduce(
        (worst, value, at, all) =>
          at < 2 ? worst : Math.max(worst, Math.abs(value - turn * all[at - 1]! + all[at - 2]!)),
        0,
      );
    expect(jump).toBeLessThan(0.005);
  } finally {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});

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
