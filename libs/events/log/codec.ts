import type { JSONRecordedEvent } from '@kurrent/kurrentdb-client';
import {
  catalogue,
  REDACTED,
  upcast,
  type EventDefinition,
  type EventMetadata,
  type RecordedEvent,
} from '../catalogue/index.js';
import { InvalidEvent } from './errors.js';
import type { NewEvent, PersonCipher } from './types.js';

const ORIGIN = 'metadata';

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
    if (typeof person !== 'string') data[field] = null;
    else {
      const sealed = await seal(cipher, person, value, aad(event.type, field, person), optional(definition, field));
      data[field] = sealed === undefined ? null : ({ $personal: sealed } satisfies Sealed);
    }
  }
  return data;
}

/** The address a command came from is sealed; of nobody, or of a person who is forgotten, it is not kept. */
export async function encodeMetadata(
  { origin, ...metadata }: EventMetadata,
  cipher: PersonCipher,
): Promise<EventMetadata> {
  const person = metadata.actor.userId;
  if (origin === undefined || person === null) return metadata;
  const sealed = await seal(cipher, person, origin, aad(ORIGIN, 'origin', person), true);
  return sealed === undefined ? metadata : { ...metadata, origin: sealed };
}

/** The address in an event's metadata; null when there is none, or the person is forgotten. */
export async function openOrigin(
  sealed: string | null | undefined,
  actorUserId: string | null,
  cipher: PersonCipher,
): Promise<string | null> {
  if (sealed == null || actorUserId === null) return null;
  return (await cipher.decrypt(actorUserId, sealed, aad(ORIGIN, 'origin', actorUserId))) ?? null;
}

const optional = (definition: EventDefinition, field: string): boolean =>
  (definition.schema.shape[field] as { safeParse(value: unknown): { success: boolean } }).safeParse(null).success;

/** Undefined for a person who was forgotten meanwhile, where the value may be missing. */
async function seal(
  cipher: PersonCipher,
  person: string,
  value: string,
  place: string,
  mayBeMissing: boolean,
): Promise<string | undefined> {
  try {
    return await cipher.encrypt(person, value, place);
  } catch (error) {
    if (mayBeMissing && (error as { code?: unknown }).code === 'PERSON_ERASED') return undefined;
    throw error;
  }
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

/** What can be said of an event that {@link decodeEvent} has failed for. */
export const unreadableEvent = (
  raw: JSONRecordedEvent,
  commitPosition: bigint | undefined,
  error: unknown,
): RecordedEvent => ({
  id: raw.id,
  stream: raw.streamId,
  revision: Number(raw.revision),
  position: commitPosition ?? raw.position?.commit ?? 0n,
  created: raw.created,
  type: raw.type,
  data: undefined,
  metadata: raw.metadata as unknown as EventMetadata,
  unreadable: error instanceof Error ? error : new Error(String(error)),
});

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
