import { setTimeout as sleep } from 'node:timers/promises';
import { createPool, type Pool, withTransaction } from '#libs/postgres/index.js';
import {
  cancelRebuild,
  cancelVerification,
  dropReplaced,
  listRebuilds,
  listVerifications,
  readCheckpoint,
  requestRebuild,
  requestVerification,
  throttleRebuild,
} from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import type { Projection } from './projection.js';
import { feed, identity } from './projections/index.js';
import { type Projector, type ProjectorOptions, startProjector } from './projector.js';
import { verifyReadModels } from './rebuild.js';
import { happened, MemoryLog, uid, type Written } from './story.fixture.js';

const SWITCHES = Number(process.env.PROJECTOR_SWITCHES ?? 3);

let database: TestDatabase;
let pool: Pool;
let log: MemoryLog;
const running = new Set<Projector>();

beforeEach(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 8 });
  log = new MemoryLog();
});
afterEach(async () => {
  await Promise.all([...running].map((projector) => projector.stop()));
  running.clear();
  await pool.end();
  await database.drop();
});

function start(projections: readonly Projection[], options: Partial<ProjectorOptions> = {}): Projector {
  const projector = startProjector({ log, url: database.url, projections, ...options });
  running.add(projector);
  return projector;
}
async function stop(projector: Projector): Promise<void> {
  running.delete(projector);
  await projector.stop();
}
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !(await condition()); await sleep(20))
    if (Date.now() > end) throw new Error(`waited a minute in vain for ${what}`);
}
const person = (n: number): Written => happened('UserRegistered', { userId: uid(`n${n}`) });
const newest = async () => (await listRebuilds(pool))[0]!;
const schemas = async (): Promise<string[]> => {
  const { rows } = await pool.query<{ nspname: string }>(
    `SELECT nspname FROM pg_namespace WHERE nspname ~ '^(identity|feed)_' ORDER BY 1`,
  );
  return rows.map(({ nspname }) => nspname);
};

it(`changes tables ${SWITCHES} times under constant reads and writes: no query fails, none goes back`, async () => {
  log.write(happened('OrganisationCreated'), person(0));
  const projector = start([identity, feed]);
  await projector.reached(log.last);

  let over = false;
  let written = 1;
  let reads = 0;
  const writer = (async () => {
    for (; !over; await sleep(5)) log.write(person(written++));
  })();
  // As the api reads: several statements of one snapshot, which must be of one moment.
  const reader = async (): Promise<void> => {
    for (let seen = -1n; !over; reads++) {
      const [position, users, changes] = await withTransaction(
        pool,
        async (client) => {
          await client.query('LOCK TABLE projection.gate IN ACCESS SHARE MODE');
          const { rows } = await client.query<{ position: string }>(
            `SELECT min(position) AS position FROM projection.checkpoint WHERE name IN ('identity', 'feed')`,
          );
          await sleep(Math.random() * 10);
          const count = async (table: string): Promise<number> =>
            (await client.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`)).rows[0]!.n;
          return [
            BigInt(rows[0]!.position),
            await count('identity_v1.user'),
            await count(`feed_v2.change WHERE event_type = 'UserRegistered'`),
          ] as const;
        },
        { isolation: 'REPEATABLE READ', readOnly: true },
      );
      expect(position).toBeGreaterThanOrEqual(seen);
      seen = position;
      // The organisation is at 0, a person every ten positions after it.
      for (const n of [users, changes]) expect(n).toBeGreaterThanOrEqual(Number(position) / 10);
    }
  };
  // A statement of its own, as the follower of the feed sends them.
  const follower = async (): Promise<void> => {
    for (let seen = 0; !over; reads++) {
      const { rows } = await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM feed_v2.change');
      expect(rows[0]!.n).toBeGreaterThanOrEqual(seen);
      seen = rows[0]!.n;
    }
  };
  const readers = Promise.all([reader(), reader(), follower()]);
  readers.catch(() => (over = true));
  try {
    for (let n = 0; n < SWITCHES && !over; n++) {
      expect(await requestRebuild(pool, ['identity', 'feed'])).toBeUndefined();
      await until(async () => over || (await listRebuilds(pool)).every(({ state }) => state === 'DONE'), 'the switch');
    }
  } finally {
    over = true;
  }
  await readers;
  await writer;
  expect(reads).toBeGreaterThan(SWITCHES);
  expect(await listRebuilds(pool)).toHaveLength(SWITCHES * 2);
  await projector.reached(log.last);
  expect(await readCheckpoint(pool, identity.model)).toBe(log.last);
  await dropReplaced(pool, 0);
  expect(await schemas()).toEqual(['feed_v2', 'identity_v1']);
  await stop(projector);
  expect(await verifyReadModels({ log, url: database.url, projections: [identity, feed] })).toMatchObject({
    equal: true,
  });
}, 120_000);

it('mends damaged rows; throttled it shows how far it is, and it can be given up', async () => {
  log.write(happened('OrganisationCreated'), ...Array.from({ length: 1000 }, (_, n) => person(n)));
  const projector = start([identity, feed]);
  await projector.reached(log.last);
  await pool.query(`UPDATE identity_v1.user SET name = 'Forged'`);
  expect(await requestRebuild(pool, ['identity'], { throttle: 50 })).toBeUndefined();
  await until(async () => (await newest()).state === 'RUNNING', 'the beginning');
  expect(await requestRebuild(pool, ['identity'])).toMatchObject({ code: 'REBUILD_RUNNING' });
  await cancelRebuild(pool, 'identity');
  await until(async () => (await newest()).state === 'CANCELLED', 'the end');
  expect(await schemas()).toEqual(['feed_v2', 'identity_v1']);
  expect((await pool.query(`SELECT DISTINCT name FROM identity_v1.user`)).rows).toEqual([{ name: 'Forged' }]);

  expect(await requestRebuild(pool, ['identity'], { throttle: 1 })).toBeUndefined();
  expect(await throttleRebuild(pool, 'identity', null)).toBeUndefined();
  await until(async () => (await newest()).state === 'DONE', 'the rows to be in place');
  expect(await newest()).toMatchObject({ position: log.last, events: 1001 });
  await stop(projector);
  expect(await verifyReadModels({ log, url: database.url, projections: [identity, feed] })).toMatchObject({
    equal: true,
  });
});

it('verifies: says which rows are not those of a clean rebuild, under constant writes, and touches nothing', async () => {
  log.write(happened('OrganisationCreated'), ...Array.from({ length: 300 }, (_, n) => person(n)));
  const projector = start([identity, feed]);
  await projector.reached(log.last);
  let over = false;
  let written = 300;
  const writer = (async () => {
    for (; !over; await sleep(2)) log.write(person(written++));
  })();
  const outcome = async () => {
    expect(await requestVerification(pool, ['identity', 'feed'])).toBeUndefined();
    await until(async () => (await listVerifications(pool)).every(({ endedAt }) => endedAt !== null), 'the verdict');
    return (await listVerifications(pool)).slice(0, 2).toReversed();
  };
  try {
    expect(await outcome()).toMatchObject([
      { projection: 'identity', state: 'DONE', equal: true, differences: [] },
      { projection: 'feed', state: 'DONE', equal: true, differences: [] },
    ]);
    await pool.query(`UPDATE identity_v1.user SET name = 'Forged' WHERE id = $1`, [uid('n7')]);
    await pool.query(`DELETE FROM feed_v2.change WHERE position IN (20, 30)`);
    await pool.query(
      `INSERT INTO feed_v2.change (position, organisation_id, event_type, at)
       SELECT 7, organisation_id, event_type, at FROM feed_v2.change LIMIT 1`,
    );
    const [users, changes] = await outcome();
    expect(users).toMatchObject({
      equal: false,
      differences: [{ table: 'identity.user', missing: 0, extra: 0, changed: 1, examples: [uid('n7')] }],
    });
    expect(changes).toMatchObject({
      equal: false,
      differences: [{ table: 'feed.change', missing: 2, extra: 1, changed: 0 }],
    });
    expect(changes!.differences![0]!.examples.toSorted()).toEqual(['20', '30', '7']);
  } finally {
    over = true;
    await writer;
  }
  expect((await pool.query(`SELECT 1 FROM identity_v1.user WHERE name = 'Forged'`)).rowCount).toBe(1);
  expect(await schemas()).toEqual(['feed_v2', 'identity_v1']);
  expect(await listRebuilds(pool)).toEqual([]);
  await projector.reached(log.last);
});

it('says no to what can not be', async () => {
  const projector = start([identity, feed]);
  await projector.leads();
  expect(await requestRebuild(pool, ['identity', 'horoscope'])).toMatchObject({
    code: 'UNKNOWN_PROJECTION',
    path: ['projections'],
  });
  expect(await requestRebuild(pool, ['identity'], { throttle: 0.5 })).toMatchObject({ code: 'INVALID_INPUT' });
  expect(await cancelRebuild(pool, 'identity')).toMatchObject({ code: 'NO_REBUILD' });
  expect(await throttleRebuild(pool, 'identity', 5)).toMatchObject({ code: 'NO_REBUILD' });
  expect(await cancelVerification(pool, 'identity')).toMatchObject({ code: 'NO_VERIFICATION' });
  expect(await listRebuilds(pool)).toEqual([]);

  log.write(happened('OrganisationCreated'), ...Array.from({ length: 600 }, (_, n) => person(n)));
  await projector.reached(log.last);
  expect(await requestVerification(pool, ['horoscope'])).toMatchObject({ code: 'UNKNOWN_PROJECTION' });
  expect(await requestVerification(pool, ['identity'], { throttle: 0 })).toMatchObject({ code: 'INVALID_INPUT' });
  expect(await requestVerification(pool, ['identity'], { throttle: 1 })).toBeUndefined();
  for (const again of [requestVerification, requestRebuild])
    expect(await again(pool, ['identity'])).toMatchObject({ code: 'VERIFICATION_RUNNING' });
  expect(await cancelRebuild(pool, 'identity')).toMatchObject({ code: 'NO_REBUILD' });
  expect(await cancelVerification(pool, 'identity')).toBeUndefined();
  await until(async () => (await listVerifications(pool))[0]!.state === 'CANCELLED', 'the end');
  expect(await requestRebuild(pool, ['identity'], { throttle: 1 })).toBeUndefined();
  expect(await requestVerification(pool, ['identity'])).toMatchObject({ code: 'REBUILD_RUNNING' });
  expect(await cancelRebuild(pool, 'identity')).toBeUndefined();
  await until(async () => (await newest()).state === 'CANCELLED', 'the end');
  expect(await schemas()).toEqual(['feed_v2', 'identity_v1']);
});

it('goes on with a rebuild where another projector has left it', async () => {
  log.write(happened('OrganisationCreated'), ...Array.from({ length: 600 }, (_, n) => person(n)));
  const first = start([identity]);
  await first.reached(log.last);
  await requestRebuild(pool, ['identity'], { throttle: 1 });
  await until(async () => (await newest()).state === 'RUNNING', 'the beginning');
  await stop(first);
  expect((await newest()).state).toBe('RUNNING');
  const second = start([identity]);
  await throttleRebuild(pool, 'identity', null);
  await until(async () => (await newest()).state === 'DONE', 'the end');
  await second.reached(log.last);
});

it('stops at an event it can not process, says which, and leaves what is being read alone', async () => {
  log.write(happened('OrganisationCreated'), person(1));
  const projector = start([identity]);
  await projector.reached(log.last);
  log.write(happened('UserRoleChanged', { userId: uid('ghost') }), person(2));
  await projector.reached(log.last);
  await requestRebuild(pool, ['identity']);
  await until(async () => (await newest()).state === 'FAILED', 'the report');
  expect((await newest()).error).toContain(`UserRoleChanged`);
  expect((await newest()).error).toContain(`0@user-${uid('ghost')}`);
  expect((await pool.query('SELECT 1 FROM identity_v1.user')).rowCount).toBe(2);
  expect(await schemas()).toEqual(['identity_v1']);
});

it('removes an old version when nobody reads it and nobody writes it any more', async () => {
  log.write(happened('OrganisationCreated'), person(1));
  const before: Projection = { ...identity, model: { ...identity.model, version: 0, schema: 'identity_v0' } };
  const old = start([before]);
  await old.reached(log.last);
  const lease = (seen: string) =>
    pool.query(
      `INSERT INTO projection.lease (holder, name, version, seen_at) VALUES (gen_random_uuid(), 'identity', 0, ${seen})`,
    );
  await lease(`now() + interval '1 hour'`);
  const projector = start([identity], { oldVersionGraceMs: 0 });
  await projector.reached(log.last);
  await stop(old);
  await sleep(1500);
  expect(await schemas()).toContain('identity_v0');
  await pool.query(`UPDATE projection.lease SET seen_at = now() - interval '1 second'`);
  await until(async () => !(await schemas()).includes('identity_v0'), 'the old version to go');
  expect((await pool.query(`SELECT version FROM projection.checkpoint WHERE name = 'identity'`)).rows).toEqual([
    { version: 1 },
  ]);
});
