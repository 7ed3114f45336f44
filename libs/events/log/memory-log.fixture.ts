import { setImmediate as turn } from 'node:timers/promises';
import { catalogue, type EventMetadata, type RecordedEvent } from '../catalogue/index.js';
import { LogUnavailable } from './errors.js';
import type { OutcomeMemory, RememberedOutcome } from './executor.js';
import type { SnapshotStore, StreamSnapshot } from './snapshots.js';
import type { AppendResult, EventLog, ExpectedState, LogSubscription, NewEvent } from './types.js';

/** What may go wrong with one append. */
export type Fault =
  /** Stored, but nobody hears of it. */
  | 'ackLost'
  /** Not stored. */
  | 'lost'
  /** Not stored when the error comes, but soon after, if the expected state still holds. */
  | 'late'
  /** Neither stored nor answered. */
  | 'silent';

/** An event log in memory, as strict as the store about expected states, that can be made to fail in known ways. */
export class MemoryLog implements EventLog {
  readonly all: RecordedEvent[] = [];
  /** Number of events of each append that was stored. */
  readonly appends: number[] = [];
  reads = 0;
  /** First revision asked for, of each read. */
  readonly readFrom: bigint[] = [];
  /** Every call fails while this is true. */
  down = false;
  /** Asked before each append; may write to the log itself, as another process would. */
  fault: (stream: string, events: readonly NewEvent[]) => Fault | undefined = () => undefined;
  /** Holds appends up until it resolves. */
  gate: Promise<void> | undefined;
  readonly #streams = new Map<string, RecordedEvent[]>();
  readonly #late: Promise<void>[] = [];

  stream(name: string): readonly RecordedEvent[] {
    return this.#streams.get(name) ?? [];
  }

  async append(stream: string, events: readonly NewEvent[], expected: ExpectedState): Promise<AppendResult> {
    await turn();
    await this.gate;
    if (this.down) throw new LogUnavailable('down');
    switch (this.fault(stream, events)) {
      case 'silent':
        return new Promise<never>(() => undefined);
      case 'lost':
        throw new LogUnavailable('lost');
      case 'late':
        this.#late.push(turn().then(() => void this.write(stream, events, expected)));
        throw new LogUnavailable('late');
      case 'ackLost':
        this.write(stream, events, expected);
        throw new LogUnavailable('acknowledgement lost');
      default:
        return this.write(stream, events, expected);
    }
  }

  /** Everything that was late has landed or failed. */
  async settled(): Promise<void> {
    await Promise.all(this.#late);
  }

  /** The append itself, at once and without faults. */
  write(stream: string, events: readonly NewEvent[], expected: ExpectedState): AppendResult {
    const stored = this.#streams.get(stream) ?? [];
    const last = stored.length - 1;
    const holds =
      expected === 'any' ||
      (expected === 'no_stream' && last < 0) ||
      (expected === 'stream_exists' && last >= 0) ||
      expected === BigInt(last);
    if (!holds) return { ok: false, conflict: true, currentRevision: last < 0 ? null : BigInt(last) };
    for (const event of events) {
      const definition = catalogue.get(event.type);
      if (definition) definition.schema.parse(event.data);
      const recorded: RecordedEvent = {
        id: event.id,
        stream,
        revision: stored.length,
        position: BigInt(this.all.length + 1) * 100n,
        created: new Date(0),
        type: event.type,
        data: JSON.parse(JSON.stringify(event.data)) as unknown,
        metadata: JSON.parse(JSON.stringify(event.metadata)) as EventMetadata,
      };
      stored.push(recorded);
      this.all.push(recorded);
    }
    this.#streams.set(stream, stored);
    this.appends.push(events.length);
    return { ok: true, revision: BigInt(stored.length - 1), position: this.all.at(-1)?.position ?? 0n };
  }

  async *readStream(stream: string, { from = 0n, limit = Infinity }: { from?: bigint; limit?: number } = {}) {
    this.reads++;
    this.readFrom.push(from);
    await turn();
    if (this.down) throw new LogUnavailable('down');
    yield* this.stream(stream).slice(Number(from)).slice(0, limit);
  }

  async *readAll({ after = null }: { after?: bigint | null } = {}) {
    await turn();
    for (const event of this.all) if (after === null || event.position > after) yield event;
  }

  subscribe(): LogSubscription {
    throw new Error('the double has no subscriptions: they are tested on the store itself');
  }

  head(): Promise<bigint> {
    return Promise.resolve(this.all.at(-1)?.position ?? 0n);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The memory of commands without events, as durable as the spec. */
export class MemoryOutcomes implements OutcomeMemory {
  readonly map = new Map<string, RememberedOutcome>();
  /** Taken, and left no outcome: what was written says what became of it. */
  readonly open = new Map<string, Pick<RememberedOutcome, 'commandHash' | 'stream'>>();
  claims = 0;
  failing = (_commandId: string): boolean => false;

  claim(organisationId: string, commandId: string, of: Pick<RememberedOutcome, 'commandHash' | 'stream'>) {
    this.claims++;
    const key = `${organisationId} ${commandId}`;
    const open = this.open.get(key);
    const another = open && (open.commandHash !== of.commandHash || open.stream !== of.stream);
    if (!open) this.open.set(key, of);
    return Promise.resolve(this.map.get(key) ?? (another ? { ...open, refusal: null } : undefined));
  }

  remember(organisationId: string, commandId: string, outcome: RememberedOutcome): Promise<void> {
    if (this.failing(commandId)) return Promise.reject(new Error('the memory is away'));
    const key = `${organisationId} ${commandId}`;
    if (!this.map.has(key)) this.map.set(key, outcome);
    return Promise.resolve();
  }
}

/** Snapshots as JSON keeps them. */
export class MemorySnapshots implements SnapshotStore {
  readonly map = new Map<string, StreamSnapshot>();
  down = false;

  load(stream: string, schema: string): Promise<StreamSnapshot | undefined> {
    if (this.down) return Promise.reject(new Error('the snapshots are away'));
    const found = this.map.get(stream);
    return Promise.resolve(found?.schema === schema ? found : undefined);
  }

  save(snapshot: StreamSnapshot): Promise<void> {
    if (this.down) return Promise.reject(new Error('the snapshots are away'));
    const { state, commands, ...rest } = snapshot;
    const kept = JSON.parse(JSON.stringify({ state, commands })) as Pick<StreamSnapshot, 'state' | 'commands'>;
    this.map.set(snapshot.stream, { ...rest, ...kept });
    return Promise.resolve();
  }
}
