import { parse } from 'node:path';
import type { NextFunction, Request, Response } from 'express';
import { can } from '#libs/domain/index.js';
import { LruMap } from '#libs/events/log/index.js';
import {
  opensFile,
  serveBlob,
  serveBytes,
  verifyPath,
  type BlobHash,
  type BlobStore,
  type Offload,
} from '#libs/media/index.js';
import {
  ComparisonRow,
  ReferenceRow,
  VersionMediaRow,
  VersionRow,
  type MediaFile,
  type TranscodedMedia,
  type UploadedMedia,
} from '#libs/read-models/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import type { Access } from '../platform/access.js';
import type { ReadStore } from '../platform/read-store.js';
import { isForEditors, ORIGINAL } from '../review/media-urls.js';
import { PLAYLIST_MIME, Playlists } from './playlists.js';
import { DESCRIPTOR, Tiles, TILES_FOLDER } from './tiles.js';

interface MediaRouteOptions {
  readonly key: Uint8Array;
  readonly blobs: BlobStore;
  readonly store: ReadStore;
  readonly access: Access;
  readonly secrets: Secrets;
  readonly offload?: Offload;
}

interface Opened {
  readonly projectId: string;
  readonly organisationId: string;
  readonly files: ReadonlyMap<
    string,
    Pick<MediaFile, 'hash' | 'mime'> & { size: number; role?: string; download?: string }
  >;
}

/** A version can be withdrawn: what a token opens is looked up again after this long, milliseconds. */
const FRESH_MS = 1000;

/** What the hash opens: the original, or the review copies when it is their manifest's; null when it is neither. */
function filesOf(hash: string, original: UploadedMedia, media: TranscodedMedia | null): Opened['files'] | null {
  if (hash === original.blobHash) {
    const { mime, blobSize, filename: download } = original;
    return new Map([[ORIGINAL, { hash, mime, size: Number(blobSize), download }]]);
  }
  if (media?.status !== 'READY' || media.manifestHash !== hash) return null;
  return new Map(media.files.map((file) => [file.name, { ...file, download: downloadName(file, original.filename) }]));
}

/**
 * `GET /media/<token>/<name>`: the token names version and manifest, is signed and short-lived, and works only while
 * its session lives and its person sees the project; it opens the one file it is for. Playlists are served with such tokens for what
 * they name. 403 without a byte in every other case.
 */
export function mediaRoute({ key, blobs, store, access, secrets, offload }: MediaRouteOptions) {
  const playlists = new Playlists(blobs, key);
  const tiles = new Tiles(blobs);
  const opened = new LruMap<string, { at: number; value: Opened | null }>(500);

  /** The files of a reference that lies beside the version, as long as it does. */
  async function besideVersion(versionId: string, hash: string): Promise<Opened['files'] | null> {
    const references = await store.manager
      .getRepository(ReferenceRow)
      .find({ where: { versionId, detached: false }, relations: { media: true } });
    for (const reference of references) {
      const files = filesOf(hash, reference, reference.media ?? null);
      if (files) return files;
    }
    return null;
  }

  /** What a comparison of the version with another one made, as long as both are there. */
  async function ofComparison(versionId: string, hash: string): Promise<Opened['files'] | null> {
    const { manager } = store;
    const comparison = await manager
      .getRepository(ComparisonRow)
      .findOneBy({ versionId, reportHash: hash, status: 'READY' });
    if (!comparison) return null;
    const from = await manager.getRepository(VersionRow).findOneBy({ id: comparison.fromVersionId });
    if (!from || from.status === 'WITHDRAWN') return null;
    const reference = comparison.fromReferenceId;
    const lies = { id: reference ?? '', detached: false };
    if (reference !== null && !(await manager.getRepository(ReferenceRow).existsBy(lies))) return null;
    return new Map(comparison.files.map((file) => [file.name, file]));
  }

  async function open(versionId: string, hash: string): Promise<Opened | null> {
    const cacheKey = `${versionId} ${hash}`;
    const cached = opened.get(cacheKey);
    if (cached && Date.now() - cached.at < FRESH_MS) return cached.value;
    const { manager } = store;
    const version = await manager.getRepository(VersionRow).findOneBy({ id: versionId });
    let value: Opened | null = null;
    if (version && version.number !== null && version.status !== 'WITHDRAWN') {
      const { projectId, organisationId } = version;
      const files = filesOf(hash, version, await manager.getRepository(VersionMediaRow).findOneBy({ versionId }));
      const found = files ?? (await besideVersion(versionId, hash)) ?? (await ofComparison(versionId, hash));
      value = found && { projectId, organisationId, files: found };
    }
    opened.set(cacheKey, { at: Date.now(), value });
    return value;
  }

  const refuse = (response: Response, status: number, code: string, message: string) =>
    void response.status(status).set('cache-control', 'no-store').json({ code, message });

  return async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    try {
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.set('allow', 'GET, HEAD');
        return refuse(response, 405, 'METHOD_NOT_ALLOWED', 'Media can be read only.');
      }
      const [, token = '', name = '', ...rest] = request.path.split('/');
      const claims = verifyPath(token, key, Date.now());
      if (!claims.ok) return refuse(response, 403, claims.error.code, claims.error.message);
      const { versionId, organisationId, manifestHash, userId, sessionId } = claims.value;
      const [session, viewer, media] = await Promise.all([
        secrets.sessions.touch(sessionId),
        access.viewer(userId, organisationId),
        open(versionId, manifestHash),
      ]);
      const allowed =
        session?.userId === userId &&
        viewer !== null &&
        media?.organisationId === organisationId &&
        (await access.seesProject(viewer, media));
      if (!allowed) return refuse(response, 403, 'MEDIA_FORBIDDEN', 'You may not see this.');
      // Names are plain: nothing in them is ever escaped. Who may open the descriptor of tiles may open them.
      if (!opensFile(claims.value, name === TILES_FOLDER ? DESCRIPTOR : name))
        return refuse(response, 403, 'MEDIA_FORBIDDEN', 'You may not see this.');
      if (name === TILES_FOLDER) return await tiles.serve(request, response, media, rest.join('/'));
      const file = rest.length === 0 ? media.files.get(name) : undefined;
      if (!file) return refuse(response, 404, 'NOT_FOUND', 'There is no such file.');
      if (file.download !== undefined && !can(viewer.role, 'version.download'))
        return refuse(response, 403, 'MEDIA_FORBIDDEN', 'You may not download originals.');
      if (file.mime === PLAYLIST_MIME) {
        const playlist = await playlists.for(claims.value, file);
        return await serveBytes(request, response, { ...playlist, mime: file.mime });
      }
      await serveBlob(request, response, {
        blobs,
        org: organisationId,
        hash: file.hash as BlobHash,
        size: file.size,
        mime: file.mime,
        immutable: true,
        downloadName: file.download,
        offload,
      });
    } catch (error) {
      next(error);
    }
  };
}

/** Editors relink a proxy by the name of the original. What has a name of its own is for those who may download. */
function downloadName({ role, name }: MediaFile, original: string): string | undefined {
  return isForEditors(role) ? `${parse(original).name}${name.replace(/^editorial/, '')}` : undefined;
}
