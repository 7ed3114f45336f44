/**
 * Real media made on the spot by ffmpeg, for the demo, tests and benches. No font and no file from elsewhere is needed.
 *
 * Every frame carries its number as a bar code along the top edge (18 cells: white, black, then 16 bits, lowest first), which
 * survives scaling and compression and is read back by {@link readFrameNumbers}; and its timecode in seven-segment digits.
 */
import { copyFile, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { runFfmpeg, type RunLimits } from './ffmpeg/index.js';
import { unwrap } from './result.js';
import { sniffFile } from './sniff.js';
import { RATES, nominalRate, parseTimecode, rateText, supportsDropFrame, type Rate } from './timecode.js';

export type ClipCodec =
  'h264' | 'hevc' | 'prores' | 'prores4444' | 'dnxhr' | 'dnxhrHqx' | 'mjpeg' | 'ffv1' | 'vp9' | 'av1' | 'mpeg2';

export interface ClipOptions {
  /** Default 23.976. */
  rate?: Rate;
  /** Default 2; rounded to whole frames. */
  seconds?: number;
  /** Exact count; instead of `seconds`. */
  frames?: number;
  /** Default 640 × 360. Odd sizes need a codec with 4:4:4: h264, ffv1. */
  width?: number;
  height?: number;
  /** Default 01:00:00:00. Drop-frame with `;`. Null writes none (the digits then count from zero). */
  startTimecode?: string | null;
  /** Default 'h264'. */
  codec?: ClipCodec;
  /** Channels of sound (1, 2, 6, 8 or 16), 0 for none. Default 2. */
  audioChannels?: number;
  /** Tracks of sound, each with `audioChannels`. Default 1. */
  audioTracks?: number;
  /** Frames from one key frame to the next (h264, hevc); `open` lets pictures refer across it. Default: the encoder's, closed. */
  gop?: number;
  openGop?: boolean;
  /** Top field first; mpeg2, prores and h264. */
  interlaced?: boolean;
  /** Turns the hue, so that two versions of a clip are told apart at a glance: degrees. Default 0. */
  hue?: number;
  /** Leaves out every second frame of the second half, times kept: variable frame rate. */
  variableRate?: boolean;
  /** Sample aspect ratio, for instance `4/3`. */
  sampleAspect?: string;
  /** Colour tags, and 10 bits for the last two. Default 'bt709'. */
  colour?: 'bt709' | 'pq' | 'hlg';
  /** Reel name in the timecode track (MOV). */
  reel?: string;
  /** Random noise, which makes compression work harder: 0 to 100. Default 0. */
  noise?: number;
  signal?: AbortSignal;
}

/** A real clip. The container is that of the extension: mov, mp4, mkv, webm, mxf. Rejects with MediaFailure. */
export async function makeClip(file: string, options: ClipOptions = {}): Promise<void> {
  const rate = options.rate ?? RATES['23.976'];
  const [width, height] = [options.width ?? 640, options.height ?? 360];
  const frames = options.frames ?? Math.max(1, Math.round(((options.seconds ?? 2) * rate.num) / rate.den));
  const label = options.startTimecode === undefined ? '01:00:00:00' : options.startTimecode;
  const start = label === null ? { frame: 0, dropFrame: false } : unwrap(parseTimecode(label, rate));
  const container = extname(file).slice(1).toLowerCase();
  const channels = options.audioChannels ?? 2;
  const tracks = channels > 0 ? (options.audioTracks ?? 1) : 0;
  const codec = options.codec ?? 'h264';
  const hdr = options.colour === 'pq' || options.colour === 'hlg';
  const filters = [
    ...(options.hue ? [`hue=h=${options.hue}`] : []),
    ...(options.noise ? [`noise=alls=${options.noise}:allf=t`] : []),
    // Not `-frames:v`: reaching it ends the sound too, a little early.
    `trim=end_frame=${frames}`,
    ...barCode(),
    ...digits(rate, start.frame, start.dropFrame),
    ...(options.sampleAspect ? [`setsar=${options.sampleAspect}`] : []),
    ...(options.variableRate ? [`select='lt(n,${Math.floor(frames / 2)})+not(mod(n,2))'`] : []),
    `format=${pixelFormat(codec, width, height, hdr)}`,
  ];
  const picture = `testsrc2=size=${width}x${height}:rate=${rateText(rate)},${filters.join(',')}`;
  // The picture ends by count, the sound by time: give the sound exactly the samples of the frames.
  const seconds = ((frames * rate.den) / rate.num).toFixed(9);
  unwrap(
    await runFfmpeg({
      signal: options.signal,
      timeoutMs: 1_800_000,
      inputs: [
        // ffmpeg guesses the rate of a generated input from its time stamps, and takes 119.88 for 120.
        { lavfi: picture, options: options.variableRate ? [] : ['-r', rateText(rate)] },
        ...Array.from({ length: tracks }, (_, track) => ({ lavfi: sound(channels, track), options: ['-t', seconds] })),
      ],
      output: [
        ...['-map', '0:v', ...Array.from({ length: tracks }, (_, track) => ['-map', `${track + 1}:a`]).flat()],
        ...(tracks > 0 ? soundEncoder(container) : []),
        ...(options.variableRate ? ['-fps_mode', 'passthrough'] : []),
        // Colour tags do not survive a generated input: they are set on the way to the encoder.
        ...['-vf', `${setColour(options.colour ?? 'bt709')}${options.interlaced ? ',setfield=tff' : ''}`],
        ...pictureEncoder(codec, options),
        ...(label === null
          ? []
          : container === 'mkv' || container === 'webm'
            ? ['-metadata', `TIMECODE=${label}`]
            : ['-timecode', label]),
        ...(options.reel ? ['-metadata:s:v', `reel_name=${options.reel}`] : []),
        ...(['mov', 'mp4', 'm4v'].includes(container) ? ['-movflags', '+faststart'] : []),
        file,
      ],
    }),
  );
}

function pixelFormat(codec: ClipCodec, width: number, height: number, hdr: boolean): string {
  if (codec === 'prores' || codec === 'dnxhrHqx') return 'yuv422p10le';
  if (codec === 'prores4444') return 'yuva444p10le';
  if (codec === 'dnxhr' || codec === 'mpeg2') return codec === 'dnxhr' ? 'yuv422p' : 'yuv420p';
  if (codec === 'mjpeg') return 'yuvj422p';
  if (width % 2 || height % 2) return 'yuv444p';
  return hdr ? 'yuv420p10le' : 'yuv420p';
}

function setColour(colour: 'bt709' | 'pq' | 'hlg'): string {
  if (colour === 'bt709') return 'setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709';
  const transfer = colour === 'pq' ? 'smpte2084' : 'arib-std-b67';
  return `setparams=color_primaries=bt2020:color_trc=${transfer}:colorspace=bt2020nc`;
}

function pictureEncoder(codec: ClipCodec, { gop, openGop, interlaced }: ClipOptions): string[] {
  const group = gop ? ['-g', String(gop), '-keyint_min', String(gop)] : [];
  const x265 = ['log-level=error', ...(gop ? [`keyint=${gop}:min-keyint=${gop}`] : []), `open-gop=${openGop ? 1 : 0}`];
  const fields = interlaced ? ['-flags', '+ildct+ilme'] : [];
  const table: Record<ClipCodec, string[]> = {
    h264: [
      ...[
        '-c:v',
        'libx264',
        '-preset',
        'veryfast',
        '-crf',
        '18',
        '-bf',
        '2',
        '-sc_threshold',
        '0',
        ...group,
        ...fields,
      ],
      ...(openGop ? ['-x264-params', 'open-gop=1'] : []),
    ],
    hevc: ['-c:v', 'libx265', '-preset', 'ultrafast', '-crf', '20', '-x265-params', x265.join(':'), '-tag:v', 'hvc1'],
    // The faster `prores` crashes on fields of odd block counts.
    prores: interlaced ? ['-c:v', 'prores_ks', '-profile:v', '3', ...fields] : ['-c:v', 'prores', '-profile:v', '3'],
    prores4444: ['-c:v', 'prores_ks', '-profile:v', '4', '-alpha_bits', '16'],
    dnxhr: ['-c:v', 'dnxhd', '-profile:v', 'dnxhr_hq'],
    dnxhrHqx: ['-c:v', 'dnxhd', '-profile:v', 'dnxhr_hqx'],
    mjpeg: ['-c:v', 'mjpeg', '-q:v', '3'],
    // Every frame by itself, as archives want it; ffmpeg's default is groups of twelve.
    ffv1: ['-c:v', 'ffv1', '-level', '3', '-g', String(gop ?? 1)],
    vp9: ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '2M'],
    av1: ['-c:v', 'libsvtav1', '-preset', '10', '-crf', '30'],
    mpeg2: ['-c:v', 'mpeg2video', '-b:v', '15M', ...fields],
  };
  return table[codec];
}

function soundEncoder(container: string): string[] {
  if (container === 'webm') return ['-c:a', 'libopus', '-b:a', '128k'];
  if (container === 'mp4' || container === 'm4v') return ['-c:a', 'aac', '-b:a', '128k'];
  return ['-c:a', 'pcm_s16le'];
}

/** A different tone on each channel of each track, with a beep each second on the first. */
function sound(channels: number, track = 0): string {
  const layouts: Record<number, string> = { 1: 'mono', 2: 'stereo', 6: '5.1', 8: '7.1', 16: 'hexadecagonal' };
  const layout = layouts[channels];
  if (!layout) throw new RangeError(`no layout of ${channels} channels`);
  const tones = Array.from({ length: channels }, (_, channel) =>
    channel === 0
      ? `0.1*sin(${440 + 55 * track}*2*PI*t)+0.4*lt(mod(t,1),0.04)*sin(1000*2*PI*t)`
      : `0.1*sin(${440 + 110 * channel + 55 * track}*2*PI*t)`,
  );
  return `aevalsrc='${tones.join('|')}':channel_layout=${layout}:sample_rate=48000`;
}

const CODE_BITS = 16;
const CODE_CELLS = CODE_BITS + 2;
/** The code fills the upper twelfth of the picture. */
const CODE_HEIGHT = 12;

function barCode(): string[] {
  const cell = (index: number, enable?: string) =>
    `drawbox=x=floor(iw*${index}/${CODE_CELLS}):y=0:w=ceil(iw/${CODE_CELLS}):h=ceil(ih/${CODE_HEIGHT}):color=white:t=fill` +
    (enable ? `:enable='${enable}'` : '');
  return [
    `drawbox=x=0:y=0:w=iw:h=ceil(ih/${CODE_HEIGHT}):color=black:t=fill`,
    cell(0),
    ...Array.from({ length: CODE_BITS }, (_, bit) => cell(bit + 2, `mod(floor(n/${2 ** bit}),2)`)),
  ];
}

/** Segments a to g as boxes in a digit of 1 × 2 (x, y, width, height), and the digits that light each. */
const SEGMENTS: readonly (readonly [x: number, y: number, w: number, h: number, lit: readonly number[]])[] = [
  [0, 0, 1, 0.2, [0, 2, 3, 5, 6, 7, 8, 9]],
  [0.8, 0, 0.2, 1, [0, 1, 2, 3, 4, 7, 8, 9]],
  [0.8, 1, 0.2, 1, [0, 1, 3, 4, 5, 6, 7, 8, 9]],
  [0, 1.8, 1, 0.2, [0, 2, 3, 5, 6, 8, 9]],
  [0, 1, 0.2, 1, [0, 2, 6, 8]],
  [0, 0, 0.2, 1, [0, 4, 5, 6, 8, 9]],
  [0, 0.9, 1, 0.2, [2, 3, 4, 5, 6, 8, 9]],
];

/** Burnt-in `HH:MM:SS:FF`: one box per segment, lit by an expression of the frame number. */
function digits(rate: Rate, start: number, dropFrame: boolean): string[] {
  const nominal = nominalRate(rate);
  let label = `(n+${start})`;
  if (dropFrame && supportsDropFrame(rate)) {
    const drop = nominal / 15;
    const [ten, one] = [600 * nominal - 9 * drop, 60 * nominal - drop];
    label = `(n+${start}+${drop}*(9*floor((n+${start})/${ten})+max(0,floor((mod(n+${start},${ten})-${drop})/${one}))))`;
  }
  const seconds = `floor(${label}/${nominal})`;
  const fields = [
    `mod(floor(${seconds}/3600),24)`,
    `mod(floor(${seconds}/60),60)`,
    `mod(${seconds},60)`,
    `mod(${label},${nominal})`,
  ];
  // One unit is a 48th of the width; eight digits of 2 units, 3 apart, colons between the pairs.
  const unit = 'iw/48';
  const top = 'ih-iw/48*6';
  const box = (x: number, y: number, w: number, h: number, enable?: string) =>
    `drawbox=x=${unit}*${x.toFixed(2)}:y=${top}+${unit}*${y.toFixed(2)}:w=${unit}*${w.toFixed(2)}:h=${unit}*${h.toFixed(2)}` +
    `:color=white:t=fill${enable ? `:enable='${enable}'` : ''}`;
  const result = [`drawbox=x=${unit}*9:y=${top}-${unit}:w=${unit}*30:h=${unit}*6:color=black:t=fill`];
  fields.forEach((field, pair) => {
    const left = 10 + pair * 7.2;
    [`floor(${field}/10)`, `mod(${field},10)`].forEach((digit, place) => {
      for (const [x, y, w, h, lit] of SEGMENTS) {
        const mask = lit.reduce((bits, value) => bits + 2 ** value, 0);
        result.push(box(left + place * 2.9 + x * 2, y * 2, w * 2, h * 2, `mod(floor(${mask}/pow(2,${digit})),2)`));
      }
    });
    if (pair < 3) result.push(box(left + 5.7, 0.9, 0.5, 0.5), box(left + 5.7, 2.6, 0.5, 0.5));
  });
  return result;
}

/**
 * The frame numbers read back from the pixels of every frame, in order; -1 where no code is found. One decode of the whole file.
 * Rejects with MediaFailure.
 */
export async function readFrameNumbers(file: string, limits: RunLimits = {}): Promise<number[]> {
  const { demuxer } = unwrap(await sniffFile(file));
  const run = unwrap(
    await runFfmpeg({
      timeoutMs: 600_000,
      maxStdoutBytes: 64 << 20,
      ...limits,
      inputs: [{ path: file, demuxer }],
      output: [
        ...['-map', '0:v:0', '-fps_mode', 'passthrough'],
        ...['-vf', `crop=iw:floor(ih/${CODE_HEIGHT}):0:0,scale=${CODE_CELLS * 8}:1:flags=area,format=gray`],
        ...['-f', 'rawvideo', 'pipe:1'],
      ],
    }),
  );
  return Array.from({ length: run.stdout.length / (CODE_CELLS * 8) }, (_, frame) => {
    // The middle half of each cell, away from its blurred edges.
    const white = (cell: number) => {
      const at = (frame * CODE_CELLS + cell) * 8;
      return run.stdout.subarray(at + 2, at + 6).reduce((sum, value) => sum + value, 0) > 4 * 128;
    };
    if (!white(0) || white(1)) return -1;
    return Array.from({ length: CODE_BITS }, (_, bit) => (white(bit + 2) ? 2 ** bit : 0)).reduce(
      (sum, value) => sum + value,
      0,
    );
  });
}

export interface StillOptions {
  /** Default 320 × 180. */
  width?: number;
  height?: number;
  /** The left half opaque red, the right half transparent (PNG, TIFF, WebP). */
  alpha?: boolean;
  /** 16 bits per channel (PNG, TIFF). */
  deep?: boolean;
}

/** A still in the format of the extension: png, tiff, jpg, webp. */
export async function makeStill(file: string, options: StillOptions = {}): Promise<void> {
  const size = `${options.width ?? 320}x${options.height ?? 180}`;
  const source = options.alpha
    ? `color=red:size=${size},format=rgba,geq=r=255:g=0:b=0:a='if(lt(X,W/2),255,0)'`
    : `testsrc2=size=${size}`;
  const extension = extname(file).slice(1).toLowerCase();
  const format = options.alpha ? (options.deep ? 'rgba64' : 'rgba') : options.deep ? 'rgb48' : 'rgb24';
  const native =
    extension === 'jpg' ? 'yuvj420p' : extension === 'webp' ? (options.alpha ? 'bgra' : 'yuv420p') : format;
  const codec = extension === 'webp' ? ['-c:v', 'libwebp', '-lossless', '1'] : [];
  unwrap(
    await runFfmpeg({
      inputs: [
        {
          lavfi: `${source},format=${native === 'rgba64' || native === 'rgb48' ? `${native}${extension === 'png' ? 'be' : 'le'}` : native}`,
        },
      ],
      output: ['-frames:v', '1', '-update', '1', ...codec, file],
    }),
  );
}

/** The file's first part: `fraction` of its bytes. */
export async function makeTruncated(source: string, file: string, fraction: number): Promise<void> {
  await copyFile(source, file);
  const handle = await open(file, 'r+');
  try {
    const { size } = await handle.stat();
    await truncate(file, Math.floor(size * fraction));
  } finally {
    await handle.close();
  }
}

/** The file with `flips` bytes inverted, evenly spread over its last three quarters (the headers stay whole). */
export async function makeFlipped(source: string, file: string, flips: number): Promise<void> {
  const bytes = await readFile(source);
  const first = Math.floor(bytes.length / 4);
  for (let index = 0; index < flips; index += 1) {
    const at = first + Math.floor(((bytes.length - first) * (index + 0.5)) / flips);
    bytes[at] = bytes[at]! ^ 0xff;
  }
  await writeFile(file, bytes);
}

/** Turns an MP4 or MOV clockwise when shown, by its track header's matrix (ISO/IEC 14496-12, `tkhd` version 0). */
export async function setRotation(file: string, degrees: 90 | 180 | 270): Promise<void> {
  const bytes = await readFile(file);
  const header = bytes.indexOf('tkhd', 0, 'latin1');
  if (header < 0 || bytes[header + 4] !== 0) throw new Error('no tkhd of version 0');
  const [a, b, c, d] = { 90: [0, 1, -1, 0], 180: [-1, 0, 0, -1], 270: [0, -1, 1, 0] }[degrees] as [
    number,
    number,
    number,
    number,
  ];
  [a, b, 0, c, d, 0, 0, 0].forEach((value, index) => bytes.writeInt32BE(value * 65_536, header + 44 + index * 4));
  await writeFile(file, bytes);
}
