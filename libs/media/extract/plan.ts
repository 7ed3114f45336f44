/** How a range of frames leaves a medium: by copy or by encoding, into which container, with which arguments. Pure. */
import type { AudioTrack, MediaInfo, VideoTrack } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import {
  RATES,
  formatTimecode,
  framesToSamples,
  framesToSeconds,
  nominalRate,
  rateText,
  sameRate,
  type Rate,
} from '../timecode.js';
import type { SmartObstacle } from './smart.js';
import { mediumRange, withHandles, type TimecodeRange } from '../timerange.js';

/** Codecs a range can be encoded to. `source`: that of the source where it is H.264, HEVC or FFV1, else ProRes. */
export type ExtractCodec = 'source' | 'prores422hq' | 'prores4444' | 'dnxhrHqx' | 'h264' | 'hevc' | 'ffv1';

export interface FrameRange {
  /** Frames of the medium, from 0. */
  readonly first: number;
  readonly count: number;
}

/** What could not be kept, or was assumed. */
export type ExtractWarning =
  /** The source has no readable start timecode: its first frame was counted as 00:00:00:00. */
  | 'TIMECODE_ASSUMED'
  /** The source's timecode is broken or breaks off (its probe says how): the result counts on from the label read for its first frame. */
  | 'TIMECODE_CORRECTED'
  /** The container has no timecode at this rate: none is written. */
  | 'TIMECODE_NOT_WRITTEN'
  /** The encoder has no place for mastering display or light level. */
  | 'HDR_METADATA_LOST'
  /** Captions inside the source's pictures do not fit the codec asked for. */
  | 'CAPTIONS_LOST'
  /** Subtitle tracks do not fit the container. */
  | 'SUBTITLES_LOST'
  /** Variable rate: times are kept, the timecode counts frames as if the rate were constant. */
  | 'VARIABLE_RATE'
  /**
   * Smart rendering: the edges come from another encoder than the middle. Parameter sets change at the joins and stand in the stream
   * (`avc3`, `hev1`); players and hardware decoders that read them once, at the start, show the middle wrongly or not at all.
   */
  | 'PARAMETER_SETS_VARY'
  | SmartObstacle;

/** Codecs in which every picture stands by itself. That it holds for this file is looked up in its packets. */
const INTRA = new Set(
  'prores dnxhd mjpeg ffv1 rawvideo v210 v410 r210 r10k v308 v408 png tiff dpx exr jpeg2000 huffyuv ffvhuff utvideo cfhd dvvideo hap magicyuv'.split(
    ' ',
  ),
);

export function mayBeIntra(video: VideoTrack): boolean {
  return INTRA.has(video.codec);
}

/**
 * MXF need not say when pictures are shown, only the order they are stored in; then their times are late by the decoder's delay, and
 * only counting from the first one is right.
 */
export function mustCount({ container, video }: MediaInfo): boolean {
  return container === 'MXF' && video !== null && !mayBeIntra(video);
}

export type OutputContainer = 'mov' | 'mxf' | 'mkv';

/** The frames asked for with their handles, kept inside the medium. RANGE_OUTSIDE_MEDIA. */
export function resolveRange(
  info: MediaInfo,
  range: FrameRange | TimecodeRange,
  handles: { readonly head: number; readonly tail: number } = { head: 0, tail: 0 },
): Result<FrameRange & { readonly head: number; readonly tail: number }> {
  if (info.kind !== 'VIDEO' || !info.rate || !info.durationFrames) {
    return fail('RANGE_OUTSIDE_MEDIA', 'The medium has no frames to take out.');
  }
  const origin = info.startTimecode?.frame ?? 0;
  const medium = mediumRange(origin, info.durationFrames, info.rate, info.startTimecode?.dropFrame);
  let asked: TimecodeRange;
  if ('start' in range) {
    if (!sameRate(range.start.rate, info.rate)) {
      const [theirs, ours] = [rateText(range.start.rate), rateText(info.rate)];
      return fail('RANGE_OUTSIDE_MEDIA', `The range counts at ${theirs}, the medium runs at ${ours}.`);
    }
    asked = range;
  } else {
    asked = mediumRange(origin + range.first, range.count, info.rate, info.startTimecode?.dropFrame);
  }
  const inside = withHandles(asked, handles, medium);
  if (!inside.ok || asked.frames === 0) {
    return fail('RANGE_OUTSIDE_MEDIA', inside.ok ? 'The range is empty.' : inside.error.message);
  }
  const { range: whole, head, tail } = inside.value;
  return ok({ first: whole.start.frame - origin, count: whole.frames, head, tail });
}

/** The codec really used, and where it lives. */
export function chooseCodec(video: VideoTrack, asked: ExtractCodec): Exclude<ExtractCodec, 'source'> {
  if (asked !== 'source') return asked;
  if (video.codec === 'h264' || video.codec === 'hevc' || video.codec === 'ffv1') return video.codec;
  return video.hasAlpha ? 'prores4444' : 'prores422hq';
}

export function containerOf(info: MediaInfo, codec: ExtractCodec | 'copy'): OutputContainer {
  if (codec === 'ffv1') return 'mkv';
  if (codec !== 'copy') return 'mov';
  if (info.container === 'MXF') {
    // MXF as ffmpeg writes it takes 48 kHz PCM of 16 or 24 bits and nothing else.
    const fits = info.audio.every(({ sampleRate, codec: name }) => sampleRate === 48_000 && /^pcm_s(16|24)/.test(name));
    return fits ? 'mxf' : 'mov';
  }
  return info.container === 'MKV' || info.container === 'WEBM' ? 'mkv' : 'mov';
}

const H264_FORMATS = ['yuv420p', 'yuv422p', 'yuv444p', 'yuv420p10le', 'yuv422p10le', 'yuv444p10le', 'yuvj420p', 'gray'];
const HEVC_FORMATS = [...H264_FORMATS, 'yuv420p12le', 'yuv422p12le', 'yuv444p12le'];

function pixelFormat(video: EncodedPicture, formats: readonly string[]): string {
  const own = video.pixelFormat ?? '';
  if (formats.includes(own)) return own;
  const deep = (video.bitDepth ?? 8) > 8 ? '10le' : '';
  return `yuv${/444|rgb|gbr/.test(own) ? '444' : /422/.test(own) ? '422' : '420'}p${deep}`;
}

export interface EncoderPlan {
  readonly arguments: readonly string[];
  readonly format: string;
  /** It has a place for captions in the picture, and for HDR metadata. */
  readonly keepsCaptions: boolean;
  readonly keepsHdr: boolean;
}

/** What of a picture decides how it is encoded. */
export type EncodedPicture = Pick<
  VideoTrack,
  'fieldOrder' | 'hasAlpha' | 'pixelFormat' | 'bitDepth' | 'mastering' | 'lightLevel'
>;

/**
 * Visually lossless: constant quality for the long-GOP codecs, the high profile of the others.
 * `repeatHeaders`: HEVC has its parameter sets before each key picture.
 */
export function pictureEncoder(
  codec: Exclude<ExtractCodec, 'source'>,
  video: EncodedPicture,
  repeatHeaders = false,
): EncoderPlan {
  const interlaced = video.fieldOrder !== null && video.fieldOrder !== 'progressive';
  const fields = interlaced ? ['-flags', '+ildct+ilme'] : [];
  const plain = { keepsCaptions: false, keepsHdr: false };
  switch (codec) {
    case 'prores422hq':
    case 'prores4444': {
      const rich = codec === 'prores4444';
      const format = rich ? (video.hasAlpha ? 'yuva444p10le' : 'yuv444p10le') : 'yuv422p10le';
      // `prores` is eight times as fast as `prores_ks` and as good at these profiles, but has neither fields nor 16 bits of alpha.
      const ks = interlaced || (rich && video.hasAlpha);
      const name = ks ? ['-c:v', 'prores_ks', ...(rich ? ['-alpha_bits', '16'] : [])] : ['-c:v', 'prores'];
      return { ...plain, arguments: [...name, '-profile:v', rich ? '4' : '3', '-vendor', 'apl0', ...fields], format };
    }
    case 'dnxhrHqx':
      return { ...plain, arguments: ['-c:v', 'dnxhd', '-profile:v', 'dnxhr_hqx'], format: 'yuv422p10le' };
    case 'ffv1': {
      const native = video.pixelFormat ?? 'yuv420p';
      return { ...plain, arguments: ['-c:v', 'ffv1', '-level', '3', '-g', '1', '-slices', '4'], format: native };
    }
    case 'h264': {
      const format = pixelFormat(video, H264_FORMATS);
      const options = ['-c:v', 'libx264', '-preset', 'medium', '-crf', '12', ...fields];
      return { arguments: options, format, keepsCaptions: true, keepsHdr: false };
    }
    case 'hevc': {
      const options = ['-c:v', 'libx265', '-preset', 'medium', '-crf', '12', '-tag:v', 'hvc1'];
      const parameters = [
        'log-level=error',
        ...hdrParameters(video),
        ...(repeatHeaders ? ['repeat-headers=1'] : []),
      ].join(':');
      const format = pixelFormat(video, HEVC_FORMATS);
      return { arguments: [...options, '-x265-params', parameters], format, keepsCaptions: false, keepsHdr: true };
    }
  }
}

/** x265 takes chromaticities in 1/50,000 and luminance in 1/10,000 cd/m², as SMPTE ST 2086 codes them. */
function hdrParameters({ mastering, lightLevel }: EncodedPicture): string[] {
  const point = ({ x, y }: { x: number; y: number }) => `(${Math.round(x * 50_000)},${Math.round(y * 50_000)})`;
  const light = (value: number) => Math.round(value * 10_000);
  return [
    ...(mastering
      ? [
          `master-display=G${point(mastering.green)}B${point(mastering.blue)}R${point(mastering.red)}WP${point(mastering.white)}` +
            `L(${light(mastering.maxLuminance)},${light(mastering.minLuminance)})`,
        ]
      : []),
    ...(lightLevel ? [`max-cll=${lightLevel.maxContent},${lightLevel.maxFrameAverage}`] : []),
  ];
}

/** Sets the source's colour on the frames themselves: flags of the encoder alone leave ProRes headers unset (measured with 5.1). */
export function colourFilter(video: VideoTrack): string[] {
  const { primaries, transfer, matrix, range } = video.colour;
  const set = [
    ...(primaries ? [`color_primaries=${primaries}`] : []),
    ...(transfer ? [`color_trc=${transfer}`] : []),
    ...(matrix ? [`colorspace=${matrix}`] : []),
    ...(range ? [`range=${range}`] : []),
  ];
  return set.length ? [`setparams=${set.join(':')}`] : [];
}

/**
 * Every track, in its own depth, of exactly the samples of the frames: those nearest to the first and last frame's start. `before`:
 * filters that come first.
 */
export function soundArguments(
  tracks: readonly AudioTrack[],
  samples: (sampleRate: number) => number,
  container: OutputContainer,
  input: number,
  before: readonly string[] = [],
): string[] {
  return tracks.flatMap((track, index) => {
    const count = samples(track.sampleRate);
    const exact = [...before, `aresample=async=1:first_pts=0,atrim=end_sample=${count},apad=whole_len=${count}`].join(
      ',',
    );
    return [
      ...['-map', `${input}:${track.index}`, `-c:a:${index}`, pcmOf(track, container), `-filter:a:${index}`, exact],
      ...languageArguments(`s:a:${index}`, track.language, container),
    ];
  });
}

/** QuickTime's own list of languages has one code of those that have two in ISO 639-2, and ffmpeg finds only that. */
const QUICKTIME_LANGUAGES: Readonly<Record<string, string>> = {
  ...{ deu: 'ger', fre: 'fra', nld: 'dut', swe: 'sve', ell: 'gre', isl: 'ice', zho: 'chi', sqi: 'alb', rum: 'ron' },
  ...{ cze: 'ces', slo: 'slk', mkd: 'mac', hye: 'arm', kat: 'geo', bod: 'tib', mya: 'bur', msa: 'may', cym: 'wel' },
  ...{ eus: 'baq', gle: 'iri' },
};

export function languageArguments(stream: string, language: string | null, container: OutputContainer): string[] {
  if (!language) return [];
  const code = container === 'mov' ? (QUICKTIME_LANGUAGES[language] ?? language) : language;
  return [`-metadata:${stream}`, `language=${code}`];
}

function pcmOf(track: AudioTrack, container: OutputContainer): string {
  if (container === 'mxf') return /16/.test(track.codec) ? 'pcm_s16le' : 'pcm_s24le';
  if (/^pcm_[sf](16|24|32|64)(le|be)$/.test(track.codec) && !(container === 'mkv' && track.codec.includes('64'))) {
    return track.codec;
  }
  return track.bitDepth === 16 ? 'pcm_s16le' : 'pcm_s24le';
}

/** Samples of `count` frames beginning at `first`, both ends rounded alike so that neighbours join without gap or overlap. */
export function samplesOf(range: FrameRange, rate: Rate, sampleRate: number): number {
  return framesToSamples(range.first + range.count, rate, sampleRate) - framesToSamples(range.first, rate, sampleRate);
}

export interface LabelPlan {
  readonly arguments: readonly string[];
  readonly text: string | null;
  readonly warnings: readonly ExtractWarning[];
}

/** The label of the first frame taken, and the reel. */
export function labelArguments(info: MediaInfo, first: number, container: OutputContainer): LabelPlan {
  const reel = info.reel ? ['-metadata:s:v:0', `reel_name=${info.reel}`] : [];
  const broken = info.warnings.some((warning) => /^(DROP_FRAME|TIMECODE_DISCONTINUOUS)/.test(warning));
  const assumed: ExtractWarning[] = !info.startTimecode ? ['TIMECODE_ASSUMED'] : broken ? ['TIMECODE_CORRECTED'] : [];
  const rate = info.rate!;
  const { frame, dropFrame } = info.startTimecode ?? { frame: 0, dropFrame: false };
  const text = formatTimecode(frame + first, rate, { dropFrame });
  // The timecode track's frame count is one byte, and ffmpeg knows only the usual rates in it.
  const usual = Object.values(RATES).some((known) => sameRate(known, rate)) && nominalRate(rate) <= 100;
  if (container === 'mkv') return { arguments: [...reel, '-metadata', `TIMECODE=${text}`], text, warnings: assumed };
  if (usual) return { arguments: [...reel, '-timecode', text], text, warnings: assumed };
  const none = ['-metadata', 'timecode=', '-metadata:s:v:0', 'timecode='];
  return { arguments: [...reel, ...none], text: null, warnings: [...assumed, 'TIMECODE_NOT_WRITTEN'] };
}

/** Seconds with nine decimals: ffmpeg rounds to microseconds, finer than any sample. */
export function secondsText(seconds: number): string {
  return Math.max(0, seconds).toFixed(9);
}

/** Start of a frame of constant rate, seconds from the start of the file. */
export function frameStart(video: VideoTrack, frame: number): number {
  const { num, den } = framesToSeconds(frame, video.rate);
  return video.startSeconds + num / den;
}
