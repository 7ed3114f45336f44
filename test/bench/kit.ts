import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { TestStack } from '../support/stack.js';

/** One measured number. Without a target it only informs. */
export interface Figure {
  readonly figure: string;
  readonly value: number;
  readonly unit: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface BenchContext {
  /** Only to see whether the bench works: small amounts. */
  readonly quick: boolean;
  /** How long a rate is measured. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  /** For the services of a stack. */
  readonly env: NodeJS.ProcessEnv;
  /** Whether the run is to measure this. */
  wants(name: string): boolean;
  /** Tells the reader of the table what goes on. */
  note(text: string): void;
  report(figure: Figure): void;
  /** A file beside the figures, written where `--out` says, if it does; `data` is printed as a line of JSON. */
  artefact(file: string, content: string, data: object): void;
}

/** Measures one thing: sets up what it needs, reports figures, takes everything down again. */
export type Bench = (context: BenchContext) => Promise<void>;

export const targetText = ({ atLeast, atMost }: Figure): string | null =>
  atLeast !== undefined ? `>= ${atLeast}` : atMost !== undefined ? `<= ${atMost}` : null;

/** Null when there is nothing to meet. */
export const met = ({ value, atLeast, atMost }: Figure): boolean | null =>
  atLeast !== undefined ? value >= atLeast : atMost !== undefined ? value <= atMost : null;

export function row(figure: Figure): string {
  const { value, unit } = figure;
  const number = value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3);
  const verdict = met(figure);
  const target = targetText(figure);
  return `${figure.figure.padEnd(46)} ${number.padStart(10)} ${unit.padEnd(16)}${
    verdict === null ? '' : `${verdict ? 'ok' : 'MISSED'} (${target})`
  }`.trimEnd();
}

/** Nearest-rank percentile; `of` need not be sorted. */
export function percentile(of: readonly number[], p: number): number {
  if (of.length === 0) return Number.NaN;
  const sorted = Float64Array.from(of).sort();
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil((p / 100) * sorted.length) - 1))]!;
}

const TICKS_PER_SECOND = ((): number => {
  try {
    return Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' })) || 100;
  } catch {
    return 100;
  }
})();

/** Of one process so far, user and system, and of its children that have ended, seconds; 0 where there is no /proc. */
function cpuOf(pid: number): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ');
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

export function childrenOf(parent: number): number[] {
  if (!existsSync('/proc')) return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1)!.split(' ')[1]) === parent;
      } catch {
        return false;
      }
    });
}

/** Processor seconds each part of a stack has used. On a shared machine they say more than the clock. */
export function cpuSeconds(stack: TestStack): Record<string, number> {
  const used: Record<string, number> = {};
  for (const name of stack.stack.running) used[name] = cpuOf(stack.pid(name) ?? 0);
  const postmaster = stack.stack.postgres?.pid;
  if (postmaster !== undefined)
    used['postgres'] = [postmaster, ...childrenOf(postmaster)].reduce((sum, pid) => sum + cpuOf(pid), 0);
  return used;
}

export const difference = (after: Record<string, number>, before: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]));
