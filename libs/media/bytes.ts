/** Bytes that are read at any place, wherever they are: a file, a blob in any store, a member inside an archive. */
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { BlobRef, BlobStore, ByteRange } from './blobs.js';

export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  /** Where they are on this machine, when they are a part of a file: it can be read without a stream. */
  readonly file: { readonly path: string; readonly offset: number } | null;
  /** `signal` gives up a request that has not been answered yet. Rejects with MediaFailure BLOB_NOT_FOUND or the storage's error. */
  open(range?: ByteRange, signal?: AbortSignal): Promise<Readable>;
}

/** A file of this machine. Rejects with the file system's error. */
export async function fileSource(path: string): Promise<ByteSource> {
  const { size } = await stat(path);
  return {
    size,
    file: { path, offset: 0 },
    open: (range) => Promise.resolve(createReadStream(path, { ...range, highWaterMark: 256 << 10 })),
  };
}

/** What is in memory already. */
export function bufferSource(bytes: Buffer): ByteSource {
  return {
    size: bytes.length,
    file: null,
    open: (range) =>
      Promise.resolve(Readable.from([bytes.subarray(range?.start ?? 0, (range?.end ?? bytes.length) + 1)])),
  };
}

/** A blob, by ranges: nothing is downloaded as a whole. */
export function blobSource(blobs: BlobStore, org: string, { hash, size }: BlobRef): ByteSource {
  const path = blobs.fileOf(org, hash);
  return {
    size,
    file: path === null ? null : { path, offset: 0 },
    open: (range, signal) => blobs.open(org, hash, range, signal),
  };
}

/** A part of a source as a source of its own. Throws RangeError when it is not inside. */
export function sliceSource(source: ByteSource, offset: number, size: number): ByteSource {
  if (offset < 0 || size < 0 || offset + size > source.size) throw new RangeError('the part is not inside the source');
  return {
    size,
    file: source.file && { path: source.file.path, offset: source.file.offset + offset },
    open: (range, signal) =>
      source.open({ start: offset + (range?.start ?? 0), end: offset + (range?.end ?? size - 1) }, signal),
  };
}

/** `length` bytes from `start`; fewer at the end of the source. */
export async function readBytes(source: ByteSource, start: number, length: number): Promise<Buffer> {
  const wanted = Math.min(length, source.size - start);
  if (wanted <= 0) return Buffer.alloc(0);
  if (source.file) {
    const handle = await open(source.file.path, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(wanted), 0, wanted, source.file.offset + start);
      return buffer.subarray(0, bytesRead);
    } finally {
      await handle.close();
    }
  }
  const chunks: Buffer[] = [];
  for await (const chunk of await source.open({ start, end: start + wanted - 1 })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
