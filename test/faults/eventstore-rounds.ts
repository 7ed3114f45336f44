import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type AppendStreamState,
  jsonEvent,
  KurrentDBClient,
  START,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import { type EmbeddedPostgres, ensureDatabase, startPostgres } from '#libs/postgres/index.js';
import { type ServiceProcess, startService } from '../support/processes.js';
import { temporaryHome } from '../support/stack.js';
import { Seeded } from './seeded.js';

export interface StoreTortureOptions {
  readonly rounds: number;
  readonly seed: number;
  readonly onRound?: (line: string) => void;
  readonly signal?: AbortSignal;
}

export interface StoreTortureReport {
  readonly seed: number;
  readonly rounds: number;
  readonly kills: Readonly<Record<Victim, number>>;
  readonly appends: number;
  /** Events of appends that were acknowledged. */
  readonly acknowledged: number;
  /** Appends without an answer, sent again with their ids. */
  readonly repeated: number;
  readonly events: number;
  /** What the subscriber saw, who went on from its last position after each kill. */
  readonly followed: number;
  readonly problems: readonly string[];
}

type Victim = 'eventstore' | 'postgres' | 'both';

const WRITERS = 8;
const PATIENCE_MS = 120_000;

type Written = { stream: string; revision: number; position: number };
type Attempt = {
  parts: { stream: string; ids: string[]; expected: AppendStreamState }[];
  answer: 'acknowledged' | 'refused' | 'unanswered';
};

/**
 * Rounds of kill -9 of the event store, of Postgres or of both at random moments of concurrent appends. Appends without
 * an answer are sent again with their ids. After each round the log must hold every acknowledged event once, where its
 * answer said; a subscriber follows through all rounds and must see the same log: no gap, nothing that vanished.
 */
export async function tortureStore(options: StoreTortureOptions): Promise<StoreTortureReport> {
  const run = await Run.start(options);
  try {
    for (let round = 1; round <= options.rounds; round++) {
      options.signal?.throwIfAborted();
      const line = await run.round(round);
      options.onRound?.(`round ${round}: ${line}`);
      if (run.problems.length > 20) break;
    }
    return await run.finish();
  } finally {
    await run.close();
  }
}

class Run {
  readonly problems: string[] = [];
  private readonly random: Seeded;
  private readonly kills: Record<Victim, number> = { eventstore: 0, postgres: 0, both: 0 };
  private readonly attempted = new Set<string>();
  private readonly acknowledged = new Map<string, Written>();
  /** Answered with a refusal: must not stand in the log. */
  private readonly refused = new Set<string>();
  /** The log as it was read so far, by position - 1. */
  private readonly log: { id: string; stream: string; revision: number }[] = [];
  private readonly heads = new Map<string, bigint>();
  private readonly known = new Map<string, number>();
  private readonly follower = new Follower((problem) => this.problems.push(problem));
  /** Last revisions as the log has them. */
  private readonly ends = new Map<string, number>();
  private confirmed = 0;
  private appends = 0;
  private repeated = 0;
  private client!: KurrentDBClient;

  private constructor(
    private readonly options: StoreTortureOptions,
    private readonly home: string,
    private postgres: EmbeddedPostgres,
    private readonly store: ServiceProcess,
  ) {
    this.random = new Seeded(options.seed);
    this.connect();
  }

  static async start(options: StoreTortureOptions): Promise<Run> {
    const home = temporaryHome();
    const postgres = await beginPostgres(home);
    const url = postgres.url('torture');
    await ensureDatabase(url);
    const store = await startService('eventstore', {
      EVENTSTORE_DATABASE_URL: url,
      EVENTSTORE_PORT: '0',
      EVENTSTORE_HTTP_PORT: '0',
      EVENTSTORE_INSECURE: 'true',
      EVENTSTORE_LOG_LEVEL: 'error',
    });
    return new Run(options, home, postgres, store);
  }

  private connect(): void {
    this.client = KurrentDBClient.connectionString(`kurrentdb://127.0.0.1:${this.store.ready.port}?tls=false`);
    this.follower.follow(this.client);
  }

  async round(number: number): Promise<string> {
    const { random } = this;
    const victim = random.chance(0.6) ? 'eventstore' : random.chance(0.7) ? 'postgres' : 'both';
    this.kills[victim]++;
    let over = false;
    const unanswered: Attempt[] = [];
    const { client } = this;
    const workers = Array.from({ length: WRITERS }, async (_, n) => {
      while (!over) {
        const attempt = this.plan(n);
        await this.send(client, attempt);
        if (attempt.answer === 'unanswered') {
          unanswered.push(attempt);
          // Whoever has no answer doesn't go on; what became of it is asked below.
          return;
        }
      }
    });
    await sleep(random.integer(20, 250));
    await this.strike(victim);
    over = true;
    // A call that was under way may never hear of the end of its connection; disposing ends it.
    await Promise.race([Promise.all(workers), sleep(500)]);
    await client.dispose();
    await Promise.race([Promise.all(workers), sleep(2_000)]);
    await this.recover(victim);
    this.connect();
    for (const attempt of unanswered) await this.repeat(attempt);
    const before = this.log.length;
    await this.readOn(number);
    await this.follower.reached(this.log.length);
    this.compare(before);
    return `${victim}, ${this.log.length - before} events, ${unanswered.length} appends sent again`;
  }

  private plan(writer: number): Attempt {
    const { random } = this;
    const streams = random.chance(0.15) ? [`w-${writer}`, `shared-${random.integer(0, 2)}`] : [`w-${writer}`];
    const parts = streams.map((stream) => {
      const ids = Array.from({ length: random.integer(1, 3) }, () => random.uuid());
      for (const id of ids) this.attempted.add(id);
      const exact = stream.startsWith('w-') && random.chance(0.5);
      return { stream, ids, expected: exact ? (this.heads.get(stream) ?? ('no_stream' as const)) : ('any' as const) };
    });
    return { parts, answer: 'unanswered' };
  }

  /** Sends an append once; afterwards its answer is known or `unanswered`. */
  private async send(client: KurrentDBClient, attempt: Attempt): Promise<void> {
    this.appends++;
    const { parts } = attempt;
    try {
      const revisions: bigint[] = [];
      let position: bigint;
      if (parts.length === 1) {
        const [{ stream, ids, expected }] = parts as [Attempt['parts'][0]];
        const result = await client.appendToStream(stream, ids.map(event), { streamState: expected });
        revisions.push(result.nextExpectedRevision);
        position = result.position!.commit;
      } else {
        const result = await client.multiStreamAppend(
          parts.map(({ stream, ids, expected }) => ({
            streamName: stream,
            events: ids.map(event),
            expectedState: expected,
          })),
        );
        revisions.push(...result.responses.map(({ revision }) => revision));
        position = result.position;
      }
      attempt.answer = 'acknowledged';
      let at = Number(position) - parts.reduce((sum, { ids }) => sum + ids.length, 0);
      for (const [n, { stream, ids }] of parts.entries()) {
        const head = revisions[n]!;
        if (head > (this.heads.get(stream) ?? -1n)) this.heads.set(stream, head);
        for (const [i, id] of ids.entries())
          this.acknowledged.set(id, { stream, revision: Number(head) - ids.length + 1 + i, position: ++at });
      }
    } catch (error) {
      if (error instanceof WrongExpectedVersionError) attempt.answer = 'refused';
    }
  }

  /** Until there is an answer. */
  private async repeat(attempt: Attempt): Promise<void> {
    for (const until = Date.now() + PATIENCE_MS; ; await sleep(50)) {
      this.repeated++;
      await this.send(this.client, attempt);
      if (attempt.answer === 'refused') for (const { ids } of attempt.parts) for (const id of ids) this.refused.add(id);
      if (attempt.answer !== 'unanswered') return;
      if (Date.now() > until)
        throw new Error(`no answer within ${PATIENCE_MS} ms; the store said:\n${this.store.log()}`);
    }
  }

  private async strike(victim: Victim): Promise<void> {
    if (victim !== 'eventstore') process.kill(this.postgres.pid, 'SIGKILL');
    if (victim === 'both') await sleep(this.random.integer(0, 40));
    if (victim !== 'postgres') await this.store.kill();
    if (victim !== 'eventstore') await this.postgres.exited;
  }

  private async recover(victim: Victim): Promise<void> {
    if (victim !== 'eventstore') {
      const { port } = this.postgres;
      await this.postgres.stop(); // lets go of its lock
      this.postgres = await beginPostgres(this.home, port);
    }
    if (victim !== 'postgres') {
      await this.store.restart();
      return;
    }
    for (const until = Date.now() + PATIENCE_MS; ; await sleep(20)) {
      const ready = await fetch(`http://127.0.0.1:${this.store.ready['httpPort']}/health/ready`).catch(() => undefined);
      if (ready?.ok) return;
      if (Date.now() > until) throw new Error(`the store did not come back:\n${this.store.log()}`);
    }
  }

  /**
   * Takes in what the log holds beyond what was read before. A new client's first finite read takes half a second, in the
   * client: most rounds subscribe until they have caught up, every tenth reads.
   */
  private async readOn(round: number): Promise<void> {
    const last = BigInt(this.log.length);
    const fromPosition = this.log.length === 0 ? START : { commit: last, prepare: last };
    const source =
      round % 10 === 0
        ? this.client.readAll({ fromPosition })
        : untilCaughtUp(this.client.subscribeToAll({ fromPosition }));
    for await (const { event: e } of source) {
      const position = Number(e!.position.commit);
      if (position <= this.log.length) continue;
      if (position !== this.log.length + 1) this.problems.push(`position ${position} follows ${this.log.length}`);
      if (this.known.has(e!.id))
        this.problems.push(`event ${e!.id} stands at ${this.known.get(e!.id)} and ${position}`);
      this.known.set(e!.id, position);
      this.log[position - 1] = { id: e!.id, stream: e!.streamId, revision: Number(e!.revision) };
    }
  }

  private compare(from: number): void {
    const fail = (text: string) => this.problems.push(text);
    for (const { id, stream, revision } of this.log.slice(from)) {
      if (!this.attempted.has(id)) fail(`nobody appended ${id}`);
      if (this.refused.has(id)) fail(`${id} was refused and stands in the log`);
      const expected = (this.ends.get(stream) ?? -1) + 1;
      if (revision !== expected) fail(`${stream} has revision ${revision} where ${expected} is due`);
      this.ends.set(stream, revision);
    }
    for (const [stream, revision] of this.ends) this.heads.set(stream, BigInt(revision));
    for (const [id, { stream, revision, position }] of this.acknowledged) {
      const found = this.log[position - 1];
      if (found?.id !== id || found.stream !== stream || found.revision !== revision)
        fail(`${id} was acknowledged as ${stream}@${revision} at ${position}, where ${JSON.stringify(found)} stands`);
    }
    this.confirmed += this.acknowledged.size;
    this.acknowledged.clear();
    this.attempted.clear();
  }

  /** The whole log once more from its start, and all that the subscriber saw. */
  async finish(): Promise<StoreTortureReport> {
    let n = 0;
    for await (const { event: e } of this.client.readAll({ fromPosition: START })) {
      if (this.log[n]?.id !== e!.id) this.problems.push(`at ${n + 1} stood ${this.log[n]?.id}, now ${e!.id}`);
      if (this.follower.seen[n] !== e!.id)
        this.problems.push(`the subscriber saw ${this.follower.seen[n]} at ${n + 1}`);
      n++;
    }
    if (n !== this.log.length) this.problems.push(`${this.log.length - n} events have vanished`);
    if (this.follower.seen.length !== n) this.problems.push(`the subscriber saw ${this.follower.seen.length} of ${n}`);
    const { seed, rounds } = this.options;
    return {
      seed,
      rounds,
      kills: this.kills,
      appends: this.appends,
      acknowledged: this.confirmed,
      repeated: this.repeated,
      events: n,
      followed: this.follower.seen.length,
      problems: this.problems,
    };
  }

  async close(): Promise<void> {
    await this.client.dispose();
    await this.store.stop();
    await this.postgres.stop();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** Reads $all for ever, going on from its last position with every new client. */
class Follower {
  readonly seen: string[] = [];
  private subscription: AllStreamSubscription | undefined;

  constructor(private readonly fail: (problem: string) => void) {}

  follow(client: KurrentDBClient): void {
    const last = BigInt(this.seen.length);
    const fromPosition = this.seen.length === 0 ? START : { commit: last, prepare: last };
    const subscription = client.subscribeToAll({ fromPosition });
    this.subscription = subscription;
    subscription.on('data', ({ event: e }) => {
      if (!e || subscription !== this.subscription) return;
      const position = Number(e.position.commit);
      if (position !== this.seen.length + 1) this.fail(`the subscriber saw ${position} after ${this.seen.length}`);
      this.seen[position - 1] = e.id;
    });
    // The kill ends it; the next client goes on.
    subscription.on('error', () => undefined);
  }

  async reached(position: number): Promise<void> {
    for (const until = Date.now() + PATIENCE_MS; this.seen.length < position; await sleep(5)) {
      if (Date.now() < until) continue;
      this.fail(`the subscriber stays at ${this.seen.length} of ${position}`);
      return;
    }
  }
}

async function* untilCaughtUp(subscription: AllStreamSubscription): AsyncGenerator<AllStreamResolvedEvent> {
  const waiting: AllStreamResolvedEvent[] = [];
  let [caughtUp, wake, failed]: [boolean, () => void, unknown] = [false, () => {}, undefined];
  subscription.on('data', (event) => (waiting.push(event), wake()));
  subscription.on('caughtUp', () => ((caughtUp = true), wake()));
  subscription.on('error', (error) => ((failed = error), wake()));
  while (failed === undefined && (!caughtUp || waiting.length > 0)) {
    if (waiting.length > 0) yield waiting.shift()!;
    else await new Promise<void>((resolve) => (wake = resolve));
  }
  if (failed !== undefined) throw failed;
  await subscription.unsubscribe();
}

function event(id: string) {
  return jsonEvent({ id, type: 'Happened', data: { id }, metadata: { by: 'torture' } });
}

function beginPostgres(home: string, port?: number): Promise<EmbeddedPostgres> {
  return startPostgres({
    dataDir: join(home, 'postgres'),
    settings: { shared_buffers: '32MB' },
    ...(port === undefined ? {} : { port }),
  });
}
