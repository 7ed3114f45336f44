/** Loudness of programmes by EBU R 128, from what ffmpeg's `ebur128` says at its end. Pure. */
import { z } from 'zod';
import type { AudioTrack } from './probe/index.js';

export const LoudnessSchema = z.object({
  /** Streams of the file that are one programme: a track, or two of one channel. */
  tracks: z.array(z.number().int()),
  /** Integrated loudness, LUFS; null when all of it is below the gate (silence, or shorter than 0.4 s). */
  integrated: z.number().nullable(),
  /** Loudness range, LU (EBU Tech 3342). */
  range: z.number(),
  /** Largest true peak of any channel, dBTP; null for digital silence. */
  truePeak: z.number().nullable(),
});
export type Loudness = z.infer<typeof LoudnessSchema>;

export interface Programme {
  /** Name of the filter's instance. */
  readonly id: string;
  readonly tracks: readonly AudioTrack[];
}

/** More tracks than these are not measured: the first are those that are heard. */
const MAX_PROGRAMMES = 8;

/** Each track is a programme; tracks of one channel are taken in pairs, left and right, as cameras and MXF lay them out. */
export function programmesOf(tracks: readonly AudioTrack[]): Programme[] {
  const programmes: Programme[] = [];
  for (let at = 0; at < tracks.length && programmes.length < MAX_PROGRAMMES;) {
    const pair = tracks[at]!.channels === 1 && tracks[at + 1]?.channels === 1;
    const taken = tracks.slice(at, at + (pair ? 2 : 1));
    programmes.push({ id: `programme${programmes.length}`, tracks: taken });
    at += taken.length;
  }
  return programmes;
}

/** Below the absolute gate of ITU-R BS.1770: nothing was measured. */
const GATE = -70;

/** Collects the summaries of the instances from the lines of ffmpeg's log. */
export class LoudnessReader {
  readonly #found = new Map<string, { integrated?: number; range?: number; peak?: number }>();
  #current: string | null = null;
  #section = '';

  line(text: string): void {
    const begin = /^\[ebur128@(\w+) @ [^\]]*\] \[info\] Summary:/.exec(text);
    if (begin) {
      this.#current = begin[1]!;
      this.#found.set(this.#current, {});
      return;
    }
    // A line with a prefix is somebody else's: the summary is one message of many lines.
    if (this.#current === null || text.startsWith('[')) {
      this.#current = null;
      return;
    }
    const heading = /^ {2}(\S.*):$/.exec(text);
    if (heading) this.#section = heading[1]!;
    const value = /^ {4}(\S+):\s+(-?inf|-?[\d.]+) (LUFS|LU|dBFS)$/.exec(text);
    if (!value) return;
    const number = value[2]!.includes('inf') ? Number.NEGATIVE_INFINITY : Number(value[2]);
    const summary = this.#found.get(this.#current)!;
    if (this.#section === 'Integrated loudness' && value[1] === 'I') summary.integrated = number;
    if (this.#section === 'Loudness range' && value[1] === 'LRA') summary.range = number;
    if (this.#section === 'True peak' && value[1] === 'Peak') summary.peak = number;
  }

  /** Null when one of the programmes was not told. */
  finish(programmes: readonly Programme[]): Loudness[] | null {
    const all = programmes.map(({ id, tracks }): Loudness | null => {
      const { integrated, range, peak } = this.#found.get(id) ?? {};
      if (integrated === undefined || range === undefined || peak === undefined) return null;
      return {
        tracks: tracks.map(({ index }) => index),
        integrated: integrated > GATE ? integrated : null,
        range,
        truePeak: Number.isFinite(peak) ? peak : null,
      };
    });
    return all.every((one) => one !== null) ? all : null;
  }
}
