import { randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type CompletedPart,
} from '@aws-sdk/client-s3';
import {
  LocalBlobStore,
  checkExpected,
  checkOrganisation,
  hashFile,
  hexOf,
  isMismatch,
  type BlobHash,
  type BlobRef,
  type BlobStore,
  type ByteRange,
  type ExpectedBlob,
} from './blobs.js';
import { MediaFailure } from './result.js';

/** Objects from this size on go up in parts; S3 takes at most 5 GB in one and 10,000 parts. */
const PART_BYTES = 64 << 20;
const MAX_PARTS = 9_000;

export interface S3BlobStoreOptions {
  readonly client: S3Client;
  readonly bucket: string;
  /** Put before every key, without slashes at its ends. */
  readonly prefix?: string;
  /** Downloads for ffmpeg are kept here. Default: a temporary folder of this process. */
  readonly cacheDirectory?: string;
  /** Size of the parts of large objects, bytes; S3 takes 5 MiB to 5 GiB. Default 64 MiB. */
  readonly partBytes?: number;
}

/** Blobs as objects `<prefix>/<org>/<aa>/<bb>/<hex>` of any S3-compatible store. */
export class S3BlobStore implements BlobStore {
  private cache?: Promise<LocalBlobStore>;
  private readonly downloads = new Map<string, Promise<string>>();

  constructor(private readonly options: S3BlobStoreOptions) {}

  /**
   * `s3://bucket/prefix?endpoint=http://…&region=…&pathStyle=true`. Credentials come from the environment as usual for S3 clients,
   * or from user info (`s3://key:secret@bucket`).
   */
  static fromUrl(url: string, options: { cacheDirectory?: string } = {}): S3BlobStore {
    const parsed = new URL(url);
    if (parsed.protocol !== 's3:' || !parsed.hostname) throw new TypeError('expected s3://bucket');
    const endpoint = parsed.searchParams.get('endpoint') ?? undefined;
    const client = new S3Client({
      endpoint,
      region: parsed.searchParams.get('region') ?? process.env['AWS_REGION'] ?? 'us-east-1',
      forcePathStyle: (parsed.searchParams.get('pathStyle') ?? String(endpoint !== undefined)) === 'true',
      // S3-compatible servers often lack the newer checksums; our key is a stronger one.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      ...(parsed.username && {
        credentials: {
          accessKeyId: decodeURIComponent(parsed.username),
          secretAccessKey: decodeURIComponent(parsed.password),
        },
      }),
    });
    const prefix = parsed.pathname.replace(/^\/+|\/+$/g, '');
    return new S3BlobStore({ client, bucket: parsed.hostname, prefix, cacheDirectory: options.cacheDirectory });
  }

  private keyOf(org: string, hash: string): string {
    const hex = hexOf(hash);
    return `${this.folderOf(org)}${hex.slice(0, 2)}/${hex.slice(2, 4)}/${hex}`;
  }

  private folderOf(org: string): string {
    return `${this.options.prefix ? `${this.options.prefix}/` : ''}${checkOrganisation(org)}/`;
  }

  async putFile(org: string, file: string, expected: ExpectedBlob & { verified?: boolean } = {}): Promise<BlobRef> {
    try {
      checkOrganisation(org);
      const known = expected.verified && expected.hash ? { hash: expected.hash, size: (await stat(file)).size } : null;
      const ref = checkExpected(known ?? (await hashFile(file)), expected);
      if (!(await this.has(org, ref.hash))) await this.upload(this.keyOf(org, ref.hash), file, ref.size);
      await unlink(file);
      return ref;
    } catch (error) {
      if (isMismatch(error)) await unlink(file).catch(() => undefined);
      throw error;
    }
  }

  private async upload(key: string, file: string, size: number): Promise<void> {
    const { client, bucket } = this.options;
    const target = { Bucket: bucket, Key: key };
    const smallest = this.options.partBytes ?? PART_BYTES;
    if (size <= smallest) {
      await client.send(new PutObjectCommand({ ...target, Body: createReadStream(file), ContentLength: size }));
      return;
    }
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(target));
    const partBytes = Math.max(smallest, Math.ceil(size / MAX_PARTS));
    const parts: CompletedPart[] = [];
    try {
      for (let start = 0; start < size; start += partBytes) {
        const end = Math.min(size, start + partBytes);
        const part = { UploadId, PartNumber: parts.length + 1, ContentLength: end - start };
        const body = createReadStream(file, { start, end: end - 1 });
        const { ETag } = await client.send(new UploadPartCommand({ ...target, ...part, Body: body }));
        parts.push({ ETag, PartNumber: part.PartNumber });
      }
      await client.send(new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts: parts } }));
    } catch (error) {
      await client.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
      throw error;
    }
  }

  async putStream(org: string, bytes: Readable, expected: ExpectedBlob = {}): Promise<BlobRef> {
    // The key is the hash, which is known only at the end: the bytes wait in a local file, one for each writer, as two may bring the
    // same bytes at once.
    checkOrganisation(org);
    const { root } = await this.localCache();
    await mkdir(root, { recursive: true });
    const file = join(root, `${randomUUID()}.part`);
    try {
      await pipeline(bytes, createWriteStream(file, { flags: 'wx' }));
      return await this.putFile(org, file, expected);
    } finally {
      await unlink(file).catch(() => undefined);
    }
  }

  fileOf(): null {
    return null;
  }

  async open(org: string, hash: BlobHash, range?: ByteRange, signal?: AbortSignal): Promise<Readable> {
    const Range = range && `bytes=${range.start}-${range.end}`;
    try {
      const command = new GetObjectCommand({ Bucket: this.options.bucket, Key: this.keyOf(org, hash), Range });
      const { Body, ContentRange } = await this.options.client.send(command, { abortSignal: signal });
      if (!range) return Body as Readable;
      const from = Number(/^bytes (\d+)-/.exec(ContentRange ?? '')?.[1] ?? 0);
      const exact = ContentRange?.startsWith(`bytes ${range.start}-${range.end}/`) === true;
      // Some S3-compatible servers send more than they were asked for: all of it for `bytes=0-0`, or without looking at the range.
      return exact ? (Body as Readable) : Readable.from(cut(Body as Readable, range.start - from, range.end - from));
    } catch (error) {
      throw isMissing(error) ? missing() : error;
    }
  }

  async stat(org: string, hash: BlobHash): Promise<BlobRef | null> {
    try {
      const command = new HeadObjectCommand({ Bucket: this.options.bucket, Key: this.keyOf(org, hash) });
      const { ContentLength } = await this.options.client.send(command);
      return { hash, size: ContentLength ?? 0 };
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  async has(org: string, hash: BlobHash): Promise<boolean> {
    return (await this.stat(org, hash)) !== null;
  }

  async localPath(org: string, hash: BlobHash): Promise<string> {
    const cache = await this.localCache();
    if (await cache.has(org, hash)) return cache.localPath(org, hash);
    const key = this.keyOf(org, hash);
    const running = this.downloads.get(key);
    if (running) return running;
    const download = this.open(org, hash)
      .then((bytes) => cache.putStream(org, bytes, { hash }))
      .then(() => cache.localPath(org, hash))
      .finally(() => this.downloads.delete(key));
    this.downloads.set(key, download);
    return download;
  }

  async delete(org: string, hash: BlobHash): Promise<boolean> {
    const known = await this.has(org, hash);
    await this.options.client.send(
      new DeleteObjectCommand({ Bucket: this.options.bucket, Key: this.keyOf(org, hash) }),
    );
    await (await this.localCache()).delete(org, hash);
    return known;
  }

  async usage(org: string): Promise<{ blobs: number; bytes: number }> {
    const total = { blobs: 0, bytes: 0 };
    let token: string | undefined;
    do {
      const page = await this.options.client.send(
        new ListObjectsV2Command({ Bucket: this.options.bucket, Prefix: this.folderOf(org), ContinuationToken: token }),
      );
      for (const object of page.Contents ?? []) {
        total.blobs += 1;
        total.bytes += object.Size ?? 0;
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token);
    return total;
  }

  private localCache(): Promise<LocalBlobStore> {
    return (this.cache ??= (
      this.options.cacheDirectory
        ? Promise.resolve(this.options.cacheDirectory)
        : mkdtemp(join(tmpdir(), 'picturelock-s3-'))
    ).then((folder) => new LocalBlobStore(folder)));
  }

  /** Forgets downloads and connections. */
  async close(): Promise<void> {
    if (this.cache && !this.options.cacheDirectory) await rm((await this.cache).root, { recursive: true, force: true });
    this.options.client.destroy();
  }
}

/** Bytes `start` to `end` of a stream, both inclusive. */
async function* cut(bytes: AsyncIterable<Buffer>, start: number, end: number): AsyncGenerator<Buffer> {
  let at = 0;
  for await (const chunk of bytes) {
    const part = chunk.subarray(Math.max(0, start - at), Math.max(0, end + 1 - at));
    if (part.length > 0) yield part;
    at += chunk.length;
    if (at > end) return;
  }
}

function isMissing(error: unknown): boolean {
  const name = (error as Error).name;
  return name === 'NotFound' || name === 'NoSuchKey';
}

function missing(): MediaFailure {
  return new MediaFailure({ code: 'BLOB_NOT_FOUND', message: 'There is no such blob.' });
}
