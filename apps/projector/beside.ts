import { setTimeout as sleep } from 'node:timers/promises';
import type { EventBatch, LogSubscription } from '#libs/events/log/types.js';
import { dropReadModel, replaceReadModel, scratchCopy, type openRebuilds } from '#libs/read-models/index.js';
import { Worker, type WorkerContext } from './worker.js';

type Order = Awaited<ReturnType<typeof openRebuilds>>[number];

const BATCH = 250;
const PROGRESS_MS = 1_000;
/** Readers and writers of the rows wait for each other at most so long. */
const SWAP_WAIT_MS = 1_000;
const SWAP_PAUSE_MS = 200;

/**
 * Builds a read model anew beside the one that is being read, and puts it in its place once it has caught up. Picked up by
 * the next runner of the projection where this one has left it.
 */
export class Beside {
  readonly #copy: Worker;
  readonly #abort = new AbortController();
  #subscription: LogSubscription | undefined;
  #throttle: number | null;
  #cancelled = false;
  #paceFrom = performance.now();
  #paced = 0;
  /** Events this process has read, and since when. */
  readonly #began = performance.now();

  constructor(
    private readonly live: Worker,
    private readonly order: Order,
    private readonly context: Omit<WorkerContext, 'admit' | 'dismiss' | 'changed' | 'signal'>,
  ) {
    this.#throttle = order.throttle;
    const { projection } = live;
    this.#copy = new Worker(
      { ...projection, model: scratchCopy(projection.model, 'rebuild') },
      {
        ...context,
        signal: this.#abort.signal,
        admit: () => this.#read(),
        dismiss: () => void this.#subscription?.stop(),
        changed: () => undefined,
      },
    );
  }

  /** What the order says by now. */
  heed({ throttle, cancel }: Order): void {
    if (throttle !== this.#throttle) [this.#paceFrom, this.#paced] = [performance.now(), 0];
    this.#throttle = throttle;
    this.#cancelled = cancel;
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
      logger?.info({ projection: this.live.name }, 'rebuild begins');
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
        if (await this.#swap()) {
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
      await this.#subscription?.stop();
      await Promise.all(running);
    }
  }

  #read(): void {
    const { log } = this.context;
    this.#subscription = log.subscribe({
      after: this.#copy.position,
      categories: this.live.projection.model.categories,
      maxBatch: BATCH,
      unreadable: 'deliver',
      onBatch: (batch) => this.#apply(batch),
    });
  }

  async #apply(batch: EventBatch): Promise<void> {
    const atEnd = batch.live || batch.events.length < BATCH;
    await this.#copy.apply(batch, atEnd);
    this.#paced += batch.events.length;
    while (this.#throttle !== null && !this.#abort.signal.aborted) {
      const early = (this.#paced * 1000) / this.#throttle - (performance.now() - this.#paceFrom);
      if (early < 5) return;
      // Not all at once: the limit may be lifted meanwhile.
      await sleep(Math.min(early, SWAP_PAUSE_MS), undefined, { signal: this.#abort.signal }).catch(() => undefined);
    }
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

  #swap(): Promise<boolean> {
    const copy = this.#copy;
    const { live } = this;
    if (copy.filling || (copy.position ?? -1n) < (live.position ?? -1n)) return Promise.resolve(false);
    return live.serially(() =>
      copy.serially(async () => {
        const from = live.claim();
        const to = copy.claim();
        // Readers must not see an older position than before.
        if (!from || !to || (to.position ?? -1n) < (from.position ?? -1n)) return false;
        const { name, version } = from.model;
        const epoch = await replaceReadModel(this.context.pool, from, to, SWAP_WAIT_MS, async (client) => {
          await client.query(`DELETE FROM projection.parked WHERE name = $1 AND version = $2 AND state <> 'SKIPPED'`, [
            name,
            version,
          ]);
          await client.query(
            `UPDATE projection.rebuild SET state = 'DONE', position = $2, events = $3, ended_at = clock_timestamp() WHERE id = $1`,
            [this.order.id, to.position ?? -1n, copy.events],
          );
        });
        if (epoch === undefined) return false;
        copy.retire();
        live.moveTo({ ...from, epoch, position: to.position });
        return true;
      }),
    );
  }

  async #end(state: 'CANCELLED' | 'FAILED', error: string | null, running: Promise<void>[]): Promise<void> {
    this.#abort.abort();
    await this.#subscription?.stop();
    await Promise.all(running);
    await dropReadModel(this.context.pool, this.#copy.projection.model);
    await this.#record(`state = $2, error = $3, ended_at = clock_timestamp()`, [state, error]);
    this.context.logger?.info({ projection: this.live.name, state, error }, 'rebuild given up');
  }

  async #record(set: string, values: readonly unknown[] = []): Promise<void> {
    await this.context.pool.query(`UPDATE projection.rebuild SET ${set} WHERE id = $1`, [this.order.id, ...values]);
  }
}
