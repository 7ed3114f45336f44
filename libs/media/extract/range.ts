/** A range of frames out of a medium, exact to the frame, verified before it has its name. */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import {
  ffmpegCapabilities,
  runFfmpeg,
  runFfprobe,
  type FileInput,
  type RunLimits,
  type SegmentsInput,
} from '../ffmpeg/index.js';
import { packetTimes, probe, type MediaInfo } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { formatOf } from '../sniff.js';
import { rateText } from '../timecode.js';
import type { TimecodeRange } from '../timerange.js';
import { countedRange, findAnchor, type Anchor } from './anchor.js';
import {
  chooseCodec,
  colourFilter,
  containerOf,
  frameStart,
  labelArguments,
  languageArguments,
  mayBeIntra,
  mustCount,
  pictureEncoder,
  resolveRange,
  samplesOf,
  secondsText,
  soundArguments,
  type EncoderPlan,
  type ExtractCodec,
  type ExtractWarning,
  type FrameRange,
  type OutputContainer,
} from './plan.js';
import {
  copyMiddle,
  decodingDelay,
  decodingOrder,
  gridTimes,
  joinPieces,
  parameterSets,
  pictureHashes,
  smartPlan,
  type SmartObstacle,
  type SmartPlan,
} from './smart.js';

export interface ExtractOptions {
  /** Frames more on each side, as far as the medium has them. Default none. */
  readonly handles?: { readonly head: number; readonly tail: number };
  /** Encodes to this, even where a copy would do. Default: copy where every picture stands by itself, else `source`. */
  readonly codec?: ExtractCodec;
  /**
   * H.264 and HEVC to their own codec: copies whole closed groups of pictures inside the range bit by bit and encodes the edges only.
   * Gives up that one encoder made it all (`PARAMETER_SETS_VARY`). Where it can't be right the whole range is encoded, and a `SMART_…`
   * warning says why. Default false.
   */
  readonly smart?: boolean;
  readonly onProgress?: (progress: { readonly fraction: number; readonly frame: number }) => void;
  readonly signal?: AbortSignal;
  readonly threads?: number;
  /** Default: 5 minutes and 2 seconds for each frame. */
  readonly timeoutMs?: number;
  /** Default 5. */
  readonly nice?: number;
}

export interface Extract {
  /** The target with the extension of its container. */
  readonly path: string;
  readonly method: 'COPY' | 'ENCODE' | 'SMART';
  readonly codec: string;
  /** Frames of the source in it, handles included. */
  readonly first: number;
  readonly frames: number;
  /** SMART: frames of the source that are its own bits; null for the other methods. */
  readonly copied: FrameRange | null;
  /** Handles really there. */
  readonly head: number;
  readonly tail: number;
  /** Label of its first frame. */
  readonly startTimecode: string | null;
  readonly warnings: readonly ExtractWarning[];
  readonly ffmpegVersion: string;
}

/**
 * Takes frames out of `input` into `target` plus `.mov`, `.mxf` or `.mkv`. Pictures that stand by themselves are copied bit by bit,
 * others are decoded and encoded again, exactly the range (`smart` copies the groups of pictures inside it). Every track of sound comes along as PCM, to the sample. Start timecode,
 * reel, colour, subtitles and metadata are kept; what can't be is in `warnings`. An existing file of that name is replaced.
 *
 * Refusals: RANGE_OUTSIDE_MEDIA; EXTRACTION_FAILED with the reason when the result has not the frames it must have; DISK_FULL,
 * MEDIA_CANCELLED, MEDIA_TIMEOUT, MEDIA_STALLED, FFMPEG_MISSING. Nothing is left behind then.
 */
export async function extractRange(
  input: string,
  target: string,
  info: MediaInfo,
  range: FrameRange | TimecodeRange,
  options: ExtractOptions = {},
): Promise<Result<Extract>> {
  const resolved = resolveRange(info, range, options.handles);
  if (!resolved.ok) return resolved;
  const capabilities = await ffmpegCapabilities();
  if (!capabilities.ok) return capabilities;
  const file: FileInput = { path: input, demuxer: formatOf(info.container).demuxer };
  // Where frames are counted from the first one, nothing comes out for a while.
  const counting = mustCount(info) ? 50 * resolved.value.first : 0;
  const patience = options.timeoutMs ?? 300_000 + 2000 * resolved.value.count + counting;
  const limits = { signal: options.signal, timeoutMs: patience };
  const times = await timesOf(file, info, resolved.value, limits);
  if (!times.ok) return times;
  const ends = options.codec === undefined ? await copyable(file, info, resolved.value, times.value, limits) : ok(null);
  if (!ends.ok) return ends;
  const codec = ends.value ? 'copy' : chooseCodec(info.video!, options.codec ?? 'source');
  const container = containerOf(info, codec);
  const label = labelArguments(info, resolved.value.first, container);
  const encoder = codec === 'copy' ? null : pictureEncoder(codec, info.video!);
  const subtitles = subtitleArguments(info, container);
  const warnings: ExtractWarning[] = [
    ...label.warnings,
    ...(info.video!.variableRate ? (['VARIABLE_RATE'] as const) : []),
    ...(encoder && !encoder.keepsHdr && (info.video!.mastering || info.video!.lightLevel)
      ? (['HDR_METADATA_LOST'] as const)
      : []),
    ...(encoder && !encoder.keepsCaptions && info.video!.captions ? (['CAPTIONS_LOST'] as const) : []),
    ...(info.subtitles.length > 0 && subtitles.length === 0 ? (['SUBTITLES_LOST'] as const) : []),
  ];
  const path = `${resolve(target)}.${container}`;
  const part = join(dirname(path), `.${randomUUID()}.part`);
  const work = `${part}.${container}`;
  const { start, seconds } = times.value;
  const running = { ...limits, threads: options.threads, nice: options.nice ?? 5, stallMs: 120_000 + counting };

  const finish = async (picture: Picture): Promise<Result<Extract>> => {
    const run = await runFfmpeg({
      ...running,
      globals: ['-xerror'],
      inputs: [
        picture.input,
        // The sound is read a second time, from exactly the first frame's start.
        { ...file, options: ['-ss', secondsText(start), '-t', secondsText(seconds + 1)] },
      ],
      output: [
        // Not `-frames:v`: reaching it ends the sound too, a little early.
        ...picture.output,
        ...soundArguments(info.audio, (rate) => soundLength(info, resolved.value, seconds, rate), container, 1),
        ...subtitles,
        ...['-map_chapters', '-1', ...label.arguments],
        ...(container === 'mov' ? ['-movflags', '+write_colr+use_metadata_tags'] : []),
        ...['-f', container === 'mkv' ? 'matroska' : container, work],
      ],
      onProgress: ({ frame }) => options.onProgress?.({ frame, fraction: Math.min(1, frame / resolved.value.count) }),
    });
    if (!run.ok) {
      if (run.error.code !== 'FFMPEG_FAILED') return run;
      return fail('EXTRACTION_FAILED', 'The range could not be taken out.', run.error.reason ?? run.error.message);
    }
    const count = resolved.value.count;
    const wrong = await differs(work, info, count, ends.value, limits);
    if (!wrong.ok) return wrong;
    const changed =
      wrong.value || !picture.smart ? wrong : await middleDiffers(file, info, work, picture.smart, limits);
    if (!changed.ok) return changed;
    if (changed.value) {
      const said = [...run.value.errors, ...run.value.warnings].slice(-2);
      const reason = [changed.value, ...said].join('; ');
      return fail('EXTRACTION_FAILED', 'The result has not the frames of the range.', reason);
    }
    await rename(work, path);
    const { first, head, tail } = resolved.value;
    const method = picture.smart ? 'SMART' : encoder ? 'ENCODE' : 'COPY';
    return ok({
      ...{ path, method, codec: codec === 'copy' ? info.video!.codec : codec, first, frames: count },
      ...{ copied: picture.smart?.middle ?? null, head, tail, startTimecode: label.text },
      warnings: picture.smart ? [...warnings, 'PARAMETER_SETS_VARY'] : warnings,
      ffmpegVersion: capabilities.value.version,
    });
  };

  try {
    if (options.smart && encoder) {
      await mkdir(part, { recursive: true });
      const joined = await smartPicture(file, info, resolved.value, codec, part, running);
      if (!joined.ok) return joined;
      if (typeof joined.value !== 'string') {
        const result = await finish(joined.value);
        if (result.ok || result.error.code !== 'EXTRACTION_FAILED') return result;
        warnings.push('SMART_NOT_VERIFIED');
      } else {
        warnings.push(joined.value);
      }
    }
    if (!encoder) return await finish(copying(file, info, times.value));
    const encode = (anchor: Anchor | null) =>
      finish(encoding(file, info, resolved.value, times.value, encoder, options.threads, anchor));
    if (mustCount(info)) {
      const anchor = await findAnchor(file, info, resolved.value.first, limits);
      if (!anchor.ok) return anchor;
      if (anchor.value) {
        const result = await encode(anchor.value);
        if (result.ok || result.error.code !== 'EXTRACTION_FAILED') return result;
      }
    }
    return await encode(null);
  } finally {
    await rm(work, { force: true });
    await rm(part, { recursive: true, force: true });
  }
}

/** Where the picture of an extract comes from, and how it goes into the file. */
interface Picture {
  readonly input: FileInput | SegmentsInput;
  readonly output: readonly string[];
  readonly smart?: SmartPlan;
}

/** The pieces of smart rendering, ready to be joined, in a folder of ours; or what stands against it. */
async function smartPicture(
  file: FileInput,
  info: MediaInfo,
  range: FrameRange,
  codec: Exclude<ExtractCodec, 'source'> | 'copy',
  folder: string,
  running: RunLimits,
): Promise<Result<Picture | SmartObstacle>> {
  const video = info.video!;
  if (codec === 'copy' || codec !== video.codec) return ok('SMART_NOT_THIS_CODEC');
  const planned = await smartPlan(file, info, range, running);
  if (!planned.ok || typeof planned.value === 'string') return planned as Result<SmartObstacle>;
  const plan = planned.value;
  const encoder = pictureEncoder(codec, video, true);
  const pieces: { name: string; frames: number }[] = [];
  let delay = 0;
  for (const [name, part] of Object.entries(plan) as [keyof SmartPlan, FrameRange][]) {
    if (part.count === 0) continue;
    const piece = join(folder, `${name}.mov`);
    let job = copyMiddle(file, video, part, piece);
    if (name !== 'middle') {
      const times = await timesOf(file, info, part, running);
      if (!times.ok) return times;
      const { input, output } = encoding(file, info, part, times.value, encoder, running.threads);
      job = { inputs: [input], output: [...output, ...parameterSets(codec), '-f', 'mov', piece] };
    }
    const run = await runFfmpeg({ ...running, ...job, globals: ['-xerror'] });
    if (!run.ok) return run.error.code === 'FFMPEG_FAILED' ? ok('SMART_NOT_VERIFIED') : run;
    const made = await probe(piece, running);
    const order = made.ok ? await decodingOrder({ path: piece, demuxer: 'mov' }, made.value.video!, running) : made;
    if (!order.ok || order.value.length !== part.count) return ok('SMART_NOT_VERIFIED');
    delay = Math.max(delay, decodingDelay(order.value));
    pieces.push({ name: `${name}.mov`, frames: part.count });
  }
  const input = await joinPieces(folder, pieces, video.rate);
  const output = [
    '-map',
    '0:v',
    '-c:v',
    'copy',
    ...gridTimes(video.rate, delay),
    '-tag:v',
    codec === 'hevc' ? 'hev1' : 'avc3',
  ];
  return ok({ input, output, smart: plan });
}

/** What is wrong with a joined picture; null when its middle is the source's and its times are even. */
async function middleDiffers(
  file: FileInput,
  info: MediaInfo,
  work: string,
  { head, middle }: SmartPlan,
  limits: RunLimits,
): Promise<Result<string | null>> {
  const made = await probe(work, limits);
  if (!made.ok || !made.value.video) return ok('the result can’t be read back');
  if (made.value.video.variableRate) return ok('the times of the pieces do not meet');
  const source = await pictureHashes(file, info.video!, middle, limits);
  if (!source.ok) return source;
  const ours: FileInput = { path: work, demuxer: 'mov' };
  const there = await pictureHashes(ours, made.value.video, { first: head.count, count: middle.count }, limits);
  if (!there.ok) return there;
  const same = source.value.length === middle.count && source.value.every((hash, index) => hash === there.value[index]);
  return ok(same ? null : 'the middle is not the source’s');
}

/** Seconds from the start of the file, as `-ss` counts them. */
interface RangeTimes {
  readonly start: number;
  readonly seconds: number;
  /** From the first frame's start to the last one's. */
  readonly toLast: number;
  /** To the frame before the first: the room in which a rounded time may lie. */
  readonly gap: number;
}

async function timesOf(
  file: FileInput,
  info: MediaInfo,
  { first, count }: FrameRange,
  limits: RunLimits,
): Promise<Result<RangeTimes>> {
  const video = info.video!;
  if (!video.variableRate) {
    const [start, last, end] = [first, first + count - 1, first + count].map((frame) => frameStart(video, frame)) as [
      number,
      number,
      number,
    ];
    return ok({ start, seconds: end - start, toLast: last - start, gap: end - last });
  }
  const read = await packetTimes(file.path, file, video.index, limits);
  if (!read.ok) return read;
  const { times } = read.value;
  if (first + count > times.length) {
    return fail('RANGE_OUTSIDE_MEDIA', `The medium has ${times.length} frames.`);
  }
  const zero = times[0]! - video.startSeconds;
  const last =
    info.durationSeconds === null ? times.at(-1)! + zero : Math.max(times.at(-1)!, info.durationSeconds + zero);
  const start = times[first]! - zero;
  return ok({
    start,
    seconds: (times[first + count] ?? last) - times[first]!,
    toLast: times[first + count - 1]! - times[first]!,
    gap: first > 0 ? times[first]! - times[first - 1]! : 0.01,
  });
}

function soundLength(info: MediaInfo, range: FrameRange, seconds: number, sampleRate: number): number {
  return info.video!.variableRate ? Math.round(seconds * sampleRate) : samplesOf(range, info.rate!, sampleRate);
}

/**
 * The end lies inside the last frame, away from any rounding: also from that of a time base of one tick a frame (MXF), which rounds at
 * the middle.
 */
function insideLast({ seconds, toLast }: RangeTimes): number {
  return toLast + 0.6 * (seconds - toLast);
}

function copying(file: FileInput, info: MediaInfo, times: RangeTimes): Picture {
  const options = ['-ss', secondsText(times.start), '-t', secondsText(insideLast(times))];
  return { input: { ...file, options }, output: ['-map', `0:${info.video!.index}`, '-c:v', 'copy'] };
}

/**
 * Decoding begins well before the range: the first pictures after a seek into open groups refer to what was not read. The wanted ones
 * are told by their time, with room for containers that round.
 */
function encoding(
  file: FileInput,
  info: MediaInfo,
  { first, count }: FrameRange,
  times: RangeTimes,
  encoder: EncoderPlan,
  threads: number | undefined,
  anchor: Anchor | null = null,
): Picture & { input: FileInput } {
  const { rate, variableRate } = info.video!;
  const counted = mustCount(info) ? countedRange(anchor, first, count) : null;
  const lead = counted ? times.start - (anchor?.seek ?? 0) : Math.min(times.start, (40 * rate.den) / rate.num + 0.5);
  const seek = times.start - lead;
  // ffmpeg 7 forgets how long a picture lasts when `setpts` moves it, and the last one of the film is lost: `fps` says it again, and
  // of variable rate the packets are moved instead.
  const regular = variableRate ? [] : [`settb=${rate.den}/${rate.num}`, 'setpts=N', `fps=${rateText(rate)}`];
  const shift = variableRate ? ['-bsf:v', 'setts=pts=PTS-STARTPTS:dts=DTS-STARTPTS'] : [];
  const [from, to] = [lead - 0.4 * times.gap, lead + insideLast(times)].map(secondsText);
  const filters = [
    ...[...(counted?.filters ?? [`trim=start=${from}:end=${to}`]), ...regular],
    ...[...colourFilter(info.video!), `format=${encoder.format}`],
  ];
  return {
    // Pictures stay as they lie in the file; the way to turn them goes along.
    input: {
      ...file,
      options: [
        ...['-noautorotate', ...(counted?.input ?? ['-ss', secondsText(seek)])],
        ...['-t', secondsText(lead + times.seconds + (anchor ? 3 : 1))],
      ],
    },
    output: [
      ...['-map', `0:${info.video!.index}`, '-vf', filters.join(','), '-fps_mode', 'passthrough', ...encoder.arguments],
      ...shift,
      ...(threads === undefined ? [] : ['-threads', String(threads)]),
    ],
  };
}

function subtitleArguments(info: MediaInfo, container: OutputContainer): string[] {
  const fits: Record<OutputContainer, RegExp> = {
    mov: /^(eia_608|mov_text)$/,
    mkv: /^(subrip|ass|ssa|webvtt)$/,
    mxf: /^$/,
  };
  if (info.subtitles.length === 0 || !info.subtitles.every(({ codec }) => fits[container].test(codec))) return [];
  return [
    ...info.subtitles.flatMap(({ index, language }, number) => [
      ...['-map', `1:${index}`, ...languageArguments(`s:s:${number}`, language, container)],
    ]),
    ...['-c:s', 'copy'],
  ];
}

/** Hashes of the first and the last packet of the range. */
interface RangeEnds {
  readonly first: string;
  readonly last: string;
}

const PacketSchema = z.object({
  packets: z.array(z.object({ pts_time: z.coerce.number(), flags: z.string(), data_hash: z.string() })),
});
type Packet = z.infer<typeof PacketSchema>['packets'][number];

/** Packets looked at around the in point: a group of pictures shows itself by those that are no key. */
const SAMPLE_PACKETS = 30;

async function packetsFrom(
  file: FileInput,
  stream: string,
  from: string,
  count: number,
  limits: RunLimits,
): Promise<Result<Packet[]>> {
  const run = await runFfprobe({
    ...limits,
    input: file,
    args: [
      ...[
        '-select_streams',
        stream,
        '-read_intervals',
        `${from}%+#${count}`,
        '-show_packets',
        '-show_data_hash',
        'md5',
      ],
      ...['-show_entries', 'packet=pts_time,flags,data_hash', '-of', 'json'],
    ],
  });
  if (!run.ok) return run;
  const parsed = PacketSchema.safeParse(JSON.parse(run.value.stdout.toString()));
  return ok(parsed.success ? parsed.data.packets : []);
}

/** Whether the range can be copied: every picture looked at is a key, and the ones at both ends are where they must be. */
async function copyable(
  file: FileInput,
  info: MediaInfo,
  { count }: FrameRange,
  times: RangeTimes,
  limits: RunLimits,
): Promise<Result<RangeEnds | null>> {
  const video = info.video!;
  if (!mayBeIntra(video)) return ok(null);
  const stream = String(video.index);
  const begin = await packetsFrom(file, stream, '', 1, limits);
  if (!begin.ok) return begin;
  // ffprobe counts as the file does, `-ss` from the file's start.
  const zero = (begin.value[0]?.pts_time ?? Number.NaN) - video.startSeconds;
  const half = times.gap / 2;
  const at = async (seconds: number, packets: number) => {
    const read = await packetsFrom(file, stream, secondsText(zero + seconds - half), packets, limits);
    if (!read.ok) return read;
    const found = read.value.find(({ pts_time }) => Math.abs(pts_time - zero - seconds) < half);
    return ok(found && read.value.every(({ flags }) => flags.startsWith('K')) ? found.data_hash : null);
  };
  const first = await at(times.start, Math.min(SAMPLE_PACKETS, count + 1));
  if (!first.ok) return first;
  const last = await at(times.start + times.toLast, 2);
  if (!last.ok) return last;
  return ok(first.value && last.value ? { first: first.value, last: last.value } : null);
}

/** What is wrong with a result; null when it holds exactly the frames. */
async function differs(
  work: string,
  info: MediaInfo,
  count: number,
  ends: RangeEnds | null,
  limits: RunLimits,
): Promise<Result<string | null>> {
  const made = await probe(work, { ...limits, countBelowBytes: 0 });
  if (!made.ok) return ok(made.error.reason ?? made.error.message);
  const file: FileInput = { path: work, demuxer: formatOf(made.value.container).demuxer };
  if (!made.value.video) return ok('the result has no picture');
  let frames = made.value.durationFrames;
  if (!made.value.durationExact) {
    const counted = await packetTimes(work, file, made.value.video.index, limits);
    if (!counted.ok) return counted.error.code === 'FFMPEG_FAILED' ? ok('the result can’t be read back') : counted;
    frames = counted.value.frames;
  }
  if (frames !== count) return ok(`${frames} frames instead of ${count}`);
  // A film that is a frame too short for its frames loses the last one when it is played.
  const { rate, variableRate } = made.value.video;
  const ratio = (rate.num * info.rate!.den) / (rate.den * info.rate!.num);
  if (!info.video!.variableRate && !variableRate && Math.abs(ratio - 1) > Math.max(0.0005, 0.5 / count)) {
    return ok(`it runs at ${rateText(rate)} instead of ${rateText(info.rate!)}`);
  }
  if (!ends) return ok(null);
  const stream = String(made.value.video.index);
  const head = await packetsFrom(file, stream, '', 1, limits);
  if (!head.ok) return head;
  if (head.value[0]?.data_hash !== ends.first) return ok('the first frame is not that of the range');
  const before = Math.max(0, frameStart(made.value.video, count - 2));
  const tail = await packetsFrom(file, stream, secondsText(before), 4, limits);
  if (!tail.ok) return tail;
  return ok(tail.value.at(-1)?.data_hash === ends.last ? null : 'the last frame is not that of the range');
}
