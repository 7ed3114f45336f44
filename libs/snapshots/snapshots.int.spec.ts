import { randomUUID } from 'node:crypto';
import type { StreamSnapshot } from '#libs/events/log/snapshots.js';
import { createPool } from '#libs/postgres/index.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { openSnapshots, type PostgresSnapshots } from './index.js';

let database: TestDatabase;
let snapshots: PostgresSnapshots;
let errors: string[];

beforeEach(async () => {
  database = await testDatabase();
  errors = [];
  snapshots = openSnapshots(database.url, (error) => errors.push(error.message));
});
afterEach(async () => {
  await snapshots.close();
  await database.drop();
});

const taken = (revision: number, more: Partial<StreamSnapshot> = {}): StreamSnapshot => ({
  stream: 'version-1',
  schema: 'a',
  revision,
  eventId: randomUUID(),
  position: 2n ** 60n,
  state: { comments: { $kind: 'persistentMap', of: [['c', { text: 'ümlaut 🎬' }]] } },
  commands: [[randomUUID(), 'hash', revision, '7']],
  ...more,
});

it('keeps what it was given, and only for the build that took it', async () => {
  const snapshot = taken(9);
  expect(await snapshots.load('version-1', 'a')).toBeUndefined();
  await snapshots.save(snapshot);
  expect(await snapshots.load('version-1', 'a')).toEqual(snapshot);
  expect(await snapshots.load('version-1', 'b')).toBeUndefined();
});

it('keeps the latest of one build, and gives way to another build', async () => {
  const [early, late, other] = [taken(5), taken(9), taken(3, { schema: 'b' })];
  await Promise.all([snapshots.save(late), snapshots.save(early)]);
  await snapshots.save(early);
  expect(await snapshots.load('version-1', 'a')).toEqual(late);
  await snapshots.save(other);
  expect(await snapshots.load('version-1', 'b')).toEqual(other);
  expect(await snapshots.load('version-1', 'a')).toBeUndefined();
});

it('is made again after somebody dropped it', async () => {
  await snapshots.save(taken(1));
  const pool = createPool(database.url, { max: 1 });
  await pool.query('DROP SCHEMA snapshot CASCADE');
  await pool.end();
  await expect(snapshots.load('version-1', 'a')).rejects.toThrow();
  expect(errors).toHaveLength(1);
  await snapshots.save(taken(2));
  expect((await snapshots.load('version-1', 'a'))?.revision).toBe(2);
});
