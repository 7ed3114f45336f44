import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DetailedError, Upload } from 'tus-js-client';
import { LocalBlobStore, hashFile } from './blobs.js';
import { makeClip, makeStill } from './testmedia.js';
import { createUploadService, type UploadRecord, type UploadService, type UploadServiceOptions } from './uploads.js';

let folder: string;
let clip: string;
let still: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-uploads-'));
  clip = join(folder, 'clip.mov');
  await makeClip(clip, { codec: 'prores', frames: 12, width: 640, height: 360 });
  still = join(folder, 'still.png');
  await makeStill(still, { width: 64, height: 64 });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

class Site {
  server!: Server;
  service!: UploadService;
  blobs!: LocalBlobStore;
  url!: string;
  readonly progress: UploadRecord[] = [];
  /** Cuts the connection of a PATCH after so many body bytes, once. */
  cutAfter: number | null = null;

  constructor(
    readonly home: string,
    private readonly options: Partial<UploadServiceOptions> = {},
  ) {}

  async start(): Promise<this> {
    this.blobs = new LocalBlobStore(join(this.home, 'blobs'));
    this.service = await createUploadService({
      directory: join(this.home, 'uploads'),
      blobs: this.blobs,
      diskReserveBytes: 0,
      authorize: async ({ headers }) => {
        const [organisationId, userId] = (headers.authorization ?? '').split('/');
        if (!organisationId || !userId) return { status: 401, code: 'UNAUTHENTICATED', message: 'Who are you?' };
        return { organisationId, userId };
      },
      onProgress: (record) => this.progress.push(record),
      ...this.options,
    });
    this.server = createServer((request, response) => {
      if (request.method === 'PATCH' && this.cutAfter !== null) {
        let seen = 0;
        const limit = this.cutAfter;
        request.on('data', (chunk: Buffer) => {
          seen += chunk.length;
          if (seen >= limit && this.cutAfter !== null) {
            this.cutAfter = null;
            request.socket.destroy();
          }
        });
        request.pause();
      }
      this.service.handler(request, response).catch(() => undefined);
    });
    await new Promise<void>((done) => this.server.listen(0, '127.0.0.1', done));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/uploads`;
    return this;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }
}

let homes = 0;
async function withSite(options: Partial<UploadServiceOptions>, use: (site: Site) => Promise<void>): Promise<void> {
  const site = await new Site(join(folder, `home-${homes++}`), options).start();
  try {
    await use(site);
  } finally {
    await site.stop();
  }
}

interface Sent {
  id: string;
  offset: number;
}

async function send(
  url: string,
  file: string,
  extra: {
    metadata?: Record<string, string>;
    stopAt?: number;
    uploadUrl?: string;
    chunkSize?: number;
    retry?: boolean;
    who?: string;
  } = {},
): Promise<Sent> {
  const { size } = await stat(file);
  return new Promise((resolve, reject) => {
    const done = (offset: number) => resolve({ id: upload.url!.split('/').at(-1)!, offset });
    const upload: Upload = new Upload(createReadStream(file), {
      endpoint: url,
      uploadUrl: extra.uploadUrl ?? null,
      uploadSize: size,
      chunkSize: extra.chunkSize ?? 256 * 1024,
      retryDelays: extra.retry ? [50, 50, 100] : null,
      headers: { Authorization: extra.who ?? 'studio/ann' },
      metadata: { filename: 'clip.mov', ...extra.metadata },
      onChunkComplete: (_chunk, accepted) => {
        if (extra.stopAt !== undefined && accepted >= extra.stopAt) void upload.abort().then(() => done(accepted));
      },
      onSuccess: () => done(size),
      onError: reject,
    });
    upload.start();
  });
}

async function refused(sending: Promise<unknown>): Promise<{ status: number; code: string; message: string }> {
  const error = (await sending.then(
    () => {
      throw new Error('was accepted');
    },
    (failure: unknown) => failure,
  )) as DetailedError;
  const response = error.originalResponse;
  if (!response) throw error;
  return { status: response.getStatus(), ...(JSON.parse(response.getBody()) as { code: string; message: string }) };
}

/** A bare request, for what a tus client would not send. */
function call(
  url: string,
  method: string,
  headers: Record<string, string | number>,
  body?: Buffer,
): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, headers: { 'Tus-Resumable': '1.0.0', ...headers } }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body: text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

const ann = { Authorization: 'studio/ann' };

test('a cut connection resumes where it stopped, and the stored bytes hash equal', () =>
  withSite({}, async (site) => {
    const { hash, size } = await hashFile(clip);
    site.cutAfter = 200_000;
    const { id } = await send(site.url, clip, {
      retry: true,
      chunkSize: Number.POSITIVE_INFINITY,
      metadata: { sha256: hash.slice(7) },
    });
    expect(site.cutAfter).toBeNull();
    const record = (await site.service.registry.get(id))!;
    expect(record).toMatchObject({
      state: 'READY',
      filename: 'clip.mov',
      blob: { hash, size },
      offset: size,
      userId: 'ann',
    });
    expect(record.media).toMatchObject({ kind: 'VIDEO', container: 'MOV', durationFrames: 12 });
    expect(await hashFile(await site.blobs.localPath('studio', hash))).toEqual({ hash, size });
    expect(site.progress.some(({ state, offset }) => state === 'RECEIVING' && offset > 0 && offset < size)).toBe(true);
    expect((await readdir(join(site.home, 'uploads'))).sort()).toEqual([`${id}.json`]);
  }));

test('an upload goes on after a restart of the server, in another process as far as it can tell', async () => {
  const { hash, size } = await hashFile(clip);
  const home = join(folder, 'home-restart');
  const first = await new Site(home).start();
  const { id, offset } = await send(first.url, clip, { stopAt: 256 * 1024 });
  await first.stop();
  expect(offset).toBeGreaterThanOrEqual(256 * 1024);
  expect(offset).toBeLessThan(size);
  const second = await new Site(home).start();
  try {
    expect(await second.service.registry.get(id)).toMatchObject({ state: 'RECEIVING', size });
    await send(second.url, clip, { uploadUrl: `${second.url}/${id}` });
    expect(await second.service.registry.get(id)).toMatchObject({ state: 'READY', blob: { hash, size } });
  } finally {
    await second.stop();
  }
});

test.each(['before the verdict', 'after the bytes were moved'])(
  'a completion killed %s is finished at the next start',
  async (when) => {
    const { hash, size } = await hashFile(still);
    const home = join(folder, `home-crash-${when.length}`);
    const site = await new Site(home).start();
    const { id } = await send(site.url, still);
    await site.stop();
    // The state a kill would leave, made of the finished one.
    const record = join(home, 'uploads', `${id}.json`);
    const stored = JSON.parse(await readFile(record, 'utf8')) as Record<string, unknown>;
    if (when === 'before the verdict') {
      const blob = await site.blobs.localPath('studio', hash);
      await copyFile(blob, join(home, 'uploads', `${id}.bin`));
      await rm(blob);
      await writeFile(record, JSON.stringify({ ...stored, state: 'VERIFYING', blob: undefined, media: undefined }));
    } else {
      await writeFile(record, JSON.stringify({ ...stored, state: 'VERIFYING' }));
    }
    const again = await new Site(home).start();
    try {
      expect(await again.service.recover()).toBe(1);
      expect(await again.service.registry.get(id)).toMatchObject({ state: 'READY', blob: { hash, size } });
      expect(await again.blobs.has('studio', hash)).toBe(true);
      const head = await call(`${again.url}/${id}`, 'HEAD', ann);
      expect(head).toMatchObject({
        status: 200,
        headers: { 'upload-offset': String(size), 'upload-length': String(size) },
      });
    } finally {
      await again.stop();
    }
  },
);

test('what is not media is refused when it is complete, its bytes are gone, and the verdict stays readable', () =>
  withSite({}, async (site) => {
    const text = join(folder, 'text.mp4');
    await writeFile(text, 'This is no film. '.repeat(1000));
    const playlist = join(folder, 'playlist.mp4');
    await writeFile(playlist, `#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n${clip}\n#EXT-X-ENDLIST\n`);
    const concat = join(folder, 'concat.mp4');
    await writeFile(concat, `ffconcat version 1.0\nfile '${clip}'\n`);
    // Right signature, nothing behind it.
    const shell = join(folder, 'shell.mp4');
    await writeFile(
      shell,
      Buffer.concat([Buffer.from('00000018667479706d703432000000006d70343269736f6d', 'hex'), randomBytes(4000)]),
    );
    for (const [file, status, code] of [
      [text, 415, 'UNSUPPORTED_MEDIA'],
      [playlist, 415, 'UNSUPPORTED_MEDIA'],
      [concat, 415, 'UNSUPPORTED_MEDIA'],
      [shell, 422, 'MEDIA_UNREADABLE'],
    ] as const) {
      expect(await refused(send(site.url, file))).toMatchObject({ status, code });
    }
    const records = await site.service.registry.list('studio');
    expect(records).toHaveLength(4);
    for (const record of records) {
      expect(record.state).toBe('REFUSED');
      expect(record.blob).toBeUndefined();
      const shown = await call(`${site.url}/${record.id}`, 'GET', ann);
      expect(JSON.parse(shown.body)).toMatchObject({ state: 'REFUSED', refusal: { code: record.refusal!.code } });
      expect((await call(`${site.url}/${record.id}`, 'HEAD', ann)).status).toBe(410);
    }
    expect((await readdir(join(site.home, 'uploads'))).filter((name) => name.endsWith('.bin'))).toEqual([]);
    expect(await site.blobs.usage('studio')).toEqual({ blobs: 0, bytes: 0 });
  }));

test('a large upload of something else is refused after its first bytes', () =>
  withSite({ unfinishedBytesPerOrganisation: 1e12, diskReserveBytes: 0 }, async (site) => {
    const length = 32 << 20;
    const created = await call(site.url, 'POST', { ...ann, 'Upload-Length': length });
    const address = site.url.replace('/uploads', '') + (created.headers['location'] as string);
    const patch = { ...ann, 'Upload-Offset': 0, 'Content-Type': 'application/offset+octet-stream' };
    const answer = await call(address, 'PATCH', patch, Buffer.alloc(1 << 20, 'text '));
    expect(answer.status).toBe(415);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'UNSUPPORTED_MEDIA' });
  }));

test('empty, too large, over quota, wrong hash: each has its own code', () =>
  withSite({ maxBytes: { IMAGE: 5000, VIDEO: 3e6, AUDIO: 1 }, unfinishedBytesPerOrganisation: 2e6 }, async (site) => {
    const create = async (size: number, who = ann) => {
      const answer = await call(site.url, 'POST', { ...who, 'Upload-Length': size });
      return { status: answer.status, code: answer.body && (JSON.parse(answer.body) as { code: string }).code };
    };
    expect(await create(0)).toEqual({ status: 400, code: 'EMPTY_FILE' });
    expect(await create(3e6 + 1)).toEqual({ status: 413, code: 'UPLOAD_TOO_LARGE' });
    expect(await create(1.5e6)).toEqual({ status: 201, code: '' });
    expect(await create(1.5e6)).toEqual({ status: 403, code: 'UPLOAD_QUOTA_EXCEEDED' });
    expect(await create(1.5e6, { Authorization: 'other/ann' })).toEqual({ status: 201, code: '' });
    expect(await refused(send(site.url, still, { metadata: { sha256: 'ab'.repeat(32) } }))).toMatchObject({
      status: 422,
      code: 'HASH_MISMATCH',
    });
    const large = join(folder, 'large.png');
    await makeStill(large, { width: 640, height: 360 });
    expect(await refused(send(site.url, large))).toMatchObject({ status: 413, code: 'UPLOAD_TOO_LARGE' });
  }));

test('a full disk is refused before a byte is sent, and the reserve counts', () =>
  withSite({ diskReserveBytes: 2 ** 52 }, async (site) => {
    const answer = await call(site.url, 'POST', { ...ann, 'Upload-Length': 1000 });
    expect(answer.status).toBe(507);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'DISK_FULL' });
    expect(await site.service.registry.list()).toEqual([]);
  }));

test('an upload answers to its owner only', () =>
  withSite({}, async (site) => {
    const { id } = await send(site.url, clip, { stopAt: 256 * 1024 });
    for (const who of ['studio/bob', 'other/ann']) {
      for (const method of ['HEAD', 'GET', 'DELETE']) {
        expect((await call(`${site.url}/${id}`, method, { Authorization: who })).status).toBe(404);
      }
      const patch = {
        Authorization: who,
        'Upload-Offset': 256 * 1024,
        'Content-Type': 'application/offset+octet-stream',
      };
      expect((await call(`${site.url}/${id}`, 'PATCH', patch, Buffer.from('x'))).status).toBe(404);
    }
    expect((await call(`${site.url}/${id}`, 'HEAD', {})).status).toBe(401);
    expect((await call(`${site.url}/..%2f..%2fetc%2fpasswd`, 'HEAD', ann)).status).toBe(404);
    expect(await site.service.registry.consume(id, { organisationId: 'studio' })).toMatchObject({
      error: { code: 'UPLOAD_NOT_READY' },
    });
    expect((await call(`${site.url}/${id}`, 'DELETE', ann)).status).toBe(204);
    expect(await site.service.registry.get(id)).toBeNull();
    expect(await readdir(join(site.home, 'uploads'))).toEqual([]);
  }));

test('consume is for the owner, repeats the same, and keeps the bytes from sweeping', () =>
  withSite({ expiresAfterMs: 60_000, isBlobReferenced: async () => false }, async (site) => {
    const { hash } = await hashFile(still);
    const { id } = await send(site.url, still);
    const { registry } = site.service;
    expect(await registry.consume(id, { organisationId: 'other' })).toMatchObject({
      error: { code: 'UPLOAD_NOT_FOUND' },
    });
    const first = await registry.consume(id, { organisationId: 'studio', userId: 'ann' });
    expect(first).toMatchObject({ ok: true, value: { blob: { hash } } });
    expect(await registry.consume(id, { organisationId: 'studio' })).toMatchObject({
      value: { consumedAt: first.ok ? first.value.consumedAt : '' },
    });
    const later = new Date(Date.now() + 3600_000);
    const unused = await send(site.url, clip, { stopAt: 1 });
    expect(await registry.sweep(new Date())).toBe(0);
    expect(await registry.sweep(later)).toBe(2);
    expect(await registry.get(unused.id)).toBeNull();
    expect(await site.blobs.has('studio', hash)).toBe(true);
    // The same picture again, never used: now nothing holds it.
    await send(site.url, still);
    expect(await registry.sweep(later)).toBe(1);
    expect(await site.blobs.has('studio', hash)).toBe(false);
    expect(await readdir(join(site.home, 'uploads'))).toEqual([]);
  }));

test('two requests at once on one upload do not mix their bytes', () =>
  withSite({}, async (site) => {
    const bytes = await readFile(still);
    const created = await call(site.url, 'POST', { ...ann, 'Upload-Length': bytes.length });
    const address = site.url.replace('/uploads', '') + (created.headers['location'] as string);
    const patch = { ...ann, 'Upload-Offset': 0, 'Content-Type': 'application/offset+octet-stream' };
    const answers = await Promise.all([1, 2, 3].map(() => call(address, 'PATCH', patch, bytes)));
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 409, 409]);
    const id = address.split('/').at(-1)!;
    const digest = createHash('sha256').update(bytes).digest('hex');
    expect((await site.service.registry.get(id))?.blob?.hash).toBe(`sha256:${digest}`);
  }));
