import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readdirSync, readlinkSync } from 'node:fs';
import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import {
  createServer,
  get,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import S3rver from 's3rver';
import { openBlobStore, LocalBlobStore, type BlobRef, type BlobStore } from '../blobs.js';
import { blobSource, type ByteSource } from '../bytes.js';
import { startNginx } from '../nginx.fixture.js';
import { unwrap } from '../result.js';
import { offloadFiles, serveBlob, serveMember } from '../serve.js';
import { indexTar, type TarIndex } from './index.js';

const MODIFIED = 1_700_000_000;
const bytes = randomBytes(3 << 20);
let folder: string;
let archiveFile: Buffer;
let s3: S3rver;
const served: Promise<void>[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-member-'));
  await writeFile(join(folder, 'clip.mov'), bytes);
  await utimes(join(folder, 'clip.mov'), MODIFIED, MODIFIED);
  const tar = await promisify(execFile)('tar', ['-c', '--format=pax', 'clip.mov'], {
    cwd: folder,
    encoding: 'buffer',
    maxBuffer: 16 << 20,
  });
  archiveFile = tar.stdout;
  s3 = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory: join(folder, 's3'),
    configureBuckets: [{ name: 'blobs', configs: [] }],
  });
  await s3.run();
});
afterAll(async () => {
  await s3.close();
  await rm(folder, { recursive: true, force: true });
});

interface Answer {
  status: number;
  headers: Record<string, string | undefined>;
  body: Buffer;
}

async function ask(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(url, { method, headers, agent: false }, resolve).on('error', reject).end();
  });
  return { status: response.statusCode!, headers: response.headers as Answer['headers'], body: await buffer(response) };
}

async function listen(handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>) {
  const server: Server = createServer((request, response) => served.push(handle(request, response)));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    base: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}

const s3Connections = () =>
  new Promise<number>((resolve, reject) =>
    s3.httpServer.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );

describe.each(['a folder', 'S3'] as const)('a member of an archive in %s', (kind) => {
  let blobs: BlobStore;
  let archive: ByteSource;
  let ref: BlobRef;
  let index: TarIndex;
  let site: Awaited<ReturnType<typeof listen>>;
  beforeAll(async () => {
    const { port } = s3.httpServer.address() as AddressInfo;
    blobs = await openBlobStore(
      kind === 'S3' ? `s3://S3RVER:S3RVER@blobs?endpoint=http://127.0.0.1:${port}` : join(folder, 'blobs'),
      { cacheDirectory: join(folder, 'cache') },
    );
    await writeFile(join(folder, 'archive.tar'), archiveFile);
    ref = await blobs.putFile('studio', join(folder, 'archive.tar'));
    archive = blobSource(blobs, 'studio', ref);
    index = unwrap(await indexTar(archive));
    site = await listen((request, response) =>
      serveMember(request, response, {
        archive,
        archiveRef: ref,
        index,
        name: request.url!.slice(1),
        mime: 'video/quicktime',
      }),
    );
  });
  afterAll(async () => {
    await site.close();
    await (blobs as { close?: () => Promise<void> }).close?.();
  });

  test('is served whole and by ranges, with its own tag and date', async () => {
    const whole = await ask(`${site.base}/clip.mov`);
    expect(whole).toMatchObject({ status: 200, headers: { 'content-length': String(bytes.length) } });
    expect(whole.headers['last-modified']).toBe(new Date(MODIFIED * 1000).toUTCString());
    expect(whole.body.equals(bytes)).toBe(true);
    const { etag } = whole.headers;
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 0],
      ['bytes=-700', bytes.length - 700, bytes.length - 1],
      ['bytes=1000000-2999999', 1_000_000, 2_999_999],
    ] as const) {
      const part = await ask(`${site.base}/clip.mov`, { range, 'if-range': etag! });
      expect([part.status, part.headers['content-range']]).toEqual([206, `bytes ${start}-${end}/${bytes.length}`]);
      expect(part.body.equals(bytes.subarray(start, end + 1))).toBe(true);
    }
    const head = { range: 'bytes=0-9', 'if-range': new Date(MODIFIED * 1000).toUTCString() };
    expect((await ask(`${site.base}/clip.mov`, head)).status).toBe(200);
    expect((await ask(`${site.base}/clip.mov`, { range: `bytes=${bytes.length}-` })).status).toBe(416);
    expect((await ask(`${site.base}/clip.mov`, { 'if-modified-since': whole.headers['last-modified']! })).status).toBe(
      304,
    );
    expect((await ask(`${site.base}/clip.mov`, { 'if-unmodified-since': new Date(0).toUTCString() })).status).toBe(412);
    expect((await ask(`${site.base}/other.mov`)).status).toBe(404);
  });

  test('clients that leave in the middle leave no file and no connection open', async () => {
    const before = await s3Connections();
    served.length = 0;
    await Promise.all(
      Array.from(
        { length: 10 },
        () =>
          new Promise<void>((resolve, reject) => {
            get(`${site.base}/clip.mov`, { agent: false }, (response) => {
              response.once('data', () => (response.destroy(), resolve()));
            }).on('error', reject);
          }),
      ),
    );
    // And some that leave before anything came.
    for (let n = 0; n < 5; n += 1) {
      const request = get(`${site.base}/clip.mov`, { agent: false });
      request.on('error', () => undefined);
      await sleep(2);
      request.destroy();
    }
    await Promise.all(served);
    const open = () =>
      readdirSync('/proc/self/fd').filter((fd) => {
        try {
          const path = readlinkSync(`/proc/self/fd/${fd}`);
          // The S3 server is in this process too, and closes its files when it likes.
          return path.startsWith(folder) && !path.startsWith(join(folder, 's3'));
        } catch {
          return false;
        }
      });
    // A request that was given up may still be on its way in when the others have ended, so both are waited for.
    const left = async () => ({
      connections: Math.max(0, (await s3Connections()) - before),
      files: process.platform === 'linux' ? open() : [],
    });
    for (let tries = 0; tries < 250; tries += 1) {
      const { connections, files } = await left();
      if (connections === 0 && files.length === 0) break;
      await sleep(20);
    }
    expect(await left()).toEqual({ connections: 0, files: [] });
    expect((await ask(`${site.base}/clip.mov`, { range: 'bytes=0-9' })).status).toBe(206);
  });
});

test('nginx in front sends the file; tags, conditions and ranges are as from here', async () => {
  const blobs = new LocalBlobStore(join(folder, 'offload'));
  await writeFile(join(folder, 'x'), bytes);
  const ref = await blobs.putFile('studio', join(folder, 'x'));
  const seen: unknown[] = [];
  const site = await listen(async (request, response) => {
    const offload = offloadFiles(blobs.root, { kind: 'X_ACCEL_REDIRECT', prefix: '/blobs' });
    await serveBlob(request, response, { blobs, org: 'studio', ...ref, mime: 'video/mp4', immutable: true, offload });
    seen.push(response.getHeader('x-accel-redirect') !== undefined);
  });
  const nginx = await startNginx(`
    location /media/ { proxy_pass ${site.base}; }
    location /blobs/ { internal; alias ${blobs.root}/; etag off; add_header ETag $upstream_http_etag always;
      add_header X-Content-Type-Options $upstream_http_x_content_type_options always; }`);
  try {
    const url = `${nginx.base}/media/x`;
    const etag = `"${ref.hash.slice(7)}"`;
    const kept = {
      etag,
      'content-type': 'video/mp4',
      'cache-control': 'private, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
    };
    const whole = await ask(url);
    expect(whole).toMatchObject({
      status: 200,
      headers: { ...kept, 'accept-ranges': 'bytes', 'content-length': String(bytes.length) },
    });
    expect(whole.body.equals(bytes)).toBe(true);
    const part = await ask(url, { range: 'bytes=100-999' });
    expect(part).toMatchObject({ status: 206, headers: { ...kept, 'content-range': `bytes 100-999/${bytes.length}` } });
    expect(part.body.equals(bytes.subarray(100, 1000))).toBe(true);
    expect((await ask(url, {}, 'HEAD')).headers).toMatchObject({ ...kept, 'content-length': String(bytes.length) });
    expect(seen).toEqual([true, true, true]);
    // What hangs on our own tag is not left to nginx, which would judge by another.
    seen.length = 0;
    expect((await ask(url, { range: 'bytes=0-9', 'if-range': etag })).status).toBe(206);
    expect((await ask(url, { range: 'bytes=0-9', 'if-range': '"other"' })).status).toBe(200);
    expect((await ask(url, { 'if-match': etag })).status).toBe(200);
    expect((await ask(url, { 'if-none-match': etag })).status).toBe(304);
    expect((await ask(url, { range: `bytes=${bytes.length}-` })).status).toBe(416);
    expect(seen).toEqual([false, false, false, false, false]);
    expect(
      (await ask(`${nginx.base}/blobs/studio/${ref.hash.slice(7, 9)}/${ref.hash.slice(9, 11)}/${ref.hash.slice(7)}`))
        .status,
    ).toBe(404);
  } finally {
    await nginx.stop();
    await site.close();
  }
});

test('X-Sendfile names the file, and only of blobs that are files here', async () => {
  const offload = offloadFiles('/data/blobs', { kind: 'X_SENDFILE' });
  const at = (path: string, offset = 0): ByteSource => ({
    size: 5,
    file: { path, offset },
    open: () => Promise.reject(new Error()),
  });
  expect(offload(at('/data/blobs/a/b'), {})).toEqual(['X-Sendfile', '/data/blobs/a/b']);
  expect(offload(at('/data/blobs/a/b', 512), {})).toBeNull();
  expect(offload(at('/data/other'), {})).toBeNull();
  expect(offload({ ...at('/data/blobs/a/b'), file: null }, {})).toBeNull();
});
