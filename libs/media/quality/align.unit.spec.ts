import { alignFrames, type CutMap } from './align.js';
import { SIGNATURE_COLUMNS, SIGNATURE_ROWS, type Signatures } from './signatures.js';

// Globals are slow to look up where specs run.
const { exp, floor, imul, min } = Math;
const CELLS = SIGNATURE_COLUMNS * SIGNATURE_ROWS;

/** Numbers from 0 to 1 that depend on the seed alone. */
function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = imul(state ^ (state >>> 15), state | 1);
    t ^= t + imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Scenes of soft blobs that drift: like film, neighbours are nearly the same. */
function film(count: number, seed: number): Uint8Array[] {
  const random = randoms(seed);
  const frames: Uint8Array[] = [];
  while (frames.length < count) {
    const length = 20 + Math.floor(random() * 60);
    const blobs = Array.from({ length: 6 }, () => ({
      x: random() * 32,
      y: random() * 18,
      dx: (random() < 0.5 ? -1 : 1) * (0.2 + random() * 0.4),
      dy: (random() - 0.5) * 0.5,
      size: 2 + random() * 5,
      light: 60 + random() * 180,
    }));
    for (let frame = 0; frame < length && frames.length < count; frame += 1) {
      const picture = new Uint8Array(CELLS);
      for (let cell = 0; cell < CELLS; cell += 1) {
        const [x, y] = [cell % 32, floor(cell / 32)];
        const value = blobs.reduce((sum, blob) => {
          const [u, v] = [x - blob.x - blob.dx * frame, y - blob.y - blob.dy * frame];
          return sum + blob.light * exp(-(u * u + v * v) / (2 * blob.size ** 2));
        }, 20);
        picture[cell] = min(250, value);
      }
      frames.push(picture);
    }
  }
  return frames;
}

function signatures(frames: readonly Uint8Array[], noise = 0, seed = 1): Signatures {
  const random = randoms(seed);
  const data = new Uint8Array(frames.length * CELLS);
  frames.forEach((frame, index) => data.set(frame, index * CELLS));
  if (noise > 0) for (let at = 0; at < data.length; at += 1) data[at] = data[at]! + 0.5 + (random() - 0.5) * 2 * noise;
  return { count: frames.length, columns: SIGNATURE_COLUMNS, rows: SIGNATURE_ROWS, data };
}

const a = film(600, 7);
const other = film(200, 99);

/** Frames of the first by number; of the other film below zero: −1 is its frame 0. */
function cut(...parts: number[][]): number[] {
  return parts.flat();
}
const span = (first: number, count: number, step = 1) => Array.from({ length: count }, (_, k) => first + k * step);
const alien = (first: number, count: number) => span(first, count).map((k) => -1 - k);

function align(truth: number[], noise = 1): CutMap {
  const b = truth.map((frame) => (frame < 0 ? other[-1 - frame]! : a[frame]!));
  return alignFrames(signatures(a), signatures(b, noise, truth.length));
}

const told = (map: CutMap) =>
  map.blocks.map(({ kind, a: from, b }) => [kind, from && [from.first, from.count], b && [b.first, b.count]]);

test('the same, encoded anew', () => {
  expect(told(align(span(0, 600)))).toEqual([['SAME', [0, 600], [0, 600]]]);
});

test('inserted, removed, replaced: to the frame', () => {
  expect(told(align(cut(span(0, 100), alien(0, 37), span(100, 500))))).toEqual([
    ['SAME', [0, 100], [0, 100]],
    ['INSERTED', null, [100, 37]],
    ['SAME', [100, 500], [137, 500]],
  ]);
  expect(told(align(cut(span(0, 250), span(251, 349))))).toEqual([
    ['SAME', [0, 250], [0, 250]],
    ['REMOVED', [250, 1], null],
    ['SAME', [251, 349], [250, 349]],
  ]);
  expect(told(align(cut(span(0, 300), alien(50, 48), span(348, 252))))).toEqual([
    ['SAME', [0, 300], [0, 300]],
    ['REPLACED', [300, 48], [300, 48]],
    ['SAME', [348, 252], [348, 252]],
  ]);
  expect(told(align(cut(alien(0, 24), span(0, 580))))).toEqual([
    ['INSERTED', null, [0, 24]],
    ['SAME', [0, 580], [24, 580]],
    ['REMOVED', [580, 20], null],
  ]);
});

test('a block that has moved', () => {
  expect(told(align(cut(span(0, 100), span(200, 400), span(100, 100))))).toEqual([
    ['SAME', [0, 100], [0, 100]],
    ['SAME', [200, 400], [100, 400]],
    ['MOVED', [100, 100], [500, 100]],
  ]);
});

test('twice and half the speed', () => {
  const fast = align(cut(span(0, 200), span(200, 50, 2), span(300, 300)));
  expect(fast.blocks.map(({ kind }) => kind)).toContain('RETIMED');
  expect([...fast.frames].slice(200, 250)).toEqual(span(200, 50, 2));
  const slow = align(
    cut(
      span(0, 200),
      span(200, 50).flatMap((k) => [k, k]),
      span(250, 350),
    ),
  );
  expect(slow.blocks.map(({ kind }) => kind)).toContain('RETIMED');
  expect([...slow.frames].slice(200, 300)).toEqual(span(200, 50).flatMap((k) => [k, k]));
});

test.each([
  [40, 10],
  [103, 6],
  [222, 14],
  [371, 25],
  [480, 40],
])('a shot that goes on for longer, from frame %i for %i frames', (first, count) => {
  const shorter = a.filter((_, frame) => frame < first || frame >= first + count);
  expect(told(alignFrames(signatures(shorter), signatures(a, 1)))).toEqual([
    ['SAME', [0, first], [0, first]],
    ['INSERTED', null, [first, count]],
    ['SAME', [first, 600 - first - count], [first + count, 600 - first - count]],
  ]);
});

test('pictures that are all alike are taken in order', () => {
  const still = Array.from({ length: 100 }, () => a[0]!);
  const map = alignFrames(signatures(still), signatures(still, 2));
  expect(told(map)).toEqual([['SAME', [0, 100], [0, 100]]]);
});

test('nothing in common', () => {
  const map = align(alien(0, 60));
  expect([...map.frames].every((frame) => frame === -1)).toBe(true);
  expect(alignFrames(signatures([]), signatures([])).blocks).toEqual([]);
});

test.each(Array.from({ length: 8 }, (_, seed) => seed))('a random edit (%i) is read back frame by frame', (seed) => {
  const random = randoms(seed + 1000);
  const truth: number[] = [];
  let at = 0;
  while (at < 600) {
    const length = Math.min(600 - at, 20 + Math.floor(random() * 120));
    const choice = random();
    if (choice < 0.2 && at > 0) truth.push(...alien(Math.floor(random() * 100), 8 + Math.floor(random() * 40)));
    if (choice >= 0.2 && choice < 0.4 && at > 0) at += 5 + Math.floor(random() * 40);
    truth.push(...span(at, Math.min(length, 600 - at)));
    at += length;
  }
  const { frames } = align(truth);
  const wrong = truth.filter((frame, index) => (frames[index]! < 0 ? -1 : frames[index]) !== (frame < 0 ? -1 : frame));
  expect(wrong).toEqual([]);
});
