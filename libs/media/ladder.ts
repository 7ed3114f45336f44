/** Which review copies a medium gets, and the one ffmpeg command that makes them from one decode. Pure. */
import type { SpriteSheet } from './hls.js';
import type { MediaInfo, VideoTrack } from './probe/index.js';
import { RATES, sameRate } from './timecode.js';
import type { ReviewRole } from './transcode.js';

export interface PlannedFile {
  readonly name: string;
  readonly role: ReviewRole;
  readonly mime: string;
  readonly width?: number;
  readonly height?: number;
  /** Must hold as many frames as the source. */
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
}

export interface PlanOptions {
  /** Filters this ffmpeg has. */
  readonly filters: ReadonlySet<string>;
  readonly threads: number;
  readonly preset: string;
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

export function planReview(info: MediaInfo, options: PlanOptions): ReviewPlan {
  if (info.kind === 'IMAGE') return planStill(info, options);
  if (info.kind === 'AUDIO') return planSound(info, options);
  return planPicture(info, options);
}

function planPicture(info: MediaInfo, options: PlanOptions): ReviewPlan {
  const video = info.video!;
  const shown: Size = { width: video.displayWidth, height: video.displayHeight };
  const [top, low] = rungSizes(shown);
  const proxy = fitInside(shown, { width: 854, height: 480 });
  const sprites = planSprites(info, shown);
  const sound = info.audio.length > 0;
  const posterFrame = info.durationExact ? Math.floor((info.durationFrames ?? 0) / 10) : 0;
  const still = 'scale=out_range=pc,format=yuvj420p';
  const scale = (size: Size) => `scale=${size.width}:${size.height}:flags=bicubic,setsar=1`;
  const graph = [
    `[0:${video.index}]${prepare(video, top, options.filters)},split=5[top][low0][proxy0][poster0][sprites0]`,
    `[low0]${scale(low)}[low]`,
    `[proxy0]${scale(proxy)}[proxy]`,
    // ffmpeg reports no progress before every output has begun (measured with 5.1), and a picture that comes late would keep a
    // long transcode looking stalled: both begin with the first frame, which the real picture then replaces.
    `[poster0]select='eq(n,0)+eq(n,${posterFrame})',${still},setpts=N/TB[poster]`,
    '[sprites0]split=2[begin0][tiles0]',
    `[begin0]trim=end_frame=1,scale=${sprites.tileWidth * SPRITE_COLUMNS}:${sprites.tileHeight * sprites.rows}:out_range=pc,` +
      'setsar=1,format=yuvj420p[begin]',
    `[tiles0]select='not(mod(n,${sprites.step}))',scale=${sprites.tileWidth}:${sprites.tileHeight}:out_range=pc,setsar=1,` +
      `format=yuvj420p,tile=${SPRITE_COLUMNS}x${sprites.rows}[sheet]`,
    '[begin][sheet]concat=n=2:v=1:a=0,setpts=N/TB[sprites]',
    ...(sound ? [`${stereo(info)},asplit=2[sound][soundproxy]`] : []),
  ];
  const gop = Math.max(1, Math.round((GOP_SECONDS * video.rate.num) / video.rate.den));
  const segmentSeconds = video.variableRate ? GOP_SECONDS : (gop * video.rate.den) / video.rate.num;
  const keyframes = video.variableRate
    ? ['-g', '1000', '-force_key_frames', `expr:gte(t,n_forced*${GOP_SECONDS})`, '-enc_time_base', '1/90000']
    : ['-g', String(gop), '-keyint_min', String(gop)];
  const encoder = [
    ...['-c:v', 'libx264', '-preset', options.preset, '-profile:v', 'high', '-pix_fmt', 'yuv420p'],
    // Without B-frames decoding order is display order: the stream starts at exactly 0 and frame n is at n / rate, without the
    // edit lists that players treat differently. It costs a few per cent of bit rate.
    ...['-bf', '0', '-sc_threshold', '0', ...keyframes],
    ...['-fps_mode', 'passthrough', '-threads', String(options.threads)],
  ];
  const quality = (size: Size, stream = 'v') => {
    const rate = maxBitrate(size, video.rate.num / video.rate.den);
    return [`-crf:${stream}`, '23', `-maxrate:${stream}`, String(rate), `-bufsize:${stream}`, String(2 * rate)];
  };
  // Location, device and names in the source's metadata are not for those who get a review copy.
  const strip = ['-map_metadata', '-1', '-map_chapters', '-1'];
  const output = [
    ...['-filter_complex', graph.join(';')],
    ...['-map', '[top]', '-map', '[low]', ...(sound ? ['-map', '[sound]'] : []), ...strip],
    ...[...encoder, ...quality(top, 'v:0'), ...quality(low, 'v:1'), ...(sound ? aac() : [])],
    ...hlsMuxer(
      segmentSeconds,
      sound ? 'v:0,agroup:s,name:v0 v:1,agroup:s,name:v1 a:0,agroup:s,name:a0' : 'v:0,name:v0 v:1,name:v1',
    ),
    ...['-map', '[proxy]', ...(sound ? ['-map', '[soundproxy]'] : []), ...strip],
    ...[...encoder, ...quality(proxy), ...(sound ? aac() : []), ...startTimecode(info)],
    ...['-movflags', '+faststart', '-f', 'mp4', 'proxy.mp4'],
    ...['-map', '[poster]', ...strip, ...jpeg('3', posterFrame > 0 ? 2 : 1), 'poster.jpg'],
    ...['-map', '[sprites]', ...strip, ...jpeg('5', 2), 'sprites.jpg'],
  ];
  const rendition = (name: string, size?: Size): PlannedRendition => ({
    playlist: `hls_${name}.m3u8`,
    segments: `hls_${name}.mp4`,
    ...size,
  });
  const renditions = [rendition('v0', top), rendition('v1', low), ...(sound ? [rendition('a0')] : [])];
  return {
    inputOptions: [],
    output,
    files: [
      { name: 'poster.jpg', role: 'POSTER', mime: 'image/jpeg', ...top },
      ...renditionFiles(renditions),
      { name: 'proxy.mp4', role: 'PROXY', mime: 'video/mp4', ...proxy, countFrames: true },
      {
        name: 'sprites.jpg',
        role: 'SPRITES',
        mime: 'image/jpeg',
        width: sprites.tileWidth * SPRITE_COLUMNS,
        height: sprites.tileHeight * sprites.rows,
      },
    ],
    renditions,
    sprites,
  };
}

function renditionFiles(renditions: readonly PlannedRendition[]): PlannedFile[] {
  return renditions.flatMap(({ playlist, segments, width, height }): PlannedFile[] => [
    { name: playlist, role: 'HLS_MEDIA', mime: PLAYLIST_MIME, width, height },
    {
      name: segments,
      role: 'HLS_SEGMENTS',
      mime: width ? 'video/mp4' : 'audio/mp4',
      width,
      height,
      countFrames: width !== undefined,
    },
  ]);
}

/**
 * Everything that is done once, before the picture is shared: de-interlacing, the top size (all others are made from it), square
 * pixels, limited range, tone mapping, 8 bits 4:2:0, and the exact time of each frame. ffmpeg turns rotated pictures itself.
 */
function prepare(video: VideoTrack, top: Size, filters: ReadonlySet<string>): string {
  const interlaced = video.fieldOrder !== null && video.fieldOrder !== 'progressive';
  const rgb = /^(rgb|bgr|gbr|argb|abgr|pal8|x2rgb|0rgb|rgb0)/.test(video.pixelFormat ?? '');
  const canToneMap = video.hdr && filters.has('zscale') && filters.has('tonemap');
  const range = canToneMap ? '' : ':out_range=tv';
  const size = `scale=${top.width}:${top.height}:flags=bicubic${range}${rgb ? ':out_color_matrix=bt709' : ''}`;
  return [
    // One frame out for each frame in: the count stays.
    ...(interlaced ? [`${filters.has('bwdif') ? 'bwdif' : 'yadif'}=mode=send_frame`] : []),
    size,
    'setsar=1',
    ...(canToneMap ? toneMap(video) : []),
    ...(rgb ? ['setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709'] : []),
    'format=yuv420p',
    // Constant rate: frame n is at exactly n / rate, whatever the container's rounding. Variable rate: its own times, from 0.
    ...(video.variableRate ? ['setpts=PTS-STARTPTS'] : [`settb=${video.rate.den}/${video.rate.num}`, 'setpts=N']),
  ].join(',');
}

function toneMap(video: VideoTrack): string[] {
  const { primaries, transfer, matrix, range } = video.colour;
  const source = `pin=${primaries ?? 'bt2020'}:tin=${transfer}:min=${matrix ?? 'bt2020nc'}:rin=${range === 'pc' ? 'full' : 'limited'}`;
  return [
    `zscale=${source}:t=linear:npl=100`,
    'format=gbrpf32le',
    'zscale=p=bt709',
    'tonemap=tonemap=hable:desat=0',
    'zscale=t=bt709:m=bt709:p=bt709:r=limited',
  ];
}

/**
 * Stereo for review: the first track mixed down; two or more mono tracks are left and right, as cameras and MXF lay them out.
 * The sound keeps its place beside the picture's first frame.
 */
function stereo(info: MediaInfo): string {
  const [first, second] = info.audio;
  const align = info.video?.startSeconds ? [`asetpts=PTS-${info.video.startSeconds.toFixed(6)}/TB`] : [];
  const rest = [...align, 'aresample=48000:async=1:first_pts=0'].join(',');
  if (first!.channels === 1 && second?.channels === 1) {
    return `[0:${first!.index}][0:${second.index}]join=inputs=2:channel_layout=stereo,${rest}`;
  }
  // Layouts without a standard mix-down, and unnamed ones: the first two channels.
  const mixes = first!.channels <= 2 || (first!.channels <= 8 && first!.layout !== null);
  const mix = mixes ? 'aformat=channel_layouts=stereo' : 'pan=stereo|c0=c0|c1=c1';
  return `[0:${first!.index}]${mix},${rest}`;
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

function planSound(info: MediaInfo, _options: PlanOptions): ReviewPlan {
  const poster: Size = { width: 1280, height: 360 };
  const graph = [
    `${stereo(info)},asplit=3[sound][soundproxy][wave0]`,
    `[wave0]aformat=channel_layouts=mono,showwavespic=s=${poster.width}x${poster.height}:colors=white:scale=sqrt,` +
      'format=yuvj420p[wave]',
  ];
  const strip = ['-map_metadata', '-1', '-map_chapters', '-1'];
  const renditions: PlannedRendition[] = [{ playlist: 'hls_a0.m3u8', segments: 'hls_a0.mp4' }];
  return {
    inputOptions: [],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...['-map', '[sound]', ...strip, ...aac(), ...hlsMuxer(GOP_SECONDS, 'a:0,name:a0')],
      ...['-map', '[soundproxy]', ...strip, ...aac(), '-movflags', '+faststart', '-f', 'mp4', 'proxy.m4a'],
      ...['-map', '[wave]', ...strip, ...jpeg('3'), 'poster.jpg'],
    ],
    files: [
      { name: 'poster.jpg', role: 'POSTER', mime: 'image/jpeg', ...poster },
      ...renditionFiles(renditions),
      { name: 'proxy.m4a', role: 'PROXY', mime: 'audio/mp4' },
    ],
    renditions,
    sprites: null,
  };
}

/** A poster and a copy any browser shows: 8 bits, upright, transparency flattened on white; PNG from lossless sources. */
function planStill(info: MediaInfo, _options: PlanOptions): ReviewPlan {
  const video = info.video!;
  const shown: Size = { width: video.displayWidth, height: video.displayHeight };
  const inside = (limit: Size): Size => {
    const scale = Math.min(1, limit.width / shown.width, limit.height / shown.height);
    const whole = (value: number) => Math.max(1, Math.round(value * scale));
    return { width: whole(shown.width), height: whole(shown.height) };
  };
  const view = inside(VIEW_LIMIT);
  const poster = inside({ width: 1920, height: 1080 });
  const lossless = info.container === 'PNG' || info.container === 'TIFF';
  const turn =
    { 0: [], 90: ['transpose=clock'], 180: ['hflip', 'vflip'], 270: ['transpose=cclock'] }[video.rotation] ?? [];
  const upright = [...turn, 'format=rgba'].join(',');
  const graph = [
    `[0:${video.index}]${upright},split=2[back0][front]`,
    // Not `drawbox … replace=1`: it crashes ffmpeg 5.1 on RGBA.
    '[back0]lutrgb=r=255:g=255:b=255:a=255[back]',
    '[back][front]overlay=format=rgb,format=rgb24,split=2[a][b]',
    `[a]scale=${view.width}:${view.height}:flags=lanczos,setsar=1${lossless ? '' : ',scale=out_color_matrix=bt601:out_range=pc,format=yuvj444p'}[view]`,
    `[b]scale=${poster.width}:${poster.height}:flags=lanczos,setsar=1,scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p[poster]`,
  ];
  const name = lossless ? 'view.png' : 'view.jpg';
  const encoder = lossless
    ? ['-frames:v', '1', '-fps_mode', 'passthrough', '-c:v', 'png', '-f', 'image2', '-update', '1']
    : jpeg('2');
  return {
    // Newer versions turn some stills themselves; the plan does it for all.
    inputOptions: ['-noautorotate'],
    output: [
      ...['-filter_complex', graph.join(';')],
      ...['-map', '[view]', '-map_metadata', '-1', ...encoder, name],
      ...['-map', '[poster]', '-map_metadata', '-1', ...jpeg('3'), 'poster.jpg'],
    ],
    files: [
      { name: 'poster.jpg', role: 'POSTER', mime: 'image/jpeg', ...poster },
      { name, role: 'VIEW', mime: lossless ? 'image/png' : 'image/jpeg', ...view },
    ],
    renditions: [],
    sprites: null,
  };
}
