import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { copyFile, mkdir, open, opendir, rename, stat, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { MediaFailure } from './result.js';

/** `sha256:` and 64 lower-case hexadecimal digits. */
export type BlobHash = `sha256:${string}`;
export const BlobHashSchema = z.custom<BlobHash>(
  (value) => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value),
);

export interface BlobRef {
  readonly hash: BlobHash;
  /** Bytes. */
  readonly size: number;
}

/** Bytes of a blob, both ends inclusive as in HTTP. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Content-addressed bytes, one name space per organisation. Methods reject with MediaFailure (HASH_MISMATCH, BLOB_NOT_FOUND,
 * DISK_FULL) or the storage's own error; an organisation or hash that is not well-formed throws TypeError.
 */
export interface BlobStore {
  /**
   * Takes over a finished local file: hashed unless `expected.hash` is trusted (`verified`), durable, then gone from `file`. A file
   * that is not the announced one is removed too; after any other failure it is still there, to try again.
   */
  putFile(
    org: string,
    file: string,
    expected?: { hash?: BlobHash; size?: number; verified?: boolean },
  ): Promise<BlobRef>;
  putStream(org: string, bytes: Readable, expected?: { hash?: BlobHash; size?: number }): Promise<BlobRef>;
  /** `signal` gives up a request that has not been answered yet. */
  open(org: string, hash: BlobHash, range?: ByteRange, signal?: AbortSignal): Promise<Readable>;
  /** The file that holds the blob, or would if it is there; null where blobs are not files of this machine. */
  fileOf(org: string, hash: BlobHash): string | null;
  stat(org: string, hash: BlobHash): Promise<BlobRef | null>;
  has(org: string, hash: BlobHash): Promise<boolean>;
  /** A local file with the bytes (an S3 store downloads into its cache). Read only; do not keep it over a `delete`. */
  localPath(org: string, hash: BlobHash): Promise<string>;
  delete(org: string, hash: BlobHash): Promise<boolean>;
  usage(org: string): Promise<{ blobs: number; bytes: number }>;
}

/** Throws TypeError unless `org` is 1 to 64 of letters, digits, `_` and `-`: it becomes a folder name. */
export function checkOrganisation(org: string): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(org)) throw new TypeError('not an organisation id');
  return org;
}

/** The hexadecimal digits. Throws TypeError for anything but a {@link BlobHash}. */
export function hexOf(hash: string): string {
  const match = /^sha256:([0-9a-f]{64})$/.exec(hash);
  if (!match) throw new TypeError('not a blob hash');
  return match[1]!;
}

/** SHA-256 of a file, read in one pass with flat memory. */
export async function hashFile(file: string): Promise<BlobRef> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { hash: `sha256:${hash.digest('hex')}`, size };
}

export interface ExpectedBlob {
  readonly hash?: BlobHash;
  readonly size?: number;
}

/** MediaFailure HASH_MISMATCH unless the bytes are the announced ones. */
export function checkExpected(actual: BlobRef, expected: ExpectedBlob): BlobRef {
  if (
    (expected.hash && expected.hash !== actual.hash) ||
    (expected.size !== undefined && expected.size !== actual.size)
  ) {
    throw new MediaFailure({ code: 'HASH_MISMATCH', message: 'The bytes are not the ones announced.' });
  }
  return actual;
}

function notFound(): MediaFailure {
  return new MediaFailure({ code: 'BLOB_NOT_FOUND', message: 'There is no such blob.' });
}

export function isMismatch(error: unknown): boolean {
  return error instanceof MediaFailure && error.code === 'HASH_MISMATCH';
}

/** MediaFailure DISK_FULL in place of ENOSPC and EDQUOT. */
function storageFailure(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new MediaFailure({ code: 'DISK_FULL', message: 'The storage is full.' });
  }
  return error;
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Blobs in a folder: `root/<org>/<aa>/<bb>/<64 hex digits>`. Several processes may share it. */
export class LocalBlobStore implements BlobStore {
  readonly root: string;

  /** `root` is created with the first blob. */
  constructor(root: string) {
    this.root = resolve(root);
  }

  fileOf(org: string, hash: string): string {
    const hex = hexOf(hash);
    return join(this.root, checkOrganisation(org), hex.slice(0, 2), hex.slice(2, 4), hex);
  }

  async putFile(org: string, file: string, expected: ExpectedBlob & { verified?: boolean } = {}): Promise<BlobRef> {
    checkOrganisation(org);
    const known = expected.verified && expected.hash ? { hash: expected.hash, size: (await stat(file)).size } : null;
    try {
      const ref = checkExpected(known ?? (await hashFile(file)), expected);
      await syncPath(file);
      const target = this.fileOf(org, ref.hash);
      await this.makeFolder(dirname(target));
      try {
        await rename(file, target);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
        // Another file system: copy beside the target first, so that the name appears with all its bytes.
        const copy = `${target}.${randomUUID()}.part`;
        try {
          await copyFile(file, copy);
          await syncPath(copy);
          await rename(copy, target);
        } catch (failure) {
          await unlink(copy).catch(() => undefined);
          throw failure;
        }
        await unlink(file);
      }
      await syncPath(dirname(target));
      return ref;
    } catch (error) {
      if (isMismatch(error)) await unlink(file).catch(() => undefined);
      throw storageFailure(error);
    }
  }

  async putStream(org: string, bytes: Readable, expected: ExpectedBlob = {}): Promise<BlobRef> {
    const folder = join(this.root, checkOrganisation(org));
    await this.makeFolder(folder);
    const file = join(folder, `${randomUUID()}.part`);
    const hash = createHash('sha256');
    let size = 0;
    try {
      const handle = await open(file, 'wx');
      try {
        for await (const chunk of bytes as AsyncIterable<Buffer | string>) {
          const buffer = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
          hash.update(buffer);
          size += buffer.length;
          await handle.write(buffer);
        }
      } finally {
        await handle.close();
      }
    } catch (error) {
      await unlink(file).catch(() => undefined);
      throw storageFailure(error);
    }
    const actual: BlobHash = `sha256:${hash.digest('hex')}`;
    if (expected.hash && expected.hash !== actual) await unlink(file).catch(() => undefined);
    checkExpected({ hash: actual, size }, { hash: expected.hash });
    return this.putFile(org, file, { hash: actual, size: expected.size, verified: true });
  }

  async open(org: string, hash: BlobHash, range?: ByteRange): Promise<Readable> {
    const handle = await open(this.fileOf(org, hash), 'r').catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOENT' ? notFound() : error;
    });
    return handle.createReadStream({ start: range?.start ?? 0, end: range?.end, highWaterMark: 256 << 10 });
  }

  async stat(org: string, hash: BlobHash): Promise<BlobRef | null> {
    const found = await stat(this.fileOf(org, hash)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    return found && { hash, size: found.size };
  }

  async has(org: string, hash: BlobHash): Promise<boolean> {
    return (await this.stat(org, hash)) !== null;
  }

  async localPath(org: string, hash: BlobHash): Promise<string> {
    if (!(await this.has(org, hash))) throw notFound();
    return this.fileOf(org, hash);
  }

  async delete(org: string, hash: BlobHash): Promise<boolean> {
    try {
      await unlink(this.fileOf(org, hash));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      throw error;
    }
  }

  async usage(org: string): Promise<{ blobs: number; bytes: number }> {
    const total = { blobs: 0, bytes: 0 };
    const folder = join(this.root, checkOrganisation(org));
    const directory = await opendir(folder, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (!directory) return total;
    for await (const entry of directory) {
      if (!entry.isFile() || !/^[0-9a-f]{64}$/.test(entry.name)) continue;
      const found = await stat(join(entry.parentPath, entry.name)).catch(() => null);
      if (!found) continue;
      total.blobs += 1;
      total.bytes += found.size;
    }
    return total;
  }

  /** A new folder is durable only when its parent is synced. */
  private async makeFolder(folder: string): Promise<void> {
    const first = await mkdir(folder, { recursive: true });
    if (!first) return;
    for (let path = folder; path.length >= dirname(first).length && path !== dirname(path); path = dirname(path)) {
      await syncPath(path);
    }
  }
}

/**
 * `STORAGE_URL`: a folder (`file:///…` or a path), or `s3://bucket/prefix?endpoint=…&region=…`. S3 keeps a cache of downloads for
 * ffmpeg in `cacheDirectory`. Throws TypeError for any other scheme.
 */
export async function openBlobStore(url: string, options: { cacheDirectory?: string } = {}): Promise<BlobStore> {
  if (url.startsWith('s3:')) {
    const { S3BlobStore } = await import('./blobs-s3.js');
    return S3BlobStore.fromUrl(url, options);
  }
  if (url.startsWith('file:')) return new LocalBlobStore(fileURLToPath(url));
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(url)) throw new TypeError('storage is a folder, file:// or s3://');
  return new LocalBlobStore(url);
}
