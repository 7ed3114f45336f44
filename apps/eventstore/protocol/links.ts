import { createHash } from 'node:crypto';
import { linkContent } from '../core/system-projections.js';
import { decodeEventFrame, encodeEventFrame, revisionText, type EventFrame } from './frames.js';
import { delimited, grpcFrame, varintSize, WireReader, writeVarint } from './wire.js';

/** Link events (`$>`) point at another event by `revision@stream`. */

export type LinkTarget = { stream: string; revision: number };

/** How a link's type stands in an encoded event: an entry `type` → `$>` of its metadata map. */
const LINK_TYPE = Buffer.from('\x0a\x04type\x12\x02$>', 'latin1');

/** False only when no frame among these is a link; cheap enough to ask for every page. */
export function mayHoldLinks(frames: Buffer): boolean {
  return frames.includes(LINK_TYPE);
}

/**
 * Where a link points; `broken` when it names no stream. Undefined for frames that aren't resolved: other events, and
 * links that don't begin with a number, which the real server shows as events.
 */
export function linkTarget(frame: EventFrame): LinkTarget | 'broken' | undefined {
  if (frame[5] !== 0x0a || !frame.includes(LINK_TYPE)) return undefined;
  const { type, data } = decodeEventFrame(frame);
  return type === '$>' ? splitLink(data) : undefined;
}

/** A signed 64-bit number as .NET reads it: spaces around it and a sign are fine. */
const REVISION = /^[\t-\r ]*([+-]?\d+)[\t-\r ]*$/;
const [MIN_REVISION, MAX_REVISION] = [-(2n ** 63n), 2n ** 63n - 1n];

/** Takes a link's data apart. A tombstone's revision is beyond what JavaScript counts: nothing is found there. */
export function splitLink(data: Buffer): LinkTarget | 'broken' | undefined {
  const text = data.toString('utf8');
  const at = text.indexOf('@');
  const number = REVISION.exec(at < 0 ? text : text.slice(0, at))?.[1];
  if (number === undefined) return undefined;
  const revision = BigInt(number.replace('+', ''));
  if (revision < MIN_REVISION || revision > MAX_REVISION) return undefined;
  return at < 0 ? 'broken' : { stream: text.slice(at + 1), revision: Number(revision) };
}

export function linkText(stream: string, revision: number): string {
  return `${revisionText(revision)}@${stream}`;
}

/** The link's frame as clients get it when they ask for links to be resolved; without a target only the link is left. */
export function resolvedFrame(link: EventFrame, target: EventFrame | undefined): EventFrame {
  const linked = delimited(0x12, decodeEventFrame(link).recorded);
  const event = target === undefined ? Buffer.alloc(0) : delimited(0x0a, decodeEventFrame(target).recorded);
  return grpcFrame(delimited(0x0a, Buffer.concat([event, linked, commitPosition(link)])));
}

function commitPosition(frame: EventFrame): Buffer {
  const outer = new WireReader(frame, 5);
  outer.next();
  const readEvent = outer.message();
  while (readEvent.next()) {
    if (readEvent.field === 3) return varintField(0x18, readEvent.varint());
    readEvent.skip();
  }
  return Buffer.alloc(0);
}

export function varintField(tag: number, value: number): Buffer {
  const buffer = Buffer.allocUnsafe(1 + varintSize(value));
  buffer[0] = tag;
  writeVarint(buffer, 1, value);
  return buffer;
}

/** What a link of a system projection is made of. */
export type LinkSource = {
  id: string;
  stream: string;
  revision: number;
  type: string;
  position: number;
  createdTicks: string;
  /** Data of the event; asked for only when it is a link itself. */
  data: () => Buffer;
};

/** The link that stands at a revision of a system projection's stream: no row of its own, but always the same. */
export function encodeLinkFrame(stream: string, revision: number, source: LinkSource): EventFrame {
  const { type, data } = linkContent(stream, { ...source, revision: revisionText(source.revision) });
  const metadata = Buffer.from(JSON.stringify({ $o: source.stream, $causedBy: source.id }));
  const link = { id: linkId(stream, revision), type, isJson: false, data, metadata };
  return encodeEventFrame(link, stream, revision, source.position, source.createdTicks);
}

/** A version 5 UUID of the link's place, so that it has the same id whenever it is read. */
function linkId(stream: string, revision: number): string {
  const hash = createHash('sha1').update(`${revision}@${stream}`).digest().subarray(0, 16);
  hash[6] = (hash[6]! & 0x0f) | 0x50;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Cuts glued frames apart. */
export function* framesOf(frames: Buffer): Generator<Buffer> {
  for (let at = 0; at < frames.length;) {
    const end = at + 5 + frames.readUInt32BE(at + 1);
    yield frames.subarray(at, end);
    at = end;
  }
}
