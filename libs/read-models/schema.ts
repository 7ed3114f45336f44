import { createHash } from 'node:crypto';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { type Pool, type PoolClient, withTransaction } from '#libs/postgres/index.js';
import { checkpoints } from './checkpoint.js';
import type { ReadModel } from './model.js';

/** The tables in the database are not those of this build, though name and version are the same. */
export class ReadModelChanged extends Error {
  readonly code = 'READ_MODEL_CHANGED';
  constructor(model: ReadModel) {
    super(
      `The tables of ${model.name} version ${model.version} in schema "${model.schema}" were made by another build. Raise the version, or drop the schema to have it rebuilt.`,
    );
  }
}

export interface EnsureOptions {
  /** What to do with tables of another build: `fail` (default) or `recreate`, empty, to be filled from the log. */
  readonly changed?: 'fail' | 'recreate';
}

/** Stands for the schema's name in the statements that TypeORM composes. */
const PLACEHOLDER = '__schema__';
const ddls = new Map<string, Promise<readonly string[]>>();

/**
 * The statements that make the model's tables in an empty schema, composed by TypeORM's schema builder from the entities.
 * The connection is only for TypeORM to look at the server; nothing is changed.
 */
async function composeDdl(url: string, model: ReadModel): Promise<readonly string[]> {
  const source = new DataSource({
    type: 'postgres',
    url,
    entities: [...model.entities],
    installExtensions: false,
    logging: false,
    poolSize: 1,
    applicationName: `picturelock schema ${model.name}`,
  });
  await source.initialize();
  try {
    for (const metadata of source.entityMetadatas) {
      metadata.schema = PLACEHOLDER;
      metadata.tablePath = `${PLACEHOLDER}.${metadata.tableName}`;
    }
    for (const metadata of source.entityMetadatas)
      for (const key of metadata.foreignKeys) key.referencedTablePath = key.referencedEntityMetadata.tablePath;
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    return upQueries.map(({ query }) => query).filter((query) => !query.startsWith('CREATE SCHEMA'));
  } finally {
    await source.destroy();
  }
}

function ddlOf(pool: Pool, model: ReadModel): Promise<readonly string[]> {
  const key = model.copyOf ?? model.name;
  let ddl = ddls.get(key);
  if (!ddl) {
    const { connectionString } = pool.options;
    if (!connectionString) throw new TypeError('The pool must be made from a URL');
    ddl = composeDdl(connectionString, model);
    ddls.set(key, ddl);
    ddl.catch(() => ddls.delete(key));
  }
  return ddl;
}

const fingerprintOf = (ddl: readonly string[]): string =>
  `picturelock ${createHash('sha256').update(ddl.join(';\n')).digest('hex')}`;

async function create(client: PoolClient, schema: string, ddl: readonly string[]): Promise<void> {
  const quoted = pg.escapeIdentifier(schema);
  await client.query(`CREATE SCHEMA ${quoted}`);
  for (const statement of ddl) await client.query(statement.replaceAll(`"${PLACEHOLDER}"`, quoted));
  await client.query(`COMMENT ON SCHEMA ${quoted} IS ${pg.escapeLiteral(fingerprintOf(ddl))}`);
}

/** `absent`, `same`, or `other` when another build made it. */
async function look(client: PoolClient, schema: string, ddl: readonly string[]): Promise<'absent' | 'same' | 'other'> {
  const { rows } = await client.query<{ comment: string | null }>(
    `SELECT obj_description(oid, 'pg_namespace') AS comment FROM pg_namespace WHERE nspname = $1`,
    [schema],
  );
  if (!rows[0]) return 'absent';
  return rows[0].comment === fingerprintOf(ddl) ? 'same' : 'other';
}

/**
 * Makes schema, tables and checkpoint row of a read model where they are missing. New tables are empty and their checkpoint
 * stands before the first event, in one transaction: a checkpoint never vouches for rows that are not there. Processes that
 * do it at once queue up.
 *
 * @returns true when the tables are new, that is: to be filled
 * @throws ReadModelChanged
 */
export async function ensureReadModel(pool: Pool, model: ReadModel, options: EnsureOptions = {}): Promise<boolean> {
  const common = await ddlOf(pool, checkpoints);
  const ddl = await ddlOf(pool, model);
  return withTransaction(pool, async (client) => {
    await client.query(`SELECT pg_advisory_xact_lock(hashtextextended('picturelock.read-models', 0))`);
    const checkpointTable = await look(client, checkpoints.schema, common);
    if (checkpointTable === 'other') throw new ReadModelChanged(checkpoints);
    if (checkpointTable === 'absent') await create(client, checkpoints.schema, common);

    const found = await look(client, model.schema, ddl);
    const { rowCount: known } = await client.query(
      `SELECT 1 FROM projection.checkpoint WHERE name = $1 AND version = $2`,
      [model.name, model.version],
    );
    if (found === 'same' && known) return false;
    if (found === 'other' && options.changed !== 'recreate') throw new ReadModelChanged(model);
    await drop(client, model);
    await create(client, model.schema, ddl);
    await client.query(`INSERT INTO projection.checkpoint (name, version, position) VALUES ($1, $2, -1)`, [
      model.name,
      model.version,
    ]);
    return true;
  });
}

async function drop(client: PoolClient, model: ReadModel): Promise<void> {
  await client.query(`DROP SCHEMA IF EXISTS ${pg.escapeIdentifier(model.schema)} CASCADE`);
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('projection.checkpoint') IS NOT NULL AS there`,
  );
  if (rows[0]!.there)
    await client.query(`DELETE FROM projection.checkpoint WHERE name = $1 AND version = $2`, [
      model.name,
      model.version,
    ]);
}

/** Removes the read model's tables and its checkpoint. What was in them comes back from the log. */
export function dropReadModel(pool: Pool, model: ReadModel): Promise<void> {
  return withTransaction(pool, (client) => drop(client, model));
}

/** Log position up to which the read model's rows are complete; null before the first event. */
export async function readCheckpoint(client: Pick<Pool, 'query'>, model: ReadModel): Promise<bigint | null> {
  const { rows } = await client.query<{ position: string }>(
    `SELECT position FROM projection.checkpoint WHERE name = $1 AND version = $2`,
    [model.name, model.version],
  );
  if (!rows[0]) throw new Error(`There is no checkpoint of ${model.name} version ${model.version}`);
  const position = BigInt(rows[0].position);
  return position < 0n ? null : position;
}
