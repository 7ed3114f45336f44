import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { runFfprobe, type RunLimits } from './ffmpeg/index.js';
import { fail, ok, type Result } from './result.js';
import { sniffFile, type Container, type MediaKind, type Sniffed } from './sniff.js';
import { RATES, formatTimecode, parseTimecode, rational as reduced, sameRate, type Rate } from './timecode.js';

const rational = z.object({ num: z.number().int(), den: z.number().int().positive() });

export const AudioTrackSchema = z.object({
  /** Index of the stream in the file. */
  index: z.number().int(),
  codec: z.string(),
  channels: z.number().int(),
  /** ffmpeg's name of the layout (`stereo`, `5.1(side)`), when the file tells. */
  layout: z.string().nullable(),
  sampleRate: z.number().int(),
  /** Length in samples, derived from the header. */
  durationSamples: z.number().int().nullable(),
  /** ISO 639-2 code, when the file tells. */
  language: z.string().nullable(),
});

export const VideoTrackSchema = z.object({
  index: z.number().int(),
  codec: z.string(),
  profile: z.string().nullable(),
  /** Coded size in pixels, before rotation and sample aspect. */
  width: z.number().int(),
  height: z.number().int(),
  /** Size as shown with square pixels: rotation and sample aspect applied. */
  displayWidth: z.number().int(),
  displayHeight: z.number().int(),
  sampleAspect: rational,
  /** Clockwise turn to show it upright: 0, 90, 180 or 270 degrees. */
  rotation: z.number().int(),
  pixelFormat: z.string().nullable(),
  bitDepth: z.number().int().nullable(),
  hasAlpha: z.boolean(),
  colour: z.object({
    primaries: z.string().nullable(),
    transfer: z.string().nullable(),
    matrix: z.string().nullable(),
    range: z.enum(['tv', 'pc']).nullable(),
  }),
  /** PQ or HLG. */
  hdr: z.boolean(),
  fieldOrder: z.enum(['progressive', 'tt', 'bb', 'tb', 'bt']).nullable(),
  /** Frames per second; of variable-rate media the average, snapped to a usual rate when within 1 %. */
  rate: rational,
  variableRate: z.boolean(),
  /** When the first frame is shown, seconds after the start of the file; 0 in nearly all files. */
  startSeconds: z.number(),
});

/** JSON-safe description of a file; what an event and an upload record carry. */
export const MediaInfoSchema = z.object({
  kind: z.enum(['VIDEO', 'AUDIO', 'IMAGE']),
  container: z.string().transform((value) => value as Container),
  mime: z.string(),
  sizeBytes: z.number().int(),
  /** Seconds, for display; null for a still. */
  durationSeconds: z.number().nullable(),
  /** Frames of the picture; null for sound and stills. */
  durationFrames: z.number().int().nullable(),
  /** Whether `durationFrames` comes from a frame table or a count, not from duration × rate. */
  durationExact: z.boolean(),
  /** The picture's rate, also at `video.rate`; null for sound and stills. */
  rate: rational.nullable(),
  startTimecode: z
    .object({
      /** As labelled in the file, normalised to `HH:MM:SS:FF` or `HH:MM:SS;FF`. */
      text: z.string(),
      /** Frames since 00:00:00:00. */
      frame: z.number().int(),
      dropFrame: z.boolean(),
    })
    .nullable(),
  reel: z.string().nullable(),
  video: VideoTrackSchema.nullable(),
  audio: z.array(AudioTrackSchema),
  /** What looks wrong but does not prevent use. */
  warnings: z.array(z.enum(['TIMECODE_UNREADABLE', 'DROP_FRAME_LABEL_AT_INTEGER_RATE', 'DURATION_MISMATCH'])),
});

export type AudioTrack = z.infer<typeof AudioTrackSchema>;
export type VideoTrack = z.infer<typeof VideoTrackSchema>;
export type MediaInfo = z.infer<typeof MediaInfoSchema>;
export type { MediaKind };

export interface ProbeOptions {
  signal?: AbortSignal;
  /** Default 30,000. */
  timeoutMs?: number;
  /** Files up to this size without a frame table are counted packet by packet. Default 256 MiB; 0 reads headers only. */
  countBelowBytes?: number;
}

/** Headers of any accepted file. Refuses with EMPTY_FILE, UNSUPPORTED_MEDIA or MEDIA_UNREADABLE (with ffprobe's reason). */
export async function probe(file: string, options: ProbeOptions = {}): Promise<Result<MediaInfo>> {
  const sniffed = await sniffFile(file);
  if (!sniffed.ok) return sniffed;
  const sizeBytes = (await stat(file)).size;
  const input = { path: file, demuxer: sniffed.value.demuxer };
  const limits: RunLimits = { signal: options.signal, timeoutMs: options.timeoutMs ?? 30_000 };
  const image = sniffed.value.kind === 'IMAGE';
  const run = await runFfprobe({
    ...limits,
    input,
    // A still's orientation is known only after decoding it.
    args: ['-show_format', '-show_streams', ...(image ? ['-show_frames'] : []), '-of', 'json'],
  });
  if (!run.ok) return run.error.code === 'FFMPEG_FAILED' ? unreadable(run.error.reason) : run;
  let raw: FfprobeOutput;
  try {
    raw = FfprobeOutputSchema.parse(JSON.parse(run.value.stdout.toString()));
  } catch {
    return unreadable(run.value.errors.at(-1));
  }
  const picture = raw.streams.find((stream) => stream.codec_type === 'video' && !stream.disposition?.attached_pic);
  const needsCount =
    picture && !image && !isExactCount(sniffed.value, picture) && sizeBytes <= (options.countBelowBytes ?? 256 << 20);
  let packets: PacketTimes | null = null;
  if (needsCount) {
    const counted = await packetTimes(file, sniffed.value, picture.index, limits);
    if (!counted.ok && counted.error.code !== 'FFMPEG_FAILED') return counted;
    packets = counted.ok ? counted.value : null;
  }
  return describe(raw, sniffed.value, sizeBytes, packets, run.value.errors);
}

function unreadable(reason?: string) {
  return fail('MEDIA_UNREADABLE', 'The headers can’t be read.', reason);
}

const count = z.coerce.number().int().optional().catch(undefined);
const seconds = z.coerce.number().optional().catch(undefined);
const tags = z.record(z.string(), z.string()).optional();
const FfprobeStreamSchema = z.object({
  index: z.number().int(),
  codec_type: z.string().optional(),
  codec_name: z.string().optional(),
  profile: z.string().optional(),
  width: count,
  height: count,
  sample_aspect_ratio: z.string().optional(),
  pix_fmt: z.string().optional(),
  bits_per_raw_sample: count,
  color_range: z.string().optional(),
  color_space: z.string().optional(),
  color_transfer: z.string().optional(),
  color_primaries: z.string().optional(),
  field_order: z.string().optional(),
  r_frame_rate: z.string().optional(),
  avg_frame_rate: z.string().optional(),
  time_base: z.string().optional(),
  duration_ts: count,
  start_time: seconds,
  duration: seconds,
  nb_frames: count,
  channels: count,
  channel_layout: z.string().optional(),
  sample_rate: count,
  disposition: z.object({ attached_pic: z.number().optional() }).optional(),
  tags,
  side_data_list: z.array(z.looseObject({ rotation: z.number().optional() })).optional(),
});
type FfprobeStream = z.infer<typeof FfprobeStreamSchema>;
const FfprobeOutputSchema = z.object({
  streams: z.array(FfprobeStreamSchema),
  format: z.object({ start_time: seconds, duration: seconds, tags }),
  frames: z.array(z.looseObject({ tags })).optional(),
});
type FfprobeOutput = z.infer<typeof FfprobeOutputSchema>;

/** `nb_frames` is the sample table of MOV/MP4; MXF counts its duration in edit units, which are frames. */
function isExactCount(sniffed: Sniffed, stream: FfprobeStream): boolean {
  return tableCount(sniffed, stream) !== null;
}

function tableCount(sniffed: Sniffed, stream: FfprobeStream): number | null {
  if (sniffed.demuxer === 'mxf') {
    const base = fraction(stream.time_base);
    const rate = fraction(stream.r_frame_rate);
    const inFrames = base && rate && base.num * rate.num === base.den * rate.den;
    return inFrames && stream.duration_ts ? stream.duration_ts : null;
  }
  if (sniffed.demuxer !== 'mov' || !stream.nb_frames) return null;
  // An edit list may show fewer frames than the table holds; then only a count of the shown packets tells.
  const average = fraction(stream.avg_frame_rate);
  const shown = average && stream.duration ? (stream.duration * average.num) / average.den : stream.nb_frames;
  return Math.abs(shown - stream.nb_frames) <= 1 ? stream.nb_frames : null;
}

interface PacketTimes {
  readonly frames: number;
  readonly steady: boolean;
  /** From the first to the last of them; null when there is only one. */
  readonly framesPerSecond: number | null;
}

/** Counts the packets of one stream that a decoder will show, and looks whether their times are evenly spaced. Reads the file. */
export async function packetTimes(
  file: string,
  sniffed: Pick<Sniffed, 'demuxer'>,
  streamIndex: number,
  limits: RunLimits = {},
): Promise<Result<PacketTimes>> {
  const run = await runFfprobe({
    maxStdoutBytes: 256 << 20,
    ...limits,
    input: { path: file, demuxer: sniffed.demuxer },
    args: ['-select_streams', String(streamIndex), '-show_entries', 'packet=pts_time,flags', '-of', 'csv=p=0'],
  });
  if (!run.ok) return run;
  const times: number[] = [];
  let frames = 0;
  for (const line of run.value.stdout.toString().split('\n')) {
    const [time, flags] = line.split(',');
    // `D`: decoded but cut away by an edit list.
    if (!flags || flags.includes('D')) continue;
    frames += 1;
    const value = Number.parseFloat(time!);
    if (Number.isFinite(value)) times.push(value);
  }
  times.sort((a, b) => a - b);
  const steps = times.slice(1).map((time, index) => time - times[index]!);
  // Matroska rounds to milliseconds, so neighbours differ by one; two milliseconds are a real difference.
  const steady = steps.length < 2 || spread(steps) < 0.002;
  const span = times.length > 1 ? times.at(-1)! - times[0]! : 0;
  return ok({ frames, steady, framesPerSecond: span > 0 ? (times.length - 1) / span : null });
}

function spread(values: readonly number[]): number {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return high - low;
}

function describe(
  raw: FfprobeOutput,
  sniffed: Sniffed,
  sizeBytes: number,
  packets: PacketTimes | null,
  errors: readonly string[],
): Result<MediaInfo> {
  const picture = raw.streams.find((stream) => stream.codec_type === 'video' && !stream.disposition?.attached_pic);
  const sounds = raw.streams.filter((stream) => stream.codec_type === 'audio' && stream.channels && stream.sample_rate);
  const image = sniffed.kind === 'IMAGE';
  if (!picture && (sounds.length === 0 || image)) {
    return fail('UNSUPPORTED_MEDIA', 'The file holds neither picture nor sound.', errors.at(-1));
  }
  if (picture && (!picture.width || !picture.height || !picture.codec_name)) {
    return unreadable(errors.at(-1) ?? 'the picture has no size or an unknown codec');
  }
  if (picture && packets?.frames === 0) return unreadable(errors.at(-1) ?? 'the picture has no frames');
  const warnings: MediaInfo['warnings'] = [];
  const kind: MediaKind = image ? 'IMAGE' : picture ? 'VIDEO' : 'AUDIO';
  const video = picture ? videoTrack(picture, raw, packets, image) : null;
  const durationSeconds = image ? null : (raw.format.duration ?? picture?.duration ?? sounds[0]?.duration ?? null);
  let durationFrames: number | null = null;
  let durationExact = false;
  if (video && picture && !image) {
    const declared = Math.round(((picture.duration ?? durationSeconds ?? 0) * video.rate.num) / video.rate.den);
    const table = tableCount(sniffed, picture);
    durationFrames = packets?.frames ?? table ?? declared;
    durationExact = packets !== null || table !== null;
    // A Matroska file cut short still declares its full length.
    if (packets && declared > packets.frames + 2 && packets.frames < declared * 0.98)
      warnings.push('DURATION_MISMATCH');
  }
  const label = video && !image ? timecodeTag(raw, picture!) : null;
  let startTimecode: MediaInfo['startTimecode'] = null;
  if (label && video) {
    let parsed = parseTimecode(label, video.rate);
    if (!parsed.ok && /[;.,]\d{2,3}$/.test(label)) {
      parsed = parseTimecode(label.replace(/[;.,]/g, ':'), video.rate);
      if (parsed.ok) warnings.push('DROP_FRAME_LABEL_AT_INTEGER_RATE');
    }
    if (parsed.ok) {
      const { frame, dropFrame } = parsed.value;
      startTimecode = { text: formatTimecode(frame, video.rate, { dropFrame }), frame, dropFrame };
    } else {
      warnings.push('TIMECODE_UNREADABLE');
    }
  }
  return ok(
    MediaInfoSchema.parse({
      kind,
      container: sniffed.container,
      mime: kind === 'AUDIO' && sniffed.kind === 'VIDEO' ? sniffed.mime.replace('video/', 'audio/') : sniffed.mime,
      sizeBytes,
      durationSeconds,
      durationFrames,
      durationExact,
      rate: video && !image ? video.rate : null,
      startTimecode,
      reel: tag(raw, 'reel_name') ?? null,
      video,
      audio: image ? [] : sounds.map(audioTrack),
      warnings,
    } satisfies MediaInfo),
  );
}

function audioTrack(stream: FfprobeStream): AudioTrack {
  const language = stream.tags?.['language'];
  return {
    index: stream.index,
    codec: stream.codec_name ?? 'unknown',
    channels: stream.channels!,
    layout: stream.channel_layout ?? null,
    sampleRate: stream.sample_rate!,
    durationSamples: stream.duration === undefined ? null : Math.round(stream.duration * stream.sample_rate!),
    language: language && language !== 'und' ? language : null,
  };
}

function videoTrack(
  stream: FfprobeStream,
  raw: FfprobeOutput,
  packets: PacketTimes | null,
  image: boolean,
): VideoTrack {
  const [width, height] = [stream.width!, stream.height!];
  const aspect = fraction(stream.sample_aspect_ratio?.replace(':', '/')) ?? { num: 1, den: 1 };
  const rotation = image ? exifRotation(raw) : matrixRotation(stream);
  const [shownWidth, shownHeight] = [Math.max(1, Math.round((width * aspect.num) / aspect.den)), height];
  const turned = rotation % 180 !== 0;
  const fieldOrder = z.enum(['progressive', 'tt', 'bb', 'tb', 'bt']).nullable().catch(null);
  const { rate, variableRate } = frameRate(stream, packets);
  const pixelFormat = stream.pix_fmt ?? null;
  const known = (value: string | undefined) => (value && value !== 'unknown' && value !== 'reserved' ? value : null);
  const transfer = known(stream.color_transfer);
  return {
    index: stream.index,
    codec: stream.codec_name!,
    profile: stream.profile && stream.profile !== 'unknown' ? stream.profile : null,
    width,
    height,
    displayWidth: turned ? shownHeight : shownWidth,
    displayHeight: turned ? shownWidth : shownHeight,
    sampleAspect: aspect,
    rotation,
    pixelFormat,
    bitDepth: stream.bits_per_raw_sample || depthOf(pixelFormat),
    hasAlpha: pixelFormat !== null && /^(yuva|rgba|bgra|argb|abgr|gbrap|ya\d|pal8)/.test(pixelFormat),
    colour: {
      primaries: known(stream.color_primaries),
      transfer,
      matrix: known(stream.color_space),
      range: z.enum(['tv', 'pc']).nullable().catch(null).parse(stream.color_range),
    },
    hdr: transfer === 'smpte2084' || transfer === 'arib-std-b67',
    fieldOrder: fieldOrder.parse(stream.field_order ?? null),
    rate,
    variableRate: !image && variableRate,
    startSeconds: image ? 0 : Math.max(0, (stream.start_time ?? 0) - (raw.format.start_time ?? 0)),
  };
}

function depthOf(pixelFormat: string | null): number | null {
  if (!pixelFormat) return null;
  const packed = /^(?:rgb|bgr)48|^(?:rgba|bgra)64|^gray16|^ya16/.test(pixelFormat);
  if (packed) return 16;
  const planar = /p(9|10|12|14|16)(?:le|be)?$|^gray(9|10|12|14)|^p0(10|12|16)/.exec(pixelFormat);
  return planar ? Number(planar[1] ?? planar[2] ?? planar[3]) : /^x2(rgb|bgr)10/.test(pixelFormat) ? 10 : 8;
}

/** The display matrix turns counter-clockwise in ffprobe's words; players say clockwise. */
function matrixRotation(stream: FfprobeStream): number {
  const counterClockwise = stream.side_data_list?.find((data) => data.rotation !== undefined)?.rotation ?? 0;
  return ((((Math.round(-counterClockwise / 90) * 90) % 360) + 360) % 360) as number;
}

/** EXIF orientation of a still, mirrored ones by their turn alone. */
function exifRotation(raw: FfprobeOutput): number {
  const orientation = Number.parseInt(raw.frames?.[0]?.tags?.['Orientation'] ?? '1', 10);
  return { 3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270 }[orientation] ?? 0;
}

function fraction(text: string | undefined): { num: number; den: number } | null {
  const match = /^(\d+)\/(\d+)$/.exec(text ?? '');
  if (!match) return null;
  const [num, den] = [Number(match[1]), Number(match[2])];
  return num > 0 && den > 0 && Number.isSafeInteger(num) && Number.isSafeInteger(den) ? reduced(num, den) : null;
}

/**
 * ffprobe gives the rate every timestamp fits (`r_frame_rate`) and the average. Where they agree the rate is constant; interlaced
 * streams tell fields in the first. Variable rate takes the average, snapped to a usual rate within 1 %.
 */
function frameRate(stream: FfprobeStream, packets: PacketTimes | null): { rate: Rate; variableRate: boolean } {
  const base = fraction(stream.r_frame_rate);
  const average = fraction(stream.avg_frame_rate) ?? base ?? RATES['24'];
  const value = (rate: Rate) => rate.num / rate.den;
  const near = (a: number, b: number, tolerance: number) => Math.abs(a / b - 1) <= tolerance;
  if (!base || near(value(base), 2 * value(average), 0.002)) {
    return { rate: snap(average, 0.0004), variableRate: packets ? !packets.steady : false };
  }
  const offByFrames =
    stream.nb_frames && stream.duration ? Math.abs(stream.nb_frames - stream.duration * value(base)) : 0;
  const agrees =
    near(value(base), value(average), 0.002) && offByFrames <= Math.max(1, (stream.nb_frames ?? 0) * 0.0005);
  const constant = packets ? packets.steady : agrees;
  if (constant) {
    // ffprobe guesses the first from time stamps (120 for 119.88); an average that is a usual rate to the digit is no guess.
    const exact = Object.values(RATES).some((rate) => sameRate(rate, average));
    const agreed = near(value(base), value(average), 0.002) && !exact ? base : average;
    return { rate: snap(agreed, 0.0004), variableRate: false };
  }
  const measured = packets?.framesPerSecond
    ? reduced(Math.max(1, Math.round(packets.framesPerSecond * 1000)), 1000)
    : average;
  return { rate: snap(measured, 0.01), variableRate: true };
}

/** The nearest usual rate within `tolerance` (relative), else the rate itself in a form that fits an event. */
function snap(rate: Rate, tolerance: number): Rate {
  const value = rate.num / rate.den;
  const distance = (other: Rate) => Math.abs(other.num / other.den / value - 1);
  const nearest = Object.values(RATES).reduce((best, other) => (distance(other) < distance(best) ? other : best));
  if (distance(nearest) <= tolerance) return { num: nearest.num, den: nearest.den };
  return rate.den <= 1_000_000 ? rate : reduced(Math.max(1, Math.round(value * 1000)), 1000);
}

function timecodeTag(raw: FfprobeOutput, picture: FfprobeStream): string | null {
  const of = (record: Record<string, string> | undefined) =>
    Object.entries(record ?? {}).find(([key]) => key.toLowerCase() === 'timecode')?.[1];
  const others = raw.streams.filter((stream) => stream.codec_type === 'data').map((stream) => of(stream.tags));
  return of(picture.tags) ?? others.find((text) => text) ?? of(raw.format.tags) ?? null;
}

function tag(raw: FfprobeOutput, name: string): string | undefined {
  return [...raw.streams.map((stream) => stream.tags), raw.format.tags]
    .flatMap((record) => Object.entries(record ?? {}))
    .find(([key, value]) => key.toLowerCase() === name && value)?.[1];
}
