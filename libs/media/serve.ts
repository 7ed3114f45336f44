import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BlobHash, BlobStore } from './blobs.js';

export interface ServeOptions {
  readonly blobs: BlobStore;
  readonly org: string;
  readonly hash: BlobHash;
  /** Bytes. */
  readonly size: number;
  readonly mime: string;
  /** Content that never changes at its address: `Cache-Control: private, max-age=31536000, immutable`. */
  readonly immutable?: boolean;
  /** Suggests a download under this name. */
  readonly downloadName?: string;
}

/** GET and HEAD of one blob per RFC 9110. Resolves when the response has ended or the client has gone. */
export declare function serveBlob(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeOptions,
): Promise<void>;
