import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openEventLog } from '#libs/events/log/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startStack, type TestStack } from '../support/stack.js';
import { writeHistory } from './history.js';
import { type BenchContext, childrenOf, cpuSeconds, difference } from './kit.js';
import { plot, type Series } from './plot.js';
import { startRebuilder } from './rebuilder.js';

const SIZES = [200_000, 1_000_000];
const MEMORY_MB = 400;

/**
 * All read models from zero over a generated history of all aggregates, against the rate at which the stock client alone
 * reads the same log in the same run and from the same process; with what each process takes of memory meanwhile.
 *
 * BENCH_HOME keeps the homes with the generated logs in a folder, to measure them again.
 */
export default async function rebuild(context: BenchContext): Promise<void> {
  for (const size of context.quick ? [4_000] : SIZES) {
    const name = `${size.toLocaleString('en-US')} events`;
    if (context.wants(name)) await measure(context, name, size);
  }
}

async function measure({ quick, signal, note, report, artefact }: BenchContext, name: string, size: number) {
  const kept = process.env.BENCH_HOME ? join(process.env.BENCH_HOME, `rebuild-${size}`) : undefined;
  const fresh = !kept || !existsSync(kept);
  if (kept && fresh) {
    mkdirSync(kept, { recursive: true });
    chmodSync(kept, 0o711);
  }
  const stack = await startStack({ asInstalled: true, services: ['eventstore'], ...(kept ? { home: kept } : {}) });
  const stop = (): void => void stack.stack.abort();
  signal.addEventListener('abort', stop, { once: true });
  try {
    if (fresh) {
      note(`writing ${name}`);
      const began = performance.now();
      const written = await generate(stack, size, signal);
      report({
        figure: `${name}: generating and appending`,
        value: (written * 1000) / (performance.now() - began),
        unit: 'events/s',
      });
    }
    const rebuilder = await startRebuilder(stack.env);
    try {
      const bare: number[] = [];
      const rebuilt: number[] = [];
      const readBare = async (): Promise<void> => {
        const { events, seconds } = await rebuilder.run('read');
        bare.push(events / seconds);
      };
      const samples: Sample[] = [];
      let used: Record<string, number> = {};
      // In turns, so that a noisy machine is noisy to both.
      for (let run = 0; run < (quick || size > 500_000 ? 1 : 2); run++) {
        signal.throwIfAborted();
        await readBare();
        samples.length = 0;
        const before = cpuSeconds(stack);
        const sampling = sample(stack, rebuilder.pid, samples);
        const { events, seconds, cpu } = await rebuilder
          .run('rebuild', (written) => sampling.progress(written))
          .finally(() => sampling.stop());
        const parts = { ...difference(cpuSeconds(stack), before), rebuilder: cpu };
        used = Object.fromEntries(Object.entries(parts).map(([part, s]) => [part, (s * 1e6) / events]));
        rebuilt.push(events / seconds);
      }
      await readBare();
      const middle = (of: number[]): number => of.sort((a, b) => a - b)[of.length >> 1]!;
      report({ figure: `${name}: bare reading by the stock client`, value: middle(bare), unit: 'events/s' });
      report({ figure: `${name}: rebuild of all read models`, value: middle(rebuilt), unit: 'events/s' });
      report({
        figure: `${name}: rebuild as a part of bare reading`,
        value: middle(rebuilt) / middle(bare),
        unit: 'ratio',
        atLeast: 0.5,
      });
      for (const [part, us] of Object.entries(used))
        report({ figure: `${name}: cpu ${part}`, value: us, unit: 'µs/event' });
      for (const part of ['rebuilder', 'eventstore', 'postgres'] as const)
        report({
          figure: `${name}: most memory, ${part}`,
          value: Math.max(0, ...samples.map((taken) => taken[part])),
          unit: 'MB',
          atMost: MEMORY_MB,
        });
      draw(artefact, name, size, samples, middle(bare));
    } finally {
      await rebuilder.stop();
    }
  } finally {
    signal.removeEventListener('abort', stop);
    await stack.stop({ keepHome: kept !== undefined });
  }
}

async function generate(stack: TestStack, size: number, signal: AbortSignal): Promise<number> {
  const config = loadConfig(stack.env);
  const secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
  try {
    return await writeHistory(log, size, signal);
  } finally {
    await log.close();
    await secrets.close();
  }
}

/** At a moment of the rebuild: events written so far; memory of each process, MB (of Postgres' the largest, its share of the common buffers left out). */
interface Sample {
  readonly seconds: number;
  readonly events: number;
  readonly rebuilder: number;
  readonly eventstore: number;
  readonly postgres: number;
}

const SAMPLE_MS = 500;

function sample(stack: TestStack, pid: number, samples: Sample[]): { progress(events: number): void; stop(): void } {
  const began = performance.now();
  let events = 0;
  const take = (): void => {
    const postmaster = stack.stack.postgres?.pid;
    samples.push({
      seconds: Math.round(performance.now() - began) / 1000,
      events,
      rebuilder: memory(pid, 'VmRSS'),
      eventstore: memory(stack.pid('eventstore') ?? 0, 'VmRSS'),
      postgres: Math.max(0, ...(postmaster ? childrenOf(postmaster) : []).map((child) => memory(child, 'RssAnon'))),
    });
  };
  const timer = setInterval(take, SAMPLE_MS);
  return {
    progress: (written) => (events = written),
    stop: () => {
      clearInterval(timer);
      take();
    },
  };
}

/** Megabytes; elsewhere than on Linux only what `ps` tells. */
function memory(pid: number, field: 'VmRSS' | 'RssAnon'): number {
  try {
    if (existsSync('/proc'))
      return Math.round(
        Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) / 1024,
      );
    return Math.round(Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024);
  } catch {
    return 0;
  }
}

function draw(
  artefact: BenchContext['artefact'],
  name: string,
  size: number,
  samples: readonly Sample[],
  bare: number,
): void {
  const over = (key: 'rebuilder' | 'eventstore' | 'postgres'): Series['points'] =>
    samples.map((s) => [s.seconds, s[key]]);
  const speed = samples.slice(1).map((s, i): [number, number] => {
    const before = samples[i]!;
    return [s.seconds, (s.events - before.events) / Math.max(0.001, s.seconds - before.seconds)];
  });
  const svg = plot(`Rebuild of all read models, ${name}`, [
    {
      title: 'Speed',
      unit: 'events/s',
      series: [{ name: 'rebuild', colour: '#2563eb', points: speed }],
      marks: [
        { y: bare, name: 'bare reading' },
        { y: bare / 2, name: 'half of it' },
      ],
    },
    {
      title: 'Memory',
      unit: 'MB',
      series: [
        { name: 'projector', colour: '#2563eb', points: over('rebuilder') },
        { name: 'event store', colour: '#16a34a', points: over('eventstore') },
        { name: 'Postgres, largest', colour: '#d97706', points: over('postgres') },
      ],
      marks: [{ y: MEMORY_MB, name: `limit ${MEMORY_MB} MB` }],
    },
  ]);
  artefact(`rebuild-${size}.svg`, svg, { samples });
}
