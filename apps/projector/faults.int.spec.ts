import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEventLog, type EventLog } from '#libs/events/log/index.js';
import { createPool } from '#libs/postgres/index.js';
import { startTestStore, type TestStore } from '../eventstore/eventstore.fixture.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import { startProjector } from './projector.js';
import { verifyReadModels } from './rebuild.js';
import { crowd, relay, type Written } from './story.fixture.js';

let store: TestStore;
let database: TestDatabase;
let url: string;
let log: EventLog;
const plain = (_: string, text: string): Promise<string> => Promise.resolve(text);
beforeAll(async () => {
  store = await startTestStore();
  database = await testDatabase();
  url = `kurrentdb://127.0.0.1:${store.server.port}?tls=false`;
  log = openEventLog({ url, cipher: { encrypt: plain, decrypt: plain } });
  await write(relay());
}, 60_000);
afterAll(async () => {
  await log.close();
  await store.close();
  await database.drop();
}, 60_000);

function forkProjector(): ChildProcess {
  return fork(fileURLToPath(new URL('./projector.fixture.ts', import.meta.url)), [url, database.url], {
    execArgv: ['--no-warnings', '--import', new URL('../../scripts/typescript.mjs', import.meta.url).href],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
}

/** Appends in order, several events of one stream at a time. */
async function write(events: Iterable<Written>): Promise<bigint> {
  let position = 0n;
  for (const { stream, event } of events) {
    const result = await log.append(stream, [event], 'any');
    if (result.ok) position = result.position;
  }
  return position;
}

it('one takes over from another that is killed, or shows no sign of life; that one can do no harm when it is back', async () => {
  let writing = true;
  const writer = (async () => {
    let last = 0n;
    while (writing)
      for (const event of [...crowd(60, 2)].filter(
        ({ event: { type } }) => !/^(Organisation|Project)Created$/.test(type),
      ))
        if (writing) last = await write([event]);
    return last;
  })();
  const pool = createPool(database.url, { max: 1 });
  const leaders = async (): Promise<Set<number>> => {
    const { rows } = await pool.query<{ backend: number }>(`SELECT backend FROM projection.leader ORDER BY name`);
    return new Set(rows.map(({ backend }) => backend));
  };
  const others = (some: Set<number>, than: Set<number>): boolean => [...some].every((backend) => !than.has(backend));
  const children: ChildProcess[] = [];
  const forked = async (): Promise<{ child: ChildProcess; leads: Promise<unknown> }> => {
    const child = forkProjector();
    children.push(child);
    const leads = once(child, 'message');
    leads.catch(() => undefined);
    await once(child, 'spawn');
    return { child, leads };
  };
  try {
    const first = await forked();
    await first.leads;
    const second = await forked();
    const before = await leaders();
    first.child.kill('SIGKILL');
    await second.leads;
    const after = await leaders();
    expect(others(after, before)).toBe(true);

    const third = await forked();
    second.child.kill('SIGSTOP');
    await third.leads;
    expect(others(await leaders(), after)).toBe(true);
    const position = async (): Promise<bigint> => {
      const { rows } = await pool.query<{ least: string }>('SELECT min(position) AS least FROM projection.checkpoint');
      return BigInt(rows[0]!.least);
    };
    const taken = await position();
    second.child.kill('SIGCONT');
    while ((await position()) <= taken) await sleep(20);
    // The one that was stopped stands by now, and leads again when it has to.
    const gone = once(third.child, 'exit');
    third.child.kill('SIGKILL');
    await gone;
    const now = await position();
    while ((await position()) <= now) await sleep(20);
  } finally {
    writing = false;
    await pool.end();
    await Promise.all(
      children
        .filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
        .map(async (child) => {
          const exit = once(child, 'exit');
          child.kill('SIGKILL');
          await exit;
        }),
    );
  }
  const last = await writer;
  const projector = startProjector({ log, url: database.url });
  await projector.reached(last);
  await projector.stop();
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: true, different: [] });
}, 180_000);
