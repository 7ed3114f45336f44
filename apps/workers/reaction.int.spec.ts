import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import { LogUnavailable } from '#libs/events/log/index.js';
import { type Jobs, openJobs } from '#libs/jobs/index.js';
import { createPool } from '#libs/postgres/index.js';
import { happened, MemoryLog, uid } from '../projector/story.fixture.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { NotYet, type Reaction, type ReactionTools, runReaction } from './reaction.js';

let database: TestDatabase;
let jobs: Jobs;
let log: MemoryLog;
let abort: AbortController;
let running: Promise<void>;
let logged: { level: string; message: string }[];
/** Persons reacted to, in order. */
let done: string[];
/** What reacting to a person meets. */
let trouble: Map<string, () => void>;

const NAMES = ['a', 'b', 'c', 'd'] as const;
const [a, b, c, d] = NAMES.map((name) => uid(name)) as [string, string, string, string];

beforeEach(async () => {
  database = await testDatabase();
  jobs = await openJobs({ databaseUrl: database.url });
  log = new MemoryLog();
  abort = new AbortController();
  logged = [];
  done = [];
  trouble = new Map();
  running = Promise.resolve();
});
afterEach(async () => {
  await stop();
  await jobs.close();
  await database.drop();
});

const reaction = (more: Partial<Reaction> = {}): Reaction => ({
  name: 'greet',
  types: ['UserRegistered', 'UserDeactivated'],
  react: (event) => {
    const { userId } = event.data as { userId: string };
    trouble.get(userId)?.();
    done.push(event.type === 'UserRegistered' ? userId : `${event.type} ${userId}`);
    return Promise.resolve();
  },
  ...more,
});
function start(of: Reaction): void {
  const tell = (level: string) => (_details: object, message: string) => logged.push({ level, message });
  const logger = { info: tell('info'), warn: tell('warn'), error: tell('error') };
  abort = new AbortController();
  running = runReaction(of, log, { jobs, logger } as unknown as ReactionTools, abort.signal);
}
async function stop(): Promise<void> {
  abort.abort();
  await running;
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 15_000; !(await condition()); await sleep(10))
    if (Date.now() > end) throw new Error(`waited in vain; ${JSON.stringify({ done, logged })}`);
}
const fail = () => {
  throw new Error('no');
};
const register = (...persons: string[]) =>
  log.write(...persons.map((userId) => happened('UserRegistered', { userId })));
const parked = async () => (await jobs.parked.list()).map(({ state, stream }) => `${state} ${stream}`);

it('parks an event that fails, with its error, and goes on with the others', async () => {
  trouble.set(b, fail);
  register(a, b, c);
  start(reaction());
  await until(() => done.length === 2);
  expect(done).toEqual([a, c]);
  expect(await jobs.parked.list()).toMatchObject([
    { reaction: 'greet', state: 'PARKED', stream: `user-${b}`, eventType: 'UserRegistered', error: 'no', attempts: 5 },
  ]);
  expect(await jobs.parked.counts()).toEqual(new Map([['greet', 1]]));
  expect(logged.filter(({ level }) => level === 'error')).toHaveLength(1);
  // The checkpoint is past it: a restart does not stop there again.
  expect(await jobs.checkpoint.load('greet')).toBe(log.last);

  trouble.clear();
  const { position } = (await jobs.parked.list())[0]!;
  expect(await jobs.parked.retry('greet', position)).toBe(true);
  await until(() => done.length === 3);
  expect(done[2]).toBe(b);
  await until(async () => (await jobs.parked.list()).length === 0);
  expect(await jobs.parked.retry('greet', position)).toBe(false);
});

it('tries a parked event again by itself, ever more seldom', async () => {
  trouble.set(a, fail);
  register(a);
  start(reaction());
  await until(async () => (await jobs.parked.list()).length === 1);
  const wait = async () => {
    const { retryAt } = (await jobs.parked.list())[0]!;
    return Math.round((retryAt!.getTime() - Date.now()) / 10_000) * 10;
  };
  expect(await wait()).toBe(10);
  const due = createPool(database.url, { max: 1 });
  await due.query(`UPDATE jobs.parked_reaction SET retry_at = clock_timestamp()`);
  await until(async () => (await jobs.parked.list())[0]!.attempts === 6);
  expect(await wait()).toBe(20);
  trouble.clear();
  await due.query(`UPDATE jobs.parked_reaction SET retry_at = clock_timestamp()`);
  await due.end();
  await until(() => done.length === 1);
});

it('where order matters what follows waits, and nothing else does', async () => {
  trouble.set(a, fail);
  const ordered = reaction({ inOrder: (event) => (event.data as { userId: string }).userId });
  register(a, b);
  log.write(happened('UserDeactivated', { userId: a }));
  start(ordered);
  await until(async () => (await parked()).length === 2);
  register(c);
  await until(() => done.includes(c));
  expect(done).toEqual([b, c]);
  expect(await parked()).toEqual([`PARKED user-${a}`, `WAITING user-${a}`]);

  // Also after a restart.
  await stop();
  start(ordered);
  log.write(happened('UserReactivated', { userId: a }), happened('UserDeactivated', { userId: a }));
  register(d);
  await until(() => done.includes(d));
  expect((await parked()).slice(1)).toEqual([`WAITING user-${a}`, `WAITING user-${a}`]);

  trouble.clear();
  const { position } = (await jobs.parked.list())[0]!;
  await jobs.parked.retry('greet', position);
  await until(() => done.length === 6);
  expect(done.slice(3)).toEqual([a, `UserDeactivated ${a}`, `UserDeactivated ${a}`]);
  await until(async () => (await parked()).length === 0);
});

it('what is skipped stays out, and what waited for it goes on', async () => {
  trouble.set(a, fail);
  register(a);
  log.write(happened('UserDeactivated', { userId: a }));
  start(reaction({ inOrder: () => 'all' }));
  await until(async () => (await parked()).length === 2);
  const [first, second] = (await jobs.parked.list()).map(({ position }) => position);
  expect(await jobs.parked.skip('greet', second!, 'only waits')).toBe(false);
  trouble.clear();
  expect(await jobs.parked.skip('greet', first!, 'written by hand')).toBe(true);
  await until(() => done.length === 1);
  expect(done).toEqual([`UserDeactivated ${a}`]);
  await until(async () => (await parked()).length === 1);
  expect(await jobs.parked.list()).toMatchObject([{ state: 'SKIPPED', reason: 'written by hand' }]);
  expect(await jobs.parked.counts()).toEqual(new Map());
});

it('an event that this build cannot read is parked at once if it is of its types, and passes by if not', async () => {
  register(a, b, c);
  const unreadable = new Error('version 9 was written by a newer Picturelock');
  Object.assign(log.events[0]!, { unreadable, data: undefined } satisfies Partial<RecordedEvent>);
  Object.assign(log.events[1]!, { unreadable, data: undefined, type: 'UserTeleported' });
  start(reaction());
  await until(() => done.length === 1);
  expect(done).toEqual([c]);
  expect(await jobs.parked.list()).toMatchObject([{ stream: `user-${a}`, attempts: 1, error: unreadable.message }]);
});

it('while something that all depend on is away it waits, and parks nothing', async () => {
  const outages = [
    new LogUnavailable('down'),
    new NotYet('soon'),
    Object.assign(new Error('the server shuts down'), { code: '57P01' }),
    new Error('Connection terminated unexpectedly'),
    Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }),
  ];
  trouble.set(a, () => {
    const next = outages.shift();
    if (next) throw next;
  });
  register(a, b);
  start(reaction());
  await until(() => done.length === 2);
  expect(done).toEqual([a, b]);
  expect(await jobs.parked.list()).toEqual([]);
  expect(logged.some(({ level }) => level === 'error')).toBe(false);
});
