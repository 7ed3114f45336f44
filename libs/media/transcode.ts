import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { BlobHashSchema, type BlobHash, type BlobRef, type BlobStore } from './blobs.js';
import { ffmpegCapabilities, runFfmpeg, type RunOutcome } from './ffmpeg/index.js';
import { masterPlaylist, parseMediaPlaylist, spriteCues, type MediaPlaylist } from './hls.js';
import { planReview, type PlannedFile, type ReviewPlan } from './ladder.js';
import { packetTimes, type MediaInfo } from './probe/index.js';
import { MediaFailure, fail, ok, type Result } from './result.js';
import { formatOf } from './sniff.js';

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
]);
export type ReviewRole = z.infer<typeof ReviewRoleSchema>;

export const ReviewFileSchema = z.object({
  /** Relative name; playlists refer to their neighbours by it. No folders. */
  name: z.string().regex(/^[A-Za-z0-9_.-]+$/),
  role: ReviewRoleSchema,
  mime: z.string(),
  size: z.number().int(),
  width: z.number().int().optional(),
  height: z.number().int().optional(),
  /** Measured average, bits per second. */
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
  readonly ffmpegVersion: string;
}

export interface TranscodeProgress {
  /** 0 to 1. */
  readonly fraction: number;
  readonly frame: number;
  readonly fps: number;
}

export interface TranscodeOptions {
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
 * Review copies of a verified upload, made by one ffmpeg process from one decode. `outDir` must not exist; it appears complete and
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
  const plan = planReview(info, { filters: capabilities.value.filters, threads, preset: options.preset ?? 'veryfast' });
  // A temporary name beside the result: what a crash leaves is never taken for a result.
  const work = `${resolve(outDir)}.${randomUUID()}.part`;
  await mkdir(work, { recursive: true });
  try {
    const run = await runFfmpeg({
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
    });
    if (!run.ok) return run.error.code === 'FFMPEG_FAILED' ? failed(run.error.message, run.error.reason) : run;
    const frames = await expectedFrames(input, info, options.signal);
    if (!frames.ok) return frames;
    const files = await verify(work, plan, info, frames.value, run.value);
    if (!files.ok) return files;
    await rename(work, outDir);
    return ok({
      directory: resolve(outDir),
      files: files.value.map((file) => ({ ...file, path: join(resolve(outDir), file.name) })),
      frames: frames.value,
      ffmpegVersion: capabilities.value.version,
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
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
  frames: number | null,
  run: RunOutcome,
): Promise<Result<Verified[]>> {
  const reason = [...run.errors, ...run.warnings].slice(-3).join('; ') || undefined;
  const files: Verified[] = [];
  for (const planned of plan.files) {
    const size = (await stat(join(work, planned.name)).catch(() => null))?.size ?? 0;
    if (size === 0) return failed(`ffmpeg made no ${planned.name}.`, reason);
    const file: Verified = { ...describeFile(planned), size };
    if (planned.countFrames) {
      const counted = await packetTimes(join(work, planned.name), { demuxer: 'mov' }, 0, { timeoutMs: 600_000 });
      if (!counted.ok) return failed(`${planned.name} can’t be read back.`, counted.error.reason);
      if (counted.value.frames !== frames) {
        return failed(`${planned.name} has ${counted.value.frames} frames, the source ${frames}.`, reason);
      }
      file.frames = frames;
    }
    files.push(file);
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
  if (plan.sprites && frames) {
    const cues = spriteCues({ ...plan.sprites, frames, seconds: secondsOf(info, frames) });
    files.push(await write(work, 'sprites.vtt', 'SPRITES_VTT', 'text/vtt', cues));
  }
  return ok(files);
}

function secondsOf(info: MediaInfo, frames: number): number {
  if (info.video?.variableRate && info.durationSeconds) return info.durationSeconds;
  return (frames * info.rate!.den) / info.rate!.num;
}

function describeFile(planned: PlannedFile): Omit<Verified, 'size'> {
  const { name, role, mime, width, height } = planned;
  return { name, role, mime, ...(width && height ? { width, height } : {}) };
}

async function write(work: string, name: string, role: ReviewRole, mime: string, text: string): Promise<Verified> {
  await writeFile(join(work, name), text);
  return { name, role, mime, size: Buffer.byteLength(text) };
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
