import { setTimeout as sleep } from 'node:timers/promises';
import {
  catalogue,
  deriveEventId,
  hashCommand,
  isRefusal,
  refuse,
  type Command,
  type Decider,
  type DomainEvent,
  type EventMetadata,
  type Refusal,
} from '../catalogue/index.js';
import { AppendTooLarge, LogUnavailable } from './errors.js';
import { LruMap } from './lru.js';
import { snapshotSchema, type SnapshotStore, type StreamSnapshot } from './snapshots.js';
import type { EventLog, NewEvent } from './types.js';

export interface Accepted<S> {
  readonly ok: true;
  /** The stream's state once the command's events were folded, or newer. Read it at once; it is not a snapshot. */
  readonly state: S;
  /** What the command wrote; empty when there was nothing to do. For a repeat: empty, `repeated` is true. */
  readonly events: readonly DomainEvent[];
  /** Revision of the command's last event; of the stream's when it wrote none; -1 on an empty stream. */
  readonly revision: number;
  /** Log position of what the command wrote, or of the last thing known of the stream. */
  readonly position: bigint;
  readonly repeated: boolean;
}
export interface Refused {
  readonly ok: false;
  readonly refusal: Refusal;
  readonly repeated: boolean;
}
export type Outcome<S> = Accepted<S> | Refused;

/** What a command id stands for, and what a command that left no event came to, so that its repeat gets the same answer. */
export interface RememberedOutcome {
  readonly commandHash: string;
  readonly stream: string;
  readonly refusal: Refusal | null;
}

/** Durable memory of the ids that callers chose, and of what commands came to that left no event: refusals and no-ops. */
export interface OutcomeMemory {
  /**
   * Takes the id for a command on a stream, before anything is decided. Undefined when it is free, or taken for the very same
   * and open; else what it stands for.
   */
  claim(
    organisationId: string,
    commandId: string,
    of: Pick<RememberedOutcome, 'commandHash' | 'stream'>,
  ): Promise<RememberedOutcome | undefined>;
  remember(organisationId: string, commandId: string, outcome: RememberedOutcome): Promise<void>;
}

/** Told of every refusal; writes it to the audit stream. */
export type RefusalAuditor = (command: Command, stream: string, hash: string, refusal: Refusal) => Promise<void>;

export interface ExecutorOptions {
  readonly log: EventLog;
  readonly outcomes: OutcomeMemory;
  readonly audit: RefusalAuditor;
  /** Streams whose folded state is kept in memory. */
  readonly maxStreams?: number;
  /** Longest time a command may wait for the log, milliseconds. */
  readonly timeoutMs?: number;
  /** States of long streams, so that a cold start need not fold them from the first event. Default: none. */
  readonly snapshots?: SnapshotStore;
  /** A snapshot is looked for, and taken, once a fold has met this many events. Default 1,000. */
  readonly snapshotEvery?: number;
}

type Options = Omit<Required<ExecutorOptions>, 'snapshots'> & Pick<ExecutorOptions, 'snapshots'>;

/** Refusal codes of the executor itself, with one line for people. Stable, like those of the domain. */
export const EXECUTOR_REFUSALS = {
  CONFLICT:
    'Somebody else changed it since the caller read it; `details.expectedRevision` and `details.currentRevision` tell.',
  COMMAND_ID_REUSED: 'The command id was used before, with other input or for another thing.',
  COMMAND_TOO_LARGE: 'What the command would write does not fit into one append of the event store.',
} as const satisfies Record<string, string>;

/** Command ids remembered per stream; older repeats are decided anew. */
const REMEMBERED_COMMANDS = 10_000;
const MAX_JOINED = 256;
const MAX_EVENTS_PER_APPEND = 1000;
/** Half of the store's limit for one append (1 MiB), so that the command that passes it still fits. */
const MAX_BYTES_PER_APPEND = 512 * 1024;
/** What metadata and the wire add to an event, about. */
const BYTES_AROUND_AN_EVENT = 700;
const MAX_CONFLICTS = 20;

/**
 * The one place where commands become events. It keeps the folded state of busy streams, decides the commands queued
 * for a stream one after another and appends them together; a conflict with another process refreshes the state and
 * decides again; an append whose answer was lost is found again by its command id before anything is repeated.
 *
 * Refusals are values; the only exceptions are a log that can't be reached ({@link LogUnavailable}) and defects.
 */
export class CommandExecutor {
  readonly #options: Options;
  readonly #streams: LruMap<string, StreamActor>;

  constructor(options: ExecutorOptions) {
    this.#options = { maxStreams: 2000, timeoutMs: 15_000, snapshotEvery: 1000, ...options };
    this.#streams = new LruMap(this.#options.maxStreams, (actor) => !actor.busy);
  }

  async execute<S, C extends Command, E extends DomainEvent>(
    decider: Decider<S, C, E>,
    id: string,
    command: C,
  ): Promise<Outcome<S>> {
    const stream = `${decider.category}-${id}`;
    const hash = hashCommand(command.type, command.data);
    const actor = this.#actor(decider, stream);
    return (await actor.submit(command, hash)) as Outcome<S>;
  }

  /** The folded state of a stream, from memory when it is busy. Not for decisions: those go through `execute`. */
  async load<S, C extends Command, E extends DomainEvent>(
    decider: Decider<S, C, E>,
    id: string,
  ): Promise<{ state: S; revision: number; position: bigint }> {
    const loaded = await this.#actor(decider, `${decider.category}-${id}`).refreshed();
    return loaded as { state: S; revision: number; position: bigint };
  }

  /** State as it is in memory, possibly a little old; loaded when it is not there. For facts that never change. */
  async peek<S, C extends Command, E extends DomainEvent>(decider: Decider<S, C, E>, id: string): Promise<S> {
    const actor = this.#actor(decider, `${decider.category}-${id}`);
    return (actor.inMemory ?? (await actor.refreshed())).state as S;
  }

  #actor<S, C extends Command, E extends DomainEvent>(decider: Decider<S, C, E>, stream: string): StreamActor {
    let actor = this.#streams.get(stream);
    if (!actor) {
      actor = new StreamActor(decider as unknown as AnyDecider, stream, this.#options);
      this.#streams.set(stream, actor);
    }
    return actor;
  }
}

type AnyDecider = Decider<unknown, Command, DomainEvent>;

interface Known {
  readonly hash: string;
  readonly revision: number;
  readonly position: bigint;
}

interface Pending {
  readonly command: Command;
  readonly hash: string;
  readonly deadline: number;
  readonly resolve: (outcome: Outcome<unknown>) => void;
  readonly reject: (error: unknown) => void;
  /** The memory of command ids was asked already. */
  claimed: boolean;
  /** Answered: by an outcome, an error or its deadline. */
  done: boolean;
}

interface Loaded {
  readonly state: unknown;
  readonly revision: number;
  readonly position: bigint;
}

interface Reader {
  readonly resolve: (loaded: Loaded) => void;
  readonly reject: (error: unknown) => void;
}

interface Decided {
  readonly pending: Pending;
  readonly events: readonly DomainEvent[];
  readonly refusal?: Refusal;
}

class StreamActor {
  readonly #decider: AnyDecider;
  readonly #stream: string;
  readonly #options: Options;
  #state: unknown;
  /** Revision of the last folded event; -1 for an empty stream; undefined when nothing is loaded. */
  #revision: number | undefined;
  #position = 0n;
  #known = new LruMap<string, Known>(REMEMBERED_COMMANDS);
  #queue: Pending[] = [];
  #readers: Reader[] = [];
  #running: Promise<void> | undefined;

  constructor(decider: AnyDecider, stream: string, options: Options) {
    this.#decider = decider;
    this.#stream = stream;
    this.#options = options;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  get inMemory(): { state: unknown } | undefined {
    return this.#revision !== undefined && this.#revision >= 0 ? { state: this.#state } : undefined;
  }

  submit(command: Command, hash: string): Promise<Outcome<unknown>> {
    const { timeoutMs } = this.#options;
    return new Promise((resolve, reject) => {
      const answered = () => {
        clearTimeout(timer);
        pending.done = true;
      };
      const pending: Pending = {
        command,
        hash,
        deadline: Date.now() + timeoutMs,
        claimed: false,
        done: false,
        resolve: (outcome) => {
          answered();
          resolve(outcome);
        },
        reject: (error) => {
          answered();
          reject(error as Error);
        },
      };
      // Also when the log neither answers nor fails. The command may still be written: a repeat finds it.
      const timer = setTimeout(
        () => pending.reject(new LogUnavailable(`${this.#stream}: no answer within ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#queue.push(pending);
      this.#start();
    });
  }

  /** State at least as new as this call: folded up to the stream's end. Takes its turn between two batches. */
  refreshed(): Promise<Loaded> {
    return new Promise((resolve, reject) => {
      this.#readers.push({ resolve, reject });
      this.#start();
    });
  }

  #start(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined;
      if (this.#hasWork) this.#start();
    });
  }

  get #hasWork(): boolean {
    return this.#queue.length > 0 || this.#readers.length > 0;
  }

  /** The only place that touches the state, so that nothing folds while something else does. */
  async #drain(): Promise<void> {
    while (this.#hasWork) {
      // Let the callers of the same tick join the batch.
      await Promise.resolve();
      if (this.#readers.length > 0) await this.#answerReaders(this.#readers.splice(0));
      const batch = this.#queue.splice(0, MAX_JOINED).filter((pending) => !pending.done);
      if (batch.length > 0) await this.#settleApart(batch);
    }
  }

  async #answerReaders(readers: readonly Reader[]): Promise<void> {
    try {
      await this.#refresh();
      const loaded = { state: this.#state, revision: this.#revision ?? -1, position: this.#position };
      for (const reader of readers) reader.resolve(loaded);
    } catch (error) {
      for (const reader of readers) reader.reject(error);
    }
  }

  /**
   * Settle a batch. What is wrong with one command (a defect in its decision, an event that does not fit, a memory that
   * can't be asked) must not fail the others, so when the batch fails as a whole, each is settled by itself.
   */
  async #settleApart(batch: Pending[]): Promise<void> {
    try {
      await this.#settle(batch);
    } catch (error) {
      this.#forget();
      const open = batch.filter((pending) => !pending.done);
      if (batch.length > 1) for (const pending of open) await this.#settleApart([pending]);
      else for (const pending of open) await this.#fail(pending, error);
    }
  }

  async #fail(pending: Pending, error: unknown): Promise<void> {
    if (!(error instanceof AppendTooLarge)) return pending.reject(error);
    const refusal = refuse('COMMAND_TOO_LARGE', 'This is too much for one command; split it.');
    try {
      await this.#refuse(pending, refusal);
    } catch (failure) {
      pending.reject(failure);
    }
  }

  /** Decide a batch and append it; conflicts and lost answers refresh the state and decide what is still open again. */
  async #settle(batch: Pending[]): Promise<void> {
    let open = batch;
    let backoff = 25;
    /** The state was seen to be the stream's newest since these commands came. */
    let current = false;
    for (let conflicts = 0; open.length > 0; open = open.filter((pending) => !pending.done)) {
      try {
        if (this.#revision === undefined) {
          await this.#refresh();
          current = true;
        }
        open = await this.#answerRepeats(open);
        if (open.length === 0) return;
        const { decided, rest } = this.#decide(open);
        const events = decided.flatMap((d) => d.events.map((event, index) => this.#envelop(d, event, index)));
        if (events.length > 0) {
          const base = this.#revision!;
          const result = await this.#options.log.append(this.#stream, events, base < 0 ? 'no_stream' : BigInt(base));
          if (!result.ok) {
            // Another process wrote first, or our own earlier append did and its answer was lost.
            if (++conflicts > MAX_CONFLICTS) throw new LogUnavailable(`${this.#stream} is contended`);
            this.#forget();
            current = false;
            if (conflicts > 3) await sleep(Math.random() * 10 * conflicts);
            continue;
          }
          this.#revision = base + events.length;
          this.#position = result.position;
        } else if (!current) {
          // Nothing is appended, so nothing has proved the state in memory new: another process may have written what
          // makes this refusal wrong.
          const before = this.#revision;
          await this.#refresh();
          if (this.#revision !== before) {
            current = true;
            continue;
          }
        }
        current = true;
        await this.#resolve(decided, events.length);
        open = rest;
      } catch (error) {
        if (!(error instanceof LogUnavailable)) throw error;
        // What happened to the append is unknown: read back before anything is tried again.
        this.#forget();
        const now = Date.now();
        for (const pending of open) if (pending.deadline <= now) pending.reject(error);
        open = open.filter((pending) => pending.deadline > now);
        if (open.length > 0) await sleep(backoff * (0.5 + Math.random()));
        backoff = Math.min(backoff * 2, 1000);
      }
    }
  }

  /** Repeats get the first result before anything is decided. */
  async #answerRepeats(open: readonly Pending[]): Promise<Pending[]> {
    const fresh: Pending[] = [];
    const claims = await Promise.all(open.map((pending) => this.#claim(pending)));
    for (const [i, pending] of open.entries()) {
      const { commandId } = pending.command.meta;
      const known = this.#known.get(commandId);
      if (known) {
        if (known.hash !== pending.hash) await this.#refuseReused(pending);
        else
          pending.resolve({
            ok: true,
            state: this.#state,
            events: [],
            revision: known.revision,
            position: known.position,
            repeated: true,
          });
        continue;
      }
      const remembered = claims[i];
      if (remembered) {
        if (remembered.commandHash !== pending.hash || remembered.stream !== this.#stream)
          await this.#refuseReused(pending);
        else if (remembered.refusal) pending.resolve({ ok: false, refusal: remembered.refusal, repeated: true });
        else pending.resolve({ ...this.#unchanged(), repeated: true });
        continue;
      }
      fresh.push(pending);
    }
    return fresh;
  }

  /** What the durable memory has of a command, asked once; from then on the id is this command's. */
  async #claim(pending: Pending): Promise<RememberedOutcome | undefined> {
    const { commandId, organisationId, minted } = pending.command.meta;
    if (minted || pending.claimed || this.#known.get(commandId)) return undefined;
    const { outcomes } = this.#options;
    const of = { commandHash: pending.hash, stream: this.#stream };
    const remembered = await outcomes.claim(organisationId, commandId, of);
    pending.claimed = true;
    return remembered;
  }

  /**
   * On record first, then remembered, then answered: a crash in between can leave a record that is written again by the
   * repeat, never a refusal without one.
   */
  async #refuse(pending: Pending, refusal: Refusal): Promise<void> {
    await this.#options.audit(pending.command, this.#stream, pending.hash, refusal);
    await this.#remember(pending, refusal);
    pending.resolve({ ok: false, refusal, repeated: false });
  }

  async #refuseReused(pending: Pending): Promise<void> {
    const outcome = reused(pending.command);
    await this.#options.audit(pending.command, this.#stream, pending.hash, outcome.refusal);
    pending.resolve(outcome);
  }

  async #remember({ command: { meta }, hash }: Pending, refusal: Refusal | null): Promise<void> {
    if (meta.minted) return;
    await this.#options.outcomes.remember(meta.organisationId, meta.commandId, {
      commandHash: hash,
      stream: this.#stream,
      refusal,
    });
  }

  /**
   * Decide in order, each on the state the ones before it leave. The state is folded ahead of the append: when the
   * append fails the whole state is dropped and folded anew from the log, so deciders may fold into mutable indexes.
   */
  #decide(open: readonly Pending[]): { decided: Decided[]; rest: Pending[] } {
    const decided: Decided[] = [];
    const inBatch = new Set<string>();
    let ahead = 0;
    let bytes = 0;
    for (let i = 0; i < open.length; i++) {
      const pending = open[i]!;
      const { commandId, expectedRevision } = pending.command.meta;
      if (inBatch.has(commandId)) {
        // A repeat within the batch waits until the first is settled, then gets its result: from the fold, or from the
        // memory, which must be asked again.
        for (const later of open.slice(i)) if (inBatch.has(later.command.meta.commandId)) later.claimed = false;
        return { decided, rest: open.slice(i) };
      }
      if (ahead >= MAX_EVENTS_PER_APPEND || bytes >= MAX_BYTES_PER_APPEND) return { decided, rest: open.slice(i) };
      inBatch.add(commandId);
      const revision = this.#revision! + ahead;
      if (expectedRevision !== undefined && expectedRevision !== revision) {
        decided.push({
          pending,
          events: [],
          refusal: refuse('CONFLICT', 'Somebody else changed this since you read it.', {
            path: ['expectedRevision'],
            details: { expectedRevision, currentRevision: revision },
          }),
        });
        continue;
      }
      const result = this.#decider.decide(pending.command, this.#state);
      if (isRefusal(result)) {
        decided.push({ pending, events: [], refusal: result });
        continue;
      }
      for (const event of result) {
        this.#state = this.#decider.evolve(this.#state, event);
        // Only who has another behind it need be measured.
        if (i + 1 < open.length) bytes += Buffer.byteLength(JSON.stringify(event.data)) + BYTES_AROUND_AN_EVENT;
      }
      ahead += result.length;
      decided.push({ pending, events: result });
    }
    return { decided, rest: [] };
  }

  async #resolve(decided: readonly Decided[], written: number): Promise<void> {
    let revision = this.#revision! - written;
    const settling: Promise<void>[] = [];
    for (const { pending, events, refusal } of decided) {
      const { meta } = pending.command;
      revision += events.length;
      if (events.length > 0) {
        // Positions inside one append are the store's; the append's own is at or after each of them.
        this.#known.set(meta.commandId, { hash: pending.hash, revision, position: this.#position });
        pending.resolve({
          ok: true,
          state: this.#state,
          events,
          revision,
          position: this.#position,
          repeated: false,
        });
        continue;
      }
      // As it is now: the state moves on before the memory has answered.
      const unchanged = this.#unchanged();
      settling.push(
        refusal ? this.#refuse(pending, refusal) : this.#remember(pending, null).then(() => pending.resolve(unchanged)),
      );
    }
    await everyOne(settling);
  }

  #unchanged(): Accepted<unknown> {
    return {
      ok: true,
      state: this.#state,
      events: [],
      revision: this.#revision ?? -1,
      position: this.#position,
      repeated: false,
    };
  }

  #envelop({ pending, events }: Decided, event: DomainEvent, index: number): NewEvent {
    const { meta } = pending.command;
    const definition = catalogue.get(event.type);
    const metadata: EventMetadata = {
      $correlationId: meta.correlationId,
      $causationId: meta.causationId,
      commandId: meta.commandId,
      commandHash: pending.hash,
      index,
      count: events.length,
      organisationId: meta.organisationId,
      actor: meta.actor,
      schemaVersion: definition?.version ?? 1,
      commandType: pending.command.type,
      ...(index === 0 && meta.origin?.ip !== undefined ? { origin: meta.origin.ip } : {}),
      at: meta.at,
    };
    return {
      id: deriveEventId(meta.organisationId, this.#stream, meta.commandId, index),
      type: event.type,
      data: event.data,
      metadata,
    };
  }

  #forget(): void {
    this.#revision = undefined;
  }

  /** Fold from the log: from the start or a snapshot when nothing is loaded, else what came since. */
  async #refresh(): Promise<void> {
    try {
      if (this.#revision !== undefined) {
        await this.#fold({ state: this.#state, revision: this.#revision, position: this.#position });
        return;
      }
      const snapshot = await this.#fold(this.#beginning(), { jump: true });
      if (snapshot === 'whole') return;
      const base = snapshot === 'differs' ? undefined : this.#resumed(snapshot);
      // A snapshot is only a short cut: whatever is odd about it, the log decides.
      if (!base || (await this.#fold(base, { proof: base.eventId })) !== 'whole') await this.#fold(this.#beginning());
    } catch (error) {
      // Deciders may fold into mutable indexes: what was folded half-way must not be folded again.
      this.#forget();
      throw error;
    }
  }

  #beginning(): Loaded {
    this.#known.clear();
    return { state: this.#decider.initialState, revision: -1, position: 0n };
  }

  /** Undefined for a snapshot that can't be read. */
  #resumed(snapshot: StreamSnapshot): (Loaded & { eventId: string }) | undefined {
    try {
      const state = this.#decider.snapshot!.decode(snapshot.state);
      this.#known.clear();
      for (const [commandId, hash, revision, position] of snapshot.commands)
        this.#known.set(commandId, { hash, revision, position: BigInt(position) });
      return { state, revision: snapshot.revision, position: snapshot.position, eventId: snapshot.eventId };
    } catch {
      return undefined;
    }
  }

  /**
   * Folds what follows `base` to the end of the stream. With `jump` it stops on a stream that proves long when there is a
   * snapshot further on, and answers with that: short streams, which nearly all are, cost no look. With `proof` the last
   * event of the base is read once more and must have that id.
   */
  async #fold(
    base: Loaded,
    { jump = false, proof }: { jump?: boolean; proof?: string } = {},
  ): Promise<'whole' | 'differs' | StreamSnapshot> {
    let { state, revision, position } = base;
    let folded = 0;
    let last = '';
    let proven = proof === undefined;
    const { log, snapshotEvery } = this.#options;
    for await (const event of log.readStream(this.#stream, { from: BigInt(proven ? revision + 1 : revision) })) {
      if (!proven) {
        if (event.id !== proof) return 'differs';
        proven = true;
        continue;
      }
      state = this.#decider.evolve(state, { type: event.type, data: event.data });
      revision = event.revision;
      last = event.id;
      if (event.position > 0n) position = event.position;
      const { commandId, commandHash } = event.metadata;
      this.#known.set(commandId, { hash: commandHash, revision, position: event.position });
      if (++folded !== snapshotEvery || !jump) continue;
      const snapshot = await this.#snapshotAfter(revision);
      if (snapshot) return snapshot;
    }
    if (!proven) return 'differs';
    this.#state = state;
    this.#revision = revision;
    this.#position = position;
    if (folded >= snapshotEvery) this.#takeSnapshot(last);
    return 'whole';
  }

  async #snapshotAfter(revision: number): Promise<StreamSnapshot | undefined> {
    const { snapshots } = this.#options;
    if (!snapshots || !this.#decider.snapshot) return undefined;
    const found = await snapshots.load(this.#stream, snapshotSchema(this.#decider)).catch(() => undefined);
    return found && found.revision > revision ? found : undefined;
  }

  /** Of the state as it is: copied at once, stored when there is time. Losing it costs the next fold, nothing else. */
  #takeSnapshot(eventId: string): void {
    const { snapshots } = this.#options;
    const codec = this.#decider.snapshot;
    if (!snapshots || !codec) return;
    try {
      const snapshot: StreamSnapshot = {
        stream: this.#stream,
        schema: snapshotSchema(this.#decider),
        revision: this.#revision!,
        position: this.#position,
        eventId,
        state: codec.encode(this.#state),
        commands: this.#known
          .entries()
          .map(([id, { hash, revision, position }]) => [id, hash, revision, String(position)]),
      };
      snapshots.save(snapshot).catch(() => undefined);
    } catch {
      // A state that its codec can't hold is folded each time.
    }
  }
}

/** Waits for all of them, then throws what the first failure threw. */
async function everyOne(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

const reused = (command: Command): Refused => ({
  ok: false,
  refusal: refuse('COMMAND_ID_REUSED', 'This command id was already used with other input.', {
    path: ['commandId'],
    details: { commandId: command.meta.commandId },
  }),
  repeated: false,
});
