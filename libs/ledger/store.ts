import {
  createPool,
  migrate,
  withTransaction,
  type Migration,
  type Pool,
  type PoolClient,
} from '#libs/postgres/index.js';
import { leafBytes } from './leaf.js';
import { growTree, HASH_SIZE, leafHash, rootHash, TILE_WIDTH, type Hash, type TileSource } from './merkle.js';
import type { SourceEvent } from './source.js';

const migrations: readonly Migration[] = [
  {
    version: 1,
    name: 'tree, leaves, checkpoints, receivers',
    up: `
      CREATE TABLE state (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        size bigint NOT NULL,
        position numeric(20) NOT NULL,
        verifier text,
        asked_at timestamptz
      );
      INSERT INTO state (size, position) VALUES (0, 0);
      CREATE TABLE tile (
        level smallint,
        index bigint,
        hashes bytea NOT NULL,
        PRIMARY KEY (level, index)
      );
      ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
      CREATE TABLE leaf (
        index bigint PRIMARY KEY,
        event_id uuid NOT NULL,
        position numeric(20) NOT NULL,
        stream text NOT NULL,
        revision bigint NOT NULL
      );
      CREATE INDEX leaf_event ON leaf (event_id);
      CREATE TABLE checkpoint (
        size bigint PRIMARY KEY,
        note text NOT NULL,
        signed_at timestamptz NOT NULL DEFAULT now()
      );
      CREATE TABLE receiver (
        name text PRIMARY KEY,
        size bigint NOT NULL,
        sent_at timestamptz,
        failures integer NOT NULL DEFAULT 0,
        last_error text,
        tried_at timestamptz
      );`,
  },
];

export interface LedgerState {
  /** Leaves in the tree. */
  readonly size: number;
  /** Every event up to this commit position is a leaf or none. */
  readonly position: bigint;
}

export interface LeafPlace {
  readonly index: number;
  readonly id: string;
  readonly position: bigint;
  readonly stream: string;
  readonly revision: number;
}

export interface StoredCheckpoint {
  readonly size: number;
  /** The signed note, with the cosignatures that came in. */
  readonly note: string;
  readonly signedAt: Date;
}

export interface ReceiverState {
  readonly name: string;
  /** Size of the last checkpoint it has taken. */
  readonly size: number;
  readonly sentAt: Date | null;
  readonly failures: number;
  readonly lastError: string | null;
  readonly triedAt: Date | null;
}

interface LeafRow {
  index: string;
  event_id: string;
  position: string;
  stream: string;
  revision: string;
}
const placeOf = (row: LeafRow): LeafPlace => ({
  index: Number(row.index),
  id: row.event_id,
  position: BigInt(row.position),
  stream: row.stream,
  revision: Number(row.revision),
});

/**
 * The ledger's own memory: schema `ledger` of the secrets database, which is kept and backed up. Leaves and position move in
 * one transaction, so a crash leaves either all of a batch or nothing.
 */
export class LedgerStore implements TileSource {
  readonly #pool: Pool;

  private constructor(pool: Pool) {
    this.#pool = pool;
  }

  /** @throws PostgresError SCHEMA_NEWER */
  static async open(databaseUrl: string, onError: (error: Error) => void = () => undefined): Promise<LedgerStore> {
    const pool = createPool(databaseUrl, { applicationName: 'picturelock ledger', max: 3, onError });
    try {
      await migrate(pool, 'ledger', migrations);
    } catch (error) {
      await pool.end();
      throw error;
    }
    return new LedgerStore(pool);
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  async state(): Promise<LedgerState> {
    return stateIn(this.#pool);
  }

  async tile(level: number, index: number): Promise<Buffer | undefined> {
    return tileIn(this.#pool, level, index);
  }

  /** The verifier key of whoever signs; undefined before the first start. */
  async verifier(): Promise<string | undefined> {
    const { rows } = await this.#pool.query<{ verifier: string | null }>('SELECT verifier FROM ledger.state');
    return rows[0]?.verifier ?? undefined;
  }

  /** One key signs: the first one stays. @throws Error when it is another */
  async claim(verifier: string): Promise<void> {
    await this.#pool.query('UPDATE ledger.state SET verifier = $1 WHERE verifier IS NULL', [verifier]);
    const known = await this.verifier();
    if (known !== verifier)
      throw new Error(`This ledger is signed with ${known}, and the key here is ${verifier}: restore the first one`);
  }

  /** Asks whoever signs for a checkpoint as soon as it can. */
  async ask(): Promise<void> {
    await this.#pool.query('UPDATE ledger.state SET asked_at = now()');
  }

  /** Whether somebody asked after the newest checkpoint was signed. */
  async isAsked(): Promise<boolean> {
    const { rows } = await this.#pool.query<{ asked: boolean }>(
      `SELECT asked_at IS NOT NULL AND asked_at > coalesce((SELECT max(signed_at) FROM ledger.checkpoint), '-infinity')
         AS asked FROM ledger.state`,
    );
    return rows[0]!.asked;
  }

  root(size: number): Promise<Hash> {
    return rootHash(this, size);
  }

  /**
   * Adds what follows `before` and notes how far the log was read. False, and nothing is done, when another process was
   * faster.
   */
  async append(before: LedgerState, events: readonly SourceEvent[], position: bigint): Promise<boolean> {
    const hashes = events.map(({ event }) => leafHash(leafBytes(event)));
    return withTransaction(this.#pool, async (client) => {
      const now = await stateIn(client, 'FOR UPDATE');
      if (now.size !== before.size || now.position !== before.position) return false;
      const known = { tile: (level: number, index: number) => tileIn(client, level, index) };
      const changed = await growTree(known, now.size, hashes);
      await client.query(
        `INSERT INTO ledger.tile (level, index, hashes)
         SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
         ON CONFLICT (level, index) DO UPDATE SET hashes = EXCLUDED.hashes`,
        [changed.map((t) => t.level), changed.map((t) => t.index), changed.map((t) => t.hashes)],
      );
      await client.query(
        `INSERT INTO ledger.leaf (index, event_id, position, stream, revision)
         SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::numeric[], $4::text[], $5::bigint[])`,
        [
          events.map((_, i) => now.size + i),
          events.map(({ event }) => event.id),
          events.map((e) => String(e.position)),
          // Postgres has no NUL in text; this column only names the event.
          events.map(({ event }) => event.stream.replaceAll('\0', '\ufffd')),
          events.map(({ event }) => event.revision),
        ],
      );
      await client.query('UPDATE ledger.state SET size = $1, position = $2', [
        now.size + events.length,
        String(position),
      ]);
      return true;
    });
  }

  /** Every place of an event id: one, as a rule. */
  async find(eventId: string): Promise<LeafPlace[]> {
    const { rows } = await this.#pool.query<LeafRow>(
      'SELECT * FROM ledger.leaf WHERE event_id = $1 ORDER BY index LIMIT 100',
      [eventId],
    );
    return rows.map(placeOf);
  }

  /** Leaves in order, from an index on. */
  async leaves(from: number, limit: number): Promise<LeafPlace[]> {
    const { rows } = await this.#pool.query<LeafRow>(
      'SELECT * FROM ledger.leaf WHERE index >= $1 AND index < $2 ORDER BY index',
      [from, from + limit],
    );
    return rows.map(placeOf);
  }

  async latestCheckpoint(): Promise<StoredCheckpoint | undefined> {
    return (await this.#checkpoints('ORDER BY size DESC LIMIT 1'))[0];
  }

  async checkpointAt(size: number): Promise<StoredCheckpoint | undefined> {
    return (await this.#checkpoints('WHERE size = $1', [size]))[0];
  }

  /** Checkpoints up to a size; of many, some spread over all. */
  async checkpoints(upTo: number, most = 200): Promise<StoredCheckpoint[]> {
    return this.#checkpoints(
      `WHERE size <= $1 AND size IN (
         SELECT max(size) FROM (
           SELECT size, ntile($2) OVER (ORDER BY size) AS part FROM ledger.checkpoint WHERE size <= $1) AS parts
         GROUP BY part)
       ORDER BY size`,
      [upTo, most],
    );
  }

  async #checkpoints(where: string, values: readonly unknown[] = []): Promise<StoredCheckpoint[]> {
    const { rows } = await this.#pool.query<{ size: string; note: string; signed_at: Date }>(
      `SELECT size, note, signed_at FROM ledger.checkpoint ${where}`,
      [...values],
    );
    return rows.map(({ size, note, signed_at }) => ({ size: Number(size), note, signedAt: signed_at }));
  }

  /** Keeps the first checkpoint of a size: there is one root for it. Returns what is kept. */
  async keepCheckpoint(size: number, note: string): Promise<StoredCheckpoint> {
    await this.#pool.query('INSERT INTO ledger.checkpoint (size, note) VALUES ($1, $2) ON CONFLICT DO NOTHING', [
      size,
      note,
    ]);
    return (await this.checkpointAt(size))!;
  }

  /** Adds signature lines to a kept checkpoint. */
  async cosign(size: number, lines: string): Promise<void> {
    await this.#pool.query('UPDATE ledger.checkpoint SET note = note || $2 WHERE size = $1 AND strpos(note, $2) = 0', [
      size,
      lines,
    ]);
  }

  async receivers(): Promise<ReceiverState[]> {
    const { rows } = await this.#pool.query<{
      name: string;
      size: string;
      sent_at: Date | null;
      failures: number;
      last_error: string | null;
      tried_at: Date | null;
    }>('SELECT name, size, sent_at, failures, last_error, tried_at FROM ledger.receiver ORDER BY name');
    return rows.map((row) => ({
      name: row.name,
      size: Number(row.size),
      sentAt: row.sent_at,
      failures: row.failures,
      lastError: row.last_error,
      triedAt: row.tried_at,
    }));
  }

  async delivered(name: string, size: number): Promise<void> {
    await this.#pool.query(
      `INSERT INTO ledger.receiver AS r (name, size, sent_at, tried_at) VALUES ($1, $2, now(), now())
       ON CONFLICT (name) DO UPDATE SET size = greatest(r.size, EXCLUDED.size), sent_at = now(), tried_at = now(),
         failures = 0, last_error = NULL`,
      [name, size],
    );
  }

  async failed(name: string, error: string): Promise<void> {
    await this.#pool.query(
      `INSERT INTO ledger.receiver AS r (name, size, failures, last_error, tried_at) VALUES ($1, 0, 1, $2, now())
       ON CONFLICT (name) DO UPDATE SET failures = r.failures + 1, last_error = EXCLUDED.last_error, tried_at = now()`,
      [name, error.slice(0, 2000)],
    );
  }

  /** Every leaf hash of the first `size` leaves, by tiles of 256. */
  async *leafTiles(size: number): AsyncGenerator<Buffer> {
    for (let index = 0; index * TILE_WIDTH < size; index++) {
      const hashes = await this.tile(0, index);
      const wanted = Math.min(TILE_WIDTH, size - index * TILE_WIDTH) * HASH_SIZE;
      if (!hashes || hashes.length < wanted) throw new Error(`The ledger's tile 0/${index} is damaged`);
      yield hashes.subarray(0, wanted);
    }
  }
}

async function stateIn(on: Pool | PoolClient, lock = ''): Promise<LedgerState> {
  const { rows } = await on.query<{ size: string; position: string }>(
    `SELECT size, position FROM ledger.state ${lock}`,
  );
  return { size: Number(rows[0]!.size), position: BigInt(rows[0]!.position) };
}

async function tileIn(on: Pool | PoolClient, level: number, index: number): Promise<Buffer | undefined> {
  const { rows } = await on.query<{ hashes: Buffer }>(
    'SELECT hashes FROM ledger.tile WHERE level = $1 AND index = $2',
    [level, index],
  );
  return rows[0]?.hashes;
}
