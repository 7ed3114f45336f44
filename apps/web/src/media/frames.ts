/**
 * Where frames lie in a player's seconds. Pure. Frames are integers from 0; a player's clock is floating point and only ever
 * translated at the edge: aim at the middle of a frame's interval, read back with a tolerance.
 */
import type { Rate } from './timecode.js';

/**
 * Seconds in the middle of a frame's interval: (n + ½) × den / num. `offset` is the presentation time of frame 0 (encoders with
 * B-frames or priming sound may begin a little after 0).
 */
export function frameMiddle(frame: number, rate: Rate, offset = 0): number {
  return offset + ((2 * frame + 1) * rate.den) / (2 * rate.num);
}

/** The frame on screen at a player's time. A time up to 1 % of a frame before its start still counts as that frame. */
export function frameAtTime(seconds: number, rate: Rate, offset = 0): number {
  return Math.max(0, Math.floor(((seconds - offset) * rate.num) / rate.den + 0.01));
}

/** The frame whose presentation time is `mediaTime` (start of its interval, as requestVideoFrameCallback reports). */
export function frameAtMediaTime(mediaTime: number, rate: Rate, offset = 0): number {
  return Math.max(0, Math.round(((mediaTime - offset) * rate.num) / rate.den));
}

export function clampFrame(frame: number, frames: number): number {
  return Math.min(Math.max(0, Math.trunc(frame)), Math.max(0, frames - 1));
}

/** In and out points of a range, both inclusive. */
export interface FrameRange {
  readonly in: number;
  readonly out: number;
}

export function orderedRange(a: number, b: number): FrameRange {
  return a <= b ? { in: a, out: b } : { in: b, out: a };
}

export function covers(range: FrameRange | null | undefined, frame: number): boolean {
  return range != null && range.in <= frame && frame <= range.out;
}

/** Share of the bar at which a frame begins, and how wide it is: fractions of the whole. */
export function barPlace(range: FrameRange, frames: number): { left: number; width: number } {
  const total = Math.max(1, frames);
  const left = Math.min(range.in, total - 1) / total;
  return { left, width: Math.min(1 - left, (range.out - range.in + 1) / total) };
}

/** The frame under a place on the bar, `fraction` from 0 to 1. */
export function frameOnBar(fraction: number, frames: number): number {
  return clampFrame(Math.floor(fraction * frames), frames);
}

/** Next shuttle speed of J and L: 1, 2, 4 times in the pressed direction; the other direction first stops. */
export function shuttle(speed: number, direction: 1 | -1): number {
  if (speed * direction <= 0) return direction;
  return Math.sign(speed) * Math.min(4, Math.abs(speed) * 2);
}

/** Human running time such as `10 s` or `3 min 20 s`. */
export function runningTime(frames: number, rate: Rate): string {
  const seconds = Math.round((frames * rate.den) / rate.num);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 60
    ? `${minutes} min ${seconds % 60} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min ${seconds % 60} s`;
}

/** `23.976`, `29.97`, `25`: the rate's usual name. */
export function rateName(rate: Rate): string {
  const value = rate.num / rate.den;
  return Number.isInteger(value) ? String(value) : String(Number(value.toFixed(3)));
}
