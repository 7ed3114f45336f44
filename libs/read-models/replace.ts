import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { type Pool, type PoolClient, withTransaction } from '#libs/postgres/index.js';
import { PROJECTION_CHANNEL } from './checkpoint.js';
import { partitionsOf, type ReadModel } from './model.js';

const REPLACED = 'picturelock replaced ';

/** A checkpoint: of a read model, or of one of its partitions. */
export interface Standing {
  readonly model: ReadModel;
  readonly partition: number;
  readonly epoch: bigint;
  readonly position: bigint | null;
}

/**
 * Puts a complete copy in the place of its read model, in one transaction, while nobody is between two statements of one
 * snapshot (the gate). Readers' names lead to the new tables from then on. The old ones stay, under another name, until
 * {@link dropReplaced}.
 *
 * @param live where the runner who does it stands; other partitions may be anywhere before the copy, and whoever runs them
 *   finds out by their epochs
 * @param waitMs how long to wait for readers; those that come meanwhile wait too
 * @returns the new epoch of each partition; undefined when readers were in the way, or a checkpoint has moved
 */
export async function replaceReadModel(
  pool: Pool,
  live: Standing,
  copy: Standing,
  waitMs: number,
  also: (client: PoolClient) => Promise<unknown>,
): Promise<ReadonlyMap<number, bigint> | undefined> {
  const { name, version, schema } = live.model;
  const aside = `${schema}_old_${randomBytes(4).toString('hex')}`;
  const id = pg.escapeIdentifier;
  try {
    return await withTransaction(pool, async (client) => {
      await client.query(`SET LOCAL lock_timeout = ${Math.ceil(waitMs)}`);
      await client.query('LOCK TABLE projection.gate IN ACCESS EXCLUSIVE MODE');
      const { rows } = await client.query<{ partition: number; epoch: string }>(
        `UPDATE projection.checkpoint SET position = $5, epoch = epoch + 1, updated_at = clock_timestamp()
          WHERE name = $1 AND version = $2 AND position <= $5
            AND (partition <> $6 OR epoch = $3 AND position = $4) RETURNING partition, epoch`,
        [name, version, live.epoch, live.position ?? -1n, copy.position ?? -1n, live.partition],
      );
      const { rowCount } = await client.query(
        `DELETE FROM projection.checkpoint WHERE name = $1 AND version = $2 AND epoch = $3 AND position = $4`,
        [copy.model.name, version, copy.epoch, copy.position ?? -1n],
      );
      if (rows.length !== partitionsOf(live.model) || rowCount !== 1) throw new Moved();
      await client.query('DELETE FROM projection.leader WHERE name = $1 AND version = $2', [copy.model.name, version]);
      await client.query(`ALTER SCHEMA ${id(schema)} RENAME TO ${id(aside)}`);
      await client.query(`ALTER SCHEMA ${id(copy.model.schema)} RENAME TO ${id(schema)}`);
      await client.query(`COMMENT ON SCHEMA ${id(aside)} IS ${pg.escapeLiteral(REPLACED + new Date().toISOString())}`);
      await also(client);
      await client.query('SELECT pg_notify($1, $2)', [PROJECTION_CHANNEL, `${name}:${copy.position ?? -1n}`]);
      return new Map(rows.map(({ partition, epoch }) => [partition, BigInt(epoch)]));
    });
  } catch (error) {
    if (error instanceof Moved || (error as { code?: unknown }).code === '55P03') return undefined;
    throw error;
  }
}

class Moved extends Error {}

/** Removes tables that were replaced so long ago, milliseconds, that no statement uses them any more. */
export async function dropReplaced(pool: Pool, graceMs: number): Promise<void> {
  const { rows } = await pool.query<{ schema: string; comment: string }>(
    `SELECT nspname AS schema, obj_description(oid, 'pg_namespace') AS comment FROM pg_namespace WHERE nspname LIKE '%\\_old\\_%'`,
  );
  for (const { schema, comment } of rows) {
    if (!comment?.startsWith(REPLACED)) continue;
    if (Date.parse(comment.slice(REPLACED.length)) > Date.now() - graceMs) continue;
    await pool.query(`DROP SCHEMA IF EXISTS ${pg.escapeIdentifier(schema)} CASCADE`);
  }
}

/**
 * Removes earlier versions of a read model that nobody reads and nobody runs, and leases that have run out.
 *
 * @param graceMs since a process has last said that it reads it, milliseconds
 * @returns the versions removed
 */
export function dropOldVersions(pool: Pool, model: ReadModel, graceMs: number): Promise<number[]> {
  return withTransaction(pool, async (client) => {
    await client.query(
      `DELETE FROM projection.lease WHERE seen_at < clock_timestamp() - $1 * interval '1 millisecond'`,
      [graceMs],
    );
    const { rows } = await client.query<{ version: number }>(
      `SELECT version FROM projection.checkpoint AS c
        WHERE name = $1 AND version < $2
          AND NOT EXISTS (SELECT 1 FROM projection.lease AS l WHERE l.name = c.name AND l.version = c.version)
        GROUP BY version
       HAVING max(updated_at) < clock_timestamp() - $3 * interval '1 millisecond'
          AND bool_and(pg_try_advisory_xact_lock(hashtextextended($4 || version ||
                CASE WHEN partition = 0 THEN '' ELSE '.' || partition END, 0)))`,
      [model.name, model.version, graceMs, `picturelock.projection.${model.name}.`],
    );
    for (const { version } of rows) {
      await client.query(`DROP SCHEMA IF EXISTS ${pg.escapeIdentifier(`${model.name}_v${version}`)} CASCADE`);
      await client.query('DELETE FROM projection.checkpoint WHERE name = $1 AND version = $2', [model.name, version]);
      await client.query('DELETE FROM projection.parked WHERE name = $1 AND version = $2', [model.name, version]);
    }
    return rows.map(({ version }) => version);
  });
}

/** The statement that says that a process reads these read models; to be said again well before the grace is over. */
export const leaseStatement = (holder: string, models: readonly ReadModel[]): { text: string; values: unknown[] } => ({
  text: `INSERT INTO projection.lease (holder, name, version) SELECT $1, name, version FROM unnest($2::text[], $3::int[]) AS r (name, version)
             ON CONFLICT (holder, name, version) DO UPDATE SET seen_at = clock_timestamp()`,
  values: [holder, models.map(({ name }) => name), models.map(({ version }) => version)],
});
