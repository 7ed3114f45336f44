import { createHash, randomBytes, type Hash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { mkdir, open, readFile, readdir, rename, stat, statfs, unlink, type FileHandle } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { DataStore, ERRORS, Server, Upload, type Locker } from '@tus/server';
import { z } from 'zod';
import { BlobHashSchema, hashFile, type BlobHash, type BlobRef, type BlobStore } from './blobs.js';
import { MediaInfoSchema, probe, type MediaInfo } from './probe/index.js';
import { MEDIA_ERROR_CODES, MediaFailure, fail, ok, type MediaErrorCode, type Result } from './result.js';
import { sendJson } from './serve.js';
import { SNIFF_BYTES, sniff, type MediaKind } from './sniff.js';

export type UploadState = 'RECEIVING' | 'VERIFYING' | 'READY' | 'REFUSED';

export interface UploadRecord {
  readonly id: string;
  readonly organisationId: string;
  readonly userId: string;
  readonly filename: string;
  readonly state: UploadState;
  /** Bytes received. */
  readonly offset: number;
  /** Bytes announced. */
  readonly size: number;
  /** Hash announced by the client (`sha256` in the metadata, hexadecimal). */
  readonly expectedSha256?: string;
  readonly refusal?: { readonly code: MediaErrorCode; readonly message: string };
  readonly blob?: BlobRef;
  readonly media?: MediaInfo;
  /** ISO 8601 UTC. */
  readonly createdAt: string;
  /** Moves on while bytes arrive. */
  readonly expiresAt: string;
  /** When {@link UploadRegistry.consume} first took it. */
  readonly consumedAt?: string;
}

/** Who uploads; the host application decides. */
export interface Uploader {
  readonly organisationId: string;
  readonly userId: string;
}

export interface UploadLimits {
  /** Bytes by kind, checked when the kind is known. Defaults: images 50 MB, video and audio 1 TB. */
  readonly maxBytes?: Partial<Record<'IMAGE' | 'VIDEO' | 'AUDIO', number>>;
  /** Unfinished bytes announced per organisation. Default 2 TB. */
  readonly unfinishedBytesPerOrganisation?: number;
  /** Bytes of the disk that stay free. Default 2 GiB. */
  readonly diskReserveBytes?: number;
  /** Lifetime of an unfinished or unconsumed upload. Default 24 h. */
  readonly expiresAfterMs?: number;
}

export interface UploadServiceOptions extends UploadLimits {
  /** Where bytes arrive and records are kept; same file system as a local blob store, so that a move is a rename. */
  readonly directory: string;
  readonly blobs: BlobStore;
  /** Path the handler is mounted at. Default `/uploads`. */
  readonly path?: string;
  /** The caller of a request, or a refusal sent as JSON `{ code, message }`. */
  authorize(request: IncomingMessage): Promise<Uploader | { status: number; code: string; message: string }>;
  /** Origins of browsers that may upload from elsewhere. Default: none. */
  readonly allowedOrigins?: string[];
  /** Lock of one upload against two requests at once. Default: in memory, right for one process per directory. */
  readonly locker?: Locker;
  /**
   * Whether something still names a blob. With it, {@link UploadRegistry.sweep} deletes the bytes of uploads that were never
   * consumed; without it blobs are left to the host's own collection, as another version may have the same bytes.
   */
  isBlobReferenced?(organisationId: string, hash: BlobHash): Promise<boolean>;
  /** Called with the record after every change, at most every 200 ms while bytes arrive. */
  readonly onProgress?: (record: UploadRecord) => void;
}

/** What became of each upload: durable, readable after the tus resource is gone. */
export interface UploadRegistry {
  get(id: string): Promise<UploadRecord | null>;
  /** Newest first; expired ones are left out. */
  list(organisationId?: string): Promise<UploadRecord[]>;
  /**
   * Takes a READY upload for use: its blob is the host's from now on. Repeating it gives the same record (a command may run twice).
   * Refusals: UPLOAD_NOT_FOUND (unknown, expired, another's), UPLOAD_NOT_READY, or the code the upload itself was refused with.
   */
  consume(id: string, owner: { organisationId: string; userId?: string }): Promise<Result<UploadRecord>>;
  /** Removes what has expired: bytes of unfinished uploads, records, and unused blobs. Returns how many uploads. */
  sweep(now: Date): Promise<number>;
}

export interface UploadService {
  /** Express or node:http handler for every method under `path`. */
  handler(request: IncomingMessage, response: ServerResponse): Promise<void>;
  readonly registry: UploadRegistry;
  /** Finishes completions that a crash cut in half. Call once at start. */
  recover(): Promise<number>;
}

const GIGABYTE = 1e9;
const DEFAULTS = {
  maxBytes: { IMAGE: 50e6, VIDEO: 1000 * GIGABYTE, AUDIO: 1000 * GIGABYTE } satisfies Record<MediaKind, number>,
  unfinishedBytesPerOrganisation: 2000 * GIGABYTE,
  diskReserveBytes: 2 << 30,
  expiresAfterMs: 24 * 3600_000,
};
/** Beyond this many missing bytes, wrong content is refused at once; below, the client may finish and gets the answer for sure. */
const EARLY_REFUSAL_BYTES = 16 << 20;
const PROGRESS_MS = 200;
const DISK_CHECK_BYTES = 256 << 20;
const ID = /^[0-9a-f]{32}$/;

/** HTTP status of each refusal. 4xx other than 409 and 423 is final for tus clients; 5xx they try again. */
const STATUS: Partial<Record<MediaErrorCode, number>> = {
  EMPTY_FILE: 400,
  UPLOAD_INVALID: 400,
  UNSUPPORTED_MEDIA: 415,
  MEDIA_UNREADABLE: 422,
  HASH_MISMATCH: 422,
  UPLOAD_TOO_LARGE: 413,
  UPLOAD_QUOTA_EXCEEDED: 403,
  UPLOAD_NOT_FOUND: 404,
  DISK_FULL: 507,
};

const StoredSchema = z.object({
  id: z.string().regex(ID),
  organisationId: z.string(),
  userId: z.string(),
  filename: z.string(),
  state: z.enum(['RECEIVING', 'VERIFYING', 'READY', 'REFUSED']),
  size: z.number().int(),
  expectedSha256: z.string().optional(),
  refusal: z.object({ code: z.enum(MEDIA_ERROR_CODES), message: z.string() }).optional(),
  blob: z.object({ hash: BlobHashSchema, size: z.number().int() }).optional(),
  media: MediaInfoSchema.optional(),
  createdAt: z.string(),
  expiresAt: z.string(),
  consumedAt: z.string().optional(),
});
type Stored = z.infer<typeof StoredSchema>;

/** What @tus/server sends when it is thrown. */
class TusError extends Error {
  constructor(
    readonly status_code: number,
    readonly body: string,
  ) {
    super(body);
  }
}

function tusError(code: MediaErrorCode, message: string): TusError {
  return new TusError(STATUS[code] ?? 500, JSON.stringify({ code, message }));
}

/**
 * Resumable uploads by tus 1.0 (creation, creation-with-upload, expiration, termination). Bytes go to disk and through SHA-256 as
 * they arrive. The request that brings the last byte is answered after the content was verified: 204, or an error status with
 * `{ code, message }` as its body. `GET <path>/<id>` gives the {@link UploadRecord} as JSON. An upload answers to its owner only.
 */
export async function createUploadService(options: UploadServiceOptions): Promise<UploadService> {
  await mkdir(options.directory, { recursive: true });
  const uploads = new Uploads(options);
  const path = options.path ?? '/uploads';
  const callers = new WeakMap<IncomingMessage, Uploader>();
  const server = new Server({
    path,
    datastore: uploads,
    relativeLocation: true,
    allowedOrigins: options.allowedOrigins ?? [],
    locker: options.locker as Locker,
    namingFunction: () => randomBytes(16).toString('hex'),
    getFileIdFromRequest: (_request, last) => (last && ID.test(last) ? last : undefined),
    onUploadCreate: async (request, upload) => {
      const node = (request as { runtime?: { node?: { req?: IncomingMessage } } }).runtime?.node?.req;
      const caller = node && callers.get(node);
      if (!caller) throw tusError('UPLOAD_NOT_FOUND', 'Nobody asked.');
      await uploads.admit(upload, caller);
      return {};
    },
    onResponseError: (request) => uploads.takeFailure(/([0-9a-f]{32})\/?$/.exec(new URL(request.url).pathname)?.[1]),
    onUploadFinish: async (_request, upload) => {
      const record = await uploads.complete(upload.id);
      if (record?.state === 'REFUSED') throw tusError(record.refusal!.code, record.refusal!.message);
      if (record?.state !== 'READY') throw tusError('UPLOAD_NOT_READY', 'The upload could not be verified yet.');
      return {};
    },
  });

  async function handler(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const tus = (status: number, body: { code: string; message: string }) => {
      response.setHeader('Tus-Resumable', '1.0.0');
      response.setHeader('Cache-Control', 'no-store');
      sendJson(response, status, body);
    };
    const unknown = { code: 'UPLOAD_NOT_FOUND', message: 'There is no such upload.' };
    try {
      if (request.method === 'OPTIONS') return await server.handle(request, response);
      const caller = await options.authorize(request);
      if ('status' in caller) return tus(caller.status, { code: caller.code, message: caller.message });
      callers.set(request, caller);
      if (request.method === 'POST') return await server.handle(request, response);
      const id = /([^/?#]+)\/?(?:[?#]|$)/.exec(request.url ?? '')?.[1] ?? '';
      const known = ID.test(id) ? await uploads.read(id) : null;
      if (!known || known.organisationId !== caller.organisationId || known.userId !== caller.userId) {
        return tus(404, unknown);
      }
      if (uploads.isExpired(known)) return tus(410, unknown);
      // Whoever asks after a crash or a lost answer finishes what was left half-done.
      const record = await uploads.settle(known);
      if (request.method === 'GET') {
        response.setHeader('Cache-Control', 'no-store');
        response.setHeader('Content-Type', 'application/json; charset=utf-8');
        response.end(JSON.stringify(await uploads.publish(record)));
        return;
      }
      if (record.state === 'REFUSED' && request.method !== 'DELETE') {
        response.setHeader('Upload-Refusal', record.refusal!.code);
        return tus(request.method === 'HEAD' ? 410 : (STATUS[record.refusal!.code] ?? 422), record.refusal!);
      }
      return await server.handle(request, response);
    } catch (error) {
      if (!response.headersSent) tus(500, { code: 'INTERNAL', message: 'The upload failed on our side.' });
      else response.destroy();
      throw error;
    }
  }

  return { handler, registry: uploads, recover: () => uploads.recover() };
}

/** The tus data store and the registry over one directory: `<id>.bin` are bytes, `<id>.json` the record. */
class Uploads extends DataStore implements UploadRegistry {
  private readonly directory: string;
  private readonly limits: typeof DEFAULTS;
  /** Digest of the bytes received so far, while they come through this process from the first one on. */
  private readonly digests = new Map<string, { digest: Hash; offset: number }>();
  private readonly writing = new Map<string, Promise<unknown>>();
  private readonly completing = new Map<string, Promise<Stored | null>>();
  /** Why receiving stopped: the stream between us and @tus/server turns what we throw into “aborted”. */
  private readonly failures = new Map<string, TusError>();
  private admission: Promise<unknown> = Promise.resolve();

  constructor(private readonly options: UploadServiceOptions) {
    super();
    this.directory = resolve(options.directory);
    this.extensions = ['creation', 'creation-with-upload', 'expiration', 'termination'];
    this.limits = {
      maxBytes: { ...DEFAULTS.maxBytes, ...options.maxBytes },
      unfinishedBytesPerOrganisation: options.unfinishedBytesPerOrganisation ?? DEFAULTS.unfinishedBytesPerOrganisation,
      diskReserveBytes: options.diskReserveBytes ?? DEFAULTS.diskReserveBytes,
      expiresAfterMs: options.expiresAfterMs ?? DEFAULTS.expiresAfterMs,
    };
  }

  // ── records ──

  private bytesPath(id: string): string {
    if (!ID.test(id)) throw ERRORS.FILE_NOT_FOUND;
    return join(this.directory, `${id}.bin`);
  }

  private recordPath(id: string): string {
    if (!ID.test(id)) throw ERRORS.FILE_NOT_FOUND;
    return join(this.directory, `${id}.json`);
  }

  async read(id: string): Promise<Stored | null> {
    if (!ID.test(id)) return null;
    try {
      return StoredSchema.parse(JSON.parse(await readFile(this.recordPath(id), 'utf8')));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  /** Durable before it returns: written beside, synced, renamed. */
  private async save(record: Stored): Promise<Stored> {
    const path = this.recordPath(record.id);
    const part = `${path}.${randomBytes(4).toString('hex')}.part`;
    const handle = await open(part, 'wx', 0o600);
    try {
      await handle.writeFile(JSON.stringify(record));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, path);
    const folder = await open(this.directory, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    this.report(record);
    return record;
  }

  private report(record: Stored, offset?: number): void {
    if (!this.options.onProgress) return;
    const whole = record.state === 'RECEIVING' ? 0 : record.size;
    this.options.onProgress({ ...record, offset: offset ?? whole });
  }

  /** Bytes on disk now, also while more are being written; null when there is no file. */
  private async received(id: string): Promise<number | null> {
    const found = await stat(this.bytesPath(id)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    return found && found.size;
  }

  async publish(record: Stored): Promise<UploadRecord> {
    const offset = record.state === 'RECEIVING' ? ((await this.received(record.id)) ?? 0) : record.size;
    return { ...record, offset };
  }

  isExpired(record: Stored, now = Date.now()): boolean {
    return Date.parse(record.expiresAt) <= now;
  }

  private expiry(now = Date.now()): string {
    return new Date(now + this.limits.expiresAfterMs).toISOString();
  }

  private async all(): Promise<Stored[]> {
    const names = await readdir(this.directory);
    const ids = names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -5));
    const records = await Promise.all(ids.filter((id) => ID.test(id)).map((id) => this.read(id)));
    return records.filter((record) => record !== null);
  }

  // ── admission ──

  /** Refuses what can't become an upload; otherwise the record exists, and its bytes are reserved, before the answer. */
  admit(upload: Upload, caller: Uploader): Promise<void> {
    // One at a time, or two could each find room for one.
    const admitted = this.admission.then(() => this.admitOne(upload, caller));
    this.admission = admitted.catch(() => undefined);
    return admitted;
  }

  private async admitOne(upload: Upload, caller: Uploader): Promise<void> {
    const size = upload.size ?? -1;
    if (size === 0) throw tusError('EMPTY_FILE', 'The file is empty.');
    if (!Number.isSafeInteger(size) || size < 0) throw tusError('UPLOAD_INVALID', 'The length is not valid.');
    const largest = Math.max(...Object.values(this.limits.maxBytes));
    if (size > largest) throw tusError('UPLOAD_TOO_LARGE', `Files go up to ${largest} bytes.`);
    const sha256 = upload.metadata?.['sha256']?.toLowerCase();
    if (sha256 != null && !/^[0-9a-f]{64}$/.test(sha256)) {
      throw tusError('UPLOAD_INVALID', 'sha256 in the metadata is not 64 hexadecimal digits.');
    }
    const now = Date.now();
    const unfinished = (await this.all()).filter(
      (record) => (record.state === 'RECEIVING' || record.state === 'VERIFYING') && !this.isExpired(record, now),
    );
    const announced = unfinished
      .filter((record) => record.organisationId === caller.organisationId)
      .reduce((sum, record) => sum + record.size, 0);
    if (announced + size > this.limits.unfinishedBytesPerOrganisation) {
      throw tusError(
        'UPLOAD_QUOTA_EXCEEDED',
        'The organisation has too much in unfinished uploads; finish or cancel some.',
      );
    }
    const missing = await Promise.all(
      unfinished.map(async (record) => record.size - ((await this.received(record.id)) ?? 0)),
    );
    if ((await this.freeBytes()) < size + missing.reduce((sum, bytes) => sum + bytes, 0)) {
      throw tusError('DISK_FULL', 'There is not enough room on the server for this file.');
    }
    await this.save({
      id: upload.id,
      organisationId: caller.organisationId,
      userId: caller.userId,
      filename: cleanName(upload.metadata?.['filename'] ?? upload.metadata?.['name'] ?? ''),
      state: 'RECEIVING',
      size,
      ...(sha256 ? { expectedSha256: sha256 } : {}),
      createdAt: new Date(now).toISOString(),
      expiresAt: this.expiry(now),
    });
  }

  /** Bytes of the disk that may still be used: the reserve is not counted. */
  private async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory);
    return bavail * bsize - this.limits.diskReserveBytes;
  }

  // ── tus data store ──

  override async create(upload: Upload): Promise<Upload> {
    const handle = await open(this.bytesPath(upload.id), 'wx', 0o600);
    await handle.close();
    return upload;
  }

  override async getUpload(id: string): Promise<Upload> {
    // Called under the lock of the upload: a request that was cut off may still be writing its last bytes.
    await this.writing.get(id);
    const record = await this.read(id);
    if (!record) throw ERRORS.FILE_NOT_FOUND;
    const { offset } = await this.publish(record);
    return new Upload({
      id,
      size: record.size,
      offset,
      metadata: { filename: record.filename },
      // @tus/server adds the lifetime to the day of creation; ours counts from the last byte.
      creation_date: new Date(Date.parse(record.expiresAt) - this.limits.expiresAfterMs).toISOString(),
    });
  }

  override getExpiration(): number {
    return this.limits.expiresAfterMs;
  }

  override write(bytes: Readable, id: string, offset: number): Promise<number> {
    const written = this.receive(bytes, id, offset);
    const settled = written.catch(() => undefined).finally(() => this.writing.delete(id));
    this.writing.set(id, settled);
    return written;
  }

  private async receive(bytes: Readable, id: string, offset: number): Promise<number> {
    const record = await this.read(id);
    if (!record) throw ERRORS.FILE_NOT_FOUND;
    // An empty PATCH after the end: nothing to write, the answer is the state.
    if (record.state !== 'RECEIVING') return offset;
    if ((await this.freeBytes()) <= 0) throw tusError('DISK_FULL', 'The server has run out of room.');
    const known = this.digests.get(id);
    const running =
      offset === 0 ? { digest: createHash('sha256'), offset: 0 } : known?.offset === offset ? known : null;
    const watchHead = offset === 0 && record.size > EARLY_REFUSAL_BYTES;
    let head: Buffer | null = watchHead ? Buffer.alloc(0) : null;
    let position = offset;
    let nextDiskCheck = offset + DISK_CHECK_BYTES;
    let reported = 0;
    const handle = await open(this.bytesPath(id), 'r+');
    try {
      for await (const chunk of bytes as AsyncIterable<Buffer>) {
        await writeAll(handle, chunk, position);
        running?.digest.update(chunk);
        position += chunk.length;
        if (head) {
          head = Buffer.concat([head, chunk.subarray(0, SNIFF_BYTES)]);
          if (head.length >= SNIFF_BYTES) {
            await this.refuseEarly(record, head.subarray(0, SNIFF_BYTES));
            head = null;
          }
        }
        if (position >= nextDiskCheck) {
          nextDiskCheck = position + DISK_CHECK_BYTES;
          if ((await this.freeBytes()) <= 0) throw tusError('DISK_FULL', 'The server has run out of room.');
        }
        if (Date.now() - reported >= PROGRESS_MS) {
          reported = Date.now();
          this.report(record, position);
        }
      }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      const full = code === 'ENOSPC' || code === 'EDQUOT';
      const failure = full ? tusError('DISK_FULL', 'The server has run out of room.') : error;
      if (failure instanceof TusError) this.failures.set(id, failure);
      throw failure;
    } finally {
      if (running) this.digests.set(id, { digest: running.digest, offset: position });
      else this.digests.delete(id);
      await handle.datasync().catch(() => undefined);
      await handle.close();
      // A refusal above has replaced the record.
      const current = await this.read(id);
      if (current?.state === 'RECEIVING') await this.save({ ...current, expiresAt: this.expiry() });
    }
    return position;
  }

  /** Hundreds of gigabytes of something else are not worth receiving. */
  private async refuseEarly(record: Stored, head: Buffer): Promise<void> {
    const sniffed = sniff(head);
    const refusal = sniffed.ok
      ? this.tooLarge(sniffed.value.kind === 'IMAGE' ? 'IMAGE' : 'VIDEO', record.size)
      : sniffed.error;
    if (!refusal) return;
    await this.refuse(record, refusal.code, refusal.message);
    throw tusError(refusal.code, refusal.message);
  }

  private tooLarge(kind: MediaKind, size: number): { code: MediaErrorCode; message: string } | null {
    const limit = this.limits.maxBytes[kind];
    if (size <= limit) return null;
    return { code: 'UPLOAD_TOO_LARGE', message: `${kind.toLowerCase()} files go up to ${limit} bytes.` };
  }

  override async remove(id: string): Promise<void> {
    const record = await this.read(id);
    if (!record) throw ERRORS.FILE_NOT_FOUND;
    this.digests.delete(id);
    if (record.state === 'READY') {
      // Its blob may be in use elsewhere: sweeping decides.
      if (!record.consumedAt) await this.save({ ...record, expiresAt: new Date().toISOString() });
      return;
    }
    await this.erase(id);
  }

  private async erase(id: string): Promise<void> {
    await unlink(this.bytesPath(id)).catch(() => undefined);
    await unlink(this.recordPath(id)).catch(() => undefined);
    this.digests.delete(id);
  }

  /** The reason a request for this upload failed, once. */
  takeFailure(id: string | undefined): TusError | undefined {
    const failure = id === undefined ? undefined : this.failures.get(id);
    if (id !== undefined) this.failures.delete(id);
    return failure;
  }

  // ── completion ──

  /** Completes an upload that has all its bytes but no verdict; others are returned as they are. */
  async settle(record: Stored): Promise<Stored> {
    if (record.state === 'READY' || record.state === 'REFUSED') return record;
    if (record.state === 'RECEIVING' && (await this.received(record.id)) !== record.size) return record;
    return (await this.complete(record.id)) ?? record;
  }

  /** Verifies and stores an upload whose bytes are all there. Safe to repeat and to call at once from several requests. */
  complete(id: string): Promise<Stored | null> {
    const running = this.completing.get(id);
    if (running) return running;
    const completion = this.completeOnce(id).finally(() => this.completing.delete(id));
    this.completing.set(id, completion);
    return completion;
  }

  private async completeOnce(id: string): Promise<Stored | null> {
    await this.writing.get(id);
    let record = await this.read(id);
    if (!record || record.state === 'READY' || record.state === 'REFUSED') return record;
    const { organisationId: org } = record;
    const received = await this.received(id);
    if (received === null) {
      // The bytes were moved and the process died before it could say so.
      if (record.blob && (await this.options.blobs.has(org, record.blob.hash))) {
        return this.save({ ...record, state: 'READY', expiresAt: this.expiry() });
      }
      return this.refuse(record, 'UPLOAD_INVALID', 'The bytes are gone.');
    }
    if (received !== record.size) return record;
    record = await this.save({ ...record, state: 'VERIFYING' });
    const file = this.bytesPath(id);
    const running = this.digests.get(id);
    this.digests.delete(id);
    const hash: BlobHash =
      running?.offset === received ? `sha256:${running.digest.digest('hex')}` : (await hashFile(file)).hash;
    if (record.expectedSha256 && hash !== `sha256:${record.expectedSha256}`) {
      return this.refuse(record, 'HASH_MISMATCH', 'The bytes that arrived are not the ones announced.');
    }
    const probed = await probe(file);
    if (!probed.ok) {
      const { code, message, reason } = probed.error;
      const verdict = code === 'EMPTY_FILE' || code === 'UNSUPPORTED_MEDIA' || code === 'MEDIA_UNREADABLE';
      // No verdict about the file (ffprobe is missing, too slow): it stays VERIFYING and is tried again.
      if (!verdict) throw tusError(code, message);
      return this.refuse(record, code, reason ? `${message} (${reason})` : message);
    }
    const large = this.tooLarge(probed.value.kind, record.size);
    if (large) return this.refuse(record, large.code, large.message);
    const blob: BlobRef = { hash, size: received };
    // Written before the move: if the process dies between the two, the blob tells that it was done.
    record = await this.save({ ...record, blob, media: probed.value });
    try {
      await this.options.blobs.putFile(org, file, { ...blob, verified: true });
    } catch (error) {
      if (error instanceof MediaFailure) throw tusError(error.code, error.message);
      throw error;
    }
    return this.save({ ...record, state: 'READY', expiresAt: this.expiry() });
  }

  private async refuse(record: Stored, code: MediaErrorCode, message: string): Promise<Stored> {
    const { blob: _blob, media: _media, ...rest } = record;
    const refused = await this.save({ ...rest, state: 'REFUSED', refusal: { code, message } });
    await unlink(this.bytesPath(record.id)).catch(() => undefined);
    this.digests.delete(record.id);
    return refused;
  }

  // ── registry ──

  async get(id: string): Promise<UploadRecord | null> {
    const record = await this.read(id);
    return record && !this.isExpired(record) ? this.publish(record) : null;
  }

  async list(organisationId?: string): Promise<UploadRecord[]> {
    const records = (await this.all())
      .filter((record) => !this.isExpired(record))
      .filter((record) => organisationId === undefined || record.organisationId === organisationId)
      .sort((a, b) => b.createdAt.localeCompare(a.createdAt));
    return Promise.all(records.map((record) => this.publish(record)));
  }

  async consume(id: string, owner: { organisationId: string; userId?: string }): Promise<Result<UploadRecord>> {
    const unknown = fail('UPLOAD_NOT_FOUND', 'There is no such upload.');
    const known = await this.read(id);
    if (!known || known.organisationId !== owner.organisationId || this.isExpired(known)) return unknown;
    if (owner.userId !== undefined && owner.userId !== known.userId) return unknown;
    const record = await this.settle(known);
    if (record.refusal) return fail(record.refusal.code, record.refusal.message);
    if (record.state !== 'READY') return fail('UPLOAD_NOT_READY', 'The upload is not complete.');
    const consumed = { ...record, consumedAt: record.consumedAt ?? new Date().toISOString(), expiresAt: this.expiry() };
    return ok(await this.publish(await this.save(consumed)));
  }

  async sweep(now: Date): Promise<number> {
    const records = await this.all();
    const expired = records.filter(
      (record) =>
        this.isExpired(record, now.getTime()) && !this.writing.has(record.id) && !this.completing.has(record.id),
    );
    const gone = new Set(expired.map((record) => record.id));
    for (const record of expired) {
      const { blob, organisationId: org } = record;
      if (record.state === 'READY' && blob && !record.consumedAt && this.options.isBlobReferenced) {
        const shared = records.some(
          (other) => !gone.has(other.id) && other.organisationId === org && other.blob?.hash === blob.hash,
        );
        if (!shared && !(await this.options.isBlobReferenced(org, blob.hash))) {
          await this.options.blobs.delete(org, blob.hash);
        }
      }
      await this.erase(record.id);
    }
    await this.sweepLitter(now.getTime());
    return expired.length;
  }

  /** Bytes without a record, and records half-written: left by a crash. */
  private async sweepLitter(now: number): Promise<void> {
    for (const name of await readdir(this.directory)) {
      const bytes = /^([0-9a-f]{32})\.bin$/.exec(name);
      if (!name.endsWith('.part') && !(bytes && !(await this.read(bytes[1]!)))) continue;
      const path = join(this.directory, name);
      const age = now - ((await stat(path).catch(() => null))?.mtimeMs ?? now);
      if (age > 60_000) await unlink(path).catch(() => undefined);
    }
  }

  async recover(): Promise<number> {
    let finished = 0;
    for (const record of await this.all()) {
      const settled = await this.settle(record).catch(() => record);
      if (settled.state !== record.state) finished += 1;
    }
    return finished;
  }
}

async function writeAll(handle: FileHandle, chunk: Buffer, position: number): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    const { bytesWritten } = await handle.write(chunk, done, chunk.length - done, position + done);
    done += bytesWritten;
  }
}

/** The name for display: no folders, no control characters, at most 200 characters. */
function cleanName(name: string): string {
  const base = basename(name.replace(/\\/g, '/'))
    .replace(/[\p{Cc}\p{Cf}]/gu, '')
    .trim();
  return base.slice(0, 200) || 'unnamed';
}
