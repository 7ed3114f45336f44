import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

/** One thing looked at, and what to do when it is not as it should be. */
export interface Finding {
  what: string;
  level: 'ok' | 'warning' | 'error';
  found: string;
  advice?: string;
}

const GB = 1024 ** 3;
export const MIN_NODE: readonly [number, number] = [20, 19];
export const MIN_FFMPEG: readonly [number, number] = [4, 4];
const MIN_DISK_BYTES = 1 * GB;
const GOOD_DISK_BYTES = 10 * GB;
const GOOD_MEMORY_BYTES = 2 * GB;

const atLeast = ([major, minor]: readonly [number, number], [a, b]: readonly [number, number]): boolean =>
  major > a || (major === a && minor >= b);

/** `v20.19.1` → [20, 19]. */
export function parseVersion(text: string): [number, number] | undefined {
  const match = /(\d+)\.(\d+)/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

export function checkNode(version: string): Finding {
  const parsed = parseVersion(version);
  const ok = parsed !== undefined && atLeast(parsed, MIN_NODE);
  return {
    what: 'Node.js',
    level: ok ? 'ok' : 'error',
    found: version,
    ...(ok ? {} : { advice: `Install Node.js ${MIN_NODE.join('.')} or newer (https://nodejs.org).` }),
  };
}

const gigabytes = (bytes: number): string => `${(bytes / GB).toFixed(1)} GB`;

export function checkDisk(freeBytes: number, folder: string): Finding {
  const level = freeBytes < MIN_DISK_BYTES ? 'error' : freeBytes < GOOD_DISK_BYTES ? 'warning' : 'ok';
  return {
    what: 'Disk',
    level,
    found: `${gigabytes(freeBytes)} free for ${folder}`,
    ...(level === 'ok'
      ? {}
      : {
          advice: `Film needs room: free some, or set PICTURELOCK_HOME to a disk with ${gigabytes(GOOD_DISK_BYTES)} or more.`,
        }),
  };
}

export function checkMemory(bytes: number, cores: number): Finding {
  const ok = bytes >= GOOD_MEMORY_BYTES;
  return {
    what: 'Memory',
    level: ok ? 'ok' : 'warning',
    found: `${gigabytes(bytes)}, ${cores} cores`,
    ...(ok ? {} : { advice: `Transcoding may be slow or fail below ${gigabytes(GOOD_MEMORY_BYTES)}.` }),
  };
}

/** The full path of a program, looked for in PATH, or undefined. */
export function findProgram(
  name: string,
  path = process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin',
): string | undefined {
  const candidates = name.includes('/') ? [name] : path.split(delimiter).map((dir) => join(dir || '.', name));
  return candidates.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Looks for ffmpeg or ffprobe and asks it for its version. */
export function checkFfmpeg(name: 'ffmpeg' | 'ffprobe', configured: string): Finding {
  const variable = `${name.toUpperCase()}_PATH`;
  const path = findProgram(configured);
  if (!path) {
    return {
      what: name,
      level: 'error',
      found: `not found (${configured})`,
      advice: `Install ffmpeg ${MIN_FFMPEG.join('.')} or newer, or set ${variable}.`,
    };
  }
  const { stdout } = spawnSync(path, ['-version'], { encoding: 'utf8', timeout: 10_000 });
  const version = parseFfmpegVersion(stdout ?? '');
  const ok = version !== undefined && (version === 'git' || atLeast(version, MIN_FFMPEG));
  return {
    what: name,
    level: ok ? 'ok' : 'error',
    found: `${version === 'git' ? 'a development build' : (version?.join('.') ?? 'unknown version')} at ${path}`,
    ...(ok ? {} : { advice: `Version ${MIN_FFMPEG.join('.')} or newer is needed: install one, or set ${variable}.` }),
  };
}

/** First line of `ffmpeg -version`: `ffmpeg version 5.1.9-0+deb12u1 …`, `ffmpeg version n6.0`, `ffmpeg version N-1234-g…`. */
export function parseFfmpegVersion(output: string): [number, number] | 'git' | undefined {
  const word = /^ff(?:mpeg|probe) version (\S+)/m.exec(output)?.[1];
  if (word === undefined) return undefined;
  if (/^(N-|git)/.test(word)) return 'git';
  return parseVersion(word) ?? (/^n?(\d+)/.test(word) ? [Number(/\d+/.exec(word)![0]), 0] : undefined);
}

/** Free bytes for us on the disk that holds (or will hold) `path`. */
export function freeDisk(path: string): number {
  let existing = path;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  const { bavail, bsize } = statfsSync(existing);
  return bavail * bsize;
}

/** Everything about this machine that a start depends on. */
export function checkMachine(options: { home: string; ffmpegPath: string; ffprobePath: string }): Finding[] {
  return [
    checkNode(process.versions.node),
    checkMemory(totalmem(), availableParallelism()),
    checkDisk(freeDisk(options.home), options.home),
    checkFfmpeg('ffmpeg', options.ffmpegPath),
    checkFfmpeg('ffprobe', options.ffprobePath),
  ];
}
