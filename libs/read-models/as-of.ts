/** Throw-away read models as of a moment: who asked for which, how far they are, and when they go. */
import { createHash, randomUUID } from 'node:crypto';
import { migrate, type Migration, type Pool, type PoolClient, withTransaction } from '#libs/postgres/index.js';
import { comparison } from './comparison.js';
import type { ReadModel } from './model.js';
import { scratchCopy } from './model.js';
import { production } from './production.js';
import { review } from './review.js';

/** Read models that can be had as of a moment. People are shown as they are today, and so are their permissions. */
export const AS_OF_MODELS: readonly ReadModel[] = [production, review, comparison];

export type AsOfState = 'REQUESTED' | 'BUILDING' | 'READY' | 'FAILED';
export interface AsOfBuild {
  readonly id: string;
  readonly organisationId: string;
  /** Every event of the organisation up to here, and none after. */
  readonly position: bigint;
  readonly state: AsOfState;
  readonly failure: string | null;
  readonly expiresAt: Date;
}
export interface AsOfLimits {
  /** Builds of one organisation at a time. */
  readonly builds: number;
  /** All builds together. */
  readonly bytes: number;
  /** A build that nobody reads is removed after this long. */
  readonly ttlSeconds: number;
}

const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'builds',
    up: `
      CREATE TABLE build (
        id uuid PRIMARY KEY,
        organisation_id uuid NOT NULL,
        position bigint NOT NULL,
        -- Of the tables: another build of ours makes its own.
        models text NOT NULL,
        state text NOT NULL CHECK (state IN ('REQUESTED', 'BUILDING', 'READY', 'FAILED')),
        failure text,
        alive_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at timestamptz NOT NULL,
        UNIQUE (organisation_id, position, models)
      );
    `,
  },
];

/** A builder that has said nothing for this long is gone, and another begins anew. */
const GONE_SECONDS = 30;
const LOCK = `SELECT pg_advisory_xact_lock(hashtextextended('picturelock.as-of', 0))`;
const COLUMNS = 'id, organisation_id, position::text, state, failure, expires_at';
const MODELS = createHash('sha256')
  .update(JSON.stringify(AS_OF_MODELS.map(({ name, version }) => [name, version])))
  .digest('hex');

interface Row {
  id: string;
  organisation_id: string;
  position: string;
  state: AsOfState;
  failure: string | null;
  expires_at: Date;
}
const toBuild = (row: Row): AsOfBuild => ({
  id: row.id,
  organisationId: row.organisation_id,
  position: BigInt(row.position),
  state: row.state,
  failure: row.failure,
  expiresAt: row.expires_at,
});

/** Schema and checkpoint of a model in a build. */
export const asOfCopy = (model: ReadModel, build: Pick<AsOfBuild, 'id'>): ReadModel =>
  scratchCopy(model, `asof_${build.id.replaceAll('-', '')}`);

export class AsOfBuilds {
  #ready: Promise<unknown> | undefined;

  constructor(private readonly pool: Pool) {}

  /** The build of a moment, asked for when there is none; its time to live begins anew. */
  async request(
    organisationId: string,
    position: bigint,
    { builds, bytes, ttlSeconds }: AsOfLimits,
  ): Promise<AsOfBuild | 'TOO_MANY' | 'NO_ROOM'> {
    return this.#transaction(async (client) => {
      await client.query(LOCK);
      const known = await client.query<Row>(
        `UPDATE as_of.build SET expires_at =
           CASE state WHEN 'FAILED' THEN expires_at ELSE clock_timestamp() + make_interval(secs => $4) END
         WHERE organisation_id = $1 AND position = $2 AND models = $3 AND expires_at > clock_timestamp()
         RETURNING ${COLUMNS}`,
        [organisationId, String(position), MODELS, ttlSeconds],
      );
      if (known.rows[0]) return toBuild(known.rows[0]);
      const { rows } = await client.query<{ mine: number; bytes: string }>(
        `SELECT (SELECT count(*)::int FROM as_of.build WHERE organisation_id = $1 AND expires_at > clock_timestamp()) AS mine,
                (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::text
                 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 WHERE c.relkind = 'r' AND n.nspname LIKE '%\\_asof\\_%') AS bytes`,
        [organisationId],
      );
      if (rows[0]!.mine >= builds) return 'TOO_MANY';
      if (Number(rows[0]!.bytes) >= bytes) return 'NO_ROOM';
      const made = await client.query<Row>(
        `INSERT INTO as_of.build (id, organisation_id, position, models, state, expires_at)
         VALUES ($1, $2, $3, $4, 'REQUESTED', clock_timestamp() + make_interval(secs => $5))
         ON CONFLICT (organisation_id, position, models) DO NOTHING
         RETURNING ${COLUMNS}`,
        [randomUUID(), organisationId, String(position), MODELS, ttlSeconds],
      );
      if (made.rows[0]) return toBuild(made.rows[0]);
      // One that has expired may be going this very moment: it is not to be used, and made anew once it is gone.
      const going = await client.query<Row>(
        `SELECT ${COLUMNS} FROM as_of.build WHERE organisation_id = $1 AND position = $2 AND models = $3`,
        [organisationId, String(position), MODELS],
      );
      return { ...toBuild(going.rows[0]!), state: 'BUILDING' };
    });
  }

  /** The next build to make, now the caller's; undefined when there is none. */
  async claim(): Promise<AsOfBuild | undefined> {
    const { rows } = await this.#query(
      `UPDATE as_of.build SET state = 'BUILDING', alive_at = clock_timestamp() WHERE id = (
         SELECT id FROM as_of.build
         WHERE models = $1 AND expires_at > clock_timestamp() AND (state = 'REQUESTED'
           OR state = 'BUILDING' AND alive_at < clock_timestamp() - make_interval(secs => ${GONE_SECONDS}))
         ORDER BY alive_at LIMIT 1 FOR UPDATE SKIP LOCKED)
       RETURNING ${COLUMNS}`,
      [MODELS],
    );
    return rows[0] && toBuild(rows[0]);
  }

  /** A sign of life from who builds it; nothing expires under the builder's hands. */
  async alive(id: string): Promise<void> {
    await this.#query(
      `UPDATE as_of.build SET alive_at = clock_timestamp(),
         expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => ${GONE_SECONDS})) WHERE id = $1`,
      [id],
    );
  }

  async done(id: string, failure: string | null): Promise<void> {
    await this.#query(`UPDATE as_of.build SET state = $2, failure = $3 WHERE id = $1`, [
      id,
      failure === null ? 'READY' : 'FAILED',
      failure,
    ]);
  }

  /** Those that have not expired, oldest position first, with what their tables take on disk. */
  async list(): Promise<(AsOfBuild & { readonly bytes: number })[]> {
    await this.#prepare();
    const { rows } = await this.pool
      .query<Row & { bytes: string }>(
        `SELECT ${COLUMNS}, (
           SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::text
           FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
           WHERE c.relkind = 'r' AND n.nspname LIKE '%\\_asof\\_' || replace(build.id::text, '-', '')) AS bytes
         FROM as_of.build WHERE expires_at > clock_timestamp() ORDER BY build.position, organisation_id`,
      )
      .catch(this.#again);
    return rows.map((row) => ({ ...toBuild(row), bytes: Number(row.bytes) }));
  }

  /** Its time is over: nobody reads it any more, and its tables go within seconds. False when there is none. */
  async expire(id: string): Promise<boolean> {
    const { rows } = await this.#query(
      `UPDATE as_of.build SET expires_at = clock_timestamp() WHERE id = $1 AND expires_at > clock_timestamp()
       RETURNING ${COLUMNS}`,
      [id],
    );
    return rows.length > 0;
  }

  /** Removes what has expired and what nobody knows of, with `drop` for the tables; returns how many. */
  async sweep(drop: (build: Pick<AsOfBuild, 'id'>) => Promise<void>): Promise<number> {
    await this.#prepare();
    const { rows: unknown } = await this.pool
      .query<{ id: string }>(
        `SELECT DISTINCT right(nspname, 32) AS id FROM pg_namespace WHERE nspname ~ '_asof_[0-9a-f]{32}$'
         AND right(nspname, 32) NOT IN (SELECT replace(id::text, '-', '') FROM as_of.build)`,
      )
      .catch(this.#again);
    for (const orphan of unknown) await drop(orphan);
    const { rows } = await this.#query(
      `SELECT ${COLUMNS} FROM as_of.build WHERE expires_at <= clock_timestamp() LIMIT 20`,
      [],
    );
    for (const row of rows) {
      await drop(toBuild(row));
      await this.#query(`DELETE FROM as_of.build WHERE id = $1 AND expires_at <= clock_timestamp()`, [row.id]);
    }
    return rows.length + unknown.length;
  }

  async #query(text: string, values: unknown[]): Promise<{ rows: Row[] }> {
    await this.#prepare();
    return this.pool.query<Row>(text, values).catch(this.#again);
  }

  async #transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    await this.#prepare();
    return withTransaction(this.pool, work).catch(this.#again);
  }

  #prepare(): Promise<unknown> {
    return (this.#ready ??= migrate(this.pool, 'as_of', migrations).catch(this.#again));
  }

  /** Somebody may have dropped the read models, and this with them: it is made again the next time. */
  readonly #again = (error: unknown): never => {
    this.#ready = undefined;
    throw error;
  };
}
