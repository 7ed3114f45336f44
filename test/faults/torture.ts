import { parseArgs } from 'node:util';
import { tortureStore } from './eventstore-rounds.js';
import { projectorRounds } from './projector-rounds.js';
import { torture } from './rounds.js';
import { storm } from './storm.js';
import { switches } from './switches.js';

const HELP = `npm run torture [-- --store | --projector | --switches | --storm N] [--rounds N --seed S]

Kills services during work, in N rounds (default 200), and checks that nothing is lost and nothing doubled. The report is
one line of JSON. The same seed plans the same commands and kills. --store: the event store alone, and Postgres below it, under
concurrent appends. --projector: two projectors alone, killed or stopped. --switches: nothing is killed; read models change
places under load, between two releases of which the later one has a renamed column (default 20). --storm N: N subscribers
that lose their connections in 20 waves (or --rounds) while people comment.`;

/** Resolves to the exit code: 0 when all is well. */
export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      store: { type: 'boolean', default: false },
      projector: { type: 'boolean', default: false },
      switches: { type: 'boolean', default: false },
      storm: { type: 'string' },
      rounds: { type: 'string' },
      seed: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const subscribers = Number(values.storm ?? 1);
  const rounds = Number(values.rounds ?? (values.switches || values.storm !== undefined ? 20 : 200));
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
  if (values.help || !Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed) || !(subscribers >= 1)) {
    process.stderr.write(`${HELP}\n`);
    return values.help ? 0 : 2;
  }
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  process.stderr.write(`seed ${seed}\n`);
  try {
    const shared = { seed, signal: abort.signal, onRound: (line: string) => process.stderr.write(`${line}\n`) };
    const run = values.store ? tortureStore : values.projector ? projectorRounds : values.switches ? switches : torture;
    const report =
      values.storm === undefined
        ? await run({ rounds, ...shared })
        : await storm({ subscribers, drops: rounds, ...shared });
    process.stdout.write(`${JSON.stringify(report)}\n`);
    for (const problem of report.problems) process.stderr.write(`${problem}\n`);
    return report.problems.length === 0 ? 0 : 1;
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    process.stderr.write('interrupted\n');
    return 130;
  }
}
