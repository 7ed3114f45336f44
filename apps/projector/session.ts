import pg from 'pg';
import { PROJECTION_CHANNEL, type ReadModel } from '#libs/read-models/index.js';
import { CheckpointMoved } from './errors.js';

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

/**
 * The one connection of a projection's runner: it holds the advisory lock that makes it the only one, and it writes. When
 * it breaks, lock and transaction are gone together.
 */
export class Session {
  #lost = false;
  #onLost: (() => void) | undefined;

  private constructor(
    private readonly client: pg.Client,
    private readonly model: ReadModel,
  ) {
    const lose = (): void => {
      if (this.#lost) return;
      this.#lost = true;
      this.#onLost?.();
    };
    client.on('error', lose);
    client.on('end', lose);
  }

  static async open(url: string, model: ReadModel): Promise<Session> {
    const client = new pg.Client({
      connectionString: url,
      application_name: `picturelock projector ${model.name}`,
      connectionTimeoutMillis: 5_000,
      query_timeout: 120_000,
      keepAlive: true,
      options: Object.entries(SETTINGS)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(' '),
    });
    const session = new Session(client, model);
    await client.connect();
    return session;
  }

  get lost(): boolean {
    return this.#lost;
  }

  /** Told once, when the connection breaks or is closed; at once when it has already. */
  set onLost(callback: () => void) {
    this.#onLost = callback;
    if (this.#lost) callback();
  }

  /** Becomes the only runner of the projection, for as long as the connection lasts; false while there is another. */
  async tryLock(): Promise<boolean> {
    const { rows } = await this.client.query<{ locked: boolean }>(
      `SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS locked`,
      [`picturelock.projection.${this.model.name}.${this.model.version}`],
    );
    return rows[0]!.locked;
  }

  async query(query: pg.QueryConfig): Promise<pg.QueryResult> {
    return this.client.query(query);
  }

  /**
   * Moves the checkpoint from `from` to `to` and writes the rows of `work`, both or neither, and lets listeners know with
   * the commit.
   *
   * @param durable false when losing the transaction in a crash costs nothing but doing it again
   * @throws CheckpointMoved
   */
  async transaction(
    from: bigint | null,
    to: bigint,
    durable: boolean,
    work: ((session: Session) => Promise<void>) | undefined,
  ): Promise<void> {
    const name = pg.escapeLiteral(this.model.name);
    const begin = durable ? 'BEGIN' : 'BEGIN; SET LOCAL synchronous_commit = off';
    const swap = `UPDATE projection.checkpoint SET position = ${to}, updated_at = clock_timestamp() WHERE name = ${name} AND version = ${this.model.version} AND position = ${from ?? -1n}`;
    const commit = `SELECT pg_notify('${PROJECTION_CHANNEL}', ${pg.escapeLiteral(`${this.model.name}:${to}`)}); COMMIT`;
    try {
      const swapped = (await this.#several(`${begin}; ${swap}`)).at(-1);
      if (swapped?.rowCount !== 1) throw new CheckpointMoved(this.model, from);
      await work?.(this);
      const committed = (await this.#several(commit)).at(-1);
      if (committed?.command !== 'COMMIT') throw new Error(`The transaction was rolled back (${committed?.command})`);
    } catch (error) {
      // A connection that can't even roll back is in an unknown state.
      if (!this.#lost) await this.client.query('ROLLBACK').catch(() => this.close());
      throw error;
    }
  }

  async #several(text: string): Promise<pg.QueryResult[]> {
    // node-postgres answers several statements with an array that its types don't know.
    return (await this.client.query(text)) as unknown as pg.QueryResult[];
  }

  async close(): Promise<void> {
    await this.client.end().catch(() => undefined);
  }
}
