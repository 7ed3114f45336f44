import type { Migration, Pool } from '#libs/postgres/index.js';
import type { ParkedReaction, ParkedReactions, ParkedReactionState } from './types.js';

export const parkedReactionTable: Migration = {
  version: 2,
  name: 'parked events of reactions',
  up: `
    -- PARKED failed and is tried again at retry_at; WAITING comes after a parked one with the same key; SKIPPED is left
    -- out by decision of a person.
    CREATE TABLE parked_reaction (
      reaction text NOT NULL,
      position numeric(20) NOT NULL,
      state text NOT NULL CHECK (state IN ('PARKED', 'WAITING', 'SKIPPED')),
      key text,
      event_id uuid NOT NULL,
      event_type text NOT NULL,
      stream text NOT NULL,
      revision integer NOT NULL,
      error text,
      attempts integer NOT NULL DEFAULT 0,
      reason text,
      retry_at timestamptz,
      parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (reaction, position)
    )`,
};

interface Row {
  reaction: string;
  position: string;
  state: ParkedReactionState;
  key: string | null;
  event_id: string;
  event_type: string;
  stream: string;
  revision: number;
  error: string | null;
  attempts: number;
  reason: string | null;
  retry_at: Date | null;
  parked_at: Date;
}

const toParked = (row: Row): ParkedReaction => ({
  reaction: row.reaction,
  position: BigInt(row.position),
  state: row.state,
  key: row.key,
  eventId: row.event_id,
  eventType: row.event_type,
  stream: row.stream,
  revision: row.revision,
  error: row.error,
  attempts: row.attempts,
  reason: row.reason,
  retryAt: row.retry_at,
  parkedAt: row.parked_at,
});

const MAX_LISTED = 1000;

/** Events that reactions have put aside, in the jobs database beside their checkpoints. */
export function parkedReactions(pool: Pool): ParkedReactions {
  return {
    put: async (reaction, key, event, failure) => {
      // What a person has decided stands: after a crash the same event may come once more.
      await pool.query(
        `INSERT INTO jobs.parked_reaction AS p
           (reaction, position, state, key, event_id, event_type, stream, revision, error, attempts, retry_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp() + make_interval(secs => $11))
         ON CONFLICT (reaction, position) DO UPDATE SET state = EXCLUDED.state, error = EXCLUDED.error,
           attempts = p.attempts + EXCLUDED.attempts, retry_at = EXCLUDED.retry_at
         WHERE p.state <> 'SKIPPED' AND EXCLUDED.state = 'PARKED'`,
        [
          reaction,
          String(event.position),
          failure ? 'PARKED' : 'WAITING',
          key,
          event.id,
          event.type,
          event.stream,
          event.revision,
          failure?.message ?? null,
          failure?.attempts ?? 0,
          failure?.retryInSeconds ?? null,
        ],
      );
    },
    settle: async (reaction, position) => {
      await pool.query(
        `DELETE FROM jobs.parked_reaction WHERE reaction = $1 AND position = $2 AND state <> 'SKIPPED'`,
        [reaction, String(position)],
      );
    },
    open: async (reaction) => {
      const { rows } = await pool.query<Row & { due: boolean }>(
        `SELECT *, state = 'WAITING' OR retry_at <= clock_timestamp() AS due FROM jobs.parked_reaction
         WHERE reaction = $1 AND state <> 'SKIPPED' ORDER BY position`,
        [reaction],
      );
      return rows.map((row) => ({ ...toParked(row), due: row.due }));
    },
    list: async ({ reaction, after, limit = 100 } = {}) => {
      const { rows } = await pool.query<Row>(
        `SELECT * FROM jobs.parked_reaction
         WHERE ($1::text IS NULL OR reaction = $1) AND ($2::text IS NULL OR (reaction, position) > ($2, $3))
         ORDER BY reaction, position LIMIT $4`,
        [reaction ?? null, after?.reaction ?? null, String(after?.position ?? 0n), Math.min(limit, MAX_LISTED)],
      );
      return rows.map(toParked);
    },
    counts: async () => {
      const { rows } = await pool.query<{ reaction: string; n: number }>(
        `SELECT reaction, count(*)::int AS n FROM jobs.parked_reaction WHERE state <> 'SKIPPED' GROUP BY reaction`,
      );
      return new Map(rows.map(({ reaction, n }) => [reaction, n]));
    },
    retry: async (reaction, position) => {
      const { rowCount } = await pool.query(
        `UPDATE jobs.parked_reaction SET retry_at = clock_timestamp()
         WHERE reaction = $1 AND position = $2 AND state = 'PARKED'`,
        [reaction, String(position)],
      );
      return rowCount === 1;
    },
    skip: async (reaction, position, reason) => {
      const { rowCount } = await pool.query(
        `UPDATE jobs.parked_reaction SET state = 'SKIPPED', reason = $3, retry_at = NULL
         WHERE reaction = $1 AND position = $2 AND state = 'PARKED'`,
        [reaction, String(position), reason],
      );
      return rowCount === 1;
    },
  };
}
