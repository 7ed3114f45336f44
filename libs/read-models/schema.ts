import { createHash } from 'node:crypto';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { type Pool, type PoolClient, withTransaction } from '#libs/postgres/index.js';
import { ensureControl } from './checkpoint.js';
import { partitionsOf, type ReadModel } from './model.js';
import { tableOf } from './tables.js';

/** The tables in the database are not those of this build, though name and version are the same. */
export class ReadModelChanged extends Error {
  readonly code = 'READ_MODEL_CHANGED';
  constructor(model: ReadModel) {
    super(
      `The tables of ${model.name} version ${model.version} in schema "${model.schema}" were made by another build. Raise the version, or drop the schema to have it rebuilt.`,
    );
  }
}

/**
 * `complete`, or `filling`: new tables without the foreign keys and most of the indexes, which are much cheaper to make
 * once the rows are there.
 */
export type ReadModelState = 'complete' | 'filling';

export interface EnsureOptions {
  /** Whether new tables are to be filled from a long log first; see {@link completeReadModel}. Default false. */
  readonly fill?: boolean;
  /** What to do with tables of another build: `fail` (default) or `recreate`, empty, to be filled from the log. */
  readonly changed?: 'fail' | 'recreate';
}

/** Stands for the schema's name in the statements that TypeORM composes. */
const PLACEHOLDER = '__schema__';
/** Those who make one model's tables queue up; the indexes of several are made at once. */
const lock = ({ schema }: ReadModel): pg.QueryConfig => ({
  text: 'SELECT pg_advisory_xact_lock(hashtextextended($1, 0))',
  values: [`picturelock.read-models.${schema}`],
});
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

/** Other partitions are other checkpoints: rows of the one can't go on by the other. */
const fingerprintOf = (model: ReadModel, ddl: readonly string[]): string => {
  const shares = partitionsOf(model) === 1 ? '' : ` in ${partitionsOf(model)}`;
  return `picturelock ${createHash('sha256').update(ddl.join(';\n')).digest('hex')}${shares}`;
};

const FILLING = ' filling without keys';

/**
 * Of new tables the planner has to know at once that they are large, and roughly how their keys are spread; it looks at 300
 * rows for each of these. The server looks closer by itself as the tables grow.
 */
const FIRST_STATISTICS = 20;

/** What is made before the rows are there, and what waits for them. */
function split(model: ReadModel, ddl: readonly string[]): { first: string[]; later: string[] } {
  const first: string[] = [];
  const later: string[] = [];
  for (const statement of ddl) {
    if (deferrable(model, statement)) later.push(statement);
    else if (!model.appendOnly) first.push(statement);
    else {
      const [table, key] = withoutKey(statement);
      first.push(table);
      // Before the other indexes: two rows of one key are found out first.
      if (key) later.unshift(key);
    }
  }
  return { first, later };
}

const deferrable = (model: ReadModel, statement: string): boolean =>
  / FOREIGN KEY /.test(statement) ||
  (/^CREATE (UNIQUE )?INDEX /.test(statement) &&
    !(model.lookups ?? []).some((index) => statement.includes(`INDEX "${index}" `)));

/** `CREATE TABLE` without its primary key, and the statement that adds it. */
function withoutKey(statement: string): [table: string, key: string | undefined] {
  const found = /^CREATE TABLE (\S+) .*?(, (CONSTRAINT "[^"]+" PRIMARY KEY \([^)]*\)))/.exec(statement);
  return found ? [statement.replace(found[2]!, ''), `ALTER TABLE ${found[1]} ADD ${found[3]}`] : [statement, undefined];
}

const inSchema = (statement: string, schema: string): string =>
  statement.replaceAll(`"${PLACEHOLDER}"`, pg.escapeIdentifier(schema));

const comment = (schema: string, text: string): string =>
  `COMMENT ON SCHEMA ${pg.escapeIdentifier(schema)} IS ${pg.escapeLiteral(text)}`;

async function create(client: PoolClient, model: ReadModel, ddl: readonly string[], fill: boolean): Promise<void> {
  await client.query(`CREATE SCHEMA ${pg.escapeIdentifier(model.schema)}`);
  for (const statement of fill ? split(model, ddl).first : ddl) await client.query(inSchema(statement, model.schema));
  await client.query(comment(model.schema, `${fingerprintOf(model, ddl)}${fill ? FILLING : ''}`));
}

/** What is in the database; `other` is the work of another build. */
async function look(
  client: PoolClient,
  model: ReadModel,
  ddl: readonly string[],
): Promise<'absent' | 'other' | ReadModelState> {
  const { rows } = await client.query<{ comment: string | null }>(
    `SELECT obj_description(oid, 'pg_namespace') AS comment FROM pg_namespace WHERE nspname = $1`,
    [model.schema],
  );
  if (!rows[0]) return 'absent';
  const fingerprint = fingerprintOf(model, ddl);
  if (rows[0].comment === fingerprint) return 'complete';
  return rows[0].comment === fingerprint + FILLING ? 'filling' : 'other';
}

/**
 * Makes the keys and indexes that were left out of new tables, and lets the planner know the tables. One transaction;
 * nothing to do on complete tables.
 */
export async function completeReadModel(pool: Pool, model: ReadModel): Promise<void> {
  const ddl = await ddlOf(pool, model);
  const made = await withTransaction(pool, async (client) => {
    await client.query(
      `SET LOCAL statement_timeout = 0; SET LOCAL synchronous_commit = off; SET LOCAL maintenance_work_mem = '128MB'`,
    );
    await client.query(lock(model));
    if ((await look(client, model, ddl)) !== 'filling') return false;
    for (const statement of split(model, ddl).later) await client.query(inSchema(statement, model.schema));
    await client.query(comment(model.schema, fingerprintOf(model, ddl)));
    return true;
  });
  if (!made) return;
  await withTransaction(pool, async (client) => {
    await client.query(`SET LOCAL default_statistics_target = ${FIRST_STATISTICS}`);
    for (const entity of model.entities)
      await client.query(`ANALYZE ${pg.escapeIdentifier(model.schema)}.${pg.escapeIdentifier(tableOf(entity).name)}`);
  });
}

/**
 * Makes schema, tables and checkpoint row of a read model where they are missing. New tables are empty and their checkpoint
 * stands before the first event, in one transaction: a checkpoint never vouches for rows that are not there. Processes that
 * do it at once queue up.
 *
 * @throws ReadModelChanged
 */
export async function ensureReadModel(
  pool: Pool,
  model: ReadModel,
  options: EnsureOptions = {},
): Promise<{ created: boolean; state: ReadModelState }> {
  await ensureControl(pool);
  const ddl = await ddlOf(pool, model);
  return withTransaction(pool, async (client) => {
    await client.query(lock(model));
    const found = await look(client, model, ddl);
    const { rowCount: known } = await client.query(
      `SELECT 1 FROM projection.checkpoint WHERE name = $1 AND version = $2`,
      [model.name, model.version],
    );
    if ((found === 'complete' || found === 'filling') && known === partitionsOf(model))
      return { created: false, state: found };
    if (found === 'other' && options.changed !== 'recreate') throw new ReadModelChanged(model);
    await drop(client, model);
    await create(client, model, ddl, options.fill === true);
    await client.query(
      `INSERT INTO projection.checkpoint (name, version, partition, position)
       SELECT $1, $2, partition, -1 FROM generate_series(0, $3 - 1) AS partition`,
      [model.name, model.version, partitionsOf(model)],
    );
    // What was put aside comes again; what a person has decided to skip stays skipped.
    await client.query(`DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND state <> 'SKIPPED'`, [
      model.name,
      model.version,
    ]);
    return { created: true, state: options.fill === true ? 'filling' : 'complete' };
  });
}

async function drop(client: PoolClient, model: ReadModel): Promise<void> {
  await client.query(`DROP SCHEMA IF EXISTS ${pg.escapeIdentifier(model.schema)} CASCADE`);
  const { rows } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('projection.leader') IS NOT NULL AS there`,
  );
  if (!rows[0]!.there) return;
  for (const table of ['checkpoint', 'leader'])
    await client.query(`DELETE FROM projection.${table} WHERE name = $1 AND version = $2`, [model.name, model.version]);
}

/** Removes the read model's tables and its checkpoint. What was in them comes back from the log. */
export function dropReadModel(pool: Pool, model: ReadModel): Promise<void> {
  return withTransaction(pool, (client) => drop(client, model));
}

/** Log position up to which the read model's rows are complete; null before the first event. */
export async function readCheckpoint(client: Pick<Pool, 'query'>, model: ReadModel): Promise<bigint | null> {
  const { rows } = await client.query<{ position: string }>(
    `SELECT min(position) AS position FROM projection.checkpoint WHERE name = $1 AND version = $2 HAVING count(*) > 0`,
    [model.name, model.version],
  );
  if (!rows[0]) throw new Error(`There is no checkpoint of ${model.name} version ${model.version}`);
  const position = BigInt(rows[0].position);
  return position < 0n ? null : position;
}
