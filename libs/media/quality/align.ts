/** Which frame of one cut is which frame of another. Pure. */
import type { FrameSpan } from './measure.js';
import type { Signatures } from './signatures.js';

export type MapBlockKind =
  /** The same pictures in the same order. */
  | 'SAME'
  /** The same pictures, at another place among the others. */
  | 'MOVED'
  /** The same pictures faster or slower: frames are left out or repeated. */
  | 'RETIMED'
  /** Other pictures in as many frames. */
  | 'REPLACED'
  /** Only in the second. */
  | 'INSERTED'
  /** Only in the first. */
  | 'REMOVED';

export interface MapBlock {
  readonly kind: MapBlockKind;
  /** Frames of the first; null for INSERTED. */
  readonly a: FrameSpan | null;
  /** Frames of the second; null for REMOVED. */
  readonly b: FrameSpan | null;
}

export interface CutMap {
  /** In the order of the second; what was removed stands where it was. */
  readonly blocks: readonly MapBlock[];
  /** For each frame of the second, its frame in the first, or −1. */
  readonly frames: Int32Array;
}

// Costs of a path through the frames of the second. One is the distance of two pictures that have nothing in common.
/** A frame that is in neither place. */
const ALONE = 0.25;
/** Beginning and ending of such frames. */
const LEAVE = 0.2;
/** Frames left out, or one repeated. */
const STEP = 0.3;
/** Going on at an earlier frame. */
const JUMP = 1;
/** A change of speed leaves out fewer than this from one frame to the next. */
const MAX_SKIP = 3;
/** The same step as one of the last two: a steady other speed is no series of cuts. */
const STEADY = 0.02;
/** Of two encodings of one picture, at most. */
const ALIKE = 0.12;
/** What noise alone makes of the difference of two distances. */
const NOISE = 0.003;
/** Paths that are kept. */
const BEAM = 16;
/** Frames that a hash brings up for one frame. */
const SEEDS = 12;
const MAX_WALK = 256;
/** Frames in a row that must be new to be told from repeats. */
const MIN_NEW = 3;
/** Blocks shorter than this, one after another with steps between them, are a change of speed. */
const RETIME_RUN = 12;
const RETIME_BLOCKS = 4;

/**
 * The cheapest assignment found of the second's frames to the first's: each frame goes on from the one before, or pays for leaving
 * out, repeating, jumping, or being new. Exact where neighbouring frames differ by more than two encodings of one frame do; frames
 * that are all alike (a still, black) are taken in order. Time and memory grow with the frames of the second, not with the product.
 */
export function alignFrames(a: Signatures, b: Signatures): CutMap {
  if (a.columns !== b.columns || a.rows !== b.rows) throw new TypeError('signatures of different sizes');
  const distance = distanceOf(a, b);
  const frames = withoutFalseRepeats(slideBoundaries(cheapestPath(a, b, distance), a.count, distance), distance);
  return { frames, blocks: toBlocks(frames, a.count) };
}

type Distance = (frameA: number, frameB: number) => number;

/** Mean and 1 / deviation of each frame: what is compared is the picture without its exposure. */
function statistics({ count, columns, rows, data }: Signatures): { mean: Float32Array; scale: Float32Array } {
  const cells = columns * rows;
  const [mean, scale] = [new Float32Array(count), new Float32Array(count)];
  for (let frame = 0; frame < count; frame += 1) {
    let [sum, squares] = [0, 0];
    for (let at = frame * cells; at < (frame + 1) * cells; at += 1) {
      const value = data[at]!;
      sum += value;
      squares += value * value;
    }
    mean[frame] = sum / cells;
    // A flat picture's noise is not a picture.
    scale[frame] = 1 / Math.max(10, Math.sqrt(Math.max(0, squares / cells - (sum / cells) ** 2)));
  }
  return { mean, scale };
}

function distanceOf(a: Signatures, b: Signatures): Distance {
  const cells = a.columns * a.rows;
  const [sa, sb] = [statistics(a), statistics(b)];
  const [dataA, dataB] = [a.data, b.data];
  return (frameA, frameB) => {
    const ka = sa.scale[frameA]!;
    const kb = sb.scale[frameB]!;
    const shift = sa.mean[frameA]! * ka - sb.mean[frameB]! * kb;
    const offsetA = frameA * cells;
    const offsetB = frameB * cells;
    let sum = 0;
    for (let cell = 0; cell < cells; cell += 1) {
      const difference = dataA[offsetA + cell]! * ka - dataB[offsetB + cell]! * kb - shift;
      sum += difference < 0 ? -difference : difference;
    }
    const apart = sum / cells + Math.abs(sa.mean[frameA]! - sb.mean[frameB]!) / 255;
    return apart < 1 ? apart : 1;
  };
}

const HASH_COLUMNS = 8;
const HASH_ROWS = 6;

/** 48 bits as three numbers of 16: whether each patch is brighter than its right neighbour. */
function hashes({ count, columns, rows, data }: Signatures): Uint16Array {
  const [width, height] = [Math.floor(columns / HASH_COLUMNS), Math.floor(rows / HASH_ROWS)];
  const patchOf = Uint8Array.from({ length: columns * height * HASH_ROWS }, (_, cell) => {
    const [x, y] = [cell % columns, Math.floor(cell / columns)];
    return Math.floor(y / height) * HASH_COLUMNS + Math.min(HASH_COLUMNS - 1, Math.floor(x / width));
  });
  const result = new Uint16Array(count * 3);
  const patches = new Float64Array(HASH_COLUMNS * HASH_ROWS);
  for (let frame = 0; frame < count; frame += 1) {
    const start = frame * columns * rows;
    patches.fill(0);
    for (let cell = 0; cell < patchOf.length; cell += 1) patches[patchOf[cell]!]! += data[start + cell]!;
    for (let patch = 0; patch < patches.length; patch += 1) {
      const right = patch % HASH_COLUMNS === HASH_COLUMNS - 1 ? patch - HASH_COLUMNS + 1 : patch + 1;
      if (patches[patch]! > patches[right]!) result[frame * 3 + (patch >> 4)]! |= 1 << (patch & 15);
    }
  }
  return result;
}

function bits(value: number): number {
  let count = 0;
  for (let rest = value; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

/** Frames of the first whose hash shares one of its three numbers, the most alike first. */
class Seeds {
  private readonly hashes: Uint16Array;
  private readonly heads = new Int32Array(3 * 65_536).fill(-1);
  private readonly next: Int32Array;
  private readonly seen: Int32Array;

  constructor(a: Signatures) {
    this.hashes = hashes(a);
    this.next = new Int32Array(a.count * 3);
    this.seen = new Int32Array(a.count).fill(-1);
    // Backwards, so that each list is in order.
    for (let frame = a.count - 1; frame >= 0; frame -= 1) {
      for (let part = 0; part < 3; part += 1) {
        const bucket = part * 65_536 + this.hashes[frame * 3 + part]!;
        this.next[frame * 3 + part] = this.heads[bucket]!;
        this.heads[bucket] = frame;
      }
    }
  }

  of(hash: Uint16Array, frameB: number): number[] {
    const found: { frame: number; apart: number }[] = [];
    for (let part = 0; part < 3; part += 1) {
      let frame = this.heads[part * 65_536 + hash[part]!]!;
      for (let walked = 0; frame >= 0 && walked < MAX_WALK; walked += 1) {
        if (this.seen[frame] !== frameB) {
          this.seen[frame] = frameB;
          let apart = 0;
          for (let other = 0; other < 3; other += 1) apart += bits(this.hashes[frame * 3 + other]! ^ hash[other]!);
          if (apart <= 8) found.push({ frame, apart });
        }
        frame = this.next[frame * 3 + part]!;
      }
    }
    found.sort((one, other) => one.apart - other.apart || one.frame - other.frame);
    return found.slice(0, SEEDS).map(({ frame }) => frame);
  }
}

interface State {
  /** Frame of the first; −1: alone. */
  readonly a: number;
  readonly cost: number;
  /** Index in the states of the frame before. */
  readonly from: number;
  /** Frames of the first that the last step went on by, and the one before. */
  readonly step: number;
  readonly earlier: number;
  /** The last frame of the first before being alone, and for how long. */
  readonly last: number;
  readonly alone: number;
}

function cheapestPath(a: Signatures, b: Signatures, distance: Distance): Int32Array {
  const seeds = new Seeds(a);
  const hashesB = hashes(b);
  // Of each frame of the second the states that were kept: their frame of the first, and where they come from.
  const keptA = new Int32Array(b.count * BEAM).fill(-2);
  const keptFrom = new Uint8Array(b.count * BEAM);
  let states: State[] = [{ a: -1, cost: 0, from: 0, step: 1, earlier: 1, last: -1, alone: 0 }];
  for (let frame = 0; frame < b.count; frame += 1) {
    const candidates = new Set(seeds.of(hashesB.subarray(frame * 3, frame * 3 + 3), frame));
    states.forEach(({ a: at, last, alone }, rank) => {
      const going = at >= 0 ? at : last;
      candidates.add(going + 1);
      if (at < 0) candidates.add(last + alone + 1);
      if (rank < 6 && at >= 0)
        for (let skip = 0; skip <= MAX_SKIP; skip += 1) if (skip !== 1) candidates.add(at + skip);
    });
    const byFrame = new Map<number, number>();
    states.forEach((state, index) => {
      if (state.a >= 0 && !byFrame.has(state.a)) byFrame.set(state.a, index);
    });
    const best = states.reduce((lowest, state, index) => (state.cost < states[lowest]!.cost ? index : lowest), 0);
    const next: State[] = [];
    for (const candidate of candidates) {
      if (candidate < 0 || candidate >= a.count) continue;
      let from = best;
      const forward = states[best]!.a >= 0 && candidate > states[best]!.a;
      let cost = states[best]!.cost + (frame === 0 ? LEAVE : forward ? STEP : JUMP);
      const consider = (index: number | undefined, price: number) => {
        if (index === undefined || states[index]!.cost + price >= cost) return;
        [from, cost] = [index, states[index]!.cost + price];
      };
      consider(byFrame.get(candidate - 1), 0);
      for (let skip = 0; skip <= MAX_SKIP; skip += 1) {
        const before = byFrame.get(candidate - skip);
        if (skip !== 1 && before !== undefined) {
          const { step, earlier } = states[before]!;
          consider(before, step === skip || earlier === skip ? STEADY : STEP);
        }
      }
      states.forEach((state, index) => {
        if (state.a >= 0) return;
        const goesOn = candidate === state.last + 1 || candidate === state.last + state.alone + 1;
        // Nothing has been left before the first frame.
        consider(index, goesOn ? (frame === 0 ? 0 : LEAVE) : JUMP / 2);
      });
      const before = states[from]!;
      const step = before.a < 0 ? 1 : candidate - before.a;
      cost += distance(candidate, frame);
      next.push({ a: candidate, cost, from, step, earlier: before.step, last: candidate, alone: 0 });
    }
    const leaving = states.reduce(
      (lowest, state, index) => {
        const cost = state.cost + (state.a < 0 && frame > 0 ? 0 : LEAVE);
        return cost < lowest.cost ? { cost, index } : lowest;
      },
      { cost: Number.POSITIVE_INFINITY, index: 0 },
    );
    const left = states[leaving.index]!;
    next.sort((one, other) => one.cost - other.cost || one.a - other.a);
    next.length = Math.min(next.length, BEAM - 1);
    next.push({
      a: -1,
      cost: leaving.cost + ALONE,
      from: leaving.index,
      step: 1,
      earlier: 1,
      last: left.last,
      alone: left.alone + 1,
    });
    const floor = Math.min(...next.map(({ cost }) => cost));
    // Costs are kept small, so that adding does not lose what tells them apart.
    states = next.map((state) => ({ ...state, cost: state.cost - floor }));
    states.forEach((state, index) => {
      keptA[frame * BEAM + index] = state.a;
      keptFrom[frame * BEAM + index] = state.from;
    });
  }
  const path = new Int32Array(b.count);
  let index = states.reduce((lowest, state, at) => (state.cost < states[lowest]!.cost ? at : lowest), 0);
  for (let frame = b.count - 1; frame >= 0; frame -= 1) {
    path[frame] = keptA[frame * BEAM + index]!;
    index = keptFrom[frame * BEAM + index]!;
  }
  return path;
}

/**
 * A path may have found late that it had left the right frames, when the first of them looked like others. Each run takes frames of
 * its neighbours that it explains as well.
 */
function slideBoundaries(path: Int32Array, countA: number, distance: Distance): Int32Array {
  const frames = Int32Array.from(path);
  const cost = (frameA: number, frame: number) => (frameA < 0 ? ALIKE : distance(frameA, frame));
  const goesOn = (frame: number) => frames[frame]! >= 0 && frames[frame] === frames[frame - 1]! + 1;
  for (let frame = 1; frame < frames.length - 2; frame += 1) {
    // Three in a row are a run; what is shorter belongs to a change of speed.
    if (frames[frame]! < 0 || goesOn(frame) || !goesOn(frame + 1) || !goesOn(frame + 2)) continue;
    const step = frames[frame]! - frames[frame - 1]!;
    const cut = frames[frame - 1]! < 0 || step < 0 || step > MAX_SKIP;
    for (let at = frame - 1; at >= 0 && frames[at + 1]! > 0; at -= 1) {
      const mine = frames[at + 1]! - 1;
      if (frames[at] === mine) break;
      const [ours, theirs] = [cost(mine, at), cost(frames[at]!, at)];
      // Where both explain it equally, the one that was there goes on, unless it is about to end here.
      const equally = cut && (frames[at]! < 0 || !goesOn(at)) ? theirs + (frames[at]! < 0 ? 0 : NOISE) : theirs - NOISE;
      if (ours > equally || ours > ALIKE) break;
      frames[at] = mine;
    }
  }
  for (let frame = 1; frame < frames.length; frame += 1) {
    const mine = frames[frame - 1]! + 1;
    if (frames[frame]! < 0 && mine > 0 && mine < countA && distance(mine, frame) <= ALIKE) frames[frame] = mine;
  }
  return frames;
}

/**
 * Frames that are new, where what comes before and after goes on in the first, look a little like the last and the next one it has: a
 * path may take them for repeats of these. A repeat is as like its frame as the others are; where one is not, none but the most alike
 * stays, if that leaves enough that are alone.
 */
function withoutFalseRepeats(path: Int32Array, distance: Distance): Int32Array {
  const apart = Float64Array.from(path, (a, b) => (a < 0 ? Number.NaN : distance(a, b)));
  const known = apart.filter((one) => !Number.isNaN(one)).sort();
  const limit = NOISE + 3 * (known[known.length >> 1] ?? 0);
  const frames = Int32Array.from(path);
  for (let first = 0; first < path.length;) {
    let end = first + 1;
    while (end < path.length && path[first]! >= 0 && path[end] === path[first]) end += 1;
    const group = apart.subarray(first, end);
    const least = group.reduce((low, one, at) => (one < group[low]! ? at : low), 0);
    if (end - first > 1 && group.some((one) => one > group[least]! + limit))
      for (let at = first; at < end; at += 1) if (at !== first + least) frames[at] = -1;
    first = end;
  }
  for (let first = 0; first < frames.length;) {
    let end = first + 1;
    while (end < frames.length && frames[first]! < 0 && frames[end]! < 0) end += 1;
    // A few at a time are pictures mixed of two, as a change of speed makes them.
    if (end - first < MIN_NEW) for (let at = first; at < end; at += 1) frames[at] = path[at]!;
    first = end;
  }
  return frames;
}

interface Run {
  a: number;
  b: number;
  count: number;
}

function toBlocks(frames: Int32Array, countA: number): MapBlock[] {
  const runs: Run[] = [];
  frames.forEach((a, b) => {
    const last = runs.at(-1);
    const goesOn = last && last.b + last.count === b && (a < 0 ? last.a < 0 : last.a >= 0 && last.a + last.count === a);
    if (goesOn) last.count += 1;
    else runs.push({ a, b, count: 1 });
  });
  const blocks = joinRetimed(runs);
  const main = mainOrder(blocks);
  const placed = blocks.map((block): MapBlock => {
    if (block.a && !main.has(block)) return { ...block, kind: 'MOVED' };
    return block;
  });
  return withRemoved(placed, countA);
}

/** Many short runs with small steps between them are one block of another speed. */
function joinRetimed(runs: readonly Run[]): MapBlock[] {
  const blocks: MapBlock[] = [];
  for (let index = 0; index < runs.length;) {
    const first = runs[index]!;
    let end = index + 1;
    const follows = (run: Run, before: Run) => {
      const step = run.a - (before.a + before.count - 1);
      return before.a >= 0 && run.a >= 0 && step >= 0 && step <= MAX_SKIP;
    };
    while (
      end < runs.length &&
      follows(runs[end]!, runs[end - 1]!) &&
      (runs[end]!.count < RETIME_RUN * 3 || end === runs.length - 1) &&
      (end > index + 1 || runs[index]!.count < RETIME_RUN * 3)
    )
      end += 1;
    const last = runs[end - 1]!;
    const count = last.b + last.count - first.b;
    const speedChanges = end - index >= RETIME_BLOCKS && count / (end - index) < RETIME_RUN * 2;
    if (speedChanges) {
      const a = { first: first.a, count: last.a + last.count - first.a };
      blocks.push({ kind: 'RETIMED', a, b: { first: first.b, count } });
      index = end;
    } else {
      const { a, b } = first;
      blocks.push({
        kind: a < 0 ? 'INSERTED' : 'SAME',
        a: a < 0 ? null : { first: a, count: first.count },
        b: { first: b, count: first.count },
      });
      index += 1;
    }
  }
  return blocks;
}

/** The blocks that keep the order of the first, with as many frames as possible; the others have moved. */
function mainOrder(blocks: readonly MapBlock[]): Set<MapBlock> {
  const mapped = blocks.filter(({ a }) => a !== null);
  // Best[end of a] = heaviest chain so far, kept increasing in both: a chain that ends later must be heavier.
  const chain: { end: number; weight: number; block: MapBlock; before: number }[] = [];
  const front: number[] = [];
  for (const block of mapped) {
    const { first, count } = block.a!;
    let [low, high] = [0, front.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      // One frame may be shown twice where the speed changes.
      if (chain[front[middle]!]!.end <= first + 1) low = middle + 1;
      else high = middle;
    }
    const before = low > 0 ? front[low - 1]! : -1;
    const weight = (before < 0 ? 0 : chain[before]!.weight) + count;
    const end = first + count;
    chain.push({ end, weight, block, before });
    let at = front.findIndex((index) => chain[index]!.end >= end);
    if (at < 0) at = front.length;
    if (at > 0 && chain[front[at - 1]!]!.weight >= weight) continue;
    let worse = at;
    while (worse < front.length && chain[front[worse]!]!.weight <= weight) worse += 1;
    front.splice(at, worse - at, chain.length - 1);
  }
  const main = new Set<MapBlock>();
  for (let index = front.at(-1) ?? -1; index >= 0; index = chain[index]!.before) main.add(chain[index]!.block);
  return main;
}

/** What no frame of the second shows, where it was; as many new frames at that place replace it. */
function withRemoved(blocks: readonly MapBlock[], countA: number): MapBlock[] {
  const used = new Uint8Array(countA);
  for (const { a } of blocks) if (a) used.fill(1, a.first, a.first + a.count);
  const removed: FrameSpan[] = [];
  for (let first = 0; first < countA;) {
    if (used[first]) {
      first += 1;
      continue;
    }
    let end = first;
    while (end < countA && !used[end]) end += 1;
    removed.push({ first, count: end - first });
    first = end;
  }
  const result: MapBlock[] = [];
  let next = 0;
  const place = (before: number) => {
    while (next < removed.length && removed[next]!.first < before) result.push(missing(removed[next++]!));
  };
  for (const block of blocks) {
    if (block.a && block.kind !== 'MOVED') place(block.a.first);
    result.push(block);
  }
  place(Number.POSITIVE_INFINITY);
  return result.reduce<MapBlock[]>((joined, block) => {
    const before = joined.at(-1);
    const [inserted, gone] = before?.kind === 'INSERTED' ? [before, block] : [block, before];
    const same = inserted?.kind === 'INSERTED' && gone?.kind === 'REMOVED' && inserted.b!.count === gone.a!.count;
    if (same) joined[joined.length - 1] = { kind: 'REPLACED', a: gone.a, b: inserted.b };
    else joined.push(block);
    return joined;
  }, []);
}

function missing(a: FrameSpan): MapBlock {
  return { kind: 'REMOVED', a, b: null };
}
