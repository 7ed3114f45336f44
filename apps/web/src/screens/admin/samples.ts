/** What the plots of the admin page show: the last minutes, one sample a second. Pure. */

export interface Sample {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Null where it was not known: a gap in the line. */
  readonly value: number | null;
}

export interface Series {
  readonly name: string;
  readonly samples: readonly Sample[];
}

export const WINDOW_MS = 5 * 60_000;

/** The samples with one more, those older than the window gone. */
export function appended(samples: readonly Sample[], next: Sample): readonly Sample[] {
  const kept = samples.filter(({ at }) => at > next.at - WINDOW_MS && at < next.at);
  return [...kept, next];
}

/** The smallest of 1, 2, 5 × 10ⁿ that is at least `value`; 1 for nothing. */
export function niceMaximum(value: number): number {
  if (!(value > 1)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of [1, 2, 5, 10]) if (value <= step * power) return step * power;
  return 10 * power;
}

/**
 * SVG path of a line in a box of `width` × `height`, the newest sample at the right edge. It breaks where a value is
 * missing, and where more than three seconds are.
 */
export function linePath(
  samples: readonly Sample[],
  box: { width: number; height: number; now: number; maximum: number },
): string {
  let path = '';
  let last: number | undefined;
  for (const { at, value } of samples) {
    if (value === null) {
      last = undefined;
      continue;
    }
    const x = box.width * (1 - (box.now - at) / WINDOW_MS);
    const y = box.height * (1 - Math.min(value / box.maximum, 1));
    const joined = last !== undefined && at - last <= 3000;
    path += `${joined ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    last = at;
  }
  return path;
}

/** `850 ms`, `12 s`, `3 min`; nothing behind is `0 s`. */
export function behind(seconds: number): string {
  if (seconds === 0) return '0 s';
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
