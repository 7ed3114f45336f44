import pg from 'pg';
import { type Pool, withTransaction } from '#libs/postgres/index.js';
import type { ReadModel } from './model.js';
import { tableOf } from './tables.js';

/**
 * One hash for the whole content of each table, rows in the order of their primary key: two builds of the same log are
 * equal exactly when these are. Keys are `<read model>.<table>`, values `<rows>:<sha-256>`. A scratch copy has the keys of
 * its original.
 */
export function digestReadModels(pool: Pool, models: readonly ReadModel[]): Promise<Record<string, string>> {
  return withTransaction(
    pool,
    async (client) => {
      // Text of values must not depend on the server's settings.
      await client.query(
        `SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1; SET LOCAL statement_timeout = 0`,
      );
      const digests: Record<string, string> = {};
      for (const model of models)
        for (const entity of model.entities) {
          const table = tableOf(entity);
          const order = table.primaryKey.map(({ name }) => pg.escapeIdentifier(name)).join(', ');
          const columns = table.columns.map(({ name }) => pg.escapeIdentifier(name)).join(', ');
          const { rows } = await client.query<{ digest: string }>(
            `SELECT count(*) || ':' || encode(sha256(coalesce(string_agg(sha256(convert_to(row::text, 'UTF8')), ''::bytea ORDER BY ${order}), '')), 'hex') AS digest
             FROM (SELECT ${order}, ROW(${columns}) AS row FROM ${pg.escapeIdentifier(model.schema)}.${pg.escapeIdentifier(table.name)}) AS rows`,
          );
          digests[`${model.copyOf ?? model.name}.${table.name}`] = rows[0]!.digest;
        }
      return digests;
    },
    { isolation: 'REPEATABLE READ', readOnly: true },
  );
}
