import type { Readable } from 'node:stream';
import { z } from 'zod';

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
  /** Takes over a finished local file: hashed unless `expected.hash` is trusted (`verified`), durable, removed from `file`. */
  putFile(
    org: string,
    file: string,
    expected?: { hash?: BlobHash; size?: number; verified?: boolean },
  ): Promise<BlobRef>;
  putStream(org: string, bytes: Readable, expected?: { hash?: BlobHash; size?: number }): Promise<BlobRef>;
  open(org: string, hash: BlobHash, range?: ByteRange): Promise<Readable>;
  stat(org: string, hash: BlobHash): Promise<BlobRef | null>;
  has(org: string, hash: BlobHash): Promise<boolean>;
  /** A local file with the bytes (an S3 store downloads into its cache). Read only; do not keep it over a `delete`. */
  localPath(org: string, hash: BlobHash): Promise<string>;
  delete(org: string, hash: BlobHash): Promise<boolean>;
  usage(org: string): Promise<{ blobs: number; bytes: number }>;
}

export declare class LocalBlobStore implements BlobStore {
  /** Creates `root` when it is missing. Bytes are under `root/<org>/<aa>/<bb>/<hex>`. */
  constructor(root: string);
  putFile(
    org: string,
    file: string,
    expected?: { hash?: BlobHash; size?: number; verified?: boolean },
  ): Promise<BlobRef>;
  putStream(org: string, bytes: Readable, expected?: { hash?: BlobHash; size?: number }): Promise<BlobRef>;
  open(org: string, hash: BlobHash, range?: ByteRange): Promise<Readable>;
  stat(org: string, hash: BlobHash): Promise<BlobRef | null>;
  has(org: string, hash: BlobHash): Promise<boolean>;
  localPath(org: string, hash: BlobHash): Promise<string>;
  delete(org: string, hash: BlobHash): Promise<boolean>;
  usage(org: string): Promise<{ blobs: number; bytes: number }>;
}

/** `STORAGE_URL`: a folder (`file:///…` or a path) or `s3://bucket/prefix?endpoint=…&region=…`. */
export declare function openBlobStore(url: string, options?: { cacheDirectory?: string }): Promise<BlobStore>;
