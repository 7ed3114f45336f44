import { hash } from 'node:crypto';
import { z } from 'zod';
import { id, role } from './common.js';

/** Metadata of every event. `$correlationId` and `$causationId` are EventStoreDB's own conventions. */
export const eventMetadata = z.object({
  $correlationId: z.string(),
  $causationId: z.string(),
  /** Id of the command that was decided; the executor's idempotency reads it back from the fold. */
  commandId: id,
  /** SHA-256 of the command's type and canonical data, so that a reused id with another payload is seen. */
  commandHash: z.string(),
  /** Position of this event among the events of its command, and how many there are. */
  index: z.int().nonnegative(),
  count: z.int().positive(),
  organisationId: id,
  actor: z.object({ userId: id.nullable(), role }),
  schemaVersion: z.int().positive(),
  /** Type of the command, for the audit trail; events written before it was kept have none. */
  commandType: z.string().optional(),
  /**
   * Address the command came from, on its first event. Personal: in the log, and as events are read, it is a ciphertext
   * under the acting person's key; only who shows the audit trail opens it.
   */
  origin: z.string().optional(),
  /** The command's time, ISO 8601 UTC. */
  at: z.string(),
});
export type EventMetadata = z.infer<typeof eventMetadata>;

/** An event as it is read from the log: upcast to the current version, personal fields in the clear or redacted. */
export interface RecordedEvent<E extends { type: string; data: unknown } = { type: string; data: unknown }> {
  readonly id: string;
  readonly stream: string;
  /** Revision in its stream, from 0. */
  readonly revision: number;
  /** Commit position in `$all`. */
  readonly position: bigint;
  /** The log's own creation time. */
  readonly created: Date;
  readonly type: E['type'];
  readonly data: E['data'];
  readonly metadata: EventMetadata;
  /** Why the event could not be decoded; there is no data then. Only for those who ask for such events. */
  readonly unreadable?: Error;
}

/** RFC 8785-like canonical JSON: keys sorted, undefined dropped. Enough for hashing our own validated data. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value !== 'object') return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) {
    let items = '';
    for (const item of value) items += items === '' ? canonicalJson(item) : `,${canonicalJson(item)}`;
    return `[${items}]`;
  }
  let members = '';
  for (const key of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    members += `${members === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(member)}`;
  }
  return `{${members}}`;
}

export const hashCommand = (type: string, data: unknown): string => hash('sha256', `${type}\0${canonicalJson(data)}`);

/** UUID version 5 (RFC 9562 §5.5) of a name in a namespace. */
export function uuidV5(namespace: string, name: string): string {
  const bytes = Buffer.allocUnsafe(16 + Buffer.byteLength(name));
  bytes.write(namespace.replaceAll('-', ''), 'hex');
  bytes.write(name, 16, 'utf8');
  const hex = hash('sha1', bytes);
  const variant = ((Number.parseInt(hex[16]!, 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** Namespace of Picturelock's derived ids. */
export const NAMESPACE = '7d2c3a52-6c0e-5b2e-9c3b-3f1f6f0c9a10';

/** Event ids are derived: the same command on the same stream writes the same ids, however often it is tried. */
export const deriveEventId = (organisationId: string, stream: string, commandId: string, index: number): string =>
  uuidV5(NAMESPACE, `${organisationId}\0${stream}\0${commandId}\0${index}`);

/** A further command that follows from a first one (a saga's next step, a reaction): same cause, same id. */
export const deriveCommandId = (commandId: string, step: string): string =>
  uuidV5(NAMESPACE, `command\0${commandId}\0${step}`);
