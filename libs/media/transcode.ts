import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { basename, extname, join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { BlobHashSchema, type BlobHash, type BlobRef, type BlobStore } from './blobs.js';
import { deepZoomDescriptor, packTiles } from './deepZoom.js';
import { writeAle } from './editorial/ale.js';
import {
  ffmpegCapabilities,
  runEncoding,
  runFfmpeg,
  type FfmpegJob,
  type PictureEncoder,
  type RunOutcome,
} from './ffmpeg/index.js';
import { mapToConstantRate, readTimestamps, steadyRate, type FrameMap } from './frameMap.js';
import { masterPlaylist, parseMediaPlaylist, spriteCues, type MediaPlaylist } from './hls.js';
import { countedAt, planReview, purposesOf, type LadderSpec, type PlannedFile, type ReviewPlan } from './ladder.js';
import { LoudnessReader, LoudnessSchema, type Loudness } from './loudness.js';
import { packetTimes, type MediaInfo } from './probe/index.js';
import { MediaFailure, fail, ok, type Result } from './result.js';
import { formatOf } from './sniff.js';
import { formatTimecode } from './timecode.js';
import { WaveformBuilder } from './waveform.js';

export const ReviewRoleSchema = z.enum([
  'POSTER',
  'HLS_MASTER',
  'HLS_MEDIA',
  'HLS_SEGMENTS',
  'PROXY',
  'SPRITES',
  'SPRITES_VTT',
  /** Browser-viewable copy of a still, alpha flattened on white. */
  'VIEW',
  'THUMBNAIL',
  /** BBC audiowaveform's JSON, version 2. */
  'WAVEFORM',
  /** EBU R 128 of each programme, as `loudness` of the manifest. */
  'LOUDNESS',
  /** Proxy for Avid, Premiere and Resolve, and what helps them to relink it. */
  'EDITORIAL',
  'ALE',
  /** Of variable rate: the source's frame for each frame of the editorial proxy. */
  'FRAME_MAP',
  /** A large still as a Deep Zoom Image: the descriptor, all tiles in one file, and where each is in it. */
  'DEEP_ZOOM',
  'TILES',
  'TILES_INDEX',
]);
export type ReviewRole = z.infer<typeof ReviewRoleSchema>;

export const ReviewFileSchema = z.object({
  /** Relative name; playlists refer to their neighbours by it. No folders. */
  name: z.string().regex(/^[A-Za-z0-9_.-]+$/),
  role: ReviewRoleSchema,
  /** What it is for; absent in older manifests. */
  purpose: z.enum(['THUMBNAIL', 'PREVIEW', 'EDITORIAL', 'REVIEW']).optional(),
  mime: z.string(),
  size: z.number().int(),
  width: z.number().int().optional(),
  height: z.number().int().optional(),
  /** Of picture and sound that are streamed or played: measured average, bits per second. */
  bitrate: z.number().int().optional(),
  /** Frames of picture. */
  frames: z.number().int().optional(),
});

export interface ReviewFile extends z.infer<typeof ReviewFileSchema> {
  /** Where it is on disk. */
  readonly path: string;
}

/** The verified files of one transcode, in one directory. */
export interface ReviewSet {
  readonly directory: string;
  readonly files: readonly ReviewFile[];
  /** Frames of picture in every rendition, equal to the source's; null for sound and stills. */
  readonly frames: number | null;
  /** Of each programme; empty when nothing was measured. */
  readonly loudness: readonly Loudness[];
  readonly ffmpegVersion: string;
  /** ffmpeg's name of the encoder of the viewing renditions; null when there are none. */
  readonly encoder: string | null;
}

export interface TranscodeProgress {
  /** 0 to 1. */
  readonly fraction: number;
  readonly frame: number;
  readonly fps: number;
}

export interface TranscodeOptions extends LadderSpec {
  /** File name of the source, which editorial proxies are relinked by. Default: that of `input`. */
  sourceName?: string;
  /** Whether cards may encode. Default true: where one works, it does, and software when it fails. */
  hardware?: boolean;
  onProgress?: (progress: TranscodeProgress) => void;
  signal?: AbortSignal;
  /**
   * Encoder and decoder threads. Default: the machine's cores. With 1 the bytes repeat; with more, x264's bit rate limit depends on
   * how its threads happen to run, and a second run has other bytes for the same frames.
   */
  threads?: number;
  /** Default: 5 minutes plus 60 times the duration. */
  timeoutMs?: number;
  /** Niceness of ffmpeg, 0 to 19. Default 5. */
  nice?: number;
  /** x264 preset. Default 'veryfast'. */
  preset?: 'ultrafast' | 'superfast' | 'veryfast' | 'faster' | 'fast' | 'medium';
}

/**
 * The renditions of a verified upload, made by one ffmpeg process from one decode. `outDir` must not exist; it appears complete and
 * verified or not at all. Exit code 0 proves nothing, so the frames of every rendition are counted and compared with the source's.
 * TRANSCODE_FAILED carries ffmpeg's reason; also MEDIA_CANCELLED, MEDIA_TIMEOUT, MEDIA_STALLED, FFMPEG_MISSING.
 */
export async function transcodeReview(
  input: string,
  outDir: string,
  info: MediaInfo,
  options: TranscodeOptions = {},
): Promise<Result<ReviewSet>> {
  const capabilities = await ffmpegCapabilities();
  if (!capabilities.ok) return capabilities;
  const threads = options.threads ?? cpus().length;
  const purposes = purposesOf(options);
  const editorial = info.kind === 'VIDEO' && purposes.includes('EDITORIAL') ? options.editorial : undefined;
  // Before: the sound of an editorial proxy has exactly the samples of its frames, and variable rate needs its map.
  const times = editorial ? await editorialTimes(input, info, options.signal) : ok({ frames: null, frameMap: null });
  if (!times.ok) return times;
  const { frameMap } = times.value;
  const planOptions = {
    ...{ ...options, ...times.value, filters: capabilities.value.filters, threads },
    preset: options.preset ?? 'veryfast',
  };
  // A temporary name beside the result: what a crash leaves is never taken for a result.
  const work = `${resolve(outDir)}.${randomUUID()}.part`;
  try {
    const made = await runPlan(input, work, info, options, threads, (encoder) =>
      planReview(info, { ...planOptions, encoder }),
    );
    if (!made.ok) return made.error.code === 'FFMPEG_FAILED' ? failed(made.error.message, made.error.reason) : made;
    const { plan, run, encoder } = made.value;
    const frames = await expectedFrames(input, info, options.signal);
    if (!frames.ok) return frames;
    const verified = await verify(work, plan, info, { source: frames.value, editorial: frameMap?.frames.length }, run);
    if (!verified.ok) return verified;
    const files = verified.value;
    if (plan.tiles) {
      const packed = await packTiles(work, plan.tiles, 'view.tiles');
      if (!packed.ok) return packed;
      const { size } = await stat(join(work, 'view.tiles'));
      const { width, height } = plan.tiles[0]!;
      const descriptor = deepZoomDescriptor({ width, height });
      files.push({ name: 'view.tiles', role: 'TILES', purpose: 'REVIEW', mime: 'application/octet-stream', size });
      files.push(await write(work, 'view.dzi', 'DEEP_ZOOM', 'application/xml', descriptor));
      files.push(await write(work, 'view.tiles.json', 'TILES_INDEX', 'application/json', JSON.stringify(packed.value)));
    }
    if (made.value.waveform) {
      const text = JSON.stringify(made.value.waveform.finish());
      files.push(await write(work, 'waveform.json', 'WAVEFORM', 'application/json', text));
    }
    const loudness = made.value.loudness.finish(plan.programmes);
    if (!loudness) return failed('The loudness could not be measured.');
    if (loudness.length > 0) {
      files.push(await write(work, 'loudness.json', 'LOUDNESS', 'application/json', JSON.stringify(loudness)));
    }
    if (frameMap) {
      const text = JSON.stringify(frameMap);
      files.push(await write(work, 'editorial.framemap.json', 'FRAME_MAP', 'application/json', text, 'EDITORIAL'));
    }
    if (editorial) {
      const ale = editorialLog(info, options.sourceName ?? basename(input), frameMap, frames.value ?? 0);
      if (!ale.ok) return failed(ale.error.message);
      files.push(await write(work, 'editorial.ale', 'ALE', 'text/plain', ale.value, 'EDITORIAL'));
    }
    await Promise.all(plan.sidecars.map(({ name }) => rm(join(work, name))));
    await rename(work, outDir);
    return ok({
      directory: resolve(outDir),
      files: files.map((file) => ({ ...file, path: join(resolve(outDir), file.name) })),
      frames: frames.value,
      loudness,
      ffmpegVersion: capabilities.value.version,
      encoder,
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

interface Made {
  readonly plan: ReviewPlan;
  readonly run: RunOutcome;
  readonly waveform: WaveformBuilder | null;
  readonly loudness: LoudnessReader;
  readonly encoder: string | null;
}

/** Runs the plan in a new folder, with a card where there is one that works. */
async function runPlan(
  input: string,
  work: string,
  info: MediaInfo,
  options: TranscodeOptions,
  threads: number,
  planFor: (encoder?: PictureEncoder) => ReviewPlan,
): Promise<Result<Made>> {
  let plan = planFor();
  let waveform: WaveformBuilder | null = null;
  let loudness = new LoudnessReader();
  const job = (encoder?: PictureEncoder): FfmpegJob => {
    plan = planFor(encoder);
    // A second encoder begins anew.
    waveform = plan.waveform && new WaveformBuilder(plan.waveform.sampleRate, plan.waveform.samplesPerPixel);
    loudness = new LoudnessReader();
    return {
      inputs: [{ path: input, demuxer: formatOf(info.container).demuxer, options: plan.inputOptions }],
      globals: ['-xerror'],
      output: plan.output,
      cwd: work,
      threads,
      nice: options.nice ?? 5,
      signal: options.signal,
      timeoutMs: options.timeoutMs ?? 300_000 + 60_000 * (info.durationSeconds ?? 0),
      stallMs: 120_000,
      onProgress: (progress) =>
        options.onProgress?.({
          fraction: Math.min(1, fractionOf(progress.frame, progress.outTimeUs, info)),
          frame: progress.frame,
          fps: progress.fps,
        }),
      onStdout: (chunk) => waveform?.add(chunk),
      ...(plan.programmes.length > 0 ? { onLine: (line: string) => loudness.line(line) } : {}),
    };
  };
  await mkdir(work, { recursive: true });
  for (const { name, text } of plan.sidecars) await writeFile(join(work, name), text);
  const viewing =
    info.kind === 'VIDEO' && purposesOf(options).some((purpose) => purpose === 'REVIEW' || purpose === 'PREVIEW');
  if (!viewing) {
    const run = await runFfmpeg(job());
    return run.ok ? ok({ plan, run: run.value, waveform, loudness, encoder: null }) : run;
  }
  const run = await runEncoding('h264', job, { hardware: options.hardware });
  return run.ok ? ok({ plan, run: run.value, waveform, loudness, encoder: run.value.encoder.name }) : run;
}

/** What an editorial proxy needs to know before: the exact count, and the map of variable rate. Reads the file where headers do not tell. */
async function editorialTimes(
  input: string,
  info: MediaInfo,
  signal?: AbortSignal,
): Promise<Result<{ frames: number | null; frameMap: FrameMap | null }>> {
  const video = info.video!;
  if (info.durationExact && !video.variableRate) return ok({ frames: info.durationFrames, frameMap: null });
  const file = { path: input, demuxer: formatOf(info.container).demuxer };
  const times = await readTimestamps(file, video.index, { signal, timeoutMs: 600_000 });
  if (!times.ok)
    return times.error.code === 'FFMPEG_FAILED' ? failed('The source can’t be counted.', times.error.reason) : times;
  if (!video.variableRate) return ok({ frames: times.value.ticks.length, frameMap: null });
  return ok({ frames: null, frameMap: mapToConstantRate(times.value, steadyRate(times.value)) });
}

/** One clip by which Avid relinks the proxy: name, tape and timecode of the original. */
function editorialLog(info: MediaInfo, sourceName: string, frameMap: FrameMap | null, frames: number): Result<string> {
  const rate = frameMap?.rate ?? info.rate!;
  const count = frameMap?.frames.length ?? frames;
  const { frame, dropFrame } = countedAt(info, rate).startTimecode ?? { frame: 0, dropFrame: false };
  const label = (at: number) => formatTimecode(at, rate, { dropFrame });
  const name = basename(sourceName, extname(sourceName));
  const { scene, take, camera } = info.slate;
  const channels = info.audio.reduce((sum, track) => sum + track.channels, 0);
  const tracks = ['V', ...Array.from({ length: channels }, (_, channel) => `A${channel + 1}`)].join('');
  const fps = Number.isInteger(rate.num / rate.den) ? String(rate.num / rate.den) : (rate.num / rate.den).toFixed(3);
  const values: [column: string, value: string][] = [
    ['Name', name],
    ['Tracks', tracks],
    ['Start', label(frame)],
    ['End', label(frame + count)],
    ['Tape', info.reel ?? name],
    ['Source File', sourceName],
    ['FPS', fps],
    ['Scene', scene ?? ''],
    ['Take', take ?? ''],
    ['Camera', camera ?? ''],
  ];
  return writeAle({
    headings: [
      ['FIELD_DELIM', 'TABS'],
      ['VIDEO_FORMAT', 'CUSTOM'],
      ['AUDIO_FORMAT', `${Math.round((info.audio[0]?.sampleRate ?? 48_000) / 1000)}khz`],
      ['FPS', fps],
    ],
    columns: values.map(([column]) => column),
    rows: [values.map(([, value]) => value)],
  });
}

function failed(message: string, reason?: string) {
  return fail('TRANSCODE_FAILED', message, reason);
}

function fractionOf(frame: number, outTimeUs: number, info: MediaInfo): number {
  if (info.durationFrames && frame > 0) return frame / info.durationFrames;
  return info.durationSeconds ? Math.max(0, outTimeUs) / 1e6 / info.durationSeconds : 0;
}

/** Frames the source holds: from its table, else counted (the file has just been read, so this is quick). */
async function expectedFrames(input: string, info: MediaInfo, signal?: AbortSignal): Promise<Result<number | null>> {
  if (info.kind !== 'VIDEO') return ok(null);
  if (info.warnings.includes('DURATION_MISMATCH')) {
    return failed('The file declares more than it holds: it was cut short.', 'the last packets are missing');
  }
  if (info.durationExact) return ok(info.durationFrames);
  const counted = await packetTimes(input, formatOf(info.container), info.video!.index, { signal, timeoutMs: 600_000 });
  if (!counted.ok)
    return counted.error.code === 'FFMPEG_FAILED'
      ? failed('The source can’t be counted.', counted.error.reason)
      : counted;
  const declared = info.durationFrames ?? 0;
  if (!info.video!.variableRate && counted.value.frames < declared * 0.98 - 2) {
    return failed(`The file declares ${declared} frames but holds ${counted.value.frames}: it was cut short.`);
  }
  return ok(counted.value.frames);
}

type Verified = Omit<ReviewFile, 'path'>;

async function verify(
  work: string,
  plan: ReviewPlan,
  info: MediaInfo,
  frames: { readonly source: number | null; readonly editorial?: number },
  run: RunOutcome,
): Promise<Result<Verified[]>> {
  const reason = [...run.errors, ...run.warnings].slice(-3).join('; ') || undefined;
  const files: Verified[] = [];
  const seconds = frames.source !== null && info.rate ? secondsOf(info, frames.source) : info.durationSeconds;
  const described = await Promise.all(
    plan.files.map(async (planned): Promise<Result<Verified>> => {
      const size = (await stat(join(work, planned.name)).catch(() => null))?.size ?? 0;
      if (size === 0) return failed(`ffmpeg made no ${planned.name}.`, reason);
      const file: Verified = { ...describeFile(planned), size };
      if ((planned.role === 'PROXY' || planned.role === 'EDITORIAL') && seconds) {
        file.bitrate = Math.round((size * 8) / seconds);
      }
      if (!planned.countFrames) return ok(file);
      const counted = await packetTimes(join(work, planned.name), { demuxer: 'mov' }, 0, { timeoutMs: 600_000 });
      if (!counted.ok) return failed(`${planned.name} can’t be read back.`, counted.error.reason);
      const expected = planned.role === 'EDITORIAL' ? (frames.editorial ?? frames.source) : frames.source;
      if (counted.value.frames !== expected) {
        return failed(`${planned.name} has ${counted.value.frames} frames instead of ${expected}.`, reason);
      }
      return ok({ ...file, frames: counted.value.frames });
    }),
  );
  for (const file of described) {
    if (!file.ok) return file;
    files.push(file.value);
  }
  const playlists = new Map<string, MediaPlaylist>();
  for (const rendition of plan.renditions) {
    const parsed = parseMediaPlaylist(await readFile(join(work, rendition.playlist), 'utf8'));
    const segments = files.find((file) => file.name === rendition.segments);
    if (!parsed || !parsed.complete || parsed.bytes !== segments?.size) {
      return failed(`${rendition.playlist} is not a complete playlist.`, reason);
    }
    const seconds = parsed.segments.reduce((sum, segment) => sum + segment.seconds, 0);
    // Sound has no frame count to compare; headers of raw streams (MP3, AAC, OGG) only estimate their length.
    const lengthKnown = !['MP3', 'AAC', 'OGG'].includes(info.container);
    if (info.kind === 'AUDIO' && lengthKnown && seconds < (info.durationSeconds ?? 0) * 0.99 - 0.25) {
      return failed(`Only ${seconds.toFixed(2)} of ${info.durationSeconds!.toFixed(2)} s could be decoded.`, reason);
    }
    playlists.set(rendition.playlist, parsed);
    segments.bitrate = seconds > 0 ? Math.round((segments.size * 8) / seconds) : undefined;
  }
  if (plan.renditions.length > 0) {
    const renditions = [];
    for (const rendition of plan.renditions) {
      const codec = rendition.width ? await avcCodec(join(work, rendition.segments)) : 'mp4a.40.2';
      renditions.push({ ...rendition, codec, segments: playlists.get(rendition.playlist)!.segments });
    }
    const rate = info.kind === 'VIDEO' ? info.rate : null;
    files.push(
      await write(work, 'master.m3u8', 'HLS_MASTER', 'application/vnd.apple.mpegurl', masterPlaylist(renditions, rate)),
    );
  }
  if (plan.sprites && frames.source) {
    const cues = spriteCues({ ...plan.sprites, frames: frames.source, seconds: secondsOf(info, frames.source) });
    files.push(await write(work, 'sprites.vtt', 'SPRITES_VTT', 'text/vtt', cues));
  }
  return ok(files);
}

function secondsOf(info: MediaInfo, frames: number): number {
  if (info.video?.variableRate && info.durationSeconds) return info.durationSeconds;
  return (frames * info.rate!.den) / info.rate!.num;
}

function describeFile(planned: PlannedFile): Omit<Verified, 'size'> {
  const { name, role, purpose, mime, width, height } = planned;
  return { name, role, purpose, mime, ...(width && height ? { width, height } : {}) };
}

async function write(
  work: string,
  name: string,
  role: ReviewRole,
  mime: string,
  text: string,
  purpose: Verified['purpose'] = 'REVIEW',
): Promise<Verified> {
  await writeFile(join(work, name), text);
  return { name, role, purpose, mime, size: Buffer.byteLength(text) };
}

/** RFC 6381 name from the decoder configuration in the initialisation segment (ISO/IEC 14496-15). */
async function avcCodec(file: string): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(8192), 0, 8192, 0);
    const at = buffer.subarray(0, bytesRead).indexOf('avcC', 0, 'latin1');
    return at < 0 ? 'avc1.640028' : `avc1.${buffer.toString('hex', at + 5, at + 8)}`;
  } finally {
    await handle.close();
  }
}

export const ReviewManifestSchema = z.object({
  schema: z.literal('picturelock.review-manifest/1'),
  frames: z.number().int().nullable(),
  ffmpegVersion: z.string(),
  /** EBU R 128 of each programme; absent in older manifests. */
  loudness: z.array(LoudnessSchema).optional(),
  files: z.array(ReviewFileSchema.extend({ hash: BlobHashSchema })),
});
/** JSON document, itself a blob: an event names only its hash. */
export type ReviewManifest = z.infer<typeof ReviewManifestSchema>;

/** Moves the set's files into the store and writes the manifest blob, last. The directory is gone afterwards. */
export async function storeReviewSet(
  blobs: BlobStore,
  org: string,
  set: ReviewSet,
): Promise<{ manifest: ReviewManifest; ref: BlobRef }> {
  const files: ReviewManifest['files'] = [];
  for (const { path, ...file } of set.files) {
    const { hash } = await blobs.putFile(org, path, { size: file.size });
    files.push({ ...file, hash });
  }
  const manifest: ReviewManifest = {
    schema: 'picturelock.review-manifest/1',
    frames: set.frames,
    ffmpegVersion: set.ffmpegVersion,
    ...(set.loudness.length > 0 ? { loudness: [...set.loudness] } : {}),
    files,
  };
  const ref = await blobs.putStream(org, Readable.from([Buffer.from(JSON.stringify(manifest))]));
  await rm(set.directory, { recursive: true, force: true });
  return { manifest, ref };
}

/** Reads a manifest back. Rejects with MediaFailure BLOB_NOT_FOUND. */
export async function readReviewManifest(blobs: BlobStore, org: string, hash: BlobHash): Promise<ReviewManifest> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of (await blobs.open(org, hash)) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > 4 << 20) throw new MediaFailure({ code: 'MEDIA_UNREADABLE', message: 'Not a review manifest.' });
    chunks.push(chunk);
  }
  return ReviewManifestSchema.parse(JSON.parse(Buffer.concat(chunks).toString()));
}
