/** How two cuts of a picture differ: which frames are which, how alike they are, and where the difference is seen. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { mustCount } from '../extract/plan.js';
import { lineSink, runFfmpeg, type RunLimits } from '../ffmpeg/index.js';
import { fitInside, type Size } from '../ladder.js';
import type { MediaInfo } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { formatOf } from '../sniff.js';
import { alignFrames, type CutMap, type MapBlock } from './align.js';
import type { FrameSpan } from './measure.js';
import { frameSignatures, type Signatures } from './signatures.js';

export interface Medium {
  readonly path: string;
  readonly info: MediaInfo;
}

/** One pair of frames that are the same picture. */
export interface FramePair {
  readonly a: number;
  readonly b: number;
  /** Structural similarity of brightness and colour, 0 to 1. */
  readonly ssim: number;
  /** dB; null for identical frames. */
  readonly psnr: number | null;
}

/** What a range's frames are to each other: CHANGED ones are the same picture with something in it that differs. */
export type DifferenceKind = 'CHANGED' | Exclude<MapBlock['kind'], 'SAME'>;

export interface Difference {
  readonly kind: DifferenceKind;
  readonly a: FrameSpan | null;
  readonly b: FrameSpan | null;
  /** Of the pairs in it; null where nothing is paired. */
  readonly ssim: { readonly mean: number; readonly min: number } | null;
  /** Name of a still (PNG) that shows where the worst pair differs; null where there is no pair, and beyond the first stills. */
  readonly still: string | null;
  /** The pair it shows. */
  readonly stillOf: { readonly a: number; readonly b: number } | null;
}

export interface Comparison {
  readonly frames: { readonly a: number; readonly b: number };
  readonly blocks: readonly MapBlock[];
  /** In the order of the second. */
  readonly differences: readonly Difference[];
  /** The pairs measured, in order. */
  readonly pairs: readonly FramePair[];
  /** Of all pairs; null when nothing of the two is the same. PSNR in dB, null when all are identical. */
  readonly overall: { readonly ssim: number; readonly psnr: number | null } | null;
}

export interface CompareOptions extends Pick<RunLimits, 'signal' | 'threads' | 'nice'> {
  /** Pairs below it differ, whatever the others are like. Default 0.85. */
  readonly ssimBelow?: number;
  /** Heat maps at most. Default 12. */
  readonly maxStills?: number;
  /** 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** A patch of a 32nd of the width that is brighter or darker by this much, of 255, is seen. */
const SEEN = 20;
/** Below the usual of the two by this much, a pair stands out. */
const STANDS_OUT = 0.03;
/** Ranges this many frames apart are one. */
const JOIN = 1;
/** Blocks measured, and jumps inside them: each costs ffmpeg a comparison for every frame. What is beyond is not measured. */
const MAX_BLOCKS = 200;
const MAX_JUMPS = 1000;
const MAX_DIFFERENCES = 500;

/**
 * Compares two media by their pictures. `directory` gets the stills. Each is decoded twice: once for the map, once for the measures.
 * NOT_COMPARABLE when one has no moving picture; else the runner's codes.
 */
export async function compareMedia(
  a: Medium,
  b: Medium,
  directory: string,
  options: CompareOptions = {},
): Promise<Result<Comparison>> {
  const { signal, threads, nice, onProgress } = options;
  const limits = { signal, threads, nice };
  const part = (from: number, to: number) => (fraction: number) => onProgress?.(from + (to - from) * fraction);
  const first = await frameSignatures(a.path, a.info, { ...limits, onProgress: part(0, 0.25) });
  if (!first.ok) return first;
  onProgress?.(0.25);
  const second = await frameSignatures(b.path, b.info, { ...limits, onProgress: part(0.25, 0.5) });
  if (!second.ok) return second;
  onProgress?.(0.5);
  const map = alignFrames(first.value, second.value);
  const measured = await measurePairs(a, b, map, limits, part(0.5, 0.9));
  if (!measured.ok) return measured;
  onProgress?.(0.9);
  const pairs = measured.value;
  const found = findDifferences(map, pairs, first.value, second.value, options.ssimBelow ?? 0.85);
  await mkdir(directory, { recursive: true });
  const differences: Difference[] = [];
  let stills = 0;
  for (const { worst, ...difference } of found) {
    if (!worst || stills >= (options.maxStills ?? 12)) {
      differences.push({ ...difference, still: null, stillOf: null });
      continue;
    }
    stills += 1;
    const name = `difference-${String(stills).padStart(2, '0')}.png`;
    const made = await heatMap(a, b, worst, join(directory, name), limits);
    if (!made.ok) return made;
    differences.push({ ...difference, still: name, stillOf: { a: worst.a, b: worst.b } });
  }
  onProgress?.(1);
  return ok({
    frames: { a: first.value.count, b: second.value.count },
    blocks: map.blocks,
    differences,
    pairs,
    overall: overallOf(pairs),
  });
}

function overallOf(pairs: readonly FramePair[]): Comparison['overall'] {
  if (pairs.length === 0) return null;
  // Of PSNR the mean of the errors counts, not of their logarithms.
  const error = mean(pairs.map(({ psnr }) => (psnr === null ? 0 : 10 ** (-psnr / 10))));
  return { ssim: mean(pairs.map(({ ssim }) => ssim)), psnr: error === 0 ? null : -10 * Math.log10(error) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Pairs of frames that both rise, so that one pass over each medium meets them: what has moved is not among them. */
export function risingPairs(map: CutMap): { a: number; b: number }[] {
  const blocks = map.blocks
    .filter(({ kind }) => kind === 'SAME' || kind === 'RETIMED')
    .sort((one, other) => other.b!.count - one.b!.count)
    .slice(0, MAX_BLOCKS)
    .sort((one, other) => one.b!.first - other.b!.first);
  const pairs: { a: number; b: number }[] = [];
  let last = -1;
  let jumps = 0;
  let steady = '';
  for (const { b } of blocks) {
    for (let frame = b!.first; frame < b!.first + b!.count; frame += 1) {
      const a = map.frames[frame]!;
      if (a <= last) continue;
      const before = pairs.at(-1);
      const step = before ? `${a - before.a} ${frame - before.b}` : '';
      if (step !== steady) jumps += 1;
      steady = step;
      if (jumps > MAX_JUMPS) return pairs;
      pairs.push({ a, b: frame });
      last = a;
    }
  }
  return pairs;
}

/** `select` of exactly these frames, as few terms as possible. */
export function selectOf(frames: readonly number[]): string {
  const spans: string[] = [];
  for (let index = 0; index < frames.length;) {
    let end = index + 1;
    const step = end < frames.length ? frames[end]! - frames[index]! : 1;
    while (end < frames.length && frames[end]! - frames[end - 1]! === step) end += 1;
    const [from, to] = [frames[index]!, frames[end - 1]!];
    spans.push(
      step === 1 || end === index + 1
        ? `between(n,${from},${to})`
        : `between(n,${from},${to})*not(mod(n-${from},${step}))`,
    );
    index = end;
  }
  // ffmpeg takes a sum of a hundred terms and no more; of sums of sums it takes any number.
  let terms = spans;
  while (terms.length > 8)
    terms = Array.from({ length: Math.ceil(terms.length / 8) }, (_, group) => {
      return `(${terms.slice(group * 8, group * 8 + 8).join('+')})`;
    });
  return terms.join('+') || '0';
}

/** The frames that `select` lets through, numbered from 0 and brought to one size, to be measured against as many others. */
export const framesToMeasure = (select: string, { width, height }: Size, format: string): string =>
  `select='${select}',settb=1/1000,setpts=N,scale=${width}:${height}:flags=bicubic,setsar=1,format=${format}`;

/** SSIM and PSNR of every pair, by one pass over both media. The second is scaled to the first's size. */
async function measurePairs(
  a: Medium,
  b: Medium,
  map: CutMap,
  limits: Pick<RunLimits, 'signal' | 'threads' | 'nice'>,
  onProgress: (fraction: number) => void,
): Promise<Result<FramePair[]>> {
  const rising = risingPairs(map);
  if (rising.length === 0) return ok([]);
  const [va, vb] = [a.info.video!, b.info.video!];
  const deep = (va.bitDepth ?? 8) > 8 && (vb.bitDepth ?? 8) > 8;
  const size = { width: va.displayWidth - (va.displayWidth % 2), height: va.displayHeight - (va.displayHeight % 2) };
  const chain = (frames: number[]) => framesToMeasure(selectOf(frames), size, deep ? 'yuv420p10le' : 'yuv420p');
  const graph = [
    `[0:${va.index}]${chain(rising.map((pair) => pair.a))}[a]`,
    `[1:${vb.index}]${chain(rising.map((pair) => pair.b))},split=2[b1][b2]`,
    '[a][b1]ssim[c]',
    "[c][b2]psnr,metadata=mode=print:file='pipe\\:1'[out]",
  ];
  const pairs: FramePair[] = [];
  let ssim: number | null = null;
  const take = (line: string) => {
    const [key, value] = line.split('=') as [string, string?];
    if (key === 'lavfi.ssim.All') ssim = Number(value);
    if (key !== 'lavfi.psnr.psnr_avg' || ssim === null || pairs.length === rising.length) return;
    const psnr = value === 'inf' ? null : Number(value);
    pairs.push({ ...rising[pairs.length]!, ssim, psnr });
    ssim = null;
    onProgress(pairs.length / rising.length);
  };
  const seconds = Math.max(a.info.durationSeconds ?? 0, b.info.durationSeconds ?? 0);
  const run = await runFfmpeg({
    inputs: [mediumInput(a), mediumInput(b)],
    output: [
      ...['-filter_complex', graph.join(';'), '-map', '[out]'],
      ...['-fps_mode', 'passthrough', '-f', 'null', '-'],
    ],
    onStdout: lineSink(take),
    timeoutMs: 300_000 + 120_000 * seconds,
    stallMs: 600_000,
    ...limits,
  });
  if (!run.ok) return run;
  if (pairs.length !== rising.length)
    return fail('FFMPEG_FAILED', `${pairs.length} of ${rising.length} pairs were measured.`, run.value.errors[0]);
  return ok(pairs);
}

/** As the runner takes it. */
export function mediumInput({ path, info }: Medium, options: readonly string[] = []) {
  return { path, demuxer: formatOf(info.container).demuxer, options };
}

type Found = Omit<Difference, 'still' | 'stillOf'> & { worst: { a: number; b: number } | null };

function findDifferences(
  map: CutMap,
  pairs: readonly FramePair[],
  a: Signatures,
  b: Signatures,
  ssimBelow: number,
): Found[] {
  const sorted = pairs.map(({ ssim }) => ssim).sort((one, other) => one - other);
  const usual = sorted[sorted.length >> 1] ?? 1;
  const differs = pairs.filter(
    (pair) => pair.ssim < Math.max(ssimBelow, usual - STANDS_OUT) || largestPatch(a, pair.a, b, pair.b) >= SEEN,
  );
  const changed: Found[] = [];
  for (let index = 0; index < differs.length;) {
    let end = index + 1;
    const near = (pair: FramePair, before: FramePair) =>
      pair.b - before.b <= JOIN + 1 && pair.a - before.a === pair.b - before.b;
    while (end < differs.length && near(differs[end]!, differs[end - 1]!)) end += 1;
    const range = differs.slice(index, end);
    const [from, to] = [range[0]!, range.at(-1)!];
    const worst = range.reduce((least, pair) => (pair.ssim < least.ssim ? pair : least));
    changed.push({
      kind: 'CHANGED',
      a: { first: from.a, count: to.a - from.a + 1 },
      b: { first: from.b, count: to.b - from.b + 1 },
      ssim: { mean: mean(range.map(({ ssim }) => ssim)), min: worst.ssim },
      worst,
    });
    index = end;
  }
  const others = map.blocks
    .filter((block): block is MapBlock & { kind: Exclude<MapBlock['kind'], 'SAME'> } => block.kind !== 'SAME')
    .map((block): Found => {
      const middle = (block.b?.count ?? 0) >> 1;
      const replaced = block.kind === 'REPLACED' ? { a: block.a!.first + middle, b: block.b!.first + middle } : null;
      return { ...block, ssim: null, worst: replaced };
    });
  const place = (found: Found) => found.b?.first ?? nextOfSecond(map, found.a!.first);
  return [...changed, ...others].sort((one, other) => place(one) - place(other)).slice(0, MAX_DIFFERENCES);
}

/** Where in the second what it lacks would be: before the first frame that comes from later in the first. */
function nextOfSecond(map: CutMap, a: number): number {
  const later = map.frames.findIndex((frame) => frame > a);
  return (later < 0 ? map.frames.length : later) - 0.5;
}

function largestPatch(a: Signatures, frameA: number, b: Signatures, frameB: number): number {
  const cells = a.columns * a.rows;
  let largest = 0;
  for (let cell = 0; cell < cells; cell += 1) {
    const difference = a.data[frameA * cells + cell]! - b.data[frameB * cells + cell]!;
    largest = Math.max(largest, difference < 0 ? -difference : difference);
  }
  return largest;
}

/** A still of how much two frames differ, place by place: dark where they are the same. At most 1280 pixels wide. */
async function heatMap(
  a: Medium,
  b: Medium,
  pair: { a: number; b: number },
  file: string,
  limits: Pick<RunLimits, 'signal' | 'threads' | 'nice'>,
): Promise<Result<unknown>> {
  const video = a.info.video!;
  const size = fitInside({ width: video.displayWidth, height: video.displayHeight }, { width: 1280, height: 1280 });
  // Each side is one picture at time 0: where one is sought and the other counted, their times differ.
  const scale = `trim=end_frame=1,setpts=0,scale=${size.width}:${size.height}:flags=bicubic,setsar=1,format=gbrp`;
  const [from, to] = [frameOf(a, pair.a), frameOf(b, pair.b)];
  const graph = [
    `[0:${video.index}]${from.select}${scale}[a]`,
    `[1:${b.info.video!.index}]${to.select}${scale}[b]`,
    // The largest of the three colours would need an expression for each pixel; brightness is what `gray` takes.
    "[a][b]blend=all_mode=difference,format=gray,lutyuv=y='min(255,4*val)',format=gbrp,pseudocolor=preset=inferno[out]",
  ];
  return runFfmpeg({
    inputs: [mediumInput(a, from.seek), mediumInput(b, to.seek)],
    output: [
      ...['-filter_complex', graph.join(';'), '-map', '[out]', '-frames:v', '1', '-map_metadata', '-1'],
      ...['-c:v', 'png', '-f', 'image2', '-update', '1', file],
    ],
    timeoutMs: 300_000 + (from.select || to.select ? 60_000 * (a.info.durationSeconds ?? 0) : 0),
    ...limits,
  });
}

/** To a frame by its time, or by counting where times are not even. */
function frameOf({ info }: Medium, frame: number): { seek: string[]; select: string } {
  const { video, rate } = info;
  const byTime = !video!.variableRate && video!.startSeconds === 0 && rate && !mustCount(info);
  if (frame === 0) return { seek: [], select: '' };
  if (!byTime) return { seek: [], select: `select='eq(n,${frame})',` };
  // Rounded down: later than the frame by a millionth would be the next one.
  return { seek: ['-ss', (Math.floor((frame * rate.den * 1e6) / rate.num) / 1e6).toFixed(6)], select: '' };
}
