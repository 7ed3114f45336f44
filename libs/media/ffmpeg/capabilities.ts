/** What the installed ffmpeg can do: asked once, from its own listings. */
import { ok, type Result } from '../result.js';
import { askFfmpeg, ffmpegPrograms } from './run.js';

export interface FfmpegCapabilities {
  /** `5.1.9-0+deb12u1`, `n7.1`, `N-125307-gd66e84695b`. */
  readonly version: string;
  /** Major version; null for a build of the development branch. */
  readonly major: number | null;
  readonly encoders: ReadonlySet<string>;
  readonly decoders: ReadonlySet<string>;
  readonly filters: ReadonlySet<string>;
  readonly muxers: ReadonlySet<string>;
  readonly demuxers: ReadonlySet<string>;
  /** Ways to decode in hardware this build knows: `cuda`, `vaapi`… Whether the machine has the hardware is another matter. */
  readonly hardwareAccelerations: ReadonlySet<string>;
}

const known = new WeakMap<object, Promise<Result<FfmpegCapabilities>>>();

/** What this ffmpeg can do; asked once per process and program. FFMPEG_MISSING or FFMPEG_FAILED. */
export function ffmpegCapabilities(): Promise<Result<FfmpegCapabilities>> {
  const programs = ffmpegPrograms();
  const before = known.get(programs);
  if (before) return before;
  const asked = readCapabilities().then((result) => {
    if (!result.ok) known.delete(programs);
    return result;
  });
  known.set(programs, asked);
  return asked;
}

async function readCapabilities(): Promise<Result<FfmpegCapabilities>> {
  const texts: string[] = [];
  const flags = ['-version', '-encoders', '-decoders', '-filters', '-muxers', '-demuxers', '-hwaccels'];
  for (const answer of await Promise.all(flags.map((flag) => askFfmpeg([flag])))) {
    if (!answer.ok) return answer;
    texts.push(answer.value.stdout.toString());
  }
  const [version, encoders, decoders, filters, muxers, demuxers, accelerations] = texts as [string, ...string[]];
  return ok({
    ...parseVersion(version),
    encoders: parseCodecs(encoders!),
    decoders: parseCodecs(decoders!),
    filters: parseFilters(filters!),
    muxers: parseFormats(muxers!, 'E'),
    demuxers: parseFormats(demuxers!, 'D'),
    hardwareAccelerations: new Set(
      accelerations!
        .split('\n')
        .slice(1)
        .map((line) => line.trim())
        .filter(Boolean),
    ),
  });
}

/** First line of `-version`. */
export function parseVersion(text: string): Pick<FfmpegCapabilities, 'version' | 'major'> {
  const version = /^ffmpeg version (\S+)/m.exec(text)?.[1] ?? 'unknown';
  const major = /^n?(\d+)\./.exec(version)?.[1];
  return { version, major: major ? Number(major) : null };
}

function column(text: string, pattern: RegExp): Set<string> {
  return new Set(text.split('\n').flatMap((line) => pattern.exec(line)?.[1] ?? []));
}

/** Names of `-encoders` or `-decoders`: six flags, then the name. */
export function parseCodecs(text: string): ReadonlySet<string> {
  return column(text, /^ [VAS][A-Z.]{5} ([^\s=]\S*)/);
}

/** Names of `-filters`: three flags until version 7, two since 8, then the name and its inputs and outputs. */
export function parseFilters(text: string): ReadonlySet<string> {
  return column(text, /^ [A-Z.]{2,3} (\S+) +\S+->\S+/);
}

/** Names of `-muxers` (`E`) or `-demuxers` (`D`); one line may name several, with commas. Newer versions have a third flag, `d`. */
export function parseFormats(text: string, flag: 'D' | 'E'): ReadonlySet<string> {
  const pattern = flag === 'D' ? /^ D[E ][d ]? +([a-z0-9_,-]+) / : /^ [D ]E[d ]? +([a-z0-9_,-]+) /i;
  return new Set([...column(text, pattern)].flatMap((names) => names.split(',')));
}
