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
import { LogUnavailable } from './errors.js';
import { LruMap } from './lru.js';
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

/** What a command that left no event came to, kept so that its repeat gets the same answer. */
export interface RememberedOutcome {
  readonly commandHash: string;
  readonly stream: string;
  readonly refusal: Refusal | null;
}

/** Durable memory for commands that leave no event: refusals and no-ops. */
export interface OutcomeMemory {
  recall(organisationId: string, commandId: string): Promise<RememberedOutcome | undefined>;
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
}

/** Command ids remembered per stream; older repeats are decided anew. */
const REMEMBERED_COMMANDS = 10_000;
const MAX_JOINED = 256;
const MAX_EVENTS_PER_APPEND = 1000;
const MAX_CONFLICTS = 20;

/**
 * The one place where commands become events. It keeps the folded state of busy streams, decides the commands queued
 * for a stream one after another and appends them together; a conflict with another process refreshes the state and
 * decides again; an append whose answer was lost is found again by its command id before anything is repeated.
 *
 * Refusals are values; the only exceptions are a log that can't be reached ({@link LogUnavailable}) and defects.
 */
export class CommandExecutor {
  readonly #options: Required<ExecutorOptions>;
  readonly #streams: LruMap<string, StreamActor>;
  /** Which stream a command id was used on, to refuse its use on another. */
  readonly #used = new LruMap<string, { stream: string; hash: string }>(50_000);

  constructor(options: ExecutorOptions) {
    this.#options = { maxStreams: 2000, timeoutMs: 15_000, ...options };
    this.#streams = new LruMap(this.#options.maxStreams, (actor) => !actor.busy);
  }

  async execute<S, C extends Command, E extends DomainEvent>(
    decider: Decider<S, C, E>,
    id: string,
    command: C,
  ): Promise<Outcome<S>> {
    const stream = `${decider.category}-${id}`;
    const hash = hashCommand(command.type, command.data);
    const { commandId, organisationId } = command.meta;
    const key = `${organisationId} ${commandId}`;
    const used = this.#used.get(key);
    if (used && (used.stream !== stream || used.hash !== hash)) return reused(command);
    if (!used) this.#used.set(key, { stream, hash });

    const actor = this.#actor(decider, stream);
    const outcome = await actor.submit(command, hash);
    if (!outcome.ok && !outcome.repeated) await this.#options.audit(command, stream, hash, outcome.refusal);
    return outcome as Outcome<S>;
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
  /** The memory of commands without events was asked already. */
  recalled?: boolean;
}

interface Decided {
  readonly pending: Pending;
  readonly events: readonly DomainEvent[];
  readonly refusal?: Refusal;
}

class StreamActor {
  readonly #decider: AnyDecider;
  readonly #stream: string;
  readonly #options: Required<ExecutorOptions>;
  #state: unknown;
  /** Revision of the last folded event; -1 for an empty stream; undefined when nothing is loaded. */
  #revision: number | undefined;
  #position = 0n;
  #known = new LruMap<string, Known>(REMEMBERED_COMMANDS);
  #queue: Pending[] = [];
  #running: Promise<void> | undefined;

  constructor(decider: AnyDecider, stream: string, options: Required<ExecutorOptions>) {
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
    return new Promise((resolve, reject) => {
      this.#queue.push({ command, hash, deadline: Date.now() + this.#options.timeoutMs, resolve, reject });
      this.#start();
    });
  }

  /** State at least as new as this call: folded up to the stream's end. */
  async refreshed(): Promise<{ state: unknown; revision: number; position: bigint }> {
    await this.#running;
    this.#running = this.#refresh().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#start();
    });
    await this.#running;
    return { state: this.#state, revision: this.#revision ?? -1, position: this.#position };
  }

  #start(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined;
      if (this.#queue.length > 0) this.#start();
    });
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      // Let the callers of the same tick join the batch.
      await Promise.resolve();
      const batch = this.#queue.splice(0, MAX_JOINED);
      try {
        await this.#settle(batch);
      } catch (error) {
        this.#forget();
        for (const pending of batch) pending.reject(error);
      }
    }
  }

  /** Decide a batch and append it; conflicts and lost answers refresh the state and decide what is still open again. */
  async #settle(batch: Pending[]): Promise<void> {
    let open = batch;
    let backoff = 25;
    for (let conflicts = 0; open.length > 0;) {
      try {
        if (this.#revision === undefined) await this.#refresh();
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
            if (conflicts > 3) await sleep(Math.random() * 10 * conflicts);
            continue;
          }
          this.#revision = base + events.length;
          this.#position = result.position;
        }
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
    for (const pending of open) {
      const { commandId, organisationId, minted } = pending.command.meta;
      const known = this.#known.get(commandId);
      if (known) {
        if (known.hash !== pending.hash) pending.resolve(reused(pending.command));
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
      if (!minted && !pending.recalled) {
        pending.recalled = true;
        const remembered = await this.#options.outcomes.recall(organisationId, commandId);
        if (remembered) {
          if (remembered.commandHash !== pending.hash || remembered.stream !== this.#stream)
            pending.resolve(reused(pending.command));
          else if (remembered.refusal) pending.resolve({ ok: false, refusal: remembered.refusal, repeated: true });
          else pending.resolve({ ...this.#unchanged(), repeated: true });
          continue;
        }
      }
      fresh.push(pending);
    }
    return fresh;
  }

  /**
   * Decide in order, each on the state the ones before it leave. The state is folded ahead of the append: when the
   * append fails the whole state is dropped and folded anew from the log, so deciders may fold into mutable indexes.
   */
  #decide(open: readonly Pending[]): { decided: Decided[]; rest: Pending[] } {
    const decided: Decided[] = [];
    const inBatch = new Set<string>();
    let ahead = 0;
    for (let i = 0; i < open.length; i++) {
      const pending = open[i]!;
      const { commandId, expectedRevision } = pending.command.meta;
      // A repeat within the batch waits until the first is settled, then gets its result.
      if (inBatch.has(commandId) || ahead >= MAX_EVENTS_PER_APPEND) return { decided, rest: open.slice(i) };
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
      for (const event of result) this.#state = this.#decider.evolve(this.#state, event);
      ahead += result.length;
      decided.push({ pending, events: result });
    }
    return { decided, rest: [] };
  }

  async #resolve(decided: readonly Decided[], written: number): Promise<void> {
    let revision = this.#revision! - written;
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
      if (!meta.minted)
        await this.#options.outcomes.remember(meta.organisationId, meta.commandId, {
          commandHash: pending.hash,
          stream: this.#stream,
          refusal: refusal ?? null,
        });
      pending.resolve(refusal ? { ok: false, refusal, repeated: false } : this.#unchanged());
    }
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

  /** Fold from the log: from the start when nothing is loaded, else what came since. */
  async #refresh(): Promise<void> {
    let { state, revision, position } = {
      state: this.#revision === undefined ? this.#decider.initialState : this.#state,
      revision: this.#revision ?? -1,
      position: this.#revision === undefined ? 0n : this.#position,
    };
    if (this.#revision === undefined) this.#known.clear();
    for await (const event of this.#options.log.readStream(this.#stream, { from: BigInt(revision + 1) })) {
      state = this.#decider.evolve(state, { type: event.type, data: event.data });
      revision = event.revision;
      if (event.position > 0n) position = event.position;
      const { commandId, commandHash } = event.metadata;
      this.#known.set(commandId, { hash: commandHash, revision, position: event.position });
    }
    this.#state = state;
    this.#revision = revision;
    this.#position = position;
  }
}

const reused = (command: Command): Refused => ({
  ok: false,
  refusal: refuse('COMMAND_ID_REUSED', 'This command id was already used with other input.', {
    path: ['commandId'],
    details: { commandId: command.meta.commandId },
  }),
  repeated: false,
});
