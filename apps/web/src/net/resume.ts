/**
 * A subscription that can be cut and goes on after the last message it delivered. Pure but for the object it keeps.
 *
 * graphql-ws sends the same payload object again on every reconnect, so moving `after` inside it makes each retry begin where the
 * last message ended: nothing is missed, and what was seen isn't sent again.
 */
export interface Payload {
  query: string;
  variables: Record<string, unknown>;
}

export interface ResumablePayload {
  readonly payload: Payload;
  /** Looks at one result and remembers its position. */
  saw(data: unknown): void;
}

export function resumable(query: string, variables: Record<string, unknown>): ResumablePayload {
  const payload: Payload = { query, variables: { ...variables } };
  return {
    payload,
    saw(data) {
      if (!('after' in payload.variables) || typeof data !== 'object' || data === null) return;
      for (const field of Object.values(data)) {
        if (typeof field !== 'object' || field === null || !('position' in field)) continue;
        if (typeof field.position === 'string') payload.variables.after = field.position;
      }
    },
  };
}

/** Milliseconds before try number `attempt` (0 the first): doubling from `first` to `most`, with up to a quarter of jitter. */
export function backOff(attempt: number, random: number, first = 300, most = 8_000): number {
  const full = Math.min(most, first * 2 ** Math.min(attempt, 20));
  return Math.round(full * (0.75 + 0.25 * random));
}
