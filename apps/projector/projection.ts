import type { AnyEvent, RecordedEvent } from '#libs/events/catalogue/index.js';
import type { ReadModel } from '#libs/read-models/index.js';
import type { Bulk } from './bulk.js';

/** A recorded event of one type. */
export type EventOf<T extends AnyEvent['type']> = RecordedEvent<Extract<AnyEvent, { type: T }>>;

/** One handler for each event type that the read model cares about; others only move the checkpoint. */
export type Handlers = {
  readonly [T in AnyEvent['type']]?: (event: EventOf<T>) => void | Promise<void>;
};

export interface BatchContext {
  readonly bulk: Bulk;
  /** Writes what was collected so far, in the batch's transaction; for the rare handler that needs it in the tables. */
  flush(): Promise<void>;
}

export interface BatchHandlers {
  readonly on: Handlers;
  /** After the last event of the batch, before the rows are written. */
  readonly end?: () => void;
}

/**
 * Fills one read model. Handlers are begun anew for each batch, so what they remember lasts for the batch only; the rows
 * must not depend on where batches end.
 */
export interface Projection {
  readonly model: ReadModel;
  /**
   * What becomes of later events of a stream in which one is parked: they wait for it (default), or go on when no row
   * depends on an earlier event.
   */
  readonly afterParked?: 'wait' | 'goOn';
  begin(context: BatchContext): BatchHandlers;
}

/** Category of a stream, as in `version` for `version-<id>`. */
export const categoryOf = (stream: string): string => {
  const dash = stream.indexOf('-');
  return dash < 0 ? stream : stream.slice(0, dash);
};

const categories = new WeakMap<readonly RecordedEvent[], readonly string[]>();

/** Category of each event of a batch, which several projections look at. */
export function categoriesOf(events: readonly RecordedEvent[]): readonly string[] {
  let known = categories.get(events);
  if (!known) categories.set(events, (known = events.map(({ stream }) => categoryOf(stream))));
  return known;
}

/** Applies events to a projection's bulk, in order. Whoever began the batch ends it, after the last of them. */
export async function applyEvents(handlers: BatchHandlers, events: readonly RecordedEvent[]): Promise<void> {
  for (const event of events) {
    if (event.unreadable) throw event.unreadable;
    const handler = handlers.on[event.type as AnyEvent['type']] as
      ((event: RecordedEvent) => void | Promise<void>) | undefined;
    const waiting = handler?.(event);
    if (waiting) await waiting;
  }
}
