import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { S3Client } from '@aws-sdk/client-s3';
import S3rver from 's3rver';
import { S3BlobStore } from './blobs-s3.js';
import { LocalBlobStore, hashFile, openBlobStore, type BlobHash, type BlobStore } from './blobs.js';

let folder: string;
let local: LocalBlobStore;
/** An S3 server of its own (s3rver, from npm): it takes parts and keeps what it gets in a folder. It does not check signatures. */
let server: S3rver;
let remote: S3BlobStore;
const BUCKET = 'blobs';

function connect(): S3Client {
  const { port } = server.httpServer.address() as AddressInfo;
  return new S3Client({
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-blobs-'));
  local = new LocalBlobStore(join(folder, 'store'));
  const directory = join(folder, 's3');
  server = new S3rver({
    address: '127.0.0.1',
    port: 0,
    silent: true,
    directory,
    configureBuckets: [{ name: BUCKET, configs: [] }],
  });
  await server.run();
  remote = new S3BlobStore({ client: connect(), bucket: BUCKET, prefix: 'media', partBytes: 5 << 20 });
});
afterAll(async () => {
  await remote.close();
  await server.close();
  await rm(folder, { recursive: true, force: true });
});

const HELLO: BlobHash = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';

async function temporary(bytes: Buffer | string): Promise<string> {
  const file = join(folder, randomBytes(4).toString('hex'));
  await writeFile(file, bytes);
  return file;
}

describe.each(['a folder', 'S3'] as const)('%s', (kind) => {
  let store: BlobStore;
  beforeAll(() => {
    store = kind === 'S3' ? remote : local;
  });

  test('a file becomes a blob named by its bytes, and is gone from where it was', async () => {
    const file = await temporary('hello');
    expect(await store.putFile('studio', file, { hash: HELLO, size: 5 })).toEqual({ hash: HELLO, size: 5 });
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await store.stat('studio', HELLO)).toEqual({ hash: HELLO, size: 5 });
    expect((await buffer(await store.open('studio', HELLO))).toString()).toBe('hello');
    expect((await buffer(await store.open('studio', HELLO, { start: 1, end: 3 }))).toString()).toBe('ell');
    expect((await hashFile(await store.localPath('studio', HELLO))).hash).toBe(HELLO);
  });

  test('the same bytes are kept once per organisation, and organisations don’t see each other', async () => {
    await store.putStream('studio', Readable.from(['hel', 'lo']));
    expect(await store.usage('studio')).toEqual({ blobs: 1, bytes: 5 });
    expect(await store.has('other', HELLO)).toBe(false);
    await expect(store.open('other', HELLO)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    await expect(store.localPath('other', HELLO)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
    await store.putStream('other', Readable.from([Buffer.from('hello')]), { hash: HELLO });
    expect(await store.delete('other', HELLO)).toBe(true);
    expect(await store.delete('other', HELLO)).toBe(false);
    expect(await store.has('studio', HELLO)).toBe(true);
    expect(await store.usage('nobody')).toEqual({ blobs: 0, bytes: 0 });
  });

  test('other bytes than announced are refused and leave nothing', async () => {
    const file = await temporary('goodbye');
    await expect(store.putFile('wrong', file, { hash: HELLO })).rejects.toMatchObject({ code: 'HASH_MISMATCH' });
    await expect(stat(file)).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(store.putStream('wrong', Readable.from(['x']), { hash: HELLO })).rejects.toMatchObject({
      code: 'HASH_MISMATCH',
    });
    await expect(store.putStream('wrong', Readable.from(['x']), { size: 2 })).rejects.toMatchObject({
      code: 'HASH_MISMATCH',
    });
    const failing = new Readable({
      read() {
        this.push('some');
        this.destroy(new Error('cut'));
      },
    });
    await expect(store.putStream('wrong', failing)).rejects.toThrow('cut');
    expect(await store.usage('wrong')).toEqual({ blobs: 0, bytes: 0 });
  });

  test('names that could leave the folder throw', async () => {
    for (const org of ['..', '', 'a/b', '.hidden', 'x'.repeat(65), 'a\0b']) {
      await expect(store.stat(org, HELLO)).rejects.toThrow(TypeError);
    }
    for (const hash of [
      'sha256:..',
      `sha256:${'A'.repeat(64)}`,
      `sha1:${'a'.repeat(64)}`,
      `sha256:${'a'.repeat(63)}/`,
    ]) {
      await expect(store.stat('studio', hash as BlobHash)).rejects.toThrow(TypeError);
    }
  });

  test('twenty writers of the same bytes leave one whole blob', async () => {
    const bytes = randomBytes(300_000);
    const refs = await Promise.all(Array.from({ length: 20 }, () => store.putStream('busy', Readable.from([bytes]))));
    expect(new Set(refs.map(({ hash }) => hash)).size).toBe(1);
    expect(await store.usage('busy')).toEqual({ blobs: 1, bytes: bytes.length });
    expect((await hashFile(await store.localPath('busy', refs[0]!.hash))).hash).toBe(refs[0]!.hash);
  });

  test('any part of a blob, as HTTP asks for it', async () => {
    const bytes = randomBytes(700_000);
    const { hash } = await store.putStream('ranges', Readable.from([bytes]));
    for (const [start, end] of [
      [0, 0],
      [0, 699_999],
      [699_999, 699_999],
      [262_143, 262_145],
      [100, 650_000],
    ] as const) {
      expect(
        (await buffer(await store.open('ranges', hash, { start, end }))).equals(bytes.subarray(start, end + 1)),
      ).toBe(true);
    }
  });

  test('twelve megabytes, which S3 takes in parts, come back whole', async () => {
    const bytes = randomBytes(12_345_678);
    const ref = await store.putFile('large', await temporary(bytes), { size: bytes.length });
    expect(await store.stat('large', ref.hash)).toEqual(ref);
    expect((await hashFile(await store.localPath('large', ref.hash))).hash).toBe(ref.hash);
    const seam = 5 << 20;
    const part = await buffer(await store.open('large', ref.hash, { start: seam - 3, end: seam + 3 }));
    expect(part.equals(bytes.subarray(seam - 3, seam + 4))).toBe(true);
    expect(await store.delete('large', ref.hash)).toBe(true);
    await expect(store.open('large', ref.hash)).rejects.toMatchObject({ code: 'BLOB_NOT_FOUND' });
  });
});

test('what is refused leaves no part behind in a folder', async () => {
  await expect(local.putStream('leftovers', Readable.from(['x']), { hash: HELLO })).rejects.toMatchObject({
    code: 'HASH_MISMATCH',
  });
  expect(await readdir(join(local.root, 'leftovers'))).toEqual([]);
});

describe('S3 alone', () => {
  test('a part that fails takes the upload back, and the file is still there', async () => {
    const broken = connect();
    // The second part does not arrive.
    broken.middlewareStack.add(
      (next, context) => (args) => {
        const { PartNumber } = args.input as { PartNumber?: number };
        if (context.commandName === 'UploadPartCommand' && PartNumber === 2) throw new Error('the network is gone');
        return next(args);
      },
      { step: 'initialize' },
    );
    const sent: string[] = [];
    broken.middlewareStack.add((next, context) => (args) => (sent.push(context.commandName!), next(args)), {
      step: 'initialize',
    });
    const store = new S3BlobStore({ client: broken, bucket: BUCKET, partBytes: 5 << 20 });
    const file = await temporary(randomBytes(11 << 20));
    await expect(store.putFile('cut', file)).rejects.toThrow('the network is gone');
    expect(sent.at(-1)).toBe('AbortMultipartUploadCommand');
    expect((await stat(file)).size).toBe(11 << 20);
    expect(await store.usage('cut')).toEqual({ blobs: 0, bytes: 0 });
    await store.close();
  });

  test('a bucket that is not there is an error, not an empty store', async () => {
    const store = new S3BlobStore({ client: connect(), bucket: 'nowhere' });
    await expect(store.usage('studio')).rejects.toMatchObject({ name: 'NoSuchBucket' });
    await expect(store.putStream('studio', Readable.from(['hello']))).rejects.toMatchObject({ name: 'NoSuchBucket' });
    await store.close();
  });

  test('the URL says all', async () => {
    const { port } = server.httpServer.address() as AddressInfo;
    const store = await openBlobStore(`s3://S3RVER:S3RVER@${BUCKET}/by-url?endpoint=http://127.0.0.1:${port}`, {
      cacheDirectory: join(folder, 'cache'),
    });
    await store.putStream('studio', Readable.from(['hello']));
    expect(await store.has('studio', HELLO)).toBe(true);
    expect(await remote.usage('nobody')).toEqual({ blobs: 0, bytes: 0 });
    await (store as S3BlobStore).close();
  });
});

test('a storage URL is a folder or S3, nothing else', async () => {
  expect(await openBlobStore(join(folder, 'other'))).toBeInstanceOf(LocalBlobStore);
  expect(await openBlobStore(`file://${folder}/other`)).toBeInstanceOf(LocalBlobStore);
  await expect(openBlobStore('ftp://host/x')).rejects.toThrow(TypeError);
});
