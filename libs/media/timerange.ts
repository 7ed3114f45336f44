/** Ranges of frames with labels: in and out points, handles, and what remains of them inside a medium. Pure; no I/O. */
import { fail, ok, type Result } from './result.js';
import {
  addFrames,
  framesBetween,
  framesPerDay,
  framesToSeconds,
  parseTimecode,
  timecode,
  timecodeText,
  type Rate,
  type Rational,
  type Timecode,
} from './timecode.js';

/** `frames` frames from `start` on; the out point is not part of it, as in every EDL. */
export interface TimecodeRange {
  readonly start: Timecode;
  readonly frames: number;
}

/** Throws RangeError unless `frames` is a whole number from 0 on. */
export function timecodeRange(start: Timecode, frames: number): TimecodeRange {
  if (!Number.isSafeInteger(frames) || frames < 0) throw new RangeError(`not a number of frames: ${frames}`);
  return Object.freeze({ start, frames });
}

/** From in (first frame) to out (first frame after). An out before the in is after midnight. */
export function rangeBetween(start: Timecode, end: Timecode): TimecodeRange {
  const frames = framesBetween(start, end);
  return timecodeRange(start, frames < 0 ? frames + framesPerDay(start.rate, start.dropFrame) : frames);
}

/** INVALID_TIMECODE when a label is refused or the two count differently. */
export function parseRange(inText: string, outText: string, rate: Rate): Result<TimecodeRange> {
  const start = parseTimecode(inText, rate);
  if (!start.ok) return start;
  const end = parseTimecode(outText, rate);
  if (!end.ok) return end;
  if (start.value.dropFrame !== end.value.dropFrame) {
    return fail('INVALID_TIMECODE', `${inText} and ${outText} mix drop-frame and non-drop-frame counting.`);
  }
  return ok(rangeBetween(start.value, end.value));
}

/** The out point: the label of the first frame after the range, without roll-over. */
export function rangeEnd(range: TimecodeRange): Timecode {
  return addFrames(range.start, range.frames);
}

/** `01:00:00:00 - 01:00:10:00`, the second not included. */
export function rangeText(range: TimecodeRange): string {
  return `${timecodeText(range.start)} - ${timecodeText(rangeEnd(range))}`;
}

/** Exact length in seconds. */
export function rangeSeconds(range: TimecodeRange): Rational {
  return framesToSeconds(range.frames, range.start.rate);
}

export function rangeContains(range: TimecodeRange, at: Timecode): boolean {
  const offset = framesBetween(range.start, at);
  return offset >= 0 && offset < range.frames;
}

/** What two ranges share; null when they only touch or lie apart. */
export function intersectRanges(a: TimecodeRange, b: TimecodeRange): TimecodeRange | null {
  const offset = framesBetween(a.start, b.start);
  const first = Math.max(0, offset);
  const end = Math.min(a.frames, offset + b.frames);
  return end > first ? timecodeRange(addFrames(a.start, first), end - first) : null;
}

/** Handles as far as the medium has them. */
export interface HandledRange {
  readonly range: TimecodeRange;
  /** Frames really added before and after; less than asked for at the ends of the medium. */
  readonly head: number;
  readonly tail: number;
}

/**
 * The range with up to `head` and `tail` frames more, kept inside `within`. INVALID_TIMECODE when the range itself is not wholly
 * inside.
 */
export function withHandles(
  range: TimecodeRange,
  handles: { head: number; tail: number },
  within: TimecodeRange,
): Result<HandledRange> {
  const before = framesBetween(within.start, range.start);
  const after = within.frames - before - range.frames;
  if (before < 0 || after < 0) {
    return fail('INVALID_TIMECODE', `${rangeText(range)} is not inside ${rangeText(within)}.`);
  }
  const [head, tail] = [Math.min(handles.head, before), Math.min(handles.tail, after)];
  return ok({ range: timecodeRange(addFrames(range.start, -head), range.frames + head + tail), head, tail });
}

/** All frames of a medium of `frames` frames that begins at `startFrame` (frames since 00:00:00:00). */
export function mediumRange(startFrame: number, frames: number, rate: Rate, dropFrame = false): TimecodeRange {
  return timecodeRange(timecode(startFrame, rate, dropFrame), frames);
}
