/** Which frames of two media belong together: by the ranges of a comparison, or by number. Pure. */
import { clampFrame, type FrameRange } from '../../media/frames.js';

/** Frames of the earlier and of the later one; null where one of them has none. */
export interface PairedRange {
  readonly from: FrameRange | null;
  readonly to: FrameRange | null;
}

export interface Pair {
  /** The other one's frame; where it has none, the last one before that it has. */
  readonly frame: number;
  /** False where the other one has no such frame. */
  readonly paired: boolean;
  /** How many frames only the other one has right before this frame. */
  readonly skipped: number;
}

export type Pairing = (frame: number) => Pair;

/** Equal numbers; after the other one's end its last frame. */
export function pairByNumber(frames: number): Pairing {
  return (frame) => ({ frame: clampFrame(frame, frames), paired: frame < frames, skipped: 0 });
}

interface Place {
  readonly own: FrameRange;
  readonly other: FrameRange | null;
  /** What to stand on where the other one has nothing. */
  readonly before: number;
  readonly skipped: number;
}

/**
 * @param ranges all of a comparison, in order
 * @param side which of the two the frames asked for are of
 * @param frames how many the other one has
 */
export function pairByRanges(ranges: readonly PairedRange[], side: 'from' | 'to', frames: number): Pairing {
  const places: Place[] = [];
  let before = -1;
  let skipped = 0;
  for (const { from, to } of ranges) {
    const [own, other] = side === 'to' ? [to, from] : [from, to];
    if (own) places.push({ own, other, before, skipped });
    skipped = own ? 0 : skipped + (other ? other.out - other.in + 1 : 0);
    if (own && other) before = other.out;
  }
  places.sort((a, b) => a.own.in - b.own.in);
  const byNumber = pairByNumber(frames);
  return (frame) => {
    let [low, high] = [0, places.length - 1];
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { own, other, before: last, skipped: gap } = places[middle]!;
      if (frame < own.in) high = middle - 1;
      else if (frame > own.out) low = middle + 1;
      else if (!other) return { frame: clampFrame(last, frames), paired: false, skipped: 0 };
      else {
        const [mine, theirs] = [own.out - own.in, other.out - other.in];
        // Of another length where the speed changed: as far into the one as into the other.
        const into = mine === theirs || mine === 0 ? frame - own.in : Math.round(((frame - own.in) * theirs) / mine);
        const paired = clampFrame(other.in + into, frames);
        return { frame: paired, paired: true, skipped: frame === own.in ? gap : 0 };
      }
    }
    return byNumber(frame);
  };
}
