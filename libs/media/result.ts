/**
 * Outcomes of this library. An expected refusal or failure is a value with a stable code; only programming errors throw.
 */
export const MEDIA_ERROR_CODES = [
  /** The bytes are not of an accepted format, or hold neither picture nor sound. */
  'UNSUPPORTED_MEDIA',
  /** Zero bytes. */
  'EMPTY_FILE',
  /** The format is accepted but the headers can't be read. */
  'MEDIA_UNREADABLE',
  /** A transcode ended without a complete, verified result; `reason` is ffmpeg's own. */
  'TRANSCODE_FAILED',
  /** The frames asked for are not all in the medium. */
  'RANGE_OUTSIDE_MEDIA',
  /** An extraction or a sequence ended without a complete, verified result; `reason` tells what differs. */
  'EXTRACTION_FAILED',
  /** An edit list, marker list or project file breaks its format; the message names the line and column, or the field. */
  'EDITORIAL_INVALID',
  /** A look-up table breaks its format; the message names the line. */
  'LUT_INVALID',
  /** A header of an archive is damaged or contradicts itself; the message names the byte. */
  'ARCHIVE_INVALID',
  /** A member of an archive reaches beyond its end. */
  'ARCHIVE_TRUNCATED',
  'MEMBER_NOT_FOUND',
  /** A folder, a link, or stored without its holes: no bytes that can be read in place. */
  'MEMBER_NOT_READABLE',
  /** Two media that have no pictures to compare. */
  'NOT_COMPARABLE',
  /** ffmpeg or ffprobe is not installed or can't be started. */
  'FFMPEG_MISSING',
  /** The external process passed its time limit and was killed. */
  'MEDIA_TIMEOUT',
  /** The external process made no progress for the stall limit and was killed. */
  'MEDIA_STALLED',
  /** The caller cancelled. */
  'MEDIA_CANCELLED',
  /** ffmpeg or ffprobe ended with an error; `reason` is its own. */
  'FFMPEG_FAILED',
  'INVALID_TIMECODE',
  'INVALID_RATE',
  /** The bytes stored do not have the hash announced. */
  'HASH_MISMATCH',
  'BLOB_NOT_FOUND',
  /** The reserve of the disk would be touched. */
  'DISK_FULL',
  /** The organisation's quota of unfinished upload bytes would be passed. */
  'UPLOAD_QUOTA_EXCEEDED',
  'UPLOAD_TOO_LARGE',
  /** Unknown, expired, consumed, or somebody else's. */
  'UPLOAD_NOT_FOUND',
  /** Not complete yet, or refused. */
  'UPLOAD_NOT_READY',
  'UPLOAD_INVALID',
  'MEDIA_URL_EXPIRED',
  'MEDIA_URL_INVALID',
] as const;

export type MediaErrorCode = (typeof MEDIA_ERROR_CODES)[number];

export interface MediaError {
  readonly code: MediaErrorCode;
  /** One English sentence for a person. */
  readonly message: string;
  /** The external tool's own last words, when one was involved. At most a few lines. */
  readonly reason?: string;
}

export type Result<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: MediaError };

export function ok<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function fail(code: MediaErrorCode, message: string, reason?: string): { ok: false; error: MediaError } {
  return { ok: false, error: reason ? { code, message, reason } : { code, message } };
}

/** For scripts and places where a failure is a defect: the value, or a thrown {@link MediaFailure}. */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new MediaFailure(result.error);
}

export class MediaFailure extends Error {
  readonly code: MediaErrorCode;
  readonly reason?: string;
  constructor(error: MediaError) {
    super(error.reason ? `${error.code}: ${error.message} (${error.reason})` : `${error.code}: ${error.message}`);
    this.name = 'MediaFailure';
    this.code = error.code;
    this.reason = error.reason;
  }
}
