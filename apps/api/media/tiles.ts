import type { Request, Response } from 'express';
import { json } from 'node:stream/consumers';
import { LruMap } from '#libs/events/log/index.js';
import {
  blobSource,
  hexOf,
  sendJson,
  serveBytes,
  sliceSource,
  tileAt,
  TilesIndexSchema,
  type BlobHash,
  type BlobStore,
  type TilesIndex,
} from '#libs/media/index.js';

/** Of large stills; viewers look for its tiles in the folder. */
export const DESCRIPTOR = 'view.dzi';
export const TILES_FOLDER = 'view_files';
/** Of the largest picture ffmpeg reads: 1,400 tiles. */
const MAX_INDEX_BYTES = 1 << 20;

interface Files {
  readonly organisationId: string;
  readonly files: ReadonlyMap<string, { readonly hash: string; readonly size: number }>;
}

/** Tiles of large stills, each a part of one blob. */
export class Tiles {
  readonly #indexes = new LruMap<string, TilesIndex>(100);

  constructor(private readonly blobs: BlobStore) {}

  /** `path`: `<level>/<column>_<row>.jpg`. Who asks may see the picture: that was checked. */
  async serve(request: Request, response: Response, { organisationId, files }: Files, path: string): Promise<void> {
    const [tiles, index] = [files.get('view.tiles'), files.get('view.tiles.json')];
    const found = tiles && index ? tileAt(await this.#index(organisationId, index), path) : null;
    if (!tiles || !found) return sendJson(response, 404, { code: 'NOT_FOUND', message: 'There is no such tile.' });
    const hash = tiles.hash as BlobHash;
    const whole = blobSource(this.blobs, organisationId, { hash, size: tiles.size });
    await serveBytes(request, response, {
      bytes: sliceSource(whole, found.offset, found.size),
      tag: `${hexOf(hash)}-${found.offset}`,
      mime: 'image/jpeg',
      immutable: true,
    });
  }

  async #index(org: string, { hash, size }: { hash: string; size: number }): Promise<TilesIndex> {
    const key = `${org} ${hash}`;
    const known = this.#indexes.get(key);
    if (known) return known;
    if (size > MAX_INDEX_BYTES) throw new Error('an index of tiles is too large');
    const index = TilesIndexSchema.parse(await json(await this.blobs.open(org, hash as BlobHash)));
    this.#indexes.set(key, index);
    return index;
  }
}
