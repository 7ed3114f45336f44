import pg from 'pg';
import { createPool, type Pool } from './pool.js';

/** Tables by the beginning of their schema's name, as in `identity_v`, and their own. */
export interface ScrubbedTable {
  readonly schemaPrefix: string;
  readonly table: string;
}

export interface Scrubbed {
  readonly tables: readonly string[];
  /** False on a server whose superuser we are not: its old WAL segments are its operator's. */
  readonly wal: boolean;
}

/** Readers hold a table at most this long; then they go first and we come again, milliseconds. */
const LOCK_MS = 2_000;
/** Write-ahead log segments written ahead of need are few; more are somebody else's. */
const MAX_SEGMENTS = 1_000;

/**
 * Removes what Postgres keeps of rows that were overwritten or deleted: dead rows in the tables, samples in the planner's
 * statistics, and the write-ahead log written so far (old segments, and those kept for use again). Tables are rewritten
 * under a short exclusive lock.
 *
 * @throws Error of the server when a table stays in use; nothing is lost by trying again
 */
export async function scrub(url: string, wanted: readonly ScrubbedTable[]): Promise<Scrubbed> {
  const pool = createPool(url, {
    max: 1,
    applicationName: 'picturelock scrub',
    lockTimeoutMs: LOCK_MS,
    statementTimeoutMs: 0,
  });
  try {
    const { rows } = await pool.query<{ schema: string; table: string }>(
      `SELECT n.nspname AS schema, c.relname AS table FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
       JOIN unnest($1::text[], $2::text[]) AS w (prefix, name) ON starts_with(n.nspname, w.prefix) AND c.relname = w.name
       WHERE c.relkind = 'r' ORDER BY 1, 2`,
      [wanted.map(({ schemaPrefix }) => schemaPrefix), wanted.map(({ table }) => table)],
    );
    for (const { schema, table } of rows)
      await pool.query(`VACUUM (FULL, ANALYZE) ${pg.escapeIdentifier(schema)}.${pg.escapeIdentifier(table)}`);
    const superuser = await isSuperuser(pool);
    if (superuser) {
      // Most common values and histograms hold samples of the columns.
      await pool.query('VACUUM (FULL) pg_catalog.pg_statistic');
      await replaceWal(pool);
    }
    return { tables: rows.map(({ schema, table }) => `${schema}.${table}`), wal: superuser };
  } finally {
    await pool.end();
  }
}

async function isSuperuser(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ superuser: string }>(`SELECT current_setting('is_superuser') AS superuser`);
  return rows[0]!.superuser === 'on';
}

/** Segments before now are removed instead of kept for use again, and those that were kept are written over. */
async function replaceWal(pool: Pool): Promise<void> {
  await pool.query(`ALTER SYSTEM SET wal_recycle = off`);
  try {
    await pool.query('SELECT pg_reload_conf()');
    await pool.query('SELECT pg_switch_wal()');
    await pool.query('CHECKPOINT');
    const ahead = await pool.query<{ segments: number }>(
      `SELECT count(*)::int AS segments FROM pg_ls_waldir()
       WHERE name ~ '^[0-9A-F]{24}$' AND name > pg_walfile_name(pg_current_wal_insert_lsn())`,
    );
    for (let i = 0; i < Math.min(ahead.rows[0]!.segments, MAX_SEGMENTS); i++) {
      // A switch fills the rest of the segment with zeros; without anything new since the last one it does nothing.
      await pool.query(`SELECT pg_logical_emit_message(false, 'picturelock', '')`);
      await pool.query('SELECT pg_switch_wal()');
    }
    await pool.query('CHECKPOINT');
  } finally {
    await pool.query('ALTER SYSTEM RESET wal_recycle');
    await pool.query('SELECT pg_reload_conf()');
  }
}
