import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { jest } from '@jest/globals';
import { jsonEvent, KurrentDBClient } from '@kurrent/kurrentdb-client';
import { isAlive } from '#libs/postgres/index.js';
import { build } from '../../scripts/build.mjs';
import { ensureBuilt, ROOT } from '../../test/support/build.js';
import { temporaryHome } from '../../test/support/stack.js';
import { runningLauncher } from './home.js';
import { SERVICES } from './stack.js';

const present = SERVICES.filter((name) => existsSync(join(ROOT, 'apps', name, 'main.ts')));
// The demo has a test of its own.
const flags = ['--no-demo', ...(present.length === SERVICES.length ? [] : ['--only', present.join(',')])];
const isRoot = process.getuid?.() === 0;
const cleanups: (() => void | Promise<void>)[] = [];

jest.setTimeout(120_000);
beforeAll(async () => {
  await ensureBuilt();
  if (present.includes('api')) await build('web');
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function home(): string {
  const path = temporaryHome();
  cleanups.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Every live process whose command line or environment mentions the folder. */
function processesOf(folder: string): string[] {
  const { stdout } = spawnSync('ps', ['-A', '-E', '-o', 'pid=,args='], { encoding: 'utf8' });
  const lines = spawnSync('ps', ['-A', 'e', 'ww', '-o', 'pid=,args='], { encoding: 'utf8' }).stdout || stdout;
  return lines.split('\n').filter((line) => line.includes(folder) && !line.includes(' ps -A'));
}

interface Launcher {
  child: ChildProcess;
  output(): string;
  ready: Promise<void>;
  exit: Promise<number | string>;
}

function start(
  path: string,
  env: NodeJS.ProcessEnv = { PATH: process.env.PATH },
  account: { uid?: number; gid?: number } = {},
): Launcher {
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'picturelock.mjs'), 'start', ...flags], {
    env: { API_PORT: '0', NODE_ENV: 'test', ...env, PICTURELOCK_HOME: path },
    stdio: ['ignore', 'pipe', 'pipe'],
    cwd: '/',
    ...account,
  });
  let output = '';
  let tell: () => void = () => undefined;
  const appeared = new Promise<void>((resolve) => (tell = resolve));
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (output.includes('Ctrl-C stops everything')) tell();
    });
  }
  const exit = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  const ready = Promise.race([
    appeared,
    exit.then((code) => {
      if (!output.includes('Ctrl-C stops everything')) throw new Error(`the launcher ended with ${code}:\n${output}`);
    }),
  ]);
  ready.catch(() => undefined);
  cleanups.push(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
    await exit;
  });
  return { child, output: () => output, ready, exit };
}

const eventStoreUrl = (path: string): string => runningLauncher(path)!.eventStore!;

async function append(path: string, stream: string): Promise<void> {
  const client = KurrentDBClient.connectionString(eventStoreUrl(path));
  await client.appendToStream(stream, jsonEvent({ type: 'TakeShot', data: { n: 1 } }));
  await client.dispose();
}

async function count(path: string, stream: string): Promise<number> {
  const client = KurrentDBClient.connectionString(eventStoreUrl(path));
  let n = 0;
  for await (const _ of client.readStream(stream)) n++;
  await client.dispose();
  return n;
}

describe('npm start', () => {
  it('starts, keeps data over restarts, and Ctrl-C leaves no process', async () => {
    const path = home();
    const first = start(path);
    await first.ready;
    await append(path, 'studio-1');
    expect(statSync(join(path, 'secrets.json')).mode & 0o777).toBe(0o600);
    expect(processesOf(path).length).toBeGreaterThan(present.length);
    first.child.kill('SIGINT');
    expect(await first.exit).toBe(0);
    expect(first.output()).toContain('stopped');
    expect(processesOf(path)).toEqual([]);

    const again = Date.now();
    const second = start(path);
    await second.ready;
    expect(Date.now() - again).toBeLessThan(20_000);
    expect(await count(path, 'studio-1')).toBe(1);
    second.child.kill('SIGTERM');
    expect(await second.exit).toBe(0);
    expect(processesOf(path)).toEqual([]);
  });

  it('comes back after kill -9: the services go by themselves, the next start takes the database over', async () => {
    const path = home();
    const first = start(path);
    await first.ready;
    await append(path, 'studio-1');
    first.child.kill('SIGKILL');
    await first.exit;
    const services = (): string[] => processesOf(path).filter((line) => !line.includes('postgres'));
    for (const until = Date.now() + 20_000; services().length > 0 && Date.now() < until;) await sleep(100);
    expect(services()).toEqual([]);
    expect(processesOf(path).length).toBeGreaterThan(0); // the orphaned database server

    const second = start(path);
    await second.ready;
    expect(second.output()).toMatch(/taking over the database server left running/);
    expect(await count(path, 'studio-1')).toBe(1);
    second.child.kill('SIGINT');
    expect(await second.exit).toBe(0);
    expect(processesOf(path)).toEqual([]);
  });

  it('restarts a service that dies, on the same port', async () => {
    const path = home();
    const launcher = start(path);
    await launcher.ready;
    await append(path, 'studio-1');
    const line = spawnSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
      .stdout.split('\n')
      .find((l) => l.includes(`${launcher.child.pid} `) && l.includes('eventstore'));
    const pid = Number(/^\s*(\d+)/.exec(line ?? '')?.[1]);
    process.kill(pid, 'SIGKILL');
    for (const until = Date.now() + 20_000; !launcher.output().includes('eventstore is back') && Date.now() < until;) {
      await sleep(50);
    }
    expect(launcher.output()).toContain('eventstore ended by itself (SIGKILL), starting it again');
    expect(await count(path, 'studio-1')).toBe(1);
  });

  it('refuses a second launcher on the same home, and `stop` ends the first', async () => {
    const path = home();
    const first = start(path);
    await first.ready;
    const second = start(path);
    expect(await second.exit).toBe(1);
    expect(second.output()).toContain(`running already on ${path} (process ${first.child.pid})`);
    const stop = spawnSync(process.execPath, [join(ROOT, 'bin', 'picturelock.mjs'), 'stop'], {
      env: { PATH: process.env.PATH, PICTURELOCK_HOME: path },
      encoding: 'utf8',
    });
    expect(stop.stdout).toBe('stopped\n');
    expect(await first.exit).toBe(0);
    expect(processesOf(path)).toEqual([]);
  });

  it('starts under an empty environment', async () => {
    const launcher = start(home(), {});
    await launcher.ready;
    launcher.child.kill('SIGINT');
    expect(await launcher.exit).toBe(0);
  });

  it('stops cleanly when interrupted while it starts', async () => {
    const path = home();
    const launcher = start(path);
    for (const until = Date.now() + 30_000; !launcher.output().includes('starting the') && Date.now() < until;) {
      await sleep(10);
    }
    launcher.child.kill('SIGINT');
    expect(await launcher.exit).toBe(0);
    expect(processesOf(path)).toEqual([]);
  });
});

describe('what stops npm start', () => {
  it.each([
    [
      'a home of a newer layout',
      (path: string) => writeFileSync(join(path, 'home.json'), '{"version":99,"id":"x"}'),
      'newer',
    ],
    ['a damaged home', (path: string) => writeFileSync(join(path, 'home.json'), '{"ver'), 'damaged'],
    ['a folder of somebody else', (path: string) => mkdirSync(join(path, 'holiday photos')), 'no home of Picturelock'],
  ])('%s', async (_, prepare, message) => {
    const path = home();
    prepare(path);
    const launcher = start(path);
    expect(await launcher.exit).toBe(1);
    expect(launcher.output()).toContain(message);
    expect(existsSync(join(path, 'postgres'))).toBe(false);
  });

  it('a wrong setting, by name', async () => {
    const launcher = start(home(), { PATH: process.env.PATH, API_PORT: 'door' });
    expect(await launcher.exit).toBe(1);
    expect(launcher.output()).toContain('API_PORT must be a whole number');
  });

  (present.includes('api') ? it : it.skip)('a taken port that was asked for', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    cleanups.push(() => void blocker.close());
    const { port } = blocker.address() as { port: number };
    const path = home();
    const launcher = start(path, { PATH: process.env.PATH, API_PORT: String(port) });
    expect(await launcher.exit).toBe(1);
    expect(launcher.output()).toContain(`Port ${port} on 127.0.0.1 is taken`);
    expect(processesOf(path)).toEqual([]);
  });

  it('a missing ffmpeg that can not be installed', async () => {
    const launcher = start(home(), { PATH: '/nonexistent', FFMPEG_PATH: 'ffmpeg-of-another-planet' });
    expect(await launcher.exit).toBe(1);
    expect(launcher.output()).toMatch(/ffmpeg can't be installed by itself|Install ffmpeg/);
  });
});

it('an older home is migrated', async () => {
  const path = home();
  const launcher = start(path);
  await launcher.ready;
  launcher.child.kill('SIGINT');
  await launcher.exit;
  const secrets = readFileSync(join(path, 'secrets.json'), 'utf8');
  rmSync(join(path, 'home.json')); // layout 0
  const again = start(path);
  await again.ready;
  again.child.kill('SIGINT');
  expect(await again.exit).toBe(0);
  expect(JSON.parse(readFileSync(join(path, 'home.json'), 'utf8'))).toMatchObject({ version: 1 });
  expect(readFileSync(join(path, 'secrets.json'), 'utf8')).toBe(secrets);
  expect(isAlive(again.child.pid!)).toBe(false);
});

// What only root can try. The specs of libs/postgres go through the single cases.
(isRoot ? describe : describe.skip)('npm start as root', () => {
  it('in a home closed to everybody else, as under /root', async () => {
    const closed = home();
    chmodSync(closed, 0o700);
    const path = join(closed, 'studio');
    const launcher = start(path);
    await launcher.ready;
    const moved = readFileSync(join(path, 'postgres', 'RELOCATED'), 'utf8').trim();
    cleanups.push(() => rmSync(moved, { recursive: true, force: true }));
    expect(launcher.output()).toContain(`its data lives in ${moved}`);
    await append(path, 'studio-1');
    launcher.child.kill('SIGINT');
    expect(await launcher.exit).toBe(0);
    const again = start(path);
    await again.ready;
    expect(await count(path, 'studio-1')).toBe(1);
    again.child.kill('SIGINT');
    expect(await again.exit).toBe(0);
    expect(processesOf(moved)).toEqual([]);
  });

  it('for another user, who owns nothing of the project', async () => {
    const path = home();
    chmodSync(path, 0o777);
    const launcher = start(join(path, 'theirs'), { PATH: process.env.PATH }, { uid: 65534, gid: 65534 });
    await launcher.ready;
    expect(statSync(join(path, 'theirs', 'secrets.json')).uid).toBe(65534);
    launcher.child.kill('SIGINT');
    expect(await launcher.exit).toBe(0);
    expect(processesOf(path)).toEqual([]);
  });
});
