/**
 * Where counting may begin inside long-GOP MXF whose times can't be trusted ({@link mustCount}): a key picture far into the file, whose
 * number among the pictures shown is certain. Two readings of MXF are known, and told apart by its packets and pictures: times of
 * showing, and times that are places in the order of storing. Whatever else it is, counting begins at the first picture.
 */
import { z } from 'zod';
import { runFfprobe, type FileInput, type RunLimits } from '../ffmpeg/index.js';
import type { MediaInfo } from '../probe/index.js';
import { ok, type Result } from '../result.js';
import { secondsText } from './plan.js';

export interface Anchor {
  /** Number of the key picture. */
  readonly frame: number;
  /** Seconds for `-ss`: inside the group before, so that pictures which lead the key have what they refer to. */
  readonly seek: number;
  /** When the key comes after that, and how far off it may be: decoders guess times of pictures out of order. */
  readonly expected: number;
  readonly tolerance: number;
}

/** Frames before which counting from the first one is quick enough. */
export const NEAR_FRAMES = 200;
/** Packets read to find keys: most groups are short. */
const WINDOWS = [120, 900];
/** Pictures that can lead a key, and that a decoder holds back. */
const MOST_LEADING = 32;
/** Pictures decoded at the start, to see how the file counts. */
const START = 40;

const number = z.coerce.number();
const EntriesSchema = z.object({
  packets_and_frames: z.array(
    z.union([
      z.object({ type: z.literal('packet'), pts_time: number, pos: number, flags: z.string() }),
      z.object({ type: z.literal('frame'), pts_time: number, key_frame: number }),
    ]),
  ),
});

interface Stored {
  readonly time: number;
  readonly pos: number;
  readonly key: boolean;
}
interface Shown {
  readonly time: number;
  readonly key: boolean;
}

/** Packets, and pictures where asked for, from a place on; times in frames. Null when they have no whole ones. */
async function read(
  file: FileInput,
  info: MediaInfo,
  interval: string,
  pictures: boolean,
  limits: RunLimits,
): Promise<Result<{ packets: Stored[]; frames: Shown[] } | null>> {
  const { num, den } = info.video!.rate;
  const run = await runFfprobe({
    maxStdoutBytes: 16 << 20,
    ...limits,
    input: file,
    args: [
      ...['-select_streams', String(info.video!.index), '-read_intervals', interval, '-show_packets'],
      ...(pictures ? ['-show_frames'] : []),
      ...['-show_entries', 'packet=pts_time,pos,flags:frame=pts_time,key_frame', '-of', 'json'],
    ],
  });
  if (!run.ok) return run.error.code === 'FFMPEG_FAILED' ? ok(null) : run;
  const raw = JSON.parse(run.value.stdout.toString()) as { packets?: object[] };
  const parsed = EntriesSchema.safeParse(
    raw.packets ? { packets_and_frames: raw.packets.map((packet) => ({ ...packet, type: 'packet' })) } : raw,
  );
  if (!parsed.success) return ok(null);
  const [packets, frames]: [Stored[], Shown[]] = [[], []];
  for (const entry of parsed.data.packets_and_frames) {
    const exact = (entry.pts_time * num) / den;
    const time = Math.round(exact);
    if (Math.abs(exact - time) > 0.1) return ok(null);
    if (entry.type === 'packet') packets.push({ time, pos: entry.pos, key: entry.flags.startsWith('K') });
    else frames.push({ time, key: entry.key_frame === 1 });
  }
  return ok({ packets, frames });
}

const consecutive = (times: readonly { time: number }[]) =>
  times.every(({ time }, index) => time === times[0]!.time + index);

/** A key to count from, well before a frame; null when only counting from the first one is certain. The runner's codes. */
export async function findAnchor(
  file: FileInput,
  info: MediaInfo,
  first: number,
  limits: RunLimits,
): Promise<Result<Anchor | null>> {
  const { num, den } = info.video!.rate;
  if (first < NEAR_FRAMES || info.video!.startSeconds !== 0) return ok(null);
  const seconds = (frames: number) => (frames * den) / num;
  const begin = await read(file, info, `%+#${START}`, true, limits);
  if (!begin.ok) return begin;
  // Every picture stored at the start is shown: numbers and times begin together.
  if (begin.value?.packets[0]?.time !== 0 || begin.value.frames.length !== begin.value.packets.length) return ok(null);
  const stored = consecutive(begin.value.packets) ? 'ORDER' : consecutive(begin.value.frames) ? 'SHOWN' : null;
  if (stored === null) return ok(null);

  for (const window of WINDOWS) {
    const from = first - MOST_LEADING - window;
    if (from <= 0) break;
    const around = await read(file, info, `${secondsText(seconds(from))}%+#${window}`, false, limits);
    if (!around.ok) return around;
    const keys = around.value?.packets.filter(({ key, time }) => key && time + MOST_LEADING <= first) ?? [];
    const [before, key] = keys.slice(-2);
    if (!before || !key) continue;
    const group = key.time - before.time;
    const seek = seconds(before.time + 0.5);
    const decoded = await read(file, info, `${secondsText(seek)}%+#${group + MOST_LEADING}`, true, limits);
    if (!decoded.ok) return decoded;
    const { packets, frames } = decoded.value ?? { packets: [], frames: [] };
    // Sought from two places, the group begins at the same byte and time: the file has an index, and it is followed.
    if (packets[0]?.time !== before.time || packets[0].pos !== before.pos) return ok(null);
    const at = frames.findIndex((frame) => frame.key && frame.time === key.time);
    if (at < 1 || !packets.some(({ time, pos }) => time === key.time && pos === key.pos)) return ok(null);
    let frame: number;
    if (stored === 'ORDER' && consecutive(packets)) {
      // As many are stored before the key as its time says, and all are shown before it, as are those that lead it.
      frame = key.time + frames.slice(0, at).filter(({ time }) => time > key.time).length;
    } else if (stored === 'SHOWN' && consecutive(frames)) {
      frame = key.time;
    } else {
      return ok(null);
    }
    if (frame > first) return ok(null);
    const tolerance = seconds(Math.min(group / 2 - 0.5, MOST_LEADING));
    return ok({ frame, seek, expected: seconds(key.time) - seek, tolerance });
  }
  return ok(null);
}

/** What reads a range by count: from its anchor, or from the first frame. */
export function countedRange(
  anchor: Anchor | null,
  first: number,
  count: number | null,
): { input: string[]; filters: string[] } {
  const skip = first - (anchor?.frame ?? 0);
  const trim = `trim=start_frame=${skip}${count === null ? '' : `:end_frame=${skip + count}`}`;
  if (!anchor) return { input: [], filters: [trim] };
  const near = `lt(abs(t-${anchor.expected.toFixed(6)}),${anchor.tolerance.toFixed(6)})`;
  return {
    input: ['-noaccurate_seek', '-ss', secondsText(anchor.seek)],
    filters: [`select='gte(st(0,max(ld(0),key*${near})),1)'`, trim],
  };
}
