/** Which renditions a medium gets, for which purpose, and the one ffmpeg command that makes them from one decode. Pure. */
import { tileGraph, tileLevels, type TileLevel } from './deepZoom.js';
import { colourFilter, labelArguments, samplesOf, soundArguments } from './extract/plan.js';
import { qualityArguments, type PictureEncoder } from './ffmpeg/encoders.js';
import type { FrameMap } from './frameMap.js';
import type { SpriteSheet } from './hls.js';
import { programmesOf, type Programme } from './loudness.js';
import { USUAL_PEAK, toneMapCube, writeCube, type Cube, type HdrTransfer } from './lut.js';
import type { AudioTrack, MediaInfo, VideoTrack } from './probe/index.js';
import { RATES, formatTimecode, parseTimecode, rateText, sameRate, type Rate } from './timecode.js';
import type { ReviewRole } from './transcode.js';
import { samplesPerPixel } from './waveform.js';

/**
 * What renditions are for. REVIEW: adaptive HLS with poster, sprites, waveform and loudness, or the viewable copy of a still;
 * PREVIEW: one small file that plays anywhere; THUMBNAIL: a small still; EDITORIAL: a proxy that relinks in Avid, Premiere and Resolve.
 */
export type Purpose = 'THUMBNAIL' | 'PREVIEW' | 'EDITORIAL' | 'REVIEW';
export const VIEWING: readonly Purpose[] = ['THUMBNAIL', 'PREVIEW', 'REVIEW'];

/** Codecs of editorial proxies: every picture stands by itself. */
export const EDITORIAL_CODECS = ['proresProxy', 'dnxhrLb', 'h264Intra'] as const;
/** Lines of a 16:9 box the picture fits into, never enlarged; `source` is its own size. */
export const EDITORIAL_RESOLUTIONS = ['source', '2160', '1080', '720', '540'] as const;

export interface EditorialSpec {
  readonly codec: (typeof EDITORIAL_CODECS)[number];
  readonly resolution: (typeof EDITORIAL_RESOLUTIONS)[number];
  /** SOURCE: code values and tags as the source has them, so that a grade fits both. REVIEW: as review shows it. Default SOURCE. */
  readonly colour?: ColourChoice;
}

export type ColourChoice = 'SOURCE' | 'REVIEW';

/** What is asked for. */
export interface LadderSpec {
  /** Default {@link VIEWING}; with `editorial` also EDITORIAL. */
  readonly purposes?: readonly Purpose[];
  /** Needed for EDITORIAL. */
  readonly editorial?: EditorialSpec;
  /** Applied to the code values of the source for REVIEW colour, instead of tone mapping: what log pictures need. */
  readonly lut?: Cube;
  /** Of the PREVIEW. Default REVIEW. */
  readonly previewColour?: ColourChoice;
}

export interface PlannedFile {
  readonly name: string;
  readonly role: ReviewRole;
  readonly purpose: Purpose;
  readonly mime: string;
  readonly width?: number;
  readonly height?: number;
  /** Must hold as many frames as the source, or as the frame map says. */
  readonly countFrames?: boolean;
}

export interface PlannedRendition {
  readonly playlist: string;
  readonly segments: string;
  readonly width?: number;
  readonly height?: number;
}

export interface ReviewPlan {
  readonly inputOptions: readonly string[];
  /** Everything after the input; names are relative to the working folder. */
  readonly output: readonly string[];
  readonly files: readonly PlannedFile[];
  readonly renditions: readonly PlannedRendition[];
  readonly sprites: SpriteSheet | null;
  /** Programmes whose loudness is measured on the way. */
  readonly programmes: readonly Programme[];
  /** Stereo of 16 bits comes on standard output, to be drawn. */
  readonly waveform: { readonly sampleRate: number; readonly samplesPerPixel: number } | null;
  /** Files the command reads from the working folder; not part of the result. */
  readonly sidecars: readonly { readonly name: string; readonly text: string }[];
  /** Of a large still: what it is cut into. */
  readonly tiles: readonly TileLevel[] | null;
}

export interface PlanOptions extends LadderSpec {
  /** Filters this ffmpeg has. */
  readonly filters: ReadonlySet<string>;
  readonly threads: number;
  readonly preset: string;
  /** Of H.264 for viewing. Default software. */
  readonly encoder?: PictureEncoder;
  /** Needed for EDITORIAL of variable rate. */
  readonly frameMap?: FrameMap | null;
  /** Frames of the source where `info` does not tell them exactly; needed for the exact length of EDITORIAL's sound. */
  readonly frames?: number | null;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

const PLAYLIST_MIME = 'application/vnd.apple.mpegurl';
/** Length of a group of pictures and of an HLS segment, seconds. */
const GOP_SECONDS = 2;
const MAX_SPRITES = 100;
const SPRITE_COLUMNS = 10;
const VIEW_LIMIT: Size = { width: 8192, height: 8192 };

/**
 * The largest even size of the same shape inside `box`, which is turned for a portrait picture. Never larger than the picture
 * itself (odd sizes lose one line or column; nothing is smaller than 2).
 */
export function fitInside(picture: Size, box: Size): Size {
  const portrait = picture.height > picture.width;
  const [boxWidth, boxHeight] = portrait ? [box.height, box.width] : [box.width, box.height];
  const scale = Math.min(1, boxWidth / picture.width, boxHeight / picture.height);
  const even = (value: number) => Math.max(2, 2 * Math.round((value * scale) / 2 - (scale === 1 ? 0.25 : 0)));
  return { width: even(picture.width), height: even(picture.height) };
}

/** 1080p and 540p; a picture of 540 lines or less gets its own size and half of it. */
export function rungSizes(picture: Size): [Size, Size] {
  const top = fitInside(picture, { width: 1920, height: 1080 });
  const shortSide = Math.min(top.width, top.height);
  if (shortSide > 540) return [top, fitInside(picture, { width: 960, height: 540 })];
  return [top, { width: halfEven(top.width), height: halfEven(top.height) }];
}

function halfEven(value: number): number {
  return Math.max(2, 2 * Math.round(value / 4));
}

export function purposesOf(spec: LadderSpec): readonly Purpose[] {
  return spec.purposes ?? (spec.editorial ? [...VIEWING, 'EDITORIAL'] : VIEWING);
}

export function planReview(info: MediaInfo, options: PlanOptions): ReviewPlan {
  if (info.kind === 'IMAGE') return planStill(info, options);
  if (info.kind === 'AUDIO') return planSound(info, options);
  return planPicture(info, options);
}

/** One branch of the graph: what it makes of its share of the pictures, where that goes, and the file. */
interface Branch {
  readonly name: string;
  /** Chains from `[name]` on; the last label is `[name_out]`. */
  readonly chains: readonly string[];
  readonly output: readonly string[];
  readonly files: readonly PlannedFile[];
}

const SOFTWARE: PictureEncoder = { name: 'libx264', hardware: null, globals: [], filter: 'format=yuv420p' };
/** Location, device and names in the source's metadata are not for those who get a review copy. */
const STRIP = ['-map_metadata', '-1', '-map_chapters', '-1'];
const LUT_FILE = 'review.cube';
/** ffprobe's names of matrices, and the `scale` filter's. */
const MATRICES: Readonly<Record<string, string>> = {
  bt709: 'bt709',
  bt2020nc: 'bt2020',
  bt2020c: 'bt2020',
  smpte170m: 'bt601',
  bt470bg: 'bt601',
  smpte240m: 'smpte240m',
};

function planPicture(info: MediaInfo, options: PlanOptions): ReviewPlan {
  const video = info.video!;
  const purposes = purposesOf(options);
  const wants = (purpose: Purpose) => purposes.includes(purpose);
  const shown: Size = { width: video.displayWidth, height: video.displayHeight };
  const [top, low] = rungSizes(shown);
  const sprites = planSprites(info, shown);
  const sound = info.audio.length > 0 && (wants('REVIEW') || wants('PREVIEW'));
  const cube = reviewCube(video, options);
  const encoder = options.encoder ?? SOFTWARE;
  const scale = ({ width, height }: Size) => `scale=${width}:${height}:flags=bicubic,setsar=1`;
  // Cards take pictures of their own kind: the way there ends each chain.
  const upload = encoder.hardware ? `,${encoder.filter}` : '';
  const encode = (size: Size, stream?: string) => viewingEncoder(video, encoder, options, size, stream);

  const posterFrame = info.durationExact ? Math.floor((info.durationFrames ?? 0) / 10) : 0;
  // ffmpeg reports no progress before every output has begun (measured with 5.1), and a picture that comes late would keep a
  // long transcode looking stalled: stills begin with the first frame, which the real picture then replaces.
  const pick = `select='eq(n,0)+eq(n,${posterFrame})',setpts=N/TB`;
  const colours = stillColours(video, cube !== null);
  const still = (size: Size) => `scale=${size.width}:${size.height}:${colours},setsar=1,format=yuvj420p`;
  const stills = posterFrame > 0 ? 2 : 1;
  const thumbnail = fitInside(shown, { width: 320, height: 180 });

  const viewing: Branch[] = [];
  if (wants('REVIEW')) {
    viewing.push(
      { name: 'top', chains: [`[top]${scale(top)}${upload}[top_out]`], output: [], files: [] },
      { name: 'low', chains: [`[low]${scale(low)}${upload}[low_out]`], output: [], files: [] },
      {
        name: 'poster',
        chains: [`[poster]${pick},${still(top)}[poster_out]`],
        output: [...STRIP, ...jpeg('3', stills), 'poster.jpg'],
        files: [{ name: 'poster.jpg', role: 'POSTER', purpose: 'REVIEW', mime: 'image/jpeg', ...top }],
      },
      spriteBranch(sprites, colours),
    );
  }
  if (wants('THUMBNAIL')) {
    viewing.push({
      name: 'thumbnail',
      chains: [`[thumbnail]${pick},${still(thumbnail)}[thumbnail_out]`],
      output: [...STRIP, ...jpeg('4', stills), 'thumbnail.jpg'],
      files: [{ name: 'thumbnail.jpg', role: 'THUMBNAIL', purpose: 'THUMBNAIL', mime: 'image/jpeg', ...thumbnail }],
    });
  }
  const ofSource: Branch[] = [];
  if (wants('PREVIEW')) {
    const size = fitInside(shown, { width: 854, height: 480 });
    const own = options.previewColour === 'SOURCE';
    const format = video.hdr ? 'yuv420p10le' : 'yuv420p';
    const colours = own ? inSourceColours(video, size, format, false) : scale(size);
    // Ten bits are for software: few cards encode them in H.264.
    const software = { ...options, encoder: SOFTWARE };
    const picture = own ? viewingEncoder(video, SOFTWARE, software, size, undefined, video.hdr) : encode(size);
    (own ? ofSource : viewing).push({
      name: 'preview',
      chains: [`[preview]${colours}${own ? '' : upload}[preview_out]`],
      output: [
        ...(sound ? ['-map', '[soundpreview]'] : []),
        ...[...STRIP, ...picture, ...(sound ? aac() : []), ...startTimecode(info)],
        ...['-movflags', '+faststart', '-f', 'mp4', 'proxy.mp4'],
      ],
      files: [{ name: 'proxy.mp4', role: 'PROXY', purpose: 'PREVIEW', mime: 'video/mp4', ...size, countFrames: true }],
    });
  }
  if (wants('EDITORIAL') && options.editorial) {
    const branch = editorialBranch(info, options.editorial, options, shown);
    (options.editorial.colour === 'REVIEW' ? viewing : ofSource).push(branch);
  }

  const graph: string[] = [];
  const begin = `[0:${video.index}]${deinterlaceAndTime(video, options.filters)}`;
  // A proxy in review colours at its own size is larger than the top rung: the shared picture is as large as the largest of them.
  const largest = viewing.some(({ name }) => name === 'editorial') ? largestOf(viewing, top) : top;
  const shared = viewing.length > 0 ? ['viewing'] : [];
  const taps = [...shared, ...ofSource.map(({ name }) => name)];
  graph.push(`${begin}${taps.length > 1 ? `,split=${taps.length}` : ''}${taps.map((tap) => `[${tap}]`).join('')}`);
  if (viewing.length > 0) {
    const names = viewing.map(({ name }) => `[${name}]`).join('');
    graph.push(
      `[viewing]${prepare(video, largest, cube)}${viewing.length > 1 ? `,split=${viewing.length}` : ''}${names}`,
    );
  }
  graph.push(...[...viewing, ...ofSource].flatMap(({ chains }) => chains));
  const programmes = sound ? programmesOf(info.audio) : [];
  if (sound) {
    const users = [...(wants('REVIEW') ? ['[sound]', '[wave]'] : []), ...(wants('PREVIEW') ? ['[soundpreview]'] : [])];
    graph.push(...soundChains(info, wants('REVIEW') ? programmes : [], users));
  }
  const others = [...viewing, ...ofSource].filter(({ output }) => output.length > 0);
  const rate = info.rate!;
  const gop = groupOfPictures(rate);
  const segmentSeconds = video.variableRate ? GOP_SECONDS : (gop * rate.den) / rate.num;
  const hls = wants('REVIEW')
    ? [
        ...['-map', '[top_out]', '-map', '[low_out]', ...(sound ? ['-map', '[sound]'] : []), ...STRIP],
        ...[...encode(top, 'v:0'), ...rateLimit(video, low, 'v:1'), ...(sound ? aac() : [])],
        ...hlsMuxer(
          segmentSeconds,
          sound ? 'v:0,agroup:s,name:v0 v:1,agroup:s,name:v1 a:0,agroup:s,name:a0' : 'v:0,name:v0 v:1,name:v1',
        ),
      ]
    : [];
  const rendition = (name: string, size?: Size): PlannedRendition => ({
    playlist: `hls_${name}.m3u8`,
    segments: `hls_${name}.mp4`,
    ...size,
  });
  const renditions = wants('REVIEW')
    ? [rendition('v0', top), rendition('v1', low), ...(sound ? [rendition('a0')] : [])]
    : [];
  return {
    inputOptions: [],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...hls,
      ...others.flatMap(({ name, output }) => ['-map', `[${name}_out]`, ...output]),
      ...(sound && wants('REVIEW') ? soundOutputs(programmes) : []),
    ],
    files: [...others.flatMap(({ files }) => files), ...renditionFiles(renditions)],
    renditions,
    sprites: wants('REVIEW') ? sprites : null,
    programmes: wants('REVIEW') ? programmes : [],
    waveform: sound && wants('REVIEW') ? waveformPlan(info) : null,
    sidecars: cube && viewing.length > 0 ? [{ name: LUT_FILE, text: writeCube(cube) }] : [],
    tiles: null,
  };
}

function largestOf(branches: readonly Branch[], top: Size): Size {
  return branches
    .flatMap(({ files }) => files)
    .reduce<Size>(
      (best, { width = 0, height = 0, role }) =>
        role === 'EDITORIAL' && width > best.width ? { width, height } : best,
      top,
    );
}

/** JPEG is Y′CbCr of BT.601 in full range whatever its size (JFIF); what has no tag is taken as players take it, by its size. */
function stillColours(video: VideoTrack, mapped: boolean): string {
  const matrix = mapped || isRgb(video) ? 'bt709' : MATRICES[video.colour.matrix ?? ''];
  const assumed = video.height > 576 ? 'bt709' : 'bt601';
  return `in_color_matrix=${matrix ?? assumed}:out_color_matrix=bt601:out_range=pc`;
}

function spriteBranch(sprites: SpriteSheet & { rows: number }, colours: string): Branch {
  const sheet: Size = { width: sprites.tileWidth * SPRITE_COLUMNS, height: sprites.tileHeight * sprites.rows };
  return {
    name: 'sprites',
    chains: [
      '[sprites]split=2[begin0][tiles0]',
      `[begin0]trim=end_frame=1,scale=${sheet.width}:${sheet.height}:${colours},setsar=1,format=yuvj420p[begin]`,
      `[tiles0]select='not(mod(n,${sprites.step}))',scale=${sprites.tileWidth}:${sprites.tileHeight}:${colours},setsar=1,` +
        `format=yuvj420p,tile=${SPRITE_COLUMNS}x${sprites.rows}[sheet]`,
      '[begin][sheet]concat=n=2:v=1:a=0,setpts=N/TB[sprites_out]',
    ],
    output: [...STRIP, ...jpeg('5', 2), 'sprites.jpg'],
    files: [{ name: 'sprites.jpg', role: 'SPRITES', purpose: 'REVIEW', mime: 'image/jpeg', ...sheet }],
  };
}

function groupOfPictures(rate: Rate): number {
  return Math.max(1, Math.round((GOP_SECONDS * rate.num) / rate.den));
}

function rateLimit(video: VideoTrack, size: Size, stream = 'v'): string[] {
  const rate = maxBitrate(size, video.rate.num / video.rate.den);
  return [`-maxrate:${stream}`, String(rate), `-bufsize:${stream}`, String(2 * rate)];
}

function viewingEncoder(
  video: VideoTrack,
  encoder: PictureEncoder,
  options: PlanOptions,
  size: Size,
  stream?: string,
  deep = false,
): string[] {
  const gop = String(groupOfPictures(video.rate));
  const keyframes = video.variableRate
    ? ['-g', '1000', '-force_key_frames', `expr:gte(t,n_forced*${GOP_SECONDS})`, '-enc_time_base', '1/90000']
    : ['-g', gop, '-keyint_min', gop];
  const software = ['-preset', options.preset, '-profile:v', deep ? 'high10' : 'high', '-sc_threshold', '0'];
  // A forced key frame must also close the group.
  const card = encoder.hardware === 'NVENC' ? ['-forced-idr', '1', '-no-scenecut', '1'] : [];
  return [
    ...['-c:v', encoder.name, ...qualityArguments(encoder, 23), ...rateLimit(video, size, stream)],
    ...(encoder.hardware ? card : [...software, '-pix_fmt', deep ? 'yuv420p10le' : 'yuv420p']),
    // Without B-frames decoding order is display order: the stream starts at exactly 0 and frame n is at n / rate, without the
    // edit lists that players treat differently. It costs a few per cent of bit rate.
    ...['-bf', '0', ...keyframes, '-fps_mode', 'passthrough', '-threads', String(options.threads)],
  ];
}

/** The proxy for editors: each picture by itself, every track of sound to the sample, timecode, reel and metadata kept. */
function editorialBranch(info: MediaInfo, spec: EditorialSpec, options: PlanOptions, shown: Size): Branch {
  const video = info.video!;
  const lines = spec.resolution === 'source' ? Number.POSITIVE_INFINITY : Number(spec.resolution);
  const size = fitInside(shown, { width: (lines * 16) / 9, height: lines });
  const deep = (video.bitDepth ?? 8) > 8 && spec.colour !== 'REVIEW';
  const { frameMap } = options;
  const frames = frameMap?.frames.length ?? options.frames ?? info.durationFrames ?? 0;
  const rate = frameMap?.rate ?? info.rate!;
  const constant = frameMap
    ? // One more of the last, so that it is not lost where its time is rounded up to the end; cut to the map's count after.
      [
        'tpad=stop_mode=clone:stop=1',
        `fps=${rateText(rate)}:round=near:eof_action=pass`,
        `tpad=stop_mode=clone:stop=${frames},trim=end_frame=${frames}`,
        `settb=${rate.den}/${rate.num},setpts=N`,
      ]
    : [];
  const { encoder, format } = editorialEncoder(spec.codec, deep);
  const chain = [
    ...constant,
    spec.colour === 'REVIEW'
      ? `scale=${size.width}:${size.height}:flags=bicubic,setsar=1,format=${format}`
      : inSourceColours(video, size, format, spec.codec !== 'h264Intra'),
  ];
  const first = video.startSeconds ? [`asetpts=PTS-${video.startSeconds.toFixed(6)}/TB`] : [];
  const label = labelArguments(countedAt(info, rate), 0, 'mov');
  return {
    name: 'editorial',
    chains: [`[editorial]${chain.join(',')}[editorial_out]`],
    output: [
      ...[...encoder, '-fps_mode', 'passthrough', '-threads', String(options.threads)],
      ...soundArguments(
        info.audio,
        (sampleRate) => samplesOf({ first: 0, count: frames }, rate, sampleRate),
        'mov',
        0,
        first,
      ),
      ...['-map_chapters', '-1', ...label.arguments],
      ...['-movflags', '+write_colr+use_metadata_tags', '-f', 'mov', 'editorial.mov'],
    ],
    files: [
      {
        name: 'editorial.mov',
        role: 'EDITORIAL',
        purpose: 'EDITORIAL',
        mime: 'video/quicktime',
        ...size,
        countFrames: true,
      },
    ],
  };
}

/** The medium as if it ran at `rate`: its start timecode keeps its text, and counts anew. */
export function countedAt(info: MediaInfo, rate: Rate): MediaInfo {
  if (!info.startTimecode || !info.rate || sameRate(info.rate, rate)) return { ...info, rate };
  const label = parseTimecode(info.startTimecode.text, rate);
  if (!label.ok) return { ...info, rate, startTimecode: null };
  const { frame, dropFrame } = label.value;
  return { ...info, rate, startTimecode: { text: formatTimecode(frame, rate, { dropFrame }), frame, dropFrame } };
}

/**
 * Scaled, with square pixels, in the source's own colours and tagged with them; RGB becomes Y′CbCr of BT.709. `limited`: the codec
 * carries limited range only (ProRes, DNxHR), so that what was full is scaled and says so.
 */
function inSourceColours(video: VideoTrack, size: Size, format: string, limited: boolean): string {
  const rgb = isRgb(video);
  const { colour } = video;
  const range = (limited || rgb) && (colour.range || rgb) ? 'tv' : colour.range;
  const tagged = { ...video, colour: { ...colour, range, matrix: rgb ? 'bt709' : colour.matrix } };
  const convert = `${limited || rgb ? ':out_range=tv' : ''}${rgb ? ':out_color_matrix=bt709' : ''}`;
  const scale = `scale=${size.width}:${size.height}:flags=bicubic${convert}`;
  return [scale, 'setsar=1', `format=${format}`, ...colourFilter(tagged)].join(',');
}

function editorialEncoder(codec: EditorialSpec['codec'], deep: boolean): { encoder: string[]; format: string } {
  switch (codec) {
    case 'proresProxy':
      return { encoder: ['-c:v', 'prores', '-profile:v', '0', '-vendor', 'apl0'], format: 'yuv422p10le' };
    case 'dnxhrLb':
      return { encoder: ['-c:v', 'dnxhd', '-profile:v', 'dnxhr_lb'], format: 'yuv422p' };
    case 'h264Intra': {
      const encoder = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '20', '-g', '1', '-bf', '0'];
      return { encoder, format: deep ? 'yuv420p10le' : 'yuv420p' };
    }
  }
}

/** The table that makes review colours: the one asked for, or the one that maps PQ and HLG; null when none is needed. */
function reviewCube(video: VideoTrack, options: PlanOptions): Cube | null {
  if (options.lut) return options.lut;
  if (!video.hdr) return null;
  const told = video.lightLevel?.maxContent || video.mastering?.maxLuminance || USUAL_PEAK;
  const transfer = video.colour.transfer as HdrTransfer;
  return toneMapCube(transfer, transfer === 'smpte2084' ? Math.min(10_000, Math.max(100, told)) : USUAL_PEAK);
}

function renditionFiles(renditions: readonly PlannedRendition[]): PlannedFile[] {
  return renditions.flatMap(({ playlist, segments, width, height }): PlannedFile[] => [
    { name: playlist, role: 'HLS_MEDIA', purpose: 'REVIEW', mime: PLAYLIST_MIME, width, height },
    {
      name: segments,
      role: 'HLS_SEGMENTS',
      purpose: 'REVIEW',
      mime: width ? 'video/mp4' : 'audio/mp4',
      width,
      height,
      countFrames: width !== undefined,
    },
  ]);
}

/** What every rendition shares: whole pictures, one out for each one in, and the exact time of each. ffmpeg turns rotated ones itself. */
function deinterlaceAndTime(video: VideoTrack, filters: ReadonlySet<string>): string {
  const interlaced = video.fieldOrder !== null && video.fieldOrder !== 'progressive';
  return [
    ...(interlaced ? [`${filters.has('bwdif') ? 'bwdif' : 'yadif'}=mode=send_frame`] : []),
    // Constant rate: frame n is at exactly n / rate, whatever the container's rounding. Variable rate: its own times, from 0.
    ...(video.variableRate ? ['setpts=PTS-STARTPTS'] : [`settb=${video.rate.den}/${video.rate.num}`, 'setpts=N']),
  ].join(',');
}

/**
 * What is done once before the picture is shared for viewing: the top size (all others are made from it), square pixels, review
 * colours, limited range, 8 bits 4:2:0.
 */
function prepare(video: VideoTrack, top: Size, cube: Cube | null): string {
  const rgb = isRgb(video);
  const size = `scale=${top.width}:${top.height}:flags=bicubic`;
  const tags = 'setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709';
  if (cube) {
    const { matrix, range } = video.colour;
    const read = rgb ? '' : `:in_color_matrix=${MATRICES[matrix ?? ''] ?? (video.hdr ? 'bt2020' : 'bt709')}`;
    return [
      `${size}+accurate_rnd+full_chroma_int${read}${range && !rgb ? `:in_range=${range}` : ''}`,
      'setsar=1',
      // Ten bits on the way into the table: more than what comes out of it.
      'format=gbrp10le',
      `lut3d=file=${LUT_FILE}:interp=tetrahedral`,
      'scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd',
      'format=yuv420p',
      tags,
    ].join(',');
  }
  return [
    `${size}:out_range=tv${rgb ? ':out_color_matrix=bt709' : ''}`,
    'setsar=1',
    ...(rgb ? [tags] : []),
    'format=yuv420p',
  ].join(',');
}

function isRgb(video: VideoTrack): boolean {
  return /^(rgb|bgr|gbr|argb|abgr|pal8|x2rgb|0rgb|rgb0)/.test(video.pixelFormat ?? '');
}

/**
 * Stereo for review: the first programme mixed down; two or more mono tracks are left and right, as cameras and MXF lay them out.
 * Loudness is measured on the programmes themselves, before any mix. The sound keeps its place beside the picture's first frame.
 * `users` get the stereo.
 */
function soundChains(info: MediaInfo, programmes: readonly Programme[], users: readonly string[]): string[] {
  const align = info.video?.startSeconds ? [`asetpts=PTS-${info.video.startSeconds.toFixed(6)}/TB`] : [];
  // The last filter holds the format for all users: one that wants another would change it for the others too.
  const stereo = 'aformat=channel_layouts=stereo';
  const tail = [stereo, ...align, 'aresample=48000:async=1:first_pts=0', `${stereo}:sample_rates=48000`];
  const measure = ({ id }: Programme) => `ebur128@${id}=peak=true:framelog=verbose`;
  const [main = { id: '', tracks: pairOrFirst(info.audio) }, ...rest] = programmes;
  const measured = programmes.length > 0 ? [measure(main)] : [];
  const split = users.length > 1 ? [`asplit=${users.length}`] : [];
  return [
    `${gathered(main.tracks)}${[...measured, ...tail, ...split].join(',')}${users.join('')}`,
    ...rest.map((programme) => `${gathered(programme.tracks)}${measure(programme)}[${programme.id}]`),
  ];
}

function pairOrFirst(tracks: readonly AudioTrack[]): readonly AudioTrack[] {
  return tracks.slice(0, tracks[0]?.channels === 1 && tracks[1]?.channels === 1 ? 2 : 1);
}

/** Layouts without a standard mix-down, and unnamed ones: the first two channels. */
function measurable({ channels, layout }: AudioTrack): boolean {
  return channels <= 2 || (channels <= 8 && layout !== null);
}

/** The channels of a programme as one stream. */
function gathered(tracks: readonly AudioTrack[]): string {
  const inputs = tracks.map(({ index }) => `[0:${index}]`).join('');
  if (tracks.length === 2) return `${inputs}join=inputs=2:channel_layout=stereo,`;
  return measurable(tracks[0]!) ? inputs : `${inputs}pan=stereo|c0=c0|c1=c1,`;
}

/** The waveform's samples, and the end of what is only measured. */
function soundOutputs(programmes: readonly Programme[]): string[] {
  return [
    ...['-map', '[wave]', '-c:a', 'pcm_s16le', '-f', 's16le', 'pipe:1'],
    ...programmes.slice(1).flatMap(({ id }) => ['-map', `[${id}]`, '-c:a', 'pcm_s16le', '-f', 'null', '-']),
  ];
}

function waveformPlan(info: MediaInfo): ReviewPlan['waveform'] {
  const sampleRate = 48_000;
  return { sampleRate, samplesPerPixel: samplesPerPixel(info.durationSeconds, sampleRate) };
}

function aac(): string[] {
  return ['-c:a', 'aac', '-b:a', '128k', '-ac', '2'];
}

/** One file; of several frames the last stays. */
function jpeg(quality: string, frames = 1): string[] {
  return [
    '-frames:v',
    String(frames),
    '-fps_mode',
    'passthrough',
    '-c:v',
    'mjpeg',
    '-q:v',
    quality,
    '-f',
    'image2',
    '-update',
    '1',
  ];
}

/** Byte ranges in one fragmented MP4 per rendition; a segment ends at every group of pictures. */
function hlsMuxer(seconds: number, streams: string): string[] {
  return [
    // The encoder delay of AAC would move the picture off 0; the sound's edit list says it instead.
    ...['-avoid_negative_ts', 'disabled'],
    ...['-f', 'hls', '-hls_playlist_type', 'vod', '-hls_list_size', '0'],
    ...['-hls_segment_type', 'fmp4', '-hls_flags', 'single_file+independent_segments'],
    // Rounded down: a cut must never wait for the next key frame because of the last decimal.
    ...['-hls_time', (Math.floor(seconds * 1e6) / 1e6).toFixed(6)],
    ...['-var_stream_map', streams, '-hls_segment_filename', 'hls_%v.mp4', 'hls_%v.m3u8'],
  ];
}

/** Upper limit of the bit rate: 4.5 Mb/s for 1080p at 24 frames, by area and rate from there. */
function maxBitrate({ width, height }: Size, fps: number): number {
  const frames = Math.min(fps, 30) + Math.max(0, Math.min(fps, 120) - 30) * 0.4;
  return Math.max(100_000, Math.round(width * height * frames * 0.09));
}

function startTimecode(info: MediaInfo): string[] {
  const usual = Object.values(RATES).some((rate) => info.rate && sameRate(rate, info.rate));
  return info.startTimecode && usual && !info.video?.variableRate ? ['-timecode', info.startTimecode.text] : [];
}

/** At most a hundred pictures in one sheet, a second or more apart. */
function planSprites(info: MediaInfo, shown: Size): SpriteSheet & { rows: number } {
  const frames = Math.max(1, info.durationFrames ?? 1);
  const perSecond = Math.max(1, Math.round(info.rate!.num / info.rate!.den));
  const step = Math.max(perSecond, Math.ceil(frames / MAX_SPRITES));
  const tile = fitInside(shown, { width: 160, height: 160 });
  const rows = Math.max(1, Math.ceil(Math.ceil(frames / step) / SPRITE_COLUMNS));
  return { name: 'sprites.jpg', tileWidth: tile.width, tileHeight: tile.height, columns: SPRITE_COLUMNS, step, rows };
}

function planSound(info: MediaInfo, options: PlanOptions): ReviewPlan {
  const poster: Size = { width: 1280, height: 360 };
  const thumbnail: Size = { width: 320, height: 90 };
  const purposes = purposesOf(options);
  const wants = (purpose: Purpose) => purposes.includes(purpose);
  const programmes = wants('REVIEW') ? programmesOf(info.audio) : [];
  const draw = (from: string, { width, height }: Size, to: string) =>
    `${from}aformat=channel_layouts=mono,showwavespic=s=${width}x${height}:colors=white:scale=sqrt,format=yuvj420p${to}`;
  const users = [
    ...(wants('REVIEW') ? ['[sound]', '[wave]', '[poster0]'] : []),
    ...(wants('PREVIEW') ? ['[soundpreview]'] : []),
    ...(wants('THUMBNAIL') ? ['[thumbnail0]'] : []),
  ];
  const graph = [
    ...(users.length > 0 ? soundChains(info, programmes, users) : []),
    ...(wants('REVIEW') ? [draw('[poster0]', poster, '[poster]')] : []),
    ...(wants('THUMBNAIL') ? [draw('[thumbnail0]', thumbnail, '[thumbnail]')] : []),
  ];
  const renditions: PlannedRendition[] = wants('REVIEW') ? [{ playlist: 'hls_a0.m3u8', segments: 'hls_a0.mp4' }] : [];
  const files: PlannedFile[] = [
    ...(wants('REVIEW')
      ? [{ name: 'poster.jpg', role: 'POSTER', purpose: 'REVIEW', mime: 'image/jpeg', ...poster } as const]
      : []),
    ...(wants('THUMBNAIL')
      ? [{ name: 'thumbnail.jpg', role: 'THUMBNAIL', purpose: 'THUMBNAIL', mime: 'image/jpeg', ...thumbnail } as const]
      : []),
    ...renditionFiles(renditions),
    ...(wants('PREVIEW') ? [{ name: 'proxy.m4a', role: 'PROXY', purpose: 'PREVIEW', mime: 'audio/mp4' } as const] : []),
  ];
  return {
    inputOptions: [],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...(wants('REVIEW') ? ['-map', '[sound]', ...STRIP, ...aac(), ...hlsMuxer(GOP_SECONDS, 'a:0,name:a0')] : []),
      ...(wants('PREVIEW')
        ? ['-map', '[soundpreview]', ...STRIP, ...aac(), '-movflags', '+faststart', '-f', 'mp4', 'proxy.m4a']
        : []),
      ...(wants('REVIEW') ? ['-map', '[poster]', ...STRIP, ...jpeg('3'), 'poster.jpg'] : []),
      ...(wants('THUMBNAIL') ? ['-map', '[thumbnail]', ...STRIP, ...jpeg('4'), 'thumbnail.jpg'] : []),
      ...(wants('REVIEW') ? soundOutputs(programmes) : []),
    ],
    files,
    renditions,
    sprites: null,
    programmes,
    waveform: wants('REVIEW') ? waveformPlan(info) : null,
    sidecars: [],
    tiles: null,
  };
}

/** Beyond this a still also comes as tiles: longer side, pixels. */
const TILES_FROM = 4096;

/**
 * A poster and a copy any browser shows: 8 bits, upright, transparency flattened on white; PNG from lossless sources. Large ones come
 * in tiles too.
 */
function planStill(info: MediaInfo, options: PlanOptions): ReviewPlan {
  const video = info.video!;
  const purposes = purposesOf(options);
  const shown: Size = { width: video.displayWidth, height: video.displayHeight };
  const inside = (limit: Size): Size => {
    const scale = Math.min(1, limit.width / shown.width, limit.height / shown.height);
    const whole = (value: number) => Math.max(1, Math.round(value * scale));
    return { width: whole(shown.width), height: whole(shown.height) };
  };
  const lossless = info.container === 'PNG' || info.container === 'TIFF';
  const tiles =
    purposes.includes('REVIEW') && Math.max(shown.width, shown.height) > TILES_FROM ? tileLevels(shown) : null;
  const still = (name: string, role: ReviewRole, purpose: Purpose, quality: string, size: Size): Branch => ({
    name: role.toLowerCase(),
    chains: [
      `[${role.toLowerCase()}]scale=${size.width}:${size.height}:flags=lanczos,setsar=1` +
        (name.endsWith('png')
          ? ''
          : `,scale=out_color_matrix=bt601:out_range=pc,format=yuvj4${role === 'VIEW' ? '44' : '20'}p`) +
        `[${role.toLowerCase()}_out]`,
    ],
    output: [
      ...['-map_metadata', '-1'],
      ...(name.endsWith('png')
        ? ['-frames:v', '1', '-fps_mode', 'passthrough', '-c:v', 'png', '-f', 'image2', '-update', '1']
        : jpeg(quality)),
      name,
    ],
    files: [{ name, role, purpose, mime: name.endsWith('png') ? 'image/png' : 'image/jpeg', ...size }],
  });
  const branches = [
    still('poster.jpg', 'POSTER', 'REVIEW', '3', inside({ width: 1920, height: 1080 })),
    still('thumbnail.jpg', 'THUMBNAIL', 'THUMBNAIL', '4', inside({ width: 320, height: 180 })),
    still(lossless ? 'view.png' : 'view.jpg', 'VIEW', 'REVIEW', '2', inside(VIEW_LIMIT)),
  ].filter(({ files }) => purposes.includes(files[0]!.purpose));
  const turn =
    { 0: [], 90: ['transpose=clock'], 180: ['hflip', 'vflip'], 270: ['transpose=cclock'] }[video.rotation] ?? [];
  const names = [...branches.map(({ name }) => `[${name}]`), ...(tiles ? ['[tiles]'] : [])];
  const share = `split=${names.length}${names.join('')}`;
  // A palette may hold transparency whatever the header says.
  const flatten = video.hasAlpha || video.pixelFormat === 'pal8';
  const cut = tiles ? tileGraph(tiles, 'tiles') : { chains: [], output: [] };
  const graph = [
    ...(flatten
      ? [
          `[0:${video.index}]${[...turn, 'format=rgba'].join(',')},split=2[back0][front]`,
          // Not `drawbox … replace=1`: it crashes ffmpeg 5.1 on RGBA.
          '[back0]lutrgb=r=255:g=255:b=255:a=255[back]',
          `[back][front]overlay=format=rgb,format=rgb24,${share}`,
        ]
      : [`[0:${video.index}]${[...turn, 'format=rgb24'].join(',')},${share}`]),
    ...branches.flatMap(({ chains }) => chains),
    ...cut.chains,
  ];
  return {
    // Newer versions turn some stills themselves; the plan does it for all.
    inputOptions: ['-noautorotate'],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...branches.flatMap(({ name, output }) => ['-map', `[${name}_out]`, ...output]),
      ...cut.output,
    ],
    files: branches.flatMap(({ files }) => files),
    renditions: [],
    sprites: null,
    programmes: [],
    waveform: null,
    sidecars: [],
    tiles,
  };
}
