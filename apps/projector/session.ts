import pg from 'pg';
import { PROJECTION_CHANNEL, type ReadModel } from '#libs/read-models/index.js';
import type { Queryable } from './bulk.js';
import { copyIn } from './copy.js';
import { CheckpointMoved, Superseded } from './errors.js';

/**
 * Every statement of a projection looks rows up by key. Plans are kept for the life of the connection, and one made while
 * a table was still empty must not scan it when it is large.
 */
const SETTINGS = {
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
  plan_cache_mode: 'force_generic_plan',
  jit: 'off',
  idle_in_transaction_session_timeout: '60000',
};

/** One partition of a projection: the first is the only one of most. */
export interface Share {
  readonly model: ReadModel;
  readonly partition: number;
}

/** A runner's claim to move a checkpoint: where it stands, and since which take-over. */
export interface Claim extends Share {
  readonly epoch: bigint;
  /** Null before the first event. */
  readonly position: bigint | null;
}

export interface TransactionOptions {
  /** False when losing the transaction in a crash costs nothing but doing it again. */
  readonly durable: boolean;
  /** Payload of the NOTIFY that goes with the commit; nothing is told without one. */
  readonly notify?: string;
}

/** A checkpoint is not where a claim has it, or no longer of its epoch. */
class Stale extends Error {}

const lockKey = ({ model, partition }: Share): string =>
  `picturelock.projection.${model.name}.${model.version}${partition === 0 ? '' : `.${partition}`}`;

/**
 * A connection that writes. A projection's own one also holds the advisory lock that makes it the only runner: when it
 * breaks, lock and transaction are gone together. What is still in hand elsewhere is fenced off by the epoch.
 */
export class Session implements Queryable {
  #lost = false;
  #onLost: (() => void) | undefined;
  #backend = 0;

  private constructor(private readonly client: pg.Client) {
    const lose = (): void => {
      if (this.#lost) return;
      this.#lost = true;
      this.#onLost?.();
    };
    client.on('error', lose);
    client.on('end', lose);
  }

  /** @param pipeline statements are sent without waiting for the answers to those before; there is no COPY then */
  static async open(url: string, name: string, { pipeline = false } = {}): Promise<Session> {
    const settings: pg.ClientConfig & { pipeline: boolean } = {
      connectionString: url,
      application_name: `picturelock projector ${name}`,
      connectionTimeoutMillis: 5_000,
      query_timeout: 120_000,
      keepAlive: true,
      pipeline,
      options: Object.entries(SETTINGS)
        .map(([setting, value]) => `-c ${setting}=${value}`)
        .join(' '),
    };
    const client = new pg.Client(settings);
    const session = new Session(client);
    await client.connect();
    session.#backend = (client as unknown as { processID: number }).processID;
    return session;
  }

  get lost(): boolean {
    return this.#lost;
  }

  /** Process id of the server's end. */
  get backend(): number {
    return this.#backend;
  }

  /** Told once, when the connection breaks or is closed; at once when it has already. */
  set onLost(callback: () => void) {
    this.#onLost = callback;
    if (this.#lost) callback();
  }

  /** Becomes the only runner of the projection, for as long as the connection lasts; false while there is another. */
  async tryLock(share: Share): Promise<boolean> {
    const { rows } = await this.client.query<{ locked: boolean }>(
      `SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS locked`,
      [lockKey(share)],
    );
    return rows[0]!.locked;
  }

  /**
   * Ends the connection of a runner that has given no sign of life for so long, milliseconds: with it goes its lock.
   *
   * @returns whether there was one
   */
  async depose(share: Share, silentMs: number): Promise<boolean> {
    const { model, partition } = share;
    const { rows } = await this.client.query(
      `SELECT pg_terminate_backend(l.pid)
         FROM projection.leader AS leader
         JOIN pg_locks AS l ON l.locktype = 'advisory' AND l.granted AND l.pid = leader.backend
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.classid::bigint << 32 | l.objid::bigint = hashtextextended($1, 0)
        WHERE leader.name = $2 AND leader.version = $3 AND leader.partition = $5
          AND leader.beat_at < clock_timestamp() - $4 * interval '1 millisecond'`,
      [lockKey(share), model.name, model.version, silentMs, partition],
    );
    return rows.length > 0;
  }

  /** Takes the checkpoint over from earlier runners: what they still have in hand can't be committed any more. */
  async claim({ model, partition }: Share, holder: string): Promise<Claim> {
    const { rows } = await this.client.query<{ epoch: string; position: string }>(
      `WITH leads AS (
         INSERT INTO projection.leader (name, version, partition, holder, backend) VALUES ($1, $2, $4, $3, pg_backend_pid())
             ON CONFLICT (name, version, partition) DO UPDATE
            SET holder = excluded.holder, backend = excluded.backend, beat_at = clock_timestamp()
       )
       UPDATE projection.checkpoint SET epoch = epoch + 1 WHERE name = $1 AND version = $2 AND partition = $4
       RETURNING epoch, position`,
      [model.name, model.version, holder, partition],
    );
    if (!rows[0]) throw new Error(`There is no checkpoint of ${model.name} version ${model.version}`);
    const position = BigInt(rows[0].position);
    return { model, partition, epoch: BigInt(rows[0].epoch), position: position < 0n ? null : position };
  }

  /** Where a claim stands by now, when a commit of it is in doubt: waits for a transaction under way. @throws Superseded */
  async confirm({ model, partition, epoch }: Claim): Promise<bigint | null> {
    const { rows } = await this.client.query<{ position: string }>(
      `SELECT position FROM projection.checkpoint
        WHERE name = $1 AND version = $2 AND partition = $4 AND epoch = $3 FOR NO KEY UPDATE`,
      [model.name, model.version, epoch, partition],
    );
    if (!rows[0]) throw new Superseded(model);
    const position = BigInt(rows[0].position);
    return position < 0n ? null : position;
  }

  query(query: pg.QueryConfig): Promise<pg.QueryResult> {
    return this.client.query(query);
  }

  copy(text: string, messages: readonly Buffer[]): Promise<void> {
    return copyIn(this.client, text, messages);
  }

  /**
   * Moves the checkpoints of all claims to `to` and writes the rows of `work`, all or nothing, and lets listeners know with
   * the commit.
   *
   * @throws CheckpointMoved, Superseded
   */
  async transaction(
    claims: readonly Claim[],
    to: bigint,
    options: TransactionOptions,
    work?: (session: Session) => Promise<void>,
  ): Promise<void> {
    try {
      const begun = this.#begin(options);
      const swapped = this.#swap(claims, to);
      const results = await Promise.allSettled([begun, swapped, work?.(this)]);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      await this.#commit(options);
    } catch (error) {
      await this.rollback();
      throw error instanceof Stale ? await this.#explain(claims) : error;
    }
  }

  /** Begins a transaction whose end is not known yet; nobody else moves the checkpoint until then. */
  async begin(claim: Claim, options: TransactionOptions): Promise<void> {
    try {
      await this.#begin(options);
      await this.#swap([claim], claim.position ?? -1n);
    } catch (error) {
      await this.rollback();
      throw error instanceof Stale ? await this.#explain([claim]) : error;
    }
  }

  /** Ends what {@link begin} has begun. Its errors, and those of the statements in between, need a {@link rollback}. */
  async commit(claim: Claim, to: bigint, options: TransactionOptions): Promise<void> {
    await this.#swap([claim], to);
    await this.#commit(options);
  }

  async rollback(): Promise<void> {
    // A connection that can't even roll back is in an unknown state.
    if (!this.#lost) await this.client.query('ROLLBACK').catch(() => this.close());
  }

  #begin({ durable }: TransactionOptions): Promise<unknown> {
    return this.client.query(durable ? 'BEGIN' : 'BEGIN; SET LOCAL synchronous_commit = off');
  }

  async #swap(claims: readonly Claim[], to: bigint): Promise<void> {
    const { rowCount } = await this.client.query({
      name: 'swap',
      text: `UPDATE projection.checkpoint AS c SET position = $5, updated_at = clock_timestamp()
               FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[], $6::int[])
                 AS claim (name, version, epoch, position, partition)
              WHERE c.name = claim.name AND c.version = claim.version AND c.partition = claim.partition
                AND c.epoch = claim.epoch AND c.position = claim.position`,
      values: [
        claims.map(({ model }) => model.name),
        claims.map(({ model }) => model.version),
        claims.map(({ epoch }) => epoch),
        claims.map(({ position }) => position ?? -1n),
        to,
        claims.map(({ partition }) => partition),
      ],
    });
    if (rowCount !== claims.length) throw new Stale();
  }

  async #explain(claims: readonly Claim[]): Promise<Error> {
    const { rows } = await this.client.query<{
      name: string;
      version: number;
      partition: number;
      epoch: string;
      position: string;
    }>(`SELECT name, version, partition, epoch, position FROM projection.checkpoint WHERE name = ANY ($1)`, [
      claims.map(({ model }) => model.name),
    ]);
    const moved: Error[] = [];
    for (const { model, partition, epoch, position } of claims) {
      const now = rows.find(
        (row) => row.name === model.name && row.version === model.version && row.partition === partition,
      );
      if (now && BigInt(now.epoch) !== epoch) return new Superseded(model);
      if (!now || BigInt(now.position) !== (position ?? -1n)) moved.push(new CheckpointMoved(model, position));
    }
    return moved[0] ?? new Error('A checkpoint was moved and moved back');
  }

  async #commit({ notify }: TransactionOptions): Promise<void> {
    const told =
      notify === undefined
        ? undefined
        : this.client.query({ name: 'notify', text: 'SELECT pg_notify($1, $2)', values: [PROJECTION_CHANNEL, notify] });
    // Both fail when the connection breaks, and a failure that nobody waits for ends the process.
    const [, { command }] = await Promise.all([told, this.client.query('COMMIT')]);
    if (command !== 'COMMIT') throw new Error(`The transaction was rolled back (${command})`);
  }

  async close(): Promise<void> {
    await this.client.end().catch(() => undefined);
  }
}
