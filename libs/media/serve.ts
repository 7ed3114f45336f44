import { open, type FileHandle } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { relative, sep } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { findMember, memberSource, type TarIndex } from './archive/index.js';
import { hexOf, type BlobHash, type BlobRef, type BlobStore } from './blobs.js';
import { blobSource, type ByteSource } from './bytes.js';
import { decideConditions, decideRange, ifRangeHolds } from './range.js';
import { MediaFailure, type Result } from './result.js';

export interface ServeOptions {
  readonly mime: string;
  /** Content that never changes at its address: `Cache-Control: private, max-age=31536000, immutable`. */
  readonly immutable?: boolean;
  /** Suggests a download under this name. */
  readonly downloadName?: string;
  /** Lets the web server in front send files of this machine. */
  readonly offload?: Offload;
}

export interface Representation extends ServeOptions {
  readonly bytes: ByteSource;
  /** What identifies these bytes and no others, without quotes. */
  readonly tag: string;
  /** Seconds since 1970 UTC; for content that has a date. */
  readonly modified?: number | null;
}

export interface ServeBlobOptions extends ServeOptions {
  readonly blobs: BlobStore;
  readonly org: string;
  readonly hash: BlobHash;
  /** Bytes. */
  readonly size: number;
}

/** Read at once, and twice that kept for each response: what is not yet sent, and what is read ahead meanwhile. Bytes. */
const CHUNK_BYTES = 256 << 10;

/** {@link serveBytes} of one blob; its hash is its tag. */
export function serveBlob(
  request: IncomingMessage,
  response: ServerResponse,
  { blobs, org, hash, size, ...options }: ServeBlobOptions,
): Promise<void> {
  const bytes = blobSource(blobs, org, { hash, size });
  return serveBytes(request, response, { ...options, bytes, tag: hexOf(hash) });
}

/**
 * {@link serveBytes} of one member of an archive that is a blob, in place. MEMBER_NOT_FOUND and MEMBER_NOT_READABLE are answered
 * with 404.
 */
export function serveMember(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServeOptions & { archive: ByteSource; archiveRef: BlobRef; index: TarIndex; name: string },
): Promise<void> {
  const { archive, archiveRef, index, name, ...rest } = options;
  const member = findMember(index, name);
  const bytes: Result<ByteSource> = member.ok ? memberSource(archive, member.value) : member;
  if (!member.ok || !bytes.ok) {
    const { code, message } = (bytes as Extract<typeof bytes, { ok: false }>).error;
    sendJson(response, 404, { code, message });
    return Promise.resolve();
  }
  const { offset, size, modified } = member.value;
  const tag = `${hexOf(archiveRef.hash)}-${offset}-${size}`;
  return serveBytes(request, response, { ...rest, bytes: bytes.value, tag, modified });
}

/**
 * GET and HEAD per RFC 9110: strong ETag, conditions, 206, 304, 412, 416; see {@link decideConditions} and {@link decideRange}.
 * Errors are JSON `{ code, message }`. Resolves when the response has ended or the client has gone; the file or connection behind it
 * is closed by then.
 */
export async function serveBytes(
  request: IncomingMessage,
  response: ServerResponse,
  { bytes, tag, modified = null, offload, ...options }: Representation,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return sendJson(response, 405, { code: 'METHOD_NOT_ALLOWED', message: 'GET and HEAD only.' });
  }
  const etag = `"${tag}"`;
  const { headers } = request;
  response.setHeader('ETag', etag);
  if (modified !== null) response.setHeader('Last-Modified', new Date(modified * 1000).toUTCString());
  response.setHeader('Cache-Control', options.immutable ? 'private, max-age=31536000, immutable' : 'private, no-cache');
  const answer = decideConditions(headers, { etag, modified: modified === null ? null : Math.floor(modified) });
  if (answer !== null) return end(response, answer);
  response.setHeader('Accept-Ranges', 'bytes');
  response.setHeader('Content-Type', options.mime);
  // Uploaded bytes are what their headers say and never a page.
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (options.downloadName !== undefined) {
    response.setHeader('Content-Disposition', contentDisposition(options.downloadName));
  }
  // Range is defined for GET only (section 14.2).
  const asked = request.method === 'GET' && ifRangeHolds(headers['if-range'] as string | undefined, etag);
  const { size } = bytes;
  const decision = decideRange(asked ? headers.range : undefined, size);
  if (decision.kind === 'UNSATISFIABLE') {
    response.setHeader('Content-Range', `bytes */${size}`);
    return sendJson(response, 416, {
      code: 'RANGE_NOT_SATISFIABLE',
      message: `One range within ${size} bytes, please.`,
    });
  }
  const handed = offload?.(bytes, headers);
  if (handed) {
    response.setHeader(...handed);
    // The web server says so itself.
    response.removeHeader('Accept-Ranges');
    return end(response, 200);
  }
  const range = decision.kind === 'PART' ? decision.range : undefined;
  const length = range ? range.end - range.start + 1 : size;
  const begin = () => {
    if (range) response.setHeader('Content-Range', `bytes ${range.start}-${range.end}/${size}`);
    response.setHeader('Content-Length', length);
    response.writeHead(range ? 206 : 200);
  };
  if (request.method === 'HEAD' || size === 0) {
    begin();
    response.end();
    return;
  }
  const missing = () => {
    response.removeHeader('ETag');
    response.removeHeader('Last-Modified');
    response.setHeader('Cache-Control', 'no-store');
    sendJson(response, 404, { code: 'BLOB_NOT_FOUND', message: 'There is no such content.' });
  };
  if (bytes.file) {
    const handle = await open(bytes.file.path, 'r').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    if (!handle) return missing();
    try {
      begin();
      await sendFile(handle, bytes.file.offset + (range?.start ?? 0), length, response);
    } finally {
      await handle.close();
    }
    return;
  }
  const gone = new AbortController();
  const onClose = () => gone.abort();
  response.once('close', onClose);
  let stream: Readable;
  try {
    stream = await bytes.open(range, gone.signal);
  } catch (error) {
    if (gone.signal.aborted) return;
    if (!(error instanceof MediaFailure)) throw error;
    return missing();
  } finally {
    response.off('close', onClose);
  }
  begin();
  // `pipeline` waits for the client (back-pressure) and destroys both ends when either fails: a client that goes away leaves no
  // open connection, and a storage that fails in the middle cuts the response short instead of completing it.
  await pipeline(stream, response).catch(() => undefined);
}

/**
 * A part of a file to the client, by two buffers in turn: one is read while the other is sent. A stream would make a new buffer for
 * each piece, which costs more than the copying. Ends early, with the connection, when the client goes or the file is shorter.
 */
async function sendFile(handle: FileHandle, start: number, length: number, response: ServerResponse): Promise<void> {
  const one = () => Buffer.allocUnsafeSlow(Math.min(length, CHUNK_BYTES));
  const buffers = length > CHUNK_BYTES ? [one(), one()] : [one()];
  let wake: (() => void) | undefined;
  const onClose = () => wake?.();
  response.on('close', onClose);
  // A connection that breaks is seen by `destroyed`.
  response.on('error', onClose);
  let sent: Promise<void> = Promise.resolve();
  let at = start;
  const stop = start + length;
  for (let turn = 0; at < stop && !response.destroyed; turn += 1) {
    const buffer = buffers[turn % buffers.length]!;
    const { bytesRead } = await handle
      .read(buffer, 0, Math.min(stop - at, CHUNK_BYTES), at)
      .catch(() => ({ bytesRead: 0 }));
    await sent;
    if (bytesRead === 0) response.destroy();
    if (response.destroyed) break;
    at += bytesRead;
    sent = new Promise((resolve) => {
      wake = resolve;
      response.write(buffer.subarray(0, bytesRead), () => resolve());
    });
  }
  await sent;
  if (!response.destroyed) response.end();
  response.off('close', onClose);
}

/** The header that has the web server in front send the bytes, or null when it can't: they are sent from here then. */
export type Offload = (bytes: ByteSource, headers: IncomingMessage['headers']) => [name: string, value: string] | null;

export type OffloadSetting =
  /** nginx: an `internal` location under this prefix is an alias of the folder. */
  | { readonly kind: 'X_ACCEL_REDIRECT'; readonly prefix: string }
  /** Apache's mod_xsendfile, lighttpd. */
  | { readonly kind: 'X_SENDFILE' };

/**
 * Files below `root` are sent by the web server in front of us. Conditions are judged here first, as it has another idea of the
 * ETag; so requests whose range or precondition depends on ours stay here.
 */
export function offloadFiles(root: string, setting: OffloadSetting): Offload {
  return ({ file, size }, headers) => {
    const ours = headers['if-range'] ?? headers['if-match'] ?? headers['if-unmodified-since'];
    if (!file || file.offset !== 0 || size === 0 || ours !== undefined) return null;
    const path = relative(root, file.path);
    if (path === '' || path.startsWith('..')) return null;
    if (setting.kind === 'X_SENDFILE') return ['X-Sendfile', file.path];
    const encoded = path.split(sep).map(encodeURIComponent).join('/');
    return ['X-Accel-Redirect', `${setting.prefix.replace(/\/$/, '')}/${encoded}`];
  };
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
