/**
 * Smart rendering: whole groups of pictures of a long-GOP range are copied bit by bit, only its edges are encoded. The pieces are joined
 * with times on the grid of the rate, so the result reads as constant rate.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import {
  runFfmpeg,
  runFfprobe,
  type FfmpegJob,
  type FileInput,
  type RunLimits,
  type SegmentsInput,
} from '../ffmpeg/index.js';
import type { MediaInfo, VideoTrack } from '../probe/index.js';
import { ok, type Result } from '../result.js';
import { frameStart, secondsText, type FrameRange } from './plan.js';

/** Why nothing could be copied. */
export type SmartObstacle =
  /** Only H.264 and HEVC in MOV, MP4 and Matroska are joined. */
  | 'SMART_NOT_THIS_CODEC'
  /** Variable rate, fields, a turned picture, or times that are not on the grid of the rate. */
  | 'SMART_NOT_REGULAR'
  /** No whole closed group of pictures lies inside the range. */
  | 'SMART_NO_CLOSED_GROUP'
  /** What was joined is not bit for bit what it should be. */
  | 'SMART_NOT_VERIFIED';

/** Pieces of a range, in frames of the medium; the edges may be empty. */
export interface SmartPlan {
  readonly head: FrameRange;
  readonly middle: FrameRange;
  readonly tail: FrameRange;
}

/** A packet of the picture in decoding order, by the frame it shows. */
export interface GroupPacket {
  readonly frame: number;
  readonly key: boolean;
}

/**
 * Key pictures at which the stream can be cut: everything before in decoding order is shown before, everything after is shown after. A
 * key of an open group is none: pictures that follow it are shown before it. `atEnd`: the packets go to the end of the medium, which is
 * a cut too. Null when a frame is missing or comes twice.
 */
export function cleanCuts(packets: readonly GroupPacket[], atEnd: boolean): number[] | null {
  const frames = packets.map(({ frame }) => frame);
  const [low, high] = [Math.min(...frames), Math.max(...frames)];
  if (new Set(frames).size !== frames.length) return null;
  // The last packets read may wait for pictures that were not.
  const missing = high - low + 1 - frames.length;
  if (missing > (atEnd ? 0 : 16)) return null;
  const after = [...frames];
  for (let index = after.length - 2; index >= 0; index -= 1) after[index] = Math.min(after[index]!, after[index + 1]!);
  const cuts: number[] = [];
  let before = Number.NEGATIVE_INFINITY;
  for (const [index, { frame, key }] of packets.entries()) {
    if (key && before < frame && after[index]! >= frame) cuts.push(frame);
    before = Math.max(before, frame);
  }
  return atEnd ? [...cuts, high + 1] : cuts;
}

/** The longest part between two cuts inside the range; null when there is none. `cuts` ascend. */
export function planSmart({ first, count }: FrameRange, cuts: readonly number[]): SmartPlan | null {
  const end = first + count;
  const from = cuts.find((cut) => cut >= first && cut < end);
  const to = cuts.findLast((cut) => cut <= end);
  if (from === undefined || to === undefined || to <= from) return null;
  return {
    head: { first, count: from - first },
    middle: { first: from, count: to - from },
    tail: { first: to, count: end - to },
  };
}

const SMART_CODECS: Readonly<Record<string, { vcl: string; idr: readonly number[]; type: (byte: number) => number }>> =
  {
    // Types of NAL units: ITU-T H.264 table 7-1, H.265 table 7-1.
    h264: { vcl: '1-5', idr: [5], type: (byte) => byte & 31 },
    hevc: { vcl: '0-31', idr: [19, 20], type: (byte) => (byte >> 1) & 63 },
  };

/** What rules smart rendering out by the headers alone; null when nothing does. */
export function smartObstacle(info: MediaInfo): SmartObstacle | null {
  const video = info.video!;
  if (!SMART_CODECS[video.codec] || !['MOV', 'MP4', 'MKV'].includes(info.container)) return 'SMART_NOT_THIS_CODEC';
  const fields = video.fieldOrder !== null && video.fieldOrder !== 'progressive';
  return video.variableRate || fields || video.rotation !== 0 ? 'SMART_NOT_REGULAR' : null;
}

/** The plan for a range, or what stands against it. */
export async function smartPlan(
  file: FileInput,
  info: MediaInfo,
  range: FrameRange,
  limits: RunLimits,
): Promise<Result<SmartPlan | SmartObstacle>> {
  const video = info.video!;
  const obstacle = smartObstacle(info);
  if (obstacle) return ok(obstacle);
  const { num, den } = video.rate;
  const begin = await readPackets(file, video, '%+#1', limits);
  if (!begin.ok) return begin;
  const zero = (begin.value[0]?.time ?? Number.NaN) - video.startSeconds;
  // Reading begins at a key before the range and goes on until the group at its end is told from the next.
  const [from, to] = [frameStart(video, range.first), frameStart(video, range.first + range.count) + 2];
  const read = await readPackets(file, video, `${secondsText(zero + from)}%${secondsText(zero + to)}`, limits);
  if (!read.ok) return read;
  const packets: GroupPacket[] = [];
  for (const { time, key } of read.value) {
    const exact = ((time - zero - video.startSeconds) * num) / den;
    const frame = Math.round(exact);
    // Pictures before the first one shown: an edit list cuts them away, or the film begins inside an open group.
    if (!(Math.abs(exact - frame) < 0.25) || frame < 0) return ok('SMART_NOT_REGULAR');
    packets.push({ frame, key });
  }
  if (packets.length === 0) return ok('SMART_NOT_REGULAR');
  const atEnd = packets.some(({ frame }) => frame === info.durationFrames! - 1);
  let cuts = cleanCuts(packets, atEnd);
  if (!cuts) return ok('SMART_NOT_REGULAR');
  for (;;) {
    const plan = planSmart(range, cuts);
    if (!plan) return ok('SMART_NO_CLOSED_GROUP');
    // A little later, for containers that round: the key before is the one meant.
    const time = zero + frameStart(video, plan.middle.first) + (0.25 * den) / num;
    const whole = await isInstantRefresh(file, video, time, limits);
    if (!whole.ok) return whole;
    if (whole.value) return ok(plan);
    // A picture to come in at, but what follows may still look behind it.
    cuts = cuts.filter((cut) => cut > plan.middle.first);
  }
}

async function readPackets(file: FileInput, video: VideoTrack, interval: string, limits: RunLimits) {
  const run = await runFfprobe({
    maxStdoutBytes: 64 << 20,
    ...limits,
    input: file,
    args: [
      ...['-select_streams', String(video.index), '-read_intervals', interval],
      ...['-show_entries', 'packet=pts_time,flags', '-of', 'csv=p=0'],
    ],
  });
  if (!run.ok) return run;
  const lines = run.value.stdout.toString().split('\n').filter(Boolean);
  return ok(
    lines.map((line) => {
      const [time, flags] = line.split(',');
      return { time: Number.parseFloat(time!), key: flags?.startsWith('K') ?? false };
    }),
  );
}

const DataSchema = z.object({ packets: z.array(z.object({ data: z.string() })) });

/** Whether the key picture is an IDR: no picture after it refers to one before. */
async function isInstantRefresh(
  file: FileInput,
  video: VideoTrack,
  time: number,
  limits: RunLimits,
): Promise<Result<boolean>> {
  const run = await runFfprobe({
    maxStdoutBytes: 256 << 20,
    ...limits,
    input: file,
    args: [
      ...['-select_streams', String(video.index), '-read_intervals', `${secondsText(time)}%+#1`],
      ...['-show_packets', '-show_data', '-show_entries', 'packet=data', '-of', 'json'],
    ],
  });
  if (!run.ok) return run;
  const parsed = DataSchema.safeParse(JSON.parse(run.value.stdout.toString()));
  const dump = parsed.success ? (parsed.data.packets[0]?.data ?? '') : '';
  // `00000000: 0000 001f 6742 c01e …  ....gB..`
  const hex = dump.split('\n').map((line) => line.slice(10, 50).replaceAll(' ', ''));
  return ok(beginsWithIdr(Buffer.from(hex.join(''), 'hex'), video.codec));
}

/** Whether the first picture among NAL units with lengths of four bytes is an IDR. */
export function beginsWithIdr(bytes: Buffer, codec: string): boolean {
  const { idr, type } = SMART_CODECS[codec]!;
  for (let at = 0; at + 5 <= bytes.length; at += 4 + bytes.readUInt32BE(at)) {
    const unit = type(bytes[at + 4]!);
    const picture = codec === 'h264' ? unit >= 1 && unit <= 5 : unit < 32;
    if (picture) return idr.includes(unit);
  }
  return false;
}

/**
 * The middle as a file of its own. Seeking goes before the key, and what lies between is left out; the packets of whole groups are as
 * many as its frames.
 */
export function copyMiddle(file: FileInput, video: VideoTrack, { first, count }: FrameRange, work: string): FfmpegJob {
  const start = frameStart(video, first) - (0.25 * video.rate.den) / video.rate.num;
  return {
    inputs: [{ ...file, options: ['-ss', secondsText(start)] }],
    output: [
      ...['-map', `0:${video.index}`, '-c:v', 'copy', '-copypriorss', '0', '-frames:v', String(count)],
      ...[...parameterSets(video.codec), '-f', 'mov', work],
    ],
  };
}

/** Parameter sets stand in the stream, before each group: those of the pieces differ. */
export function parameterSets(codec: string): string[] {
  return codec === 'hevc' ? ['-bsf:v', 'hevc_mp4toannexb', '-tag:v', 'hev1'] : ['-tag:v', 'avc3'];
}

/** Writes the list that joins the pieces, and tells how to read it. */
export async function joinPieces(
  folder: string,
  pieces: readonly { readonly name: string; readonly frames: number }[],
  rate: VideoTrack['rate'],
): Promise<SegmentsInput> {
  const lines = pieces.map(
    ({ name, frames }) => `file '${name}'\nduration ${((frames * rate.den) / rate.num).toFixed(6)}`,
  );
  const segments = join(folder, 'pieces.txt');
  await writeFile(segments, `ffconcat version 1.0\n${lines.join('\n')}\n`);
  return { segments };
}

/** Times on the grid of the rate. `delay`: frames between decoding and showing, the most any piece needs. */
export function gridTimes({ num, den }: VideoTrack['rate'], delay: number): string[] {
  const ticks = (frame: string) => `(${frame})*${den}/${num}/TB`;
  const shown = ticks(`round((PTS-STARTPTS)*TB*${num}/${den})`);
  return ['-bsf:v', `setts=pts='${shown}':dts='${ticks(`N-${delay}`)}':duration='${ticks('1')}'`];
}

/** Frames that decoding runs ahead of showing, over the pieces in turn. */
export function decodingDelay(order: readonly number[]): number {
  return order.reduce((most, shown, decoded) => Math.max(most, decoded - shown), 0);
}

/** Frames shown, from 0, in decoding order, of a piece of ours. */
export async function decodingOrder(
  file: FileInput,
  video: VideoTrack,
  limits: RunLimits,
): Promise<Result<readonly number[]>> {
  const read = await readPackets(file, video, '%', limits);
  if (!read.ok) return read;
  const first = Math.min(...read.value.map(({ time }) => time));
  return ok(read.value.map(({ time }) => Math.round(((time - first) * video.rate.num) / video.rate.den)));
}

/** Hashes of the coded pictures of some frames, without parameter sets and messages, in decoding order. */
export async function pictureHashes(
  file: FileInput,
  video: VideoTrack,
  { first, count }: FrameRange,
  limits: RunLimits,
): Promise<Result<readonly string[]>> {
  const job = copyMiddle(file, video, { first, count }, '');
  const run = await runFfmpeg({
    ...limits,
    inputs: job.inputs,
    output: [
      ...['-map', `0:${video.index}`, '-c:v', 'copy', '-copypriorss', '0', '-frames:v', String(count)],
      ...['-bsf:v', `filter_units=pass_types=${SMART_CODECS[video.codec]!.vcl}`, '-f', 'framemd5', 'pipe:1'],
    ],
    maxStdoutBytes: 64 << 20,
  });
  if (!run.ok) return run;
  const lines = run.value.stdout.toString().split('\n');
  return ok(lines.filter((line) => line && !line.startsWith('#')).map((line) => line.split(',').at(-1)!.trim()));
}
