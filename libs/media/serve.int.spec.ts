import { randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, get, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { LocalBlobStore, type BlobRef } from './blobs.js';
import { serveBlob } from './serve.js';

const SIZE = 24 << 20;
const bytes = randomBytes(SIZE);
let folder: string;
let blobs: LocalBlobStore;
let ref: BlobRef;
let empty: BlobRef;
let server: Server;
let base: string;
let served: Promise<void>[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-serve-'));
  blobs = new LocalBlobStore(folder);
  ref = await blobs.putStream('studio', Readable.from([bytes]));
  empty = await blobs.putStream('studio', Readable.from([]));
  server = createServer((request, response) => {
    const target = request.url === '/empty' ? empty : ref;
    const org = request.url === '/missing' ? 'nobody' : 'studio';
    const downloadName = request.url === '/download' ? 'Schnitt “7”.mp4' : undefined;
    served.push(
      serveBlob(request, response, { blobs, org, ...target, mime: 'video/mp4', immutable: true, downloadName }),
    );
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(async () => {
  server.closeAllConnections();
  await new Promise((done) => server.close(done));
  await rm(folder, { recursive: true, force: true });
});

async function ask(headers: Record<string, string>, method = 'GET', path = '/') {
  return new Promise<{ status: number; headers: Record<string, string | undefined>; body: Buffer }>(
    (resolve, reject) => {
      const request = httpRequest(base + path, { method, headers, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode!,
            headers: response.headers as Record<string, string | undefined>,
            body: Buffer.concat(chunks),
          }),
        );
      });
      request.on('error', reject);
      request.end();
    },
  );
}

const etag = () => `"${ref.hash.slice(7)}"`;

test('the whole, with what a cache and a player need', async () => {
  const answer = await ask({});
  expect(answer.status).toBe(200);
  expect(answer.headers).toMatchObject({
    'content-type': 'video/mp4',
    'content-length': String(SIZE),
    'accept-ranges': 'bytes',
    'cache-control': 'private, max-age=31536000, immutable',
    'x-content-type-options': 'nosniff',
    etag: etag(),
  });
  expect(answer.body.equals(bytes)).toBe(true);
});

test.each([
  ['bytes=0-0', 0, 0],
  ['bytes=0-', 0, SIZE - 1],
  ['bytes=1000-1999', 1000, 1999],
  ['bytes=-500', SIZE - 500, SIZE - 1],
  [`bytes=${SIZE - 1}-`, SIZE - 1, SIZE - 1],
  [`bytes=5-${SIZE * 2}`, 5, SIZE - 1],
])('%s is a part', async (range, start, end) => {
  const answer = await ask({ range });
  expect(answer.status).toBe(206);
  expect(answer.headers).toMatchObject({
    'content-range': `bytes ${start}-${end}/${SIZE}`,
    'content-length': String(end - start + 1),
    etag: etag(),
  });
  expect(answer.body.equals(bytes.subarray(start, end + 1))).toBe(true);
});

test.each([`bytes=${SIZE}-`, 'bytes=-0', 'bytes=0-1,4-5'])('%s can’t be satisfied', async (range) => {
  const answer = await ask({ range });
  expect(answer.status).toBe(416);
  expect(answer.headers['content-range']).toBe(`bytes */${SIZE}`);
  expect(JSON.parse(answer.body.toString())).toMatchObject({ code: 'RANGE_NOT_SATISFIABLE' });
});

test.each(['bytes=9-1', 'bytes=x', 'frames=0-1'])('%s is ignored', async (range) => {
  expect((await ask({ range })).status).toBe(200);
});

test('conditions', async () => {
  const range = 'bytes=0-9';
  expect((await ask({ range, 'if-range': etag() })).status).toBe(206);
  expect((await ask({ range, 'if-range': `W/${etag()}` })).status).toBe(200);
  expect((await ask({ range, 'if-range': '"other"' })).status).toBe(200);
  expect((await ask({ range, 'if-range': new Date().toUTCString() })).status).toBe(200);
  const same = await ask({ 'if-none-match': `"x", W/${etag()}`, range });
  expect(same).toMatchObject({ status: 304, headers: { etag: etag() } });
  expect(same.body).toHaveLength(0);
  expect((await ask({ 'if-none-match': '"x"' })).status).toBe(200);
  expect((await ask({ 'if-match': '"x"' })).status).toBe(412);
  expect((await ask({ 'if-match': etag() })).status).toBe(200);
});

test('HEAD has the headers of GET and ignores Range; other methods are refused', async () => {
  const head = await ask({ range: 'bytes=0-9' }, 'HEAD');
  expect(head).toMatchObject({ status: 200, headers: { 'content-length': String(SIZE), etag: etag() } });
  expect(head.body).toHaveLength(0);
  expect(await ask({}, 'DELETE')).toMatchObject({ status: 405, headers: { allow: 'GET, HEAD' } });
});

test('nothing, a missing blob, a download', async () => {
  expect(await ask({}, 'GET', '/empty')).toMatchObject({ status: 200, headers: { 'content-length': '0' } });
  expect((await ask({ range: 'bytes=0-' }, 'GET', '/empty')).status).toBe(416);
  const missing = await ask({}, 'GET', '/missing');
  expect(missing).toMatchObject({ status: 404, headers: { 'cache-control': 'no-store' } });
  expect(JSON.parse(missing.body.toString())).toMatchObject({ code: 'BLOB_NOT_FOUND' });
  expect((await ask({}, 'HEAD', '/download')).headers['content-disposition']).toBe(
    `attachment; filename="Schnitt _7_.mp4"; filename*=UTF-8''Schnitt%20%E2%80%9C7%E2%80%9D.mp4`,
  );
});

function openBlobs(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

test('a client that reads slowly is waited for, and one that leaves frees the file', async () => {
  served = [];
  const responses = await Promise.all(
    Array.from(
      { length: 20 },
      () =>
        new Promise<{ destroy(): void }>((resolve, reject) => {
          const request = get(`${base}/`, { agent: false }, (response) => {
            response.on('error', () => undefined);
            response.pause();
            resolve({ destroy: () => response.destroy() });
          });
          request.on('error', reject);
        }),
    ),
  );
  const before = process.memoryUsage();
  await sleep(300);
  const growth = process.memoryUsage().external - before.external;
  // 20 × 24 MB asked, nobody reads: only buffers may be filled.
  expect(growth).toBeLessThan(60e6);
  if (process.platform === 'linux') expect(openBlobs()).toBe(20);
  for (const response of responses) response.destroy();
  await Promise.all(served);
  for (let tries = 0; tries < 50 && process.platform === 'linux' && openBlobs() > 0; tries += 1) await sleep(20);
  if (process.platform === 'linux') expect(openBlobs()).toBe(0);
});
