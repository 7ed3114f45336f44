import type { Result } from './result.js';

/** What a media URL opens, and for whom. */
export interface MediaClaims {
  readonly organisationId: string;
  readonly versionId: string;
  /** Hash of the review manifest (or of the one blob) the token opens. */
  readonly manifestHash: string;
  readonly userId: string;
  readonly sessionId: string;
  /** Milliseconds since 1970 UTC. */
  readonly expiresAt: number;
}

/** A URL-safe path segment: `/media/<token>/<name>`; relative names in a playlist then carry it along. `key`: 32 bytes or more. */
export declare function signPath(claims: MediaClaims, key: Uint8Array): string;
/** MEDIA_URL_INVALID when forged or malformed, MEDIA_URL_EXPIRED when genuine but late. `now` in milliseconds since 1970. */
export declare function verifyPath(token: string, key: Uint8Array, now: number): Result<MediaClaims>;
