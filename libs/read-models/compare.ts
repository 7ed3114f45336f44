import pg from 'pg';
import type { PoolClient } from '#libs/postgres/index.js';
import { originalName } from './checkpoint.js';
import type { ReadModel } from './model.js';
import { type Table, tableOf } from './tables.js';

const EXAMPLES = 10;

/** How a table differs from the same one of a clean rebuild, row by row. */
export interface TableDifference {
  /** `<read model>.<table>`. */
  readonly table: string;
  /** Rows of the clean rebuild that are not there. */
  readonly missing: number;
  /** Rows that a clean rebuild does not have. */
  readonly extra: number;
  readonly changed: number;
  /** Primary keys of the first few of them, the parts of each with a space in between. */
  readonly examples: readonly string[];
}

/**
 * Compares the rows of a read model with those of a clean copy, as the client's snapshot has them.
 *
 * @returns only tables that differ; none when all rows are the same
 */
export async function compareReadModels(
  client: PoolClient,
  live: ReadModel,
  clean: ReadModel,
): Promise<TableDifference[]> {
  const differences: TableDifference[] = [];
  for (const entity of live.entities) {
    const table = tableOf(entity);
    const { rows } = await client.query<Omit<TableDifference, 'table'>>(comparison(table, live.schema, clean.schema));
    const { missing, extra, changed } = rows[0]!;
    if (missing + extra + changed > 0) differences.push({ table: `${originalName(live)}.${table.name}`, ...rows[0]! });
  }
  return differences;
}

function comparison(table: Table, live: string, clean: string): string {
  const id = pg.escapeIdentifier;
  const key = table.primaryKey.map(({ name }) => id(name)).join(', ');
  const columns = table.columns.map(({ name }) => id(name)).join(', ');
  const side = (schema: string): string =>
    `(SELECT ${key}, true AS there, ROW(${columns}) AS row FROM ${id(schema)}.${id(table.name)})`;
  return `
    WITH differing AS MATERIALIZED (
      SELECT concat_ws(' ', ${key}) AS key, live.there AS in_live, clean.there AS in_clean
        FROM ${side(live)} AS live FULL JOIN ${side(clean)} AS clean USING (${key})
       WHERE live.row IS DISTINCT FROM clean.row
    )
    SELECT count(*) FILTER (WHERE in_live IS NULL)::int AS missing,
           count(*) FILTER (WHERE in_clean IS NULL)::int AS extra,
           count(*) FILTER (WHERE in_live AND in_clean)::int AS changed,
           (SELECT coalesce(json_agg(key), '[]') FROM (SELECT key FROM differing LIMIT ${EXAMPLES}) AS first) AS examples
      FROM differing`;
}
