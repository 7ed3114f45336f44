import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import DataLoader from 'dataloader';
import { DataSource, In, type EntityManager, type FindOptionsOrder, type QueryRunner } from 'typeorm';
import { isDatabaseAway, Listener, type Pool, type PoolClient } from '#libs/postgres/index.js';
import { leaseStatement, READ_MODELS, type EntityClass } from '#libs/read-models/index.js';
import { refuse } from '#libs/events/catalogue/index.js';
import { refusalError } from './refusals.js';

/** How long a reader waits for projections before it is told that they lag, milliseconds. */
const PATIENCE_MS = 10_000;
/** First pause before a snapshot that could not be used is opened again, milliseconds; it doubles. */
const AGAIN_MS = 4;
const MAX_AGAIN_MS = 250;
/** Read models that say who may see what; a snapshot is used only when they are as new as the rest. */
const ACCESS_MODELS = READ_MODELS.filter((model) => model.grantsAccess).map((model) => model.name);
export const CHANNEL = 'picturelock_projection';
/** On which one api process asks all of them. */
const ROLL_CALL = 'picturelock_roll_call';

export const isUuid = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i.test(value);

const ALL_MODELS = READ_MODELS.map(({ name }) => name);

type Checkpoints = ReadonlyMap<string, bigint>;
interface CheckpointRow {
  readonly name: string;
  readonly version: number;
  readonly position: string;
}
interface Waiter {
  readonly reached: () => boolean;
  readonly done: () => void;
}

/** Of a read model in partitions, what all of them have reached. */
const CHECKPOINTS =
  'SELECT name, version, min(position)::text AS position FROM projection.checkpoint GROUP BY name, version';
/** The lock comes before the snapshot: tables that are rebuilt change places only when nobody is between two reads. */
const SNAPSHOT = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE projection.gate IN ACCESS SHARE MODE; ${CHECKPOINTS}`;
/** Between two words that the read models of this build are read; an hour without has them removed. */
const LEASE_MS = 60_000;

/** How far other builds' versions of our read models are: what other processes may have shown. */
const elsewhere = (rows: readonly CheckpointRow[]): bigint =>
  rows
    .filter((row) => READ_MODELS.some(({ name, version }) => row.name === name && Number(row.version) !== version))
    .reduce((furthest, { position }) => (BigInt(position) > furthest ? BigInt(position) : furthest), -1n);

const toCheckpoints = (rows: readonly CheckpointRow[]): Checkpoints =>
  new Map(
    READ_MODELS.map((model) => {
      const row = rows.find((r) => r.name === model.name && Number(r.version) === model.version);
      return [model.name, BigInt(row?.position ?? -1)];
    }),
  );

/** The read models: snapshots, positions, and a wake-up when something was projected. */
export class ReadStore {
  readonly #source: DataSource;
  readonly #listener: Listener;
  readonly #waiters = new Set<Waiter>();
  readonly #onProgress = new Set<(model?: string) => void>();
  /** How far each read model was last seen or said to be: a hint, which a look or a snapshot confirms. */
  readonly #heard = new Map<string, bigint>();
  /** Names this process among those that read the models. */
  readonly holder = randomUUID();
  readonly #onRollCall = new Set<(payload: string) => void>();
  /** The furthest position of a snapshot that was used. */
  shown = -1n;
  #leasedAt = 0;
  #looking: Promise<Checkpoints> | undefined;
  #lookingNext: Promise<Checkpoints> | undefined;

  private constructor(source: DataSource, url: string, onError: (error: Error) => void) {
    this.#source = source;
    this.#listener = new Listener({
      url,
      channels: [CHANNEL, ROLL_CALL],
      applicationName: 'picturelock api listener',
      // NOTIFY is only a hint; the tables are read either way, and at least once a second.
      onNotification: (channel, payload) => {
        if (channel === CHANNEL) this.#hear(payload);
        else for (const answer of this.#onRollCall) answer(payload);
      },
      onReconnect: () => this.#wakeAll(),
      onTick: () => {
        this.#wakeAll();
        return this.#holdLease();
      },
      onError,
    });
  }

  static async open(url: string, onError: (error: Error) => void): Promise<ReadStore> {
    const source = new DataSource({
      type: 'postgres',
      url,
      entities: READ_MODELS.flatMap((m) => [...m.entities]),
      applicationName: 'picturelock api',
      poolSize: 20,
      extra: {
        statement_timeout: 15_000,
        idle_in_transaction_session_timeout: 30_000,
        // A connection is dear to make: a busy hour should not make each several times a minute.
        idleTimeoutMillis: 300_000,
        keepAlive: true,
      },
      poolErrorHandler: onError,
    });
    await source.initialize();
    const store = new ReadStore(source, url, onError);
    await store.#listener.start();
    return store;
  }

  async close(): Promise<void> {
    await this.#listener.stop();
    await this.#source.destroy();
  }

  /** For statements about the projections themselves. */
  get pool(): Pool {
    return (this.#source.driver as unknown as { master: Pool }).master;
  }

  get manager(): EntityManager {
    return this.#source.manager;
  }

  /** Without the mapper's own runner around each statement: what runs all the time is asked here. */
  async query<T>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    const { rows } = await this.pool.query(sql, parameters);
    return rows as T[];
  }

  session(): ReadSession {
    return new ReadSession(this, this.#source);
  }

  /** Called whenever projections may have moved; with a name when it is only this one. Returns the way to stop. */
  onProgress(callback: (model?: string) => void): () => void {
    this.#onProgress.add(callback);
    return () => this.#onProgress.delete(callback);
  }

  /** Called with what a process says to all of them, itself included, until the store is closed. */
  onRollCall(callback: (payload: string) => void): void {
    this.#onRollCall.add(callback);
  }

  async callAll(payload: string): Promise<void> {
    await this.query('SELECT pg_notify($1, $2)', [ROLL_CALL, payload]);
  }

  /**
   * Resolves as soon as the named read models are said to have reached the position, at any sign that word of it may
   * have been lost, and after `ms` at the latest. True when they are said to be there.
   */
  async heard(position: bigint, names: readonly string[] = ALL_MODELS, ms = 1000): Promise<boolean> {
    const reached = (): boolean => position <= 0n || names.every((name) => (this.#heard.get(name) ?? -1n) >= position);
    if (reached()) return true;
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        resolve();
      };
      const waiter = { reached, done };
      const timer = setTimeout(done, ms);
      this.#waiters.add(waiter);
    });
    return reached();
  }

  /** How far each read model of this build is. */
  async checkpoints(): Promise<Checkpoints> {
    return toCheckpoints(await this.query<CheckpointRow>(CHECKPOINTS));
  }

  /** Checkpoints as they are now or later; one look for all who ask at the same time. */
  #look(): Promise<Checkpoints> {
    if (this.#looking) {
      // What is under way may be too old for who comes now.
      return (this.#lookingNext ??= this.#looking
        .catch(() => undefined)
        .then(() => {
          this.#lookingNext = undefined;
          return this.#look();
        }));
    }
    this.#looking = this.checkpoints()
      .then((at) => {
        for (const [name, position] of at) this.#heard.set(name, position);
        return at;
      })
      .finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  /** Waits until the named read models have reached the position. @throws PROJECTION_BEHIND */
  async waitFor(position: bigint, names: readonly string[], patience = PATIENCE_MS): Promise<void> {
    if (position <= 0n) return;
    const deadline = Date.now() + patience;
    for (;;) {
      const at = await this.#look().catch(nothingYet);
      if (names.every((name) => (at.get(name) ?? -1n) >= position)) return;
      if (Date.now() > deadline) throw behind(position);
      await this.heard(position, names);
    }
  }

  async #holdLease(): Promise<void> {
    if (Date.now() - this.#leasedAt < LEASE_MS) return;
    const { text, values } = leaseStatement(this.holder, READ_MODELS);
    const held = await this.query(text, values).catch(nothingYet);
    // Without its tables there was nothing to hold: again with the next tick.
    if (Array.isArray(held)) this.#leasedAt = Date.now();
  }

  #hear(payload: string): void {
    const colon = payload.lastIndexOf(':');
    const model = payload.slice(0, colon);
    const all = model === '*';
    const position = BigInt(payload.slice(colon + 1));
    for (const name of all ? ALL_MODELS : [model])
      if (position > (this.#heard.get(name) ?? -1n)) this.#heard.set(name, position);
    for (const waiter of [...this.#waiters]) if (waiter.reached()) waiter.done();
    for (const callback of this.#onProgress) callback(all ? undefined : model);
  }

  /** Word may have been lost. */
  #wakeAll(): void {
    for (const waiter of [...this.#waiters]) waiter.done();
    for (const callback of this.#onProgress) callback();
  }
}

/** The projector has not made its tables yet, or makes them, or their database, again. Any other error is thrown on. */
function nothingYet(error: unknown): Checkpoints {
  const { code } = error as { code?: unknown };
  if (code === '42P01' || code === '3F000' || isDatabaseAway(error)) return new Map();
  throw error;
}

const behind = (position: bigint) =>
  refusalError(
    refuse('PROJECTION_BEHIND', 'The read models have not reached that position yet; ask again.', {
      details: { position: String(position) },
    }),
  );

/** Statements one after the other: loaders ask at the same time, and a snapshot is one connection. */
function inTurn(runner: QueryRunner): QueryRunner {
  const run = runner.query.bind(runner) as (...args: unknown[]) => Promise<unknown>;
  let last: Promise<unknown> = Promise.resolve();
  const query = (...args: unknown[]): Promise<unknown> => {
    const next = last.then(() => {
      // The mapper lets go of a connection that is lost between two statements, and has its own word for what comes after.
      if (runner.isReleased) throw new Error('Connection terminated: this snapshot has none any more');
      return run(...args);
    });
    last = next.catch(() => undefined);
    return next;
  };
  return Object.assign(runner, { query });
}

/**
 * One consistent view of all read models for one operation: a read-only snapshot, opened with the first read, in which
 * what may be seen is at least as new as what is shown. Released at the end of the operation.
 */
export class ReadSession {
  readonly #store: ReadStore;
  readonly #source: DataSource;
  #floor = 0n;
  #opened: Promise<EntityManager> | undefined;
  #runner: QueryRunner | undefined;
  #position = 0n;
  #loaders = new Map<unknown, unknown>();

  constructor(store: ReadStore, source: DataSource) {
    this.#store = store;
    this.#source = source;
  }

  /** What follows must see this position. A snapshot that is older is given up. */
  async require(position: bigint | string | null | undefined): Promise<void> {
    if (position == null) return;
    const wanted = BigInt(position);
    if (wanted <= this.#floor) return;
    this.#floor = wanted;
    if (this.#opened && this.#position < wanted) await this.release();
  }

  manager(): Promise<EntityManager> {
    this.#opened ??= this.#open();
    return this.#opened;
  }

  /** The position that every read model of the snapshot has reached. */
  async position(): Promise<bigint> {
    await this.manager();
    return this.#position;
  }

  async query<T>(sql: string, parameters: unknown[] = []): Promise<T[]> {
    return (await this.manager()).query(sql, parameters) as Promise<T[]>;
  }

  /** A loader that lives as long as the snapshot. */
  loader<K, V>(
    key: unknown,
    load: (keys: readonly K[], manager: EntityManager) => Promise<(V | Error)[]>,
  ): DataLoader<K, V> {
    let loader = this.#loaders.get(key) as DataLoader<K, V> | undefined;
    if (!loader) {
      loader = new DataLoader<K, V>(async (keys) => load(keys, await this.manager()), { maxBatchSize: 1000 });
      this.#loaders.set(key, loader);
    }
    return loader;
  }

  /** One row by id; null for what isn't there and for what is no id at all. */
  async byId<T extends { id: string }>(entity: EntityClass<T>, id: string | null | undefined): Promise<T | null> {
    if (!isUuid(id)) return null;
    return this.loader<string, T | null>(entity, async (ids, manager) => {
      const rows = await manager.getRepository(entity).find({ where: { id: In([...ids]) } as never });
      const found = new Map(rows.map((row) => [row.id, row]));
      return ids.map((key) => found.get(key) ?? null);
    }).load(id.toLowerCase());
  }

  /** All rows that name the id in `column`, in order. */
  manyBy<T extends object>(
    entity: EntityClass<T>,
    column: keyof T & string,
    order: FindOptionsOrder<T>,
    id: string,
  ): Promise<T[]> {
    return this.loader<string, T[]>(`${entity.name}.${column}`, async (ids, manager) => {
      const rows = await manager.getRepository(entity).find({ where: { [column]: In([...ids]) } as never, order });
      const groups = new Map<string, T[]>(ids.map((key) => [key, []]));
      for (const row of rows) groups.get(String(row[column]))?.push(row);
      return ids.map((key) => groups.get(key) ?? []);
    }).load(id);
  }

  async release(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    this.#loaders = new Map();
    await opened?.catch(() => undefined);
    const runner = this.#runner;
    this.#runner = undefined;
    if (!runner) return;
    await runner.query('COMMIT').catch(() => undefined);
    await runner.release();
  }

  async #open(): Promise<EntityManager> {
    const deadline = Date.now() + PATIENCE_MS;
    // Who reads what was just written comes too early as a rule: hearing of it costs less than a snapshot in vain.
    await this.#store.heard(this.#floor);
    // Nobody is shown less than before: tables that were dropped and are being filled are not read until they are as far.
    const { shown } = this.#store;
    let comparedElsewhere = false;
    for (let pause = AGAIN_MS; ; pause = Math.min(pause * 2, MAX_AGAIN_MS)) {
      const runner = inTurn(this.#source.createQueryRunner());
      try {
        const client = (await runner.connect()) as PoolClient;
        // Several statements at once are answered with an array that the types don't know.
        const [, , { rows }] = (await client.query(SNAPSHOT)) as unknown as [
          unknown,
          unknown,
          { rows: CheckpointRow[] },
        ];
        const at = toCheckpoints(rows);
        // Nobody is shown less than a process of another build has shown already; what that reaches later is no matter.
        if (!comparedElsewhere && elsewhere(rows) > this.#floor) this.#floor = elsewhere(rows);
        comparedElsewhere = true;
        const newest = [...at.values()].reduce((a, b) => (a > b ? a : b), -1n);
        const oldest = [...at.values()].reduce((a, b) => (a < b ? a : b));
        const accessIsNewEnough = ACCESS_MODELS.every((name) => (at.get(name) ?? -1n) >= newest);
        if (accessIsNewEnough && oldest >= this.#floor && oldest >= shown) {
          this.#runner = runner;
          this.#position = oldest;
          if (oldest > this.#store.shown) this.#store.shown = oldest;
          return runner.manager;
        }
        await runner.query('COMMIT');
      } catch (error) {
        await runner.query('ROLLBACK').catch(() => undefined);
        await runner.release().catch(() => undefined);
        nothingYet(error);
        if (Date.now() > deadline) throw behind(this.#floor);
        await sleep(pause);
        continue;
      }
      await runner.release();
      if (Date.now() > deadline) throw behind(this.#floor);
      // Said to be there and not seen: a snapshot between two projections of a batch, or word of another database.
      if (await this.#store.heard(this.#floor, ALL_MODELS, MAX_AGAIN_MS)) await sleep(pause);
    }
  }
}
