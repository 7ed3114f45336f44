import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { ensureDatabase } from '#libs/postgres/index.js';

export interface TestDatabase {
  url: string;
  /** Ends every connection to it and removes it. */
  drop(): Promise<void>;
}

let server: Promise<string> | undefined;

/** URL of the shared server, started by the first call in the run; its path names the maintenance database. */
export function testServer(): Promise<string> {
  return (server ??= (async () => {
    if (process.env.TEST_DATABASE_URL) return process.env.TEST_DATABASE_URL;
    const broker = process.env.PICTURELOCK_TEST_POSTGRES;
    if (!broker) throw new Error('testDatabase() works inside a jest run, or with TEST_DATABASE_URL set');
    const response = await fetch(broker);
    const text = await response.text();
    if (!response.ok) throw new Error(`the test Postgres did not start: ${text}`);
    return text;
  })());
}

/** A fresh, empty UTF-8 database on the run's real Postgres. */
export async function testDatabase(): Promise<TestDatabase> {
  const base = new URL(await testServer());
  const maintenance = base.toString();
  const name = `test_${randomBytes(8).toString('hex')}`;
  base.pathname = `/${name}`;
  const url = base.toString();
  await ensureDatabase(url);
  return {
    url,
    drop: async () => {
      const client = new pg.Client({ connectionString: maintenance });
      await client.connect();
      try {
        await client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`);
      } finally {
        await client.end();
      }
    },
  };
}
