import { setTimeout as sleep } from 'node:timers/promises';
import type { EventLog, LogSubscription } from '#libs/events/log/types.js';
import { createPool } from '#libs/postgres/index.js';
import {
  dropOldVersions,
  dropReplaced,
  openRebuilds,
  originalName,
  partitionsOf,
  type ReadModel,
} from '#libs/read-models/index.js';
import { Beside } from './beside.js';
import { CheckpointAheadOfLog } from './errors.js';
import type { Projection } from './projection.js';
import { PROJECTIONS } from './projections/index.js';
import { Group } from './group.js';
import { readRetries } from './parking.js';
import { Readings } from './readings.js';
import { inOrder, newHolder, type ProjectionState, type ProjectorLogger, Worker } from './worker.js';

export interface ProjectorOptions {
  readonly log: EventLog;
  /** Database of the read models. */
  readonly url: string;
  /** Default: every projection of this build. */
  readonly projections?: readonly Projection[];
  /** Largest batch, in events: one transaction each. */
  readonly maxBatch?: number;
  /** How long replaced tables stay, milliseconds; default one minute. */
  readonly replacedGraceMs?: number;
  /** How long an earlier version stays when nobody reads or writes it any more, milliseconds; default one hour. */
  readonly oldVersionGraceMs?: number;
  readonly logger?: ProjectorLogger;
}

export interface ProjectionStatus {
  readonly name: string;
  readonly version: number;
  readonly state: ProjectionState;
  readonly position: bigint | null;
  /** Events written since the start of the process. */
  readonly events: number;
  readonly batches: number;
  readonly lastEventAt: Date | undefined;
  readonly failure: Error | undefined;
}

export interface Projector {
  status(): readonly ProjectionStatus[];
  /** Resolves when every projection is at the position or after it. Rejects when one fails or the projector stops. */
  reached(position: bigint): Promise<void>;
  /** Resolves when every projection leads: there is no other projector. */
  leads(): Promise<void>;
  /** Finishes the batches under way. */
  stop(): Promise<void>;
}

/** Small, so that events read in bulk are let go while they are young; what is written together is the workers' affair. */
const MAX_BATCH = 250;
/** Under load, events of this long share a transaction. */
const GATHER_MS = 4;
/** Projections that become ready together share a reader from the start. */
const JOIN_WINDOW_MS = 20;
const PREPARING_MAX_MS = 3_000;
const RESTART_MS = 500;
/** Signs of life, and looking for what is to be tried again. */
const TEND_MS = 1_000;
const SWEEP_ROUNDS = 10;
/** A statement that began before tables were replaced has ended long since. */
const REPLACED_GRACE_MS = 60_000;
/** So long after its last reader and writer an old version is removed: time to go back to the build before. */
const OLD_VERSION_GRACE_MS = 3_600_000;

/**
 * Runs projections. Those at the same point share one read of the log; one that lags, or is new, reads by itself, only what
 * concerns it, until it has caught up.
 */
export function startProjector(options: ProjectorOptions): Projector {
  const running = new RunningProjector(options);
  running.start();
  return running;
}

/** One subscription and the projections it feeds. */
class Reader {
  readonly members: Set<Worker>;
  #subscription: LogSubscription | undefined;
  #stopping: Promise<void> | undefined;

  constructor(members: readonly Worker[]) {
    this.members = new Set(members);
  }

  start(options: {
    log: EventLog;
    group: Group;
    categories: readonly string[];
    maxBatch: number;
    onBatch: (atEnd: boolean) => void;
    onEnd: (error: unknown) => void;
    onConnection: (state: 'connected' | 'lost', error?: unknown) => void;
  }): void {
    this.#subscription = options.log.subscribe({
      gatherMs: GATHER_MS,
      after: earliest([...this.members]),
      categories: options.categories,
      maxBatch: options.maxBatch,
      unreadable: 'deliver',
      onBatch: async (batch) => {
        // A batch that isn't full ends at the head of the log, or near it.
        const atEnd = batch.live || batch.events.length < options.maxBatch;
        const members = inOrder(this.members);
        if (!batch.live || !(await options.group.write(members, batch)))
          for (const first of [true, false])
            await Promise.all(
              members
                .filter(({ projection }) => (projection.model.grantsAccess ?? false) === first)
                .map((member) => member.apply(batch, atEnd)),
            );
        options.onBatch(atEnd);
      },
      onConnection: options.onConnection,
    });
    const end = (error?: unknown): void => {
      if (!this.#stopping) options.onEnd(error);
    };
    this.#subscription.done.then(() => end(), end);
  }

  /** Resolves when the batch under way is done. */
  stop(): Promise<void> {
    return (this.#stopping ??= this.#subscription?.stop() ?? Promise.resolve());
  }
}

const at = (worker: Worker): bigint => worker.position ?? -1n;
const earliest = (workers: readonly Worker[]): bigint | null => {
  const position = workers.map(at).reduce((a, b) => (a < b ? a : b));
  return position < 0n ? null : position;
};

const isOf = (model: ReadModel, of: { name: string; version: number }): boolean =>
  originalName(model) === of.name && model.version === of.version;

const STATES: readonly ProjectionState[] = ['failed', 'stopped', 'waiting', 'leading'];

/** Of a projection, by its partitions: what all of them have reached, and the worst state of any. */
function statusOf(partitions: readonly Worker[]): ProjectionStatus {
  const { projection, name } = partitions[0]!;
  const positions = partitions.map(({ position }) => position);
  const sum = (count: (worker: Worker) => number): number => partitions.reduce((all, worker) => all + count(worker), 0);
  return {
    name,
    version: projection.model.version,
    state: STATES.find((state) => partitions.some((worker) => worker.state === state))!,
    position: positions.includes(null)
      ? null
      : positions.reduce((least, position) => (position! < least! ? position : least))!,
    events: sum(({ events }) => events),
    batches: sum(({ batches }) => batches),
    lastEventAt: partitions
      .map(({ lastEventAt }) => lastEventAt)
      .reduce((last, at) => (at && (!last || at > last) ? at : last)),
    failure: partitions.find(({ failure }) => failure)?.failure,
  };
}

const projectionIsCopy = ({ projection }: Worker): boolean => projection.model.copyOf !== undefined;

class RunningProjector implements Projector {
  readonly #abort = new AbortController();
  readonly #holder = newHolder();
  readonly #group: Group;
  readonly #pool;
  readonly #projections: readonly Projection[];
  readonly #workers: readonly Worker[];
  readonly #categories: readonly string[];
  readonly #waiting = new Set<() => void>();
  /** Workers without a reader; true for those that have caught up by themselves. */
  readonly #joining = new Map<Worker, boolean>();
  readonly #readings: Readings;
  readonly #besides = new Map<Worker, { beside: Beside; done: Promise<void> }>();
  #main: Reader | undefined;
  readonly #lagging = new Set<Reader>();
  #joinTimer: NodeJS.Timeout | undefined;
  #regrouping: Promise<void> = Promise.resolve();
  #runs: Promise<void>[] = [];
  #stopped: Promise<void> | undefined;

  constructor(private readonly options: ProjectorOptions) {
    const projections = (this.#projections = options.projections ?? PROJECTIONS);
    this.#pool = createPool(options.url, {
      // Indexes of several read models may be under way, and signs of life must not wait for them.
      max: 2 + 2 * projections.length,
      applicationName: 'picturelock projector',
      onError: (error) => options.logger?.warn({ err: error }, 'idle database connection lost'),
    });
    this.#readings = new Readings(options.log);
    this.#group = new Group(options.url, options.logger);
    this.#categories = [...new Set(projections.flatMap(({ model }) => model.categories))];
    const context = {
      url: options.url,
      pool: this.#pool,
      signal: this.#abort.signal,
      log: options.log,
      holder: this.#holder,
      logger: options.logger,
      admit: (worker: Worker) => this.#join(worker, false),
      dismiss: (worker: Worker) => this.#leave(worker),
      changed: () => this.#waiting.forEach((check) => check()),
      completed: (worker: Worker) => {
        for (const other of this.#partitionsOf(worker)) if (other !== worker) void other.complete();
      },
    };
    this.#workers = inOrder(
      projections.flatMap((projection) =>
        Array.from({ length: partitionsOf(projection.model) }, (_, n) => new Worker(projection, context, n)),
      ),
    );
  }

  start(): void {
    this.#runs = [...this.#workers.map((worker) => worker.run()), this.#tend()];
  }

  status(): readonly ProjectionStatus[] {
    return this.#projections.map((projection) => statusOf(this.#partitionsOf({ projection })));
  }

  /** All partitions of a worker's projection, in order. */
  #partitionsOf({ projection }: Pick<Worker, 'projection'>): Worker[] {
    return this.#workers.filter((worker) => worker.projection === projection);
  }

  reached(position: bigint): Promise<void> {
    return this.#until((worker) => worker.isAt(position));
  }

  leads(): Promise<void> {
    return this.#until((worker) => worker.state === 'leading');
  }

  stop(): Promise<void> {
    return (this.#stopped ??= (async () => {
      clearTimeout(this.#joinTimer);
      this.#joinTimer = undefined;
      const regrouped = this.#regrouping;
      const readers = [this.#main, ...this.#lagging];
      await Promise.all(readers.map((reader) => reader?.stop()));
      await regrouped;
      await Promise.all([this.#main, ...this.#lagging].map((reader) => reader?.stop()));
      this.#abort.abort();
      await Promise.all(this.#runs);
      await this.#group.close();
      await this.#pool.end();
    })());
  }

  /** Shows that this process is alive, and does what was asked of its projections. */
  async #tend(): Promise<void> {
    const { signal } = this.#abort;
    for (let round = 0; !signal.aborted; round++) {
      await sleep(TEND_MS, undefined, { signal }).catch(() => undefined);
      const leading = this.#workers.filter(({ state }) => state === 'leading');
      const failed = this.#workers.filter(({ state }) => state === 'failed');
      if (signal.aborted || leading.length + failed.length === 0) continue;
      try {
        await this.#pool.query(`UPDATE projection.leader SET beat_at = clock_timestamp() WHERE holder = $1`, [
          this.#holder,
        ]);
        const retries = await readRetries(this.#pool);
        for (const worker of leading) {
          const streams = retries
            .filter((retry) => isOf(worker.projection.model, retry) && worker.owns(retry.stream))
            .map(({ stream }) => stream);
          if (streams.length > 0) await worker.retry(streams);
          // Another process may have been the last to reach the end.
          if (worker.filling) await worker.complete();
        }
        for (const worker of failed) if (retries.some((retry) => isOf(worker.projection.model, retry))) worker.again();
        await this.#rebuildBeside(leading);
        if (round % SWEEP_ROUNDS === 0) await this.#sweep(leading);
      } catch (error) {
        // Without the tables there is nothing to tend; the workers see to them.
        this.options.logger?.warn({ err: error }, 'could not look after the projections');
      }
    }
    for (const { beside } of this.#besides.values()) beside.stop();
    await Promise.all([...this.#besides.values()].map(({ done }) => done));
  }

  async #rebuildBeside(leading: readonly Worker[]): Promise<void> {
    const orders = await openRebuilds(this.#pool);
    for (const [worker, { beside }] of this.#besides) if (!leading.includes(worker)) beside.stop();
    for (const order of orders) {
      const worker = leading.find(({ projection, partition }) => partition === 0 && isOf(projection.model, order));
      if (!worker || projectionIsCopy(worker)) continue;
      const running = this.#besides.get(worker);
      if (running) {
        running.beside.heed(order);
        continue;
      }
      const beside = new Beside(worker, this.#partitionsOf(worker), order, this.#readings, {
        url: this.options.url,
        pool: this.#pool,
        log: this.options.log,
        holder: this.#holder,
        logger: this.options.logger,
      });
      beside.heed(order);
      const done = beside.run().then(() => void this.#besides.delete(worker));
      this.#besides.set(worker, { beside, done });
    }
  }

  /** Removes tables that nothing reads any more. */
  async #sweep(leading: readonly Worker[]): Promise<void> {
    const { replacedGraceMs = REPLACED_GRACE_MS, oldVersionGraceMs = OLD_VERSION_GRACE_MS, logger } = this.options;
    await dropReplaced(this.#pool, replacedGraceMs);
    for (const worker of leading) {
      if (worker.filling || worker.partition > 0) continue;
      const { model } = worker.projection;
      for (const version of await dropOldVersions(this.#pool, model, oldVersionGraceMs))
        logger?.info({ projection: model.name, version }, 'an old version that nobody reads is removed');
    }
  }

  #until(condition: (worker: Worker) => boolean): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const check = (): void => {
        const ended = this.#workers.find(({ state }) => state === 'failed' || state === 'stopped');
        if (ended) reject(ended.failure ?? new Error('The projector was stopped'));
        else if (this.#workers.every(condition)) resolve();
        else return;
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }

  #join(worker: Worker, caughtUp: boolean): void {
    if (this.#stopped) return;
    this.#joining.set(worker, caughtUp);
    if (this.#joinTimer) return;
    const deadline = Date.now() + PREPARING_MAX_MS;
    const wait = (): void => {
      this.#joinTimer = setTimeout(() => {
        // Those who are about to be ready share the reader from the start.
        if (this.#workers.some(({ preparing }) => preparing) && Date.now() < deadline) return wait();
        this.#joinTimer = undefined;
        this.#regrouping = this.#regrouping.then(() => this.#regroup());
      }, JOIN_WINDOW_MS);
    };
    wait();
  }

  #leave(worker: Worker): void {
    this.#joining.delete(worker);
    for (const reader of [this.#main, ...this.#lagging]) {
      if (!reader?.members.delete(worker) || reader.members.size > 0) continue;
      this.#lagging.delete(reader);
      if (this.#main === reader) this.#main = undefined;
      // Not awaited: this may be called while the reader's batch is under way.
      void reader.stop();
    }
  }

  /** Gives every worker without a reader one: the common one when it is as far, else one of its own. */
  async #regroup(): Promise<void> {
    const main = this.#main;
    const joining = [...this.#joining].filter(([worker]) => worker.state === 'leading');
    this.#joining.clear();
    const furthest = [...(main?.members ?? []), ...joining.map(([worker]) => worker)]
      .map(at)
      .reduce((a, b) => (a > b ? a : b), -1n);
    const together: Worker[] = [];
    const behind = new Map<bigint, Worker[]>();
    for (const [worker, caughtUp] of joining)
      if (caughtUp || at(worker) >= furthest) together.push(worker);
      else behind.set(at(worker), [...(behind.get(at(worker)) ?? []), worker]);

    const ready = (worker: Worker): boolean => worker.state === 'leading' && !this.#joining.has(worker);
    if (together.length > 0) {
      await main?.stop();
      if (this.#stopped) return;
      // Some may have ended while the last batch was handled, or even begun again: those join once more.
      const members = [...(main?.members ?? []), ...together].filter(ready);
      this.#main = undefined;
      if (members.length > 0) {
        this.#main = new Reader(members);
        this.#start(this.#main, this.#categories, () => undefined);
      }
    }
    for (const lagging of behind.values()) {
      const workers = lagging.filter(ready);
      if (workers.length === 0) continue;
      const reader = new Reader(workers);
      this.#lagging.add(reader);
      this.options.logger?.info(
        { projections: workers.map(({ name }) => name), position: String(workers[0]!.position) },
        'projections lag: catching up by themselves',
      );
      const categories = [...new Set(workers.flatMap(({ projection }) => projection.model.categories))];
      this.#start(reader, categories, (atEnd) => {
        if (!atEnd) return;
        this.#lagging.delete(reader);
        for (const worker of reader.members) this.#join(worker, true);
        reader.members.clear();
        void reader.stop();
      });
    }
  }

  #start(reader: Reader, categories: readonly string[], onBatch: (atEnd: boolean) => void): void {
    const { log, logger, maxBatch = MAX_BATCH } = this.options;
    const restart = (error: unknown): void => {
      if (this.#stopped) return;
      logger?.error({ err: error }, 'the subscription ended by itself: starting it again');
      setTimeout(() => {
        this.#lagging.delete(reader);
        if (this.#main === reader) this.#main = undefined;
        for (const worker of reader.members) this.#join(worker, false);
        reader.members.clear();
      }, RESTART_MS).unref();
    };
    reader.start({
      log,
      group: this.#group,
      categories,
      maxBatch,
      onBatch,
      onEnd: restart,
      onConnection: (state, error) => {
        if (state === 'lost') logger?.warn({ err: error }, 'the event store is away: projections pause');
        else void this.#compareWithHead(reader);
      },
    });
  }

  /** Rows of another log are worse than none. */
  async #compareWithHead(reader: Reader): Promise<void> {
    // Positions first: the head can only have moved on since.
    const positions = [...reader.members].map((worker) => [worker, at(worker)] as const);
    const head = await this.options.log.head().catch(() => undefined);
    if (head === undefined) return;
    for (const [worker, position] of positions)
      if (position > head) worker.fail(new CheckpointAheadOfLog(worker.projection.model, position, head));
  }
}
