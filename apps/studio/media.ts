import { readFile, readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  edlToTimeline,
  extractRange,
  fail,
  ok,
  parseEdl,
  parseOtio,
  parsePullCsv,
  parseRange,
  parseRate,
  probe,
  pullItems,
  runPull,
  type ExtractCodec,
  type FrameRange,
  type MediaInfo,
  type PullItem,
  type PullMedium,
  type Rate,
  type Result,
  type TimecodeRange,
} from '#libs/media/index.js';

export const MEDIA_USAGE = `Of files, without a running one (prints JSON; exit code 1 with a code when refused):
  media probe <file>    everything its headers tell
  media extract <file> <target>  frames, exactly, with sound, timecode and tags; the extension is added
        --in x --out y  timecodes, or frames from 0; out is the first frame after
        [--handles n] [--codec prores422hq|prores4444|dnxhrHqx|h264|hevc|ffv1] [--smart]
  media pull <list.edl|.otio|.csv>  every event of a list as a file of its own, and a report
        --media <folder> --to <folder>  found by reel: the one in the file, or the file's name
        [--rate 24] [--handles 8] [--template {number}_{reel}_{in}] [--codec …] [--smart]`;

interface Io {
  readonly screen: { write(text: string): unknown };
  readonly complaints: { write(text: string): unknown };
  readonly signal: AbortSignal;
}

const CODECS: readonly string[] = [
  'source',
  'prores422hq',
  'prores4444',
  'dnxhrHqx',
  'h264',
  'hevc',
  'ffv1',
] satisfies ExtractCodec[];

/** `picturelock media …`; resolves to the exit code. @throws Error when the command is not as its usage says */
export async function mediaVerb(args: string[], io: Io): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...{ in: { type: 'string' }, out: { type: 'string' }, handles: { type: 'string' }, codec: { type: 'string' } },
      ...{ smart: { type: 'boolean' }, media: { type: 'string' }, to: { type: 'string' }, rate: { type: 'string' } },
      template: { type: 'string' },
    },
  });
  const [verb, subject, target, ...more] = positionals;
  const handles = values.handles === undefined ? undefined : Number(values.handles);
  const wrong =
    more.length > 0 ||
    (handles !== undefined && !(Number.isSafeInteger(handles) && handles >= 0)) ||
    (values.codec !== undefined && !CODECS.includes(values.codec));
  const how = { codec: values.codec as ExtractCodec | undefined, smart: values.smart, signal: io.signal };
  const told = (result: Result<unknown>): number => {
    if (result.ok) io.screen.write(`${JSON.stringify(result.value, null, 2)}\n`);
    else {
      const { code, message, reason } = result.error;
      io.complaints.write(`${code}: ${message}${reason ? ` (${reason})` : ''}\n`);
    }
    return result.ok ? 0 : 1;
  };
  if (!wrong && verb === 'probe' && subject && !target) return told(await probe(subject, { signal: io.signal }));
  if (!wrong && verb === 'extract' && subject && target && values.in && values.out) {
    const info = await probe(subject, { signal: io.signal });
    if (!info.ok) return told(info);
    const range = rangeOf(values.in, values.out, info.value);
    if (!range.ok) return told(range);
    const more = handles === undefined ? {} : { handles: { head: handles, tail: handles } };
    return told(await extractRange(subject, target, info.value, range.value, { ...how, ...more }));
  }
  if (!wrong && verb === 'pull' && subject && !target && values.media && values.to) {
    const rate = parseRate(values.rate ?? '24');
    if (!rate.ok) return told(rate);
    const items = itemsOf(await readFile(subject, 'utf8'), extname(subject).toLowerCase(), rate.value);
    if (!items.ok) return told(items);
    const media = await mediaByReel(values.media, io.signal);
    const report = await runPull(items.value, {
      ...{ directory: values.to, template: values.template, handles, ...how },
      find: ({ reel, clip }) => media.get(reel.toLowerCase()) ?? media.get(clip.toLowerCase()) ?? null,
    });
    if (!report.ok) return told(report);
    told(ok({ pulled: report.value.pulled, failed: report.value.failed, report: join(values.to, 'report.json') }));
    return report.value.failed > 0 ? 1 : 0;
  }
  throw new Error(MEDIA_USAGE);
}

function rangeOf(from: string, to: string, info: MediaInfo): Result<FrameRange | TimecodeRange> {
  if (/^\d+$/.test(from) && /^\d+$/.test(to)) return ok({ first: Number(from), count: Number(to) - Number(from) });
  return info.rate
    ? parseRange(from, to, info.rate)
    : fail('RANGE_OUTSIDE_MEDIA', 'The medium has no frames to take out.');
}

function itemsOf(text: string, extension: string, rate: Rate): Result<PullItem[]> {
  if (extension === '.csv') return parsePullCsv(text, rate);
  if (extension === '.edl') {
    const list = parseEdl(text, rate);
    const timeline = list.ok ? edlToTimeline(list.value) : list;
    return timeline.ok ? ok(pullItems(timeline.value)) : timeline;
  }
  if (extension !== '.otio') return fail('EDITORIAL_INVALID', 'A list ends in .edl, .otio or .csv.');
  const timeline = parseOtio(text);
  return timeline.ok ? ok(pullItems(timeline.value)) : timeline;
}

/** Films of a folder by their reel, else by their name without extension; what is none is passed over. */
async function mediaByReel(folder: string, signal: AbortSignal): Promise<Map<string, PullMedium>> {
  const media = new Map<string, PullMedium>();
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    if (!(await stat(path)).isFile()) continue;
    const info = await probe(path, { signal });
    if (!info.ok || info.value.kind !== 'VIDEO') continue;
    for (const key of [info.value.reel, basename(name, extname(name))]) {
      if (key && !media.has(key.toLowerCase())) media.set(key.toLowerCase(), { path, info: info.value });
    }
  }
  return media;
}
