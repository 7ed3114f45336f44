import { leafHash, type Hash } from './merkle.js';

/** An event as the log has it, byte for byte, as any client of the protocol can read it. */
export interface LedgerEvent {
  readonly stream: string;
  /** Revision in its stream, from 0. */
  readonly revision: number;
  readonly type: string;
  /** UUID in lower case. */
  readonly id: string;
  /** The log's own creation time: ISO 8601 UTC with milliseconds. */
  readonly created: string;
  readonly contentType: 'application/json' | 'application/octet-stream';
  readonly data: Buffer;
  readonly metadata: Buffer;
}

/** Streams of the ledger's own, should it ever write to the log. */
const OWN_STREAMS = 'ledger-';

/** System events, links (`$>`) and the ledger's own streams are no leaves; everything else is, known to the catalogue or not. */
export const isLeaf = ({ stream, type }: Pick<LedgerEvent, 'stream' | 'type'>): boolean =>
  !type.startsWith('$') && !stream.startsWith('$') && !stream.startsWith(OWN_STREAMS);

const LABEL = 'picturelock-ledger-leaf/1';

/**
 * The canonical bytes of an event: the label and eight fields, each as four bytes of length (big-endian) and its bytes:
 * stream, revision in decimal, type, id, created, content type, data, metadata. Text is UTF-8. Described in docs/ledger.md.
 */
export function leafBytes(event: LedgerEvent): Buffer {
  const fields = [
    LABEL,
    event.stream,
    String(event.revision),
    event.type,
    event.id,
    event.created,
    event.contentType,
    event.data,
    event.metadata,
  ];
  return Buffer.concat(
    fields.flatMap((field) => {
      const bytes = typeof field === 'string' ? Buffer.from(field, 'utf8') : field;
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      return [length, bytes];
    }),
  );
}

export const hashEvent = (event: LedgerEvent): Hash => leafHash(leafBytes(event));
