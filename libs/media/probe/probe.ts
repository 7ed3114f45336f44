import { stat } from 'node:fs/promises';
import { z } from 'zod';
import { runFfprobe, type FileInput, type RunLimits } from '../ffmpeg/index.js';
import { fail, ok, type Result } from '../result.js';
import { sniffFile, type MediaKind, type Sniffed } from '../sniff.js';
import { readBroadcastWave, type BroadcastWave } from './broadcastWave.js';
import {
  MediaInfoSchema,
  type AudioTrack,
  type LightLevel,
  type MasteringDisplay,
  type MediaInfo,
  type VideoTrack,
} from './schema.js';
import {
  RATES,
  formatTimecode,
  parseTimecode,
  rational as reduced,
  samplesToFrames,
  nominalRate,
  sameRate,
  supportsDropFrame,
  type Rate,
  type Timecode,
} from '../timecode.js';

export interface ProbeOptions {
  signal?: AbortSignal;
  /** Default 30,000. */
  timeoutMs?: number;
  /** Files up to this size without a frame table are counted packet by packet. Default 256 MiB; 0 reads headers only: no picture is decoded. */
  countBelowBytes?: number;
  /** Only these bytes of the file, as if they were one: a member of an archive. Its packets are not counted. */
  part?: { readonly offset: number; readonly size: number };
}

/** Headers of any accepted file. Refuses with EMPTY_FILE, UNSUPPORTED_MEDIA or MEDIA_UNREADABLE (with ffprobe's reason). */
export async function probe(file: string, options: ProbeOptions = {}): Promise<Result<MediaInfo>> {
  const { part } = options;
  const sniffed = await sniffFile(file, part?.offset);
  if (!sniffed.ok) return sniffed;
  const sizeBytes = part?.size ?? (await stat(file)).size;
  const input = { path: file, demuxer: sniffed.value.demuxer, part };
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
    picture &&
    !part &&
    !image &&
    !isExactCount(sniffed.value, picture) &&
    sizeBytes <= (options.countBelowBytes ?? 256 << 20);
  let packets: PacketTimes | null = null;
  if (needsCount) {
    const counted = await packetTimes(file, sniffed.value, picture.index, limits);
    if (!counted.ok && counted.error.code !== 'FFMPEG_FAILED') return counted;
    packets = counted.ok ? counted.value : null;
  }
  const decodes = picture && !image && options.countBelowBytes !== 0;
  const first = decodes ? await firstFrame(input, picture.index, limits) : ok(null);
  if (!first.ok) return first;
  const wave = sniffed.value.container === 'WAV' && !part ? await readBroadcastWave(file) : null;
  return describe(raw, sniffed.value, { sizeBytes, packets, first: first.value, wave, errors: run.value.errors });
}

/** The first picture, decoded: mastering data, captions, time code and fields that no header tells. Null when it can't be. */
async function firstFrame(
  input: FileInput,
  streamIndex: number,
  limits: RunLimits,
): Promise<Result<FfprobeFrame | null>> {
  const args = ['-select_streams', String(streamIndex), '-show_frames', '-read_intervals', '%+#1', '-of', 'json'];
  const run = await runFfprobe({ ...limits, input, args });
  if (!run.ok) return run.error.code === 'FFMPEG_FAILED' ? ok(null) : run;
  try {
    const { frames } = z.object({ frames: z.array(FfprobeFrameSchema) }).parse(JSON.parse(run.value.stdout.toString()));
    return ok(frames[0] ?? null);
  } catch {
    return ok(null);
  }
}

function unreadable(reason?: string) {
  return fail('MEDIA_UNREADABLE', 'The headers can’t be read.', reason);
}

const count = z.coerce.number().int().optional().catch(undefined);
const seconds = z.coerce.number().optional().catch(undefined);
const tags = z.record(z.string(), z.string()).optional();
const SideDataSchema = z.looseObject({
  side_data_type: z.string().optional(),
  rotation: z.number().optional(),
  timecodes: z.array(z.object({ value: z.string() })).optional(),
});
type SideData = z.infer<typeof SideDataSchema>;
const FfprobeFrameSchema = z.object({
  interlaced_frame: count,
  top_field_first: count,
  tags,
  side_data_list: z.array(SideDataSchema).optional(),
});
type FfprobeFrame = z.infer<typeof FfprobeFrameSchema>;
const FfprobeStreamSchema = z.object({
  index: z.number().int(),
  codec_type: z.string().optional(),
  codec_name: z.string().optional(),
  codec_tag_string: z.string().optional(),
  profile: z.string().optional(),
  closed_captions: count,
  bits_per_sample: count,
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
  side_data_list: z.array(SideDataSchema).optional(),
});
type FfprobeStream = z.infer<typeof FfprobeStreamSchema>;
const FfprobeOutputSchema = z.object({
  streams: z.array(FfprobeStreamSchema),
  format: z.object({ start_time: seconds, duration: seconds, tags }),
  frames: z.array(FfprobeFrameSchema).optional(),
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

export interface PacketTimes {
  readonly frames: number;
  readonly steady: boolean;
  /** From the first to the last of them; null when there is only one. */
  readonly framesPerSecond: number | null;
  /** When each is shown, in the order shown: seconds, as the file counts them. */
  readonly times: readonly number[];
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
  return ok({ frames, steady, framesPerSecond: span > 0 ? (times.length - 1) / span : null, times });
}

function spread(values: readonly number[]): number {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return high - low;
}

interface Findings {
  readonly sizeBytes: number;
  readonly packets: PacketTimes | null;
  readonly first: FfprobeFrame | null;
  readonly wave: BroadcastWave | null;
  readonly errors: readonly string[];
}

function describe(raw: FfprobeOutput, sniffed: Sniffed, findings: Findings): Result<MediaInfo> {
  const { sizeBytes, packets, first, wave, errors } = findings;
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
  const video = picture ? videoTrack(picture, raw, packets, image, first) : null;
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
  const label = video && !image ? findTimecode(raw, picture!, first) : null;
  let startTimecode: MediaInfo['startTimecode'] = null;
  if (label && video) {
    const read = readLabel(label.text, video.rate);
    if (read) {
      const { frame, dropFrame } = read.value;
      startTimecode = { text: formatTimecode(frame, video.rate, { dropFrame }), frame, dropFrame };
      if (read.warning) warnings.push(read.warning);
    } else {
      warnings.push('TIMECODE_UNREADABLE');
    }
    const starts = raw.streams.find(({ codec_tag_string }) => codec_tag_string === 'tmcd')?.nb_frames ?? 1;
    if (starts > 1) warnings.push('TIMECODE_DISCONTINUOUS');
  }
  const timeReference = Number.parseInt(tag(raw, 'time_reference') ?? '', 10);
  const startSamples = kind === 'AUDIO' && Number.isSafeInteger(timeReference) ? timeReference : null;
  const timecodeRate = startSamples === null ? null : (wave?.rate ?? null);
  if (timecodeRate && startSamples !== null && sounds[0]) {
    const dropFrame = wave!.dropFrame && supportsDropFrame(timecodeRate);
    const frame = samplesToFrames(startSamples, timecodeRate, sounds[0].sample_rate!);
    startTimecode = { text: formatTimecode(frame, timecodeRate, { dropFrame }), frame, dropFrame };
  }
  const language = (stream: FfprobeStream) => known(stream.tags?.['language'], 'und');
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
      timecodeSource: startTimecode ? (label?.source ?? 'BWF') : null,
      timecodeRate,
      startSamples,
      reel: tag(raw, 'reel_name', 'com.apple.proapps.reel') ?? wave?.tape ?? null,
      slate: {
        scene: tag(raw, 'scene', 'com.apple.proapps.scene') ?? wave?.scene ?? null,
        take: tag(raw, 'take', 'com.apple.proapps.shot') ?? wave?.take ?? null,
        camera: tag(raw, 'camera', 'com.apple.proapps.cameraname', 'com.apple.quicktime.model', 'model') ?? null,
      },
      video,
      audio: image ? [] : sounds.map(audioTrack),
      subtitles: raw.streams
        .filter((stream) => stream.codec_type === 'subtitle')
        .map((stream) => ({ index: stream.index, codec: stream.codec_name ?? 'unknown', language: language(stream) })),
      warnings,
    } satisfies MediaInfo),
  );
}

function audioTrack(stream: FfprobeStream): AudioTrack {
  return {
    index: stream.index,
    codec: stream.codec_name ?? 'unknown',
    channels: stream.channels!,
    layout: stream.channel_layout ?? null,
    sampleRate: stream.sample_rate!,
    durationSamples: stream.duration === undefined ? null : Math.round(stream.duration * stream.sample_rate!),
    language: known(stream.tags?.['language'], 'und'),
    bitDepth: stream.bits_per_raw_sample || stream.bits_per_sample || null,
  };
}

/** The value, unless it says that it is not known. */
function known(value: string | undefined, ...unknown: string[]): string | null {
  return value && value !== 'unknown' && value !== 'reserved' && !unknown.includes(value) ? value : null;
}

function videoTrack(
  stream: FfprobeStream,
  raw: FfprobeOutput,
  packets: PacketTimes | null,
  image: boolean,
  first: FfprobeFrame | null,
): VideoTrack {
  const [width, height] = [stream.width!, stream.height!];
  const aspect = fraction(stream.sample_aspect_ratio?.replace(':', '/')) ?? { num: 1, den: 1 };
  const rotation = image ? exifRotation(raw) : matrixRotation(stream);
  const [shownWidth, shownHeight] = [Math.max(1, Math.round((width * aspect.num) / aspect.den)), height];
  const turned = rotation % 180 !== 0;
  const sideData = [...(stream.side_data_list ?? []), ...(first?.side_data_list ?? [])];
  const codecTag = /^[\x21-\x7e ]{4}$/.test(stream.codec_tag_string ?? '') ? stream.codec_tag_string! : null;
  const profile = known(stream.profile);
  const { rate, variableRate } = frameRate(stream, packets);
  const pixelFormat = stream.pix_fmt ?? null;
  const transfer = known(stream.color_transfer);
  return {
    index: stream.index,
    codec: stream.codec_name!,
    profile,
    codecTag,
    flavour: flavourOf(stream.codec_name!, profile, codecTag),
    width,
    height,
    displayWidth: turned ? shownHeight : shownWidth,
    displayHeight: turned ? shownWidth : shownHeight,
    sampleAspect: aspect,
    displayAspect: reduced(width * aspect.num, height * aspect.den),
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
    mastering: masteringDisplay(sideData),
    lightLevel: lightLevel(sideData),
    captions: stream.closed_captions === 1 || sideData.some(({ side_data_type }) => side_data_type?.includes('A53')),
    fieldOrder: fieldOrderOf(stream, first),
    rate,
    variableRate: !image && variableRate,
    startSeconds: image ? 0 : Math.max(0, (stream.start_time ?? 0) - (raw.format.start_time ?? 0)),
  };
}

/** Apple ProRes white paper; Avid DNxHR codec family. */
const PRORES_TAGS: Readonly<Record<string, string>> = {
  apco: 'ProRes 422 Proxy',
  apcs: 'ProRes 422 LT',
  apcn: 'ProRes 422',
  apch: 'ProRes 422 HQ',
  ap4h: 'ProRes 4444',
  ap4x: 'ProRes 4444 XQ',
};
/** As ffprobe names the profiles, for containers without the tags. */
const PRORES_PROFILES: Readonly<Record<string, string>> = {
  Proxy: PRORES_TAGS['apco']!,
  LT: PRORES_TAGS['apcs']!,
  Standard: PRORES_TAGS['apcn']!,
  HQ: PRORES_TAGS['apch']!,
  '4444': PRORES_TAGS['ap4h']!,
  '4444XQ': PRORES_TAGS['ap4x']!,
  XQ: PRORES_TAGS['ap4x']!,
};

function flavourOf(codec: string, profile: string | null, codecTag: string | null): string | null {
  if (codec === 'prores') return PRORES_TAGS[codecTag ?? ''] ?? PRORES_PROFILES[profile ?? ''] ?? 'ProRes';
  if (codec !== 'dnxhd') return null;
  const dnxhr = /^DNXHR (\S+)$/i.exec(profile ?? '');
  return dnxhr ? `DNxHR ${dnxhr[1]!.toUpperCase()}` : 'DNxHD';
}

/**
 * The header's word; the first picture's where it has none, or says `tb` or `bt`: writers of MOV (ffmpeg among them) put those where
 * the pictures themselves say `tt` and `bb`.
 */
function fieldOrderOf(stream: FfprobeStream, first: FfprobeFrame | null): VideoTrack['fieldOrder'] {
  const told = z.enum(['progressive', 'tt', 'bb', 'tb', 'bt']).safeParse(stream.field_order);
  const doubtful = told.data === 'tb' || told.data === 'bt';
  if (told.success && !(doubtful && first?.interlaced_frame === 1)) return told.data;
  if (first?.interlaced_frame === undefined) return null;
  return first.interlaced_frame === 0 ? 'progressive' : first.top_field_first === 1 ? 'tt' : 'bb';
}

/** Numbers of one kind of side data; ffprobe writes fractions as `34000/50000`. */
function sideNumbers(list: readonly SideData[], type: string): ((key: string) => number) | null {
  const data = list.find(({ side_data_type }) => side_data_type?.startsWith(type));
  if (!data) return null;
  return (key) => {
    const value = data[key];
    if (typeof value === 'number') return value;
    const [num, den] = String(value).split('/').map(Number);
    return num! / (den ?? 1);
  };
}

function masteringDisplay(list: readonly SideData[]): MasteringDisplay | null {
  const read = sideNumbers(list, 'Mastering display');
  if (!read) return null;
  const point = (name: string) => ({ x: read(`${name}_x`), y: read(`${name}_y`) });
  const display = {
    red: point('red'),
    green: point('green'),
    blue: point('blue'),
    white: point('white_point'),
    minLuminance: read('min_luminance'),
    maxLuminance: read('max_luminance'),
  };
  const numbers = [display.red, display.green, display.blue, display.white].flatMap(({ x, y }) => [x, y]);
  return [...numbers, display.minLuminance, display.maxLuminance].every(Number.isFinite) ? display : null;
}

function lightLevel(list: readonly SideData[]): LightLevel | null {
  const read = sideNumbers(list, 'Content light level');
  const [maxContent, maxFrameAverage] = read ? [read('max_content'), read('max_average')] : [0, 0];
  return Number.isInteger(maxContent) && Number.isInteger(maxFrameAverage) && maxContent + maxFrameAverage > 0
    ? { maxContent, maxFrameAverage }
    : null;
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

/** A start label as files have it, broken ones by the rules of {@link MediaInfoSchema}'s warnings; null when nothing can be made of it. */
export function readLabel(
  text: string,
  rate: Rate,
): { readonly value: Timecode; readonly warning: MediaInfo['warnings'][number] | null } | null {
  // ffmpeg writes two digits of frames at rates beyond 100, too.
  const label = nominalRate(rate) > 100 ? text.trim().replace(/([:;.,])(\d\d)$/, '$10$2') : text.trim();
  const parsed = parseTimecode(label, rate);
  if (parsed.ok) return { value: parsed.value, warning: null };
  if (!supportsDropFrame(rate)) {
    const plain = parseTimecode(label.replace(/[;.,]/g, ':'), rate);
    return plain.ok ? { value: plain.value, warning: 'DROP_FRAME_LABEL_AT_INTEGER_RATE' } : null;
  }
  if (!/[;.,]0?0[0-7]$/.test(label)) return null;
  // The labels left out are the first two of a minute at 29.97, four at 59.94, eight at 119.88.
  const first = String(nominalRate(rate) / 15);
  const next = parseTimecode(
    label.replace(/\d+$/, (frames) => first.padStart(frames.length, '0')),
    rate,
  );
  return next.ok ? { value: next.value, warning: 'DROP_FRAME_LABEL_LEFT_OUT' } : null;
}

/** The label of the first frame and where it was: the picture's tag, a timecode track, the container, the first picture. */
function findTimecode(
  raw: FfprobeOutput,
  picture: FfprobeStream,
  first: FfprobeFrame | null,
): { text: string; source: 'TRACK' | 'HEADER' | 'SEI' } | null {
  const of = (record: Record<string, string> | undefined) =>
    Object.entries(record ?? {}).find(([key]) => key.toLowerCase() === 'timecode')?.[1];
  const tracks = raw.streams.filter((stream) => stream.codec_type === 'data').map((stream) => of(stream.tags));
  const track = tracks.find((text) => text);
  const header = of(raw.format.tags);
  const own = of(picture.tags);
  if (own) return { text: own, source: track === own && header !== own ? 'TRACK' : 'HEADER' };
  if (track) return { text: track, source: 'TRACK' };
  if (header) return { text: header, source: 'HEADER' };
  const sei = first?.side_data_list?.find(({ timecodes }) => timecodes?.length)?.timecodes?.[0]?.value;
  return sei ? { text: sei, source: 'SEI' } : null;
}

/** The first of some tags, whatever the case of its name, in any stream or the file. */
function tag(raw: FfprobeOutput, ...names: string[]): string | undefined {
  const all = [...raw.streams.map((stream) => stream.tags), raw.format.tags].flatMap((record) =>
    Object.entries(record ?? {}),
  );
  for (const name of names) {
    const value = all.find(([key, text]) => key.toLowerCase() === name && text)?.[1];
    if (value) return value;
  }
  return undefined;
}
