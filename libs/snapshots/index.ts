/** Snapshots of long streams, in Postgres: a disposable cache, beside the read models and as disposable. */
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import type { SnapshotStore, StreamSnapshot } from '#libs/events/log/snapshots.js';
import { createPool, migrate, type Migration, type Pool } from '#libs/postgres/index.js';

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

export interface SnapshotStatistics {
  readonly snapshots: number;
  /** As they are kept, compressed. */
  readonly bytes: number;
  /** Largest first. */
  readonly largest: readonly {
    readonly stream: string;
    readonly revision: number;
    readonly bytes: number;
    readonly takenAt: Date;
  }[];
}

const isMissing = (error: unknown): boolean => ['42P01', '3F000'].includes((error as { code: string }).code);

/** How many there are and what they take. @param pool of the database of the read models */
export async function snapshotStatistics(pool: Pool, most: number): Promise<SnapshotStatistics> {
  try {
    const { rows: sums } = await pool.query<{ n: number; bytes: string }>(
      `SELECT count(*)::int AS n, coalesce(sum(length(content)), 0)::text AS bytes FROM snapshot.stream`,
    );
    const { rows } = await pool.query<{ stream: string; revision: number; bytes: number; taken_at: Date }>(
      `SELECT stream, revision, length(content) AS bytes, taken_at FROM snapshot.stream
       ORDER BY length(content) DESC, stream LIMIT $1`,
      [most],
    );
    const largest = rows.map(({ taken_at: takenAt, ...row }) => ({ ...row, takenAt }));
    return { snapshots: sums[0]!.n, bytes: Number(sums[0]!.bytes), largest };
  } catch (error) {
    if (isMissing(error)) return { snapshots: 0, bytes: 0, largest: [] };
    throw error;
  }
}

/** Removes the snapshot of a stream, or all: folds take longer until there are new ones. Returns how many. */
export async function dropSnapshots(pool: Pool, stream?: string): Promise<number> {
  try {
    const { rowCount } = await pool.query(`DELETE FROM snapshot.stream WHERE $1::text IS NULL OR stream = $1`, [
      stream ?? null,
    ]);
    return rowCount ?? 0;
  } catch (error) {
    if (isMissing(error)) return 0;
    throw error;
  }
}
