import { refuse, type Refusal } from '#libs/events/catalogue/index.js';
import type { Pool } from '#libs/postgres/index.js';

/**
 * `PARKED`: could not be processed. `WAITING`: comes after a parked one of its stream, by the projection's policy.
 * `STOPPED`: ends a rebuild, which parks nothing. `SKIPPED`: left out, by decision of a person.
 */
export const PARKED_STATES = ['PARKED', 'WAITING', 'STOPPED', 'SKIPPED'] as const;
export type ParkedState = (typeof PARKED_STATES)[number];

/** An event that a projection has put aside. */
export interface ParkedEvent {
  readonly projection: string;
  readonly version: number;
  /** Log position of the event. */
  readonly position: bigint;
  readonly state: ParkedState;
  readonly eventId: string;
  readonly eventType: string;
  readonly stream: string;
  readonly revision: number;
  /** What went wrong; null for one that only waits. */
  readonly error: string | null;
  readonly attempts: number;
  /** Why it was skipped. */
  readonly reason: string | null;
  readonly parkedAt: Date;
}

/** A row of `projection.parked`. */
export interface ParkedRow {
  name: string;
  version: number;
  position: string;
  state: ParkedState;
  event_id: string;
  event_type: string;
  stream: string;
  revision: number;
  error: string | null;
  attempts: number;
  reason: string | null;
  parked_at: Date;
}

export const toParked = (row: ParkedRow): ParkedEvent => ({
  projection: row.name,
  version: row.version,
  position: BigInt(row.position),
  state: row.state,
  eventId: row.event_id,
  eventType: row.event_type,
  stream: row.stream,
  revision: row.revision,
  error: row.error,
  attempts: row.attempts,
  reason: row.reason,
  parkedAt: row.parked_at,
});

export interface ParkedFilter {
  readonly projection?: string;
  readonly states?: readonly ParkedState[];
  /** Exclusive: where the last page ended. */
  readonly after?: { readonly projection: string; readonly position: bigint };
  /** Default 100, at most 1000. */
  readonly limit?: number;
}

/** What was put aside, by projection and position. */
export async function listParked(pool: Pool, filter: ParkedFilter = {}): Promise<ParkedEvent[]> {
  const { projection, states = PARKED_STATES, after, limit = 100 } = filter;
  const { rows } = await pool.query<ParkedRow>(
    `SELECT * FROM projection.parked
      WHERE ($1::text IS NULL OR name = $1) AND state = ANY ($2)
        AND ($3::text IS NULL OR (name, position) > ($3, $4::bigint))
      ORDER BY name, position LIMIT $5`,
    [projection ?? null, states, after?.projection ?? null, after?.position ?? 0n, Math.min(limit, 1000)],
  );
  return rows.map(toParked);
}

/** How many there are. */
export async function countParked(
  pool: Pool,
  { projection, states = PARKED_STATES }: Pick<ParkedFilter, 'projection' | 'states'> = {},
): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    `SELECT count(*)::int AS n FROM projection.parked WHERE ($1::text IS NULL OR name = $1) AND state = ANY ($2)`,
    [projection ?? null, states],
  );
  return rows[0]!.n;
}

const notParked = (projection: string, position: bigint): Refusal =>
  refuse('NOT_PARKED', `There is no parked event of ${projection} at that position.`, {
    details: { projection, position: String(position) },
  });

/**
 * Has the projection's runner try a parked event again, with what waits for it, or a stopped rebuild go on. It does so
 * within a second or two; what fails again stays parked with its new error.
 */
export async function retryParked(pool: Pool, projection: string, position: bigint): Promise<Refusal | undefined> {
  const { rowCount } = await pool.query(
    `UPDATE projection.parked SET retry = true, updated_at = clock_timestamp()
      WHERE name = $1 AND position = $2 AND state IN ('PARKED', 'STOPPED')`,
    [projection, position],
  );
  return rowCount ? undefined : notParked(projection, position);
}

/** Leaves a parked event out for good, also from later rebuilds; what waits for it goes on without. */
export async function skipParked(
  pool: Pool,
  projection: string,
  position: bigint,
  reason: string,
): Promise<Refusal | undefined> {
  if (reason.trim() === '') return refuse('INVALID_INPUT', 'Say why the event is skipped.', { path: ['reason'] });
  const { rowCount } = await pool.query(
    `UPDATE projection.parked SET state = 'SKIPPED', reason = $3, retry = true, updated_at = clock_timestamp()
      WHERE name = $1 AND position = $2 AND state IN ('PARKED', 'STOPPED')`,
    [projection, position, reason],
  );
  return rowCount ? undefined : notParked(projection, position);
}
