/** Single pictures and numbered sequences of them, in the depth of the source; and sequences back into a film. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { runFfmpeg, type FileInput, type SequenceInput } from '../ffmpeg/index.js';
import { packetTimes, probe, type MediaInfo, type VideoTrack } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { formatOf } from '../sniff.js';
import { RATES, nominalRate, rateText, sameRate, type Rate } from '../timecode.js';
import type { TimecodeRange } from '../timerange.js';
import { countedRange, findAnchor, type Anchor } from './anchor.js';
import {
  frameStart,
  mayBeIntra,
  mustCount,
  pictureEncoder,
  resolveRange,
  secondsText,
  type EncodedPicture,
  type ExtractCodec,
  type FrameRange,
} from './plan.js';

export type StillFormat = 'png' | 'tiff' | 'dpx' | 'exr';

export interface StillOptions {
  readonly signal?: AbortSignal;
  readonly threads?: number;
  /** Default: a minute, and a second for each frame; more where frames are counted from the first one (long-GOP MXF). */
  readonly timeoutMs?: number;
  /**
   * EXR only: scene-linear light, as compositing expects it, where the source's transfer is known. Default true; false keeps the code
   * values.
   */
  readonly linear?: boolean;
}

export interface Stills {
  /** In order; one for each frame. */
  readonly paths: readonly string[];
  /** Bits of a channel in the files; EXR has 16-bit floating point. */
  readonly depth: 8 | 10 | 12 | 16;
  /** EXR: whether the values are linear light. */
  readonly linear: boolean;
}

interface StillPlan {
  readonly format: string;
  readonly depth: Stills['depth'];
  readonly encoder: readonly string[];
}

/** What an encoder is chosen by: pictures of a sequence are progressive, and their alpha is left out. */
const PICTURES: EncodedPicture = {
  ...{ fieldOrder: 'progressive', hasAlpha: false, pixelFormat: 'yuv444p10le', bitDepth: 10 },
  ...{ mastering: null, lightLevel: null },
};

/** The smallest depth of the format that holds the source's. */
export function planStill(video: VideoTrack, format: StillFormat): StillPlan {
  const bits = video.bitDepth ?? 8;
  const alpha = video.hasAlpha;
  if (format === 'exr') {
    const compression = ['-c:v', 'exr', '-compression', 'zip1', '-format', 'half'];
    return { format: alpha ? 'gbrapf32le' : 'gbrpf32le', depth: 16, encoder: compression };
  }
  if (format === 'dpx') {
    const encoder = ['-c:v', 'dpx'];
    if (alpha) return { format: bits > 8 ? 'rgba64be' : 'rgba', depth: bits > 8 ? 16 : 8, encoder };
    if (bits <= 8) return { format: 'rgb24', depth: 8, encoder };
    if (bits <= 10) return { format: 'gbrp10be', depth: 10, encoder };
    return bits <= 12 ? { format: 'gbrp12be', depth: 12, encoder } : { format: 'rgb48be', depth: 16, encoder };
  }
  const [shallow, deep] = alpha ? ['rgba', 'rgba64'] : ['rgb24', 'rgb48'];
  const encoder = format === 'png' ? ['-c:v', 'png'] : ['-c:v', 'tiff', '-compression_algo', 'deflate'];
  if (bits <= 8) return { format: shallow, depth: 8, encoder };
  return { format: `${deep}${format === 'png' ? 'be' : 'le'}`, depth: 16, encoder };
}

/** Matrix and range are said outright: without tags ffmpeg takes every picture for BT.601. */
function toRgb(video: VideoTrack, plan: StillPlan, linear: boolean): string[] {
  const { matrix, range, primaries, transfer } = video.colour;
  const yuv = /^(yuv|nv|p0|gray)/.test(video.pixelFormat ?? 'yuv');
  const known = { bt709: 'bt709', bt2020nc: 'bt2020', bt2020c: 'bt2020', smpte170m: 'smpte170m', bt470bg: 'bt470' }[
    matrix ?? ''
  ];
  const assumed = known ?? (video.height >= 720 ? 'bt709' : 'smpte170m');
  const scale = yuv
    ? `scale=in_color_matrix=${assumed}:in_range=${range === 'pc' ? 'pc' : 'tv'}:out_range=pc:flags=bicubic+accurate_rnd+full_chroma_int`
    : 'scale=flags=accurate_rnd';
  if (!linear) return [scale, `format=${plan.format}`];
  const from = `pin=${primaries ?? 'bt709'}:tin=${transfer}:min=gbr:rin=full`;
  const wide = video.hasAlpha ? 'gbrapf32le' : 'gbrpf32le';
  return [
    scale,
    `format=${video.hasAlpha ? 'gbrap16le' : 'gbrp16le'}`,
    `zscale=${from}:p=${primaries ?? 'bt709'}:t=linear:m=gbr:r=full`,
    `format=${wide}`,
  ];
}

/**
 * Pictures of a range as `<target>.<frame>.<format>`, numbered as in the source from `info`'s first frame 0, six digits; of a single
 * frame as `<target>.<format>`. Upright and in the source's pixels. They appear complete or not at all: RANGE_OUTSIDE_MEDIA,
 * EXTRACTION_FAILED, DISK_FULL, MEDIA_CANCELLED, MEDIA_TIMEOUT, MEDIA_STALLED, FFMPEG_MISSING.
 */
export async function extractStills(
  input: string,
  target: string,
  info: MediaInfo,
  range: FrameRange | TimecodeRange,
  format: StillFormat,
  options: StillOptions = {},
): Promise<Result<Stills>> {
  const resolved = resolveRange(info, range);
  if (!resolved.ok) return resolved;
  const { first, count } = resolved.value;
  const video = info.video!;
  const file: FileInput = { path: input, demuxer: formatOf(info.container).demuxer };
  const byCount = mustCount(info);
  const patience = 60_000 + 1000 * count + (byCount ? 50 * first : 0);
  const limits = { signal: options.signal, timeoutMs: options.timeoutMs ?? patience, stallMs: patience };
  let [start, gap] = [frameStart(video, first), video.rate.den / video.rate.num];
  if (video.variableRate) {
    const counted = await packetTimes(input, file, video.index, limits);
    if (!counted.ok) return counted;
    const { times } = counted.value;
    start = times[first]! - times[0]! + video.startSeconds;
    gap = first > 0 ? times[first]! - times[first - 1]! : gap;
  }
  const plan = planStill(video, format);
  const linear = format === 'exr' && options.linear !== false && video.colour.transfer !== null;
  // Pictures that stand by themselves need no run-up; others do where groups are open.
  const lead = Math.min(start, mayBeIntra(video) ? 2 * gap : 40 * gap + 0.5);
  let anchor: Anchor | null = null;
  if (byCount) {
    const found = await findAnchor(file, info, first, limits);
    if (!found.ok) return found;
    anchor = found.value;
  }
  const path = resolve(target);
  const work = join(dirname(path), `.${randomUUID()}.part`);
  await mkdir(work, { recursive: true });
  try {
    const take = (from: Anchor | null) => {
      const counted = countedRange(from, first, null);
      const [seek, trim] = byCount
        ? [counted.input, counted.filters]
        : [['-ss', secondsText(start - lead)], [`trim=start=${secondsText(lead - 0.4 * gap)}`]];
      return runFfmpeg({
        ...limits,
        threads: options.threads,
        globals: ['-xerror'],
        inputs: [{ ...file, options: seek }],
        output: [
          ...['-map', `0:${video.index}`, '-vf', [...trim, ...toRgb(video, plan, linear)].join(',')],
          ...['-fps_mode', 'passthrough', '-frames:v', String(count), ...plan.encoder],
          ...['-start_number', String(first), '-f', 'image2', join(work.replaceAll('%', '%%'), `%06d.${format}`)],
        ],
      });
    };
    let run = await take(anchor);
    let made = (await readdir(work)).sort();
    if (anchor && (!run.ok ? run.error.code === 'FFMPEG_FAILED' : made.length !== count)) {
      run = await take(null);
      made = (await readdir(work)).sort();
    }
    if (!run.ok) {
      if (run.error.code !== 'FFMPEG_FAILED') return run;
      return fail('EXTRACTION_FAILED', 'The pictures could not be taken out.', run.error.reason ?? run.error.message);
    }
    if (made.length !== count) {
      return fail(
        'EXTRACTION_FAILED',
        'The result has not the frames of the range.',
        `${made.length} pictures instead of ${count}`,
      );
    }
    const paths = made.map((name) => (count === 1 ? `${path}.${format}` : `${path}.${name}`));
    for (const [index, name] of made.entries()) await rename(join(work, name), paths[index]!);
    return ok({ paths, depth: plan.depth, linear });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Pictures of one name with consecutive numbers. */
export interface ImageSequence {
  readonly directory: string;
  /** Before and after the number: `shot.` and `.exr`. */
  readonly prefix: string;
  readonly suffix: string;
  /** Digits of the number, zeros before it included; 0 where numbers are written without. */
  readonly digits: number;
  readonly first: number;
  readonly count: number;
  /** Numbers that are not there between the first and the last. */
  readonly missing: readonly number[];
}

const SEQUENCE_SUFFIXES = new Set(['.png', '.tif', '.tiff', '.dpx', '.exr', '.jpg', '.jpeg']);

/** The numbered sequences of a folder, by name; single pictures are none. Rejects with the file system's error. */
export async function findSequences(directory: string): Promise<ImageSequence[]> {
  const groups = new Map<string, { prefix: string; suffix: string; digits: number; numbers: number[] }>();
  for (const name of await readdir(directory)) {
    const match = /^(.*?)(\d{1,9})(\.[A-Za-z]+)$/.exec(name);
    if (!match || !SEQUENCE_SUFFIXES.has(match[3]!.toLowerCase())) continue;
    const [, prefix, number, suffix] = match as unknown as [string, string, string, string];
    const digits = number.startsWith('0') || number.length > 3 ? number.length : 0;
    const key = `${prefix}\0${suffix}\0${digits}`;
    const group = groups.get(key) ?? { prefix, suffix, digits, numbers: [] };
    groups.set(key, group);
    group.numbers.push(Number(number));
  }
  return [...groups.values()]
    .filter(({ numbers }) => numbers.length > 1)
    .map(({ numbers, ...name }) => {
      numbers.sort((a, b) => a - b);
      const [first, last] = [numbers[0]!, numbers.at(-1)!];
      const there = new Set(numbers);
      const missing = Array.from({ length: Math.min(100_000, last - first + 1) }, (_, index) => first + index).filter(
        (number) => !there.has(number),
      );
      return { directory: resolve(directory), ...name, first, count: last - first + 1, missing };
    })
    .sort((a, b) => a.prefix.localeCompare(b.prefix));
}

export interface AssembleOptions {
  readonly rate: Rate;
  /** Label of the first picture; none when left out. */
  readonly startTimecode?: string;
  /** Default ProRes 4444 for pictures of more than 8 bits or with alpha, else ProRes 422 HQ. */
  readonly codec?: Exclude<ExtractCodec, 'source'>;
  readonly signal?: AbortSignal;
  readonly threads?: number;
  /** Default: 5 minutes and 2 seconds for each picture. */
  readonly timeoutMs?: number;
}

/**
 * A sequence as a film, `<target>.mov` (FFV1: `.mkv`), in BT.709. EXR values are taken for linear light. EXTRACTION_FAILED when
 * pictures are missing or the film has not as many; other codes as of {@link extractStills}.
 */
export async function assembleSequence(
  sequence: ImageSequence,
  target: string,
  options: AssembleOptions,
): Promise<Result<string>> {
  if (sequence.missing.length > 0) {
    return fail(
      'EXTRACTION_FAILED',
      `${sequence.missing.length} pictures are missing.`,
      `the first is ${sequence.missing[0]}`,
    );
  }
  const digits = sequence.digits ? `%0${sequence.digits}d` : '%d';
  const plain = (text: string) => text.replaceAll('%', '%%');
  const suffix = sequence.suffix.toLowerCase();
  const deep = suffix === '.exr' || suffix === '.dpx' || suffix.startsWith('.tif') || suffix === '.png';
  const codec = options.codec ?? (deep ? 'prores4444' : 'prores422hq');
  const encoder = pictureEncoder(codec, PICTURES);
  const container = codec === 'ffv1' ? 'mkv' : 'mov';
  const path = `${resolve(target)}.${container}`;
  const work = join(dirname(path), `.${randomUUID()}.part.${container}`);
  const usual = Object.values(RATES).some((rate) => sameRate(rate, options.rate)) && nominalRate(options.rate) <= 100;
  const label = options.startTimecode && (container === 'mkv' || usual) ? options.startTimecode : null;
  const input: SequenceInput = {
    pattern: `${plain(sequence.directory)}/${plain(sequence.prefix)}${digits}${plain(sequence.suffix)}`,
    options: ['-framerate', rateText(options.rate), '-start_number', String(sequence.first)],
  };
  const toYuv =
    suffix === '.exr'
      ? ['format=gbrpf32le', 'zscale=pin=bt709:tin=linear:min=gbr:rin=full:p=bt709:t=bt709:m=709:r=limited']
      : ['scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int'];
  const filters = [
    ...toYuv,
    `format=${encoder.format}`,
    'setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv',
  ];
  try {
    const run = await runFfmpeg({
      signal: options.signal,
      threads: options.threads,
      timeoutMs: options.timeoutMs ?? 300_000 + 2000 * sequence.count,
      stallMs: 120_000,
      globals: ['-xerror'],
      inputs: [input],
      output: [
        ...[
          '-frames:v',
          String(sequence.count),
          '-vf',
          filters.join(','),
          '-fps_mode',
          'passthrough',
          ...encoder.arguments,
        ],
        ...(label === null ? [] : container === 'mkv' ? ['-metadata', `TIMECODE=${label}`] : ['-timecode', label]),
        ...['-f', container === 'mkv' ? 'matroska' : 'mov', work],
      ],
    });
    if (!run.ok) {
      if (run.error.code !== 'FFMPEG_FAILED') return run;
      return fail('EXTRACTION_FAILED', 'The pictures could not be joined.', run.error.reason ?? run.error.message);
    }
    const made = await probe(work, { signal: options.signal });
    if (!made.ok) return made;
    if (made.value.durationFrames !== sequence.count) {
      const reason = `${made.value.durationFrames} frames instead of ${sequence.count}`;
      return fail('EXTRACTION_FAILED', 'The film has not as many frames as there are pictures.', reason);
    }
    await rename(work, path);
    return ok(path);
  } finally {
    await rm(work, { force: true });
  }
}
