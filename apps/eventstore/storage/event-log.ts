import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import { isMetadataStream, mayExist, type StreamMetadata } from '../core/stream-metadata.js';
import { isLinkStream } from '../core/system-projections.js';
import { decodeEventFrame, type DecodedFrame, type ProposedEvent } from '../protocol/frames.js';
import { encodeLinkFrame } from '../protocol/links.js';
import { LogReader } from './reader.js';
import { UNKNOWN_STREAM } from './streams-cache.js';
import { Tail, type Links, type StoredEvent } from './tail.js';
import { LogWriter, type AppendResult } from './writer.js';

/** What a reader may know of a stream, metadata streams included. */
export type ReadableStream = {
  lastRevision: number;
  tombstoned: boolean;
  softDeleted: boolean;
  metadata: StreamMetadata;
  /** Data of the last metadata event. */
  rawMetadata?: Buffer | undefined;
};

export type StreamListener = {
  /** Events of the stream, right after their commit. */
  committed(event: StoredEvent): void;
  /** Once after a batch of `committed`, or when the log moved on unseen (`missed`). */
  wake(missed: boolean): void;
};

const READ_CONNECTIONS = 6;

/** The log as the protocol's services see it: the writer, the reader, the tail in memory and who waits for more. */
export class EventLog {
  readonly writer: LogWriter;
  readonly reader: LogReader;
  tail = new Tail(0);
  private readonly pool: pg.Pool;
  private waiters: (() => void)[] = [];
  private readonly listeners = new Map<string, Set<StreamListener>>();
  /** Subscriptions being served. */
  subscriptions = 0;

  constructor(databaseUrl: string, logger: Logger) {
    this.pool = new pg.Pool({
      connectionString: databaseUrl,
      application_name: 'eventstore-reader',
      max: READ_CONNECTIONS,
      connectionTimeoutMillis: 5_000,
      idleTimeoutMillis: 30_000,
    });
    // Idle connections that break are replaced by the pool.
    this.pool.on('error', (error) => logger.warn({ err: error }, 'a read connection was lost'));
    this.reader = new LogReader(this.pool);
    this.writer = new LogWriter(
      databaseUrl,
      logger,
      (events, links) => this.committed(events, links),
      (head) => this.jumped(head),
    );
  }

  get head(): number {
    return this.writer.head;
  }

  async readableStream(stream: string): Promise<ReadableStream> {
    if (!mayExist(stream)) return UNKNOWN_STREAM;
    const state = await this.writer.committedState(stream, this.pool);
    if (isLinkStream(stream)) return { ...state, lastRevision: await this.writer.linkHead(stream, this.pool) };
    if (!isMetadataStream(stream)) return state;
    return {
      lastRevision: state.metaLastRevision,
      tombstoned: state.tombstoned,
      softDeleted: false,
      // The protocol keeps only the newest metadata of a stream.
      metadata: { maxCount: 1 },
    };
  }

  /** The last event of a stream that readers may see. */
  async last(stream: string): Promise<DecodedFrame | undefined> {
    const { lastRevision, softDeleted, tombstoned } = await this.readableStream(stream);
    if (lastRevision < 0 || softDeleted || tombstoned) return undefined;
    const page = await this.reader.stream('backwards', stream, lastRevision, lastRevision, 1, undefined);
    return page.count === 0 ? undefined : decodeEventFrame(page.frames);
  }

  /** An append of the server itself; expects nothing of the stream and waits as long as it takes. */
  append(stream: string, event: Omit<ProposedEvent, 'id'>): Promise<AppendResult> {
    return new Promise((settle) => {
      const events = [{ id: randomUUID(), ...event }];
      const size = event.data.length + event.metadata.length;
      this.writer.submit({ kind: 'append', stream, expected: 'any', events, size, deadline: Infinity, settle });
    });
  }

  delete(stream: string): Promise<AppendResult> {
    return new Promise((settle) => {
      this.writer.submit({ kind: 'delete', stream, expected: 'any', deadline: Infinity, settle });
    });
  }

  /** Resolves at the next commit, or when `abandon` calls the function it is given. */
  nextCommit(abandon: (done: () => void) => void): Promise<void> {
    return new Promise((resolve) => {
      this.waiters.push(resolve);
      abandon(resolve);
    });
  }

  listen(stream: string, listener: StreamListener): () => void {
    let set = this.listeners.get(stream);
    if (set === undefined) this.listeners.set(stream, (set = new Set()));
    set.add(listener);
    return () => {
      set.delete(listener);
      if (set.size === 0 && this.listeners.get(stream) === set) this.listeners.delete(stream);
    };
  }

  private committed(events: readonly StoredEvent[], links: Iterable<Links>): void {
    this.tail.append(events);
    if (this.listeners.size > 0) {
      const touched = new Set<StreamListener>();
      const tell = (event: StoredEvent) => {
        for (const listener of this.listeners.get(event.stream) ?? []) {
          listener.committed(event);
          touched.add(listener);
        }
      };
      events.forEach(tell);
      for (const { stream, revision, events: linked } of links)
        if (this.listeners.has(stream)) linked.forEach((event, n) => tell(storedLink(stream, revision + n, event)));
      for (const listener of touched) listener.wake(false);
    }
    this.wakeAll();
  }

  private jumped(head: number): void {
    this.tail = new Tail(head);
    for (const set of this.listeners.values()) for (const listener of set) listener.wake(true);
    this.wakeAll();
  }

  private wakeAll(): void {
    const waiting = this.waiters;
    this.waiters = [];
    for (const resolve of waiting) resolve();
  }

  /** True when the database answers. */
  async alive(): Promise<boolean> {
    try {
      await this.pool.query('SELECT 1');
      return this.writer.available;
    } catch {
      return false;
    }
  }

  async close(): Promise<void> {
    await this.writer.close();
    this.wakeAll();
    await this.pool.end();
  }
}

/** The link as its subscribers get it. */
function storedLink(stream: string, revision: number, event: StoredEvent): StoredEvent {
  const { position } = event;
  const decoded = decodeEventFrame(event.frame);
  const frame = encodeLinkFrame(stream, revision, {
    ...decoded,
    revision: event.revision,
    position,
    data: () => decoded.data,
  });
  return { position, stream, revision, type: decodeEventFrame(frame).type, frame };
}
