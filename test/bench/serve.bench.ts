import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFile, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import {
  blobSource,
  fileSource,
  findMember,
  indexTar,
  LocalBlobStore,
  makeSegment,
  planSegments,
  probe,
  serveBlob,
  serveMember,
  unwrap,
} from '#libs/media/index.js';
import { startNginx } from '#libs/media/nginx.fixture.js';
import { makeClip } from '#libs/media/testmedia.js';
import { percentile, type BenchContext } from './kit.js';

/** Reads as fast as it can, in a process of its own: `node -e … port path clients seconds range`. Only counts. */
const CLIENT = `
const net = require('net'); const [port, path, clients, seconds, range] = process.argv.slice(1);
const end = Date.now() + seconds * 1000; let bytes = 0, requests = 0; const first = [];
const one = () => new Promise((resolve, reject) => {
  const socket = net.connect({ port: Number(port), host: '127.0.0.1', onread: { buffer: Buffer.alloc(1 << 18), callback: take } });
  let left = -1, head = Buffer.alloc(0), asked = 0;
  const ask = () => { asked = performance.now(); left = -1; head = Buffer.alloc(0);
    socket.write('GET ' + path + ' HTTP/1.1\\r\\nHost: x\\r\\n' + (range ? 'Range: bytes=' + range + '\\r\\n' : '') + '\\r\\n'); };
  function take(n, buffer) {
    if (left < 0) {
      head = Buffer.concat([head, buffer.subarray(0, n)]); const at = head.indexOf('\\r\\n\\r\\n'); if (at < 0) return true;
      const text = head.toString('latin1', 0, at);
      if (!/^HTTP.1.1 20/.test(text)) { reject(new Error(text)); return false; }
      first.push(performance.now() - asked); left = Number(/content-length: (\\d+)/i.exec(text)[1]); n = head.length - at - 4;
    }
    bytes += n; left -= n;
    if (left <= 0) { requests++; if (Date.now() < end) ask(); else { socket.destroy(); resolve(); } }
    else if (Date.now() >= end) { socket.destroy(); resolve(); }
    return true;
  }
  socket.on('connect', ask); socket.on('error', reject);
});
const began = Date.now();
Promise.all(Array.from({ length: Number(clients) }, one)).then(() =>
  console.log(JSON.stringify({ bytes, requests, seconds: (Date.now() - began) / 1000, first: first.slice(0, 20000) })),
  (error) => { console.error(error); process.exit(1); });
`;

interface Load {
  bytes: number;
  requests: number;
  seconds: number;
  first: number[];
}

/**
 * Ranges of a file, and of a member inside an archive, against nginx on the same bytes, and the first segment of a 4K ProRes out of
 * an archive against ffmpeg on the file alone. Server here, clients elsewhere.
 */
export default async function serve(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, note, report, wants } = context;
  const folder = await mkdtemp(join(tmpdir(), 'picturelock-bench-'));
  const size = quick ? 8 << 20 : 256 << 20;
  try {
    const file = join(folder, 'film.mov');
    const handle = await open(file, 'w');
    for (let at = 0; at < size; at += 4 << 20) await handle.write(randomBytes(4 << 20));
    await handle.close();
    const blobs = new LocalBlobStore(join(folder, 'blobs'));
    await promisify(execFile)('tar', ['-c', '--format=pax', '-f', 'archive.tar', 'film.mov'], { cwd: folder });
    await copyFile(file, join(folder, 'copy'));
    const film = await blobs.putFile('studio', join(folder, 'copy'));
    const archiveRef = await blobs.putFile('studio', join(folder, 'archive.tar'));
    const archive = blobSource(blobs, 'studio', archiveRef);
    const index = unwrap(await indexTar(archive));
    const mime = 'video/quicktime';
    const server = createServer((request, response) => {
      if (request.url === '/member')
        void serveMember(request, response, { archive, archiveRef, index, name: 'film.mov', mime });
      else void serveBlob(request, response, { blobs, org: 'studio', ...film, mime });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const nginx = await startNginx(`location / { root ${folder}; }`);
    const ports = { ours: (server.address() as AddressInfo).port, nginx: Number(new URL(nginx.base).port) };
    const load = async (who: 'ours' | 'nginx', path: string, clients: number, range = ''): Promise<Load> => {
      const args = ['-e', CLIENT, String(ports[who]), path, String(clients), String(seconds / 2), range];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], signal });
      const told = JSON.parse(await text(child.stdout)) as Load;
      return told;
    };
    try {
      const speed = ({ bytes, seconds: took }: Load) => bytes / took / 1e6;
      const against = async (figure: string, path: string, clients: number, atLeast: number): Promise<void> => {
        if (!wants(figure)) return;
        note(figure);
        const sums = { ours: 0, nginx: 0 };
        // In turns and in turned order: the machine's mood is shared.
        for (let run = 0; run < 2; run += 1) {
          for (const who of run % 2 === 0 ? (['ours', 'nginx'] as const) : (['nginx', 'ours'] as const))
            sums[who] += speed(await load(who, who === 'ours' ? path : '/film.mov', clients));
        }
        report({ figure, value: sums.ours / 2, unit: 'MB/s' });
        report({ figure: `${figure}, nginx`, value: sums.nginx / 2, unit: 'MB/s' });
        report({ figure: `${figure}, as a part of nginx`, value: sums.ours / sums.nginx, unit: 'ratio', atLeast });
      };
      await load('ours', '/', 1);
      await against('a file, 1 client', '/', 1, 0.8);
      const before = process.memoryUsage.rss();
      await against('a file, 50 clients', '/', 50, 0.8);
      report({
        figure: 'memory after 50 clients, more than before',
        value: Math.max(0.1, (process.memoryUsage.rss() - before) / 2 ** 20),
        unit: 'MiB',
        atMost: 64,
      });
      await against('a member of an archive, 50 clients', '/member', 50, 0.9);
      if (wants('first byte')) {
        for (const who of ['ours', 'nginx'] as const) {
          const { first } = await load(who, who === 'ours' ? '/' : '/film.mov', 1, '1000000-1065535');
          report({
            figure: `first byte of a range, ${who === 'ours' ? 'p50' : 'nginx p50'}`,
            value: percentile(first, 50),
            unit: 'ms',
          });
        }
      }
    } finally {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await nginx.stop();
    }
    if (wants('first segment')) await firstSegment(context, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The first segment of a 4K ProRes inside a TAR, from opening the archive on. */
async function firstSegment({ quick, signal, note, report }: BenchContext, folder: string): Promise<void> {
  note('making 4K ProRes');
  const clip = join(folder, 'reel.mov');
  const dimensions = quick ? { width: 640, height: 360 } : { width: 3840, height: 2160 };
  await makeClip(clip, { codec: 'prores', frames: 36, noise: 8, ...dimensions, signal });
  await writeFile(join(folder, 'first.txt'), 'metadata');
  await promisify(execFile)('tar', ['-c', '--format=pax', '-f', 'reel.tar', 'first.txt', 'reel.mov'], { cwd: folder });
  const path = join(folder, 'reel.tar');
  const out = join(folder, 'segment.ts');
  const times = { ours: [] as number[], bare: [] as number[], decode: [] as number[] };
  for (let run = 0; run < (quick ? 1 : 3); run += 1) {
    let start = performance.now();
    const { offset, size } = unwrap(findMember(unwrap(await indexTar(await fileSource(path))), 'reel.mov'));
    const part = { offset, size };
    const info = unwrap(await probe(path, { part, signal }));
    const [first] = unwrap(planSegments(info));
    unwrap(await makeSegment({ path, part, info, key: '' }, first!, out, { signal }));
    times.ours.push((performance.now() - start) / 1000);
    const { count } = first!;
    const bare = async (args: string[]) => {
      start = performance.now();
      await promisify(execFile)('ffmpeg', ['-hide_banner', '-nostdin', '-v', 'error', '-y', ...args], { signal });
      return (performance.now() - start) / 1000;
    };
    const picture = ['-vf', `trim=end_frame=${count},scale=960:540:flags=bilinear,format=yuv420p`, '-bf', '0'];
    const encoder = ['-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-crf', '23', '-c:a', 'aac'];
    times.bare.push(await bare(['-i', clip, ...picture, ...encoder, '-t', '0.5005', '-f', 'mpegts', out]));
    times.decode.push(await bare(['-threads', '1', '-i', clip, '-frames:v', String(count), '-an', '-f', 'null', '-']));
  }
  const best = (list: number[]) => Math.min(...list);
  // Where one core can't decode half a second in that time, no server can: the ratio stands alone then.
  const inTime = best(times.decode) < 0.7;
  report({
    figure: 'first segment of 4K ProRes in an archive',
    value: best(times.ours),
    unit: 's',
    ...(inTime && { atMost: 1 }),
  });
  report({ figure: 'bare ffmpeg on the file alone', value: best(times.bare), unit: 's' });
  report({ figure: 'its 12 frames decoded by one core', value: best(times.decode), unit: 's' });
  report({
    figure: 'first segment, as a part of bare ffmpeg',
    value: best(times.bare) / best(times.ours),
    unit: 'ratio',
    ...(!inTime && { atLeast: 0.8 }),
  });
}
