import pg from 'pg';
import { StartRefused } from '../errors.js';
import { MIGRATIONS } from './migrations.js';

/** One lock a database: whoever holds it is the writer. The number spells "evst". */
const WRITER_LOCK = 0x65767374;

/** Settings without which an acknowledged append could be lost in a crash. */
const DURABILITY_SETTINGS = ['fsync', 'synchronous_commit', 'full_page_writes'] as const;

/** Opens a session of its own for the writer. Throws what `pg` throws. */
export async function connect(databaseUrl: string, connectTimeoutMs = 5_000): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    application_name: 'eventstore-writer',
    connectionTimeoutMillis: connectTimeoutMs,
    keepAlive: true,
    // A Postgres that hangs is taken for gone; the callers get their answer.
    query_timeout: 30_000,
  });
  // Without a listener a lost connection would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
  return client;
}

/**
 * Takes the writer's lock for this session. The session of a writer that died holds it until Postgres notices, so it is
 * waited for a while. Refuses with `EVENTSTORE_DATABASE_IN_USE` when another server keeps it.
 */
export async function lockWriter(client: pg.Client, waitMs: number): Promise<void> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const result = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [WRITER_LOCK]);
    if (result.rows[0]?.locked === true) return;
    if (Date.now() >= deadline) {
      throw new StartRefused(
        'EVENTSTORE_DATABASE_IN_USE',
        `Another event store serves this database (it holds advisory lock ${WRITER_LOCK}); waited ${waitMs} ms for it.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Pid of the session's backend. */
export async function backendPid(client: pg.Client): Promise<number> {
  const result = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
  return result.rows[0]!.pid;
}

/**
 * Ends the backend of our own former session if it still holds the writer's lock: behind a broken network it may not
 * have noticed that we are gone. Backends of other servers are left alone.
 */
export async function endFormerSession(client: pg.Client, pid: number): Promise<void> {
  await client.query(
    `SELECT pg_terminate_backend(pid) FROM pg_locks
      WHERE locktype = 'advisory' AND classid = 0 AND objid = $1 AND pid = $2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    [WRITER_LOCK, pid],
  );
}

/** Refuses a Postgres that would acknowledge a commit before it is safe on disk. */
export async function assertDurable(client: pg.Client): Promise<void> {
  for (const name of DURABILITY_SETTINGS) {
    const result = await client.query<{ value: string }>('SELECT current_setting($1) AS value', [name]);
    const value = result.rows[0]?.value ?? '';
    if (!isDurable(name, value)) {
      throw new StartRefused(
        'EVENTSTORE_DATABASE_NOT_DURABLE',
        `Postgres runs with ${name} = ${value}; the event store needs it on, or acknowledged events can be lost.`,
      );
    }
  }
  const encoding = await client.query<{ value: string }>("SELECT current_setting('server_encoding') AS value");
  if (encoding.rows[0]?.value !== 'UTF8') {
    throw new StartRefused(
      'EVENTSTORE_DATABASE_ENCODING',
      `The database is encoded in ${encoding.rows[0]?.value}; the event store needs UTF8.`,
    );
  }
}

/** `synchronous_commit` has levels; all but `off` flush our own disk. */
export function isDurable(name: (typeof DURABILITY_SETTINGS)[number], value: string): boolean {
  if (name !== 'synchronous_commit') return value === 'on';
  return ['on', 'local', 'remote_write', 'remote_apply'].includes(value);
}

/** Brings the schema to this version. Refuses with `EVENTSTORE_DATABASE_NEWER`. Call it under the writer's lock. */
export async function migrate(client: pg.Client, migrations: readonly string[] = MIGRATIONS): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query('CREATE SCHEMA IF NOT EXISTS eventstore');
    await client.query(
      'CREATE TABLE IF NOT EXISTS eventstore.schema_version (version integer NOT NULL, single boolean PRIMARY KEY DEFAULT true CHECK (single))',
    );
    const result = await client.query<{ version: number }>('SELECT version FROM eventstore.schema_version');
    const version = result.rows[0]?.version ?? 0;
    if (version > migrations.length) {
      throw new StartRefused(
        'EVENTSTORE_DATABASE_NEWER',
        `The event store's database has schema version ${version}; this server knows ${migrations.length}. Start a newer server.`,
      );
    }
    for (const migration of migrations.slice(version)) await client.query(migration);
    await client.query(
      'INSERT INTO eventstore.schema_version (version) VALUES ($1) ON CONFLICT (single) DO UPDATE SET version = excluded.version',
      [migrations.length],
    );
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined);
    throw error;
  }
}
