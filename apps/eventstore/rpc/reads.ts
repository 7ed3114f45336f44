import type { ServerWritableStream } from '@grpc/grpc-js';
import { InvalidFilter } from '../core/event-filter.js';
import { firstReadableRevision, mayExist } from '../core/stream-metadata.js';
import { framesOf, type LinkTarget, linkTarget, mayHoldLinks, resolvedFrame } from '../protocol/links.js';
import {
  readReadRequest,
  streamNotFoundFrame,
  streamPositionFrame,
  withStructuredIds,
  type ReadRequest,
} from '../protocol/read-messages.js';
import { MalformedMessage } from '../protocol/wire.js';
import { type Guard, principalOf } from '../security/guard.js';
import type { EventLog, ReadableStream } from '../storage/event-log.js';
import { eventKey, PAGE_EVENTS } from '../storage/reader.js';
import { FrameSink, type OpenCall } from './call.js';
import { isRpcError, rpc, type RpcError } from './status.js';
import { subscribeToAll, subscribeToStream } from './subscriptions.js';

/** Frames on their way to one client, ids in the form it asked for. */
export type Outlet = {
  readonly cancelled: boolean;
  whenCancelled(listener: () => void): void;
  send(frames: Buffer): Promise<void> | undefined;
};

/** Read: finite reads and subscriptions, of streams and of `$all`. */
export function read(log: EventLog, guard: Guard, open: Set<OpenCall>) {
  return (call: ServerWritableStream<Buffer, Buffer>): void => {
    const sink = new FrameSink(call, open);
    void serve(log, guard, call, sink).then(
      () => sink.end(),
      (error: unknown) => sink.fail(asRpcError(error)),
    );
  };
}

function asRpcError(error: unknown): RpcError {
  if (isRpcError(error)) return error;
  if (error instanceof MalformedMessage || error instanceof InvalidFilter) return rpc.invalidArgument(error.message);
  // What is left comes from the database.
  return rpc.unavailable(error instanceof Error ? error.message : String(error));
}

async function serve(
  log: EventLog,
  guard: Guard,
  call: ServerWritableStream<Buffer, Buffer>,
  sink: FrameSink,
): Promise<void> {
  const request = readReadRequest(call.request);
  const stream = request.source.kind === 'all' ? '$all' : request.source.stream;
  const outlet = outletFor(log, request, sink);
  if (request.maxCount === undefined) {
    log.subscriptions++;
    // From before the first look on, so that no change falls between.
    const unwatch = guard.watch(principalOf(call), stream, (error) => sink.fail(error));
    try {
      await guard.require(principalOf(call), 'read', stream);
      if (request.source.kind === 'all') await subscribeToAll(log, request, outlet);
      else await subscribeToStream(log, request.source.stream, request.from, outlet);
    } finally {
      unwatch();
      log.subscriptions--;
    }
    return;
  }
  await guard.require(principalOf(call), 'read', stream);
  if (request.source.kind === 'stream') await readStream(log, request.source.stream, request, outlet);
  else await readAll(log, request, outlet);
}

/** Links resolved and ids in the structured form, for clients that ask for it; others get the frames as they are. */
function outletFor(log: EventLog, request: ReadRequest, sink: FrameSink): Outlet {
  const { resolveLinks, structuredIds } = request;
  if (!resolveLinks && !structuredIds) return sink;
  const shape = (frames: Buffer) => (structuredIds ? withStructuredIds(frames) : frames);
  return {
    get cancelled() {
      return sink.cancelled;
    },
    whenCancelled: (listener) => sink.whenCancelled(listener),
    send: (frames) =>
      resolveLinks && mayHoldLinks(frames)
        ? resolved(log, frames).then((all) => sink.send(shape(all)))
        : sink.send(shape(frames)),
  };
}

/** The frames with links replaced by what they point at. What a reader of the stream can't see isn't shown here either. */
export async function resolved(log: EventLog, frames: Buffer): Promise<Buffer> {
  const all = [...framesOf(frames)].map((frame) => ({ frame, target: linkTarget(frame) }));
  for (const { target } of all) if (typeof target === 'object') await toLast(log, target);
  const targets = all.flatMap(({ target }) => (isReadable(target) ? target : []));
  const visible = new Map<string, (revision: number) => boolean>();
  for (const { stream } of targets) {
    if (visible.has(stream)) continue;
    const state = await log.readableStream(stream);
    const first = firstReadableRevision(state.metadata, state.lastRevision);
    const gone = state.tombstoned || state.softDeleted;
    visible.set(stream, (revision) => !gone && revision >= first);
  }
  const found = await log.reader.events(targets);
  return Buffer.concat(
    all.map(({ frame, target }) => {
      if (target === undefined) return frame;
      if (!isReadable(target)) return resolvedFrame(frame, undefined);
      const shown = visible.get(target.stream)?.(target.revision) === true;
      return resolvedFrame(frame, shown ? found.get(eventKey(target.stream, target.revision)) : undefined);
    }),
  );
}

/** The real server takes -1 for a stream's last event. */
async function toLast(log: EventLog, target: LinkTarget): Promise<void> {
  if (target.revision === -1) target.revision = (await log.readableStream(target.stream)).lastRevision;
}

function isReadable(target: ReturnType<typeof linkTarget>): target is LinkTarget {
  return typeof target === 'object' && Number.isSafeInteger(target.revision) && mayExist(target.stream);
}

export type Chunk = {
  frames: Buffer;
  count: number;
  /** Where the next chunk goes on; undefined at the end. */
  next: number | undefined;
};

/**
 * Sends chunk after chunk; the next one is fetched while the current one is written.
 * @param fetch the chunk that starts at a cursor, holding at most so many events
 */
export async function pump(
  outlet: Outlet,
  start: number,
  maxCount: number,
  fetch: (cursor: number, limit: number) => Promise<Chunk>,
): Promise<void> {
  let remaining = maxCount;
  let coming: Promise<Chunk> | undefined = remaining > 0 ? fetch(start, Math.min(remaining, PAGE_EVENTS)) : undefined;
  while (coming !== undefined && !outlet.cancelled) {
    const chunk = await coming;
    remaining -= chunk.count;
    coming =
      chunk.next === undefined || remaining <= 0 ? undefined : fetch(chunk.next, Math.min(remaining, PAGE_EVENTS));
    // Its failure is seen when it is awaited, which may be later than it happens.
    coming?.catch(() => undefined);
    await outlet.send(chunk.frames);
  }
}

async function readStream(log: EventLog, stream: string, request: ReadRequest, outlet: Outlet): Promise<void> {
  // Nothing to read: the real server takes that for a mistake, whatever the stream.
  if (request.maxCount === 0 || (request.direction === 'forwards' && request.from === 'end')) throw rpc.readFailed();
  const state = await log.readableStream(stream);
  if (state.tombstoned) throw rpc.streamDeleted(stream);
  if (state.lastRevision < 0 || state.softDeleted) {
    await outlet.send(streamNotFoundFrame(stream));
    return;
  }
  const { lastRevision } = state;
  const firstRevision = firstReadableRevision(state.metadata, lastRevision);
  const notBefore = oldestReadable(state);
  const tellPositions = request.compatibility >= 1;
  const maxCount = request.maxCount ?? 0;
  let sent = 0;
  if (request.direction === 'forwards') {
    const wanted = typeof request.from === 'number' ? request.from : 0;
    const start = Math.max(wanted, firstRevision);
    if (tellPositions) {
      for (const position of firstPositions(wanted, maxCount, firstRevision, lastRevision))
        await outlet.send(streamPositionFrame('first', position));
    }
    if (start <= lastRevision) {
      await pump(outlet, start, maxCount, async (cursor, limit) => {
        const page = await log.reader.stream('forwards', stream, cursor, lastRevision, limit, notBefore);
        sent += page.count;
        const next = page.last === undefined || page.last >= lastRevision ? undefined : page.last + 1;
        return { frames: page.frames, count: page.count, next };
      });
      // All of it has expired.
      if (tellPositions && sent === 0) await outlet.send(streamPositionFrame('first', lastRevision + 1));
    }
  } else {
    const wanted = request.from === 'start' ? 0 : request.from === 'end' ? lastRevision : request.from;
    const start = Math.min(wanted, lastRevision);
    if (start >= firstRevision) {
      await pump(outlet, start, maxCount, async (cursor, limit) => {
        const page = await log.reader.stream('backwards', stream, cursor, firstRevision, limit, notBefore);
        const next = page.last === undefined || page.last <= firstRevision ? undefined : page.last - 1;
        return { frames: page.frames, count: page.count, next };
      });
    }
  }
  if (tellPositions) await outlet.send(streamPositionFrame('last', lastRevision));
}

/** Events the real server reads at a time. */
const REAL_PAGE = 32;

/**
 * The first positions the real server tells before a read's first event: one for each of its pages that holds nothing and
 * doesn't end where it began.
 */
export function firstPositions(from: number, maxCount: number, first: number, last: number): number[] {
  const page = Math.min(REAL_PAGE, maxCount);
  const told: number[] = [];
  for (let at = from; ;) {
    const pageEnd = at + page - 1;
    const isBefore = at <= last && pageEnd < first;
    if (!isBefore && Math.max(at, first) <= last) return told;
    const next = isBefore ? first : at > last ? last + 1 : Math.min(pageEnd, last) + 1;
    if (next !== at) told.push(next);
    if (!isBefore) return told;
    at = next;
  }
}

/** Events created before this have expired. */
export function oldestReadable(state: ReadableStream): Date | undefined {
  const { maxAge } = state.metadata;
  if (maxAge === undefined) return undefined;
  return new Date(Math.max(0, Date.now() - maxAge * 1_000));
}

async function readAll(log: EventLog, request: ReadRequest, outlet: Outlet): Promise<void> {
  const { direction, filter } = request;
  const { head } = log;
  const forwards = direction === 'forwards';
  // Positions lie between events: forwards the event at the position is the first, backwards the one before it.
  const from = request.from === 'start' ? 0 : request.from === 'end' ? head + 1 : request.from;
  // Beyond the end nothing lies before: the real server takes that for a mistake.
  if (!forwards && from > head + 1) throw rpc.readFailed('All');
  const start = forwards ? Math.max(0, from - 1) : from;
  const end = forwards ? head : 0;
  const isEnd = (last: number | undefined) => last === undefined || (forwards ? last >= end : last <= end + 1);
  if (forwards ? start >= end : start <= end) return;

  await pump(outlet, start, request.maxCount ?? 0, async (cursor, limit) => {
    if (filter === undefined) {
      const page = await log.reader.all(direction, cursor, end, limit);
      return { frames: page.frames, count: page.count, next: isEnd(page.last) ? undefined : page.last };
    }
    const page = await log.reader.allFiltered(direction, cursor, end, PAGE_EVENTS, filter);
    const next = isEnd(page.last) ? undefined : page.last;
    if (page.count <= limit) return { frames: page.frames(), count: page.count, next };
    const frames = page.events.flatMap((event) => event.frame ?? []).slice(0, limit);
    return { frames: Buffer.concat(frames), count: frames.length, next };
  });
}
