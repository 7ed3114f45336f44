import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { LruMap } from '#libs/events/log/index.js';
import {
  bufferSource,
  rewritePlaylist,
  scopeOf,
  signPath,
  type BlobHash,
  type BlobStore,
  type MediaClaims,
  type Representation,
} from '#libs/media/index.js';

export const PLAYLIST_MIME = 'application/vnd.apple.mpegurl';
/** A day of two-second segments. */
const MAX_PLAYLIST_BYTES = 8 << 20;

/**
 * Playlists as one session sees them: what they name is under a token of its own, which opens that file alone and ends with the
 * session and the hour. So who is given a playlist, or one of its addresses, has neither the other files nor any of them for long.
 */
export class Playlists {
  readonly #texts = new LruMap<string, string>(500);

  constructor(
    private readonly blobs: BlobStore,
    private readonly key: Uint8Array,
  ) {}

  async for(claims: MediaClaims, file: { hash: string; size: number }): Promise<Omit<Representation, 'mime'>> {
    const original = await this.#text(claims.organisationId, file);
    const body = Buffer.from(
      rewritePlaylist(original, (uri) => {
        // Names only: an address of elsewhere in a playlist is not ours to sign.
        if (!/^[A-Za-z0-9_.-]+$/.test(uri) || scopeOf(uri) === claims.scope) return uri;
        return `../${signPath({ ...claims, scope: scopeOf(uri) }, this.key)}/${uri}`;
      }),
    );
    return {
      tag: createHash('sha256').update(body).digest('hex'),
      bytes: bufferSource(body),
    };
  }

  async #text(org: string, { hash, size }: { hash: string; size: number }): Promise<string> {
    const cacheKey = `${org} ${hash}`;
    const known = this.#texts.get(cacheKey);
    if (known !== undefined) return known;
    if (size > MAX_PLAYLIST_BYTES) throw new Error('a playlist is too long');
    const read = await text(await this.blobs.open(org, hash as BlobHash));
    this.#texts.set(cacheKey, read);
    return read;
  }
}
