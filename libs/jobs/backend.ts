/** BullMQ's two backends, made from URLs. All knowledge of their differences is here. */
import {
  type BackendFactory,
  type ConnectionOptions,
  createRedisBackend,
  type IQueueBackend,
  PostgresConnection,
  type PostgresConnectionOptions,
  PostgresQueueBackend,
  Queue,
  type QueueOptions,
  type Processor,
  Worker,
  type WorkerOptions,
} from 'bullmq';
import type { QueryResult } from 'pg';
import { type Pool, withTransaction } from '#libs/postgres/index.js';

export const QUEUE_SCHEMA = 'bullmq';
/** After a failed fetch; BullMQ itself waits only for errors it knows from Redis and would spin on the others. */
const PATIENCE_MS = 1_000;

export type AnyQueue = Queue<unknown, unknown, string, unknown, unknown, string, IQueueBackend, never>;
export type AnyWorker = Worker<unknown, unknown, string, IQueueBackend>;

export interface Backend {
  queue(name: string, options: Omit<QueueOptions, 'connection'>): AnyQueue;
  worker(name: string, processor: Processor<unknown, unknown>, options: Omit<WorkerOptions, 'connection'>): AnyWorker;
  close(): Promise<void>;
}

/**
 * Functions of BullMQ that lock many jobs in no particular order (promoting the delayed, marking the stalled, renewing locks):
 * run by several processes at once they deadlock, which ends as failed attempts and seconds of standstill.
 */
const CONTENDED =
  /\b(move_to_active|move_to_completed_fetch|move_to_failed_fetch|move_stalled_jobs_to_wait|extend_locks)\b|UPDATE job\b/i;
const DEADLOCK = '40P01';
const DEADLOCK_TRIES = 6;

/** BullMQ's connection, mended. */
class SoundConnection extends PostgresConnection {
  private attempt: Promise<void> | undefined;

  constructor(config: PostgresConnectionOptions) {
    super(config);
    const pool = this.pool as unknown as Pool;
    const plain = pool.query.bind(pool) as (text: string, values?: unknown[]) => Promise<QueryResult>;
    Reflect.set(pool, 'query', async (text: string, values?: unknown[]): Promise<QueryResult> => {
      for (let attempt = 1; ; attempt++) {
        try {
          // One after another within a queue; its name is always the first value.
          if (!CONTENDED.test(text)) return await plain(text, values);
          return await withTransaction(pool, async (client) => {
            // Claims and leases need no flush of their own: one lost with the server is a job run twice, which is allowed.
            await client.query(
              `SELECT pg_advisory_xact_lock(hashtext('picturelock.jobs'), hashtext($1)), set_config('synchronous_commit', 'off', true)`,
              [values?.[0]],
            );
            return client.query(text, values);
          });
        } catch (error) {
          // The victim was rolled back as a whole: it can simply go again.
          if ((error as { code?: string }).code !== DEADLOCK || attempt === DEADLOCK_TRIES) throw error;
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 50 * attempt));
        }
      }
    });
  }

  /** BullMQ would keep a first failure for ever. */
  override waitUntilReady(): Promise<void> {
    return (this.attempt ??= super.waitUntilReady().catch((error: unknown) => {
      this.attempt = undefined;
      Reflect.set(this, 'readyPromise', undefined);
      throw error;
    }));
  }
}

class PatientBackend extends PostgresQueueBackend {
  override async moveToActive(
    ...args: Parameters<PostgresQueueBackend['moveToActive']>
  ): ReturnType<PostgresQueueBackend['moveToActive']> {
    try {
      return await super.moveToActive(...args);
    } catch (error) {
      if (!this.closing) await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
      throw error;
    }
  }
}

/** `search_path` comes as a connection option, which one in the URL would override. */
function poolConfig(databaseUrl: string, max: number): Exclude<PostgresConnectionOptions, string> {
  const url = new URL(databaseUrl);
  const options = url.searchParams.get('options') ?? undefined;
  url.searchParams.delete('options');
  return {
    connectionString: url.toString(),
    options,
    schema: QUEUE_SCHEMA,
    max,
    application_name: 'picturelock jobs',
    connectionTimeoutMillis: 10_000,
    statement_timeout: 60_000,
    idle_in_transaction_session_timeout: 60_000,
    keepAlive: true,
  } as Exclude<PostgresConnectionOptions, string>;
}

export function postgresBackend(databaseUrl: string, onError: (error: Error) => void): Backend {
  // One pool for all producers of the process; a worker has its own, and a connection to listen on.
  const producers = new SoundConnection(poolConfig(databaseUrl, 4));
  producers.on('error', onError);
  const forQueue: BackendFactory<IQueueBackend, ConnectionOptions> = (name, options) =>
    new PostgresQueueBackend(producers, name, options as never, false);
  const forWorker: BackendFactory<IQueueBackend, ConnectionOptions> = (name, options) =>
    new PatientBackend(new SoundConnection(poolConfig(databaseUrl, 3)), name, options as never, true, name);
  return {
    queue: (name, options) => new Queue(name, { ...options, connection: {} }, forQueue) as unknown as AnyQueue,
    worker: (name, processor, options) =>
      new Worker(name, processor, { ...options, connection: {} }, forWorker) as unknown as AnyWorker,
    close: () => producers.close(),
  };
}

export function redisBackend(redisUrl: string): Backend {
  const connection = { url: redisUrl, maxRetriesPerRequest: null } as ConnectionOptions;
  return {
    queue: (name, options) =>
      // A producer hears of a lost Redis instead of waiting for ever.
      new Queue(
        name,
        { ...options, connection: { ...connection, maxRetriesPerRequest: 5 } as ConnectionOptions },
        createRedisBackend as BackendFactory<IQueueBackend, ConnectionOptions>,
      ) as unknown as AnyQueue,
    worker: (name, processor, options) =>
      new Worker(
        name,
        processor,
        { ...options, connection },
        createRedisBackend as BackendFactory<IQueueBackend, ConnectionOptions>,
      ) as unknown as AnyWorker,
    close: async () => undefined,
  };
}
