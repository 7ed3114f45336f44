import type { Migration } from '#libs/postgres/index.js';

/** Steps of the `secrets` schema. `changed_at` is the server's own time: what each process asks for since it last looked. */
export const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'keys, credentials, sessions, outcomes',
    up: `
      CREATE TABLE keyring (
        name text PRIMARY KEY,
        master_key_id text NOT NULL,
        wrapped bytea NOT NULL
      );

      CREATE TABLE person_keys (
        person_id text PRIMARY KEY,
        master_key_id text,
        wrapped bytea,
        created_at timestamptz NOT NULL,
        destroyed_at timestamptz,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
        CHECK ((wrapped IS NULL) = (master_key_id IS NULL))
      );
      CREATE INDEX person_keys_destroyed ON person_keys (changed_at) WHERE destroyed_at IS NOT NULL;

      CREATE TABLE credentials (
        user_id text PRIMARY KEY,
        organisation_id text NOT NULL,
        email_hash bytea NOT NULL UNIQUE,
        password_hash text NOT NULL,
        status text NOT NULL CHECK (status IN ('RESERVED', 'ACTIVE', 'DISABLED')),
        reserved_at timestamptz NOT NULL,
        confirmed_at timestamptz,
        password_changed_at timestamptz NOT NULL
      );
      CREATE INDEX credentials_reserved ON credentials (reserved_at) WHERE status = 'RESERVED';

      CREATE TABLE login_attempts (
        subject bytea PRIMARY KEY,
        failures integer NOT NULL,
        last_at timestamptz NOT NULL,
        blocked_until timestamptz
      );
      CREATE INDEX login_attempts_last ON login_attempts (last_at);

      CREATE TABLE login_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id text NOT NULL,
        at timestamptz NOT NULL,
        outcome text NOT NULL,
        ip text,
        user_agent text
      );
      CREATE INDEX login_history_user ON login_history (user_id, at DESC);
      CREATE INDEX login_history_at ON login_history (at);

      CREATE TABLE sessions (
        session_id uuid PRIMARY KEY,
        token_hash bytea NOT NULL UNIQUE,
        user_id text NOT NULL,
        organisation_id text NOT NULL,
        device text,
        ip text,
        created_at timestamptz NOT NULL,
        last_active_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        ended_at timestamptz,
        end_reason text,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CHECK ((ended_at IS NULL) = (end_reason IS NULL))
      );
      CREATE INDEX sessions_user ON sessions (user_id) WHERE ended_at IS NULL;
      CREATE INDEX sessions_organisation ON sessions (organisation_id) WHERE ended_at IS NULL;
      CREATE INDEX sessions_idle ON sessions (last_active_at) WHERE ended_at IS NULL;
      CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE ended_at IS NULL;
      CREATE INDEX sessions_ended ON sessions (changed_at) WHERE ended_at IS NOT NULL;

      CREATE TABLE command_outcomes (
        organisation_id text NOT NULL,
        command_id text NOT NULL,
        command_hash text NOT NULL,
        stream text NOT NULL,
        outcome jsonb NOT NULL,
        at timestamptz NOT NULL,
        PRIMARY KEY (organisation_id, command_id)
      );
      CREATE INDEX command_outcomes_at ON command_outcomes (at);
    `,
  },
  {
    version: 2,
    name: 'erasures taken over from the log',
    up: `
      -- Restored with the keys: what the log has erased since is then applied again.
      CREATE TABLE erasures_applied (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        position bigint NOT NULL
      );
    `,
  },
];
