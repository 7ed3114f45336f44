import { storm } from './storm.js';

const SUBSCRIBERS = Number(process.env.STORM_SUBSCRIBERS ?? 50);
const DROPS = 20;

describe('a storm of reconnects', () => {
  it(
    `misses nothing and doubles nothing for ${SUBSCRIBERS} subscribers that drop ${DROPS} times`,
    async () => {
      const seed = Number(process.env.FAULT_SEED ?? Math.floor(Math.random() * 2 ** 32));
      process.stderr.write(`storm: again with FAULT_SEED=${seed}\n`);
      const report = await storm({ subscribers: SUBSCRIBERS, drops: DROPS, seed });
      expect({ seed, problems: report.problems }).toEqual({ seed, problems: [] });
      expect(report.reconnects).toBeGreaterThanOrEqual(SUBSCRIBERS * DROPS);
      expect(report.messages).toBeGreaterThan(SUBSCRIBERS * DROPS);
    },
    15 * 60_000,
  );
});
