/**
 * One small timeline that every edit-list format can be read into and written from: tracks of clips and gaps, one after another.
 * Positions follow from the lengths before them. Pure; no I/O.
 */
import { fail, type Result } from '../result.js';
import { type Rate, type Rational } from '../timecode.js';

/** The medium a clip is taken from. */
export interface MediaReference {
  readonly name: string;
  readonly reel: string | null;
  /** `file:///…`, or a path as the format keeps it. */
  readonly url: string | null;
  /** Its own rate: `sourceStart` and `start` count in it. */
  readonly rate: Rate;
  /** Label of its first frame, frames since 00:00:00:00; null when the format does not tell. */
  readonly start: number | null;
  readonly frames: number | null;
}

export interface Transition {
  readonly kind: 'DISSOLVE' | 'WIPE';
  /** CMX wipe code (`W001`); null for a dissolve. */
  readonly code: string | null;
  /** Frames from the clip's first one on, during which the clip before still shows. */
  readonly frames: number;
}

export interface Marker {
  /** Frames from the first frame of what carries it. */
  readonly at: number;
  /** At least 1. */
  readonly frames: number;
  readonly name: string;
  readonly note: string;
  /** Lower case: `red`, `blue`…; null when the format tells none. */
  readonly colour: string | null;
}

export interface Clip {
  readonly kind: 'CLIP';
  readonly name: string;
  readonly media: MediaReference;
  /** Label of the first frame used, frames since 00:00:00:00 in the medium's rate. */
  readonly sourceStart: number;
  /** Frames in the timeline. */
  readonly frames: number;
  /** 1 is normal, 2 twice as fast, 0 a freeze, negative backwards. */
  readonly speed: Rational;
  /** How the clip comes in; null is a cut. */
  readonly transition: Transition | null;
  readonly markers: readonly Marker[];
  /** What the format says about it in words. */
  readonly notes: readonly string[];
}

export interface Gap {
  readonly kind: 'GAP';
  readonly frames: number;
}

export interface Track {
  readonly kind: 'VIDEO' | 'AUDIO';
  readonly items: readonly (Clip | Gap)[];
}

export interface Timeline {
  readonly name: string;
  readonly rate: Rate;
  readonly dropFrame: boolean;
  /** Label of its first frame, frames since 00:00:00:00. */
  readonly start: number;
  readonly tracks: readonly Track[];
  readonly markers: readonly Marker[];
}

export const NORMAL_SPEED: Rational = { num: 1, den: 1 };

/** Frames of the medium a clip uses: its length times its speed, at least one, counted in the timeline's rate. */
export function sourceFrames(clip: Pick<Clip, 'frames' | 'speed'>): number {
  return Math.max(1, Math.round((clip.frames * Math.abs(clip.speed.num)) / clip.speed.den));
}

export function trackFrames(track: Track): number {
  return track.items.reduce((sum, item) => sum + item.frames, 0);
}

/** Clips with their position from the timeline's first frame. */
export function placedClips(track: Track): { readonly at: number; readonly clip: Clip }[] {
  let at = 0;
  return track.items.flatMap((item) => {
    const from = at;
    at += item.frames;
    return item.kind === 'CLIP' ? [{ at: from, clip: item }] : [];
  });
}

/** A track of clips at positions; gaps fill what lies between. A clip that begins before the last one ends is refused with its index. */
export function layOut(
  kind: Track['kind'],
  clips: readonly { readonly at: number; readonly clip: Clip }[],
): { readonly track: Track } | { readonly overlap: number } {
  const items: (Clip | Gap)[] = [];
  let end = 0;
  for (const [index, { at, clip }] of clips.entries()) {
    if (at < end) return { overlap: index };
    if (at > end) items.push({ kind: 'GAP', frames: at - end });
    items.push(clip);
    end = at + clip.frames;
  }
  return { track: { kind, items } };
}

/** EDITORIAL_INVALID: the format, the place, what is wrong. */
export function invalid(format: string, where: string, what: string): Result<never> {
  return fail('EDITORIAL_INVALID', `${format}${where ? `, ${where}` : ''}: ${what}`);
}

/** Thrown inside a reader and turned into EDITORIAL_INVALID at its door. */
export class Misread extends Error {
  constructor(
    readonly where: string,
    readonly what: string,
  ) {
    super(`${where}: ${what}`);
  }
}

/** Runs a reader; what it throws as {@link Misread} is the refusal. */
export function reading<T>(format: string, read: () => T): Result<T> {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof Misread) return invalid(format, error.where, error.what);
    throw error;
  }
}

/** Texts larger than this are no edit lists: 64 MiB. */
export const MAX_TEXT = 64 << 20;

export function checkText(text: string): string {
  if (text.length > MAX_TEXT) throw new Misread('', 'the text is larger than 64 MiB');
  return text.replace(/^\uFEFF/, '');
}
