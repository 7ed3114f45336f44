/** EDL pulls: every event of a list taken out of its medium with handles, under a name from a template, and a report of all. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { extractRange, type Extract, type ExtractCodec } from '../extract/index.js';
import type { MediaInfo } from '../probe/index.js';
import { fail, ok, type MediaError, type Result } from '../result.js';
import { RATES, addFrames, formatTimecode, parseTimecode, timecode, type Rate } from '../timecode.js';
import { rangeText, timecodeRange, type TimecodeRange } from '../timerange.js';
import { invalid, placedClips, sourceFrames, type Timeline } from './model.js';

/** One thing to take out. */
export interface PullItem {
  /** From 1, in the order of the list. */
  readonly number: number;
  readonly reel: string;
  readonly clip: string;
  /** Label and frames in the medium. */
  readonly range: TimecodeRange;
  /** Label in the cut; null for a plain list of ranges. */
  readonly record: string | null;
}

/**
 * Clips of the picture tracks in record order. A dissolve lengthens the clip that goes by its frames, so that both sides are whole; a
 * clip played backwards or slower is taken as the frames it uses.
 */
export function pullItems(timeline: Timeline): PullItem[] {
  const placed = timeline.tracks
    .filter(({ kind }) => kind === 'VIDEO')
    .flatMap((track) => {
      const clips = placedClips(track);
      return clips.map(({ at, clip }, index) => {
        const next = clips[index + 1];
        const touches = next?.clip.transition && next.at === at + clip.frames;
        return { at, clip, tail: touches ? next.clip.transition!.frames : 0 };
      });
    })
    .sort((a, b) => a.at - b.at);
  return placed.map(({ at, clip, tail }, index) => {
    const used = sourceFrames({ frames: clip.frames + tail, speed: clip.speed });
    // Backwards, the frames used end with the in point.
    const first = clip.speed.num < 0 ? clip.sourceStart - used + 1 : clip.sourceStart;
    return {
      number: index + 1,
      reel: clip.media.reel ?? clip.media.name,
      clip: clip.name,
      range: timecodeRange(
        timecode(first, clip.media.rate, timeline.dropFrame && clip.media.rate === timeline.rate),
        used,
      ),
      record: formatTimecode(timeline.start + at, timeline.rate, { dropFrame: timeline.dropFrame }),
    };
  });
}

/**
 * A list of ranges as CSV with a first line naming `reel`, `in`, `out` and optionally `clip`; out is the first frame after.
 * EDITORIAL_INVALID names line and field.
 */
export function parsePullCsv(text: string, rate: Rate): Result<PullItem[]> {
  const lines = text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
  const header = splitCsv(lines[0] ?? '').map((name) => name.trim().toLowerCase());
  const missing = ['reel', 'in', 'out'].find((name) => !header.includes(name));
  if (missing) return invalid('CSV', 'line 1', `there is no column “${missing}”`);
  const items: PullItem[] = [];
  for (const [index, line] of lines.entries()) {
    if (index === 0 || !line.trim()) continue;
    const fields = splitCsv(line);
    const field = (name: string) => (fields[header.indexOf(name)] ?? '').trim();
    const labels = [];
    for (const name of ['in', 'out']) {
      const label = parseTimecode(field(name), rate);
      if (!label.ok) return invalid('CSV', `line ${index + 1}, field ${name}`, label.error.message);
      labels.push(label.value);
    }
    const [from, to] = labels as [(typeof labels)[0], (typeof labels)[0]];
    if (to!.frame <= from!.frame) return invalid('CSV', `line ${index + 1}, field out`, 'it is not after the in point');
    const range = timecodeRange(from!, to!.frame - from!.frame);
    const clip = header.includes('clip') ? field('clip') : field('reel');
    items.push({ number: items.length + 1, reel: field('reel'), clip, range, record: null });
  }
  return ok(items);
}

/** Fields of a line of RFC 4180; quoted ones may hold commas and doubled quotes. */
function splitCsv(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '',
  );
}

export interface PullMedium {
  readonly path: string;
  readonly info: MediaInfo;
}

export interface PullOptions {
  /** Where the files and the report go; made when it is not there. */
  readonly directory: string;
  /** The medium of an item: by reel, name and range. Null when there is none. */
  readonly find: (item: PullItem) => PullMedium | null | Promise<PullMedium | null>;
  /** Frames more on each side. Default 8. */
  readonly handles?: number;
  /**
   * `{number}` (three digits), `{reel}`, `{clip}`, `{in}`, `{out}`, `{record}` (timecodes without separators), `{event}` (as number, steps
   * of ten). Default `{number}_{reel}_{in}`. Characters that file systems refuse become `_`; a name that comes twice gets `-2`.
   */
  readonly template?: string;
  readonly codec?: ExtractCodec;
  /** As of {@link extractRange}. */
  readonly smart?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, of: number, item: PullItem) => void;
}

export type PullResult = { readonly item: PullItem; readonly name: string } & (
  { readonly extract: Extract } | { readonly error: MediaError }
);

export interface PullReport {
  readonly results: readonly PullResult[];
  readonly pulled: number;
  readonly failed: number;
}

const FIELD = /\{(\w+)\}/g;

/** File names of all items, without extension. EDITORIAL_INVALID for a field the template can't know. */
export function pullNames(items: readonly PullItem[], template = '{number}_{reel}_{in}'): Result<string[]> {
  const taken = new Map<string, number>();
  const unknown = [...template.matchAll(FIELD)].find(
    ([, name]) => !['number', 'event', 'reel', 'clip', 'in', 'out', 'record'].includes(name!),
  );
  if (unknown) return invalid('name template', '', `there is no field ${unknown[0]}`);
  return ok(
    items.map((item) => {
      const { start, frames } = item.range;
      const plain = (text: string) => text.replace(/\D/g, '');
      const label = (value: typeof start) =>
        plain(formatTimecode(value.frame, value.rate, { dropFrame: value.dropFrame }));
      const values: Record<string, string> = {
        number: String(item.number).padStart(3, '0'),
        event: String(item.number * 10).padStart(4, '0'),
        ...{
          reel: item.reel,
          clip: item.clip,
          in: label(start),
          out: label(addFrames(start, frames)),
          record: plain(item.record ?? ''),
        },
      };
      const name =
        template
          .replace(FIELD, (_, field: string) => values[field]!)
          .replace(/[^\p{L}\p{N}._-]+/gu, '_')
          .replace(/^[.-]+/, '_')
          .slice(0, 120) || '_';
      // Names that differ in case only are one on many disks.
      const count = (taken.get(name.toLowerCase()) ?? 0) + 1;
      taken.set(name.toLowerCase(), count);
      return count === 1 ? name : `${name}-${count}`;
    }),
  );
}

/**
 * Takes all items out, one after another, and writes `report.json` and `report.csv` beside them. An item that fails is in the report
 * and stops nothing. Refusals: EDITORIAL_INVALID for the template, MEDIA_CANCELLED; what is done by then stays.
 */
export async function runPull(items: readonly PullItem[], options: PullOptions): Promise<Result<PullReport>> {
  const names = pullNames(items, options.template);
  if (!names.ok) return names;
  await mkdir(options.directory, { recursive: true });
  const results: PullResult[] = [];
  const handles = { head: options.handles ?? 8, tail: options.handles ?? 8 };
  for (const [index, item] of items.entries()) {
    const name = names.value[index]!;
    options.onProgress?.(index, items.length, item);
    const medium = await options.find(item);
    const taken = medium
      ? await extractRange(medium.path, join(options.directory, name), medium.info, relabel(item.range, medium.info), {
          ...{ handles, smart: options.smart, signal: options.signal },
          ...(options.codec ? { codec: options.codec } : {}),
        })
      : fail('BLOB_NOT_FOUND', `There is no medium for reel “${item.reel}”.`);
    if (!taken.ok && taken.error.code === 'MEDIA_CANCELLED') return taken;
    results.push(taken.ok ? { item, name, extract: taken.value } : { item, name, error: taken.error });
  }
  const pulled = results.filter((result) => 'extract' in result).length;
  const report: PullReport = { results, pulled, failed: results.length - pulled };
  await writeFile(join(options.directory, 'report.json'), `${JSON.stringify(reportRows(report), null, 2)}\n`);
  await writeFile(join(options.directory, 'report.csv'), reportCsv(report));
  return ok(report);
}

/**
 * Edit lists say 23.976 and 24, 29.97 and 30 with the same labels, and the counting of sources is the medium's own: the label is what
 * counts, at the medium's rate.
 */
function relabel(range: TimecodeRange, info: MediaInfo): TimecodeRange {
  const rate = info.rate ?? RATES['24'];
  const { frame, rate: own, dropFrame } = range.start;
  const label = parseTimecode(formatTimecode(frame, own, { dropFrame }), rate);
  return label.ok ? timecodeRange(label.value, range.frames) : range;
}

function reportRows({ results }: PullReport) {
  return results.map((result) => ({
    number: result.item.number,
    reel: result.item.reel,
    clip: result.item.clip,
    range: rangeText(result.item.range),
    record: result.item.record,
    ...('extract' in result
      ? {
          file: result.extract.path.split('/').at(-1)!,
          method: result.extract.method,
          startTimecode: result.extract.startTimecode,
          frames: result.extract.frames,
          head: result.extract.head,
          tail: result.extract.tail,
          warnings: result.extract.warnings.join(' '),
        }
      : { error: result.error.code, message: result.error.message, reason: result.error.reason ?? '' }),
  }));
}

const COLUMNS =
  'number reel clip range record file method startTimecode frames head tail warnings error message reason'.split(' ');

function reportCsv(report: PullReport): string {
  // A text that begins like a formula must not be one in a spreadsheet.
  const cell = (value: unknown) => {
    const text = String(value ?? '').replace(/^([=+@-])/, "'$1");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = reportRows(report).map((row) =>
    COLUMNS.map((column) => cell((row as Record<string, unknown>)[column])).join(','),
  );
  return [COLUMNS.join(','), ...rows, ''].join('\r\n');
}
