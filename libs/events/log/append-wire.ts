/**
 * `BatchAppendReq` and `BatchAppendResp` of the protocol's streams.proto, written and read by hand: the client's generated
 * stubs take longer for the two events of a comment than everything else on the way of a command.
 */
import { Buffer } from 'node:buffer';
import type { ExpectedState } from './types.js';

/** An event as it goes to the store: bytes of JSON. */
export interface EncodedEvent {
  /** A UUID in its usual spelling. */
  readonly id: string;
  readonly type: string;
  readonly data: Uint8Array;
  readonly metadata: Uint8Array;
}

/** What the store says of one append. */
export type AppendAnswer = { readonly correlationId: string } & (
  | { readonly revision: bigint; readonly position: bigint }
  /** `error` is the last part of the exception's name, as in `WrongExpectedVersion`; `current` goes with that one. */
  | { readonly error: string; readonly message: string; readonly current: bigint | null }
);

const DELIMITED = 2;
const NO_BYTES = new Uint8Array();
const UUID_BYTES = 36;

function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) size++;
  return size;
}
/** Of a field with a one-byte tag. */
const sizeOf = (length: number): number => 1 + varintSize(length) + length;

class Writer {
  #at = 0;
  constructor(readonly buffer: Buffer) {}

  /** The tag of a field, and the length of what will be written into it. */
  open(field: number, length: number): void {
    this.buffer[this.#at++] = (field << 3) | DELIMITED;
    this.#varint(length);
  }
  number(field: number, value: number): void {
    this.buffer[this.#at++] = field << 3;
    this.#varint(value);
  }
  bytes(field: number, bytes: Uint8Array): void {
    this.open(field, bytes.length);
    this.buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }
  /** `UUID { string }` */
  uuid(field: number, id: string): void {
    this.open(field, sizeOf(UUID_BYTES));
    this.open(2, UUID_BYTES);
    this.#at += this.buffer.write(id, this.#at, UUID_BYTES, 'latin1');
  }
  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      const next = Math.floor(rest / 128);
      this.buffer[this.#at++] = (rest - next * 128) | 0x80;
      rest = next;
    }
    this.buffer[this.#at++] = rest;
  }
}

/** One entry of a map of strings. */
function entry(key: string, value: string): Buffer {
  const [k, v] = [Buffer.from(key), Buffer.from(value)];
  const writer = new Writer(Buffer.allocUnsafe(sizeOf(k.length) + sizeOf(v.length)));
  writer.bytes(1, k);
  writer.bytes(2, v);
  return writer.buffer;
}

const CONTENT_TYPE = entry('content-type', 'application/json');
/** There are as many as the catalogue has types. */
const typeEntries = new Map<string, Buffer>();
function typeEntry(type: string): Buffer {
  let known = typeEntries.get(type);
  if (!known) typeEntries.set(type, (known = entry('type', type)));
  return known;
}

const EXPECTED_FIELD = { no_stream: 3, any: 4, stream_exists: 5 } as const;

/** The whole append in one message. @param deadline milliseconds since 1970 */
export function encodeAppend(
  correlationId: string,
  stream: string,
  expected: ExpectedState,
  deadline: number,
  events: readonly EncodedEvent[],
): Buffer {
  const name = Buffer.from(stream);
  const seconds = Math.floor(deadline / 1000);
  const nanoseconds = Math.round(deadline - seconds * 1000) * 1_000_000;
  const revision = typeof expected === 'bigint' ? Number(expected) : undefined;
  const timestamp = 1 + varintSize(seconds) + 1 + varintSize(nanoseconds);
  const options =
    sizeOf(sizeOf(name.length)) + (revision === undefined ? 2 : 1 + varintSize(revision)) + sizeOf(timestamp);
  const types = events.map(({ type }) => typeEntry(type));
  const sizes = events.map(
    ({ data, metadata }, i) =>
      sizeOf(sizeOf(UUID_BYTES)) +
      sizeOf(types[i]!.length) +
      sizeOf(CONTENT_TYPE.length) +
      sizeOf(metadata.length) +
      sizeOf(data.length),
  );
  const total = sizes.reduce((sum, size) => sum + sizeOf(size), sizeOf(sizeOf(UUID_BYTES)) + sizeOf(options) + 2);

  const writer = new Writer(Buffer.allocUnsafe(total));
  writer.uuid(1, correlationId);
  writer.open(2, options);
  writer.open(1, sizeOf(name.length));
  writer.bytes(3, name);
  if (revision !== undefined) writer.number(2, revision);
  else writer.bytes(EXPECTED_FIELD[expected as keyof typeof EXPECTED_FIELD], NO_BYTES);
  writer.open(6, timestamp);
  writer.number(1, seconds);
  writer.number(2, nanoseconds);
  for (const [i, { id, data, metadata }] of events.entries()) {
    writer.open(3, sizes[i]!);
    writer.uuid(1, id);
    writer.bytes(2, types[i]!);
    writer.bytes(2, CONTENT_TYPE);
    writer.bytes(3, metadata);
    writer.bytes(4, data);
  }
  // It is the last message of its append.
  writer.number(4, 1);
  return writer.buffer;
}

/** The fields of a message, with numbers or bytes. @throws RangeError for what is no message */
function* fieldsOf(message: Buffer): Generator<[field: number, number: bigint, bytes: Buffer]> {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++];
      if (byte === undefined || shift > 63n) throw new RangeError('A message of the event store is cut off');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
  };
  while (at < message.length) {
    const tag = Number(varint());
    const field = tag >> 3;
    switch (tag & 7) {
      case 0:
        yield [field, varint(), Buffer.of()];
        break;
      case 1:
        at += 8;
        break;
      case DELIMITED: {
        const end = Number(varint()) + at;
        if (end > message.length) throw new RangeError('A message of the event store is cut off');
        yield [field, 0n, message.subarray(at, end)];
        at = end;
        break;
      }
      case 5:
        at += 4;
        break;
      default:
        throw new RangeError('A message of the event store is not of its protocol');
    }
  }
}

function uuidOf(message: Buffer): string {
  let [most, least] = [0n, 0n];
  for (const [field, , bytes] of fieldsOf(message)) {
    if (field === 2) return bytes.toString('latin1').toLowerCase();
    if (field === 1)
      for (const [half, bits] of fieldsOf(bytes)) {
        if (half === 1) most = bits;
        else least = bits;
      }
  }
  const hex = [most, least].map((bits) => bits.toString(16).padStart(16, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** @throws RangeError for what is no answer */
export function decodeAnswer(message: Buffer): AppendAnswer {
  let correlationId = '';
  let result: { revision: bigint; position: bigint } | { error: string; message: string; current: bigint | null } = {
    error: 'Unknown',
    message: 'the store said nothing',
    current: null,
  };
  for (const [field, , bytes] of fieldsOf(message)) {
    if (field === 1) correlationId = uuidOf(bytes);
    else if (field === 2) result = errorOf(bytes);
    else if (field === 3) result = successOf(bytes);
  }
  return { correlationId, ...result };
}

function successOf(message: Buffer): { revision: bigint; position: bigint } {
  const success = { revision: 0n, position: 0n };
  for (const [field, number, bytes] of fieldsOf(message)) {
    if (field === 1) success.revision = number;
    else if (field === 2) success.revision = -1n;
    else if (field === 3) for (const [part, commit] of fieldsOf(bytes)) if (part === 1) success.position = commit;
  }
  return success;
}

/** A `google.rpc.Status` whose detail names the exception. */
function errorOf(status: Buffer): { error: string; message: string; current: bigint | null } {
  const found = { error: 'Unknown', message: '', current: null as bigint | null };
  for (const [field, , bytes] of fieldsOf(status)) {
    if (field === 2) found.message = bytes.toString('utf8');
    if (field !== 3) continue;
    let detail: Buffer = Buffer.of();
    for (const [part, , value] of fieldsOf(bytes)) {
      if (part === 1) found.error = value.toString('utf8').split('.').at(-1)!;
      else if (part === 2) detail = value;
    }
    if (found.error === 'WrongExpectedVersion')
      for (const [part, revision] of fieldsOf(detail)) if (part === 1) found.current = revision;
  }
  return found;
}
