import { type Job, UnrecoverableError, WaitingError } from 'bullmq';
import { z } from 'zod';
import { createPool, migrate, type Migration, type Pool } from '#libs/postgres/index.js';
import { type AnyQueue, type AnyWorker, type Backend, postgresBackend, QUEUE_SCHEMA, redisBackend } from './backend.js';
import { parkedReactions, parkedReactionTable } from './parking.js';
import { ProgressWire } from './progress.js';
import { assertJobId, assertQueueName, backoffMs } from './rules.js';
import {
  type Checkpoints,
  type CloseOptions,
  type FailedJob,
  type JobCounts,
  type JobProcessor,
  type JobQueue,
  type Jobs,
  type JobsOptions,
  type JobState,
  type JobStatus,
  type JobWorker,
  type ParkedReactions,
  PermanentJobError,
  type WorkerOptions,
} from './types.js';

const ATTEMPTS = 5;
const BACKOFF_MS = 1_000;
const LOCK_MS = 30_000;
/** A job that took its worker down this often is itself the trouble. */
const MAX_STALLED = 100;
const GRACE_MS = 10_000;
/** From the signal until a job that does not listen is left to itself. */
const ABANDON_MS = 5_000;
/** Progress kept with the job, for those who come later. */
const KEEP_PROGRESS_EVERY_MS = 1_000;
const KEEP_COMPLETED = { age: 7 * 24 * 3_600, count: 20_000 };
const KEEP_FAILED = { age: 90 * 24 * 3_600 };
const KEEP_EVENTS = 1_000;

const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'reaction checkpoints',
    up: `CREATE TABLE reaction_checkpoints (
      name text PRIMARY KEY,
      position numeric(20) NOT NULL,
      saved_at timestamptz NOT NULL DEFAULT now()
    )`,
  },
  parkedReactionTable,
];

const STATUS: Readonly<Record<string, JobStatus>> = {
  waiting: 'waiting',
  prioritized: 'waiting',
  paused: 'waiting',
  'waiting-children': 'waiting',
  delayed: 'delayed',
  active: 'active',
  completed: 'completed',
  failed: 'failed',
};

const progressShape = z.object({ fraction: z.number(), info: z.record(z.string(), z.unknown()).optional() });

/**
 * Migrates the `jobs` and `bullmq` schemas and connects.
 *
 * @throws PostgresError SCHEMA_NEWER; BullMQ's SchemaVersionMismatchError
 */
export async function openJobs(options: JobsOptions): Promise<Jobs> {
  const onError = options.onError ?? (() => undefined);
  const pool = createPool(options.databaseUrl, { applicationName: 'picturelock jobs', max: 4, onError });
  try {
    await migrate(pool, 'jobs', migrations);
    if (!options.redisUrl) await migrateQueues(pool);
  } catch (error) {
    await pool.end();
    throw error;
  }
  const backend = options.redisUrl ? redisBackend(options.redisUrl) : postgresBackend(options.databaseUrl, onError);
  return new BullJobs(options.redisUrl ? 'redis' : 'postgres', backend, pool, options.databaseUrl, onError);
}

async function migrateQueues(pool: Pool): Promise<void> {
  const { runMigrations } = await import('bullmq');
  const client = await pool.connect();
  try {
    await runMigrations(client, QUEUE_SCHEMA);
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

class BullJobs implements Jobs {
  private readonly queues = new Map<string, AnyQueue>();
  private readonly workers = new Set<JobWorker>();
  private readonly wire: ProgressWire;
  private closing: Promise<void> | undefined;
  readonly checkpoint: Checkpoints;
  readonly parked: ParkedReactions;

  constructor(
    readonly backend: 'postgres' | 'redis',
    private readonly bull: Backend,
    private readonly pool: Pool,
    databaseUrl: string,
    private readonly onError: (error: Error) => void,
  ) {
    this.wire = new ProgressWire(pool, databaseUrl, onError);
    this.parked = parkedReactions(pool);
    this.checkpoint = {
      load: async (name) => {
        const { rows } = await pool.query<{ position: string }>(
          `SELECT position FROM jobs.reaction_checkpoints WHERE name = $1`,
          [name],
        );
        return rows[0] && BigInt(rows[0].position);
      },
      all: async () => {
        const { rows } = await pool.query<{ name: string; position: string; saved_at: Date }>(
          `SELECT name, position, saved_at FROM jobs.reaction_checkpoints ORDER BY name`,
        );
        return rows.map((row) => ({ name: row.name, position: BigInt(row.position), savedAt: row.saved_at }));
      },
      save: async (name, position) => {
        const { rows } = await pool.query<{ position: string }>(
          `INSERT INTO jobs.reaction_checkpoints AS c (name, position) VALUES ($1, $2)
           ON CONFLICT (name) DO UPDATE SET
             position = GREATEST(c.position, EXCLUDED.position),
             saved_at = CASE WHEN EXCLUDED.position > c.position THEN now() ELSE c.saved_at END
           RETURNING position`,
          [name, position.toString()],
        );
        return BigInt(rows[0]!.position);
      },
    };
  }

  queue<T>(name: string, schema: z.ZodType<T>): JobQueue<T> {
    const queue = this.bullQueue(name);
    return {
      name,
      add: async (jobId, data, options = {}) => {
        assertJobId(jobId);
        const parsed = schema.parse(data);
        if (await queue.getJob(jobId)) return false;
        await queue.add(name, parsed, {
          jobId,
          attempts: options.attempts ?? ATTEMPTS,
          backoff: { type: 'capped', delay: options.backoffMs ?? BACKOFF_MS },
          ...(options.priority ? { priority: options.priority } : {}),
          ...(options.delayMs ? { delay: options.delayMs } : {}),
          removeOnComplete: KEEP_COMPLETED,
          removeOnFail: KEEP_FAILED,
          stackTraceLimit: 3,
        });
        return true;
      },
      remove: async (jobId) => {
        assertJobId(jobId);
        // On Redis also what was never there counts as taken out.
        if (!(await queue.getJob(jobId))) return false;
        return (await queue.remove(jobId)) === 1;
      },
    };
  }

  worker<T>(name: string, schema: z.ZodType<T>, processor: JobProcessor<T>, options: WorkerOptions = {}): JobWorker {
    this.assertOpen();
    assertQueueName(name);
    const worker: JobWorker = new BullWorker(this.bull, name, schema, processor, options, this.wire, this.onError, () =>
      this.workers.delete(worker),
    );
    this.workers.add(worker);
    return worker;
  }

  async state(name: string, jobId: string): Promise<JobState | undefined> {
    const queue = this.bullQueue(name);
    const job = await queue.getJob(jobId);
    const status = job && STATUS[await job.getState()];
    if (!job || !status) return undefined;
    const progress = progressShape.safeParse(job.progress);
    return {
      jobId,
      status,
      attempts: job.attemptsMade,
      ...(progress.success ? { progress: progress.data } : {}),
      ...(job.failedReason ? { failedReason: job.failedReason } : {}),
      ...(status === 'completed' ? { result: job.returnvalue } : {}),
      addedAt: new Date(job.timestamp),
      ...(job.finishedOn ? { finishedAt: new Date(job.finishedOn) } : {}),
    };
  }

  async counts(name: string): Promise<JobCounts> {
    const counts = await this.bullQueue(name).getJobCounts();
    const sums: Record<JobStatus, number> = { waiting: 0, delayed: 0, active: 0, completed: 0, failed: 0 };
    for (const [state, count] of Object.entries(counts)) {
      const status = STATUS[state];
      if (status) sums[status] += count;
    }
    return sums;
  }

  async failed(name: string, options: { offset?: number; limit?: number } = {}): Promise<FailedJob[]> {
    const from = options.offset ?? 0;
    const limit = Math.min(Math.max(options.limit ?? 50, 1), 200);
    const jobs = await this.bullQueue(name).getJobs(['failed'], from, from + limit - 1, false);
    return jobs.map((job) => ({
      jobId: job.id!,
      data: job.data,
      reason: job.failedReason,
      attempts: job.attemptsMade,
      failedAt: new Date(job.finishedOn ?? job.timestamp),
    }));
  }

  async retry(name: string, jobId: string): Promise<boolean> {
    const job = await this.bullQueue(name).getJob(jobId);
    if (!job || !(await job.isFailed())) return false;
    try {
      await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true });
      return true;
    } catch (error) {
      // Somebody else was faster.
      if (await job.isFailed()) throw error;
      return false;
    }
  }

  publishProgress(topic: string, payload: unknown): void {
    this.assertOpen();
    this.wire.publish(topic, payload);
  }

  onProgress(callback: (progress: { topic: string; payload: unknown }) => void): () => void {
    this.assertOpen();
    return this.wire.subscribe(callback);
  }

  close(options: CloseOptions = {}): Promise<void> {
    return (this.closing ??= (async () => {
      await Promise.all([...this.workers].map((worker) => worker.close(options)));
      await Promise.all([...this.queues.values()].map((queue) => queue.close()));
      await this.bull.close();
      await this.wire.close();
      await this.pool.end();
    })());
  }

  private bullQueue(name: string): AnyQueue {
    this.assertOpen();
    assertQueueName(name);
    let queue = this.queues.get(name);
    if (!queue) {
      queue = this.bull.queue(name, { streams: { events: { maxLen: KEEP_EVENTS } } });
      queue.on('error', this.onError);
      this.queues.set(name, queue);
    }
    return queue;
  }

  /** BullMQ's calls on a closed connection never settle. */
  private assertOpen(): void {
    if (this.closing) throw new Error('The jobs are closed');
  }
}

class BullWorker<T> implements JobWorker {
  private readonly bull: AnyWorker;
  private readonly running = new Map<string, AbortController>();
  /** One per job under way: gives up waiting for it. */
  private readonly abandon = new Set<() => void>();
  private abandoned = false;
  private aborting = false;
  private closing: Promise<void> | undefined;

  constructor(
    backend: Backend,
    private readonly name: string,
    private readonly schema: z.ZodType<T>,
    private readonly processor: JobProcessor<T>,
    options: WorkerOptions,
    private readonly wire: ProgressWire,
    private readonly onError: (error: Error) => void,
    private readonly onClosed: () => void,
  ) {
    const lockDuration = options.lockDurationMs ?? LOCK_MS;
    this.bull = backend.worker(name, (job, token) => this.process(job, token), {
      concurrency: options.concurrency ?? 1,
      lockDuration,
      stalledInterval: options.stalledIntervalMs ?? lockDuration / 2,
      maxStalledCount: MAX_STALLED,
      runRetryDelay: 2_000,
      settings: {
        backoffStrategy: (attemptsMade, _type, _error, job) => {
          const { backoff } = job?.opts ?? {};
          const first = typeof backoff === 'object' ? (backoff.delay ?? BACKOFF_MS) : BACKOFF_MS;
          return backoffMs(first, attemptsMade, Math.random());
        },
      },
    });
    this.bull.on('error', onError);
    this.bull.on('lockRenewalFailed', (jobIds) => {
      for (const jobId of jobIds) this.running.get(jobId)?.abort(new Error('The job was lost to another worker'));
    });
    this.bull.on('failed', (job, error) => {
      if (!job) return;
      const final = job.finishedOn !== undefined;
      options.onFailed?.({ jobId: job.id!, attempt: job.attemptsMade, error, final });
    });
    this.bull.on('completed', (job, result) => options.onCompleted?.({ jobId: job.id!, result }));
  }

  async ready(): Promise<void> {
    await this.bull.waitUntilReady();
  }

  close(options: CloseOptions = {}): Promise<void> {
    return (this.closing ??= (async () => {
      const timers = [
        setTimeout(() => {
          this.aborting = true;
          for (const controller of this.running.values()) controller.abort(new Error('The worker is closing'));
        }, options.graceMs ?? GRACE_MS),
        setTimeout(
          () => {
            this.abandoned = true;
            for (const leave of this.abandon) leave();
          },
          (options.graceMs ?? GRACE_MS) + (options.abandonMs ?? ABANDON_MS),
        ),
      ];
      try {
        await this.bull.close();
      } finally {
        timers.forEach(clearTimeout);
        this.onClosed();
      }
    })());
  }

  private async process(job: Job<unknown, unknown>, token: string | undefined): Promise<unknown> {
    const controller = new AbortController();
    this.running.set(job.id!, controller);
    if (this.aborting) controller.abort(new Error('The worker is closing'));
    const progress = this.reporter(job, controller.signal);
    try {
      const data = this.schema.safeParse(job.data);
      if (!data.success) throw new PermanentJobError(`Bad data: ${z.prettifyError(data.error)}`);
      const work = this.processor({
        jobId: job.id!,
        data: data.data,
        attempt: job.attemptsMade + 1,
        signal: controller.signal,
        progress: progress.report,
      });
      const result = await this.orAbandoned(work);
      await progress.end();
      return result ?? null;
    } catch (error) {
      await progress.end();
      if (this.aborting) {
        // Not the job's fault: back to the queue, and no attempt is counted.
        await job.moveToWait(token);
        throw new WaitingError();
      }
      if (error instanceof PermanentJobError) throw new UnrecoverableError(error.message);
      throw error instanceof Error ? error : new Error(String(error));
    } finally {
      if (this.running.get(job.id!) === controller) this.running.delete(job.id!);
    }
  }

  /** The work's outcome, or an error when it has not heard its signal for too long. */
  private async orAbandoned(work: Promise<unknown>): Promise<unknown> {
    let leave = (): void => undefined;
    const left = new Promise<never>((_resolve, reject) => {
      leave = () => reject(new Error('The worker closed without waiting any longer'));
    });
    this.abandon.add(leave);
    if (this.abandoned) leave();
    try {
      return await Promise.race([work, left]);
    } finally {
      this.abandon.delete(leave);
    }
  }

  private reporter(
    job: Job<unknown, unknown>,
    signal: AbortSignal,
  ): { report: (fraction: number, info?: Record<string, unknown>) => void; end: () => Promise<void> } {
    let last: object | undefined;
    let kept: object | undefined;
    let keptAt = -Infinity;
    let keeping: Promise<void> = Promise.resolve();
    let ended = false;
    const keep = (value: object): void => {
      kept = value;
      keptAt = performance.now();
      keeping = keeping.then(() => job.updateProgress(value)).catch(this.onError);
    };
    return {
      report: (fraction, info) => {
        if (ended || signal.aborted) return;
        last = { fraction: Math.min(Math.max(fraction, 0), 1), ...(info ? { info } : {}) };
        this.wire.publish(`job.${this.name}.${job.id!}`, last);
        if (performance.now() - keptAt >= KEEP_PROGRESS_EVERY_MS) keep(last);
      },
      end: () => {
        ended = true;
        if (last && last !== kept && !signal.aborted) keep(last);
        return keeping;
      },
    };
  }
}
