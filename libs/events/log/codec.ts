import type { JSONRecordedEvent } from '@kurrent/kurrentdb-client';
import { catalogue, REDACTED, upcast, type EventMetadata, type RecordedEvent } from '../catalogue/index.js';
import { InvalidEvent } from './errors.js';
import type { NewEvent, PersonCipher } from './types.js';

/** Binds a ciphertext to the place it stands in, so that it can't be moved to another field or person. */
const aad = (type: string, field: string, person: string) => `${type}\0${field}\0${person}`;

/** Personal values are stored as `{"$personal": "<ciphertext>"}` so that a reader without keys can tell them. */
interface Sealed {
  readonly $personal: string;
}
const isSealed = (value: unknown): value is Sealed =>
  typeof value === 'object' && value !== null && typeof (value as { $personal?: unknown }).$personal === 'string';

/** Validate against the catalogue and seal personal fields. */
export async function encodeEvent(event: NewEvent, cipher: PersonCipher): Promise<Record<string, unknown>> {
  const definition = catalogue.get(event.type);
  if (!definition) throw new InvalidEvent(`The catalogue has no event type ${event.type}`);
  const parsed = definition.schema.safeParse(event.data);
  if (!parsed.success) throw new InvalidEvent(`${event.type}: ${parsed.error.message}`);
  const data = parsed.data as Record<string, unknown>;
  for (const [field, personField] of Object.entries(definition.personal)) {
    const value = data[field];
    const person = data[personField];
    if (typeof value !== 'string') continue;
    // Nobody to encrypt for (the system acts): the value would be personal without a person, so it is not kept.
    data[field] =
      typeof person === 'string'
        ? ({ $personal: await cipher.encrypt(person, value, aad(event.type, field, person)) } satisfies Sealed)
        : null;
  }
  return data;
}

/**
 * From the wire to the current version of the event, personal fields opened or redacted. Returns undefined for events
 * that are not ours. Promise only when something must be decrypted, so that bulk reads stay synchronous.
 */
export function decodeEvent(
  raw: JSONRecordedEvent,
  commitPosition: bigint | undefined,
  cipher: PersonCipher,
): RecordedEvent | Promise<RecordedEvent> | undefined {
  const definition = catalogue.get(raw.type);
  if (!definition) return undefined;
  const metadata = raw.metadata as unknown as EventMetadata;
  const data =
    metadata.schemaVersion === definition.version
      ? (raw.data as Record<string, unknown>)
      : upcastStored(raw.type, metadata.schemaVersion, raw.data as Record<string, unknown>);
  const recorded: RecordedEvent = {
    id: raw.id,
    stream: raw.streamId,
    revision: Number(raw.revision),
    position: commitPosition ?? raw.position?.commit ?? 0n,
    created: raw.created,
    type: raw.type,
    data,
    metadata,
  };
  return Object.keys(definition.personal).length === 0 ? recorded : open(recorded, definition.personal, cipher);
}

/** An event of a newer Picturelock is no trouble of the connection: reading it again would not help. */
function upcastStored(type: string, version: number, data: Record<string, unknown>): Record<string, unknown> {
  try {
    return upcast(type, version, data);
  } catch (error) {
    throw new InvalidEvent(error instanceof Error ? error.message : String(error));
  }
}

async function open(
  event: RecordedEvent,
  personal: Readonly<Record<string, string>>,
  cipher: PersonCipher,
): Promise<RecordedEvent> {
  const data = { ...(event.data as Record<string, unknown>) };
  for (const [field, personField] of Object.entries(personal)) {
    const value = data[field];
    if (!isSealed(value)) continue;
    const person = String(data[personField]);
    data[field] = (await cipher.decrypt(person, value.$personal, aad(event.type, field, person))) ?? REDACTED;
  }
  return { ...event, data };
}
