import { torture } from './rounds.js';

const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 25);

describe('kill -9 during work', () => {
  it(
    `loses nothing and doubles nothing in ${ROUNDS} rounds`,
    async () => {
      const seed = Number(process.env.FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
      process.stderr.write(`faults: again with FAULT_SEED=${seed}\n`);
      const report = await torture({ rounds: ROUNDS, seed });
      expect({ seed, problems: report.problems }).toEqual({ seed, problems: [] });
      // The rounds did what they are for.
      expect(report.commands).toBeGreaterThanOrEqual(ROUNDS * 8);
      expect(report.acknowledged).toBeGreaterThan(report.commands * 0.7);
      for (const victim of ['projector', 'workers', 'api', 'eventstore'])
        expect(report.kills[victim]).toBeGreaterThan(0);
    },
    15 * 60_000,
  );
});
