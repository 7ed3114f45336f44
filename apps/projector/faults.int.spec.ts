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

const ROUNDS = Number(process.env.PROJECTOR_KILLS ?? 5);

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

it(`survives ${ROUNDS} kill -9 at random moments: rows equal a clean rebuild`, async () => {
  let writing = true;
  let written = 0;
  const writer = (async () => {
    let last = await write(relay());
    while (writing) {
      const events = [...crowd(400, 5)].filter(
        ({ event }) => !['OrganisationCreated', 'ProjectCreated'].includes(event.type),
      );
      for (let i = 0; i < events.length && writing; i += 20) {
        last = await write(events.slice(i, i + 20));
        written += 20;
      }
    }
    return last;
  })();
  const pool = createPool(database.url, { max: 1 });
  const checkpoints: string[] = [];
  const position = async (): Promise<string> => {
    const { rows } = await pool.query<{ position: string }>(
      `SELECT position FROM projection.checkpoint WHERE name = 'review'`,
    );
    return rows[0]!.position;
  };
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const child = forkProjector();
      const gone = once(child, 'exit');
      await Promise.race([
        once(child, 'message'),
        gone.then(() => Promise.reject(new Error('the projector ended by itself'))),
      ]);
      // It is at work: somewhere in the next moments there is a transaction to interrupt.
      const before = await position();
      while ((await position()) === before) await sleep(5);
      await sleep(Math.random() * 300);
      child.kill('SIGKILL');
      await gone;
      checkpoints.push(await position());
    }
  } finally {
    writing = false;
    await pool.end();
  }
  const last = await writer;
  expect(written).toBeGreaterThan(0);
  // The kills came while there was progress to interrupt.
  expect(new Set(checkpoints).size).toBe(ROUNDS);

  const projector = startProjector({ log, url: database.url });
  await projector.reached(last);
  await projector.stop();
  expect(await verifyReadModels({ log, url: database.url })).toEqual({ equal: true, different: [] });
}, 180_000);
