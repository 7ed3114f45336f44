import { randomUUID } from 'node:crypto';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { AS_OF_MODELS, asOfCopy, AsOfBuilds, type AsOfLimits } from '#libs/read-models/index.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { logAsOf } from './as-of.js';
import { PROJECTIONS } from './projections/index.js';
import { rebuild } from './rebuild.js';
import { happened, MemoryLog } from './story.fixture.js';

let database: TestDatabase;
let pool: Pool;
let builds: AsOfBuilds;
const LIMITS: AsOfLimits = { builds: 2, bytes: 2 ** 40, ttlSeconds: 600 };
const [ours, theirs] = [randomUUID(), randomUUID()];

beforeEach(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 4 });
  builds = new AsOfBuilds(pool);
});
afterEach(async () => {
  await pool.end();
  await database.drop();
});

it('holds what one organisation had at the moment, whatever the batches, and nothing after or of others', async () => {
  const log = new MemoryLog();
  const mine = { projectId: randomUUID(), organisationId: ours };
  log.write(
    happened('ProjectCreated', mine),
    happened('ProjectCreated', { projectId: randomUUID(), organisationId: theirs }),
    happened('ProjectRenamed', { ...mine, to: 'Then' }),
  );
  const position = log.last;
  log.write(happened('ProjectRenamed', { ...mine, to: 'Later' }), happened('ProjectArchived', mine));
  for (const maxBatch of [1, 2, 100]) {
    const build = { id: randomUUID(), organisationId: ours, position };
    const projections = PROJECTIONS.filter(({ model }) => AS_OF_MODELS.includes(model)).map((projection) => ({
      ...projection,
      model: asOfCopy(projection.model, build),
    }));
    await rebuild({ log: logAsOf(log, build), url: database.url, projections, maxBatch });
    const { schema } = asOfCopy(AS_OF_MODELS[0]!, build);
    const { rows } = await pool.query(`SELECT id, name, archived FROM ${schema}.project`);
    expect(rows).toEqual([{ id: mine.projectId, name: 'Then', archived: false }]);
  }
}, 60_000);

it('is asked for once, however many ask, and within the quota', async () => {
  const asked = await Promise.all([1, 2, 3].map(() => builds.request(ours, 7n, LIMITS)));
  expect(new Set(asked.map((build) => (typeof build === 'string' ? build : build.id))).size).toBe(1);
  expect(await builds.request(ours, 8n, LIMITS)).toMatchObject({ state: 'REQUESTED', position: 8n });
  expect(await builds.request(ours, 9n, LIMITS)).toBe('TOO_MANY');
  expect(await builds.request(theirs, 9n, LIMITS)).toMatchObject({ organisationId: theirs });
  expect(await builds.request(ours, 8n, LIMITS)).toMatchObject({ position: 8n });
  expect(await builds.request(theirs, 10n, { ...LIMITS, bytes: 0 })).toBe('NO_ROOM');
});

it('is built by one, and by another when that one is gone', async () => {
  await builds.request(ours, 7n, LIMITS);
  const claimed = await Promise.all([builds.claim(), builds.claim()]);
  const mine = claimed.find((build) => build !== undefined)!;
  expect(claimed.filter((build) => build !== undefined)).toHaveLength(1);
  expect(await builds.claim()).toBeUndefined();
  await pool.query(`UPDATE as_of.build SET alive_at = alive_at - interval '31 seconds'`);
  await builds.alive(mine.id);
  expect(await builds.claim()).toBeUndefined();
  await pool.query(`UPDATE as_of.build SET alive_at = alive_at - interval '31 seconds'`);
  expect(await builds.claim()).toMatchObject({ id: mine.id, state: 'BUILDING' });
  await builds.done(mine.id, null);
  expect(await builds.request(ours, 7n, LIMITS)).toMatchObject({ id: mine.id, state: 'READY' });
  expect(await builds.claim()).toBeUndefined();
});

it('is removed when its time is over, and begins anew when it is asked for again', async () => {
  const build = await builds.request(ours, 7n, LIMITS);
  const dropped: string[] = [];
  const sweep = () => builds.sweep(({ id }) => Promise.resolve(void dropped.push(id)));
  expect(await sweep()).toBe(0);
  await pool.query(`UPDATE as_of.build SET expires_at = clock_timestamp()`);
  expect(await builds.claim()).toBeUndefined();
  expect(await builds.request(ours, 7n, LIMITS)).toMatchObject({ state: 'BUILDING' });
  expect(await sweep()).toBe(1);
  expect(dropped).toEqual([(build as { id: string }).id]);
  const again = (await builds.request(ours, 7n, LIMITS)) as { id: string; state: string };
  expect(again.state).toBe('REQUESTED');
  // Tables nobody knows of: somebody dropped the list and not them.
  await pool.query(`CREATE SCHEMA ${asOfCopy(AS_OF_MODELS[0]!, again).schema}`);
  expect(await sweep()).toBe(0);
  await pool.query('DROP SCHEMA as_of CASCADE');
  await sweep().catch(() => 0);
  expect(await sweep()).toBe(1);
  expect(dropped.at(-1)).toBe(again.id.replaceAll('-', ''));
});

it('is made again after somebody dropped the read models', async () => {
  await builds.request(ours, 7n, LIMITS);
  await pool.query('DROP SCHEMA as_of CASCADE');
  await expect(builds.claim()).rejects.toThrow();
  expect(await builds.request(ours, 7n, LIMITS)).toMatchObject({ state: 'REQUESTED' });
});
