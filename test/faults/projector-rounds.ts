import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { verifyReadModels } from '#apps/projector/index.js';
import { crowd, relay, type Written } from '#apps/projector/story.fixture.js';
import { openEventLog } from '#libs/events/log/index.js';
import { createPool } from '#libs/postgres/index.js';
import { startStack } from '../support/stack.js';
import { Seeded } from './seeded.js';

export interface ProjectorRoundsOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly onRound?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface ProjectorRoundsReport {
  readonly seed: number;
  readonly rounds: number;
  readonly kills: number;
  readonly stops: number;
  readonly events: number;
  /** Rounds after which all rows were compared with those of a clean rebuild. */
  readonly compared: number;
  /** Longest time from a kill to the next commit, milliseconds. */
  readonly slowestTakeOverMs: number;
  readonly problems: readonly string[];
}

const PROJECTORS = 2;
const EVENTS = 40;
/** A rebuild takes longer with each round: later on only some are compared, and the last. */
const COMPARE_ALL = 25;
const COMPARE_EVERY = 20;
const PATIENCE_MS = 60_000;
const plain = (_: string, text: string): Promise<string> => Promise.resolve(text);

/**
 * Rounds of kill -9 of projectors alone, two of which run at a time: in each, events are written while a projector is
 * killed, or stopped for longer than a runner may be silent and woken again, at a random moment. Then all rows must be those
 * of a clean rebuild.
 */
export async function projectorRounds(options: ProjectorRoundsOptions): Promise<ProjectorRoundsReport> {
  const { rounds, seed, onRound, signal } = options;
  const random = new Seeded(seed);
  const problems: string[] = [];
  const closers: (() => unknown)[] = [];
  let [kills, stops, compared, events, slowestTakeOverMs] = [0, 0, 0, 0, 0];
  try {
    const stack = await startStack({ services: ['eventstore'] });
    closers.push(() => stack.stop());
    const url = stack.urls.eventStore;
    const read = stack.urls.databases.read!;
    const log = openEventLog({ url, cipher: { encrypt: plain, decrypt: plain } });
    closers.push(() => log.close());
    const pool = createPool(read, { max: 1 });
    closers.push(() => pool.end());

    const running: ChildProcess[] = [];
    const begin = async (): Promise<void> => {
      const child = fork(
        fileURLToPath(new URL('../../apps/projector/projector.fixture.ts', import.meta.url)),
        [url, read],
        {
          execArgv: ['--no-warnings', '--import', new URL('../../scripts/typescript.mjs', import.meta.url).href],
          stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        },
      );
      running.push(child);
      await once(child, 'spawn');
    };
    const end = async (child: ChildProcess): Promise<void> => {
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
      running.splice(running.indexOf(child), 1);
    };
    closers.push(() => Promise.all([...running].map(end)));

    const write = async (written: readonly Written[]): Promise<bigint> => {
      let last = 0n;
      for (const { stream, event } of written) {
        const result = await log.append(stream, [event], 'any');
        if (!result.ok) throw new Error(`an append to ${stream} was refused`);
        last = result.position;
        events++;
      }
      return last;
    };
    const position = async (): Promise<bigint> => {
      const { rows } = await pool
        .query<{ least: string | null }>(`SELECT min(position) AS least FROM projection.checkpoint`)
        .catch(() => ({ rows: [] }));
      return BigInt(rows[0]?.least ?? -1);
    };
    const reached = async (wanted: bigint): Promise<boolean> => {
      for (const until = Date.now() + PATIENCE_MS; (await position()) < wanted; await sleep(20)) {
        signal?.throwIfAborted();
        if (Date.now() > until) return false;
      }
      return true;
    };

    let last = await write(relay());
    for (let i = 0; i < PROJECTORS; i++) await begin();
    if (!(await reached(last))) throw new Error('the projectors do not get going');
    for (let round = 1; round <= rounds; round++) {
      signal?.throwIfAborted();
      const begun = performance.now();
      const victim = random.pick(running);
      const stopped = random.chance(0.1);
      const [atMs, asleepMs] = [random.integer(0, 250), random.integer(5_000, 7_000)];
      const story = [...crowd(EVENTS, 2)].filter(
        ({ event: { type } }) => !/^(Organisation|Project)Created$/.test(type),
      );
      const strike = async (): Promise<void> => {
        await sleep(atMs);
        if (!stopped) {
          kills++;
          await end(victim);
          await begin();
          return;
        }
        stops++;
        victim.kill('SIGSTOP');
        await sleep(asleepMs);
        victim.kill('SIGCONT');
      };
      const [written] = await Promise.all([write(story), strike()]);
      last = written;
      const struck = performance.now();
      if (!(await reached(last))) problems.push(`round ${round}: the rows do not reach ${last}`);
      slowestTakeOverMs = Math.max(slowestTakeOverMs, performance.now() - struck);
      if (round <= COMPARE_ALL || round % COMPARE_EVERY === 0 || round === rounds) {
        compared++;
        const { different } = await verifyReadModels({ log, url: read });
        problems.push(...different.map((table) => `round ${round}: the rows of ${table} are not those of a rebuild`));
      }
      onRound?.(
        `round ${round}/${rounds}: ${stopped ? `stopped for ${asleepMs} ms` : 'killed'} at ${atMs} ms; ${events} events, ` +
          `${Math.round(performance.now() - begun)} ms, ${problems.length} problems`,
      );
    }
    const report = { seed, rounds, kills, stops, events, compared };
    return { ...report, slowestTakeOverMs: Math.round(slowestTakeOverMs), problems };
  } finally {
    for (const close of closers.reverse()) await Promise.resolve(close()).catch(() => undefined);
  }
}
