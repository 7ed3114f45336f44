import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { createPool, type Pool } from '#libs/postgres/index.js';
import {
  listParked,
  listRebuilds,
  listVerifications,
  readCheckpoint,
  requestRebuild,
  requestVerification,
  skipParked,
} from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import type { Handlers, Projection } from './projection.js';
import { audit, identity } from './projections/index.js';
import { type Projector, startProjector } from './projector.js';
import { rebuild, verifyReadModels } from './rebuild.js';
import { crowd, happened, MemoryLog, relay, uid, type Written } from './story.fixture.js';

const inParts = (partitions: number, projection: Projection = audit): Projection => ({
  ...projection,
  model: { ...projection.model, partitions },
});
const EQUAL = { equal: true, different: [] };

let database: TestDatabase;
let pool: Pool;
let log: MemoryLog;
const running = new Set<Projector>();
beforeEach(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 4 });
  log = new MemoryLog();
});
afterEach(async () => {
  await stopAll();
  await pool.end();
  await database.drop();
});

function start(projections: readonly Projection[], maxBatch?: number): Projector {
  const projector = startProjector({ log, url: database.url, projections, maxBatch });
  running.add(projector);
  return projector;
}
async function stopAll(): Promise<void> {
  await Promise.all([...running].map((projector) => projector.stop()));
  running.clear();
}
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !(await condition()); await sleep(20))
    if (Date.now() > end) throw new Error(`waited a minute in vain for ${what}`);
}
const person = (n: number): Written => happened('UserRegistered', { userId: uid(`n${n}`) });
interface Leader {
  readonly partition: number;
  readonly holder: string;
  readonly backend: number;
}
const leaders = async (): Promise<Leader[]> =>
  (
    await pool.query<Leader>(
      `SELECT partition, holder, backend FROM projection.leader WHERE name = 'audit' ORDER BY partition`,
    )
  ).rows;
/** Ends connections of leaders until two processes share the partitions. */
const shared = (): Promise<void> =>
  until(async () => {
    const now = await leaders();
    if (new Set(now.map(({ holder }) => holder)).size === 2) return true;
    await pool.query('SELECT pg_terminate_backend($1)', [now[Math.floor(Math.random() * now.length)]!.backend]);
    await sleep(300);
    return false;
  }, 'two processes at one projection');

it('rows are those of one runner, wherever readings and partitions are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 5 }),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 60 }),
      fc.integer({ min: 0, max: 3 }),
      async (partitions, maxBatch, people, live) => {
        const own = await testDatabase();
        log = new MemoryLog();
        log.write(happened('OrganisationCreated'), ...Array.from({ length: people }, (_, n) => person(n)), ...relay());
        const projector = startProjector({ log, url: own.url, projections: [inParts(partitions)], maxBatch });
        try {
          await projector.reached(log.last);
          for (let n = 0; n < live; n++)
            log.write(person(1_000 + n), happened('UserDeactivated', { userId: uid(`n${n}`) }));
          await projector.reached(log.last);
          expect(projector.status()).toMatchObject([{ name: 'audit', state: 'leading', position: log.last }]);
        } finally {
          await projector.stop();
        }
        // A copy is not in parts: that is what they are compared with.
        expect(await verifyReadModels({ log, url: own.url, projections: [inParts(partitions)] })).toEqual(EQUAL);
        await own.drop();
      },
    ),
    { numRuns: 12 },
  );
}, 120_000);

it('has one leader for each partition; two processes share them, take over, and rebuild and verify meanwhile', async () => {
  const partitioned = inParts(4);
  log.write(...relay());
  const first = start([partitioned]);
  await first.leads();
  await first.reached(log.last);
  expect(new Set((await leaders()).map(({ holder }) => holder)).size).toBe(1);
  // The others are in the way of a rebuild in place.
  await expect(rebuild({ log, url: database.url, projections: [partitioned] })).rejects.toMatchObject({
    code: 'PROJECTION_IN_USE',
  });

  const second = start([partitioned]);
  await shared();
  let writing = true;
  const writer = (async () => {
    for (let n = 0; writing; n++, await sleep(5)) log.write(person(n));
  })();
  try {
    const before = await readCheckpoint(pool, partitioned.model);
    await until(
      async () => ((await readCheckpoint(pool, partitioned.model)) ?? -1n) > (before ?? -1n) + 200n,
      'moving on',
    );
    expect(await requestRebuild(pool, ['audit'])).toBeUndefined();
    await until(async () => (await listRebuilds(pool))[0]!.state === 'DONE', 'the swap');
    const swapped = await readCheckpoint(pool, partitioned.model);
    await until(
      async () => ((await readCheckpoint(pool, partitioned.model)) ?? -1n) > swapped! + 200n,
      'going on after',
    );
    for (const { backend } of await leaders()) await pool.query('SELECT pg_terminate_backend($1)', [backend]);
    const killed = await readCheckpoint(pool, partitioned.model);
    await until(async () => ((await readCheckpoint(pool, partitioned.model)) ?? -1n) > killed! + 200n, 'taking over');
  } finally {
    writing = false;
  }
  await writer;
  await until(async () => (await readCheckpoint(pool, partitioned.model)) === log.last, 'the end');
  expect(await requestVerification(pool, ['audit'])).toBeUndefined();
  await until(async () => (await listVerifications(pool))[0]!.state === 'DONE', 'the comparison');
  expect((await listVerifications(pool))[0]).toMatchObject({ equal: true, differences: [] });
  expect([first, second].map((projector) => projector.status()[0]!.failure)).toEqual([undefined, undefined]);
  await stopAll();
  expect(await verifyReadModels({ log, url: database.url, projections: [partitioned] })).toEqual(EQUAL);
}, 180_000);

it('fills long tables side by side, and the last at the end makes the keys', async () => {
  const partitioned = inParts(3);
  log.write(...crowd(2_000, 2));
  start([partitioned], 50);
  start([partitioned], 50);
  await until(async () => (await readCheckpoint(pool, partitioned.model).catch(() => null)) === log.last, 'the end');
  const key = `SELECT conname FROM pg_constraint
                WHERE conrelid = '${partitioned.model.schema}.entry'::regclass AND contype = 'p'`;
  await until(async () => (await pool.query(key)).rowCount === 1, 'the keys');
  await stopAll();
  expect(await verifyReadModels({ log, url: database.url, projections: [partitioned] })).toEqual(EQUAL);
}, 120_000);

it('parks and skips in the partition of the stream; the other goes on', async () => {
  let broken = true;
  const handlers = (on: Handlers): Handlers => ({
    ...on,
    UserRegistered: (event) => {
      if (broken && event.data.userId === uid('n3')) throw new Error('no');
      return on.UserRegistered!(event);
    },
  });
  const partitioned = inParts(2, {
    ...audit,
    begin: (context) => {
      const begun = audit.begin(context);
      return { ...begun, on: handlers(begun.on) };
    },
  });
  log.write(happened('OrganisationCreated'));
  const projector = start([partitioned]);
  await projector.reached(log.last);
  log.write(...Array.from({ length: 6 }, (_, n) => person(n)));
  await projector.reached(log.last);
  expect(await listParked(pool)).toMatchObject([{ projection: 'audit', state: 'PARKED', stream: `user-${uid('n3')}` }]);
  broken = false;
  const [parked] = await listParked(pool);
  expect(await skipParked(pool, 'audit', parked!.position, 'a spec')).toBeUndefined();
  await until(
    async () => (await pool.query('SELECT 1 FROM projection.parked WHERE retry')).rowCount === 0,
    'the runner to hear of it',
  );
  const { rows } = await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${audit.model.schema}.entry`);
  expect(rows[0]!.n).toBe(6);
});

it('other partitions are another build: the rows are made anew', async () => {
  log.write(...relay());
  for (const partitions of [2, 3, 1]) {
    const projector = start([inParts(partitions), identity]);
    await projector.reached(log.last);
    const { rows } = await pool.query(`SELECT partition FROM projection.checkpoint WHERE name = 'audit' ORDER BY 1`);
    expect(rows).toEqual(Array.from({ length: partitions }, (_, partition) => ({ partition })));
    await stopAll();
    expect(await verifyReadModels({ log, url: database.url, projections: [inParts(partitions)] })).toEqual(EQUAL);
  }
});
