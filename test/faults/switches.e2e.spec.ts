import { READ_MODELS } from '#libs/read-models/index.js';
import { switches } from './switches.js';

const SWITCHES = Number(process.env.SWITCHES ?? 3);

it(
  `shows nobody less and refuses nobody while read models change places ${SWITCHES} times between two releases`,
  async () => {
    const report = await switches({ rounds: SWITCHES });
    expect(report.problems).toEqual([]);
    expect(report.replaced).toBe(SWITCHES * READ_MODELS.length);
    expect(report.reads).toBeGreaterThan(SWITCHES * 10);
    expect(report.writes).toBeGreaterThan(SWITCHES * 3);
  },
  10 * 60_000,
);
