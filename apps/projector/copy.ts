import type { Writable } from 'node:stream';
import type pg from 'pg';

/** What of node-postgres' connection a query drives by itself; its types leave it out. */
interface Wire {
  readonly stream: Writable;
  query(text: string): void;
  endCopyFrom(): void;
}

const COPY_DATA = 0x64;
/** Of one message: the connection's own writer would keep a buffer of the size of the largest. */
const CHUNK = 64 * 1024;
/** CopyData's tag and length come before the rows. */
const FRAME = 5;
const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const TRAILER = Buffer.from([0xff, 0xff]);

/** A column as COPY's binary format has it. */
export interface CopyColumn {
  readonly property: string;
  /** Postgres type, as in `uuid[]`. */
  readonly type: string;
}

interface Chunk {
  readonly bytes: Buffer;
  used: number;
  /** Where its rows begin. */
  readonly starts: number[];
  removed: Set<number> | undefined;
}

function framed(parts: readonly Buffer[]): Buffer {
  const payload = parts.reduce((sum, { length }) => sum + length, 0);
  const message = Buffer.concat([Buffer.alloc(FRAME), ...parts], FRAME + payload);
  message[0] = COPY_DATA;
  message.writeInt32BE(4 + payload, 1);
  return message;
}

/**
 * Collects rows in COPY's binary format, several times cheaper for the server to read than text: it parses nothing. Each row
 * becomes bytes at once; thousands of objects that live until they are sent would cost the garbage collector more.
 *
 * What it can't write (a number out of range, an id that is none) is a TypeError: the statement for single rows says more.
 */
export class CopyRows {
  readonly #chunks: Chunk[] = [];
  /** Rows of all chunks before the last one. */
  #before: number[] = [];
  #writer = new Writer();
  #count = 0;

  readonly #kinds: Int8Array;
  /** The last id of each column, and where its bytes are in the chunk: neighbours are mostly about the same things. */
  readonly #ids: (string | undefined)[];
  readonly #idsAt: Int32Array;

  constructor(private readonly columns: readonly CopyColumn[]) {
    this.#ids = columns.map(() => undefined);
    this.#idsAt = new Int32Array(columns.length);
    this.#kinds = Int8Array.from(columns, ({ type }) => (KIND as Readonly<Record<string, number>>)[type] ?? -1);
  }

  /** Returns which row it is, for {@link remove}. */
  add(row: Readonly<Record<string, unknown>>): number {
    let chunk = this.#chunks.at(-1);
    if (!chunk || chunk.used > CHUNK - 1024) {
      this.#before.push(this.#count);
      this.#chunks.push(
        (chunk = { bytes: Buffer.allocUnsafeSlow(CHUNK), used: FRAME, starts: [], removed: undefined }),
      );
      this.#ids.fill(undefined);
    }
    const writer = this.#writer;
    writer.begin(chunk.bytes, chunk.used);
    writer.int16(this.columns.length);
    for (let i = 0; i < this.columns.length; i++) {
      const { property, type } = this.columns[i]!;
      const value = row[property];
      if (value === null || value === undefined) writer.int32(-1);
      else if (this.#kinds[i] !== KIND.uuid) writer.value(this.#kinds[i]!, type, value);
      else if (value !== this.#ids[i] || !writer.repeat(chunk.bytes, this.#idsAt[i]!, ID_BYTES)) {
        writer.value(KIND.uuid, type, value);
        this.#ids[i] = value as string;
        this.#idsAt[i] = writer.at - ID_BYTES;
      }
    }
    if (writer.bytes !== chunk.bytes) {
      // It did not fit: what was written of it has moved to a chunk of its own, which begins with it.
      this.#before.push(this.#count);
      this.#chunks.push((chunk = { bytes: writer.bytes, used: FRAME, starts: [], removed: undefined }));
      this.#ids.fill(undefined);
    }
    chunk.starts.push(chunk.used);
    chunk.used = writer.at;
    return this.#count++;
  }

  remove(row: number): void {
    let index = this.#before.length - 1;
    while (this.#before[index]! > row) index--;
    const chunk = this.#chunks[index]!;
    (chunk.removed ??= new Set()).add(row - this.#before[index]!);
  }

  /** CopyData messages of all rows; none when there are no rows. */
  messages(): Buffer[] {
    const filled = this.#chunks.filter(({ starts, removed }) => starts.length > (removed?.size ?? 0));
    if (filled.length === 0) return [];
    return [framed([HEADER]), ...filled.map((chunk) => messageOf(chunk)), framed([TRAILER])];
  }
}

function messageOf({ bytes, used, starts, removed }: Chunk): Buffer {
  if (removed)
    return framed(starts.flatMap((start, i) => (removed.has(i) ? [] : [bytes.subarray(start, starts[i + 1] ?? used)])));
  bytes[0] = COPY_DATA;
  bytes.writeInt32BE(used - 1, 1);
  return bytes.subarray(0, used);
}

/** Postgres text holds neither NUL nor half a surrogate pair; an author's slip of this kind must not stop a projection. */
const storable = (text: string): string =>
  text.replace(/\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD');

/** JSON text that Postgres takes. `JSON.stringify` escapes exactly what it would refuse; the escapes are cheap to find. */
export function jsonText(value: unknown): string {
  const json = JSON.stringify(value);
  if (!json.includes('\\u') || !/\\u(?:0000|d[89a-f])/.test(json)) return json;
  return JSON.stringify(value, (_, part: unknown) => (typeof part === 'string' ? storable(part) : part));
}

/** Value of a hexadecimal digit; −1 of any other character. */
const HEX = new Int8Array(65_536).fill(-1);
for (let i = 0; i < 16; i++)
  for (const digit of [i.toString(16), i.toString(16).toUpperCase()]) HEX[digit.charCodeAt(0)] = i;
/** Where the bytes of an id begin in its text. */
const PAIRS = Uint8Array.of(0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34);
const DASH = 0x2d;
/** Its length comes before it. */
const ID_BYTES = 20;
const UUID_OID = 2950;
/** Postgres counts from the year 2000. */
const EPOCH_MS = 946_684_800_000;
const TWO_32 = 4_294_967_296;
/** Up to here the call into the runtime would cost more than looking at each character. */
const SHORT = 128;

/** Types that can be written; a number for each, since comparing names would be a good part of the work. */
const KIND = {
  uuid: 0,
  text: 1,
  timestamptz: 2,
  integer: 3,
  bigint: 4,
  'double precision': 5,
  boolean: 6,
  jsonb: 7,
  'uuid[]': 8,
} as const;

/** Writes values in Postgres' binary formats, each after its length. */
class Writer {
  bytes: Buffer = Buffer.alloc(0);
  at = 0;
  #rowAt = 0;

  /** A row begins here; a larger buffer takes its place when it does not fit. */
  begin(bytes: Buffer, at: number): void {
    this.bytes = bytes;
    this.at = this.#rowAt = at;
  }

  /** @param kind of the type, its place in {@link KIND} */
  value(kind: number, type: string, value: unknown): void {
    switch (kind) {
      case KIND.uuid:
        this.#room(20);
        return this.#uuid(value as string);
      case KIND.text:
        return this.#text(value as string);
      case KIND.timestamptz:
        return this.#int64(
          8,
          value instanceof Date ? (value.getTime() - EPOCH_MS) * 1000 : microseconds(value as string),
        );
      case KIND.integer:
        if (!Number.isInteger(value) || (value as number) !== ((value as number) | 0)) throw unwritable(type, value);
        this.int32(4);
        return this.int32(value as number);
      case KIND.bigint: {
        const number = Number(value);
        if (Number.isSafeInteger(number)) return this.#int64(8, number);
        this.#room(12);
        this.int32(8);
        this.at = this.bytes.writeBigInt64BE(BigInt(value as string), this.at);
        return;
      }
      case KIND['double precision']:
        this.#room(12);
        this.int32(8);
        this.at = this.bytes.writeDoubleBE(value as number, this.at);
        return;
      case KIND.boolean:
        this.#room(5);
        this.int32(1);
        this.bytes[this.at++] = value === true ? 1 : 0;
        return;
      case KIND.jsonb:
        return this.#utf8(jsonText(value), 1);
      case KIND['uuid[]']:
        return this.#uuids(value as string[]);
      default:
        throw unwritable(type, value);
    }
  }

  /** Writes bytes again; false when it can't, as there is no room in their buffer or the row has left it. */
  repeat(of: Buffer, from: number, count: number): boolean {
    const { bytes, at } = this;
    if (bytes !== of || at + count > bytes.length) return false;
    for (let i = 0; i < count; i++) bytes[at + i] = bytes[from + i]!;
    this.at = at + count;
    return true;
  }

  int16(value: number): void {
    this.#room(2);
    this.bytes[this.at++] = value >> 8;
    this.bytes[this.at++] = value;
  }

  int32(value: number): void {
    this.#room(4);
    const { bytes, at } = this;
    bytes[at] = value >> 24;
    bytes[at + 1] = value >> 16;
    bytes[at + 2] = value >> 8;
    bytes[at + 3] = value;
    this.at = at + 4;
  }

  #int64(length: number, value: number): void {
    if (!Number.isSafeInteger(value)) throw unwritable('bigint', value);
    this.int32(length);
    const high = Math.floor(value / TWO_32);
    this.int32(high);
    this.int32(value - high * TWO_32);
  }

  #uuid(text: string): void {
    if (typeof text !== 'string' || text.length !== 36) throw unwritable('uuid', text);
    // Below zero when anything is wrong: other characters in these places than the dash leave bits behind.
    let wrong = -(
      (text.charCodeAt(8) ^ DASH) |
      (text.charCodeAt(13) ^ DASH) |
      (text.charCodeAt(18) ^ DASH) |
      (text.charCodeAt(23) ^ DASH)
    );
    this.int32(16);
    const { bytes, at } = this;
    for (let i = 0; i < 16; i++) {
      const pair = PAIRS[i]!;
      const byte = (HEX[text.charCodeAt(pair)]! << 4) | HEX[text.charCodeAt(pair + 1)]!;
      wrong |= byte;
      bytes[at + i] = byte;
    }
    if (wrong < 0) throw unwritable('uuid', text);
    this.at = at + 16;
  }

  #uuids(ids: readonly string[]): void {
    this.#room(24 + 20 * ids.length);
    this.int32(ids.length === 0 ? 12 : 20 + 20 * ids.length);
    this.int32(ids.length === 0 ? 0 : 1);
    this.int32(0);
    this.int32(UUID_OID);
    if (ids.length === 0) return;
    this.int32(ids.length);
    this.int32(1);
    for (const id of ids) this.#uuid(id);
  }

  #text(text: string): void {
    if (typeof text !== 'string') throw unwritable('text', text);
    if (text.length > SHORT) return this.#utf8(text, 0);
    this.#room(4 + text.length);
    const { bytes } = this;
    const from = this.at + 4;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127 || code === 0) return this.#utf8(text, 0);
      bytes[from + i] = code;
    }
    this.int32(text.length);
    this.at = from + text.length;
  }

  /** @param version of jsonb's format, a byte before the text; 0 for none */
  #utf8(text: string, version: number): void {
    const storable = text.includes('\0') ? text.replaceAll('\0', '\uFFFD') : text;
    this.#room(5 + 3 * storable.length);
    const lengthAt = this.at;
    this.at += 4;
    if (version > 0) this.bytes[this.at++] = version;
    this.at += this.bytes.write(storable, this.at);
    this.bytes.writeInt32BE(this.at - lengthAt - 4, lengthAt);
  }

  #room(wanted: number): void {
    if (this.at + wanted <= this.bytes.length) return;
    const row = this.bytes.subarray(this.#rowAt, this.at);
    const larger = Buffer.allocUnsafeSlow(Math.max(CHUNK, 2 * (FRAME + row.length + wanted)));
    row.copy(larger, FRAME);
    this.bytes = larger;
    this.at = FRAME + row.length;
    this.#rowAt = FRAME;
  }
}

const unwritable = (type: string, value: unknown): TypeError =>
  new TypeError(`${typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : String(value)} is no ${type}`);

let lastTime = '';
let lastMicroseconds = 0;

/** Of an ISO 8601 time, since the year 2000. Milliseconds at the finest: what is finer is not for us to round. */
function microseconds(time: string): number {
  // Times come in order, often the same one several times.
  if (time === lastTime) return lastMicroseconds;
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/.test(time) ? Date.parse(time) : NaN;
  if (Number.isNaN(ms)) throw unwritable('timestamptz', time);
  lastTime = time;
  lastMicroseconds = (ms - EPOCH_MS) * 1000;
  return lastMicroseconds;
}

/** `COPY … FROM STDIN` of rows that are all there, as a query for node-postgres' queue. */
class CopyIn implements pg.Submittable {
  /** Set by node-postgres, which keeps a timer, and with it the rows, until it is called. */
  callback: ((error?: Error) => void) | undefined;

  constructor(
    private readonly text: string,
    private readonly messages: readonly Buffer[],
    private readonly settle: (error: Error | undefined) => void,
  ) {}

  submit(connection: unknown): void {
    (connection as Wire).query(this.text);
  }

  handleCopyInResponse(wire: Wire): void {
    for (const message of this.messages) wire.stream.write(message);
    wire.endCopyFrom();
  }

  /** The last that node-postgres tells of a query, also of one that the server refused. */
  handleError(error: Error): void {
    this.#end(error);
  }

  handleReadyForQuery(): void {
    this.#end(undefined);
  }

  #end(error: Error | undefined): void {
    this.callback?.(error);
    this.settle(error);
  }

  handleRowDescription(): void {}
  handleDataRow(): void {}
  handlePortalSuspended(): void {}
  handleEmptyQuery(): void {}
  handleCommandComplete(): void {}
}

/**
 * Writes rows by COPY, several times cheaper for the server than inserting them.
 *
 * @param text the `COPY … FROM STDIN` statement, in its binary format
 */
export const copyIn = (client: pg.Client, text: string, messages: readonly Buffer[]): Promise<void> =>
  new Promise((resolve, reject) => {
    client.query(new CopyIn(text, messages, (error) => (error ? reject(error) : resolve())));
  });
