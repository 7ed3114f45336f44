import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import streamsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js';
import timestampPb from 'google-protobuf/google/protobuf/timestamp_pb.js';
import { createFilter, type EventFilter } from '../core/event-filter.js';
import { uuidToBits } from './uuid.js';
import { ID_FIELD } from './frames.js';
import { framesOf, varintField } from './links.js';
import { delimited, grpcFrame, MalformedMessage, WireReader } from './wire.js';

const { ReadReq, ReadResp } = streamsPb;

/** Where to read from; a number is a revision or a position. */
export type ReadFrom = 'start' | 'end' | number;

export type ReadRequest = {
  source: { kind: 'stream'; stream: string } | { kind: 'all' };
  from: ReadFrom;
  direction: 'forwards' | 'backwards';
  /** Undefined for a subscription. */
  maxCount: number | undefined;
  filter: EventFilter | undefined;
  /** Events a filtered subscription considers between two checkpoints. */
  checkpointInterval: number;
  resolveLinks: boolean;
  structuredIds: boolean;
  /** From 1 on, readers get the first and last stream position told. */
  compatibility: number;
};

/** What the real server takes for a window that isn't given. */
const DEFAULT_WINDOW = 32;
/** Clients say “end” also as the highest unsigned number. */
const END = 2 ** 64;

/** Parses a `ReadReq`. Throws `MalformedMessage` and `InvalidFilter`. */
export function readReadRequest(message: Buffer): ReadRequest {
  let request: InstanceType<typeof ReadReq>;
  try {
    request = ReadReq.deserializeBinary(message);
  } catch (error) {
    throw new MalformedMessage(error instanceof Error ? error.message : String(error));
  }
  const options = request.getOptions();
  if (options === undefined) throw new MalformedMessage('options are missing');
  if (options.getUuidOption() === undefined) throw new MalformedMessage('`uuidOption` is a required argument');
  const subscription = options.hasSubscription();
  const direction = options.getReadDirection() === 1 ? 'backwards' : 'forwards';
  const { source, from } = readSource(options, direction);
  const isCombination =
    (subscription ? direction === 'forwards' : options.hasCount()) &&
    (options.hasNoFilter() || (options.hasFilter() && source.kind === 'all'));
  if (!isCombination) throw new MalformedMessage(combination(options, source.kind, direction));
  const { filter, checkpointInterval } = readFilter(options);
  return {
    source,
    from,
    direction,
    maxCount: subscription ? undefined : Number(options.getCount()),
    filter,
    checkpointInterval,
    resolveLinks: options.getResolveLinks(),
    structuredIds: !options.getUuidOption()!.hasString(),
    compatibility: options.getControlOption()?.getCompatibility() ?? 0,
  };
}

type Options = InstanceType<typeof ReadReq.Options>;

/** The real server's words for alternatives that don't go together. */
function combination(options: Options, source: 'stream' | 'all', direction: ReadRequest['direction']): string {
  const parts = [
    source === 'stream' ? 'Stream' : 'All',
    options.hasSubscription() ? 'Subscription' : options.hasCount() ? 'Count' : 'None',
    direction === 'forwards' ? 'Forwards' : 'Backwards',
    options.hasFilter() ? 'Filter' : options.hasNoFilter() ? 'NoFilter' : 'None',
  ];
  return `The combination of (${parts.join(', ')}) is invalid.`;
}

function readSource(options: Options, direction: ReadRequest['direction']): Pick<ReadRequest, 'source' | 'from'> {
  const fallback = direction === 'forwards' ? 'start' : 'end';
  const stream = options.getStream();
  if (stream !== undefined) {
    const name = Buffer.from(stream.getStreamIdentifier()?.getStreamName_asU8() ?? []).toString('utf8');
    if (name === '') throw new MalformedMessage('stream name is empty');
    const from = stream.hasEnd() ? 'end' : stream.hasRevision() ? bounded(stream.getRevision()) : 'start';
    return { source: { kind: 'stream', stream: name }, from };
  }
  const all = options.getAll();
  if (all === undefined) throw new MalformedMessage('neither a stream nor $all');
  const from = all.hasEnd()
    ? 'end'
    : all.hasPosition()
      ? bounded(all.getPosition()!.getCommitPosition())
      : all.hasStart()
        ? 'start'
        : fallback;
  return { source: { kind: 'all' }, from };
}

function bounded(value: string): ReadFrom {
  const number = Number(value);
  return number >= END ? 'end' : Math.min(number, Number.MAX_SAFE_INTEGER);
}

function readFilter(options: Options): Pick<ReadRequest, 'filter' | 'checkpointInterval'> {
  const filter = options.getFilter();
  if (filter === undefined) return { filter: undefined, checkpointInterval: 0 };
  const byStream = filter.getStreamIdentifier();
  const byType = filter.getEventType();
  const expression = byStream ?? byType;
  if (expression === undefined) throw new MalformedMessage('the filter has no expression');
  if (!filter.hasMax() && !filter.hasCount())
    throw new MalformedMessage(
      "'None' is not a valid EventStore.Client.Streams.ReadReq+Types+Options+Types+FilterOptions+WindowOneofCase",
    );
  const window = filter.hasMax() ? filter.getMax() : DEFAULT_WINDOW;
  const multiplier = filter.getCheckpointintervalmultiplier();
  return {
    filter: createFilter(byStream ? 'stream' : 'type', expression.getRegex(), expression.getPrefixList()),
    checkpointInterval: Math.max(1, window * Math.max(1, multiplier)),
  };
}

export function streamNotFoundFrame(stream: string): Buffer {
  const identifier = new sharedPb.StreamIdentifier();
  identifier.setStreamName(Buffer.from(stream));
  const notFound = new ReadResp.StreamNotFound();
  notFound.setStreamIdentifier(identifier);
  const response = new ReadResp();
  response.setStreamNotFound(notFound);
  return grpcFrame(response.serializeBinary());
}

export function confirmationFrame(subscriptionId: string): Buffer {
  const confirmation = new ReadResp.SubscriptionConfirmation();
  confirmation.setSubscriptionId(subscriptionId);
  const response = new ReadResp();
  response.setConfirmation(confirmation);
  return grpcFrame(response.serializeBinary());
}

export function streamPositionFrame(which: 'first' | 'last', revision: number): Buffer {
  const response = new ReadResp();
  if (which === 'first') response.setFirstStreamPosition(String(revision));
  else response.setLastStreamPosition(String(revision));
  return grpcFrame(response.serializeBinary());
}

/** CaughtUp and FellBehind, with where and when, as newer clients show it. */
export function livenessFrame(
  what: 'caughtUp' | 'fellBehind',
  at: { revision: number } | { position: number },
  now: Date,
): Buffer {
  const message = what === 'caughtUp' ? new ReadResp.CaughtUp() : new ReadResp.FellBehind();
  const timestamp = new timestampPb.Timestamp();
  timestamp.fromDate(now);
  message.setTimestamp(timestamp);
  if ('revision' in at) {
    if (at.revision >= 0) message.setStreamRevision(String(at.revision));
  } else {
    const position = new ReadResp.Position();
    position.setCommitPosition(String(at.position));
    position.setPreparePosition(String(at.position));
    message.setPosition(position);
  }
  const response = new ReadResp();
  if (message instanceof ReadResp.CaughtUp) response.setCaughtUp(message);
  else response.setFellBehind(message);
  return grpcFrame(response.serializeBinary());
}

/** The same event frames with ids in the structured form, for clients that ask for it. Other messages pass through. */
export function withStructuredIds(frames: Buffer): Buffer {
  return Buffer.concat([...framesOf(frames)].map((frame) => (frame[5] === 0x0a ? structured(frame) : frame)));
}

function structured(frame: Buffer): Buffer {
  const outer = new WireReader(frame, 5);
  outer.next();
  const readEvent = outer.message();
  const parts: Buffer[] = [];
  while (readEvent.next()) {
    if (readEvent.field === 1) parts.push(delimited(0x0a, structuredEvent(readEvent.bytes())));
    else if (readEvent.field === 2) parts.push(delimited(0x12, structuredEvent(readEvent.bytes())));
    else if (readEvent.field === 3) parts.push(varintField(0x18, readEvent.varint()));
    else readEvent.skip();
  }
  return grpcFrame(delimited(0x0a, Buffer.concat(parts)));
}

function structuredEvent(recorded: Buffer): Buffer {
  const { most, least } = uuidToBits(recorded.toString('latin1', ID_FIELD - 36, ID_FIELD));
  const bits = Buffer.concat([Buffer.from([0x08]), int64Varint(most), Buffer.from([0x10]), int64Varint(least)]);
  return Buffer.concat([delimited(0x0a, delimited(0x0a, bits)), recorded.subarray(ID_FIELD)]);
}

function int64Varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  while (rest >= 128n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
