/** Which file serves a purpose best on a given connection and screen. Pure. */

/** What somebody is about to do. */
export const USES = ['REVIEW', 'SCRUB', 'EDIT', 'THUMBNAIL', 'DOWNLOAD'] as const;
export type Use = (typeof USES)[number];

/** A file of the review copies as the manifest, an event or a row lists it. */
export interface Candidate {
  readonly name: string;
  /** As in the manifest; `ORIGINAL` for what was uploaded. */
  readonly role: string;
  readonly mime: string;
  /** Bytes. */
  readonly size: number;
  readonly width?: number | null;
  readonly height?: number | null;
  /** Bits per second. */
  readonly bitrate?: number | null;
  /** Mean structural similarity to the source where it was measured, 0 to 1, as by `compareMedia`. */
  readonly ssim?: number | null;
}

export interface Client {
  /** Bits per second that arrive; null when not known: then the screen alone decides. */
  readonly bandwidth?: number | null;
  /** Pixels of the place it is shown at, device pixels. Null: the largest. */
  readonly width?: number | null;
  readonly height?: number | null;
  /** Seconds of the medium; tells how long a file takes to play and to load. */
  readonly seconds?: number | null;
}

export interface Choice<C extends Candidate = Candidate> {
  /** What to fetch: for adaptive streaming the multivariant playlist. */
  readonly file: C;
  /** The rendition to begin with, when `file` is a playlist of several. */
  readonly rendition: C | null;
  /** Whether the connection carries it without waiting. */
  readonly fits: boolean;
  /** What was passed over, and why. */
  readonly refused: readonly { readonly name: string; readonly reason: RefusedBecause }[];
}

export type RefusedBecause =
  | 'BELOW_QUALITY'
  | 'ABOVE_BANDWIDTH'
  /** More pixels than the screen shows, at more bits. */
  | 'LARGER_THAN_SCREEN';

/** Of the connection, for what is not the medium and for its ups and downs. */
const SHARE = 0.75;
/** Measured similarity below which a rendition is not offered for a use while a better one is there. */
const FLOORS: Readonly<Record<Use, number>> = { REVIEW: 0.92, SCRUB: 0.85, EDIT: 0.95, THUMBNAIL: 0, DOWNLOAD: 0 };
/** Roles that serve a use, the preferred first. */
const ROLES: Readonly<Record<Use, readonly string[]>> = {
  REVIEW: ['HLS_SEGMENTS', 'PROXY', 'VIEW', 'POSTER'],
  SCRUB: ['PROXY', 'HLS_SEGMENTS', 'SPRITES', 'VIEW'],
  EDIT: ['EDITORIAL', 'ORIGINAL', 'PROXY'],
  THUMBNAIL: ['THUMBNAIL', 'POSTER', 'VIEW'],
  DOWNLOAD: ['ORIGINAL', 'EDITORIAL', 'PROXY', 'VIEW'],
};

/**
 * The best file for a use; null when none serves it.
 *
 * Streamed (REVIEW, SCRUB): of the renditions that are good enough and that the connection carries, the smallest that fills the screen,
 * or else the largest. When the connection carries none, the leanest of those that are good enough, with `fits` false: a picture
 * that waits is better than one that can't be judged. Fetched as a whole (EDIT, DOWNLOAD): by role, and `fits` tells whether it loads
 * faster than it plays. THUMBNAIL: the smallest picture that fills the place.
 */
export function chooseFile<C extends Candidate>(use: Use, files: readonly C[], client: Client = {}): Choice<C> | null {
  const refused: { name: string; reason: RefusedBecause }[] = [];
  const limit = client.bandwidth == null ? Number.POSITIVE_INFINITY : client.bandwidth * SHARE;
  const needed = (file: C) => file.bitrate ?? (client.seconds ? (file.size * 8) / client.seconds : 0);
  const master = files.find(({ role }) => role === 'HLS_MASTER');
  for (const role of ROLES[use]) {
    // Sound comes beside the picture and is no choice against it.
    const pictured = files.filter((file) => file.role === role && file.width != null);
    const group = pictured.length > 0 ? pictured : files.filter((file) => file.role === role);
    if (role === 'HLS_SEGMENTS' && !master) continue;
    const good = group.filter((file) => {
      const fine = file.ssim == null || file.ssim >= FLOORS[use];
      if (!fine) refused.push({ name: file.name, reason: 'BELOW_QUALITY' });
      return fine;
    });
    // Of several bad ones the least bad, when nothing else serves the use.
    const last = role === ROLES[use].filter((other) => files.some((file) => file.role === other)).at(-1);
    const offered = good.length > 0 || !last ? good : group;
    if (offered.length === 0) continue;
    const carried = offered.filter((file) => needed(file) <= limit);
    if (use === 'REVIEW' || use === 'SCRUB') {
      // A leaner kind may still be carried: sprites where no proxy is.
      if (
        carried.length === 0 &&
        use === 'SCRUB' &&
        files.some((file) => file.role === 'SPRITES') &&
        role !== 'SPRITES'
      ) {
        refused.push(...offered.map(({ name }) => ({ name, reason: 'ABOVE_BANDWIDTH' as const })));
        continue;
      }
    }
    const whole = use === 'EDIT' || use === 'DOWNLOAD';
    const chosen = whole
      ? largest(offered)
      : forScreen(carried.length > 0 ? carried : [leanest(offered, needed)], client);
    for (const file of offered) {
      if (file === chosen || whole) continue;
      if (needed(file) > limit) refused.push({ name: file.name, reason: 'ABOVE_BANDWIDTH' });
      else if (area(file) > area(chosen)) refused.push({ name: file.name, reason: 'LARGER_THAN_SCREEN' });
    }
    const streamed = role === 'HLS_SEGMENTS';
    return {
      file: streamed ? master! : chosen,
      rendition: streamed ? chosen : null,
      fits: needed(chosen) <= limit,
      refused,
    };
  }
  return null;
}

const area = ({ width, height }: Candidate) => (width ?? 0) * (height ?? 0);

function largest<C extends Candidate>(files: readonly C[]): C {
  return files.reduce((best, file) =>
    area(file) > area(best) || (area(file) === area(best) && file.size > best.size) ? file : best,
  );
}

function leanest<C extends Candidate>(files: readonly C[], needed: (file: C) => number): C {
  return files.reduce((best, file) => (needed(file) < needed(best) ? file : best));
}

/** The smallest that fills the place in one direction, as a picture fitted into it does; else the largest. */
function forScreen<C extends Candidate>(files: readonly C[], { width, height }: Client): C {
  if (width == null && height == null) return largest(files);
  const fills = files.filter(
    (file) => (width != null && (file.width ?? 0) >= width) || (height != null && (file.height ?? 0) >= height),
  );
  return fills.length > 0 ? fills.reduce((best, file) => (area(file) < area(best) ? file : best)) : largest(files);
}
