import fc from 'fast-check';
import pg from 'pg';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { copyIn, CopyRows } from './copy.js';
import { uid } from './story.fixture.js';

let database: TestDatabase;
let client: pg.Client;
beforeAll(async () => {
  database = await testDatabase();
  client = new pg.Client(database.url);
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await database.drop();
});

/** CopyData of the text format. */
function lines(...rows: readonly string[]): Buffer {
  const text = rows.map((row) => `${row}\n`).join('');
  const message = Buffer.from(`d____${text}`);
  message.writeInt32BE(4 + Buffer.byteLength(text), 1);
  return message;
}

it('copying rejects when Postgres refuses a row, and the connection goes on', async () => {
  await client.query('CREATE TEMP TABLE numbers (n integer PRIMARY KEY)');
  await expect(copyIn(client, 'COPY numbers FROM STDIN', [lines('1', '1')])).rejects.toMatchObject({ code: '23505' });
  await copyIn(client, 'COPY numbers FROM STDIN', [lines('1'), lines('2')]);
  expect((await client.query('SELECT n FROM numbers ORDER BY n')).rows).toEqual([{ n: 1 }, { n: 2 }]);
});

it('ids that come again are written as they are, also where a row is larger than a chunk or is taken back', async () => {
  const columns = ['n', 'a', 'text', 'b', 'c'].map((property) => ({
    property,
    type: property === 'n' ? 'integer' : property === 'text' ? 'text' : 'uuid',
  }));
  await client.query('CREATE TEMP TABLE ids (n integer, a uuid, text text, b uuid, c uuid)');
  const id = fc.constantFrom(...['x', 'y', 'z'].map(uid), null);
  // A chunk holds 64 KiB.
  const text = fc.oneof(fc.nat(40), fc.integer({ min: 20_000, max: 150_000 })).map((length) => 'é'.repeat(length >> 1));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ a: id, text, b: id, c: id, removed: fc.boolean() }), { minLength: 1, maxLength: 40 }),
      async (given) => {
        const rows = given.map((row, n) => ({ n, ...row }));
        const copy = new CopyRows(columns);
        for (const row of rows) {
          const at = copy.add(row);
          if (row.removed) copy.remove(at);
        }
        await client.query('TRUNCATE ids');
        const messages = copy.messages();
        if (messages.length > 0) await copyIn(client, 'COPY ids FROM STDIN WITH (FORMAT binary)', messages);
        const kept = rows.filter(({ removed }) => !removed).map(({ removed: _, ...row }) => row);
        expect((await client.query('SELECT * FROM ids ORDER BY n')).rows).toEqual(kept);
      },
    ),
    { numRuns: 60 },
  );
});
