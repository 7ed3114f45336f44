import { Inject, Injectable } from '@nestjs/common';
import { can } from '#libs/domain/index.js';
import { scopeOf, signPath } from '#libs/media/index.js';
import type { ComparisonRow, TranscodedMedia, VersionRow } from '#libs/read-models/index.js';
import type { Config } from '#libs/runtime/index.js';
import type { RequestContext } from '../platform/context.js';
import { CONFIG } from '../platform/tokens.js';

/** Name under which a token for the original opens it. */
export const ORIGINAL = 'original';

/** Renditions as good as originals, and what belongs to them: for those who may download these. */
export const isForEditors = (role: string): boolean => ['EDITORIAL', 'ALE', 'FRAME_MAP'].includes(role);

/** Signed, short-lived addresses of the files of a version and of what lies beside it. */
@Injectable()
export class MediaUrls {
  constructor(@Inject(CONFIG) private readonly config: Config) {}

  file(context: RequestContext, version: VersionRow, media: TranscodedMedia | null, role: string): string | null {
    const file = media?.status === 'READY' ? media.files.find((f) => f.role === role) : undefined;
    return file && media ? this.named(context, version, media, file.name) : null;
  }

  /** Of a file of the review copies by its name, or of the original. */
  named(context: RequestContext, version: VersionRow, media: TranscodedMedia, name: string): string | null {
    if (name === ORIGINAL) return this.original(context, version);
    if (!media.manifestHash || version.status === 'WITHDRAWN') return null;
    const role = media.files.find((file) => file.name === name)?.role;
    if (role === undefined) return null;
    if (isForEditors(role) && !(context.viewer && can(context.viewer.role, 'version.download'))) return null;
    return this.#url(context, version, media.manifestHash, name);
  }

  /** `hash` names the original: the version's own, or that of a reference beside it. */
  original(context: RequestContext, version: VersionRow, hash = version.blobHash): string | null {
    if (!context.viewer || !can(context.viewer.role, 'version.download') || version.status === 'WITHDRAWN') return null;
    return this.#url(context, version, hash, ORIGINAL);
  }

  /** Of a file that a comparison made; `version` is the later of the two. Null once either was withdrawn. */
  ofComparison(
    context: RequestContext,
    comparison: ComparisonRow,
    { version, from }: { version: VersionRow; from: VersionRow },
    name: string,
  ): string | null {
    if (!comparison.reportHash || version.status === 'WITHDRAWN' || from.status === 'WITHDRAWN') return null;
    if (!comparison.files.some((file) => file.name === name)) return null;
    return this.#url(context, version, comparison.reportHash, name);
  }

  #url(context: RequestContext, version: VersionRow, hash: string, name: string): string | null {
    const { session, viewer } = context;
    if (!session || !viewer) return null;
    const ttl = this.config.media.urlTtlSeconds * 1000;
    // Rounded up to half a lifetime, so that the same question soon after gets the same address and caches hold.
    const expiresAt = Math.ceil((Date.now() + ttl) / (ttl / 2)) * (ttl / 2);
    const token = signPath(
      {
        organisationId: version.organisationId,
        versionId: version.id,
        manifestHash: hash,
        // A playlist's files get tokens of their own when it is fetched.
        scope: scopeOf(name),
        userId: viewer.userId,
        sessionId: session.sessionId,
        expiresAt,
      },
      this.config.keys.mediaSigning,
    );
    return `/media/${token}/${encodeURIComponent(name)}`;
  }
}
