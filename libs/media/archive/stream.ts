/**
 * HLS of a medium that lies in an archive as it was recorded (AR-05): the playlist follows from its frame count, and a segment is
 * encoded when somebody asks for it, from the member in place. So the first picture of a film of an hour is there as soon as half a
 * second of it has been encoded.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { hashFile, hexOf } from '../blobs.js';
import { bufferSource, fileSource } from '../bytes.js';
import { countedRange, findAnchor, type Anchor } from '../extract/anchor.js';
import { mustCount } from '../extract/plan.js';
import { runFfmpeg, type RunLimits } from '../ffmpeg/index.js';
import { fitInside, type Size } from '../ladder.js';
import type { MediaInfo } from '../probe/index.js';
import { fail, ok, type Result } from '../result.js';
import { sendJson, serveBytes } from '../serve.js';
import { formatOf } from '../sniff.js';
import { rateText } from '../timecode.js';

export interface ArchivedMedium {
  /** The archive, a file of this machine. */
  readonly path: string;
  /** Where in it the member is. */
  readonly part: { readonly offset: number; readonly size: number };
  /** `probe(path, { part })`. */
  readonly info: MediaInfo;
  /** Names these bytes and no others: the archive's hash and the place. */
  readonly key: string;
}

/** Frames of one segment. */
export interface StreamSegment {
  readonly first: number;
  readonly count: number;
}

export interface StreamOptions extends Pick<RunLimits, 'threads' | 'nice' | 'signal'> {
  /** The picture is fitted into it. Default 960 × 540. */
  readonly box?: Size;
}

/** Seconds: the first ones are short, so that something is seen at once; all others are of the last length. */
const SECONDS = [0.5, 1, 2];
const SOUND_RATE = 48_000;
/** Samples of a packet of AAC. */
const PACKET = 1024;
/** Packets encoded before those that are kept: what a decoder carries over from one to the next is then as in one long run. */
const PREROLL = 2;
/** Three packets last 64 ms, which ffmpeg's microseconds tell exactly: sound is sought at multiples of them. */
const EVEN = 3;
/** Packets read before the first one needed: MXF of intra pictures seeks to the nearest edit unit, which may be the next one. */
const RUN_UP = 12;

/** The segments of a medium, in whole frames. MEDIA_UNREADABLE for sound, stills, variable rate and unknown length. */
export function planSegments(info: MediaInfo): Result<StreamSegment[]> {
  const { rate, durationFrames, video } = info;
  if (info.kind !== 'VIDEO' || !rate || !video || !durationFrames || video.variableRate)
    return fail('MEDIA_UNREADABLE', 'Only pictures of constant rate and known length are streamed out of an archive.');
  const segments: StreamSegment[] = [];
  for (let first = 0; first < durationFrames;) {
    const seconds = SECONDS[Math.min(segments.length, SECONDS.length - 1)]!;
    const count = Math.min(durationFrames - first, Math.max(1, Math.round((seconds * rate.num) / rate.den)));
    segments.push({ first, count });
    first += count;
  }
  return ok(segments);
}

/** A media playlist (RFC 8216) of segments `0.ts`, `1.ts`… */
export function streamPlaylist(info: MediaInfo, segments: readonly StreamSegment[]): string {
  const { num, den } = info.rate!;
  const seconds = segments.map(({ count }) => (count * den) / num);
  return [
    '#EXTM3U',
    '#EXT-X-VERSION:3',
    `#EXT-X-TARGETDURATION:${Math.max(1, Math.ceil(Math.max(...seconds)))}`,
    '#EXT-X-PLAYLIST-TYPE:VOD',
    '#EXT-X-INDEPENDENT-SEGMENTS',
    ...seconds.flatMap((length, n) => [`#EXTINF:${length.toFixed(6)},`, `${n}.ts`]),
    '#EXT-X-ENDLIST',
    '',
  ].join('\n');
}

/**
 * Encodes one segment into `file` (MPEG-TS, H.264 and AAC). It begins with a key frame at exactly its place in time; its sound is whole
 * packets on the grid of the whole medium, so that segments made one by one join without a gap. The runner's codes.
 */
export async function makeSegment(
  medium: ArchivedMedium,
  { first, count }: StreamSegment,
  file: string,
  options: StreamOptions = {},
): Promise<Result<unknown>> {
  const { info, path, part } = medium;
  const { num, den } = info.rate!;
  const video = info.video!;
  const [sound] = info.audio;
  // Rounded down: later than the frame by a millionth would be the next one.
  const start = Math.floor((first * den * 1e6) / num) / 1e6;
  const size = fitInside(
    { width: video.displayWidth, height: video.displayHeight },
    options.box ?? { width: 960, height: 540 },
  );
  const seek = (seconds: number) => (seconds > 0 ? ['-ss', seconds.toFixed(9)] : []);
  const input = { path, part, demuxer: formatOf(info.container).demuxer };
  const interlaced = video.fieldOrder !== null && video.fieldOrder !== 'progressive';
  const byCount = mustCount(info);
  const patience = 120_000 + (byCount ? 50 * first : 0);
  let anchor: Anchor | null = null;
  if (byCount) {
    const found = await findAnchor(input, info, first, options);
    if (!found.ok) return found;
    anchor = found.value;
  }
  const picture = [
    ...(interlaced ? ['yadif=mode=send_frame'] : []),
    `scale=${size.width}:${size.height}:flags=bilinear:out_range=tv,setsar=1,format=yuv420p`,
  ];
  const packetAt = (frame: number) => Math.ceil((frame * den * SOUND_RATE) / (num * PACKET));
  const [from, to] = [packetAt(first), packetAt(first + count)];
  const preroll = Math.min(from, PREROLL);
  const soundSeek = Math.max(0, Math.floor((from - preroll) / EVEN) * EVEN - RUN_UP);
  const soundAt = (soundSeek * PACKET) / SOUND_RATE;
  const skip = from - preroll - soundSeek;
  // The encoder's own first packet, and what came before; one more at the end, as the last kept one leans on it.
  const drop = preroll + 1;
  const encode = (begin: Anchor | null) => {
    const counted = countedRange(begin, first, count);
    const grid = [`settb=${den}/${num}`, 'setpts=N', `fps=${rateText(info.rate!)}`];
    const filters = [...(byCount ? [...counted.filters, ...grid] : [`trim=end_frame=${count}`]), ...picture];
    return runFfmpeg({
      inputs: [
        { ...input, options: byCount ? counted.input : seek(start) },
        ...(sound ? [{ ...input, options: seek(soundAt) }] : []),
      ],
      output: [
        ...['-map', `0:${video.index}`, ...(sound ? ['-map', `1:${sound.index}`] : []), '-map_metadata', '-1'],
        // A filter, as `-frames:v` would end the sound a little early.
        ...['-vf', filters.join(','), '-c:v', 'libx264', '-preset', 'ultrafast', '-tune', 'zerolatency', '-crf', '23'],
        ...['-bf', '0', '-g', '1000', '-sc_threshold', '0'],
        ...(sound
          ? [
              '-af',
              `aresample=${SOUND_RATE},atrim=start_pts=${skip * PACKET}:end_pts=${(skip + preroll + to - from + 1) * PACKET},` +
                `asetpts=PTS+(${(soundAt - start).toFixed(9)})/TB,aformat=channel_layouts=stereo`,
              ...[
                '-c:a',
                'aac',
                '-b:a',
                '128k',
                '-ac',
                '2',
                '-bsf:a',
                `noise=drop='lt(n,${drop})+gte(n,${drop + to - from})'`,
              ],
            ]
          : []),
        ...['-avoid_negative_ts', 'disabled', '-muxdelay', '0', '-muxpreload', '0'],
        ...['-output_ts_offset', start.toFixed(6), '-f', 'mpegts', file],
      ],
      timeoutMs: patience,
      // Nothing comes out while frames are counted from the first one.
      stallMs: patience,
      ...options,
    });
  };
  const run = await encode(anchor);
  if (anchor && (run.ok ? run.value.progress?.frame !== count : run.error.code === 'FFMPEG_FAILED'))
    return encode(null);
  return run;
}

export interface StreamCacheOptions {
  /** Kept until this many bytes are in use; what was asked for longest ago goes first. Default 4 GiB. */
  readonly maxBytes?: number;
  /** Encodings at a time. Default 2. */
  readonly concurrency?: number;
}

interface Kept {
  readonly file: string;
  readonly size: number;
  readonly tag: string;
}

/** Segments made so far, in a folder of its own: what an earlier process left there is removed. */
export class ArchiveStreams {
  private readonly kept = new Map<string, Kept>();
  private readonly making = new Map<string, Promise<Result<Kept>>>();
  private readonly waiting: (() => void)[] = [];
  private running = 0;
  private bytes = 0;

  private constructor(
    private readonly directory: string,
    private readonly options: StreamCacheOptions,
  ) {}

  static async open(directory: string, options: StreamCacheOptions = {}): Promise<ArchiveStreams> {
    await mkdir(directory, { recursive: true });
    for (const name of await readdir(directory))
      if (name.endsWith('.ts')) await rm(join(directory, name), { force: true });
    return new ArchiveStreams(directory, options);
  }

  /**
   * `index.m3u8` and `<n>.ts` of a medium, with everything {@link serveBytes} knows. The segment after the one asked for is made
   * ahead. Refusals are JSON: NOT_FOUND 404, others 503.
   */
  async serve(request: IncomingMessage, response: ServerResponse, medium: ArchivedMedium, name: string): Promise<void> {
    const plan = planSegments(medium.info);
    if (!plan.ok) return sendJson(response, 404, plan.error);
    if (name === 'index.m3u8') {
      const body = Buffer.from(streamPlaylist(medium.info, plan.value));
      const tag = createHash('sha256').update(body).digest('hex');
      return serveBytes(request, response, { bytes: bufferSource(body), tag, mime: 'application/vnd.apple.mpegurl' });
    }
    const n = /^(\d{1,7})\.ts$/.exec(name)?.[1];
    if (n === undefined || Number(n) >= plan.value.length)
      return sendJson(response, 404, { code: 'NOT_FOUND', message: 'There is no such segment.' });
    const made = await this.segment(medium, plan.value, Number(n));
    if (!made.ok) return sendJson(response, 503, made.error);
    const ahead = Number(n) + 1;
    if (ahead < plan.value.length) void this.segment(medium, plan.value, ahead).catch(() => undefined);
    const bytes = await fileSource(made.value.file);
    await serveBytes(request, response, { bytes, tag: made.value.tag, mime: 'video/mp2t', immutable: true });
  }

  /** One segment as a file; made once for all who ask at the same time. */
  async segment(
    medium: ArchivedMedium,
    segments: readonly StreamSegment[],
    n: number,
    options: StreamOptions = {},
  ): Promise<Result<Kept>> {
    const box = options.box ? `${options.box.width}x${options.box.height}` : '';
    const key = createHash('sha256').update(`${medium.key} ${box} ${n}`).digest('hex');
    const known = this.kept.get(key);
    if (known) {
      // Asked for last: at the end of the line.
      this.kept.delete(key);
      this.kept.set(key, known);
      return ok(known);
    }
    const running = this.making.get(key);
    if (running) return running;
    const making = this.make(key, medium, segments[n]!, options).finally(() => this.making.delete(key));
    this.making.set(key, making);
    return making;
  }

  private async make(
    key: string,
    medium: ArchivedMedium,
    segment: StreamSegment,
    options: StreamOptions,
  ): Promise<Result<Kept>> {
    await this.turn();
    const work = join(this.directory, `${key}.${randomUUID()}.ts`);
    try {
      const made = await makeSegment(medium, segment, work, options);
      if (!made.ok) return made;
      const file = join(this.directory, `${key}.ts`);
      const { hash, size } = await hashFile(work);
      await rename(work, file);
      const kept = { file, size, tag: hexOf(hash) };
      this.kept.set(key, kept);
      this.bytes += size;
      await this.evict();
      return ok(kept);
    } finally {
      await rm(work, { force: true });
      this.running -= 1;
      this.waiting.shift()?.();
    }
  }

  private async turn(): Promise<void> {
    while (this.running >= (this.options.concurrency ?? 2))
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.running += 1;
  }

  /** A file that is being sent stays open, so removing its name does not cut it short. */
  private async evict(): Promise<void> {
    const limit = this.options.maxBytes ?? 4 * 2 ** 30;
    for (const [key, { file, size }] of this.kept) {
      if (this.bytes <= limit || this.kept.size === 1) return;
      this.kept.delete(key);
      this.bytes -= size;
      await unlink(file).catch(() => undefined);
    }
  }

  /** Bytes on disk; for metrics and specs. */
  async usage(): Promise<number> {
    let total = 0;
    for (const name of await readdir(this.directory)) total += (await stat(join(this.directory, name))).size;
    return total;
  }
}
