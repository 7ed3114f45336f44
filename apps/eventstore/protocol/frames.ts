import { delimitedSize, varintSize, writeVarint, WireReader } from './wire.js';

/**
 * An event as it is stored and sent: the whole gRPC message (5 bytes of header and a `ReadResp`) is encoded once, when
 * the event is written, and passed through ever after. `data` is the last field, so the payload is the frame's tail.
 */
export type EventFrame = Buffer;

export type ProposedEvent = {
  id: string;
  type: string;
  isJson: boolean;
  data: Buffer;
  metadata: Buffer;
};

/** A tombstone stands at the protocol's highest revision (2^63 - 1), which no JavaScript number holds. */
export const TOMBSTONE_REVISION = Number.MAX_SAFE_INTEGER;

/** A revision as the protocol writes it in links. */
export function revisionText(revision: number): string {
  return revision === TOMBSTONE_REVISION ? '9223372036854775807' : String(revision);
}

const TOMBSTONE_VARINT = Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);

const JSON_CONTENT = 'application/json';
const BINARY_CONTENT = 'application/octet-stream';

/**
 * Encodes `ReadResp { event { commit_position, event { … } } }` with its gRPC header.
 * @param createdTicks 100-nanosecond units since 1970, decimal text
 */
export function encodeEventFrame(
  event: ProposedEvent,
  stream: string,
  revision: number,
  position: number,
  createdTicks: string,
): EventFrame {
  const streamLength = Buffer.byteLength(stream);
  const typeLength = Buffer.byteLength(event.type);
  const content = event.isJson ? JSON_CONTENT : BINARY_CONTENT;
  const tombstone = revision === TOMBSTONE_REVISION;

  const streamField = delimitedSize(streamLength);
  const typeEntry = 6 + delimitedSize(typeLength);
  const createdEntry = 9 + delimitedSize(createdTicks.length);
  const contentEntry = 14 + delimitedSize(content.length);
  const positionSize = varintSize(position);
  const recorded =
    40 +
    delimitedSize(streamField) +
    1 +
    (tombstone ? TOMBSTONE_VARINT.length : varintSize(revision)) +
    2 * (1 + positionSize) +
    delimitedSize(typeEntry) +
    delimitedSize(createdEntry) +
    delimitedSize(contentEntry) +
    (event.metadata.length > 0 ? delimitedSize(event.metadata.length) : 0) +
    (event.data.length > 0 ? delimitedSize(event.data.length) : 0);
  const readEvent = 1 + positionSize + delimitedSize(recorded);
  const message = delimitedSize(readEvent);

  const frame = Buffer.allocUnsafe(5 + message);
  frame[0] = 0;
  let at = frame.writeUInt32BE(message, 1);
  frame[at++] = 0x0a;
  at = writeVarint(frame, at, readEvent);
  frame[at++] = 0x18;
  at = writeVarint(frame, at, position);
  frame[at++] = 0x0a;
  at = writeVarint(frame, at, recorded);
  // id { string }
  frame[at++] = 0x0a;
  frame[at++] = 38;
  frame[at++] = 0x12;
  frame[at++] = 36;
  at += frame.write(event.id, at, 'latin1');
  // stream_identifier { stream_name }
  frame[at++] = 0x12;
  at = writeVarint(frame, at, streamField);
  frame[at++] = 0x1a;
  at = writeVarint(frame, at, streamLength);
  at += frame.write(stream, at);
  frame[at++] = 0x18;
  if (tombstone) at += TOMBSTONE_VARINT.copy(frame, at);
  else at = writeVarint(frame, at, revision);
  frame[at++] = 0x20;
  at = writeVarint(frame, at, position);
  frame[at++] = 0x28;
  at = writeVarint(frame, at, position);
  at = writeEntry(frame, at, 'type', typeEntry, event.type, typeLength);
  at = writeEntry(frame, at, 'created', createdEntry, createdTicks, createdTicks.length);
  at = writeEntry(frame, at, 'content-type', contentEntry, content, content.length);
  if (event.metadata.length > 0) {
    frame[at++] = 0x3a;
    at = writeVarint(frame, at, event.metadata.length);
    at += event.metadata.copy(frame, at);
  }
  if (event.data.length > 0) {
    frame[at++] = 0x42;
    at = writeVarint(frame, at, event.data.length);
    event.data.copy(frame, at);
  }
  return frame;
}

function writeEntry(frame: Buffer, at: number, key: string, size: number, value: string, valueLength: number): number {
  frame[at++] = 0x32;
  at = writeVarint(frame, at, size);
  frame[at++] = 0x0a;
  frame[at++] = key.length;
  at += frame.write(key, at, 'latin1');
  frame[at++] = 0x12;
  at = writeVarint(frame, at, valueLength);
  return at + frame.write(value, at);
}

export type DecodedFrame = ProposedEvent & { stream: string; createdTicks: string; recorded: Buffer };

/** Takes a frame apart again: for metadata, links and clients that want UUIDs in the structured form. */
export function decodeEventFrame(frame: EventFrame): DecodedFrame {
  const decoded: DecodedFrame = {
    id: '',
    type: '',
    isJson: false,
    data: Buffer.alloc(0),
    metadata: Buffer.alloc(0),
    stream: '',
    createdTicks: '0',
    recorded: Buffer.alloc(0),
  };
  const outer = new WireReader(frame, 5);
  while (outer.next()) {
    if (outer.field !== 1) {
      outer.skip();
      continue;
    }
    const readEvent = outer.message();
    while (readEvent.next()) {
      if (readEvent.field !== 1) {
        readEvent.skip();
        continue;
      }
      decoded.recorded = readEvent.bytes();
      readRecorded(new WireReader(decoded.recorded), decoded);
    }
  }
  return decoded;
}

function readRecorded(reader: WireReader, into: DecodedFrame): void {
  while (reader.next()) {
    switch (reader.field) {
      case 1: {
        const id = reader.message();
        while (id.next()) {
          if (id.field === 2) into.id = id.string();
          else id.skip();
        }
        break;
      }
      case 2: {
        const identifier = reader.message();
        while (identifier.next()) {
          if (identifier.field === 3) into.stream = identifier.string();
          else identifier.skip();
        }
        break;
      }
      case 6: {
        const [key, value] = readMapEntry(reader.message());
        if (key === 'type') into.type = value;
        else if (key === 'created') into.createdTicks = value;
        else if (key === 'content-type') into.isJson = value === JSON_CONTENT;
        break;
      }
      case 7:
        into.metadata = reader.bytes();
        break;
      case 8:
        into.data = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
}

/** One entry of a `map<string, string>`. */
export function readMapEntry(entry: WireReader): [key: string, value: string] {
  let key = '';
  let value = '';
  while (entry.next()) {
    if (entry.field === 1) key = entry.string();
    else if (entry.field === 2) value = entry.string();
    else entry.skip();
  }
  return [key, value];
}

/** `ReadResp { checkpoint { commit_position, prepare_position } }` with its gRPC header. */
export function encodeCheckpointFrame(position: number): Buffer {
  const size = 2 * (1 + varintSize(position));
  const frame = Buffer.allocUnsafe(5 + 2 + size);
  frame[0] = 0;
  let at = frame.writeUInt32BE(2 + size, 1);
  frame[at++] = 0x1a;
  frame[at++] = size;
  frame[at++] = 0x08;
  at = writeVarint(frame, at, position);
  frame[at++] = 0x10;
  writeVarint(frame, at, position);
  return frame;
}
