import pg from 'pg';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { copyIn } from './copy.js';

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
