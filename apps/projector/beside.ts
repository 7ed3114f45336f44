import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { PoolClient } from '#libs/postgres/index.js';
import {
  compareReadModels,
  dropReadModel,
  type RebuildOrder,
  partitionsOf,
  replaceReadModel,
  scratchCopy,
} from '#libs/read-models/index.js';
import { BATCH, type Pace, type Reading, Readings } from './readings.js';
import { together, Worker, type WorkerContext } from './worker.js';

const SUFFIX = { REPLACE: 'rebuild', VERIFY: 'compare' } as const;
/** Small transactions, so that who writes what is being read never waits long for the processor. */
const GATHER_EVENTS = 1_000;
const PROGRESS_MS = 1_000;
/** Readers and writers of the rows wait for each other at most so long. */
const SWAP_WAIT_MS = 1_000;
const SWAP_PAUSE_MS = 200;

/**
 * Builds a read model anew beside the one that is being read, and once it has caught up puts it in its place, or compares
 * the two and throws it away. Picked up by the next runner of the projection where this one has left it.
 */
export class Beside {
  readonly #copy: Worker;
  readonly #abort = new AbortController();
  #reading: Reading | undefined;
  #pace: Pace;
  #cancelled = false;
  /** Events this process has read, and since when. */
  readonly #began = performance.now();

  /**
   * @param live runs the first partition of what is being read
   * @param partitions all that are run by this process, in order
   */
  constructor(
    private readonly live: Worker,
    private readonly partitions: readonly Worker[],
    private readonly order: RebuildOrder,
    private readonly readings: Readings,
    private readonly context: Omit<WorkerContext, 'admit' | 'dismiss' | 'changed' | 'signal' | 'gatherEvents'>,
  ) {
    this.#pace = { throttle: order.throttle };
    const { projection } = live;
    this.#copy = new Worker(
      { ...projection, model: scratchCopy(projection.model, SUFFIX[order.purpose]) },
      {
        ...context,
        signal: this.#abort.signal,
        gatherEvents: GATHER_EVENTS,
        admit: () => this.#read(),
        dismiss: () => void this.#stopReading(),
        changed: () => undefined,
      },
    );
  }

  /** What the order says by now. */
  heed({ throttle, cancel }: RebuildOrder): void {
    this.#cancelled = cancel;
    if (throttle === this.#pace.throttle) return;
    this.#pace = { throttle };
    // At its own pace from here on.
    if (this.#reading) this.#read();
  }

  /** Leaves it for the next runner. */
  stop(): void {
    this.#abort.abort();
  }

  /** Resolves when it is done, cancelled, failed or stopped; never rejects. */
  async run(): Promise<void> {
    const { pool, logger } = this.context;
    const { model } = this.#copy.projection;
    const running: Promise<void>[] = [];
    try {
      if (this.order.state === 'REQUESTED') await dropReadModel(pool, model);
      await this.#record(`state = 'RUNNING', started_at = coalesce(started_at, clock_timestamp())`);
      logger?.info({ projection: this.live.name, purpose: this.order.purpose }, 'rebuild begins');
      running.push(this.#copy.run());
      let told = 0;
      while (!this.#abort.signal.aborted) {
        await sleep(SWAP_PAUSE_MS, undefined, { signal: this.#abort.signal }).catch(() => undefined);
        if (this.#abort.signal.aborted) break;
        if (this.#cancelled) return await this.#end('CANCELLED', null, running);
        if (this.#copy.state === 'failed')
          return await this.#end('FAILED', this.#copy.failure?.message ?? 'unknown', running);
        if (performance.now() - told > PROGRESS_MS) {
          told = performance.now();
          await this.#progress();
        }
        if (this.order.purpose === 'VERIFY') {
          if (await this.#compare(running)) return;
        } else if (await this.#swap()) {
          logger?.info(
            { projection: this.live.name, position: String(this.live.position) },
            'rebuilt rows are in place',
          );
          return;
        }
      }
    } catch (error) {
      logger?.warn({ projection: this.live.name, err: error }, 'rebuild interrupted, to be taken up again');
    } finally {
      this.#abort.abort();
      await this.#stopReading();
      await Promise.all(running);
    }
  }

  #read(): void {
    void this.#stopReading();
    this.#reading = this.readings.join({ worker: this.#copy, pace: this.#pace, live: this.live });
  }

  async #stopReading(): Promise<void> {
    const reading = this.#reading;
    this.#reading = undefined;
    await reading?.stop();
  }

  async #progress(): Promise<void> {
    const head = await this.context.log.head().catch(() => null);
    const rate = (this.#copy.events * 1000) / (performance.now() - this.#began);
    await this.#record(`position = $2, head = coalesce($3, head), events = $4, events_per_second = $5`, [
      this.#copy.position ?? -1n,
      head,
      this.#copy.events,
      rate,
    ]);
  }

  get #caughtUp(): boolean {
    const copied = this.#copy.position ?? -1n;
    return !this.#copy.filling && this.#led.every(({ position }) => copied >= (position ?? -1n));
  }

  /** Partitions that this process leads by now. Others are somebody else's, who is kept out by the database. */
  get #led(): readonly Worker[] {
    return this.partitions.filter(({ state }) => state === 'leading');
  }

  /** Takes a snapshot in which both stand at one position, and compares in it while the live rows move on. */
  async #compare(running: Promise<void>[]): Promise<boolean> {
    if (this.#reading) {
      if (!this.#caughtUp) return false;
      // From here on it goes where the live rows are, and not further.
      await this.#stopReading();
    }
    const { live } = this;
    const copy = this.#copy;
    if (copy.state !== 'leading' || (live.position ?? -1n) < (copy.position ?? -1n)) return false;
    const client = await this.context.pool.connect();
    let broken = true;
    try {
      const position = await together(this.#led, () => this.#meet(client));
      if (position === undefined) {
        broken = false;
        return false;
      }
      const differences = await compareReadModels(client, live.projection.model, copy.projection.model);
      await client.query('COMMIT');
      broken = false;
      this.context.logger?.info(
        { projection: live.name, position: String(position), differences },
        differences.length === 0 ? 'rows are those of a clean rebuild' : 'rows are not those of a clean rebuild',
      );
      await this.#end('DONE', null, running, { position, differences });
      return true;
    } finally {
      client.release(broken);
    }
  }

  /** In the live partitions' turn: has the copy go on to the same position, and opens the client's snapshot. */
  async #meet(client: PoolClient): Promise<bigint | undefined> {
    const { live } = this;
    const copy = this.#copy;
    const position = live.claim()?.position;
    if (position == null) return undefined;
    // Those who follow the log together are mostly at one place between two batches; else another time.
    if (this.#led.some((worker) => worker.claim()?.position !== position)) return undefined;
    let events: RecordedEvent[] = [];
    const { categories } = live.projection.model;
    for await (const event of this.context.log.readAll({ after: copy.position, categories })) {
      if (event.position > position) break;
      if (events.push(event) < BATCH) continue;
      await copy.apply({ events, position: event.position, live: true }, false);
      events = [];
    }
    await copy.apply({ events, position, live: true }, false);
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0');
    const { rows } = await client.query<{ position: string }>(
      `SELECT position FROM projection.checkpoint WHERE (name = $1 OR name = $2) AND version = $3`,
      [live.name, copy.name, live.projection.model.version],
    );
    const partitions = partitionsOf(live.projection.model);
    if (rows.length === partitions + 1 && rows.every((row) => BigInt(row.position) === position)) return position;
    await client.query('ROLLBACK');
    return undefined;
  }

  #swap(): Promise<boolean> {
    const copy = this.#copy;
    const { live } = this;
    if (!this.#caughtUp || live.state !== 'leading') return Promise.resolve(false);
    const led = this.#led;
    return together(led, () =>
      copy.serially(async () => {
        const from = live.claim();
        const to = copy.claim();
        // Readers must not see an older position than before.
        if (!from || !to || (to.position ?? -1n) < (from.position ?? -1n)) return false;
        const claims = led.map((worker) => worker.claim());
        if (claims.some((claim) => claim === undefined)) return false;
        const { name, version } = from.model;
        const epochs = await replaceReadModel(this.context.pool, from, to, SWAP_WAIT_MS, async (client) => {
          await client.query(`DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND state <> 'SKIPPED'`, [
            name,
            version,
          ]);
          await client.query(
            `UPDATE projection.rebuild SET state = 'DONE', position = $2, events = $3, ended_at = clock_timestamp() WHERE id = $1`,
            [this.order.id, to.position ?? -1n, copy.events],
          );
        });
        if (epochs === undefined) return false;
        copy.retire();
        led.forEach((worker, n) =>
          worker.moveTo({ ...claims[n]!, epoch: epochs.get(worker.partition)!, position: to.position }),
        );
        return true;
      }),
    );
  }

  async #end(
    state: 'CANCELLED' | 'FAILED' | 'DONE',
    error: string | null,
    running: Promise<void>[],
    found?: { readonly position: bigint; readonly differences: unknown },
  ): Promise<void> {
    this.#abort.abort();
    await this.#stopReading();
    await Promise.all(running);
    await dropReadModel(this.context.pool, this.#copy.projection.model);
    await this.#record(
      `state = $2, error = $3, events = $4, position = coalesce($5, position), differences = $6,
       ended_at = clock_timestamp()`,
      [state, error, this.#copy.events, found?.position, found && JSON.stringify(found.differences)],
    );
    this.context.logger?.info({ projection: this.live.name, state, error }, 'rebuild beside has ended');
  }

  async #record(set: string, values: readonly unknown[] = []): Promise<void> {
    await this.context.pool.query(`UPDATE projection.rebuild SET ${set} WHERE id = $1`, [this.order.id, ...values]);
  }
}
