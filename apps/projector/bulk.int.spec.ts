import fc from 'fast-check';
import { createPool, type Pool } from '#libs/postgres/index.js';
import {
  digestReadModels,
  ensureReadModel,
  OrganisationRow,
  production,
  ProjectMemberRow,
  ProjectRow,
  identity,
  scratchCopy,
  UserRow,
} from '#libs/read-models/index.js';
import { type TestDatabase, testDatabase } from '../../test/support/database.js';
import { Bulk } from './bulk.js';
import { Session } from './session.js';
import { uid } from './story.fixture.js';

let database: TestDatabase;
let pool: Pool;
let session: Session;
beforeAll(async () => {
  database = await testDatabase();
  pool = createPool(database.url, { max: 4 });
  session = await Session.open(database.url, 'bulk');
});
afterAll(async () => {
  await session.close();
  await pool.end();
  await database.drop();
});

const at = new Date('2026-03-01T10:00:00.123Z');
const organisation = (id: string, name = 'Northlight') => ({ id, name, createdAt: at, revision: 0 });
const user = (id: string, organisationId: string, revision: number) => ({
  id,
  organisationId,
  name: `user ${revision}`,
  email: 'a@b',
  role: 'ARTIST' as const,
  active: true,
  position: '9007199254740993',
  createdAt: at,
  revision,
});

/** An operation that is legal or not depending on what is there: illegal ones are left out when the history is made. */
type Op =
  | { op: 'insert' | 'delete'; id: number; n: number }
  | { op: 'update'; id: number; n: number; add: boolean; set: boolean; name: boolean };
const arbitraryOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({ op: fc.constantFrom('insert' as const, 'delete' as const), id: fc.nat(4), n: fc.nat(100) }),
  fc.record({
    op: fc.constant('update' as const),
    id: fc.nat(4),
    n: fc.integer({ min: -5, max: 5 }),
    add: fc.boolean(),
    set: fc.boolean(),
    name: fc.boolean(),
  }),
);
function legal(ops: readonly Op[]): Op[] {
  const there = new Set<number>();
  return ops.filter(({ op, id }) => {
    if (op === 'insert') return !there.has(id) && !!there.add(id);
    if (op === 'delete') return there.delete(id) || true;
    return there.has(id);
  });
}
function collect(bulk: Bulk, op: Op): void {
  const id = uid(`u${op.id}`);
  if (op.op === 'insert') bulk.insert(UserRow, user(id, uid('org'), op.n));
  else if (!('add' in op)) bulk.delete(UserRow, { id });
  else
    bulk.update(
      UserRow,
      { id },
      { ...(op.set ? { revision: op.n } : {}), ...(op.name ? { name: `name ${op.n}` } : {}) },
      op.add ? { revision: op.n } : {},
    );
}

it('leaves the rows that applying the changes one by one leaves, wherever it is flushed', async () => {
  const together = scratchCopy(identity, 'together');
  const copied = scratchCopy(identity, 'copied');
  const single = scratchCopy(identity, 'single');
  for (const model of [together, copied, single]) await ensureReadModel(pool, model);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(arbitraryOp, fc.boolean()), { minLength: 1, maxLength: 30 }), async (made) => {
      const flushes = new Map(made);
      const ops = legal(made.map(([op]) => op));
      for (const [model, flushAfter] of [
        [together, (op: Op) => flushes.get(op) === true],
        [copied, (op: Op) => flushes.get(op) === true],
        [single, () => true],
      ] as const) {
        await pool.query(`TRUNCATE ${model.schema}.organisation CASCADE`);
        const bulk = new Bulk(model.schema, model.entities, { copy: model === copied });
        bulk.insert(OrganisationRow, organisation(uid('org')));
        for (const op of ops) {
          collect(bulk, op);
          if (flushAfter(op)) await bulk.flush(session);
        }
        await bulk.flush(session);
        expect(bulk.empty).toBe(true);
      }
      const clean = await digestReadModels(pool, [single]);
      expect(await digestReadModels(pool, [together])).toEqual(clean);
      expect(await digestReadModels(pool, [copied])).toEqual(clean);
    }),
    { numRuns: 40 },
  );
});

it('writes one statement for each kind of change, parents before children and children gone before parents', async () => {
  await ensureReadModel(pool, identity);
  await ensureReadModel(pool, production);
  const texts: string[] = [];
  const counted = {
    query: (query: { text: string }) => {
      texts.push(query.text.split(' ').slice(0, 3).join(' '));
      return pool.query(query);
    },
  };
  const bulk = new Bulk(identity.schema, identity.entities);
  for (let i = 0; i < 500; i++) {
    bulk.insert(UserRow, user(uid(`p${i}`), uid('o1'), i));
    bulk.update(UserRow, { id: uid(`p${i}`) }, { active: false }, { revision: 1 });
  }
  bulk.insert(OrganisationRow, organisation(uid('o1')));
  await bulk.flush(counted);
  expect(texts).toEqual(['INSERT INTO "identity_v1"."organisation"', 'INSERT INTO "identity_v1"."user"']);
  texts.length = 0;
  for (let i = 0; i < 500; i++) bulk.update(UserRow, { id: uid(`p${i}`) }, { name: 'x' }, { revision: i });
  await bulk.flush(counted);
  expect(texts).toEqual(['UPDATE "identity_v1"."user" AS']);
  const { rows } = await pool.query(
    'SELECT sum(revision)::int AS sum, bool_or(active) AS active FROM identity_v1.user',
  );
  expect(rows).toEqual([{ sum: 2 * ((499 * 500) / 2) + 500, active: false }]);

  const members = new Bulk(production.schema, production.entities);
  members.insert(ProjectMemberRow, {
    projectId: uid('p'),
    userId: uid('u'),
    organisationId: uid('o'),
    position: '1',
    addedAt: at,
  });
  await expect(members.flush(session)).rejects.toMatchObject({ code: '23503' });
  expect(() => members.insert(ProjectRow, {} as never)).not.toThrow();
});

it.each([
  ['text', 'quotes " and \\ and {braces}, commas, NULL'],
  ['not a null', 'NULL'],
  ['empty', ''],
  ['emoji and line ends', 'a🎬b\r\n\tc'],
  ['what ends a copy', '\\.'],
  ['what is null in a copy', '\\N'],
])('keeps %s as it is', async (_, name) => {
  await ensureReadModel(pool, identity);
  for (const copy of [false, true]) {
    const bulk = new Bulk(identity.schema, identity.entities, { copy });
    await pool.query('TRUNCATE identity_v1.organisation CASCADE');
    bulk.insert(OrganisationRow, organisation(uid('o2'), name));
    await bulk.flush(session);
    expect((await pool.query('SELECT name FROM identity_v1.organisation')).rows).toEqual([{ name }]);
  }
});

it('takes rows back that are text for a copy already', async () => {
  await ensureReadModel(pool, identity);
  await pool.query('TRUNCATE identity_v1.organisation CASCADE');
  const bulk = new Bulk(identity.schema, identity.entities, { copy: true });
  const id = (i: number) => uid(`c${i}`);
  for (let i = 0; i < 300; i++) bulk.insert(OrganisationRow, organisation(id(i), `studio ${i}`));
  for (let i = 0; i < 300; i += 3) bulk.delete(OrganisationRow, { id: id(i) });
  for (let i = 0; i < 300; i += 6) bulk.insert(OrganisationRow, organisation(id(i), `again ${i}`));
  bulk.update(OrganisationRow, { id: id(1) }, { name: 'changed' });
  await bulk.flush(session);
  const { rows } = await pool.query<{ id: string; name: string }>('SELECT id, name FROM identity_v1.organisation');
  const expected = Array.from({ length: 300 }, (_, i) => i)
    .filter((i) => i % 3 !== 0 || i % 6 === 0)
    .map((i) => [id(i), i === 1 ? 'changed' : i % 6 === 0 ? `again ${i}` : `studio ${i}`]);
  expect(Object.fromEntries(rows.map(({ id: key, name }) => [key, name]))).toEqual(Object.fromEntries(expected));
});

it.each([false, true])('replaces what Postgres can not hold, copying %s', async (copy) => {
  const bulk = new Bulk(identity.schema, identity.entities, { copy });
  await pool.query('TRUNCATE identity_v1.organisation CASCADE');
  bulk.insert(OrganisationRow, organisation(uid('o3'), 'nul \0 half \ud83c pair 🎬'));
  await bulk.flush(session);
  expect((await pool.query('SELECT name FROM identity_v1.organisation')).rows).toEqual([
    { name: 'nul \ufffd half \ufffd pair 🎬' },
  ]);
});

describe('refuses, rather than ignores,', () => {
  const bulk = () => new Bulk(identity.schema, identity.entities);
  it('an update of a row that is not there', async () => {
    await ensureReadModel(pool, identity);
    const changes = bulk();
    changes.update(UserRow, { id: uid('nobod') }, { active: false });
    await expect(changes.flush(session)).rejects.toMatchObject({ code: 'ROW_MISMATCH' });
  });
  it('a second insert of a row', () => {
    const changes = bulk();
    changes.insert(OrganisationRow, organisation(uid('o4')));
    expect(() => changes.insert(OrganisationRow, organisation(uid('o4')))).toThrow('already');
  });
  it('an update after a delete', () => {
    const changes = bulk();
    changes.delete(UserRow, { id: uid('u1') });
    expect(() => changes.update(UserRow, { id: uid('u1') }, { active: true })).toThrow('no row');
  });
});
