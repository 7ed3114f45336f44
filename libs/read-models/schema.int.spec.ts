import { createPool, type Pool } from '#libs/postgres/index.js';
import { DataSource } from 'typeorm';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import {
  completeReadModel,
  digestReadModels,
  dropReadModel,
  ensureReadModel,
  identity,
  READ_MODELS,
  readCheckpoint,
  review,
  scratchCopy,
  tableOf,
} from './index.js';

let database: TestDatabase;
let pool: Pool;
beforeAll(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 4 });
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const ORGANISATION = '5b0a3c1e-6a2e-4c56-9a53-0d1c5d0f1a01';
const insertOrganisation = (schema: string, name = 'Northlight') =>
  pool.query(
    `INSERT INTO ${schema}.organisation (id, name, created_at, revision) VALUES ($1, $2, '2026-01-02T03:04:05.678Z', 0)`,
    [ORGANISATION, name],
  );

it('makes every read model from its entities, and TypeORM finds nothing left to change', async () => {
  for (const model of READ_MODELS) {
    expect(await ensureReadModel(pool, model)).toEqual({ created: true, state: 'complete' });
    expect(await readCheckpoint(pool, model)).toBeNull();
  }
  const source = new DataSource({
    type: 'postgres',
    url: database.url,
    entities: READ_MODELS.flatMap(({ entities }) => [...entities]),
    installExtensions: false,
  });
  await source.initialize();
  try {
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    expect(upQueries.map(({ query }) => query)).toEqual([]);
    for (const metadata of source.entityMetadatas) {
      await expect(source.getRepository(metadata.target).find({ take: 1 })).resolves.toHaveLength(0);
      const table = tableOf(metadata.target as new () => object);
      expect(table.columns.map(({ name }) => name)).toEqual(metadata.columns.map(({ databaseName }) => databaseName));
      expect(table.primaryKey.map(({ name }) => name)).toEqual(
        metadata.primaryColumns.map(({ databaseName }) => databaseName),
      );
    }
  } finally {
    await source.destroy();
  }
});

it('makes indexes and foreign keys after a long fill, exactly those of tables made at once', async () => {
  const copy = scratchCopy(review);
  const described = async (schema: string) => {
    const { rows } = await pool.query<{ definition: string }>(
      `SELECT indexdef AS definition FROM pg_indexes WHERE schemaname = $1
       UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = $1::regnamespace
       ORDER BY 1`,
      [schema],
    );
    return rows.map(({ definition }) => definition.replaceAll(schema, 'schema'));
  };
  expect(await ensureReadModel(pool, copy, { fill: true })).toEqual({ created: true, state: 'filling' });
  expect(await ensureReadModel(pool, copy)).toEqual({ created: false, state: 'filling' });
  const filling = await described(copy.schema);
  const wanted = await described(review.schema);
  expect(filling.filter((definition) => /FOREIGN KEY/.test(definition))).toEqual([]);
  expect(filling.join()).toContain('annotation_comment_seq');
  expect(filling.length).toBeLessThan(wanted.length);

  await completeReadModel(pool, copy);
  expect(await described(copy.schema)).toEqual(wanted);
  expect(await ensureReadModel(pool, copy)).toEqual({ created: false, state: 'complete' });
  await completeReadModel(pool, copy);
  await dropReadModel(pool, copy);
});

it('keeps what is there', async () => {
  await ensureReadModel(pool, identity);
  await insertOrganisation('identity_v1');
  await pool.query(`UPDATE projection.checkpoint SET position = 41 WHERE name = 'identity'`);
  const results = await Promise.all([1, 2, 3].map(() => ensureReadModel(pool, identity)));
  expect(results.map(({ created }) => created)).toEqual([false, false, false]);
  expect(await readCheckpoint(pool, identity)).toBe(41n);
  expect((await pool.query('SELECT count(*)::int AS n FROM identity_v1.organisation')).rows).toEqual([{ n: 1 }]);
});

it('starts from nothing when tables or checkpoint are gone, so that a checkpoint never vouches for missing rows', async () => {
  await pool.query('DROP SCHEMA identity_v1 CASCADE');
  expect(await ensureReadModel(pool, identity)).toMatchObject({ created: true });
  expect(await readCheckpoint(pool, identity)).toBeNull();

  await insertOrganisation('identity_v1');
  await pool.query(`DELETE FROM projection.checkpoint WHERE name = 'identity'`);
  expect(await ensureReadModel(pool, identity)).toMatchObject({ created: true });
  expect((await pool.query('SELECT * FROM identity_v1.organisation')).rows).toEqual([]);
});

it('refuses tables of another build under the same version unless told to recreate them', async () => {
  await pool.query(`COMMENT ON SCHEMA identity_v1 IS 'picturelock something else'`);
  await expect(ensureReadModel(pool, identity)).rejects.toMatchObject({ code: 'READ_MODEL_CHANGED' });
  expect(await ensureReadModel(pool, identity, { changed: 'recreate' })).toMatchObject({ created: true });
  expect(await ensureReadModel(pool, identity)).toMatchObject({ created: false });
});

it('compares a scratch copy with its original by content', async () => {
  const copy = scratchCopy(identity);
  await ensureReadModel(pool, copy);
  const digests = async () => [await digestReadModels(pool, [identity]), await digestReadModels(pool, [copy])];
  let [original, scratch] = await digests();
  expect(scratch).toEqual(original);
  expect(Object.keys(original!)).toEqual(['identity.organisation', 'identity.user']);

  await insertOrganisation('identity_v1');
  [original, scratch] = await digests();
  expect(scratch).not.toEqual(original);
  await insertOrganisation('identity_v1_verify');
  [original, scratch] = await digests();
  expect(scratch).toEqual(original);
  await pool.query(`UPDATE identity_v1_verify.organisation SET revision = 1`);
  [original, scratch] = await digests();
  expect(scratch!['identity.organisation']).not.toEqual(original!['identity.organisation']);

  await dropReadModel(pool, copy);
  await expect(readCheckpoint(pool, copy)).rejects.toThrow('no checkpoint');
  expect(await readCheckpoint(pool, identity)).toBeNull();
});

it('keeps closed sets closed', async () => {
  await expect(
    pool.query(
      `INSERT INTO identity_v1.user (id, organisation_id, name, email, role, position, created_at, revision)
       VALUES (gen_random_uuid(), $1, 'A', 'a@b', 'KING', 1, now(), 0)`,
      [ORGANISATION],
    ),
  ).rejects.toMatchObject({ code: '23514' });
});
