import { tortureStore } from './eventstore-rounds.js';

const ROUNDS = Number(process.env.STORE_FAULT_ROUNDS ?? 25);

describe('kill -9 of the event store and of Postgres', () => {
  it(
    `loses nothing and shows no reader what doesn't last in ${ROUNDS} rounds`,
    async () => {
      const seed = Number(process.env.FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
      process.stderr.write(`faults: again with FAULT_SEED=${seed}\n`);
      const report = await tortureStore({ rounds: ROUNDS, seed });
      expect({ seed, problems: report.problems }).toEqual({ seed, problems: [] });
      // The rounds did what they are for.
      expect(report.kills.eventstore).toBeGreaterThan(0);
      expect(report.kills.postgres).toBeGreaterThan(0);
      expect(report.repeated).toBeGreaterThan(0);
      expect(report.acknowledged).toBeGreaterThan(ROUNDS * 10);
      expect(report.followed).toBe(report.events);
    },
    10 * 60_000,
  );
});
