import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { LocalBlobStore, hashFile, openBlobStore, type BlobHash } from './blobs.js';

let folder: string;
let store: LocalBlobStore;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pl-blobs-'));
  store = new LocalBlobStore(join(folder, 'store'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const HELLO: BlobHash = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';

async function temporary(bytes: Buffer | string): Promise<string> {
  const file = join(folder, randomBytes(4).toString('hex'));
  await writeFile(file, bytes);
  return file;
}

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
  expect(await readdir(join(store.root, 'wrong'))).toEqual([]);
});

test('names that could leave the folder throw', async () => {
  for (const org of ['..', '', 'a/b', '.hidden', 'x'.repeat(65), 'a\0b']) {
    await expect(store.stat(org, HELLO)).rejects.toThrow(TypeError);
  }
  for (const hash of ['sha256:..', `sha256:${'A'.repeat(64)}`, `sha1:${'a'.repeat(64)}`, `sha256:${'a'.repeat(63)}/`]) {
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

test('a storage URL is a folder or S3, nothing else', async () => {
  expect(await openBlobStore(join(folder, 'other'))).toBeInstanceOf(LocalBlobStore);
  expect(await openBlobStore(`file://${folder}/other`)).toBeInstanceOf(LocalBlobStore);
  await expect(openBlobStore('ftp://host/x')).rejects.toThrow(TypeError);
});
