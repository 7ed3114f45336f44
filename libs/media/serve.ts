import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { hexOf, type BlobHash, type BlobStore } from './blobs.js';
import { decideRange, ifRangeHolds, matchesEtag } from './range.js';
import { MediaFailure } from './result.js';

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

/**
 * GET and HEAD of one blob per RFC 9110: strong ETag from the hash, 206, 304, 412, 416; see {@link decideRange}. Errors are JSON
 * `{ code, message }`. Resolves when the response has ended or the client has gone; the file or connection behind it is closed by
 * then.
 */
export async function serveBlob(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeOptions,
): Promise<void> {
  const { blobs, org, hash, size } = options;
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return sendJson(response, 405, { code: 'METHOD_NOT_ALLOWED', message: 'GET and HEAD only.' });
  }
  const etag = `"${hexOf(hash)}"`;
  const { headers } = request;
  response.setHeader('ETag', etag);
  response.setHeader('Cache-Control', options.immutable ? 'private, max-age=31536000, immutable' : 'private, no-cache');
  if (headers['if-match'] !== undefined && !matchesEtag(headers['if-match'], etag, 'strong')) {
    return end(response, 412);
  }
  if (headers['if-none-match'] !== undefined && matchesEtag(headers['if-none-match'], etag, 'weak')) {
    return end(response, 304);
  }
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('Content-Type', options.mime);
  // Uploaded bytes are what their headers say and never a page.
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (options.downloadName !== undefined) {
    response.setHeader('Content-Disposition', contentDisposition(options.downloadName));
  }
  // Range is defined for GET only (section 14.2).
  const asked = request.method === 'GET' && ifRangeHolds(headers['if-range'] as string | undefined, etag);
  const decision = decideRange(asked ? headers.range : undefined, size);
  if (decision.kind === 'UNSATISFIABLE') {
    response.setHeader('Content-Range', `bytes */${size}`);
    return sendJson(response, 416, {
      code: 'RANGE_NOT_SATISFIABLE',
      message: `One range within ${size} bytes, please.`,
    });
  }
  const range = decision.kind === 'PART' ? decision.range : undefined;
  const length = range ? range.end - range.start + 1 : size;
  if (request.method === 'HEAD' || size === 0) {
    response.setHeader('Content-Length', length);
    return end(response, 200);
  }
  let bytes: Readable;
  try {
    bytes = await blobs.open(org, hash, range);
  } catch (error) {
    if (!(error instanceof MediaFailure)) throw error;
    response.removeHeader('ETag');
    response.setHeader('Cache-Control', 'no-store');
    return sendJson(response, 404, { code: error.code, message: 'There is no such content.' });
  }
  if (range) response.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${size}`);
  response.setHeader('Content-Length', length);
  response.writeHead(range ? 206 : 200);
  // `pipeline` waits for the client (back-pressure) and destroys both ends when either fails: a client that goes away leaves no
  // open file, and a storage that fails in the middle cuts the response short instead of completing it.
  await pipeline(bytes, response).catch(() => undefined);
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status);
  response.end();
}

/** A refusal as this library's HTTP parts send it. */
export function sendJson(response: ServerResponse, status: number, body: { code: string; message: string }): void {
  const text = JSON.stringify(body);
  response.setHeader('Content-Type', 'application/json; charset=utf-8');
  response.setHeader('Content-Length', Buffer.byteLength(text));
  response.writeHead(status);
  response.end(response.req?.method === 'HEAD' ? undefined : text);
}

/** RFC 6266: an ASCII fallback and the real name. */
function contentDisposition(name: string): string {
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  const encoded = encodeURIComponent(Buffer.from(name).toString()).replace(
    /['()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
