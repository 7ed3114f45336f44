import { persistentSubscriptionToStreamSettingsFromDefaults, UnavailableError } from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { Cable, clientOf, collect, event, events, startTestStore, until } from './eventstore.fixture.js';
import { startEventStoreServer } from './server.js';
import { connect, migrate } from './storage/database.js';
import { MIGRATIONS } from './storage/migrations.js';

let database: TestDatabase;
beforeEach(async () => {
  database = await testDatabase();
});
afterEach(() => database.drop());

async function query(sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(database.url);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('starting', () => {
  it('needs a Postgres that keeps what it acknowledged', async () => {
    const settings = await query(
      "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') ORDER BY 1",
    );
    expect(settings).toEqual([
      { name: 'fsync', setting: 'on' },
      { name: 'full_page_writes', setting: 'on' },
      { name: 'synchronous_commit', setting: 'on' },
    ]);
    await query(`ALTER DATABASE ${new URL(database.url).pathname.slice(1)} SET synchronous_commit = off`);
    await expect(startEventStoreServer({ databaseUrl: database.url })).rejects.toMatchObject({
      code: 'EVENTSTORE_DATABASE_NOT_DURABLE',
      message: expect.stringContaining('synchronous_commit = off'),
    });
  });

  it('refuses a database of a newer version, and leaves it as it was', async () => {
    const client = await connect(database.url);
    await migrate(client, [...MIGRATIONS, 'CREATE TABLE eventstore.of_tomorrow ()']);
    await client.end();
    await expect(startEventStoreServer({ databaseUrl: database.url })).rejects.toMatchObject({
      code: 'EVENTSTORE_DATABASE_NEWER',
    });
    expect(await query('SELECT version FROM eventstore.schema_version')).toEqual([{ version: MIGRATIONS.length + 1 }]);
  });

  it('refuses a database that another server serves, and takes it over when that one ends', async () => {
    const first = await startEventStoreServer({ databaseUrl: database.url });
    await expect(startEventStoreServer({ databaseUrl: database.url, lockWaitMs: 100 })).rejects.toMatchObject({
      code: 'EVENTSTORE_DATABASE_IN_USE',
    });
    const second = startEventStoreServer({ databaseUrl: database.url, lockWaitMs: 10_000 });
    await first.close();
    await (await second).close();
  });

  it('refuses a Postgres that is not there and a port that is taken', async () => {
    await expect(startEventStoreServer({ databaseUrl: 'postgres://x@127.0.0.1:1/x' })).rejects.toMatchObject({
      code: 'EVENTSTORE_DATABASE_UNREACHABLE',
    });
    const first = await startEventStoreServer({ databaseUrl: database.url });
    const other = await testDatabase();
    await expect(startEventStoreServer({ databaseUrl: other.url, port: first.port })).rejects.toMatchObject({
      code: 'EVENTSTORE_PORT_UNAVAILABLE',
    });
    await first.close();
    await other.drop();
  });

  it('goes on where it was', async () => {
    const first = await startEventStoreServer({ databaseUrl: database.url });
    const one = clientOf(first.port);
    const repeated = event(0);
    await one.appendToStream('a-1', [repeated, event(1)]);
    await one.setStreamMetadata('a-1', { maxCount: 5 });
    await one.dispose();
    await first.close();

    const second = await startEventStoreServer({ databaseUrl: database.url });
    const two = clientOf(second.port);
    // The recent ids are known again, so a repeat with any is still a repeat.
    expect(await two.appendToStream('a-1', repeated)).toMatchObject({ nextExpectedRevision: 0n });
    expect(await two.appendToStream('a-1', event(2), { streamState: 1n })).toMatchObject({
      nextExpectedRevision: 2n,
      position: { commit: 4n, prepare: 4n },
    });
    expect((await two.getStreamMetadata('a-1')).metadata).toEqual({ maxCount: 5 });
    await two.dispose();
    await second.close();
  });
});

describe('the table', () => {
  it('can be read by a person', async () => {
    const server = await startEventStoreServer({ databaseUrl: database.url });
    const client = clientOf(server.port);
    await client.appendToStream('a-1', event(5));
    expect(
      await query('SELECT position, stream, revision, type, data::jsonb AS data FROM eventstore.readable_events'),
    ).toEqual([{ position: '1', stream: 'a-1', revision: '0', type: 'Happened', data: { n: 5 } }]);
    await client.dispose();
    await server.close();
  });
});

describe('when Postgres goes away', () => {
  it('appends fail as unavailable and nothing is lost or doubled when it is back', async () => {
    const cable = await Cable.to(database.url);
    const server = await startEventStoreServer({ databaseUrl: cable.url });
    const client = clientOf(server.port);
    await client.appendToStream('a-1', events(3));
    const live: bigint[] = [];
    const subscription = client.subscribeToStream('a-1');
    subscription.on('data', ({ event: e }) => e && live.push(e.revision));
    await until(() => live.length === 3, 'the first events');

    cable.cut();
    await expect(client.appendToStream('a-1', event(3))).rejects.toThrow(UnavailableError);
    const health = () => fetch(`http://127.0.0.1:${server.httpPort}/health/ready`);
    expect((await health()).status).toBe(503);
    expect((await fetch(`http://127.0.0.1:${server.httpPort}/health/live`)).status).toBe(200);

    cable.mend();
    await until(async () => (await health()).status === 200, 'the writer to come back');
    expect(await client.appendToStream('a-1', event(4), { streamState: 2n })).toMatchObject({
      nextExpectedRevision: 3n,
    });
    expect((await collect(client.readStream('a-1'))).map((e) => e.revision)).toEqual([0n, 1n, 2n, 3n]);
    await client.dispose();
    await server.close();
    await cable.close();
  });

  it('a commit whose answer was lost is found again, and subscribers get it once', async () => {
    const cable = await Cable.to(database.url);
    const server = await startEventStoreServer({ databaseUrl: cable.url });
    const client = clientOf(server.port);
    await client.appendToStream('a-1', event(0));
    const direct = clientOf(server.port);
    const live: bigint[] = [];
    const all = direct.subscribeToAll();
    all.on('data', ({ event: e }) => e && live.push(e.position.commit));
    const stream: bigint[] = [];
    const one = direct.subscribeToStream('a-1');
    one.on('data', ({ event: e }) => e && stream.push(e.revision));
    await until(() => live.length === 1 && stream.length === 1, 'the first event');

    cable.muteAnswers();
    const lost = event(1);
    const attempt = client.appendToStream('a-1', lost, { streamState: 0n });
    await until(async () => (await query('SELECT FROM eventstore.events')).length === 2, 'the commit');
    cable.cut();
    await expect(attempt).rejects.toThrow(UnavailableError);
    cable.mend();
    await until(
      async () => (await fetch(`http://127.0.0.1:${server.httpPort}/health/ready`)).status === 200,
      'the writer to come back',
    );
    // The caller repeats what it doesn't know the outcome of.
    const again = clientOf(server.port);
    expect(await again.appendToStream('a-1', lost, { streamState: 0n })).toMatchObject({
      nextExpectedRevision: 1n,
      position: { commit: 2n, prepare: 2n },
    });
    await again.appendToStream('a-1', event(2), { streamState: 1n });
    await until(() => live.length >= 3 && stream.length >= 3, 'all events');
    expect(live).toEqual([1n, 2n, 3n]);
    expect(stream).toEqual([0n, 1n, 2n]);
    await Promise.all([client.dispose(), direct.dispose(), again.dispose()]);
    await server.close();
    await cable.close();
  });

  it('appends that it refuses fail at once, and the next ones go on', async () => {
    const server = await startEventStoreServer({ databaseUrl: database.url });
    const client = clientOf(server.port);
    await client.appendToStream('a-1', event(0));
    await query("ALTER TABLE eventstore.events ADD CHECK (type <> 'Refused')");
    const start = performance.now();
    await expect(client.appendToStream('a-1', event(1, 'Refused'))).rejects.toThrow(UnavailableError);
    // Far below the 30 s after which a Postgres that says nothing is taken for gone.
    expect(performance.now() - start).toBeLessThan(15_000);
    await until(
      async () => (await fetch(`http://127.0.0.1:${server.httpPort}/health/ready`)).status === 200,
      'the writer to come back',
    );
    const again = clientOf(server.port);
    await again.appendToStream('a-1', event(2), { streamState: 0n });
    expect((await collect(again.readStream('a-1'))).map((e) => e.data)).toEqual([{ n: 0 }, { n: 2 }]);
    await Promise.all([client.dispose(), again.dispose()]);
    await server.close();
  });

  it('survives that its sessions are ended', async () => {
    const server = await startEventStoreServer({ databaseUrl: database.url });
    let client = clientOf(server.port);
    const written = new Set<string>();
    for (let round = 0; round < 3; round++) {
      const batch = Array.from({ length: 40 }, (_, n) => ({ ...event(n), id: randomUUID() }));
      const appends = batch.map((e) =>
        client.appendToStream('a-1', e).then(
          () => written.add(e.id),
          () => undefined,
        ),
      );
      await query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'eventstore-%' AND datname = current_database()",
      );
      await Promise.all(appends);
      await until(
        async () => (await fetch(`http://127.0.0.1:${server.httpPort}/health/ready`)).status === 200,
        'the writer to come back',
      );
      await client.dispose();
      client = clientOf(server.port);
    }
    const read = await collect(client.readStream('a-1'));
    expect(read.map((e) => Number(e.revision))).toEqual(read.map((_, n) => n));
    const ids = read.map((e) => e.id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of written) expect(ids).toContain(id);
    await client.dispose();
    await server.close();
  });
});

describe('bad input', () => {
  it('leaves the server alive', async () => {
    const store = await startTestStore();
    const { client } = store;
    for (const name of ['\0', 'x'.repeat(2_000), '$$$$x', '$$']) {
      await expect(client.appendToStream(name, event(0))).rejects.toThrow();
      await expect(
        client.appendToStream(name, event(0), { credentials: { username: 'a', password: 'b' } }),
      ).rejects.toMatchObject({ code: 3 });
    }
    await expect(client.appendToStream('a-1', event(0, 'nul\0'))).rejects.toThrow();
    const group = persistentSubscriptionToStreamSettingsFromDefaults();
    for (const [source, name] of [
      ['a\0', 'g'],
      ['a-1', 'g\0'],
      ['a'.repeat(1_000), 'g'.repeat(1_000)],
    ] as const)
      await expect(client.createPersistentSubscriptionToStream(source, name, group)).rejects.toMatchObject({ code: 3 });
    await expect(client.appendToStream('a-1', event(0, ''))).rejects.toThrow();
    await client.appendToStream('a-1', event(0));
    await store.close();
  });
});
