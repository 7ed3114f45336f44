import { UnavailableError } from '@kurrent/kurrentdb-client';
import { fork } from 'node:child_process';
import { randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { testDatabase } from '../../test/support/database.js';
import { clientOf, collect, event, forkStore, type StoreProcess } from './eventstore.fixture.js';

/** Rounds of kill -9; more by environment. A failing run names its seed, which repeats its moments. */
const ROUNDS = Number(process.env['EVENTSTORE_KILL_ROUNDS'] ?? 10);
const SEED = Number(process.env['EVENTSTORE_KILL_SEED'] ?? randomInt(2 ** 31));

/** mulberry32: a small seeded generator of numbers in [0, 1). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Acknowledged = { stream: string; revision: bigint; position: bigint };

it(`an acknowledged append survives kill -9 (seed ${SEED})`, async () => {
  const database = await testDatabase();
  const random = randomOf(SEED);
  const acknowledged = new Map<string, Acknowledged>();
  const attempted = new Set<string>();
  const heads = new Map<string, bigint>();
  let store: StoreProcess = await forkStore(database.url);
  for (let round = 0; round < ROUNDS; round++) {
    const client = clientOf(store.port);
    let killed = false;
    const worker = async (stream: string) => {
      let head = heads.get(stream);
      while (!killed) {
        const batch = Array.from({ length: 1 + Math.floor(random() * 3) }, (_, n) => ({
          ...event(n),
          id: randomUUID(),
        }));
        for (const { id } of batch) attempted.add(id);
        try {
          // Half of them expect an exact revision, half any.
          const streamState = random() < 0.5 ? (head ?? 'no_stream') : 'any';
          const result = await client.appendToStream(stream, batch, { streamState });
          head = result.nextExpectedRevision;
          const first = head - BigInt(batch.length - 1);
          const position = result.position!.commit - BigInt(batch.length - 1);
          for (const [n, { id }] of batch.entries()) {
            acknowledged.set(id, { stream, revision: first + BigInt(n), position: position + BigInt(n) });
          }
        } catch (error) {
          if (!killed) throw error;
        }
      }
    };
    const workers = Array.from({ length: 8 }, (_, n) => worker(`kill-${n}`));
    await sleep(20 + random() * 250);
    killed = true;
    const exited = once(store.process, 'exit');
    store.process.kill('SIGKILL');
    await exited;
    // A call that was under way may never hear of the end of its connection; disposing ends it.
    await Promise.race([Promise.all(workers), sleep(200)]);
    await client.dispose();

    store = await forkStore(database.url);
    const reader = clientOf(store.port);
    const log = await collect(reader.readAll());
    expect(log.map((e) => Number(e.position!.commit))).toEqual(log.map((_, n) => n + 1));
    const byId = new Map(log.map((e) => [e.id, e]));
    expect(byId.size).toBe(log.length);
    for (const [id, expected] of acknowledged) {
      const found = byId.get(id);
      expect(found && { stream: found.streamId, revision: found.revision, position: found.position!.commit }).toEqual(
        expected,
      );
    }
    heads.clear();
    for (const e of log) {
      expect(attempted).toContain(e.id);
      expect(e.revision).toBe((heads.get(e.streamId) ?? -1n) + 1n);
      heads.set(e.streamId, e.revision);
    }
    await reader.dispose();
  }
  store.process.kill('SIGTERM');
  expect((await once(store.process, 'exit'))[0]).toBe(0);
  expect(acknowledged.size).toBeGreaterThan(ROUNDS * 10);
  await database.drop();
}, 240_000);

describe('the process', () => {
  it('ends cleanly when its launcher is gone', async () => {
    const database = await testDatabase();
    const store = await forkStore(database.url);
    const exited = once(store.process, 'exit');
    store.process.disconnect();
    expect(await exited).toEqual([0, null]);
    // The database is free again.
    const next = await forkStore(database.url);
    next.process.kill('SIGINT');
    expect((await once(next.process, 'exit'))[0]).toBe(0);
    await database.drop();
  });

  it('names the variable when settings are wrong', async () => {
    const child = fork(fileURLToPath(new URL('./main.ts', import.meta.url)), {
      execArgv: ['--no-warnings', '--import', new URL('../../scripts/typescript.mjs', import.meta.url).href],
      env: { PATH: process.env['PATH'] },
      silent: true,
    });
    let stderr = '';
    child.stderr!.on('data', (text) => (stderr += text));
    expect((await once(child, 'exit'))[0]).toBe(2);
    expect(stderr).toContain('EVENTSTORE_SETTINGS_INVALID');
    expect(stderr).toContain('EVENTSTORE_DATABASE_URL');
  });

  it('tells clients of its end', async () => {
    const database = await testDatabase();
    const store = await forkStore(database.url);
    const client = clientOf(store.port);
    await client.appendToStream('a-1', event(0));
    const subscription = client.subscribeToAll();
    subscription.resume();
    const ended = once(subscription, 'error');
    await once(subscription, 'caughtUp');
    store.process.kill('SIGTERM');
    await once(store.process, 'exit');
    const [error] = (await ended) as [unknown];
    expect(error).toBeInstanceOf(UnavailableError);
    // The stock client can't ask for the server's features either and passes gRPC's own error on.
    await expect(client.appendToStream('a-1', event(1))).rejects.toMatchObject({ code: 14 });
    await client.dispose();
    await database.drop();
  });
});
