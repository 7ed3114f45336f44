import { randomUUID } from 'node:crypto';
import { matches, type EventFilter } from '../core/event-filter.js';
import { isHiddenFromAll } from '../core/persistent-settings.js';
import { firstReadableRevision } from '../core/stream-metadata.js';
import { encodeCheckpointFrame, TOMBSTONE_REVISION } from '../protocol/frames.js';
import { confirmationFrame, livenessFrame, type ReadFrom } from '../protocol/read-messages.js';
import type { EventLog } from '../storage/event-log.js';
import { PAGE_BYTES, PAGE_EVENTS } from '../storage/reader.js';
import type { StoredEvent } from '../storage/tail.js';
import { oldestReadable, type Outlet } from './reads.js';
import { rpc } from './status.js';

/** Puts events through the filter and checkpoints between them: one after every `interval` events considered. */
class Checkpointing {
  private considered = 0;
  private lastCheckpoint = 0;

  constructor(
    private readonly filter: EventFilter | undefined,
    private readonly interval: number,
  ) {}

  /**
   * Frames to send for events of which the caller knows whether they match. A checkpoint after each event would cost as much
   * as the events: of those that are sent together, the last says all.
   */
  frames(events: readonly { position: number; frame: Buffer | undefined }[]): Buffer {
    const out: Buffer[] = [];
    const checkpoint = (position: number) => {
      this.lastCheckpoint = position;
      out.push(encodeCheckpointFrame(position));
    };
    for (const { position, frame } of events) {
      if (frame !== undefined) out.push(frame);
      if (this.filter === undefined || ++this.considered < this.interval) continue;
      this.considered = 0;
      if (this.interval > 1) checkpoint(position);
    }
    const last = events.at(-1);
    if (last !== undefined && this.filter !== undefined && this.interval <= 1) checkpoint(last.position);
    return out.length === 1 ? out[0]! : Buffer.concat(out);
  }

  framesInMemory(events: readonly StoredEvent[]): Buffer {
    const { filter } = this;
    if (filter === undefined) return this.frames(events);
    return this.frames(
      events.map((event) => ({ position: event.position, frame: matches(filter, event) ? event.frame : undefined })),
    );
  }

  /** A checkpoint on going live, unless there was one just here. */
  goingLive(position: number): Buffer | undefined {
    if (this.filter === undefined || position === this.lastCheckpoint || position === 0) return undefined;
    this.lastCheckpoint = position;
    return encodeCheckpointFrame(position);
  }
}

export type AllFeed = {
  from: ReadFrom;
  filter: EventFilter | undefined;
  checkpointInterval: number;
  /** Most events of one `send`. */
  pageEvents?: number;
};

/**
 * A subscription to `$all` is a cursor. Close to the end it is served from the tail in memory, right after each commit;
 * farther away it reads the table, page by page, as fast as the client takes them. Nothing is buffered for a client that
 * lags: it just falls behind.
 */
export async function subscribeToAll(log: EventLog, request: AllFeed, outlet: Outlet): Promise<void> {
  const { filter, pageEvents = PAGE_EVENTS } = request;
  const checkpoints = new Checkpointing(filter, request.checkpointInterval);
  let abandon = () => {};
  outlet.whenCancelled(() => abandon());

  let cursor = request.from === 'start' ? 0 : request.from === 'end' ? log.head : request.from;
  let live = false;
  let caughtUpFrom = cursor;
  await outlet.send(confirmationFrame(randomUUID()));
  while (!outlet.cancelled) {
    if (cursor >= log.head) {
      if (!live) {
        live = true;
        const checkpoint = cursor > caughtUpFrom ? checkpoints.goingLive(cursor) : undefined;
        if (checkpoint !== undefined) await outlet.send(checkpoint);
        await outlet.send(livenessFrame('caughtUp', { position: cursor }, new Date()));
        continue;
      }
      await log.nextCommit((done) => (abandon = done));
      continue;
    }
    if (log.tail.covers(cursor)) {
      const events = log.tail.after(cursor, pageEvents, PAGE_BYTES);
      cursor = events.at(-1)?.position ?? log.head;
      await outlet.send(checkpoints.framesInMemory(events.filter((event) => !isHiddenFromAll(event.stream))));
      continue;
    }
    if (live) {
      live = false;
      caughtUpFrom = cursor;
      await outlet.send(livenessFrame('fellBehind', { position: cursor }, new Date()));
    }
    cursor = await catchUp(log, filter, cursor, pageEvents, checkpoints, outlet);
  }
}

/** Reads the table up to where the tail begins, fetching a page while the one before is written. */
async function catchUp(
  log: EventLog,
  filter: EventFilter | undefined,
  start: number,
  pageEvents: number,
  checkpoints: Checkpointing,
  outlet: Outlet,
): Promise<number> {
  const fetch = async (from: number): Promise<{ frames: () => Buffer; last: number | undefined }> => {
    if (filter === undefined) {
      const page = await log.reader.all('forwards', from, log.head, pageEvents);
      return { frames: () => page.frames, last: page.last };
    }
    const page = await log.reader.allFiltered('forwards', from, log.head, PAGE_EVENTS, filter);
    return { frames: () => checkpoints.frames(page.events), last: page.last };
  };
  let cursor = start;
  let coming = fetch(cursor);
  for (;;) {
    const page = await coming;
    // Nothing after the cursor although the head is farther: the rest of the log was scavenged away.
    if (page.last === undefined) return log.head;
    cursor = page.last;
    const more = !log.tail.covers(cursor) && cursor < log.head && !outlet.cancelled;
    if (more) {
      coming = fetch(cursor);
      coming.catch(() => undefined);
    }
    await outlet.send(page.frames());
    if (!more || outlet.cancelled) return cursor;
  }
}

/** Live events that may wait for a client before it falls behind. */
const QUEUE_EVENTS = 1_000;
const QUEUE_BYTES = 4 * 1024 * 1024;

/**
 * @param limits most events of one `send` when it catches up, most live ones that may wait before it falls behind, and
 *   whether it goes on when its stream is tombstoned
 */
export async function subscribeToStream(
  log: EventLog,
  stream: string,
  from: ReadFrom,
  outlet: Outlet,
  limits = { pageEvents: PAGE_EVENTS, queueEvents: QUEUE_EVENTS, outlivesStream: false },
): Promise<void> {
  let queue: StoredEvent[] = [];
  let queuedBytes = 0;
  let behind = true;
  let wake = () => {};
  const stop = log.listen(stream, {
    committed: (event) => {
      if (queue.length >= limits.queueEvents || queuedBytes >= QUEUE_BYTES) behind = true;
      if (behind) return;
      queue.push(event);
      queuedBytes += event.frame.length;
    },
    wake: (missed) => {
      if (missed) behind = true;
      wake();
    },
  });
  outlet.whenCancelled(() => {
    stop();
    wake();
  });
  try {
    const initial = await log.readableStream(stream);
    if (initial.tombstoned) throw rpc.streamDeleted(stream);
    let cursor = from === 'start' ? -1 : from === 'end' ? initial.lastRevision : from;
    let live = false;
    await outlet.send(confirmationFrame(randomUUID()));
    while (!outlet.cancelled) {
      if (behind) {
        if (live) {
          live = false;
          await outlet.send(livenessFrame('fellBehind', { revision: cursor }, new Date()));
        }
        // What is queued is also in the table. From here on every commit is queued, so nothing falls between.
        queue = [];
        queuedBytes = 0;
        behind = false;
        cursor = await catchUpStream(log, stream, cursor, limits.pageEvents, outlet);
        continue;
      }
      if (queue.length > 0) {
        const events = queue.filter((event) => event.revision > cursor);
        queue = [];
        queuedBytes = 0;
        cursor = events.at(-1)?.revision ?? cursor;
        await outlet.send(Buffer.concat(events.map((event) => event.frame)));
        if (!limits.outlivesStream && events.at(-1)?.revision === TOMBSTONE_REVISION) throw rpc.streamDeleted(stream);
        continue;
      }
      if (!live) {
        live = true;
        await outlet.send(livenessFrame('caughtUp', { revision: cursor }, new Date()));
        continue;
      }
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stop();
  }
}

async function catchUpStream(
  log: EventLog,
  stream: string,
  start: number,
  pageEvents: number,
  outlet: Outlet,
): Promise<number> {
  let cursor = start;
  const state = await log.readableStream(stream);
  if (state.tombstoned) throw rpc.streamDeleted(stream);
  if (state.softDeleted) return cursor;
  const { lastRevision } = state;
  const notBefore = oldestReadable(state);
  const first = firstReadableRevision(state.metadata, lastRevision);
  while (cursor < lastRevision && !outlet.cancelled) {
    const from = Math.max(cursor + 1, first);
    const page = await log.reader.stream('forwards', stream, from, lastRevision, pageEvents, notBefore);
    if (page.last === undefined) return lastRevision;
    cursor = page.last;
    await outlet.send(page.frames);
  }
  return cursor;
}
