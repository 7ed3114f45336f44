/**
 * Variable rate made constant for editors: which frame of the source each frame shows. The same rule is given to ffmpeg (its `fps` filter,
 * rounding to the nearest), and a spec compares the two by a counter in the picture.
 */
import { z } from 'zod';
import { runFfprobe, type FileInput, type RunLimits } from './ffmpeg/index.js';
import { fail, ok, type Result } from './result.js';
import { RATES, type Rate } from './timecode.js';

export const FrameMapSchema = z.object({
  schema: z.literal('picturelock.frame-map/1'),
  /** Of the constant copy, frames per second. */
  rate: z.object({ num: z.number().int(), den: z.number().int() }),
  /** Seconds of one tick of `times`. */
  timeBase: z.object({ num: z.number().int(), den: z.number().int() }),
  /** When each frame of the source is shown, ticks after the first. */
  times: z.array(z.number().int()),
  /** For each frame of the copy, the frame of the source it shows, from 0. */
  frames: z.array(z.number().int()),
});
export type FrameMap = z.infer<typeof FrameMapSchema>;

export interface Timestamps {
  readonly timeBase: Rate;
  /** Of every picture that is shown, in the order shown, ticks. */
  readonly ticks: readonly number[];
}

/** Exact time stamps of one stream, from its packets. Reads the file. */
export async function readTimestamps(
  input: FileInput,
  stream: number,
  limits: RunLimits = {},
): Promise<Result<Timestamps>> {
  const run = await runFfprobe({
    maxStdoutBytes: 256 << 20,
    ...limits,
    input,
    args: [
      ...['-select_streams', String(stream), '-show_entries', 'packet=pts,flags:stream=time_base'],
      ...['-of', 'csv'],
    ],
  });
  if (!run.ok) return run;
  const ticks: number[] = [];
  let timeBase: Rate | null = null;
  for (const line of run.value.stdout.toString().split('\n')) {
    const [kind, first, flags] = line.trim().split(',');
    if (kind === 'packet' && flags && !flags.includes('D') && /^-?\d+$/.test(first!)) ticks.push(Number(first));
    const base = kind === 'stream' ? /^(\d+)\/(\d+)$/.exec(first ?? '') : null;
    if (base) timeBase = { num: Number(base[1]), den: Number(base[2]) };
  }
  if (!timeBase || ticks.length === 0) return fail('MEDIA_UNREADABLE', 'The picture has no time stamps.');
  ticks.sort((a, b) => a - b);
  return ok({ timeBase, ticks });
}

/** The usual rate closest to what most frames keep: the median of the steps, so that gaps do not slow it down. */
export function steadyRate({ ticks, timeBase }: Timestamps): Rate {
  const steps = ticks
    .slice(1)
    .map((tick, index) => tick - ticks[index]!)
    .filter((step) => step > 0)
    .sort((a, b) => a - b);
  const median = steps[Math.floor((steps.length - 1) / 2)];
  if (!median) return RATES['25'];
  const fps = timeBase.den / (timeBase.num * median);
  const distance = (rate: Rate) => Math.abs(Math.log(rate.num / rate.den / fps));
  return Object.values(RATES).reduce((best, rate) => (distance(rate) < distance(best) ? rate : best));
}

/** Each frame is shown from the tick nearest to its time; of several at one tick the last. The last frame is shown for at least one. */
export function mapToConstantRate({ ticks, timeBase }: Timestamps, rate: Rate): FrameMap {
  const first = ticks[0]!;
  const [up, down] = [BigInt(timeBase.num) * BigInt(rate.num), BigInt(timeBase.den) * BigInt(rate.den)];
  const place = (tick: number) => Number((BigInt(tick - first) * up * 2n + down) / (2n * down));
  const places = ticks.map(place);
  const frames: number[] = [];
  let source = 0;
  for (let frame = 0; frame <= places.at(-1)!; frame++) {
    while (source + 1 < places.length && places[source + 1]! <= frame) source += 1;
    frames.push(source);
  }
  return { schema: 'picturelock.frame-map/1', rate, timeBase, times: ticks.map((tick) => tick - first), frames };
}
