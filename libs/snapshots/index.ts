/** Snapshots of long streams, in Postgres: a disposable cache, beside the read models and as disposable. */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { SnapshotStore, StreamSnapshot } from '#libs/events/log/snapshots.js';
import { createPool, migrate, type Migration } from '#libs/postgres/index.js';

const compress = promisify(gzip);
const extract = promisify(gunzip);

const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'snapshots of streams',
    up: `
      CREATE TABLE stream (
        stream text PRIMARY KEY,
        schema text NOT NULL,
        revision integer NOT NULL,
        event_id uuid NOT NULL,
        position bigint NOT NULL,
        -- JSON of state and remembered commands, gzipped.
        content bytea NOT NULL,
        taken_at timestamptz NOT NULL DEFAULT clock_timestamp()
      );
    `,
  },
];

export interface PostgresSnapshots extends SnapshotStore {
  close(): Promise<void>;
}

/**
 * Opened at once and made when first needed: a database that is away, or was dropped, costs folds and nothing else.
 *
 * @param url database of the read models
 */
export function openSnapshots(url: string, onError: (error: Error) => void): PostgresSnapshots {
  const pool = createPool(url, {
    max: 2,
    applicationName: 'picturelock snapshots',
    statementTimeoutMs: 10_000,
    onError,
  });
  let ready: Promise<unknown> | undefined;
  const prepared = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      await (ready ??= migrate(pool, 'snapshot', migrations));
      return await work();
    } catch (error) {
      // Made again the next time: somebody may have dropped it with the read models.
      ready = undefined;
      onError(error as Error);
      throw error;
    }
  };
  return {
    load: (stream, schema) =>
      prepared(async () => {
        const { rows } = await pool.query<{ revision: number; event_id: string; position: string; content: Buffer }>(
          `SELECT revision, event_id, position::text, content FROM snapshot.stream WHERE stream = $1 AND schema = $2`,
          [stream, schema],
        );
        const [row] = rows;
        if (!row) return undefined;
        const { state, commands } = JSON.parse((await extract(row.content)).toString()) as Pick<
          StreamSnapshot,
          'state' | 'commands'
        >;
        const { revision, event_id: eventId, position } = row;
        return { stream, schema, revision, eventId, position: BigInt(position), state, commands };
      }),
    save: ({ stream, schema, revision, eventId, position, state, commands }) =>
      prepared(async () => {
        const content = await compress(JSON.stringify({ state, commands }), { level: 1 });
        // Another process may have taken a later one meanwhile; one of another build is in nobody's way.
        await pool.query(
          `INSERT INTO snapshot.stream AS s (stream, schema, revision, event_id, position, content)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (stream) DO UPDATE SET schema = EXCLUDED.schema, revision = EXCLUDED.revision,
             event_id = EXCLUDED.event_id, position = EXCLUDED.position, content = EXCLUDED.content,
             taken_at = clock_timestamp()
           WHERE s.schema <> EXCLUDED.schema OR s.revision < EXCLUDED.revision`,
          [stream, schema, revision, eventId, String(position), content],
        );
      }),
    close: () => pool.end(),
  };
}
