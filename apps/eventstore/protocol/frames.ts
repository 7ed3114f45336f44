import { delimited, delimitedSize, varintSize, writeVarint, WireReader } from './wire.js';

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

/** Encodes `ReadResp { event { commit_position, event { … } } }` with its gRPC header. */
export function encodeEventFrame(
  event: ProposedEvent,
  stream: string,
  revision: number,
  position: number,
  createdTicks: string,
): EventFrame {
  return encodeEventFrames([event], stream, revision, position, createdTicks)[0]!;
}

/** Every recorded event begins with its id, as `id { string }`: a field of 38 bytes that holds one of 36. */
export const ID_FIELD = 40;

/**
 * Frames of events that follow each other in a stream and in the log, views of one piece of memory: that costs half of
 * what a buffer for each does.
 * @param revision of the first event, as `position`
 * @param createdTicks 100-nanosecond units since 1970, decimal text
 */
export function encodeEventFrames(
  events: readonly ProposedEvent[],
  stream: string,
  revision: number,
  position: number,
  createdTicks: string,
): EventFrame[] {
  const identifier = delimited(0x12, delimited(0x1a, Buffer.from(stream)));
  // Events of one append are mostly of one type: what says so is encoded once.
  const labels: Buffer[] = [];
  const sizes: number[] = [];
  let total = 0;
  for (const [n, event] of events.entries()) {
    const former = events[n - 1];
    const same = former !== undefined && former.type === event.type && former.isJson === event.isJson;
    labels.push(same ? labels[n - 1]! : encodeLabels(event, createdTicks));
    const recorded =
      ID_FIELD +
      identifier.length +
      1 +
      revisionSize(revision + n) +
      2 * (1 + varintSize(position + n)) +
      labels[n]!.length +
      optionalSize(event.metadata) +
      optionalSize(event.data);
    sizes.push(recorded);
    total += 5 + delimitedSize(readEventSize(recorded, position + n));
  }

  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  return events.map((event, n) => {
    const start = at;
    const readEvent = readEventSize(sizes[n]!, position + n);
    bytes[at++] = 0;
    at = bytes.writeUInt32BE(delimitedSize(readEvent), at);
    bytes[at++] = 0x0a;
    at = writeVarint(bytes, at, readEvent);
    bytes[at++] = 0x18;
    at = writeVarint(bytes, at, position + n);
    bytes[at++] = 0x0a;
    at = writeVarint(bytes, at, sizes[n]!);
    bytes[at++] = 0x0a;
    bytes[at++] = 38;
    bytes[at++] = 0x12;
    bytes[at++] = 36;
    at += bytes.write(event.id, at, 'latin1');
    bytes.set(identifier, at);
    at += identifier.length;
    bytes[at++] = 0x18;
    at = writeRevision(bytes, at, revision + n);
    bytes[at++] = 0x20;
    at = writeVarint(bytes, at, position + n);
    bytes[at++] = 0x28;
    at = writeVarint(bytes, at, position + n);
    bytes.set(labels[n]!, at);
    at += labels[n]!.length;
    at = writeOptional(bytes, at, 0x3a, event.metadata);
    at = writeOptional(bytes, at, 0x42, event.data);
    return bytes.subarray(start, at);
  });
}

function readEventSize(recorded: number, position: number): number {
  return 1 + varintSize(position) + delimitedSize(recorded);
}

function revisionSize(revision: number): number {
  return revision === TOMBSTONE_REVISION ? TOMBSTONE_VARINT.length : varintSize(revision);
}

function writeRevision(buffer: Buffer, at: number, revision: number): number {
  if (revision === TOMBSTONE_REVISION) return at + TOMBSTONE_VARINT.copy(buffer, at);
  return writeVarint(buffer, at, revision);
}

/** A field that isn't there when it is empty. */
function optionalSize(bytes: Buffer): number {
  return bytes.length === 0 ? 0 : delimitedSize(bytes.length);
}

function writeOptional(buffer: Buffer, at: number, tag: number, bytes: Buffer): number {
  if (bytes.length === 0) return at;
  buffer[at++] = tag;
  at = writeVarint(buffer, at, bytes.length);
  buffer.set(bytes, at);
  return at + bytes.length;
}

/** The entries of the event's `map<string, string> metadata`. */
function encodeLabels({ type, isJson }: ProposedEvent, createdTicks: string): Buffer {
  const entry = (key: string, value: string) =>
    delimited(0x32, Buffer.concat([delimited(0x0a, Buffer.from(key)), delimited(0x12, Buffer.from(value))]));
  const content = isJson ? JSON_CONTENT : BINARY_CONTENT;
  return Buffer.concat([entry('type', type), entry('created', createdTicks), entry('content-type', content)]);
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
