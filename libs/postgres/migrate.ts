import { createHash } from 'node:crypto';
import pg from 'pg';
import { PostgresError } from './errors.js';
import { type Pool, type PoolClient, withTransaction } from './pool.js';

/** One step forward. Never edited after release: a correction is a new step. */
export interface Migration {
  /** 1, 2, 3, … without gaps. */
  version: number;
  name: string;
  /** SQL text (several statements are fine), or code on the migrating transaction. Unqualified names mean the schema. */
  up: string | ((client: PoolClient) => Promise<void>);
}

export interface MigrationResult {
  /** Version before, 0 for none. */
  from: number;
  to: number;
}

const checksum = (migration: Migration): string =>
  createHash('sha256')
    .update(typeof migration.up === 'string' ? migration.up : migration.name)
    .digest('hex');

/**
 * Brings `schema` to the newest version in one transaction, all or nothing; processes that do it at once queue up.
 * `search_path` is the schema while the steps run.
 *
 * @throws PostgresError SCHEMA_NEWER when the database is ahead of this build, SCHEMA_CHANGED when a released step differs
 */
export async function migrate(pool: Pool, schema: string, migrations: readonly Migration[]): Promise<MigrationResult> {
  migrations.forEach(({ version, name }, index) => {
    if (version !== index + 1)
      throw new RangeError(`migration "${name}" must have version ${index + 1}, not ${version}`);
  });
  const quoted = pg.escapeIdentifier(schema);
  return withTransaction(pool, async (client) => {
    await client.query(`SET LOCAL statement_timeout = 0`);
    await client.query(`SET LOCAL lock_timeout = 0`);
    await client.query(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, [`picturelock.migrate.${schema}`]);
    await client.query(`CREATE SCHEMA IF NOT EXISTS ${quoted}`);
    await client.query(`SET LOCAL search_path = ${quoted}, public`);
    await client.query(
      `CREATE TABLE IF NOT EXISTS ${quoted}.schema_migrations (
         version integer PRIMARY KEY,
         name text NOT NULL,
         checksum text NOT NULL,
         applied_at timestamptz NOT NULL DEFAULT now()
       )`,
    );
    const { rows } = await client.query<{ version: number; name: string; checksum: string }>(
      `SELECT version, name, checksum FROM ${quoted}.schema_migrations ORDER BY version`,
    );
    const from = rows.at(-1)?.version ?? 0;
    if (from > migrations.length) {
      throw new PostgresError(
        'SCHEMA_NEWER',
        `The database schema "${schema}" is at version ${from}; this build knows ${migrations.length}. Start the newer build that wrote it.`,
      );
    }
    for (const row of rows) {
      const known = migrations[row.version - 1]!;
      if (checksum(known) !== row.checksum) {
        throw new PostgresError(
          'SCHEMA_CHANGED',
          `Migration ${row.version} "${row.name}" of schema "${schema}" was changed after it was applied. Add a new migration instead.`,
        );
      }
    }
    for (const migration of migrations.slice(from)) {
      if (typeof migration.up === 'string') await client.query(migration.up);
      else await migration.up(client);
      await client.query(`INSERT INTO ${quoted}.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)`, [
        migration.version,
        migration.name,
        checksum(migration),
      ]);
    }
    return { from, to: migrations.length };
  });
}
