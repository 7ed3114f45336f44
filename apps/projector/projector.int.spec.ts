import { setTimeout as sleep } from 'node:timers/promises';
import { createPool, Listener, type Pool } from '#libs/postgres/index.js';
import { digestReadModels, PROJECTION_CHANNEL, readCheckpoint } from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import type { Projection } from './projection.js';
import { identity, PROJECTIONS, review } from './projections/index.js';
import { type Projector, startProjector } from './projector.js';
import { rebuild, verifyReadModels } from './rebuild.js';
import { Session } from './session.js';
import { happened, MemoryLog, relay, uid, type Written } from './story.fixture.js';

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
  await Promise.all([...running].map((projector) => projector.stop()));
  running.clear();
  await pool.end();
  await database.drop();
});

function start(projections: readonly Projection[] = PROJECTIONS, maxBatch?: number): Projector {
  const projector = startProjector({ log, url: database.url, projections, maxBatch });
  running.add(projector);
  return projector;
}
async function stop(projector: Projector): Promise<void> {
  running.delete(projector);
  await projector.stop();
}
const users = async (): Promise<number> =>
  (await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM identity_v1.user')).rows[0]!.n;
const person = (n: number): Written => happened('UserRegistered', { userId: uid(`n${n}`) });
const state = (projector: Projector, name: string) => projector.status().find((status) => status.name === name)!;
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 10_000; !(await condition()); await sleep(10))
    if (Date.now() > end) throw new Error(`waited 10 s in vain for ${what}`);
}
const killSessions = (name: string) =>
  pool.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, [
    `picturelock projector ${name}`,
  ]);

it('goes on where it stopped, from one read of the log', async () => {
  log.write(...relay());
  let projector = start();
  await projector.reached(log.last);
  expect(log.subscriptions).toBe(1);
  await stop(projector);

  log.write(person(1));
  projector = start();
  await projector.reached(log.last);
  expect(log.subscriptions).toBe(2);
  expect(state(projector, 'identity').events).toBe(1);
  expect(await users()).toBe(6);
  // Each checkpoint stands at the end, also of those that had nothing to write.
  for (const { model } of PROJECTIONS) expect(await readCheckpoint(pool, model)).toBe(log.last);
  await stop(projector);
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: true, different: [] });
});

it('notices rows that a clean rebuild would not have, and mends them by a rebuild', async () => {
  log.write(...relay());
  const projector = start();
  await projector.reached(log.last);
  await expect(rebuild({ log, url: database.url })).rejects.toMatchObject({ code: 'PROJECTION_IN_USE' });
  await stop(projector);
  await pool.query(`UPDATE review_v1.comment SET text = 'Forged'`);
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: false, different: ['review.comment'] });
  const report = await rebuild({ log, url: database.url, projections: [review] });
  expect(report.position).toBe(log.last);
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: true, different: [] });
  expect(Object.keys(await digestReadModels(pool, [review.model]))).toContain('review.comment');
});

it('tells listeners the position with the commit, when the rows can be read', async () => {
  log.write(happened('OrganisationCreated'));
  const projector = start([identity]);
  await projector.reached(log.last);
  const heard: { payload: string; users: Promise<number> }[] = [];
  const listener = new Listener({
    url: database.url,
    channels: [PROJECTION_CHANNEL],
    onNotification: (_, payload) => heard.push({ payload, users: users() }),
  });
  await listener.start();
  try {
    const position = log.write(person(1));
    await until(() => heard.length > 0, 'the notification');
    expect(heard[0]!.payload).toBe(`identity:${position}`);
    expect(await heard[0]!.users).toBe(1);
  } finally {
    await listener.stop();
  }
});

it('shows rows and checkpoint to others together or not at all', async () => {
  log.write(happened('OrganisationCreated'));
  let arrived = (): void => undefined;
  const written = new Promise<void>((resolve) => (arrived = resolve));
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const holding: Projection = {
    model: identity.model,
    begin: (context) => {
      const { on } = identity.begin(context);
      return {
        on: {
          ...on,
          UserDeactivated: async () => {
            await context.flush();
            arrived();
            await held;
          },
        },
      };
    },
  };
  const projector = start([holding]);
  await projector.reached(log.last);
  const before = log.last;
  log.write(person(1), happened('UserDeactivated', { userId: uid('n1') }));
  await written;
  expect([await users(), await readCheckpoint(pool, identity.model)]).toEqual([0, before]);
  letGo();
  await projector.reached(log.last);
  expect([await users(), await readCheckpoint(pool, identity.model)]).toEqual([1, log.last]);
});

it('stops loudly when somebody else moved its checkpoint, and writes nothing', async () => {
  log.write(happened('OrganisationCreated'));
  const projector = start([identity]);
  await projector.reached(log.last);
  await pool.query(`UPDATE projection.checkpoint SET position = position + 1 WHERE name = 'identity'`);
  log.write(person(1));
  await expect(projector.reached(log.last)).rejects.toMatchObject({ code: 'CHECKPOINT_MOVED' });
  expect(state(projector, 'identity').state).toBe('failed');
  expect(await users()).toBe(0);
});

it('fences a second writer by compare-and-swap even without the lock', async () => {
  const projector = start([identity]);
  await projector.leads();
  const intruder = await Session.open(database.url, identity.model);
  try {
    expect(await intruder.tryLock()).toBe(false);
    await expect(intruder.transaction(5n, 6n, true, undefined)).rejects.toMatchObject({ code: 'CHECKPOINT_MOVED' });
    const work = intruder.transaction(null, 6n, true, () => Promise.reject(new Error('handler')));
    await expect(work).rejects.toThrow('handler');
    expect(await readCheckpoint(pool, identity.model)).toBeNull();
  } finally {
    await intruder.close();
  }
});

it('has one runner per projection; the other stands by and takes over', async () => {
  log.write(happened('OrganisationCreated'));
  const first = start();
  await first.reached(log.last);
  const second = start();
  await sleep(300);
  expect(second.status().map((status) => status.state)).toEqual(PROJECTIONS.map(() => 'waiting'));
  log.write(person(1));
  await first.reached(log.last);
  await stop(first);
  log.write(person(2));
  await second.reached(log.last);
  expect(await users()).toBe(2);
  expect(state(second, 'identity').events).toBe(1);
});

it('names an event it can not process, after writing what came before; the other projections go on', async () => {
  log.write(happened('OrganisationCreated'));
  const projector = start([identity, review], 50);
  await projector.reached(log.last);
  const good = [1, 2, 3, 4, 5].map(person);
  log.write(...good, happened('UserRoleChanged', { userId: uid('ghost') }), person(6));
  await expect(projector.reached(log.last)).rejects.toMatchObject({
    code: 'EVENT_FAILED',
    event: { type: 'UserRoleChanged', position: log.events.at(-2)!.position },
    message: expect.stringContaining(`0@user-${uid('ghost')}`),
  });
  expect(await users()).toBe(5);
  expect(await readCheckpoint(pool, identity.model)).toBe(log.events.at(-3)!.position);
  log.write(happened('DeliverableCreated'));
  await until(() => state(projector, 'review').position === log.last, 'the other projection');
  expect(state(projector, 'identity').state).toBe('failed');
});

it('catches up by itself when new or behind, then shares the read of the others', async () => {
  log.write(...relay());
  await (async () => {
    const early = start([identity]);
    await early.reached(log.last);
    await stop(early);
  })();
  log.write(...Array.from({ length: 100 }, (_, n) => person(n)));
  const before = log.subscriptions;
  const projector = start([identity, review], 10);
  await projector.reached(log.last);
  log.write(person(200));
  await projector.reached(log.last);
  await until(() => log.subscriptions - before === 3, 'one reader each, then one for both');
  log.write(person(201));
  await projector.reached(log.last);
  expect(await users()).toBe(107);
  await stop(projector);
  expect(await verifyReadModels({ log, url: database.url, projections: [identity, review] })).toMatchObject({
    equal: true,
  });
});

it('goes on when its connections break, and when the read models are dropped under it', async () => {
  log.write(...relay());
  const projector = start();
  await projector.reached(log.last);
  for (let round = 0; round < 3; round++) {
    for (const { model } of PROJECTIONS) void killSessions(model.name);
    for (let n = 0; n < 20; n++) log.write(person(round * 20 + n));
    await sleep(20);
  }
  await until(() => projector.status().every(({ position }) => position === log.last), 'the end of the log');
  await projector.reached(log.last);
  expect(await users()).toBe(65);

  await pool.query('DROP SCHEMA identity_v1 CASCADE; DROP SCHEMA review_v1 CASCADE');
  log.write(person(100), happened('CommentAdded', { versionId: uid('v2'), commentId: uid('late') }));
  await until(async () => {
    const { rows } = await pool.query(`SELECT to_regclass('identity_v1.user') IS NOT NULL AS there`);
    return (rows[0] as { there: boolean }).there && (await users()) === 66;
  }, 'the rows to be back');
  await projector.reached(log.last);
  await stop(projector);
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: true, different: [] });
}, 60_000);

it('refuses to go on with rows of another log', async () => {
  log.write(happened('OrganisationCreated'), person(1));
  const projector = start([identity]);
  await projector.reached(log.last);
  await stop(projector);
  log = new MemoryLog();
  log.write(happened('OrganisationCreated'));
  const again = start([identity]);
  await until(() => state(again, 'identity').state === 'failed', 'the failure');
  expect(state(again, 'identity').failure).toMatchObject({ code: 'CHECKPOINT_AHEAD_OF_LOG' });
});
