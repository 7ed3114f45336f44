import { deciders, type Category } from '#libs/domain/index.js';
import type { DomainEvent, RecordedEvent } from '#libs/events/catalogue/index.js';
import type { EventLog } from '#libs/events/log/index.js';

/** One event with the state of its aggregate before and after it. */
export interface Step {
  readonly event: RecordedEvent;
  readonly before: unknown;
  readonly after: unknown;
}

export const isCategory = (text: string): text is Category => Object.hasOwn(deciders, text);

/** The life of one aggregate from its first event on, up to and including a revision. */
export async function* timeline(
  log: EventLog,
  category: Category,
  id: string,
  to: number = Number.POSITIVE_INFINITY,
): AsyncGenerator<Step> {
  const decider = deciders[category] as { initialState: unknown; evolve(state: unknown, event: DomainEvent): unknown };
  let state = decider.initialState;
  for await (const event of log.readStream(`${category}-${id}`)) {
    if (event.revision > to) return;
    const before = state;
    state = decider.evolve(state, { type: event.type, data: event.data });
    yield { event, before, after: state };
  }
}
