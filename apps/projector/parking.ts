import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { Pool } from '#libs/postgres/index.js';
import {
  originalName,
  type ParkedEvent,
  type ParkedRow,
  type ParkedState,
  type ReadModel,
  toParked,
} from '#libs/read-models/index.js';
import type { Session } from './session.js';

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
