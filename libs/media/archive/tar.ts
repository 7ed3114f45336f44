/**
 * Uncompressed TAR as an archive whose members are read in place: POSIX.1-2001 `ustar` and `pax`, GNU long names and base-256 sizes,
 * and the old header without magic. Only headers are read; the bytes between them never are.
 */
import { fail, ok, type Result } from '../result.js';
import { readBytes, sliceSource, type ByteSource } from '../bytes.js';

export type TarMemberKind =
  | 'FILE'
  | 'FOLDER'
  | 'LINK'
  /** Stored without its holes: its bytes do not lie in the archive as they are in the file. */
  | 'SPARSE'
  | 'OTHER';

export interface TarMember {
  /** As the archive has it, without a leading `./`. */
  readonly name: string;
  readonly kind: TarMemberKind;
  /** Where its bytes begin in the archive. */
  readonly offset: number;
  /** Bytes in the archive. */
  readonly size: number;
  /** Seconds since 1970 UTC; null when the archive does not tell. */
  readonly modified: number | null;
}

/** JSON-safe: an index can be kept beside its archive. */
export interface TarIndex {
  readonly members: readonly TarMember[];
  /** Whether the archive ends with its two empty blocks. Without them something may be missing behind the last member. */
  readonly ended: boolean;
}

export interface IndexOptions {
  /** More members than this are refused. Default 1,000,000. */
  readonly maxMembers?: number;
  readonly signal?: AbortSignal;
}

const BLOCK = 512;
/** Read at once: the headers of many small members, or one request to an object store for a large one. */
const WINDOW = 64 << 10;
/** Longest list of extended attributes, longest name. */
const MAX_EXTENDED = 1 << 20;

/**
 * Finds every member. ARCHIVE_INVALID (the message names the byte) when a header is damaged or contradicts itself, ARCHIVE_TRUNCATED
 * when a member reaches beyond the end, MEDIA_CANCELLED.
 */
export async function indexTar(source: ByteSource, options: IndexOptions = {}): Promise<Result<TarIndex>> {
  const maxMembers = options.maxMembers ?? 1_000_000;
  const members: TarMember[] = [];
  let window: { start: number; bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) };
  const need = async (at: number, length: number): Promise<Buffer> => {
    const inside = at >= window.start && at + length <= window.start + window.bytes.length;
    if (!inside) window = { start: at, bytes: await readBytes(source, at, Math.max(length, WINDOW)) };
    return window.bytes.subarray(at - window.start, at - window.start + length);
  };
  const invalid = (at: number, what: string) =>
    fail('ARCHIVE_INVALID', `The archive is damaged at byte ${at}: ${what}.`);
  const truncated = () => fail('ARCHIVE_TRUNCATED', 'The archive ends in the middle of a member.');
  const everywhere = new Map<string, string>();
  let next = new Map<string, string>();
  let longName: string | null = null;
  let at = 0;
  for (;;) {
    if (options.signal?.aborted) return fail('MEDIA_CANCELLED', 'Cancelled.');
    if (at === source.size) {
      return next.size > 0 || longName !== null ? truncated() : ok({ members, ended: false });
    }
    const header = await need(at, BLOCK);
    if (header.length < BLOCK) return truncated();
    if (header.every((byte) => byte === 0)) {
      const more = await need(at + BLOCK, BLOCK);
      return ok({ members, ended: more.length === BLOCK && more.every((byte) => byte === 0) });
    }
    if (!checksumHolds(header)) return invalid(at, 'not a header');
    const type = String.fromCharCode(header[156]!);
    const declared = numeric(header.subarray(124, 136));
    if (declared === null) return invalid(at, 'the size is not a number');
    const data = at + BLOCK;
    if ('xgXLK'.includes(type)) {
      if (declared > MAX_EXTENDED) return invalid(at, 'an extended header is too long');
      const bytes = await need(data, declared);
      if (bytes.length < declared) return truncated();
      if (type === 'L') longName = text(bytes);
      else if (type !== 'K') {
        const records = paxRecords(bytes);
        if (!records) return invalid(data, 'an extended header can’t be read');
        for (const [key, value] of records) (type === 'g' ? everywhere : next).set(key, value);
      }
      at = data + padded(declared);
      continue;
    }
    // An empty value takes back what the archive says of all members.
    const pax = (key: string): string | undefined => (next.get(key) ?? everywhere.get(key)) || undefined;
    const paxSize = pax('size');
    if (paxSize !== undefined && !isWhole(paxSize)) return invalid(at, 'the size is not a number');
    const size = type === '1' ? 0 : paxSize === undefined ? declared : Number(paxSize);
    const paxSparse = [...next.keys()].some((key) => key.startsWith('GNU.sparse.'));
    let offset = data;
    if (type === 'S') {
      // Old GNU: the map of the holes goes on in further blocks.
      for (let more = header[482]; more; offset += BLOCK) {
        const block = await need(offset, BLOCK);
        if (block.length < BLOCK) return truncated();
        more = block[504];
      }
    }
    const name = (pax('GNU.sparse.name') ?? pax('path') ?? longName ?? headerName(header)).replace(/^(\.\/+)+/, '');
    const kind = paxSparse || type === 'S' ? 'SPARSE' : kindOf(type, name);
    // Programs disagree whether such a size counts, so what one lists another would hide.
    if ((kind === 'FOLDER' || type === '2') && size > 0) return invalid(at, 'a folder or link has bytes');
    if (offset + size > source.size) return truncated();
    if (members.length === maxMembers) return invalid(at, `there are more than ${maxMembers} members`);
    const mtime = Number(pax('mtime') ?? numeric(header.subarray(136, 148)) ?? Number.NaN);
    members.push({ name, kind, offset, size, modified: Number.isFinite(mtime) ? mtime : null });
    next = new Map();
    longName = null;
    // The filling of the last member may be missing.
    at = Math.min(source.size, offset + padded(size));
  }
}

/** The last member of that name, as extracting would leave it. */
export function findMember(index: TarIndex, name: string): Result<TarMember> {
  const member = index.members.findLast((candidate) => candidate.name === name);
  return member ? ok(member) : fail('MEMBER_NOT_FOUND', 'The archive has no such member.');
}

/** The bytes of a member, in place. MEMBER_NOT_READABLE for folders, links and sparse members. */
export function memberSource(archive: ByteSource, member: TarMember): Result<ByteSource> {
  if (member.kind !== 'FILE') return fail('MEMBER_NOT_READABLE', 'This member has no bytes that can be read in place.');
  if (member.offset + member.size > archive.size)
    return fail('ARCHIVE_TRUNCATED', 'The archive ends in the middle of a member.');
  return ok(sliceSource(archive, member.offset, member.size));
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

function kindOf(type: string, name: string): TarMemberKind {
  if (type === '0' || type === '\0' || type === '7') return name.endsWith('/') ? 'FOLDER' : 'FILE';
  if (type === '5') return 'FOLDER';
  return type === '1' || type === '2' ? 'LINK' : 'OTHER';
}

/** The sum of the header's bytes; some old programs took them as signed. */
function checksumHolds(header: Buffer): boolean {
  const declared = numeric(header.subarray(148, 156));
  if (declared === null) return false;
  let [unsigned, signed] = [0, 0];
  for (let index = 0; index < BLOCK; index += 1) {
    const byte = index >= 148 && index < 156 ? 0x20 : header[index]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  return declared === unsigned || declared === signed;
}

/** Octal text, or GNU's base 256 when the first bit is set. Null when it is neither, negative, or too large to count exactly. */
function numeric(field: Buffer): number | null {
  if (field[0]! & 0x80) {
    if (field[0] !== 0x80) return null;
    const value = field.subarray(1).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n);
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : null;
  }
  const digits = /^ *([0-7]*)[ \0]*$/.exec(text(field, false));
  return digits ? Number.parseInt(digits[1] || '0', 8) : null;
}

function text(bytes: Buffer, ends = true): string {
  const end = ends ? bytes.indexOf(0) : -1;
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

function headerName(header: Buffer): string {
  const name = text(header.subarray(0, 100));
  // GNU's own format keeps times where POSIX has the first part of a long name.
  const posix = header.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = posix ? text(header.subarray(345, 500)) : '';
  return prefix ? `${prefix}/${name}` : name;
}

function isWhole(value: string): boolean {
  return /^\d{1,16}$/.test(value) && Number(value) <= Number.MAX_SAFE_INTEGER;
}

/** `<length> <key>=<value>\n` repeated; the length counts bytes and includes itself. Null when it is anything else. */
function paxRecords(bytes: Buffer): Map<string, string> | null {
  const records = new Map<string, string>();
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const length = space < 0 ? '' : bytes.toString('latin1', at, space);
    if (!isWhole(length)) return null;
    const end = at + Number(length);
    if (end > bytes.length || end <= space + 1 || bytes[end - 1] !== 0x0a) return null;
    const record = bytes.toString('utf8', space + 1, end - 1);
    const equals = record.indexOf('=');
    if (equals < 1) return null;
    records.set(record.slice(0, equals), record.slice(equals + 1));
    at = end;
  }
  return records;
}
