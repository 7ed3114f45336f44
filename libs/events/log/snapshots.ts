import { createHash } from 'node:crypto';
import { catalogue, type Command, type Decider, type DomainEvent } from '../catalogue/index.js';

/** The folded state of a stream after one of its events: a short cut, never a truth. */
export interface StreamSnapshot {
  readonly stream: string;
  /** Of the build that took it; see {@link snapshotSchema}. */
  readonly schema: string;
  /** Of the last event folded, with its id: a log that was replaced or restored has another there. */
  readonly revision: number;
  readonly eventId: string;
  readonly position: bigint;
  /** JSON. */
  readonly state: unknown;
  /** Commands the stream remembers, oldest first: id, hash, revision, position. */
  readonly commands: readonly (readonly [string, string, number, string])[];
}

/** Where snapshots are kept; may lose any of them at any time. */
export interface SnapshotStore {
  /** Undefined when there is none of this schema. */
  load(stream: string, schema: string): Promise<StreamSnapshot | undefined>;
  /** In place of what there was of the stream. */
  save(snapshot: StreamSnapshot): Promise<void>;
}

const FORMAT = 1;
const schemas = new WeakMap<object, string>();

/**
 * What a snapshot depends on, as one hash: the declared version of the state, how events are folded, and the versions
 * of the events. A snapshot of another schema is passed over, so that forgetting to raise the version does no harm as
 * long as `evolve` itself or an event was changed with it.
 */
export function snapshotSchema<S, C extends Command, E extends DomainEvent>(decider: Decider<S, C, E>): string {
  let schema = schemas.get(decider);
  if (schema === undefined) {
    const events = [...catalogue.values()]
      .filter(({ category }) => category === decider.category)
      .map(({ type, version }) => [type, version]);
    const parts = [
      FORMAT,
      decider.category,
      decider.snapshot?.version,
      decider.initialState,
      decider.evolve.toString(),
      events,
    ];
    schema = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
    schemas.set(decider, schema);
  }
  return schema;
}
