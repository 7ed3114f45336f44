import { migrate, type Migration, type Pool } from '#libs/postgres/index.js';
import { partitionsOf, type ReadModel } from './model.js';

/** Channel of the projector's NOTIFY; the payload is `<name>:<position>`, `*:<position>` for all, only ever a hint. */
export const PROJECTION_CHANNEL = 'picturelock_projection';

const CONTROL = 'projection';

const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: 'checkpoints, parked events, rebuilds, leases',
    up: `
      -- Position: log position up to which everything is in the rows, -1 before the first event. Epoch: grows with each
      -- runner that takes over, so that what an earlier one still had in hand is not written.
      CREATE TABLE IF NOT EXISTS checkpoint (
        name text NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL DEFAULT -1,
        updated_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (name, version)
      );
      ALTER TABLE checkpoint ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

      -- Sign of life of each projection's runner, and the server process that holds its lock.
      CREATE TABLE leader (
        name text NOT NULL,
        version integer NOT NULL,
        holder uuid NOT NULL,
        backend integer NOT NULL,
        beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (name, version)
      );

      -- PARKED could not be processed; WAITING comes after a parked one of its stream; STOPPED ends a rebuild; SKIPPED is
      -- left out by decision of a person.
      CREATE TABLE parked (
        name text NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL,
        state text NOT NULL CHECK (state IN ('PARKED', 'WAITING', 'STOPPED', 'SKIPPED')),
        event_id uuid NOT NULL,
        event_type text NOT NULL,
        stream text NOT NULL,
        revision integer NOT NULL,
        error text,
        attempts integer NOT NULL DEFAULT 0,
        reason text,
        retry boolean NOT NULL DEFAULT false,
        parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (name, version, position)
      );

      CREATE TABLE rebuild (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        name text NOT NULL,
        version integer NOT NULL,
        state text NOT NULL CHECK (state IN ('REQUESTED', 'RUNNING', 'DONE', 'CANCELLED', 'FAILED')),
        throttle integer CHECK (throttle > 0),
        cancel boolean NOT NULL DEFAULT false,
        position bigint NOT NULL DEFAULT -1,
        head bigint,
        events bigint NOT NULL DEFAULT 0,
        events_per_second double precision,
        error text,
        requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        started_at timestamptz,
        ended_at timestamptz
      );
      CREATE UNIQUE INDEX rebuild_one_at_a_time ON rebuild (name, version) WHERE state IN ('REQUESTED', 'RUNNING');

      -- Read models that are being read, by process.
      CREATE TABLE lease (
        holder uuid NOT NULL,
        name text NOT NULL,
        version integer NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (holder, name, version)
      );

      -- Never written. A reader of several statements locks it (ACCESS SHARE) before its snapshot, so that tables change
      -- places only when nobody is between two statements.
      CREATE TABLE gate ();`,
  },
  {
    version: 2,
    name: 'verifications',
    up: `
      -- REPLACE takes the place of the rows that are read; VERIFY is only compared with them, and its differences stay.
      ALTER TABLE rebuild ADD COLUMN purpose text NOT NULL DEFAULT 'REPLACE' CHECK (purpose IN ('REPLACE', 'VERIFY'));
      ALTER TABLE rebuild ADD COLUMN differences jsonb;`,
  },
  {
    version: 3,
    name: 'partitions',
    up: `
      -- One row for each share of the streams. At_end: the log's end was reached since the tables were made; with all of them
      -- there, keys and indexes are made.
      ALTER TABLE checkpoint ADD COLUMN partition integer NOT NULL DEFAULT 0, ADD COLUMN at_end boolean NOT NULL DEFAULT false;
      ALTER TABLE checkpoint DROP CONSTRAINT checkpoint_pkey, ADD PRIMARY KEY (name, version, partition);
      ALTER TABLE leader ADD COLUMN partition integer NOT NULL DEFAULT 0;
      ALTER TABLE leader DROP CONSTRAINT leader_pkey, ADD PRIMARY KEY (name, version, partition);`,
  },
  {
    version: 4,
    name: 'roll call',
    up: `
      -- What processes that read the models answer to a call of one of them; nothing is kept.
      CREATE UNLOGGED TABLE roll_call (
        call uuid NOT NULL,
        holder uuid NOT NULL,
        answer jsonb NOT NULL,
        answered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (call, holder)
      );`,
  },
];

/** Makes the tables that say how far the projections are and what is to be done about them. */
export const ensureControl = (pool: Pool): Promise<unknown> => migrate(pool, CONTROL, MIGRATIONS);

/**
 * Whether all partitions have reached the log's end.
 *
 * @param partition one that just has
 */
export async function reachedEnd(pool: Pool, model: ReadModel, partition?: number): Promise<boolean> {
  if (partitionsOf(model) === 1) return true;
  if (partition !== undefined)
    await pool.query(
      'UPDATE projection.checkpoint SET at_end = true WHERE name = $1 AND version = $2 AND partition = $3 AND NOT at_end',
      [model.name, model.version, partition],
    );
  const { rows } = await pool.query<{ all: boolean }>(
    'SELECT bool_and(at_end) AS all FROM projection.checkpoint WHERE name = $1 AND version = $2',
    [model.name, model.version],
  );
  return rows[0]!.all;
}

/** The name that checkpoints of a copy are not kept under: that of the read model itself. */
export const originalName = (model: ReadModel): string => model.copyOf ?? model.name;
