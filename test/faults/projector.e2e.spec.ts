import { projectorRounds } from './projector-rounds.js';

const ROUNDS = Number(process.env.PROJECTOR_KILLS ?? 25);

it(
  `rows are those of a clean rebuild after each of ${ROUNDS} kill -9 of projectors`,
  async () => {
    const seed = Number(process.env.FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
    process.stderr.write(`faults: again with FAULT_SEED=${seed}\n`);
    const report = await projectorRounds({ rounds: ROUNDS, seed });
    expect({ seed, problems: report.problems }).toEqual({ seed, problems: [] });
    expect(report.kills + report.stops).toBe(ROUNDS);
    expect(report.kills).toBeGreaterThan(0);
    expect(report.compared).toBeGreaterThan(0);
  },
  10 * 60_000,
);
