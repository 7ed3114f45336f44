import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/persistentsubscriptions_pb.js';
import type sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import type { Message, NackAction } from '../core/persistent-group.js';
import { ALL, type FilterExpression, type GroupSettings } from '../core/persistent-settings.js';
import { linkText, splitLink, varintField } from './links.js';
import { withStructuredIds } from './read-messages.js';
import { readUuid } from './uuid.js';
import { delimited, grpcFrame, MalformedMessage, WireReader } from './wire.js';

/** What the real server's int64 makes of a position beyond the end. */
const BEYOND_END = 2 ** 63;

export type GroupName = { source: string; group: string };

function streamName(identifier: InstanceType<typeof sharedPb.StreamIdentifier> | undefined): string {
  return Buffer.from(identifier?.getStreamName_asU8() ?? []).toString('utf8');
}

function startOf(value: string): number | 'end' {
  const number = Number(value);
  return number >= BEYOND_END ? 'end' : number;
}

type Target = InstanceType<typeof pb.CreateReq.Options> | InstanceType<typeof pb.UpdateReq.Options>;

/** A `CreateReq` or `UpdateReq`. The filter of an existing subscription can't be changed, so updates carry none. */
export function readGroupRequest(kind: 'create' | 'update', message: Buffer): GroupName & { settings: GroupSettings } {
  const request = kind === 'create' ? pb.CreateReq.deserializeBinary(message) : pb.UpdateReq.deserializeBinary(message);
  const options: Target | undefined = request.getOptions();
  const settings = options?.getSettings();
  if (options === undefined || settings === undefined) throw new MalformedMessage('options or settings are missing');
  const { source, startFrom, filter } = readTarget(options);
  const ticks = (milliseconds: number, hundredNanoseconds: string) =>
    milliseconds || Math.trunc(Number(hundredNanoseconds) / 10_000);
  const named = ['DispatchToSingle', 'RoundRobin', 'Pinned'][settings.getNamedConsumerStrategy()] ?? '';
  return {
    source,
    group: options.getGroupName(),
    settings: {
      resolveLinks: settings.getResolveLinks(),
      startFrom,
      filter,
      extraStatistics: settings.getExtraStatistics(),
      messageTimeout: ticks(settings.getMessageTimeoutMs(), settings.getMessageTimeoutTicks()),
      maxRetryCount: settings.getMaxRetryCount(),
      checkpointAfter: ticks(settings.getCheckpointAfterMs(), settings.getCheckpointAfterTicks()),
      minCheckpointCount: settings.getMinCheckpointCount(),
      maxCheckpointCount: settings.getMaxCheckpointCount(),
      maxSubscriberCount: settings.getMaxSubscriberCount(),
      liveBufferSize: settings.getLiveBufferSize(),
      readBatchSize: settings.getReadBatchSize(),
      bufferSize: settings.getHistoryBufferSize(),
      strategy: ('getConsumerStrategy' in settings && settings.getConsumerStrategy()) || named,
    },
  };
}

function readTarget(options: Target): Pick<GroupSettings, 'startFrom' | 'filter'> & { source: string } {
  const all = options.getAll();
  if (all !== undefined) {
    const position = all.getPosition();
    const startFrom = all.hasEnd() ? 'end' : position ? startOf(position.getCommitPosition()) : 0;
    const filter = 'getFilter' in all ? readFilter(all.getFilter()) : undefined;
    return { source: ALL, startFrom, filter };
  }
  const stream = options.getStream();
  // Clients that know servers before 21.10 say it the old way.
  const source = streamName((stream ?? options).getStreamIdentifier());
  if (source === ALL) throw new MalformedMessage('$all is not a stream');
  if (stream === undefined)
    return { source, startFrom: startOf(options.getSettings()!.getRevision()), filter: undefined };
  const startFrom = stream.hasEnd() ? 'end' : stream.hasRevision() ? startOf(stream.getRevision()) : 0;
  return { source, startFrom, filter: undefined };
}

function readFilter(
  filter: InstanceType<typeof pb.CreateReq.AllOptions.FilterOptions> | undefined,
): FilterExpression | undefined {
  const expression = filter?.getStreamIdentifier() ?? filter?.getEventType();
  if (filter === undefined || expression === undefined) return undefined;
  const on = filter.hasStreamIdentifier() ? 'stream' : 'type';
  return { on, regex: expression.getRegex(), prefixes: expression.getPrefixList() };
}

type Named = {
  getStreamIdentifier(): InstanceType<typeof sharedPb.StreamIdentifier> | undefined;
  hasAll(): boolean;
  getGroupName(): string;
};

function groupName(options: Named | undefined): GroupName {
  if (options === undefined) throw new MalformedMessage('options are missing');
  return {
    source: options.hasAll() ? ALL : streamName(options.getStreamIdentifier()),
    group: options.getGroupName(),
  };
}

export function readDeleteRequest(message: Buffer): GroupName {
  return groupName(pb.DeleteReq.deserializeBinary(message).getOptions());
}

export function readInfoRequest(message: Buffer): GroupName {
  return groupName(pb.GetInfoReq.deserializeBinary(message).getOptions());
}

export function readReplayRequest(message: Buffer): GroupName & { stopAt: number | undefined } {
  const options = pb.ReplayParkedReq.deserializeBinary(message).getOptions();
  const stopAt = options?.hasStopAt() ? Number(options.getStopAt()) : undefined;
  return { ...groupName(options), stopAt };
}

/** The source whose subscriptions are asked for; undefined for all of them. */
export function readListRequest(message: Buffer): string | undefined {
  const options = pb.ListReq.deserializeBinary(message).getOptions();
  const source = options?.getListForStream();
  if (source === undefined) return undefined;
  return source.hasAll() ? ALL : streamName(source.getStream());
}

export type ReadMessage =
  | (GroupName & { kind: 'options'; slots: number; structuredIds: boolean })
  | { kind: 'ack'; ids: string[] }
  | { kind: 'nack'; ids: string[]; action: NackAction; reason: string };

const ACTIONS: readonly NackAction[] = ['retry', 'park', 'retry', 'skip', 'stop'];

/** A message of a consumer: who it is, or how it fared. */
export function readReadMessage(message: Buffer): ReadMessage {
  const reader = new WireReader(message);
  if (!reader.next()) throw new MalformedMessage('empty message');
  switch (reader.field) {
    case 1: {
      const options = pb.ReadReq.deserializeBinary(message).getOptions()!;
      return {
        kind: 'options',
        ...groupName(options),
        slots: options.getBufferSize(),
        structuredIds: options.getUuidOption()?.hasString() !== true,
      };
    }
    case 2:
      return { kind: 'ack', ids: readIds(reader.message()) };
    case 3: {
      const nack = reader.bytes();
      const fields = new WireReader(nack);
      let action: NackAction = 'retry';
      let reason = '';
      while (fields.next()) {
        if (fields.field === 3) action = ACTIONS[fields.varint()] ?? 'skip';
        else if (fields.field === 4) reason = fields.string();
        else fields.skip();
      }
      return { kind: 'nack', ids: readIds(new WireReader(nack)), action, reason };
    }
    default:
      throw new MalformedMessage(`field ${reader.field}`);
  }
}

function readIds(reader: WireReader): string[] {
  const ids: string[] = [];
  while (reader.next()) {
    if (reader.field === 2) ids.push(readUuid(reader.message()));
    else reader.skip();
  }
  return ids;
}

export function subscriptionConfirmation(subscriptionId: string): Buffer {
  const confirmation = new pb.ReadResp.SubscriptionConfirmation();
  confirmation.setSubscriptionId(subscriptionId);
  const response = new pb.ReadResp();
  response.setSubscriptionConfirmation(confirmation);
  return grpcFrame(response.serializeBinary());
}

/** An event's frame as a consumer gets it: with how often it was tried before. */
export function deliveryFrame(frame: Buffer, retryCount: number, structuredIds: boolean): Buffer {
  const shaped = structuredIds ? withStructuredIds(frame) : frame;
  const outer = new WireReader(shaped, 5);
  outer.next();
  return grpcFrame(delimited(0x0a, Buffer.concat([outer.bytes(), varintField(0x28, retryCount)])));
}

type Recorded = { id: string; stream: string; revision: number; type: string; metadata: Buffer; data: Buffer };

/** What a frame of a read says: an event (perhaps by a link), or a checkpoint of a filtered read. */
export function readFrame(
  frame: Buffer,
): { event: Recorded | undefined; link: Recorded | undefined; position: number } | { checkpoint: number } | undefined {
  const outer = new WireReader(frame, 5);
  if (!outer.next()) return undefined;
  if (outer.field === 3) {
    const checkpoint = outer.message();
    return checkpoint.next() ? { checkpoint: checkpoint.varint() } : undefined;
  }
  if (outer.field !== 1) return undefined;
  const read = outer.message();
  let event: Recorded | undefined;
  let link: Recorded | undefined;
  let position = 0;
  while (read.next()) {
    if (read.field === 1) event = readRecorded(read.message());
    else if (read.field === 2) link = readRecorded(read.message());
    else if (read.field === 3) position = read.varint();
    else read.skip();
  }
  return { event, link, position };
}

function readRecorded(reader: WireReader): Recorded {
  const nothing: Buffer = Buffer.alloc(0);
  const recorded: Recorded = { id: '', stream: '', revision: 0, type: '', metadata: nothing, data: nothing };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        recorded.id = readUuid(reader.message());
        break;
      case 2: {
        const identifier = reader.message();
        while (identifier.next()) recorded.stream = identifier.string();
        break;
      }
      case 3:
        recorded.revision = reader.varint();
        break;
      case 6: {
        const entry = reader.message();
        let isType = false;
        while (entry.next()) {
          if (entry.field === 1) isType = entry.string() === 'type';
          else if (isType) recorded.type = entry.string();
          else entry.skip();
        }
        break;
      }
      case 7:
        recorded.metadata = reader.bytes();
        break;
      case 8:
        recorded.data = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
  return recorded;
}

/** An event's frame as the group keeps it; undefined when it is no event. */
export function messageOf(frame: Buffer, source: string): Message | undefined {
  const read = readFrame(frame);
  if (read === undefined || 'checkpoint' in read) return undefined;
  const original = read.link ?? read.event;
  if (original === undefined) return undefined;
  const shown = read.event ?? original;
  const target = shown.type === '$>' ? splitLink(shown.data) : undefined;
  return {
    id: original.id,
    position: source === ALL ? read.position : original.revision,
    frame,
    stream: typeof target === 'object' ? target.stream : shown.stream,
    metadata: shown.metadata,
  };
}

/** How the real server shows “not by time”. */
const NEVER = 2 ** 31 - 1;

/** Data of the link by which a message is parked: to the event itself, or where a broken link points. */
export function parkedLink(frame: Buffer): { data: string; revision: number } {
  const read = readFrame(frame);
  if (read === undefined || 'checkpoint' in read) throw new MalformedMessage('no event');
  const { event, link } = read;
  const revision = (link ?? event)!.revision;
  return { data: event === undefined ? link!.data.toString('utf8') : linkText(event.stream, event.revision), revision };
}

export type ConnectionInfo = {
  username: string;
  connectionName: string;
  averagePerSecond: number;
  total: number;
  sinceLast: number;
  freeSlots: number;
  inFlight: number;
  measurements: readonly (readonly [key: string, milliseconds: number])[];
};

export type GroupInfo = GroupName & {
  settings: GroupSettings;
  startFrom: string;
  status: string;
  averagePerSecond: number;
  total: number;
  sinceLast: number;
  lastCheckpoint: string;
  lastKnown: string;
  buffered: number;
  live: number;
  retrying: number;
  outstanding: number;
  parked: number;
  connections: readonly ConnectionInfo[];
};

function subscriptionInfo(info: GroupInfo) {
  const { settings } = info;
  const message = new pb.SubscriptionInfo();
  message.setEventSource(info.source);
  message.setGroupName(info.group);
  message.setStatus(info.status);
  message.setConnectionsList(info.connections.map(connectionInfo));
  message.setAveragePerSecond(info.averagePerSecond);
  message.setTotalItems(String(info.total));
  message.setCountSinceLastMeasurement(String(info.sinceLast));
  message.setLastCheckpointedEventPosition(info.lastCheckpoint);
  message.setLastKnownEventPosition(info.lastKnown);
  message.setResolveLinkTos(settings.resolveLinks);
  message.setStartFrom(info.startFrom);
  message.setMessageTimeoutMilliseconds(settings.messageTimeout);
  message.setExtraStatistics(settings.extraStatistics);
  message.setMaxRetryCount(settings.maxRetryCount);
  message.setLiveBufferSize(settings.liveBufferSize);
  message.setBufferSize(settings.bufferSize);
  message.setReadBatchSize(settings.readBatchSize);
  message.setCheckPointAfterMilliseconds(settings.checkpointAfter === 0 ? NEVER : settings.checkpointAfter);
  message.setMinCheckPointCount(settings.minCheckpointCount);
  message.setMaxCheckPointCount(settings.maxCheckpointCount);
  message.setReadBufferCount(info.buffered);
  message.setLiveBufferCount(String(info.live));
  message.setRetryBufferCount(info.retrying);
  message.setTotalInFlightMessages(info.connections.reduce((sum, { inFlight }) => sum + inFlight, 0));
  message.setOutstandingMessagesCount(info.outstanding);
  message.setNamedConsumerStrategy(settings.strategy);
  message.setMaxSubscriberCount(settings.maxSubscriberCount);
  message.setParkedMessageCount(String(info.parked));
  return message;
}

function connectionInfo(info: ConnectionInfo) {
  const message = new pb.SubscriptionInfo.ConnectionInfo();
  message.setUsername(info.username);
  message.setConnectionName(info.connectionName);
  message.setAverageItemsPerSecond(info.averagePerSecond);
  message.setTotalItems(String(info.total));
  message.setCountSinceLastMeasurement(String(info.sinceLast));
  message.setAvailableSlots(info.freeSlots);
  message.setInFlightMessages(info.inFlight);
  message.setObservedMeasurementsList(
    info.measurements.map(([key, value]) => {
      const measurement = new pb.SubscriptionInfo.Measurement();
      measurement.setKey(key);
      measurement.setValue(String(value));
      return measurement;
    }),
  );
  return message;
}

export function infoResponse(info: GroupInfo): Buffer {
  const response = new pb.GetInfoResp();
  response.setSubscriptionInfo(subscriptionInfo(info));
  return Buffer.from(response.serializeBinary());
}

export function listResponse(infos: readonly GroupInfo[]): Buffer {
  const response = new pb.ListResp();
  response.setSubscriptionsList(infos.map(subscriptionInfo));
  return Buffer.from(response.serializeBinary());
}
