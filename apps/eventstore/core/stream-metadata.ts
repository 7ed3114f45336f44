/** Stream names and stream metadata as the protocol knows them. Pure. */
import { isAcl, parseAcl, type StreamAcl } from './acl.js';

export type StreamMetadata = {
  maxCount?: number;
  /** Seconds. */
  maxAge?: number;
  /** First revision still readable; `'deleted'` marks a soft-deleted stream. */
  truncateBefore?: number | 'deleted';
  acl?: StreamAcl;
};

export const SYSTEM_EVENT = { metadata: '$metadata', streamDeleted: '$streamDeleted' } as const;

/** The real server writes the highest signed 64-bit number; JavaScript parses it as 2^63. */
const DELETED_TRUNCATE_BEFORE = 2 ** 63;

/** JSON of the metadata event of a soft delete. Written as text: no JavaScript number holds 2^63 - 1. */
export const SOFT_DELETE_METADATA = '{"$tb":9223372036854775807}';

export function isMetadataStream(stream: string): boolean {
  return stream.startsWith('$$');
}

export function metadataStreamOf(stream: string): string {
  return '$$' + stream;
}

/** The stream a metadata stream belongs to; any other stream is its own. */
export function baseStreamOf(stream: string): string {
  return isMetadataStream(stream) ? stream.slice(2) : stream;
}

const MAX_STREAM_NAME_BYTES = 1024;

/** False for names that no stream can have, nor an event type: Postgres holds no NUL in a text. */
export function mayExist(name: string): boolean {
  return !name.includes('\0');
}

/** The reason a stream name can't be written, or undefined. */
export function streamNameProblem(stream: string): string | undefined {
  if (stream === '') return 'Stream name is empty.';
  if (stream === '$$' || stream.startsWith('$$$$')) return `Stream name '${stream}' is reserved.`;
  if (stream === '$all') return "Stream '$all' can't be written.";
  if (!mayExist(stream)) return 'Stream name contains a NUL character.';
  if (Buffer.byteLength(stream) > MAX_STREAM_NAME_BYTES)
    return `Stream name is longer than ${MAX_STREAM_NAME_BYTES} bytes.`;
  return undefined;
}

/**
 * Parses the data of a `$metadata` event. Like the real server: with a system property of the wrong type all of it counts as
 * absent, and a bound that bounds nothing counts as absent alone.
 */
export function parseStreamMetadata(data: Buffer): StreamMetadata {
  let raw: unknown;
  try {
    raw = JSON.parse(data.toString('utf8'));
  } catch {
    return {};
  }
  if (typeof raw !== 'object' || raw === null || !isWellTyped(raw as Record<string, unknown>)) return {};
  const { $maxCount: maxCount, $maxAge: maxAge, $tb: truncateBefore, $acl } = raw as Record<string, unknown>;
  const acl = parseAcl($acl);
  return {
    ...(acl && { acl }),
    ...(isCount(maxCount) && maxCount > 0 && { maxCount }),
    ...(isCount(maxAge) && maxAge > 0 && { maxAge }),
    ...(isCount(truncateBefore) && {
      truncateBefore: truncateBefore >= DELETED_TRUNCATE_BEFORE ? ('deleted' as const) : truncateBefore,
    }),
  };
}

function isWellTyped(raw: Record<string, unknown>): boolean {
  const integers = ['$maxCount', '$maxAge', '$tb', '$cacheControl'].every(
    (name) => raw[name] === undefined || Number.isInteger(raw[name]),
  );
  const { $tmp, $acl } = raw;
  return integers && ($tmp === undefined || typeof $tmp === 'boolean') && ($acl === undefined || isAcl($acl));
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && value >= 0;
}

/** The metadata with which a soft-deleted stream comes back to life: as it was, but truncated before `revision`. */
export function undeleteMetadata(data: Buffer, revision: number): Buffer | undefined {
  try {
    const raw: unknown = JSON.parse(data.toString('utf8'));
    if (typeof raw !== 'object' || raw === null) return undefined;
    return Buffer.from(JSON.stringify({ ...raw, $tb: revision }));
  } catch {
    return undefined;
  }
}

/** The lowest revision a reader may see. */
export function firstReadableRevision(metadata: StreamMetadata, lastRevision: number): number {
  const byCount = metadata.maxCount === undefined ? 0 : lastRevision - metadata.maxCount + 1;
  const byTruncation = typeof metadata.truncateBefore === 'number' ? metadata.truncateBefore : 0;
  return Math.max(0, byCount, byTruncation);
}
