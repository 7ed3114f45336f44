import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { ensureControl } from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../../test/support/database.js';
import type { SubscriberState } from './changes.js';
import { ReadStore } from './read-store.js';
import { RollCall } from './roll-call.js';

let database: TestDatabase;
let pool: Pool;
const stores: ReadStore[] = [];
const errors: unknown[] = [];
beforeAll(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 2 });
  await ensureControl(pool);
});
afterAll(async () => {
  await Promise.all(stores.map((store) => store.close()));
  await pool.end();
  await database.drop();
});

const follower = (process: string, second: number, position = 7n): SubscriberState => ({
  process,
  socket: randomUUID(),
  userId: randomUUID(),
  topic: 'project',
  topicId: randomUUID(),
  since: new Date(Date.UTC(2026, 0, 1, 0, 0, second)),
  position,
  waiting: 0,
  catchingUp: false,
});

/** An api process, as far as this goes. */
async function processOf(followers: readonly SubscriberState[]): Promise<RollCall> {
  const store = await ReadStore.open(database.url, (error) => errors.push(error));
  stores.push(store);
  // The lease comes with the first tick.
  for (const until = Date.now() + 10_000; Date.now() < until; await sleep(20)) {
    const { rowCount } = await pool.query('SELECT 1 FROM projection.lease WHERE holder = $1', [store.holder]);
    if (rowCount! > 0) break;
  }
  return new RollCall(
    store,
    () => followers,
    (error) => errors.push(error),
  );
}

it('everybody who is there answers whoever asks; one who left is waited for no longer than a moment', async () => {
  const [a, b, c] = [follower('a', 2, 2n ** 62n), follower('b', 1), follower('c', 3)];
  const first = await processOf([a]);
  // Alone, nobody is asked.
  expect(await first.subscribers()).toEqual([a]);
  const many = Array.from({ length: 1_500 }, (_, n) => follower('c', 10 + (n % 50)));
  const second = await processOf([b]);
  const third = await processOf([c, ...many]);
  for (const asking of [first, second, third]) {
    const found = await asking.subscribers();
    expect(found.slice(0, 3)).toEqual([b, a, c]);
    expect(found).toHaveLength(1_503);
  }
  const together = await Promise.all([first, second, first, third].map((asking) => asking.subscribers()));
  expect(together.map(({ length }) => length)).toEqual([1_503, 1_503, 1_503, 1_503]);

  await stores.pop()!.close();
  expect(await first.subscribers()).toEqual([b, a]);
  const { rows } = await pool.query('SELECT call FROM projection.roll_call');
  expect(rows).toEqual([]);
  expect(errors).toEqual([]);
}, 60_000);
