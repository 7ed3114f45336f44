import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EXIT_CONFIG, type ServiceMessage } from './service.js';

const here = dirname(fileURLToPath(import.meta.url));
const KEY = Buffer.alloc(32, 1).toString('base64url');
const children: ChildProcess[] = [];
let home: string;
beforeAll(() => (home = mkdtempSync(join(tmpdir(), 'picturelock-service-'))));
afterAll(() => rmSync(home, { recursive: true, force: true }));
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function run(behaviour = '', env: NodeJS.ProcessEnv = {}) {
  const child = fork(join(here, 'service.fixture.ts'), {
    execArgv: ['--import', join(here, '..', '..', 'scripts', 'typescript.mjs')],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: {
      PATH: process.env['PATH'],
      PICTURELOCK_HOME: home,
      DATABASE_URL: 'postgres://u:p@127.0.0.1:1',
      EVENTSTORE_URL: 'kurrentdb://127.0.0.1:1?tls=false',
      MASTER_KEY: KEY,
      MEDIA_SIGNING_KEY: KEY,
      BEHAVIOUR: behaviour,
      ...env,
    },
  });
  children.push(child);
  let log = '';
  child.stdout!.on('data', (chunk: Buffer) => (log += chunk.toString()));
  child.stderr!.on('data', (chunk: Buffer) => (log += chunk.toString()));
  return {
    child,
    log: () => log,
    message: once(child, 'message').then(([message]) => message as ServiceMessage),
    // Not 'close': after disconnect() by the parent Node never emits it.
    exit: Promise.all([once(child, 'exit'), once(child.stdout!, 'close'), once(child.stderr!, 'close')]).then(
      ([[code, signal]]) => (code ?? signal) as number | string,
    ),
  };
}

describe('runService', () => {
  it('reports ready, serves health and metrics, and stops on SIGTERM', async () => {
    const { child, message, exit, log } = run();
    const ready = await message;
    expect(ready).toEqual({
      type: 'ready',
      service: 'fixture',
      pid: child.pid,
      port: 7,
      home,
      healthPort: expect.any(Number),
    });
    const base = `http://127.0.0.1:${ready.type === 'ready' ? ready.healthPort : 0}`;
    expect(await (await fetch(`${base}/health/live`)).json()).toMatchObject({ status: 'live', pid: child.pid });
    expect(await (await fetch(`${base}/health/ready`)).json()).toEqual({ status: 'ready', service: 'fixture', lag: 0 });
    expect(await (await fetch(`${base}/metrics`)).text()).toContain('process_cpu_seconds_total{service="fixture"}');
    expect((await fetch(`${base}/else`)).status).toBe(404);
    child.send('break');
    const sick = await fetch(`${base}/health/ready`);
    expect([sick.status, await sick.json()]).toEqual([
      503,
      expect.objectContaining({ reason: 'the database is away' }),
    ]);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    expect(log()).toContain('fixture stops');
  });

  it.each(['SIGINT', 'the end of its parent'])('stops on %s', async (cause) => {
    const { child, message, exit, log } = run();
    await message;
    if (cause === 'SIGINT') child.kill(cause);
    else child.disconnect();
    expect(await exit).toBe(0);
    expect(log()).toContain('fixture stops');
  });

  it('can be stopped while it starts', async () => {
    const { child, exit, log } = run('slow-start');
    for (const end = Date.now() + 10_000; child.exitCode === null && Date.now() < end;) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      child.kill('SIGTERM');
    }
    // Before the frame has its handlers SIGTERM ends Node at once; either way it is gone and nothing hangs.
    expect([0, 'SIGTERM']).toContain(await exit);
    expect(log()).not.toContain('could not start');
  });

  it('ends anyway when stopping hangs', async () => {
    const { child, message, exit, log } = run('hang', { SHUTDOWN_SECONDS: '1' });
    await message;
    child.kill('SIGTERM');
    expect(await exit).toBe(1);
    expect(log()).toContain('did not stop in time');
  });

  it('logs an error that nobody caught and ends with 1', async () => {
    const { exit, log } = run('crash');
    expect(await exit).toBe(1);
    expect(log()).toMatch(/"level":"fatal".*nobody caught this.*service\.fixture/);
  });

  it('tells why it could not start, without secrets', async () => {
    const { message, exit, log } = run('fail');
    expect(await message).toEqual({ type: 'failed', service: 'fixture', reason: expect.stringContaining('no luck') });
    expect(await exit).toBe(1);
    expect(log()).toContain('could not start');
    expect(log()).not.toContain('hunter2');
  });

  it('names the wrong variable and ends with a code of its own', async () => {
    const { message, exit, log } = run('', { API_PORT: 'door' });
    expect(await message).toMatchObject({ type: 'failed', reason: expect.stringContaining('API_PORT') });
    expect(await exit).toBe(EXIT_CONFIG);
    expect(log()).toContain('API_PORT must be a whole number');
  });
});
