import { type ChildProcess, fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { PostgresError } from './errors.js';
import { isAlive } from './pid-file.js';
import { type EmbeddedPostgres, startPostgres } from './server.js';

const here = dirname(fileURLToPath(import.meta.url));
const isRoot = process.getuid?.() === 0;
const cheap = { shared_buffers: '32MB' };

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folder(mode = 0o711): string {
  const dir = mkdtempSync(join(tmpdir(), 'picturelock-pg-'));
  chmodSync(dir, mode);
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function start(options: Parameters<typeof startPostgres>[0]): Promise<EmbeddedPostgres> {
  const server = await startPostgres({ settings: cheap, ...options });
  cleanups.push(() => server.stop());
  return server;
}

async function query<T extends pg.QueryResultRow>(url: string, sql: string): Promise<T[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<T>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Starts a server from a launcher process of its own, so that the launcher can be killed. */
async function launcher(
  dataDir: string,
  options: { env?: NodeJS.ProcessEnv; uid?: number; gid?: number } = {},
): Promise<{ process: ChildProcess; pid: number; url: string; clusterDir: string }> {
  const child = fork(join(here, 'server.fixture.ts'), [dataDir], {
    execArgv: ['--import', join(here, '..', '..', 'scripts', 'typescript.mjs')],
    cwd: '/',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    ...options,
  });
  cleanups.push(() => void child.kill('SIGTERM'));
  const [message] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => [{ error: `launcher ended with ${code}` }]),
  ])) as [{ pid: number; url: string; clusterDir: string; error?: string }];
  if (message.error) throw new Error(message.error);
  return { process: child, ...message };
}

describe('startPostgres', () => {
  it('makes a durable UTF-8 cluster and keeps its data, port and password', async () => {
    const dataDir = folder();
    const first = await startPostgres({ dataDir, settings: cheap });
    await first.createDatabase('studio');
    await first.createDatabase('studio'); // again is fine
    const rows = await query<{ setting: string }>(
      first.url('studio'),
      `SELECT name || '=' || setting AS setting FROM pg_settings
       WHERE name IN ('fsync','synchronous_commit','full_page_writes','server_encoding','data_checksums','listen_addresses')
       ORDER BY name`,
    );
    expect(rows.map(({ setting }) => setting)).toEqual([
      'data_checksums=on',
      'fsync=on',
      'full_page_writes=on',
      'listen_addresses=127.0.0.1',
      'server_encoding=UTF8',
      'synchronous_commit=on',
    ]);
    const [database] = await query<{ provider: string; locale: string }>(
      first.url('studio'),
      `SELECT datlocprovider AS provider, datlocale AS locale FROM pg_database WHERE datname = 'studio'`,
    );
    expect(database).toEqual({ provider: 'b', locale: 'C.UTF-8' });
    await query(first.url('studio'), `CREATE TABLE takes (name text); INSERT INTO takes VALUES ('Ünïcødé 映画')`);
    await first.stop();
    expect(isAlive(first.pid)).toBe(false);
    expect(existsSync(join(dataDir, 'owner.json'))).toBe(false);

    const second = await start({ dataDir });
    expect(second.adopted).toBe(false);
    expect(second.url('studio')).toBe(first.url('studio'));
    expect(await query(second.url('studio'), 'SELECT upper(name) AS name FROM takes')).toEqual([
      { name: 'ÜNÏCØDÉ 映画' },
    ]);
    expect(await query(second.socketUrl('studio'), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('lets nobody in without the password', async () => {
    const server = await start({ dataDir: folder() });
    for (const url of [server.url('postgres'), server.socketUrl('postgres')]) {
      await expect(query(url.replace(/:[^:@/]+@/, ':wrong@'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
    }
  });

  it('refuses a second launcher in the same folder', async () => {
    const dataDir = folder();
    await start({ dataDir });
    await expect(startPostgres({ dataDir })).rejects.toMatchObject({ code: 'POSTGRES_IN_USE' });
  });

  it('takes over the healthy server of a killed launcher', async () => {
    const dataDir = folder();
    const killed = await launcher(dataDir);
    killed.process.kill('SIGKILL');
    await once(killed.process, 'exit');
    expect(isAlive(killed.pid)).toBe(true);

    const server = await start({ dataDir });
    expect(server).toMatchObject({ adopted: true, pid: killed.pid });
    expect(await query(server.url('postgres'), 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
    await server.stop();
    await server.exited;
    expect(isAlive(killed.pid)).toBe(false);
  });

  it('replaces an orphan that runs with other settings', async () => {
    const dataDir = folder();
    const killed = await launcher(dataDir);
    killed.process.kill('SIGKILL');
    await once(killed.process, 'exit');
    const server = await start({ dataDir, settings: { ...cheap, work_mem: '3MB' } });
    expect(server.adopted).toBe(false);
    expect(isAlive(killed.pid)).toBe(false);
    expect(await query(server.url('postgres'), 'SHOW work_mem')).toEqual([{ work_mem: '3MB' }]);
  });

  it('recovers after kill -9 of the server itself, and from a postmaster.pid whose process is another program', async () => {
    const dataDir = folder();
    const first = await startPostgres({ dataDir, settings: cheap });
    await query(first.url('postgres'), `CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 1000)`);
    process.kill(first.pid, 'SIGKILL');
    await first.exited;
    await first.stop();
    const second = await startPostgres({ dataDir, settings: cheap });
    expect(await query(second.url('postgres'), 'SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 1000 }]);
    await second.stop();

    writeFileSync(
      join(second.clusterDir, 'postmaster.pid'),
      `${process.pid}\n${second.clusterDir}\n0\n${first.port}\n`,
    );
    const third = await start({ dataDir });
    expect(await query(third.url('postgres'), 'SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 1000 }]);
  });

  it('explains a taken port, and moves on when the port was only remembered', async () => {
    const dataDir = folder();
    const first = await startPostgres({ dataDir, settings: cheap });
    await first.stop();
    const blocker = createServer().listen(first.port, '127.0.0.1');
    await once(blocker, 'listening');
    cleanups.push(() => void blocker.close());
    await expect(startPostgres({ dataDir, port: first.port })).rejects.toMatchObject({
      code: 'POSTGRES_PORT_IN_USE',
      message: expect.stringContaining(String(first.port)),
    });
    const second = await start({ dataDir });
    expect(second.port).not.toBe(first.port);
  });

  it('refuses a cluster of a newer or older major version and a cluster that has gone', async () => {
    const dataDir = folder();
    mkdirSync(join(dataDir, 'data'));
    for (const [version, code] of [
      ['99', 'POSTGRES_NEWER_MAJOR'],
      ['12', 'POSTGRES_OLDER_MAJOR'],
    ] as const) {
      writeFileSync(join(dataDir, 'data', 'PG_VERSION'), `${version}\n`);
      await expect(startPostgres({ dataDir })).rejects.toMatchObject({
        code,
        message: expect.stringContaining(version),
      });
    }
    rmSync(join(dataDir, 'data'), { recursive: true });
    writeFileSync(join(dataDir, 'state.json'), '{"initialised":true}');
    await expect(startPostgres({ dataDir })).rejects.toMatchObject({ code: 'POSTGRES_DATA_MISSING' });
  });

  it('refuses to trade durability for speed', async () => {
    const attempt = startPostgres({ dataDir: folder(), settings: { fsync: 'off' } });
    await expect(attempt).rejects.toThrow(PostgresError);
    await expect(attempt).rejects.toMatchObject({ code: 'POSTGRES_UNSAFE_SETTING' });
  });

  it('works under an empty environment', async () => {
    const { url } = await launcher(folder(), { env: {} });
    expect(await query(url, `SELECT length('映画') AS n, current_setting('server_encoding') AS encoding`)).toEqual([
      { n: 2, encoding: 'UTF8' },
    ]);
  });
});

// What only root can try: becoming another user, and folders closed to that user.
(isRoot ? describe : describe.skip)('startPostgres as root', () => {
  it('drops to an unprivileged account', async () => {
    const server = await start({ dataDir: folder() });
    expect(server.account).toBeTruthy();
    const { stdout } = spawnSync('ps', ['-o', 'user=', '-p', String(server.pid)], { encoding: 'utf8' });
    expect(stdout.trim()).toBe(server.account);
  });

  it('moves the cluster out of a folder that is closed to that account', async () => {
    const closed = folder(0o700);
    const relocationRoot = folder(0o755);
    const dataDir = join(closed, 'home', 'postgres');
    const first = await startPostgres({ dataDir, relocationRoot, settings: cheap });
    expect(first.clusterDir.startsWith(relocationRoot)).toBe(true);
    await query(first.url('postgres'), 'CREATE TABLE kept (n int)');
    await first.stop();
    const second = await start({ dataDir, relocationRoot });
    expect(await query(second.url('postgres'), 'SELECT * FROM kept')).toEqual([]);
    expect(second.clusterDir).toBe(first.clusterDir);
  });

  it('moves a cluster that is there already when its folder was closed later', async () => {
    const home = folder();
    const relocationRoot = folder(0o755);
    const dataDir = join(home, 'postgres');
    const first = await startPostgres({ dataDir, relocationRoot, settings: cheap });
    await query(first.url('postgres'), 'CREATE TABLE kept (n int)');
    await first.stop();
    chmodSync(home, 0o700);
    const second = await start({ dataDir, relocationRoot });
    expect(second.clusterDir.startsWith(relocationRoot)).toBe(true);
    expect(await query(second.url('postgres'), 'SELECT * FROM kept')).toEqual([]);
  });

  it('another user starts its own, and is told when the data is not its own', async () => {
    const dataDir = folder(0o777);
    const nobody = { uid: 65534, gid: 65534, env: { PATH: process.env.PATH } };
    const { url } = await launcher(join(dataDir, 'theirs'), nobody);
    expect(await query(url, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);

    const ours = await startPostgres({ dataDir: join(dataDir, 'ours'), settings: cheap });
    await ours.stop();
    chmodSync(join(dataDir, 'ours'), 0o777);
    await expect(launcher(join(dataDir, 'ours'), nobody)).rejects.toThrow(
      ours.account === 'nobody' ? /password|EACCES/ : /POSTGRES_DATA_FOREIGN/,
    );
  });

  it('leaves no process of this spec behind', () => {
    const { stdout } = spawnSync('ps', ['-A', '-o', 'args='], { encoding: 'utf8' });
    const left = stdout
      .split('\n')
      .filter((args) => args.includes('bin/postgres -D') && args.includes('picturelock-pg-'));
    expect(left).toEqual([]);
  });
});
