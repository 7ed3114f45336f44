import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlobRef, BlobStore } from './blobs.js';
import type { MediaInfo } from './probe.js';
import type { MediaErrorCode, Result } from './result.js';

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
  readonly expiresAt: string;
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
  /** Called with the record after every change, at most every 200 ms while bytes arrive. */
  readonly onProgress?: (record: UploadRecord) => void;
}

/** What became of each upload: durable, readable after the tus resource is gone. */
export interface UploadRegistry {
  get(id: string): Promise<UploadRecord | null>;
  list(organisationId?: string): Promise<UploadRecord[]>;
  /**
   * Takes a READY upload for use, once per purpose: the record stays readable until it expires, so a repeated command sees the
   * same record. UPLOAD_NOT_FOUND (unknown, another organisation's), UPLOAD_NOT_READY, or the refusal's own code.
   */
  consume(id: string, owner: { organisationId: string; userId?: string }): Promise<Result<UploadRecord>>;
  /** Removes what has expired: bytes of unfinished uploads, records, and blobs nobody consumed. Returns how many. */
  sweep(now: Date): Promise<number>;
}

export interface UploadService {
  /** Express or node:http handler for every method under `path`. */
  handler(request: IncomingMessage, response: ServerResponse): Promise<void>;
  readonly registry: UploadRegistry;
  /** Finishes completions that a crash cut in half. Call once at start. */
  recover(): Promise<number>;
}

export declare function createUploadService(options: UploadServiceOptions): Promise<UploadService>;
