import type { Writable } from 'node:stream';
import type pg from 'pg';
import { uuidWords } from '../protocol/uuid.js';

const QUERY = 0x51;
const COPY_DATA = 0x64;
const COPY_DONE = 0x63;
/** Signature, flags and length of the header's extension. */
const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
/** Postgres counts from 2000. */
const POSTGRES_EPOCH_MS = Date.UTC(2000, 0);
const INT8_OID = 20;
const KEPT_BYTES = 1024 * 1024;

/**
 * Rows for `COPY … FROM STDIN (FORMAT binary)`, written as Postgres reads them and sent in one piece with the statements
 * that take them: one transaction and one round trip. Compared with parameters of an INSERT, nothing becomes text, and
 * no buffers come and go: this one is used again for the next rows.
 */
export class BinaryCopy {
  private buffer = Buffer.allocUnsafe(64 * 1024);
  private at = 0;
  private message = 0;
  private readonly words = new Uint32Array(4);

  /** @param statements one COPY for each `table`, separated by `;` */
  begin(statements: string): void {
    this.at = 0;
    this.room(Buffer.byteLength(statements) + 6);
    this.open(QUERY);
    this.at += this.buffer.write(statements, this.at);
    this.buffer[this.at++] = 0;
    this.close();
  }

  beginTable(): void {
    this.room(64);
    this.open(COPY_DATA);
    this.buffer.set(HEADER, this.at);
    this.at += HEADER.length;
  }

  endTable(): void {
    this.room(16);
    this.at = this.buffer.writeInt16BE(-1, this.at);
    this.close();
    this.open(COPY_DONE);
    this.close();
  }

  /** A row of so many columns, whose values follow. */
  row(columns: number): void {
    this.room(2);
    this.at = this.buffer.writeInt16BE(columns, this.at);
  }

  text(value: string): void {
    // UTF-8 takes three bytes at most for each unit.
    this.room(4 + 3 * value.length);
    const length = this.buffer.write(value, this.at + 4);
    this.buffer.writeInt32BE(length, this.at);
    this.at += 4 + length;
  }

  bytea(value: Uint8Array): void {
    this.room(4 + value.length);
    this.at = this.buffer.writeInt32BE(value.length, this.at);
    this.buffer.set(value, this.at);
    this.at += value.length;
  }

  boolean(value: boolean): void {
    this.room(5);
    this.at = this.buffer.writeInt32BE(1, this.at);
    this.buffer[this.at++] = value ? 1 : 0;
  }

  integer(value: number): void {
    this.room(8);
    this.at = this.buffer.writeInt32BE(4, this.at);
    this.at = this.buffer.writeInt32BE(value, this.at);
  }

  /** A safe integer that isn't negative. */
  bigint(value: number): void {
    this.room(12);
    this.at = this.buffer.writeInt32BE(8, this.at);
    this.at = this.buffer.writeInt32BE(Math.floor(value / 2 ** 32), this.at);
    this.at = this.buffer.writeUInt32BE(value % 2 ** 32, this.at);
  }

  bigints(values: readonly number[]): void {
    this.room(24);
    this.at = this.buffer.writeInt32BE(20 + 12 * values.length, this.at);
    // One dimension, no NULL, the type, how many, the first index.
    for (const word of [1, 0, INT8_OID, values.length, 1]) this.at = this.buffer.writeInt32BE(word, this.at);
    for (const value of values) this.bigint(value);
  }

  timestamp(milliseconds: number): void {
    this.bigint((milliseconds - POSTGRES_EPOCH_MS) * 1_000);
  }

  uuid(value: string): void {
    this.room(20);
    uuidWords(value, this.words);
    this.at = this.buffer.writeInt32BE(16, this.at);
    for (const word of this.words) this.at = this.buffer.writeUInt32BE(word, this.at);
  }

  /** Sends it all. Rejects with what Postgres or the connection says; nothing is written then. */
  async send(client: pg.Client): Promise<void> {
    const bytes = this.buffer.subarray(0, this.at);
    await new Promise<void>((resolve, reject) => {
      client.query(new Sent(bytes, (error) => (error ? reject(error) : resolve())));
    });
    if (this.buffer.length > KEPT_BYTES) this.buffer = Buffer.allocUnsafe(KEPT_BYTES);
  }

  private open(code: number): void {
    this.buffer[this.at++] = code;
    this.message = this.at;
    this.at += 4;
  }

  private close(): void {
    this.buffer.writeInt32BE(this.at - this.message, this.message);
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.at + bytes));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
  }
}

/** Messages of the protocol as a query of node-postgres, which lets it drive the connection while it is its turn. */
class Sent implements pg.Submittable {
  /** Set by node-postgres, which keeps a timer, or a connection of a pool, until it is called. */
  callback: ((error?: Error) => void) | undefined;
  private ended = false;

  constructor(
    private readonly bytes: Buffer,
    private readonly settle: (error: Error | undefined) => void,
    /** Gets views of memory that isn't the same for long. */
    private readonly receive: (chunk: Buffer) => void = () => undefined,
  ) {}

  submit(connection: unknown): void {
    // Postgres reads the rows when it comes to them, and passes over them when it refuses the statement.
    (connection as { stream: Writable }).stream.write(this.bytes);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    this.receive(chunk);
  }

  handleError(error: Error): void {
    this.end(error);
  }

  handleReadyForQuery(): void {
    this.end(undefined);
  }

  private end(error: Error | undefined): void {
    if (this.ended) return;
    this.ended = true;
    this.callback?.(error);
    this.settle(error);
  }

  handleCopyInResponse(): void {}
  handleCommandComplete(): void {}
  handleRowDescription(): void {}
  handleDataRow(): void {}
  handlePortalSuspended(): void {}
  handleEmptyQuery(): void {}
}

/**
 * The columns of the only row of a query, as Postgres has them: its drivers make text of whatever a SELECT gives, which
 * for bytes is twice as much and then a string to be taken apart. Rejects with what Postgres or the connection says.
 */
export async function copyRow(pool: Pick<pg.Pool, 'query'>, select: string): Promise<(Buffer | undefined)[]> {
  const statement = Buffer.from(`COPY (${select}) TO STDOUT (FORMAT binary)\0`);
  const message = Buffer.allocUnsafe(5 + statement.length);
  message[0] = QUERY;
  message.writeInt32BE(4 + statement.length, 1);
  statement.copy(message, 5);

  let columns: (Buffer | undefined)[] | undefined;
  const sent = new Sent(
    message,
    () => undefined,
    (chunk) => {
      // The header comes with the first row; each row is a chunk.
      columns ??= columnsOf(chunk.subarray(HEADER.length));
    },
  );
  // A pool answers with a promise whatever it is asked.
  await (pool.query(sent) as unknown as Promise<unknown>);
  return columns ?? [];
}

function columnsOf(row: Buffer): (Buffer | undefined)[] {
  let at = 2;
  return Array.from({ length: Math.max(0, row.readInt16BE(0)) }, () => {
    const length = row.readInt32BE(at);
    at += 4;
    if (length < 0) return undefined;
    at += length;
    return Buffer.from(row.subarray(at - length, at));
  });
}

/** Values of an array of one dimension without NULL, as COPY's binary format has it. */
export function elementsOf(array: Buffer): Buffer[] {
  if (array.readInt32BE(0) === 0) return [];
  let at = 20;
  return Array.from({ length: array.readInt32BE(12) }, () => {
    const length = array.readInt32BE(at);
    at += 4 + length;
    return array.subarray(at - length, at);
  });
}
