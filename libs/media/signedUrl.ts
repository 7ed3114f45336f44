import { createHmac, timingSafeEqual } from 'node:crypto';
import { fail, ok, type Result } from './result.js';

/** What a media URL opens, and for whom. */
export interface MediaClaims {
  readonly organisationId: string;
  readonly versionId: string;
  /** Hash of the review manifest (or of the one blob) the token opens. */
  readonly manifestHash: string;
  /** Opens only files of this name, whatever their extension: a playlist and its segments. Null: every file of the manifest. */
  readonly scope: string | null;
  readonly userId: string;
  readonly sessionId: string;
  /** Milliseconds since 1970 UTC. */
  readonly expiresAt: number;
}

/** Keeps these signatures apart from anything else signed with the same key. */
const PURPOSE = 'picturelock.media-url/1:';
const KEY_BYTES = 32;
const MAX_TOKEN_CHARS = 2048;

function mac(payload: string, key: Uint8Array): Buffer {
  if (key.length < KEY_BYTES) throw new TypeError(`the key needs ${KEY_BYTES} bytes`);
  return createHmac('sha256', key).update(PURPOSE).update(payload).digest();
}

/**
 * A URL-safe path segment: `/media/<token>/<name>`. Relative names in a playlist carry it along unchanged. `key`: 32 random bytes
 * or more.
 */
export function signPath(claims: MediaClaims, key: Uint8Array): string {
  const { organisationId, versionId, manifestHash, userId, sessionId, expiresAt, scope } = claims;
  const fields = [organisationId, versionId, manifestHash, userId, sessionId, expiresAt, scope];
  const payload = Buffer.from(JSON.stringify(fields)).toString('base64url');
  return `${payload}.${mac(payload, key).toString('base64url')}`;
}

/**
 * The claims of a genuine token. MEDIA_URL_INVALID when forged, altered or malformed, MEDIA_URL_EXPIRED when genuine but late.
 * Takes the same time wherever a forged signature differs. `now` in milliseconds since 1970 UTC.
 */
export function verifyPath(token: string, key: Uint8Array, now: number): Result<MediaClaims> {
  const invalid = fail('MEDIA_URL_INVALID', 'This media address is not valid.');
  const match = token.length <= MAX_TOKEN_CHARS ? /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/.exec(token) : null;
  if (!match) return invalid;
  const given = Buffer.from(match[2]!, 'base64url');
  if (!timingSafeEqual(given, mac(match[1]!, key))) return invalid;
  // Genuine from here on, so its shape is ours.
  const [organisationId, versionId, manifestHash, userId, sessionId, expiresAt, scope = null] = JSON.parse(
    Buffer.from(match[1]!, 'base64url').toString(),
  ) as [string, string, string, string, string, number, string | null];
  if (now >= expiresAt) return fail('MEDIA_URL_EXPIRED', 'This media address has expired.');
  return ok({ organisationId, versionId, manifestHash, userId, sessionId, expiresAt, scope });
}

/** What a token of one file is limited to: the file's name without its extension. */
export function scopeOf(name: string): string {
  return name.replace(/\.[^.]*$/, '');
}

/** Whether a token opens a file. */
export function opensFile(claims: MediaClaims, name: string): boolean {
  return claims.scope === null || claims.scope === scopeOf(name);
}
