import { setTimeout as sleep } from 'node:timers/promises';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import { createPool, ensureDatabase, Listener, migrate, type Pool, withTransaction } from './index.js';

let database: TestDatabase;
let pool: Pool;
beforeAll(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { applicationName: 'client spec', max: 4 });
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

async function until(condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 10_000; !condition(); await sleep(10)) {
    if (Date.now() > end) throw new Error('waited 10 s in vain');
  }
}

describe('withTransaction', () => {
  beforeAll(() => pool.query('CREATE TABLE rows (n int PRIMARY KEY)'));
  beforeEach(() => pool.query('TRUNCATE rows'));
  const count = async (): Promise<number> =>
    (await pool.query<{ n: number }>('SELECT count(*)::int AS n FROM rows')).rows[0]!.n;

  it('commits', async () => {
    expect(
      await withTransaction(pool, async (client) => (await client.query('INSERT INTO rows VALUES (1)')).rowCount),
    ).toBe(1);
    expect(await count()).toBe(1);
  });

  it('rolls back and throws on', async () => {
    const attempt = withTransaction(pool, async (client) => {
      await client.query('INSERT INTO rows VALUES (1)');
      throw new Error('second thoughts');
    });
    await expect(attempt).rejects.toThrow('second thoughts');
    expect(await count()).toBe(0);
    expect(pool.totalCount).toBe(pool.idleCount);
  });

  it('does not claim success when a swallowed error turned COMMIT into ROLLBACK', async () => {
    const attempt = withTransaction(pool, async (client) => {
      await client.query('INSERT INTO rows VALUES (1)');
      await client.query('SELECT 1/0').catch(() => undefined);
    });
    await expect(attempt).rejects.toThrow('rolled back');
    expect(await count()).toBe(0);
  });

  it('survives the loss of its connection, and so does the pool', async () => {
    const attempt = withTransaction(pool, async (client) => {
      await client.query('INSERT INTO rows VALUES (1)');
      await client.query('SELECT pg_terminate_backend(pg_backend_pid())');
    });
    await expect(attempt).rejects.toThrow();
    expect(await count()).toBe(0);
  });
});

describe('createPool', () => {
  it('limits statements and names itself', async () => {
    const short = createPool(database.url, { statementTimeoutMs: 50, applicationName: 'short' });
    try {
      await expect(short.query('SELECT pg_sleep(5)')).rejects.toMatchObject({ code: '57014' });
      expect((await short.query('SHOW application_name')).rows).toEqual([{ application_name: 'short' }]);
    } finally {
      await short.end();
    }
  });

  it('reports broken idle connections and replaces them', async () => {
    const errors: Error[] = [];
    const idle = createPool(database.url, { applicationName: 'idle spec', onError: (error) => errors.push(error) });
    try {
      await idle.query('SELECT 1');
      await pool.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idle spec'`);
      await until(() => errors.length > 0);
      expect((await idle.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    } finally {
      await idle.end();
    }
  });
});

describe('ensureDatabase', () => {
  it('makes one database for many askers', async () => {
    const url = new URL(database.url);
    url.pathname = `${url.pathname}_ensured`;
    await Promise.all(Array.from({ length: 5 }, () => ensureDatabase(url.toString())));
    await pool.query(`DROP DATABASE ${url.pathname.slice(1)} WITH (FORCE)`);
  });

  it('refuses an encoding that can not hold every name', async () => {
    const url = new URL(database.url);
    url.pathname = `${url.pathname}_ascii`;
    const name = url.pathname.slice(1);
    await pool.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'`);
    await expect(ensureDatabase(url.toString())).rejects.toMatchObject({ code: 'POSTGRES_WRONG_ENCODING' });
    await pool.query(`DROP DATABASE ${name} WITH (FORCE)`);
  });
});

describe('migrate', () => {
  const one = { version: 1, name: 'takes', up: 'CREATE TABLE takes (n int); INSERT INTO takes VALUES (1)' };
  const two = { version: 2, name: 'slate', up: 'ALTER TABLE takes ADD COLUMN slate text' };

  it('goes forward step by step, once, however many start at the same time', async () => {
    const results = await Promise.all(Array.from({ length: 4 }, () => migrate(pool, 'forward', [one])));
    expect(results.map(({ from }) => from).sort()).toEqual([0, 1, 1, 1]);
    expect(await migrate(pool, 'forward', [one, two])).toEqual({ from: 1, to: 2 });
    expect((await pool.query('SELECT * FROM forward.takes')).rows).toEqual([{ n: 1, slate: null }]);
  });

  it('applies all or nothing', async () => {
    const broken = { version: 2, name: 'broken', up: 'ALTER TABLE nowhere ADD COLUMN x int' };
    await expect(migrate(pool, 'nothing', [one, broken])).rejects.toMatchObject({ code: '42P01' });
    expect((await pool.query(`SELECT to_regnamespace('nothing') AS there`)).rows).toEqual([{ there: null }]);
  });

  it('refuses a newer schema, a changed step and a gap', async () => {
    await migrate(pool, 'newer', [one, two]);
    await expect(migrate(pool, 'newer', [one])).rejects.toMatchObject({ code: 'SCHEMA_NEWER' });
    await expect(migrate(pool, 'newer', [{ ...one, up: 'SELECT 1' }, two])).rejects.toMatchObject({
      code: 'SCHEMA_CHANGED',
    });
    await expect(migrate(pool, 'gap', [two])).rejects.toThrow(RangeError);
  });
});

describe('Listener', () => {
  it('hears, ticks, reconnects after its connection is cut and ends', async () => {
    const heard: string[] = [];
    const errors: Error[] = [];
    let connections = 0;
    let ticks = 0;
    const listener = new Listener({
      url: database.url,
      channels: ['Changes'],
      applicationName: 'listener spec',
      tickMs: 20,
      onNotification: (channel, payload) => heard.push(`${channel} ${payload}`),
      onReconnect: () => void connections++,
      onTick: () => {
        ticks++;
        if (ticks === 2) throw new Error('a tick that fails is followed by others');
      },
      onError: (error) => errors.push(error),
    });
    await listener.start();
    expect(connections).toBe(1);
    await pool.query(`SELECT pg_notify('Changes', '1')`);
    await until(() => heard.length === 1);
    await pool.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener spec'`);
    await until(() => connections === 2);
    await pool.query(`SELECT pg_notify('Changes', '2')`);
    await until(() => heard.length === 2 && ticks > 3);
    expect(heard).toEqual(['Changes 1', 'Changes 2']);
    expect(errors.map(({ message }) => message)).toContain('a tick that fails is followed by others');

    await listener.stop();
    const before = ticks;
    await sleep(60);
    expect(ticks).toBe(before);
    expect(listener.connected).toBe(false);
  });

  it('keeps ticking and can be stopped while there is no server', async () => {
    let ticks = 0;
    const listener = new Listener({
      url: 'postgres://nobody@127.0.0.1:1/none',
      channels: ['x'],
      tickMs: 10,
      onTick: () => void ticks++,
    });
    const started = listener.start();
    await until(() => ticks > 2);
    await listener.stop();
    await started;
  });
});
