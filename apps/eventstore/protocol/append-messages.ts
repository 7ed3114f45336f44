import type { ExpectedRevision } from '../core/expected-revision.js';
import { readMapEntry, type ProposedEvent } from './frames.js';
import { EMPTY_UUID, readUuid } from './uuid.js';
import { delimitedSize, grpcFrame, MalformedMessage, varintSize, WireReader, writeVarint } from './wire.js';

/** Field numbers of `AppendReq`, `BatchAppendReq` and their answers as in the protocol's streams.proto. */

export class MissingEventProperty extends Error {
  constructor(readonly property: 'type' | 'content-type') {
    super(`Required Metadata Property '${property}' is missing`);
  }
}

export type AppendOptions = { stream: string; expected: ExpectedRevision | undefined };

export type AppendMessage = { options: AppendOptions } | { event: ProposedEvent };

export function readAppendMessage(message: Buffer): AppendMessage {
  const reader = new WireReader(message);
  let result: AppendMessage | undefined;
  while (reader.next()) {
    if (reader.field === 1) result = { options: readAppendOptions(reader.message()) };
    else if (reader.field === 2) result = { event: readProposedEvent(reader.message()) };
    else reader.skip();
  }
  if (result === undefined) throw new MalformedMessage('AppendReq without content');
  return result;
}

/** Revisions are signed on the real server: the highest unsigned number says -1, no stream. */
const MINUS_ONE = 2 ** 64;

function exactRevision(revision: number): ExpectedRevision {
  return revision >= MINUS_ONE ? 'no_stream' : revision;
}

/** `Options` of Append, Delete and Tombstone alike. */
function readAppendOptions(reader: WireReader): AppendOptions {
  const options: AppendOptions = { stream: '', expected: undefined };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        options.stream = readStreamIdentifier(reader.message());
        break;
      case 2:
        options.expected = exactRevision(reader.varint());
        break;
      case 3:
        options.expected = 'no_stream';
        reader.skip();
        break;
      case 4:
        options.expected = 'any';
        reader.skip();
        break;
      case 5:
        options.expected = 'stream_exists';
        reader.skip();
        break;
      default:
        reader.skip();
    }
  }
  return options;
}

/** `DeleteReq` and `TombstoneReq` have the same shape: options in field 1. */
export function readDeleteMessage(message: Buffer): AppendOptions {
  const reader = new WireReader(message);
  while (reader.next()) {
    if (reader.field === 1) return readAppendOptions(reader.message());
    reader.skip();
  }
  throw new MalformedMessage('options are missing');
}

function readStreamIdentifier(reader: WireReader): string {
  let name = '';
  while (reader.next()) {
    if (reader.field === 3) name = reader.string();
    else reader.skip();
  }
  return name;
}

const NO_BYTES = Buffer.alloc(0);

/** @param former the event before it in the message */
function readProposedEvent(reader: WireReader, former?: ProposedEvent): ProposedEvent {
  let id = EMPTY_UUID;
  let type: string | undefined;
  let contentType: string | undefined;
  let data: Buffer = NO_BYTES;
  let metadata: Buffer = NO_BYTES;
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        id = readUuid(reader.message());
        break;
      case 2: {
        const [key, value] = readMapEntry(reader.message());
        if (key === 'type') type = value;
        else if (key === 'content-type') contentType = value;
        break;
      }
      case 3:
        metadata = reader.bytes();
        break;
      case 4:
        data = reader.bytes();
        break;
      default:
        reader.skip();
    }
  }
  if (type === undefined) throw new MissingEventProperty('type');
  if (contentType === undefined) throw new MissingEventProperty('content-type');
  if (id === EMPTY_UUID) throw new MalformedMessage('Empty eventId provided.');
  if (type === '') throw new MalformedMessage('Empty eventType provided.');
  if (type.includes('\0')) throw new MalformedMessage('Event type contains a NUL character.');
  // Events that stay in memory share one string.
  if (former?.type === type) type = former.type;
  return { id, type, isJson: contentType === 'application/json', data, metadata };
}

/** How large an append has grown, message by message. */
export class AppendSize {
  /** Bytes of all there is in its events. */
  total = 0;
  private data = 0;

  add(event: ProposedEvent): void {
    this.data += event.data.length;
    this.total += event.data.length + event.metadata.length + event.type.length * 2;
  }

  /** As the real server, which counts the data alone; only what no append should be is bounded by all of it. */
  exceeds(maximum: number): boolean {
    return this.data > maximum || this.total > LARGEST_RECORD;
  }
}

/** Bytes of the real server's largest log record, which bounds its messages and appends. */
export const LARGEST_RECORD = 16 * 1024 * 1024 - 10_000;

export type BatchAppendMessage = {
  correlationId: string;
  /** The UUID message as the client sent it, to be sent back. */
  rawCorrelationId: Buffer;
  options: (AppendOptions & { deadline: number | undefined; hasStream: boolean }) | undefined;
  events: ProposedEvent[];
  isFinal: boolean;
  /** Why the events can't be accepted. */
  problem: string | undefined;
};

/** @param now milliseconds since 1970, from which a relative deadline counts */
export function readBatchAppendMessage(message: Buffer, now: number): BatchAppendMessage {
  const reader = new WireReader(message);
  const result: BatchAppendMessage = {
    correlationId: '',
    rawCorrelationId: NO_BYTES,
    options: undefined,
    events: [],
    isFinal: false,
    problem: undefined,
  };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        result.rawCorrelationId = reader.bytes();
        result.correlationId = readUuid(new WireReader(result.rawCorrelationId));
        break;
      case 2:
        result.options = readBatchOptions(reader.message(), now);
        break;
      case 3: {
        const proposed = reader.message();
        try {
          result.events.push(readProposedEvent(proposed, result.events.at(-1)));
        } catch (error) {
          result.problem = error instanceof Error ? error.message : String(error);
        }
        break;
      }
      case 4:
        result.isFinal = reader.varint() !== 0;
        break;
      default:
        reader.skip();
    }
  }
  return result;
}

function readBatchOptions(reader: WireReader, now: number): NonNullable<BatchAppendMessage['options']> {
  const options: NonNullable<BatchAppendMessage['options']> = {
    stream: '',
    hasStream: false,
    expected: undefined,
    deadline: undefined,
  };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        options.stream = readStreamIdentifier(reader.message());
        options.hasStream = true;
        break;
      case 2:
        options.expected = exactRevision(reader.varint());
        break;
      case 3:
        options.expected = 'no_stream';
        reader.skip();
        break;
      case 4:
        options.expected = 'any';
        reader.skip();
        break;
      case 5:
        options.expected = 'stream_exists';
        reader.skip();
        break;
      case 6:
        options.deadline = readSeconds(reader.message());
        break;
      case 7:
        options.deadline = now + readSeconds(reader.message());
        break;
      default:
        reader.skip();
    }
  }
  return options;
}

/** A `Timestamp` or `Duration` in milliseconds. */
function readSeconds(reader: WireReader): number {
  let milliseconds = 0;
  while (reader.next()) {
    if (reader.field === 1) milliseconds += Number(reader.int64()) * 1_000;
    else if (reader.field === 2) milliseconds += Number(reader.int64()) / 1e6;
    else reader.skip();
  }
  return milliseconds;
}

/** Writes one message from tag and value pairs; lengths of nested parts come from the parts themselves. */
function compose(...parts: readonly (Buffer | undefined)[]): Buffer {
  return Buffer.concat(parts.filter((part) => part !== undefined));
}

function varintField(field: number, value: number): Buffer {
  const buffer = Buffer.allocUnsafe(1 + varintSize(value));
  buffer[0] = field << 3;
  writeVarint(buffer, 1, value);
  return buffer;
}

export function bytesField(field: number, bytes: Uint8Array): Buffer {
  const buffer = Buffer.allocUnsafe(delimitedSize(bytes.length));
  buffer[0] = (field << 3) | 2;
  const at = writeVarint(buffer, 1, bytes.length);
  buffer.set(bytes, at);
  return buffer;
}

const textField = (field: number, text: string) => bytesField(field, Buffer.from(text));
const EMPTY = NO_BYTES;

function positionMessage(position: number): Buffer {
  return compose(varintField(1, position), varintField(2, position));
}

/** `AppendResp { success }`; revision -1 says that there is still no stream. */
export function appendSuccess(revision: number, position: number): Buffer {
  const success = compose(
    revision < 0 ? bytesField(2, EMPTY) : varintField(1, revision),
    bytesField(3, positionMessage(position)),
  );
  return bytesField(1, success);
}

/** `expected_revision_20_6_0` of -1, which those clients have no other field for. */
const NO_STREAM_20_6 = Buffer.from('18ffffffffffffffffff01', 'hex');

/** `AppendResp { wrong_expected_version }` with the fields of today's clients and those of 20.6. */
export function appendWrongExpectedVersion(expected: ExpectedRevision, current: number): Buffer {
  const currentFields =
    current < 0
      ? compose(bytesField(2, EMPTY), bytesField(7, EMPTY))
      : compose(varintField(1, current), varintField(6, current));
  const expectedFields = () => {
    switch (expected) {
      case 'any':
        return compose(bytesField(4, EMPTY), bytesField(9, EMPTY));
      case 'stream_exists':
        return compose(bytesField(5, EMPTY), bytesField(10, EMPTY));
      case 'no_stream':
        return compose(bytesField(11, EMPTY), NO_STREAM_20_6);
      default:
        return compose(varintField(3, expected), varintField(8, expected));
    }
  };
  return bytesField(2, compose(currentFields, expectedFields()));
}

/** `DeleteResp` and `TombstoneResp`. */
export function deleteResponse(position: number): Buffer {
  return bytesField(1, positionMessage(position));
}

export type BatchError =
  | { kind: 'wrong_expected_version'; expected: ExpectedRevision; current: number }
  | { kind: 'stream_deleted' }
  | { kind: 'access_denied' }
  | { kind: 'timeout' }
  | { kind: 'max_append_size'; maximum: number }
  | { kind: 'bad_request'; message: string };

/** A framed `BatchAppendResp { success }`. */
export function batchSuccess(rawCorrelationId: Buffer, stream: string, revision: number, position: number): Buffer {
  const success = compose(
    revision < 0 ? bytesField(2, EMPTY) : varintField(1, revision),
    bytesField(3, positionMessage(position)),
  );
  return grpcFrame(
    compose(bytesField(1, rawCorrelationId), bytesField(3, success), bytesField(4, textField(3, stream))),
  );
}

/** A framed `BatchAppendResp { error }`: a google.rpc.Status whose detail names the exception. */
export function batchError(rawCorrelationId: Buffer, stream: string, error: BatchError): Buffer {
  const { code, message, type, detail } = describe(stream, error);
  const status = compose(
    varintField(1, code),
    textField(2, message),
    bytesField(3, compose(textField(1, `type.googleapis.com/event_store.client.${type}`), bytesField(2, detail))),
  );
  return grpcFrame(
    compose(bytesField(1, rawCorrelationId), bytesField(2, status), bytesField(4, textField(3, stream))),
  );
}

/** Codes are those of google.rpc.Code. */
function describe(stream: string, error: BatchError): { code: number; message: string; type: string; detail: Buffer } {
  switch (error.kind) {
    case 'wrong_expected_version':
      return {
        code: 6,
        message: 'WrongExpectedVersion',
        type: 'WrongExpectedVersion',
        detail: compose(
          error.current < 0 ? bytesField(2, EMPTY) : varintField(1, error.current),
          expectedPosition(error.expected),
        ),
      };
    case 'stream_deleted':
      return { code: 5, message: 'StreamDeleted', type: 'StreamDeleted', detail: bytesField(1, textField(3, stream)) };
    case 'access_denied':
      return { code: 7, message: 'AccessDenied', type: 'AccessDenied', detail: EMPTY };
    case 'timeout':
      return { code: 4, message: 'Timeout', type: 'Timeout', detail: EMPTY };
    case 'max_append_size':
      return {
        code: 3,
        message: 'MaximumAppendSizeExceeded',
        type: 'MaximumAppendSizeExceeded',
        detail: varintField(1, error.maximum),
      };
    case 'bad_request':
      return { code: 3, message: 'BadRequest', type: 'BadRequest', detail: textField(1, error.message) };
  }
}

function expectedPosition(expected: ExpectedRevision): Buffer {
  switch (expected) {
    case 'any':
      return bytesField(4, EMPTY);
    case 'stream_exists':
      return bytesField(5, EMPTY);
    case 'no_stream':
      return bytesField(6, EMPTY);
    default:
      return varintField(3, expected);
  }
}
