import { refuse, type RecordedEvent, type Refusal } from '#libs/events/catalogue/index.js';
import type { Pool } from '#libs/postgres/index.js';
import { originalName, type ReadModel } from '#libs/read-models/index.js';
import type { Session } from './session.js';

/**
 * `PARKED`: could not be processed. `WAITING`: comes after a parked one of its stream, by the projection's policy.
 * `STOPPED`: ends a rebuild, which parks nothing. `SKIPPED`: left out, by decision of a person.
 */
export type ParkedState = 'PARKED' | 'WAITING' | 'STOPPED' | 'SKIPPED';

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

interface ParkedRow {
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

const toParked = (row: ParkedRow): ParkedEvent => ({
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
  const { projection, states = ['PARKED', 'WAITING', 'STOPPED', 'SKIPPED'], after, limit = 100 } = filter;
  const { rows } = await pool.query<ParkedRow>(
    `SELECT * FROM projection.parked
      WHERE ($1::text IS NULL OR name = $1) AND state = ANY ($2)
        AND ($3::text IS NULL OR (name, position) > ($3, $4::bigint))
      ORDER BY name, position LIMIT $5`,
    [projection ?? null, states, after?.projection ?? null, after?.position ?? 0n, Math.min(limit, 1000)],
  );
  return rows.map(toParked);
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

const INSERT = `
  INSERT INTO projection.parked (name, version, position, state, event_id, event_type, stream, revision, error, attempts)
  SELECT $1, $2, p.position, p.state, p.event_id, p.event_type, p.stream, p.revision, p.error, p.attempts
    FROM json_to_recordset($3::json) AS p(position bigint, state text, event_id uuid, event_type text, stream text,
         revision int, error text, attempts int)
      ON CONFLICT (name, version, position) DO UPDATE
     SET state = excluded.state, error = excluded.error, attempts = projection.parked.attempts + excluded.attempts,
         retry = false, updated_at = clock_timestamp()`;

/** The statement that puts events aside. */
export const parkStatement = (
  model: ReadModel,
  state: ParkedState,
  events: readonly RecordedEvent[],
  error?: { readonly message: string; readonly attempts: number },
) => ({
  name: 'park',
  text: INSERT,
  values: [
    originalName(model),
    model.version,
    JSON.stringify(
      events.map((event) => ({
        position: String(event.position),
        state,
        event_id: event.id,
        event_type: event.type,
        stream: event.stream,
        revision: event.revision,
        error: error?.message ?? null,
        attempts: error?.attempts ?? 0,
      })),
    ),
  ],
});

/** What a runner must know of the events put aside before it goes on. */
export interface PutAside {
  /** Streams with a parked event before the end. */
  readonly streams: ReadonlySet<string>;
  /** Events that are left out. */
  readonly skipped: ReadonlySet<string>;
}

export async function readPutAside(session: Session, model: ReadModel): Promise<PutAside> {
  const { rows } = await session.query({
    text: `SELECT state, stream, event_id FROM projection.parked WHERE name = $1 AND version = $2`,
    values: [originalName(model), model.version],
  });
  const found = rows as { state: ParkedState; stream: string; event_id: string }[];
  return {
    // A copy parks nothing: it has all of it before it.
    streams: new Set(
      found
        .filter(({ state }) => model.copyOf === undefined && (state === 'PARKED' || state === 'WAITING'))
        .map(({ stream }) => stream),
    ),
    skipped: new Set(found.filter(({ state }) => state === 'SKIPPED').map(({ event_id }) => event_id)),
  };
}

/** Streams in which something is to be tried again, or was skipped so that the rest can go on. */
export async function readRetries(pool: Pool): Promise<{ name: string; version: number; stream: string }[]> {
  const { rows } = await pool.query<{ name: string; version: number; stream: string }>(
    `SELECT DISTINCT name, version, stream FROM projection.parked WHERE retry`,
  );
  return rows;
}

/** Parked and waiting events of a stream, in order. */
export async function parkedOf(session: Session, model: ReadModel, stream: string): Promise<ParkedEvent[]> {
  const { rows } = await session.query({
    text: `SELECT * FROM projection.parked
            WHERE name = $1 AND version = $2 AND stream = $3 AND state IN ('PARKED', 'WAITING') ORDER BY position`,
    values: [originalName(model), model.version, stream],
  });
  return (rows as ParkedRow[]).map(toParked);
}
