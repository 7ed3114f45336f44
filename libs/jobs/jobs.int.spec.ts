import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { z } from 'zod';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { postgresBackend } from './backend.js';
import { type JobQueue, type Jobs, jobIdOf, openJobs, PermanentJobError, type Progress } from './index.js';

const schema = z.object({ ms: z.number(), failures: z.number() });
type Data = z.infer<typeof schema>;

let database: TestDatabase;
let pool: Pool;
let folder: string;
let redis: { url: string; stop: () => Promise<void> };
const children: ChildProcess[] = [];
const opened: Jobs[] = [];
let serial = 0;

const until = async (what: () => boolean | Promise<boolean>, ms = 25_000): Promise<void> => {
  const started = performance.now();
  while (!(await what())) {
    if (performance.now() - started > ms) throw new Error(`did not happen within ${ms} ms`);
    await sleep(20);
  }
};

async function startRedis(): Promise<{ url: string; stop: () => Promise<void> }> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  await once(probe, 'close');
  const server = spawn(
    'redis-server',
    ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--maxmemory-policy', 'noeviction'],
    { stdio: 'ignore' },
  );
  const failed = new Promise<never>((_resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'ENOENT'
          ? new Error('redis-server is not installed, and these specs need it: apt-get install redis-server')
          : error,
      ),
    );
    server.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)));
  });
  failed.catch(() => undefined);
  const url = `redis://127.0.0.1:${port}`;
  const client = new Redis(url, { lazyConnect: true, maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => undefined);
  try {
    await Promise.race([client.ping(), failed]);
  } finally {
    client.disconnect();
  }
  return {
    url,
    stop: async () => {
      const exited = once(server, 'exit');
      server.kill('SIGTERM');
      await exited;
    },
  };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'picturelock-jobs-'));
  database = await testDatabase();
  pool = createPool(database.url);
  redis = await startRedis();
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  await Promise.all(opened.splice(0).map((jobs) => jobs.close({ graceMs: 0, abandonMs: 100 })));
});

afterAll(async () => {
  await redis?.stop();
  await pool?.end();
  await database?.drop();
  if (folder) rmSync(folder, { recursive: true, force: true });
});

describe.each(['postgres', 'redis'] as const)('jobs on %s', (backend) => {
  let jobs: Jobs;
  let name: string;
  let queue: JobQueue<Data>;
  let diary: string;

  const open = async (onError?: (error: Error) => void): Promise<Jobs> => {
    const one = await openJobs({
      databaseUrl: database.url,
      ...(backend === 'redis' ? { redisUrl: redis.url } : {}),
      ...(onError ? { onError } : {}),
    });
    opened.push(one);
    return one;
  };

  const startWorker = async (concurrency = 2): Promise<ChildProcess> => {
    const setup = {
      databaseUrl: database.url,
      ...(backend === 'redis' ? { redisUrl: redis.url } : {}),
      queue: name,
      diary,
      concurrency,
      lockDurationMs: 600,
    };
    const child = fork(fileURLToPath(new URL('./worker-process.spec.ts', import.meta.url)), [JSON.stringify(setup)], {
      execArgv: ['--import', fileURLToPath(new URL('../../scripts/typescript.mjs', import.meta.url))],
    });
    children.push(child);
    const [message] = await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(([code]) => {
        throw new Error(`the worker ended with ${String(code)}`);
      }),
    ]);
    expect(message).toBe('ready');
    return child;
  };

  const read = (): { what: string; jobId: string; attempt: number; pid: number }[] =>
    (existsSync(diary) ? readFileSync(diary, 'utf8') : '')
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [what, jobId, attempt, pid] = line.split(' ');
        return { what: what!, jobId: jobId!, attempt: Number(attempt), pid: Number(pid) };
      });
  const ids = (count: number): string[] => Array.from({ length: count }, (_, n) => `job-${n}`);

  beforeEach(async () => {
    jobs = await open();
    name = `q${serial++}-${backend}`;
    diary = join(folder, name);
    queue = jobs.queue(name, schema);
    expect(jobs.backend).toBe(backend);
  });

  it('runs a job once, with its data, and keeps the result', async () => {
    const seen: unknown[] = [];
    jobs.worker(name, schema, async ({ jobId, data, attempt }) => {
      seen.push({ jobId, data, attempt });
      return { done: data.ms };
    });
    const jobId = jobIdOf('b5f3a6c2-0000-5000-8000-000000000001', 'poster');
    expect(await queue.add(jobId, { ms: 7, failures: 0 })).toBe(true);
    await until(async () => (await jobs.state(name, jobId))?.status === 'completed');
    expect(seen).toEqual([{ jobId, data: { ms: 7, failures: 0 }, attempt: 1 }]);
    expect(await jobs.state(name, jobId)).toMatchObject({ jobId, result: { done: 7 }, attempts: expect.any(Number) });
    expect(await jobs.state(name, 'unknown')).toBeUndefined();
    expect(await queue.add(jobId, { ms: 8, failures: 0 })).toBe(false);
    await sleep(200);
    expect(seen).toHaveLength(1);
  });

  it('takes fifty adds of one id at once for one job', async () => {
    const other = (await open()).queue(name, schema);
    await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 ? queue : other).add('same', { ms: 0, failures: 0 })),
    );
    expect(await jobs.counts(name)).toEqual({ waiting: 1, delayed: 0, active: 0, completed: 0, failed: 0 });
    let runs = 0;
    jobs.worker(name, schema, async () => void runs++, { concurrency: 5 });
    await until(async () => (await jobs.counts(name)).completed === 1);
    expect(runs).toBe(1);
  });

  it('refuses bad data and bad ids', async () => {
    await expect(queue.add('job', { ms: 'x' } as unknown as Data)).rejects.toThrow(z.ZodError);
    await expect(queue.add('a:b', { ms: 0, failures: 0 })).rejects.toThrow(RangeError);
    await expect(queue.add('17', { ms: 0, failures: 0 })).rejects.toThrow(RangeError);
    expect(() => jobs.queue('A:b', schema).add('x', { ms: 0, failures: 0 })).toThrow(RangeError);
  });

  it('fails at once for data that the worker’s schema refuses, and for permanent errors', async () => {
    const failures: unknown[] = [];
    jobs.worker(name, schema.extend({ more: z.string() }), async () => undefined, {
      onFailed: ({ jobId, attempt, final }) => failures.push({ jobId, attempt, final }),
    });
    await queue.add('old-shape', { ms: 0, failures: 0 });
    await until(async () => (await jobs.counts(name)).failed === 1);
    const [failed] = await jobs.failed(name);
    expect(failed).toMatchObject({ jobId: 'old-shape', attempts: 1, data: { ms: 0, failures: 0 } });
    expect(failed!.reason).toMatch(/more/);
    expect(failures).toEqual([{ jobId: 'old-shape', attempt: 1, final: true }]);

    const second = `${name}b`;
    jobs.worker(second, schema, async () => {
      throw new PermanentJobError('no such codec');
    });
    await jobs.queue(second, schema).add('x', { ms: 0, failures: 0 });
    await until(async () => (await jobs.counts(second)).failed === 1);
    expect(await jobs.state(second, 'x')).toMatchObject({ status: 'failed', failedReason: 'no such codec' });
  });

  it('tries again with growing waits, then gives up; a retry starts over', async () => {
    const times: number[] = [];
    const attempts: number[] = [];
    const finals: boolean[] = [];
    let broken = true;
    jobs.worker(
      name,
      schema,
      async ({ attempt }) => {
        times.push(performance.now());
        attempts.push(attempt);
        if (broken) throw new Error('not yet');
        return 'at last';
      },
      { onFailed: ({ final }) => finals.push(final) },
    );
    await queue.add('job', { ms: 0, failures: 0 }, { attempts: 4, backoffMs: 150 });
    await until(async () => (await jobs.state(name, 'job'))?.status === 'failed');
    expect(attempts).toEqual([1, 2, 3, 4]);
    await until(() => finals.length === 4);
    expect(finals).toEqual([false, false, false, true]);
    const waits = times.slice(1).map((time, n) => time - times[n]!);
    waits.forEach((wait, n) => expect(wait).toBeGreaterThanOrEqual(150 * 2 ** n * 0.8 - 5));
    expect(await jobs.failed(name)).toMatchObject([{ jobId: 'job', reason: 'not yet', attempts: 4 }]);
    expect(await queue.add('job', { ms: 0, failures: 0 })).toBe(false);

    broken = false;
    expect(await jobs.retry(name, 'unknown')).toBe(false);
    const retried = await Promise.all([jobs.retry(name, 'job'), jobs.retry(name, 'job')]);
    expect(retried).toContain(true);
    await until(async () => (await jobs.state(name, 'job'))?.status === 'completed');
    expect(attempts).toEqual([1, 2, 3, 4, 1]);
    expect(await jobs.state(name, 'job')).toMatchObject({ result: 'at last' });
    expect(await jobs.retry(name, 'job')).toBe(false);
    expect(await jobs.failed(name)).toEqual([]);
  });

  it('runs by priority, and delayed jobs on time', async () => {
    const order: string[] = [];
    await queue.add('late', { ms: 0, failures: 0 }, { delayMs: 400 });
    await queue.add('low', { ms: 0, failures: 0 }, { priority: 10 });
    await queue.add('high', { ms: 0, failures: 0 }, { priority: 1 });
    await queue.add('first', { ms: 0, failures: 0 });
    await queue.add('second', { ms: 0, failures: 0 });
    expect(await jobs.counts(name)).toMatchObject({ waiting: 4, delayed: 1 });
    const started = performance.now();
    jobs.worker(name, schema, async ({ jobId }) => void order.push(jobId));
    await until(() => order.length === 5);
    expect(order).toEqual(['first', 'second', 'high', 'low', 'late']);
    expect(performance.now() - started).toBeLessThan(2_500);
  });

  it('wakes an idle worker within moments', async () => {
    const worker = jobs.worker(name, schema, async () => undefined);
    await worker.ready();
    await sleep(1_000);
    const started = performance.now();
    await queue.add('job', { ms: 0, failures: 0 });
    await until(async () => (await jobs.state(name, 'job'))?.status === 'completed');
    expect(performance.now() - started).toBeLessThan(800);
  });

  it('closes gracefully: waits for what is nearly done, and gives back what is not', async () => {
    const signals: Record<string, boolean> = {};
    const worker = jobs.worker(
      name,
      schema,
      async ({ jobId, data, signal }) => {
        try {
          await sleep(data.ms, undefined, { signal });
        } finally {
          signals[jobId] = signal.aborted;
        }
        return 'done';
      },
      { concurrency: 2 },
    );
    await queue.add('short', { ms: 300, failures: 0 });
    await queue.add('long', { ms: 60_000, failures: 0 });
    await until(async () => (await jobs.counts(name)).active === 2);
    const started = performance.now();
    await worker.close({ graceMs: 800 });
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(signals).toEqual({ short: false, long: true });
    expect(await jobs.state(name, 'short')).toMatchObject({ status: 'completed' });
    expect(await jobs.state(name, 'long')).toMatchObject({ status: 'waiting', attempts: 0 });
    const attempts: number[] = [];
    jobs.worker(name, schema, async ({ attempt }) => void attempts.push(attempt));
    await until(async () => (await jobs.counts(name)).completed === 2);
    expect(attempts).toEqual([1]);
  });

  it('leaves a job that does not hear its signal', async () => {
    const worker = jobs.worker(name, schema, () => new Promise(() => undefined));
    await queue.add('deaf', { ms: 0, failures: 0 });
    await until(async () => (await jobs.counts(name)).active === 1);
    await worker.close({ graceMs: 0, abandonMs: 200 });
    expect(await jobs.state(name, 'deaf')).toMatchObject({ status: 'waiting', attempts: 0 });
  });

  it('tells a job that it was lost to another worker', async () => {
    const aborted: string[] = [];
    const errors: Error[] = [];
    const slow = (await open((error) => errors.push(error))).worker(
      name,
      schema,
      ({ jobId, signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => {
            aborted.push(jobId);
            reject(new Error('lost'));
          }),
        ),
      { lockDurationMs: 400 },
    );
    await queue.add('job', { ms: 0, failures: 0 });
    await until(async () => (await jobs.counts(name)).active === 1);
    // As after a long pause of the process: the lock has lapsed and another has taken the job.
    if (backend === 'postgres') {
      await pool.query(`UPDATE bullmq.job SET lock_token = 'another' WHERE queue = $1`, [name]);
    } else {
      const client = new Redis(redis.url);
      await client.set(`bull:${name}:job:lock`, 'another');
      client.disconnect();
    }
    await until(() => aborted.length === 1);
    await slow.close();
    expect(errors.map((error) => error.message).join()).toMatch(/lock/i);
    expect(await jobs.state(name, 'job')).toMatchObject({ status: 'active', attempts: 0 });
  });

  it('survives the kill of a worker process in the middle of its jobs', async () => {
    const all = ids(20);
    for (const jobId of all) await queue.add(jobId, { ms: 150, failures: 0 });
    const first = await startWorker(3);
    await until(() => read().filter(({ what }) => what === 'end').length >= 3);
    await until(() => {
      const ended = new Set(read().flatMap(({ what, jobId }) => (what === 'end' ? [jobId] : [])));
      return read().some(({ what, jobId }) => what === 'begin' && !ended.has(jobId));
    });
    first.kill('SIGKILL');
    await once(first, 'exit');
    const torn = read();
    const ended = new Set(torn.flatMap(({ what, jobId }) => (what === 'end' ? [jobId] : [])));
    const cut = torn.flatMap(({ what, jobId }) => (what === 'begin' && !ended.has(jobId) ? [jobId] : []));
    expect(cut.length).toBeGreaterThan(0);

    await startWorker(3);
    await until(async () => (await jobs.counts(name)).completed === all.length);
    const done = read().filter(({ what }) => what === 'end');
    expect(new Set(done.map(({ jobId }) => jobId))).toEqual(new Set(all));
    // A crash costs no attempt; only what the crash cut short ran again.
    for (const jobId of cut) expect(done.find((line) => line.jobId === jobId)).toMatchObject({ attempt: 1 });
    expect(done.length).toBeLessThanOrEqual(all.length + 3);
    expect(await jobs.counts(name)).toEqual({ waiting: 0, delayed: 0, active: 0, completed: 20, failed: 0 });
  }, 60_000);

  it('survives killing after killing', async () => {
    const all = ids(12);
    for (const jobId of all) await queue.add(jobId, { ms: 250, failures: 0 });
    for (let round = 0; round < 3; round++) {
      const worker = await startWorker(2);
      await sleep(150 + round * 130);
      worker.kill('SIGKILL');
      await once(worker, 'exit');
    }
    await startWorker(4);
    await until(async () => (await jobs.counts(name)).completed === all.length);
    expect(new Set(read().flatMap(({ what, jobId }) => (what === 'end' ? [jobId] : [])))).toEqual(new Set(all));
    expect((await jobs.counts(name)).failed).toBe(0);
  }, 60_000);

  it('never takes a failed attempt for a completed job while two processes share the queue', async () => {
    await Promise.all([startWorker(4), startWorker(4)]);
    const all = ids(60);
    await Promise.all(all.map((jobId) => queue.add(jobId, { ms: 5, failures: 3 }, { attempts: 4, backoffMs: 60 })));
    await until(async () => (await jobs.counts(name)).completed === all.length);
    // BullMQ's own locking order deadlocks here.
    expect(read().filter(({ what, jobId }) => what === 'error' && /deadlock/.test(jobId))).toEqual([]);
    const lines = read().filter(({ what }) => what !== 'error');
    expect(new Set(lines.map(({ pid }) => pid)).size).toBe(2);
    for (const jobId of all) {
      const begun = lines.filter((line) => line.what === 'begin' && line.jobId === jobId);
      expect(begun.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4]);
      expect(lines.filter((line) => line.what === 'end' && line.jobId === jobId)).toHaveLength(1);
      expect(await jobs.state(name, jobId)).toMatchObject({ status: 'completed', result: { attempt: 4 } });
    }
  }, 60_000);

  it('can be filled again under the same ids after it lost everything', async () => {
    const all = ids(10);
    const done = new Map<string, number>();
    jobs.worker(name, schema, async ({ jobId }) => void done.set(jobId, (done.get(jobId) ?? 0) + 1));
    for (const jobId of all) await queue.add(jobId, { ms: 0, failures: 0 });
    await until(async () => (await jobs.counts(name)).completed === 10);
    if (backend === 'postgres') await pool.query(`TRUNCATE bullmq.job CASCADE`);
    else {
      const client = new Redis(redis.url);
      await client.flushall();
      client.disconnect();
    }
    expect(await jobs.state(name, 'job-0')).toBeUndefined();
    for (const jobId of all) expect(await queue.add(jobId, { ms: 0, failures: 0 })).toBe(true);
    await until(async () => (await jobs.counts(name)).completed === 10);
    expect([...done.values()]).toEqual(all.map(() => 2));
  });

  it('takes a job out, unless it runs', async () => {
    await queue.add('job', { ms: 0, failures: 0 });
    expect(await queue.remove('job')).toBe(true);
    expect(await queue.remove('job')).toBe(false);
    expect(await queue.add('job', { ms: 0, failures: 0 })).toBe(true);
    let release = (): void => undefined;
    jobs.worker(name, schema, () => new Promise<void>((resolve) => (release = resolve)));
    await until(async () => (await jobs.counts(name)).active === 1);
    expect(await queue.remove('job')).toBe(false);
    release();
    await until(async () => (await jobs.counts(name)).completed === 1);
  });

  it('goes on after every connection was cut', async () => {
    const worker = (await open(() => undefined)).worker(
      name,
      schema,
      async ({ data }) => {
        await sleep(data.ms);
      },
      { concurrency: 2, lockDurationMs: 600 },
    );
    await worker.ready();
    for (const jobId of ids(10)) await queue.add(jobId, { ms: 60, failures: 0 });
    await until(async () => (await jobs.counts(name)).completed >= 2);
    if (backend === 'postgres') {
      await pool.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'picturelock'`,
      );
    } else {
      const client = new Redis(redis.url);
      await client.call('CLIENT', 'KILL', 'TYPE', 'normal');
      client.disconnect();
    }
    const total = async (): Promise<number> => {
      try {
        return (await jobs.counts(name)).completed;
      } catch {
        return 0;
      }
    };
    await until(async () => (await total()) === 10);
    // Idle again, and still woken.
    await sleep(300);
    const started = performance.now();
    await queue.add('after', { ms: 0, failures: 0 });
    await until(async () => (await total()) === 11);
    expect(performance.now() - started).toBeLessThan(6_000);
  });

  it('shows progress live and keeps the last of it', async () => {
    const seen: Progress[] = [];
    const watcher = await open();
    watcher.onProgress((progress) => seen.push(progress));
    await until(() => {
      jobs.publishProgress('warm-up', null);
      return seen.length > 0;
    });
    const topic = `job.${name}.job`;
    jobs.worker(name, schema, async ({ progress }) => {
      for (let n = 1; n <= 100; n++) {
        progress(n / 100, { frame: n });
        await sleep(5);
      }
      progress(7);
    });
    await queue.add('job', { ms: 0, failures: 0 });
    const mine = (): Progress[] => seen.filter((one) => one.topic === topic);
    await until(() => mine().some(({ payload }) => (payload as { fraction: number }).fraction === 1));
    const fractions = mine().map(({ payload }) => (payload as { fraction: number }).fraction);
    expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
    expect(fractions[0]).toBeLessThan(0.3);
    expect(fractions.length).toBeLessThan(20);
    await until(async () => (await jobs.state(name, 'job'))?.status === 'completed');
    expect((await jobs.state(name, 'job'))!.progress).toEqual({ fraction: 1 });
  });
});

describe('progress', () => {
  it('takes small JSON only, and says goodbye with the last value', async () => {
    const [one, two] = [await openJobs({ databaseUrl: database.url }), await openJobs({ databaseUrl: database.url })];
    opened.push(one, two);
    const seen: Progress[] = [];
    const stop = two.onProgress((progress) => seen.push(progress));
    await until(() => {
      one.publishProgress('warm-up', null);
      return seen.length > 0;
    });
    expect(() => one.publishProgress('t', 'x'.repeat(5_000))).toThrow(RangeError);
    one.publishProgress('t', { umlaut: 'ü'.repeat(1_900) });
    await until(() => seen.some(({ topic }) => topic === 't'));
    for (let n = 0; n < 1_000; n++) one.publishProgress('busy', n);
    await one.close();
    await until(() => seen.some(({ topic, payload }) => topic === 'busy' && payload === 999));
    expect(seen.filter(({ topic }) => topic === 'busy').length).toBeLessThan(5);
    await pool.query(`SELECT pg_notify('picturelock_progress', 'not JSON')`);
    stop();
    const before = seen.length;
    two.publishProgress('t', 1);
    await sleep(200);
    expect(seen).toHaveLength(before);
  });
});

describe('checkpoints', () => {
  it('only move forward, whoever saves, and hold the whole range of positions', async () => {
    const [one, two] = [await openJobs({ databaseUrl: database.url }), await openJobs({ databaseUrl: database.url })];
    opened.push(one, two);
    expect(await one.checkpoint.load('transcode')).toBeUndefined();
    expect(await one.checkpoint.save('transcode', 0n)).toBe(0n);
    expect(await one.checkpoint.load('transcode')).toBe(0n);
    await Promise.all(
      Array.from({ length: 40 }, (_, n) => (n % 2 ? one : two).checkpoint.save('transcode', BigInt((n * 7) % 41))),
    );
    expect(await two.checkpoint.load('transcode')).toBe(40n);
    expect(await two.checkpoint.save('transcode', 3n)).toBe(40n);
    const largest = 2n ** 64n - 1n;
    expect(await one.checkpoint.save('other', largest)).toBe(largest);
    expect(await two.checkpoint.load('other')).toBe(largest);
    expect(await two.checkpoint.load('transcode')).toBe(40n);
  });
});

describe('opening', () => {
  it('works for several processes at once on an empty database, and refuses a newer one', async () => {
    const empty = await testDatabase();
    try {
      const all = await Promise.all(Array.from({ length: 4 }, () => openJobs({ databaseUrl: empty.url })));
      await all[0]!.queue('q', schema).add('job', { ms: 0, failures: 0 });
      expect(await all[3]!.state('q', 'job')).toMatchObject({ status: 'waiting' });
      await Promise.all(all.map((jobs) => jobs.close()));
      await expect(all[0]!.counts('q')).rejects.toThrow(/closed/);
      const own = createPool(empty.url);
      await own.query(`INSERT INTO jobs.schema_migrations (version, name, checksum) VALUES (99, 'future', 'x')`);
      await expect(openJobs({ databaseUrl: empty.url })).rejects.toMatchObject({ code: 'SCHEMA_NEWER' });
      await own.query(`DELETE FROM jobs.schema_migrations WHERE version = 99`);
      await own.query(`UPDATE bullmq.migration SET min_client_version = 99`);
      await expect(openJobs({ databaseUrl: empty.url })).rejects.toThrow(/requires BullMQ major version/);
      await own.end();
    } finally {
      await empty.drop();
    }
  });

  it('is tried again by a queue whose first connection failed, and takes options in the URL', async () => {
    const empty = await testDatabase();
    const url = `${empty.url}?options=-c%20geqo%3Doff`;
    const early = postgresBackend(url, () => undefined);
    try {
      const queue = early.queue('q', {});
      queue.on('error', () => undefined);
      await expect(queue.getJobCounts()).rejects.toThrow(/not initialized/);
      const jobs = await openJobs({ databaseUrl: url });
      await jobs.queue('q', schema).add('job', { ms: 0, failures: 0 });
      expect(await queue.getJobCounts('waiting')).toEqual({ waiting: 1 });
      await queue.close();
      await jobs.close();
    } finally {
      await early.close();
      await empty.drop();
    }
  });
});
