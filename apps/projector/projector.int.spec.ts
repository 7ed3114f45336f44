import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import { createPool, Listener, type Pool } from '#libs/postgres/index.js';
import {
  digestReadModels,
  PROJECTION_CHANNEL,
  readCheckpoint,
  listParked,
  retryParked,
  skipParked,
} from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import type { Handlers, Projection } from './projection.js';
import { feed, identity, PROJECTIONS, review } from './projections/index.js';
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

it('ends a batch once, however many readings it was gathered from', async () => {
  const seen: number[] = [];
  const counting: Projection = {
    ...identity,
    begin: (context) => {
      const { on } = identity.begin(context);
      let events = 0;
      const counted = Object.fromEntries(
        Object.entries(on).map(([type, handler]) => [
          type,
          (event: never) => {
            events++;
            return (handler as (event: never) => void)(event);
          },
        ]),
      ) as Handlers;
      return { on: counted, end: () => void seen.push(events) };
    },
  };
  log.write(happened('OrganisationCreated'), ...Array.from({ length: 60 }, (_, n) => person(n)));
  const projector = start([counting], 7);
  await projector.reached(log.last);
  // The last reading isn't full: that is where the gathering ends.
  expect(seen).toEqual([56, 5]);
  log.write(person(60));
  await projector.reached(log.last);
  expect(seen).toEqual([56, 5, 1]);
});

it('notices rows that a clean rebuild would not have, and mends them by a rebuild', async () => {
  log.write(...relay());
  const projector = start();
  await projector.reached(log.last);
  await expect(rebuild({ log, url: database.url })).rejects.toMatchObject({ code: 'PROJECTION_IN_USE' });
  await stop(projector);
  await pool.query(`UPDATE review_v2.comment SET text = 'Forged'`);
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

it('fences off a second writer by epoch and compare-and-swap even without the lock', async () => {
  const projector = start([identity]);
  await projector.leads();
  const intruder = await Session.open(database.url, 'intruder');
  const durable = { durable: true };
  try {
    expect(await intruder.tryLock({ model: identity.model, partition: 0 })).toBe(false);
    const claim = { model: identity.model, partition: 0, epoch: 1n, position: null };
    await expect(intruder.transaction([{ ...claim, position: 5n }], 6n, durable)).rejects.toMatchObject({
      code: 'CHECKPOINT_MOVED',
    });
    await expect(intruder.transaction([{ ...claim, epoch: 0n }], 6n, durable)).rejects.toMatchObject({
      code: 'SUPERSEDED',
    });
    const work = intruder.transaction([claim], 6n, durable, () => Promise.reject(new Error('handler')));
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

/** Handlers that refuse what they are told to. */
const refusing = (projection: Projection, refused: Set<string>): Projection => ({
  ...projection,
  begin: (context) => {
    const { on, end } = projection.begin(context);
    const guarded = Object.entries(on).map(([type, handler]) => [
      type,
      (event: RecordedEvent) => {
        if (refused.has(event.id)) throw new Error('a poisoned event');
        return (handler as (event: RecordedEvent) => void | Promise<void>)(event);
      },
    ]);
    return { on: Object.fromEntries(guarded) as Handlers, end };
  },
});

it('parks an event it can not process; what follows in its stream waits, everything else goes on', async () => {
  log.write(happened('OrganisationCreated'));
  const refused = new Set<string>();
  const projector = start([refusing(identity, refused), review, refusing(feed, refused)], 50);
  await projector.reached(log.last);
  const poisoned = person(3);
  refused.add(poisoned.event.id);
  log.write(person(1), person(2), poisoned, person(4), happened('DeliverableCreated'));
  const later = log.write(happened('UserRoleChanged', { userId: uid('n3'), to: 'PRODUCER' }), person(5));
  await projector.reached(log.last);
  expect(await users()).toBe(4);
  const { position } = log.events.find(({ id }) => id === poisoned.event.id)!;
  const parked = await listParked(pool, { projection: 'identity' });
  expect(parked).toMatchObject([
    { state: 'PARKED', position, eventId: poisoned.event.id, eventType: 'UserRegistered', revision: 0, attempts: 3 },
    { state: 'WAITING', eventType: 'UserRoleChanged', revision: 1, error: null },
  ]);
  expect(parked[0]!.error).toMatch(/UserRegistered .*0@user-.*a poisoned event/);
  // The feed lets later events of the stream go on.
  expect(await listParked(pool, { projection: 'feed' })).toMatchObject([{ state: 'PARKED', position }]);
  expect(await readCheckpoint(pool, identity.model)).toBe(later);

  // A new runner knows of it; a retry of what is still poisoned changes nothing but the count.
  await stop(projector);
  const again = start([refusing(identity, refused), review, refusing(feed, refused)], 50);
  log.write(happened('UserRoleChanged', { userId: uid('n3'), from: 'PRODUCER', to: 'ADMINISTRATOR' }));
  await again.reached(log.last);
  expect(await listParked(pool, { projection: 'identity', states: ['WAITING'] })).toHaveLength(2);
  expect(await retryParked(pool, 'identity', position)).toBeUndefined();
  await until(
    async () => (await listParked(pool, { projection: 'identity' }))[0]!.attempts === 4,
    'the attempt in vain',
  );
  refused.clear();
  for (const name of ['identity', 'feed']) expect(await retryParked(pool, name, position)).toBeUndefined();
  await until(async () => (await listParked(pool)).length === 0, 'the retry');
  expect(await users()).toBe(5);
  await again.reached(log.last);
  await stop(again);
  expect(await verifyReadModels({ log, url: database.url, projections: [identity, review, feed] })).toMatchObject({
    equal: true,
  });
});

it('skips a parked event with a reason, here and in a rebuild; an event of a newer build is parked too', async () => {
  log.write(happened('OrganisationCreated'));
  const projector = start([identity, feed]);
  await projector.reached(log.last);
  log.write(person(1));
  await projector.reached(log.last);
  // As a newer build would have written it.
  const unreadable = new Error('UserRegistered version 9 was written by a newer Picturelock');
  log.write(person(2));
  Object.assign(log.events.at(-1)!, { unreadable, data: undefined });
  const newer = log.last;
  log.write(person(3));
  await projector.reached(log.last);
  expect(await users()).toBe(2);
  expect(await listParked(pool, { projection: 'identity' })).toMatchObject([
    { position: newer, error: expect.stringContaining('newer Picturelock') },
  ]);

  await stop(projector);
  // A rebuild parks nothing: it stops, and says at what.
  await expect(rebuild({ log, url: database.url, projections: [identity] })).rejects.toMatchObject({
    code: 'EVENT_FAILED',
    event: { position: newer },
  });
  expect(await listParked(pool, { projection: 'identity' })).toMatchObject([{ state: 'STOPPED', position: newer }]);
  expect(await skipParked(pool, 'identity', newer, ' ')).toMatchObject({ code: 'INVALID_INPUT' });
  expect(await skipParked(pool, 'identity', 1n, 'why not')).toMatchObject({ code: 'NOT_PARKED' });
  expect(await skipParked(pool, 'identity', newer, 'never ours')).toBeUndefined();
  await rebuild({ log, url: database.url, projections: [identity] });
  expect(await users()).toBe(2);
  expect(await listParked(pool, { projection: 'identity' })).toMatchObject([
    { state: 'SKIPPED', position: newer, reason: 'never ours' },
  ]);
});

it('goes on without a restart once what stopped a rebuild is skipped', async () => {
  log.write(happened('OrganisationCreated'), person(1), happened('UserRoleChanged', { userId: uid('ghost') }));
  const ghost = log.last;
  log.write(person(2));
  const projector = start([identity]);
  await until(() => state(projector, 'identity').state === 'failed', 'the stop');
  expect(state(projector, 'identity').failure).toMatchObject({ code: 'EVENT_FAILED', event: { position: ghost } });
  expect(await skipParked(pool, 'identity', ghost, 'nobody')).toBeUndefined();
  await until(() => state(projector, 'identity').position === log.last, 'the rest');
  expect(await users()).toBe(2);
});

it('shares one transaction between projections, and lets each go alone when one of them fails', async () => {
  log.write(happened('OrganisationCreated'));
  const refused = new Set<string>();
  const projector = start([refusing(identity, refused), review, feed]);
  await projector.reached(log.last);
  const shared = async (): Promise<string[]> => {
    const { rows } = await pool.query<{ xmin: string }>(`SELECT DISTINCT xmin FROM projection.checkpoint`);
    return rows.map(({ xmin }) => xmin);
  };
  log.write(person(1), happened('DeliverableCreated'));
  await projector.reached(log.last);
  expect(await shared()).toHaveLength(1);
  const poisoned = person(2);
  refused.add(poisoned.event.id);
  log.write(poisoned);
  await projector.reached(log.last);
  expect(await shared()).toHaveLength(3);
  log.write(person(3));
  await projector.reached(log.last);
  expect(await shared()).toHaveLength(1);
  expect(await users()).toBe(2);
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

  await pool.query('DROP SCHEMA identity_v1 CASCADE; DROP SCHEMA review_v2 CASCADE');
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
