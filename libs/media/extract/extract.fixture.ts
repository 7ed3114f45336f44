/** Clips, and what holds for every extract of one. For specs only. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runFfmpeg } from '../ffmpeg/index.js';
import { probe, type MediaInfo } from '../probe/index.js';
import { unwrap } from '../result.js';
import { makeClip, readFrameNumbers, type ClipOptions } from '../testmedia.js';
import {
  RATES,
  formatTimecode,
  nominalRate,
  parseTimecode,
  supportsDropFrame,
  type Rate,
  type RateName,
} from '../timecode.js';
import { extractRange, type Extract, type ExtractOptions, type FrameRange } from './index.js';

export const FRAMES = 44;
export const small = { width: 256, height: 144, frames: FRAMES } as const;
export const upTo = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index);

export interface Source {
  readonly file: string;
  readonly info: MediaInfo;
}

/** Every rate, those of NTSC in both ways of counting. */
export const counted = (Object.entries(RATES) as [RateName, Rate][]).flatMap(
  ([name, rate]): [name: string, rate: Rate, dropFrame: boolean][] =>
    supportsDropFrame(rate)
      ? [
          [`${name} NDF`, rate, false],
          [`${name} DF`, rate, true],
        ]
      : [[name, rate, false]],
);

/** Starts 12 frames before a minute that drops labels, so that ranges run over it. */
export function startLabel(rate: Rate, dropFrame: boolean): string {
  const digits = nominalRate(rate) > 100 ? '000' : '00';
  const label = unwrap(parseTimecode(`01:00:59${dropFrame ? ';' : ':'}${digits}`, rate));
  return formatTimecode(label.frame + nominalRate(rate) - 12, rate, { dropFrame });
}

/** The first frame, the last and some in between. */
export const ends: readonly FrameRange[] = [
  { first: 0, count: 1 },
  { first: FRAMES - 1, count: 1 },
  { first: 7, count: 12 },
];

/** Clips of one folder, each made once whoever asks, and extracts from them. */
export class Workbench {
  private readonly sources = new Map<string, Promise<Source>>();
  private taken = 0;

  constructor(private readonly folder: () => string) {}

  source(name: string, options: ClipOptions): Promise<Source> {
    const made = this.sources.get(name) ?? this.make(name, options);
    this.sources.set(name, made);
    return made;
  }

  async make(name: string, options: ClipOptions): Promise<Source> {
    const file = join(this.folder(), name);
    if (name.endsWith('.mxf') && options.codec === 'prores4444') {
      // ffmpeg's MXF knows the profile of a copied ProRes 4444 only, not of one that is being encoded.
      const film = await this.make(`${name}.mov`, options);
      const rate = film.info.rate!;
      // Its clock has to be that of the edit units.
      const units = `setts=ts=N:time_base=${rate.den}/${rate.num}`;
      unwrap(
        await runFfmpeg({
          inputs: [{ path: film.file, demuxer: 'mov' }],
          output: ['-map', '0:v', '-map', '0:a?', '-c', 'copy', '-bsf:v', units, file],
        }),
      );
      await rm(film.file);
    } else {
      await makeClip(file, { ...small, ...options });
    }
    return this.read(file);
  }

  async read(file: string): Promise<Source> {
    return { file, info: unwrap(await probe(file)) };
  }

  async take({ file, info }: Source, range: FrameRange, options?: ExtractOptions): Promise<Extract> {
    this.taken += 1;
    return unwrap(await extractRange(file, join(this.folder(), `out-${this.taken}`), info, range, options));
  }

  /** The extract's pictures are those of the range, its label that of the first, its sound as long. */
  async expectExact(from: Source, range: FrameRange, options?: ExtractOptions) {
    const extract = await this.take(from, range, options);
    expect(await readFrameNumbers(extract.path)).toEqual(upTo(range.first, range.count));
    const made = unwrap(await probe(extract.path));
    expect(made).toMatchObject({ durationFrames: range.count, rate: from.info.rate, video: { variableRate: false } });
    const { frame, dropFrame } = from.info.startTimecode ?? { frame: 0, dropFrame: false };
    const label = formatTimecode(frame + range.first, from.info.rate!, { dropFrame });
    if (!extract.warnings.includes('TIMECODE_NOT_WRITTEN')) {
      expect(made.startTimecode?.text).toBe(label);
      expect(extract.startTimecode).toBe(label);
    }
    expect(made.audio).toHaveLength(from.info.audio.length);
    for (const [index, track] of made.audio.entries()) {
      const exact = (range.count * from.info.rate!.den * track.sampleRate) / from.info.rate!.num;
      // Matroska does not tell the length of a track.
      if (made.container !== 'MKV') expect(Math.abs(track.durationSamples! - exact)).toBeLessThanOrEqual(1);
      expect(track.channels).toBe(from.info.audio[index]!.channels);
    }
    return { extract, made };
  }
}
