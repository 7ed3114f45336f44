import pg from 'pg';

export type Pool = pg.Pool;
export type PoolClient = pg.PoolClient;

export interface PoolOptions {
  /** Most connections at once; default 10. */
  max?: number;
  /** Shown in `pg_stat_activity` and the server's log. */
  applicationName?: string;
  /** The server ends a statement that runs longer (ms); default 60,000, 0 for never. */
  statementTimeoutMs?: number;
  /** The server ends a transaction that idles longer (ms); default 60,000, 0 for never. */
  idleInTransactionTimeoutMs?: number;
  /** The server gives up waiting for a lock after this (ms); default 0, never. */
  lockTimeoutMs?: number;
  /** Waiting for a connection from the server or the pool (ms); default 10,000. */
  connectionTimeoutMs?: number;
  /** Told when an idle connection breaks; the pool replaces it by itself. */
  onError?: (error: Error) => void;
}

/** A pool with limits on every wait, that doesn't bring the process down when an idle connection breaks. */
export function createPool(url: string, options: PoolOptions = {}): Pool {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max ?? 10,
    application_name: options.applicationName ?? 'picturelock',
    statement_timeout: options.statementTimeoutMs ?? 60_000,
    idle_in_transaction_session_timeout: options.idleInTransactionTimeoutMs ?? 60_000,
    lock_timeout: options.lockTimeoutMs ?? 0,
    connectionTimeoutMillis: options.connectionTimeoutMs ?? 10_000,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  });
  pool.on('error', (error) => options.onError?.(error));
  return pool;
}

export interface TransactionOptions {
  isolation?: 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';
  readOnly?: boolean;
}

/**
 * Runs `work` in one transaction on one connection. Its error rolls everything back and is thrown on. Resolves only when
 * the server has really committed.
 */
export async function withTransaction<T>(
  pool: Pool,
  work: (client: PoolClient) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const client = await pool.connect();
  let broken: Error | undefined;
  const onError = (error: Error): void => void (broken = error);
  client.on('error', onError);
  try {
    await client.query(
      `BEGIN ISOLATION LEVEL ${options.isolation ?? 'READ COMMITTED'}${options.readOnly ? ' READ ONLY' : ''}`,
    );
    const result = await work(client);
    const { command } = await client.query('COMMIT');
    // COMMIT of a failed transaction succeeds as ROLLBACK: `work` has swallowed an error.
    if (command !== 'COMMIT') throw new Error(`the transaction was rolled back (${command}): a statement in it failed`);
    return result;
  } catch (error) {
    // A connection that can't even roll back is in an unknown state: the pool must not hand it out again.
    await client.query('ROLLBACK').catch((lost: Error) => void (broken = lost));
    throw error;
  } finally {
    client.removeListener('error', onError);
    client.release(broken);
  }
}
