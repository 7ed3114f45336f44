/**
 * The shapes every decider shares. A decider is pure: no I/O, no clock, no random; what it needs to know of the
 * outside (who, when, ids) comes with the command.
 */

/** Roles a person can have in an organisation. `SERVICE` is the system itself (reactions, workers). */
export const ROLES = ['ADMINISTRATOR', 'PRODUCER', 'ARTIST', 'REVIEWER', 'CLIENT', 'SERVICE'] as const;
export type Role = (typeof ROLES)[number];

/** Who acts. `userId` is null only for the system itself. */
export interface Actor {
  readonly userId: string | null;
  readonly role: Role;
}

/** What every command carries besides its own data: identity, time and cause. */
export interface CommandMeta {
  /** UUID; a repeat of the same id returns the first result. */
  readonly commandId: string;
  readonly organisationId: string;
  readonly actor: Actor;
  /** ISO 8601 UTC, read once at the edge. Deciders never look at a clock. */
  readonly at: string;
  readonly correlationId: string;
  readonly causationId: string;
  /** Stream revision the caller saw; a stale one is refused with CONFLICT. For commands that do not commute. */
  readonly expectedRevision?: number;
  /** The id was made for this very call, not given by the caller: it cannot be a repeat. */
  readonly minted?: boolean;
  /** Where the command came from; personal. The address is kept, encrypted, for the audit trail. */
  readonly origin?: { readonly ip?: string; readonly userAgent?: string };
}

export interface Command<T extends string = string, D = unknown> {
  readonly type: T;
  readonly data: D;
  readonly meta: CommandMeta;
}

/** An expected "no": a value, not an exception. The code is stable and documented. */
export interface Refusal {
  readonly refused: true;
  readonly code: string;
  readonly message: string;
  /** Path of the input field at fault, as in `['input', 'text']`. */
  readonly path?: readonly (string | number)[];
  /** Machine-readable facts, for instance the current version or the legal transitions. */
  readonly details?: Readonly<Record<string, unknown>>;
}

export const refuse = (
  code: string,
  message: string,
  more: { path?: readonly (string | number)[]; details?: Record<string, unknown> } = {},
): Refusal => ({ refused: true, code, message, ...more });

export const isRefusal = (value: unknown): value is Refusal =>
  typeof value === 'object' && value !== null && (value as { refused?: unknown }).refused === true;

/** An event as deciders see it: what happened, without the envelope. */
export interface DomainEvent<T extends string = string, D = unknown> {
  readonly type: T;
  readonly data: D;
}

/** A state as JSON and back, the same for every later event and command. */
export interface SnapshotCodec<S> {
  /** Grows with every change of what a state holds or means. */
  readonly version: number;
  /** @throws TypeError for a state that JSON can't hold */
  encode(state: S): unknown;
  decode(json: unknown): S;
}

/**
 * One aggregate. `decide` returns the events that follow, an empty list when there is nothing to do, or a refusal.
 * `evolve` must accept every event of its stream, in order, and never throw.
 */
export interface Decider<S, C extends Command, E extends DomainEvent> {
  /** Stream category, as in `version` for `version-<id>`. */
  readonly category: string;
  readonly initialState: S;
  decide(command: C, state: S): readonly E[] | Refusal;
  evolve(state: S, event: E): S;
  /** For aggregates whose streams get long and hold nothing personal. */
  readonly snapshot?: SnapshotCodec<S>;
}
