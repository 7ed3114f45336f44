import type pg from 'pg';
import type { Logger } from 'pino';
import { randomUUID } from 'node:crypto';
import {
  checkCommit,
  checkState,
  type CommitDecision,
  type ExpectedRevision,
  type StreamHead,
} from '../core/expected-revision.js';
import { isIndexedAlike, linkStreamsOf, type IndexedEvent } from '../core/system-projections.js';
import {
  baseStreamOf,
  isMetadataStream,
  metadataStreamOf,
  parseStreamMetadata,
  SOFT_DELETE_METADATA,
  SYSTEM_EVENT,
  undeleteMetadata,
} from '../core/stream-metadata.js';
import { encodeEventFrames, TOMBSTONE_REVISION, type ProposedEvent } from '../protocol/frames.js';
import { BinaryCopy } from './copy.js';
import { assertDurable, backendPid, connect, endFormerSession, lockWriter } from './database.js';
import { LINKS_PER_ROW, readHead, readLinkHeads, readStreamStates } from './reader.js';
import { RecentIds } from './recent-ids.js';
import { appendRecentIds, BoundedMap, recentIdAt, UNKNOWN_STREAM, type StreamState } from './streams-cache.js';
import type { Links, StoredEvent } from './tail.js';

export type AppendResult =
  | { result: 'written'; revision: number; position: number }
  | { result: 'wrong_expected_revision'; current: number }
  | { result: 'stream_deleted' }
  /** The deadline passed or the caller went away before the append was decided; nothing was written. */
  | { result: 'timeout' }
  /** Postgres is away. Whether the append was written is unknown if it was already under way. */
  | { result: 'unavailable'; reason: string };

type Timing = {
  /** Milliseconds since 1970 after which the write isn't begun. */
  deadline: number;
  cancelled?: () => boolean;
};

export type StreamRequest = Timing & {
  stream: string;
  expected: ExpectedRevision;
  settle: (result: AppendResult) => void;
} & ({ kind: 'append'; events: readonly ProposedEvent[]; size: number } | { kind: 'delete' } | { kind: 'tombstone' });

export type TransactionResult =
  /** Last revisions by index in `streams`; a stream that was only checked has none. */
  | { result: 'written'; revisions: (number | undefined)[]; position: number }
  | { result: 'violations'; violations: Violation[] }
  | Extract<AppendResult, { result: 'timeout' | 'unavailable' }>;

/** A stream that isn't as it was expected; -1 for one that doesn't exist. */
export type Violation = { index: number; actual: number | 'deleted' | 'tombstoned' };

/** Appends to several streams, and checks of further ones: all or nothing. Streams are named once each. */
export type TransactionRequest = Timing & {
  kind: 'transaction';
  streams: readonly { stream: string; expected: ExpectedRevision | 'deleted' | 'tombstoned' }[];
  /** In the order of the log; `index` is that of the stream. */
  events: readonly { index: number; event: ProposedEvent }[];
  size: number;
  settle: (result: TransactionResult) => void;
};

export type WriteRequest = StreamRequest | TransactionRequest;

/** One group: the requests decided together and what they change. Nothing of it is visible before the commit. */
type Group = {
  base: number;
  createdMs: number;
  states: Map<string, StreamState>;
  events: StoredEvent[];
  /** What each of `events` was made of; not kept any longer than it takes to write them. */
  proposed: ProposedEvent[];
  /** By link stream. */
  links: Map<string, Links>;
  answers: (() => void)[];
};

const GROUP_EVENTS = 4_000;
const GROUP_BYTES = 8 * 1024 * 1024;
const CACHED_STREAMS = 20_000;
const CACHED_LINK_HEADS = 20_000;
const RECENT_IDS = 100_000;
const RECENT_IDS_LOADED = 20_000;
const NO_BYTES = Buffer.alloc(0);

const COPY_GROUP = `
  COPY eventstore.events (position, stream, revision, event_id, type, is_json, created, data_length, frame)
  FROM STDIN (FORMAT binary);
  COPY eventstore.links (stream, revision, positions) FROM STDIN (FORMAT binary)`;

/**
 * The single writer. Appends of all calls queue here; whatever has gathered while the last commit was under way is
 * decided in memory, in order, and written in one transaction, so that one flush of the disk serves them all. An answer
 * goes out only after the commit. The session holds the writer's lock, so no other server can write meanwhile, and a
 * lost session can't have a commit still under way once the lock is taken again.
 */
export class LogWriter {
  private queue: WriteRequest[] = [];
  private running = false;
  private closed = false;
  private client: pg.Client | undefined;
  private readonly streams = new BoundedMap<StreamState>(CACHED_STREAMS);
  /** Those of the group being written among them: should it fail, all is read anew. */
  private readonly recentIds = new RecentIds(RECENT_IDS);
  private readonly linkHeads = new BoundedMap<number>(CACHED_LINK_HEADS);
  private readonly copy = new BinaryCopy();
  private lastCreatedMs = 0;
  /** Backend of the current session, or of the last one. */
  private pid = 0;
  private reconnecting: Promise<void> | undefined;

  /** Position of the last committed event. */
  head = 0;
  readonly stats = { appends: 0, events: 0, groups: 0, reconnects: 0, largestGroup: 0 };

  constructor(
    private readonly databaseUrl: string,
    private readonly logger: Logger,
    /** Called after each commit, before the appends are answered. */
    private readonly onCommitted: (events: readonly StoredEvent[], links: Iterable<Links>) => void,
    /** Called when the log moved on without us seeing it: a commit whose answer was lost with the session. */
    private readonly onJump: (head: number) => void,
  ) {}

  get available(): boolean {
    return this.client !== undefined;
  }

  /** Takes over a session that holds the writer's lock. */
  async start(client: pg.Client): Promise<void> {
    this.streams.clear();
    this.recentIds.clear();
    this.linkHeads.clear();
    this.pid = await backendPid(client);
    const head = await readHead(client);
    const ids = await client.query<{ event_id: string; stream: string; revision: string; position: string }>(
      `SELECT event_id, stream, revision::text, position::text FROM eventstore.events
        WHERE position > $1 ORDER BY position`,
      [head - RECENT_IDS_LOADED],
    );
    for (const row of ids.rows) {
      const known = { stream: row.stream, revision: Number(row.revision), position: Number(row.position) };
      this.recentIds.add(row.event_id, known, 0);
    }
    if (head !== this.head) {
      this.head = head;
      this.onJump(head);
    }
    client.once('end', () => {
      if (this.client === client) this.lost(client, 'the connection to Postgres ended');
    });
    this.client = client;
  }

  submit(request: WriteRequest): void {
    if (this.client === undefined || this.closed) {
      request.settle({ result: 'unavailable', reason: 'the event store has no connection to Postgres' });
      return;
    }
    this.queue.push(request);
    if (!this.running) {
      this.running = true;
      // Not at once: appends that arrive in the same turn of the event loop share a commit.
      setImmediate(() => void this.run());
    }
  }

  /** What is committed of a stream; for a metadata stream, that of the stream it belongs to. */
  async committedState(stream: string, queryable: Pick<pg.Pool, 'query'>): Promise<StreamState> {
    const base = baseStreamOf(stream);
    const cached = this.streams.get(base);
    if (cached !== undefined) return cached;
    const before = this.head;
    const states = await readStreamStates(queryable, [base]);
    const newer = this.streams.get(base);
    if (newer !== undefined) return newer;
    const state = states.get(base) ?? UNKNOWN_STREAM;
    // Kept only when no commit was published meanwhile: it may have moved the stream on.
    if (this.head === before && this.client !== undefined) this.streams.set(base, state);
    return state;
  }

  /** Last committed revision of a link stream, -1 when it is empty. */
  async linkHead(stream: string, queryable: Pick<pg.Pool, 'query'>): Promise<number> {
    const cached = this.linkHeads.get(stream);
    if (cached !== undefined) return cached;
    const before = this.head;
    const head = (await readLinkHeads(queryable, [stream])).get(stream) ?? -1;
    const newer = this.linkHeads.get(stream);
    if (newer !== undefined) return newer;
    if (this.head === before && this.client !== undefined) this.linkHeads.set(stream, head);
    return head;
  }

  private async run(): Promise<void> {
    while (this.queue.length > 0) {
      const client = this.client;
      if (client === undefined) break;
      const requests = this.takeGroup();
      let group: Group;
      try {
        group = await this.decide(client, requests);
        if (group.events.length > 0) {
          await this.link(client, group);
          await this.insert(client, group);
        }
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        this.logger.error({ err: error, appends: requests.length }, 'a group of appends failed');
        for (const request of requests) request.settle({ result: 'unavailable', reason });
        // Whatever the reason, start from what the database really holds.
        this.lost(client, reason);
        break;
      }
      this.publish(group);
    }
    this.running = false;
  }

  private takeGroup(): WriteRequest[] {
    let events = 0;
    let bytes = 0;
    let taken = 0;
    while (taken < this.queue.length && events < GROUP_EVENTS && bytes < GROUP_BYTES) {
      const request = this.queue[taken++]!;
      if (request.kind === 'transaction') events += request.events.length + request.streams.length;
      else events += request.kind === 'append' ? request.events.length : 1;
      bytes += 'size' in request ? request.size : 0;
    }
    if (taken === this.queue.length) {
      const all = this.queue;
      this.queue = [];
      return all;
    }
    return this.queue.splice(0, taken);
  }

  private async decide(client: pg.Client, requests: readonly WriteRequest[]): Promise<Group> {
    // The clock may step back; the log's doesn't.
    const createdMs = (this.lastCreatedMs = Math.max(Date.now(), this.lastCreatedMs));
    const group: Group = {
      base: this.head,
      createdMs,
      states: new Map(),
      events: [],
      proposed: [],
      links: new Map(),
      answers: [],
    };
    await this.loadStates(client, requests);
    for (const request of requests) {
      const late = request.deadline < Date.now() || request.cancelled?.() === true;
      if (late) group.answers.push(() => request.settle({ result: 'timeout' }));
      else if (request.kind === 'transaction') {
        const result = await this.decideTransaction(client, group, request);
        group.answers.push(() => request.settle(result));
      } else {
        const result = await this.decideOne(client, group, request);
        group.answers.push(() => request.settle(result));
      }
    }
    return group;
  }

  private async loadStates(client: pg.Client, requests: readonly WriteRequest[]): Promise<void> {
    const missing = new Set<string>();
    for (const request of requests) {
      const streams = request.kind === 'transaction' ? request.streams : [request];
      for (const { stream } of streams) {
        const base = baseStreamOf(stream);
        if (this.streams.get(base) === undefined) missing.add(base);
      }
    }
    if (missing.size === 0) return;
    for (const [name, state] of await readStreamStates(client, [...missing])) this.streams.set(name, state);
  }

  private state(group: Group, base: string): StreamState {
    return group.states.get(base) ?? this.streams.get(base) ?? UNKNOWN_STREAM;
  }

  private async check(
    client: pg.Client,
    group: Group,
    stream: string,
    expected: ExpectedRevision,
    ids: readonly string[],
  ): Promise<CommitDecision> {
    const isMeta = isMetadataStream(stream);
    const state = this.state(group, baseStreamOf(stream));
    const head = headOf(state, isMeta);
    const older = await this.olderIds(client, state, stream, expected, head.lastRevision, ids);
    return checkCommit(head, expected, ids, {
      recentRevisionOf: (id) => {
        const known = this.recentIds.get(id);
        return known?.stream === stream ? known.revision : undefined;
      },
      eventIdAt: (revision) => (isMeta ? undefined : recentIdAt(state, revision)) ?? older?.get(revision),
    });
  }

  /** All checks see the streams as they are before the transaction. */
  private async decideTransaction(
    client: pg.Client,
    group: Group,
    request: TransactionRequest,
  ): Promise<TransactionResult> {
    const { streams, events } = request;
    const ids: string[][] = streams.map(() => []);
    for (const { index, event } of events) ids[index]!.push(event.id);
    const decisions: TransactionDecision[] = [];
    for (const [index, { stream, expected }] of streams.entries()) {
      const head = headOf(this.state(group, baseStreamOf(stream)), isMetadataStream(stream));
      const special = checkState(head, expected, ids[index]!.length > 0);
      const plain = expected === 'deleted' || expected === 'tombstoned' ? 'any' : expected;
      const decision = special ?? (await this.check(client, group, stream, plain, ids[index]!));
      const isNew = expected === 'deleted' && decision.decision === 'ok' && !decision.softDeleted;
      decisions.push(isNew ? { decision: 'violation' } : decision);
    }
    const written = streams.flatMap((_, index) => (ids[index]!.length > 0 ? [index] : []));
    if (decisions.every(({ decision }) => decision === 'ok')) return this.writeTransaction(group, request);
    // A repeat of what was written once is answered as then, whatever became of the streams that were only checked.
    if (written.length > 0 && written.every((index) => decisions[index]!.decision === 'idempotent')) {
      const revisions = decisions.map((d, index) =>
        ids[index]!.length > 0 && d.decision === 'idempotent' ? d.last : undefined,
      );
      let position = 0;
      for (const index of written) {
        const at = await this.positionOf(client, streams[index]!.stream, revisions[index]!, ids[index]!.at(-1)!);
        position = Math.max(position, at);
      }
      return { result: 'written', revisions, position };
    }
    const violations = decisions.flatMap(({ decision }, index): Violation[] => {
      if (decision === 'ok') return [];
      const { stream } = streams[index]!;
      const head = headOf(this.state(group, baseStreamOf(stream)), isMetadataStream(stream));
      return [{ index, actual: head.tombstoned ? 'tombstoned' : head.softDeleted ? 'deleted' : head.lastRevision }];
    });
    return { result: 'violations', violations };
  }

  private writeTransaction(group: Group, { streams, events }: TransactionRequest): TransactionResult {
    const before = streams.map(({ stream }) => this.state(group, baseStreamOf(stream)));
    const byStream: ProposedEvent[][] = streams.map(() => []);
    const revisions: number[] = streams.map(
      ({ stream }, index) => headOf(before[index]!, isMetadataStream(stream)).lastRevision,
    );
    for (const { index, event } of events) {
      this.add(group, streams[index]!.stream, ++revisions[index]!, [event]);
      byStream[index]!.push(event);
    }
    const position = group.base + group.events.length;
    for (const [index, { stream }] of streams.entries()) {
      if (byStream[index]!.length === 0) continue;
      this.advance(group, stream, revisions[index]!, byStream[index]!);
      if (before[index]!.softDeleted) this.undelete(group, baseStreamOf(stream), before[index]!.lastRevision + 1);
    }
    const written = revisions.map((revision, index) => (byStream[index]!.length > 0 ? revision : undefined));
    return { result: 'written', revisions: written, position };
  }

  private async decideOne(client: pg.Client, group: Group, request: StreamRequest): Promise<AppendResult> {
    const ids = request.kind === 'append' ? request.events.map((event) => event.id) : [randomUUID()];
    const decision = await this.check(client, group, request.stream, request.expected, ids);
    switch (decision.decision) {
      case 'deleted':
        return { result: 'stream_deleted' };
      case 'wrong_expected_revision':
        return { result: 'wrong_expected_revision', current: decision.current };
      case 'idempotent':
        return {
          result: 'written',
          revision: decision.last,
          position: await this.positionOf(client, request.stream, decision.last, ids.at(-1)!),
        };
      case 'ok':
        return this.write(group, request, decision.softDeleted);
    }
  }

  private write(group: Group, request: StreamRequest, softDeleted: boolean): AppendResult {
    const { stream } = request;
    const base = baseStreamOf(stream);
    switch (request.kind) {
      case 'append': {
        const before = this.state(group, base);
        if (request.events.length === 0) {
          const current = isMetadataStream(stream) ? before.metaLastRevision : before.lastRevision;
          return { result: 'written', revision: current, position: group.base + group.events.length };
        }
        const last = isMetadataStream(stream) ? before.metaLastRevision : before.lastRevision;
        this.add(group, stream, last + 1, request.events);
        const revision = last + request.events.length;
        const position = group.base + group.events.length;
        this.advance(group, stream, revision, request.events);
        if (softDeleted) this.undelete(group, base, before.lastRevision + 1);
        else if (isMetadataStream(stream) && before.softDeleted) this.undelete(group, base, before.lastRevision + 1);
        return { result: 'written', revision, position };
      }
      case 'tombstone': {
        const event = {
          id: randomUUID(),
          type: SYSTEM_EVENT.streamDeleted,
          isJson: false,
          data: NO_BYTES,
          metadata: NO_BYTES,
        };
        this.add(group, stream, TOMBSTONE_REVISION, [event]);
        group.states.set(base, {
          ...this.state(group, base),
          lastRevision: TOMBSTONE_REVISION,
          tombstoned: true,
          recentIds: [],
        });
        return { result: 'written', revision: TOMBSTONE_REVISION, position: group.base + group.events.length };
      }
      case 'delete': {
        const before = this.state(group, base);
        if (before.lastRevision < 0 && before.metaLastRevision < 0)
          return { result: 'wrong_expected_revision', current: -1 };
        this.writeMetadata(group, stream, Buffer.from(SOFT_DELETE_METADATA));
        return { result: 'written', revision: before.lastRevision, position: group.base + group.events.length };
      }
    }
  }

  /** A soft-deleted stream comes back: what was deleted stays out of sight. */
  private undelete(group: Group, base: string, firstRevision: number): void {
    const raw = this.state(group, base).rawMetadata;
    const revived = raw === undefined ? undefined : undeleteMetadata(raw, firstRevision);
    if (revived !== undefined) this.writeMetadata(group, base, revived);
  }

  private writeMetadata(group: Group, base: string, data: Buffer): void {
    const event = { id: randomUUID(), type: SYSTEM_EVENT.metadata, isJson: true, data, metadata: NO_BYTES };
    const stream = metadataStreamOf(base);
    const revision = this.state(group, base).metaLastRevision + 1;
    this.add(group, stream, revision, [event]);
    this.advance(group, stream, revision, [event]);
  }

  /** @param first revision of the first of the events */
  private add(group: Group, stream: string, first: number, events: readonly ProposedEvent[]): void {
    const append = { stream, revision: first, position: group.base + group.events.length + 1 };
    const frames = encodeEventFrames(events, stream, first, append.position, `${group.createdMs}0000`);
    for (const [n, event] of events.entries()) {
      const [position, revision] = [append.position + n, first + n];
      group.events.push({ position, stream, revision, type: event.type, frame: frames[n]! });
      group.proposed.push(event);
      this.recentIds.add(event.id, append, n);
    }
  }

  private advance(group: Group, stream: string, revision: number, events: readonly ProposedEvent[]): void {
    const base = baseStreamOf(stream);
    const before = this.state(group, base);
    if (!isMetadataStream(stream)) {
      const recentIds = appendRecentIds(
        before.recentIds,
        events.map((event) => event.id),
      );
      group.states.set(base, { ...before, lastRevision: revision, recentIds });
      return;
    }
    const rawMetadata = events.at(-1)!.data;
    const metadata = parseStreamMetadata(rawMetadata);
    group.states.set(base, {
      ...before,
      metaLastRevision: revision,
      metadata,
      rawMetadata,
      softDeleted: metadata.truncateBefore === 'deleted',
    });
  }

  /**
   * Ids that stand where a repeated append would have written, for the ones not in memory. Only an exact revision older
   * than the last one asks; one unknown id in memory is enough to know that it isn't a repeat.
   */
  private async olderIds(
    client: pg.Client,
    state: StreamState,
    stream: string,
    expected: ExpectedRevision,
    last: number,
    ids: readonly string[],
  ): Promise<Map<number, string> | undefined> {
    if (expected === 'any' || expected === 'stream_exists' || ids.length === 0) return undefined;
    const from = expected === 'no_stream' ? 0 : expected + 1;
    if (from > last || state.tombstoned) return undefined;
    if (!isMetadataStream(stream) && recentIdAt(state, from) !== undefined) {
      if (recentIdAt(state, from) !== ids[0] || recentIdAt(state, from + ids.length - 1) !== undefined)
        return undefined;
    }
    const result = await client.query<{ revision: string; event_id: string }>({
      name: 'es_ids',
      text: `SELECT revision::text, event_id FROM eventstore.events
              WHERE stream = $1 AND revision BETWEEN $2::bigint AND $3::bigint`,
      values: [stream, from, from + ids.length - 1],
    });
    return new Map(result.rows.map((row) => [Number(row.revision), row.event_id]));
  }

  /** Where an event was written whose id may stand in other places too. */
  private async positionOf(client: pg.Client, stream: string, revision: number, id: string): Promise<number> {
    const known = this.recentIds.get(id);
    if (known?.stream === stream && known.revision === revision) return known.position;
    const result = await client.query<{ position: string }>(
      'SELECT position::text FROM eventstore.events WHERE stream = $1 AND revision = $2',
      [stream, revision],
    );
    return Number(result.rows[0]?.position ?? 0);
  }

  /** Gives every event its places in the link streams of the system projections. */
  private async link(client: pg.Client, group: Group): Promise<void> {
    const { links } = group;
    let names: string[] = [];
    let former: IndexedEvent | undefined;
    for (const [n, event] of group.events.entries()) {
      const { stream, revision, type } = event;
      const indexed = { stream, revision, type, deletes: deletedStream(event, group.proposed[n]!) };
      // The events of an append mostly go the same way.
      if (former === undefined || !isIndexedAlike(former, indexed)) names = linkStreamsOf(indexed);
      former = indexed;
      for (const name of names) {
        const known = links.get(name);
        if (known === undefined) links.set(name, { stream: name, revision: -1, events: [event] });
        else known.events.push(event);
      }
    }
    const missing = [...links.keys()].filter((name) => this.linkHeads.get(name) === undefined);
    const loaded = missing.length === 0 ? new Map<string, number>() : await readLinkHeads(client, missing);
    for (const [name, added] of links) added.revision = (this.linkHeads.get(name) ?? loaded.get(name) ?? -1) + 1;
  }

  private async insert(client: pg.Client, group: Group): Promise<void> {
    const { copy } = this;
    copy.begin(COPY_GROUP);
    copy.beginTable();
    for (const [n, { position, stream, revision, type, frame }] of group.events.entries()) {
      const { id, isJson, data } = group.proposed[n]!;
      copy.row(9);
      copy.bigint(position);
      copy.text(stream);
      copy.bigint(revision);
      copy.uuid(id);
      copy.text(type);
      copy.boolean(isJson);
      copy.timestamp(group.createdMs);
      copy.integer(data.length);
      copy.bytea(frame);
    }
    copy.endTable();
    copy.beginTable();
    for (const { stream, revision, events } of group.links.values()) {
      for (let first = 0; first < events.length; first += LINKS_PER_ROW) {
        copy.row(3);
        copy.text(stream);
        copy.bigint(revision + first);
        copy.bigints(events.slice(first, first + LINKS_PER_ROW).map((event) => event.position));
      }
    }
    copy.endTable();
    await copy.send(client);
  }

  private publish(group: Group): void {
    for (const [base, state] of group.states) this.streams.set(base, state);
    for (const { stream, revision, events } of group.links.values())
      this.linkHeads.set(stream, revision + events.length - 1);
    if (group.events.length > 0) {
      this.head = group.base + group.events.length;
      this.stats.events += group.events.length;
      this.stats.groups++;
      this.stats.largestGroup = Math.max(this.stats.largestGroup, group.events.length);
      this.onCommitted(group.events, group.links.values());
    }
    this.stats.appends += group.answers.length;
    for (const answer of group.answers) answer();
  }

  private lost(client: pg.Client, reason: string): void {
    if (this.client !== client) return;
    this.client = undefined;
    const waiting = this.queue;
    this.queue = [];
    for (const request of waiting) request.settle({ result: 'unavailable', reason });
    void client.end().catch(() => undefined);
    if (!this.closed) this.reconnecting ??= this.reconnect();
  }

  private async reconnect(): Promise<void> {
    this.logger.warn('the writer lost Postgres; reconnecting');
    for (let delay = 50; !this.closed; delay = Math.min(delay * 2, 2_000)) {
      let client: pg.Client | undefined;
      try {
        client = await connect(this.databaseUrl);
        await assertDurable(client);
        await endFormerSession(client, this.pid);
        await lockWriter(client, 30_000);
        await this.start(client);
        this.stats.reconnects++;
        this.logger.info({ head: this.head }, 'the writer is back');
        break;
      } catch (error) {
        void client?.end().catch(() => undefined);
        this.logger.warn({ err: error }, 'Postgres is still away');
        await new Promise((resolve) => setTimeout(resolve, delay));
      }
    }
    this.reconnecting = undefined;
    if (this.closed) await this.client?.end().catch(() => undefined);
  }

  /** Lets the commit under way finish, refuses what is queued, and gives up the lock. */
  async close(): Promise<void> {
    this.closed = true;
    const waiting = this.queue;
    this.queue = [];
    for (const request of waiting) request.settle({ result: 'unavailable', reason: 'the event store shuts down' });
    while (this.running) await new Promise((resolve) => setTimeout(resolve, 2));
    await this.reconnecting;
    const client = this.client;
    this.client = undefined;
    await client?.end().catch(() => undefined);
  }
}

/** The stream that an event deletes, for good or softly. */
function deletedStream({ stream, type }: StoredEvent, { data }: ProposedEvent): string | undefined {
  if (!isMetadataStream(stream)) return type === SYSTEM_EVENT.streamDeleted ? stream : undefined;
  const softly = type === SYSTEM_EVENT.metadata && parseStreamMetadata(data).truncateBefore === 'deleted';
  return softly ? baseStreamOf(stream) : undefined;
}

type TransactionDecision = { decision: 'violation' } | CommitDecision;

function headOf(state: StreamState, isMeta: boolean): StreamHead {
  if (!isMeta) return state;
  // A metadata stream is gone with its stream.
  return {
    lastRevision: state.metaLastRevision,
    tombstoned: state.tombstoned,
    softDeleted: false,
    metaLastRevision: -1,
  };
}
