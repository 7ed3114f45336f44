/**
 * What leaves the house: an export of events that an auditor verifies offline, and the proof for one event. Lines of JSON, so
 * that a bundle of any size is written and read as a stream. Both formats are described in docs/ledger.md.
 */
import { z } from 'zod';
import { hashEvent, type LedgerEvent } from './leaf.js';
import { inclusionProof, leafAt, type Hash } from './merkle.js';
import type { LedgerSource, StreamPolicy } from './source.js';
import type { LeafPlace, LedgerStore, StoredCheckpoint } from './store.js';

export const BUNDLE_FORMAT = 'picturelock-ledger-bundle/1';
export const PROOF_FORMAT = 'picturelock-ledger-proof/1';

const bytesShape = z.union([z.string(), z.object({ base64: z.base64() })]);
export const eventShape = z.object({
  stream: z.string(),
  revision: z.int().nonnegative(),
  type: z.string(),
  id: z.uuid(),
  created: z.iso.datetime(),
  contentType: z.enum(['application/json', 'application/octet-stream']),
  data: bytesShape,
  metadata: bytesShape,
});
type EventJson = z.infer<typeof eventShape>;

/** Text where the bytes are text, exactly; else base64. */
const bytesJson = (bytes: Buffer): z.infer<typeof bytesShape> => {
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : { base64: bytes.toString('base64') };
};
const bytesOf = (json: z.infer<typeof bytesShape>): Buffer =>
  typeof json === 'string' ? Buffer.from(json, 'utf8') : Buffer.from(json.base64, 'base64');

export const eventJson = (event: LedgerEvent): EventJson => ({
  ...event,
  data: bytesJson(event.data),
  metadata: bytesJson(event.metadata),
});
export const eventOf = (json: EventJson): LedgerEvent => ({
  ...json,
  data: bytesOf(json.data),
  metadata: bytesOf(json.metadata),
});

export const headerShape = z.object({
  format: z.literal(BUNDLE_FORMAT),
  /** The log's verifier key. Whoever verifies should have it from elsewhere. */
  key: z.string(),
  /** Leaves of the tree, and the first whose event is in the bundle. */
  size: z.int().nonnegative(),
  from: z.int().nonnegative(),
  checkpoint: z.string(),
  /** Older ones, to narrow down where something was changed. */
  checkpoints: z.array(z.string()),
});
export const hashesShape = z.object({ hashes: z.base64() });
export const policyShape = z.object({
  policy: z.object({
    stream: z.string(),
    maxCount: z.number().optional(),
    maxAge: z.number().optional(),
    truncateBefore: z.number().optional(),
    deleted: z.boolean().optional(),
    last: z.int(),
  }),
});
/** A leaf whose event the log does not have any more. */
export const absentShape = z.object({
  absent: z.object({
    index: z.int().nonnegative(),
    stream: z.string(),
    revision: z.int().nonnegative(),
    id: z.string(),
  }),
});
export const endShape = z.object({ end: z.int().nonnegative() });
export const proofShape = z.object({
  format: z.literal(PROOF_FORMAT),
  key: z.string(),
  event: eventShape,
  /** c2sp.org/tlog-proof@v1 */
  proof: z.string(),
});

export interface ExportOptions {
  readonly store: LedgerStore;
  readonly source: LedgerSource;
  /** Of the log that signed it. */
  readonly key: string;
  /** What the bundle ends with: a checkpoint of the store. */
  readonly checkpoint: StoredCheckpoint;
  /** First leaf whose event is wanted; the hashes of all come along either way. Default 0. */
  readonly from?: number;
  readonly signal?: AbortSignal;
}

const PAGE = 2000;

/** The bundle, line by line. @throws SourceUnavailable */
export async function* exportBundle({
  store,
  source,
  key,
  checkpoint,
  from = 0,
  signal,
}: ExportOptions): AsyncGenerator<string> {
  const { size, note } = checkpoint;
  const line = (value: object): string => `${JSON.stringify(value)}\n`;
  const older = (await store.checkpoints(size)).filter((other) => other.size < size);
  yield line({
    format: BUNDLE_FORMAT,
    key,
    size,
    from: Math.min(from, size),
    checkpoint: note,
    checkpoints: older.map((other) => other.note),
  } satisfies z.infer<typeof headerShape>);
  for await (const hashes of store.leafTiles(size)) yield line({ hashes: hashes.toString('base64') });

  const policies = new Map<string, StreamPolicy>();
  const absent = async function* (place: LeafPlace): AsyncGenerator<string> {
    const { index, stream, revision, id } = place;
    if (!policies.has(stream)) {
      const policy = await source.policy(stream);
      policies.set(stream, policy);
      yield line({ policy });
    }
    yield line({ absent: { index, stream, revision, id } });
  };
  const places = placesFrom(store, Math.min(from, size), size);
  let place = await nextOf(places);
  if (!place) return yield line({ end: size });
  for await (const { event, position } of source.read(place.position, { inclusive: true })) {
    if (signal?.aborted) return;
    // What the log does not have any more comes before what it has; what it has is taken as it is, recorded or not.
    while (place && place.position < position) {
      yield* absent(place);
      place = await nextOf(places);
    }
    if (!place) break;
    yield line({ event: eventJson(event) });
    if (place.position === position) place = await nextOf(places);
  }
  for (; place; place = await nextOf(places)) yield* absent(place);
  yield line({ end: size });
}

async function* placesFrom(store: LedgerStore, from: number, size: number): AsyncGenerator<LeafPlace> {
  for (let at = from; at < size; at += PAGE) yield* await store.leaves(at, Math.min(PAGE, size - at));
}

const nextOf = async <T>(generator: AsyncGenerator<T>): Promise<T | undefined> => {
  const next = await generator.next();
  return next.done ? undefined : next.value;
};

/** The event is not in the ledger, or not in the log any more. */
export class NotProvable extends Error {
  override readonly name = 'NotProvable';
  readonly code = 'NOT_PROVABLE';
}

/**
 * The proof for one event, without the rest of the log.
 *
 * @throws NotProvable, SourceUnavailable
 */
export async function proveEvent({ store, source, key, checkpoint }: ExportOptions, eventId: string): Promise<string> {
  const { size, note } = checkpoint;
  const [place, ...others] = await store.find(eventId);
  if (!place || place.index >= size) throw new NotProvable(`The ledger has no event ${eventId}`);
  if (others.length > 0)
    throw new NotProvable(`Event id ${eventId} stands in ${others.length + 1} streams: export a bundle instead`);
  const event = await eventAt(source, place);
  if (!event) throw new NotProvable(`Event ${eventId} was removed from the log; only its hash is recorded`);
  const hash = await leafAt(store, place.index);
  if (!hashEvent(event).equals(hash))
    throw new NotProvable(`Event ${eventId} is not what was recorded: ${place.stream}@${place.revision} was altered`);
  const proof = await inclusionProof(store, place.index, size);
  return `${JSON.stringify(
    {
      format: PROOF_FORMAT,
      key,
      event: eventJson(event),
      proof: formatProof(place.index, proof, note),
    } satisfies z.infer<typeof proofShape>,
    undefined,
    2,
  )}\n`;
}

async function eventAt(source: LedgerSource, place: LeafPlace): Promise<LedgerEvent | undefined> {
  for await (const { event, position } of source.read(place.position, { inclusive: true })) {
    if (position > place.position) return undefined;
    if (event.id === place.id) return event;
  }
  return undefined;
}

const PROOF_LINE = 'c2sp.org/tlog-proof@v1';

const formatProof = (index: number, proof: readonly Hash[], checkpoint: string): string =>
  `${PROOF_LINE}\nindex ${index}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${checkpoint}`;

/** Reads a c2sp.org/tlog-proof; undefined when it is none. */
export function parseProof(text: string): { index: number; proof: Hash[]; checkpoint: string } | undefined {
  const match =
    /^c2sp\.org\/tlog-proof@v1\n(?:extra \S+\n)?index (0|[1-9]\d{0,15})\n((?:\S{44}\n){0,63})\n([^]+)$/.exec(text);
  if (!match) return undefined;
  const proof = match[2]!
    .split('\n')
    .filter(Boolean)
    .map((hash) => Buffer.from(hash, 'base64'));
  return { index: Number(match[1]), proof, checkpoint: match[3]! };
}
