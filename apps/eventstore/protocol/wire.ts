/**
 * A small Protocol Buffers wire codec for the hot messages (appends and read responses). The generated stubs cost tens
 * of microseconds a message; these read and write the same bytes in one or two. Cold messages go through the stubs.
 */

export class MalformedMessage extends Error {
  readonly code = 'MALFORMED_MESSAGE';
}

/** Reads one message field by field. Unknown fields are skipped as the wire format demands. */
export class WireReader {
  private at: number;
  field = 0;
  private wireType = 0;

  constructor(
    private readonly buffer: Buffer,
    start = 0,
    private readonly end = buffer.length,
  ) {
    this.at = start;
  }

  /** Moves to the next field; false at the end of the message. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const tag = this.varint();
    this.field = Math.floor(tag / 8);
    this.wireType = tag % 8;
    if (this.field === 0) throw new MalformedMessage('field number 0');
    return true;
  }

  /** An unsigned varint as a number; values above 2^53 lose their low bits (they only ever mean "beyond the end"). */
  varint(): number {
    let result = 0;
    let factor = 1;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw new MalformedMessage('truncated varint');
      const byte = this.buffer[this.at++]!;
      result += (byte & 0x7f) * factor;
      if (byte < 0x80) return result;
      factor *= 128;
    }
    throw new MalformedMessage('varint longer than 10 bytes');
  }

  /** A signed 64-bit varint. */
  int64(): bigint {
    let result = 0n;
    let shift = 0n;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw new MalformedMessage('truncated varint');
      const byte = this.buffer[this.at++]!;
      result |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, result);
      shift += 7n;
    }
    throw new MalformedMessage('varint longer than 10 bytes');
  }

  /** Moves behind a length-delimited field and returns where its bytes start; they end where the reader is then. */
  private span(): number {
    if (this.wireType !== 2) throw new MalformedMessage(`field ${this.field} is not length-delimited`);
    const length = this.varint();
    const start = this.at;
    if (start + length > this.end) throw new MalformedMessage('truncated field');
    this.at = start + length;
    return start;
  }

  /** A view (no copy) of the bytes of a length-delimited field. */
  bytes(): Buffer {
    const start = this.span();
    return this.buffer.subarray(start, this.at);
  }

  string(): string {
    const start = this.span();
    return this.buffer.toString('utf8', start, this.at);
  }

  message(): WireReader {
    const start = this.span();
    return new WireReader(this.buffer, start, this.at);
  }

  skip(): void {
    switch (this.wireType) {
      case 0:
        this.varint();
        return;
      case 1:
        this.at += 8;
        break;
      case 2:
        this.span();
        return;
      case 5:
        this.at += 4;
        break;
      default:
        throw new MalformedMessage(`wire type ${this.wireType}`);
    }
    if (this.at > this.end) throw new MalformedMessage('truncated field');
  }
}

/** Bytes a varint of this value takes. */
export function varintSize(value: number): number {
  let size = 1;
  while (value >= 128) {
    value = Math.floor(value / 128);
    size++;
  }
  return size;
}

/** Writes a varint at an offset and returns the offset behind it. */
export function writeVarint(buffer: Buffer, at: number, value: number): number {
  while (value >= 128) {
    const rest = Math.floor(value / 128);
    buffer[at++] = (value - rest * 128) | 0x80;
    value = rest;
  }
  buffer[at++] = value;
  return at;
}

/** Bytes of a length-delimited field with a one-byte tag. */
export function delimitedSize(length: number): number {
  return 1 + varintSize(length) + length;
}

/** Encodes a length-delimited field with a one-byte tag. */
export function delimited(tag: number, bytes: Buffer): Buffer {
  const buffer = Buffer.allocUnsafe(delimitedSize(bytes.length));
  buffer[0] = tag;
  bytes.copy(buffer, writeVarint(buffer, 1, bytes.length));
  return buffer;
}

/** A gRPC length-prefixed message (uncompressed) around encoded bytes. */
export function grpcFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(message.length + 5);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}
