/** For specs: decisions told as given / when / then, with people and ids to tell them about. Runs under jest. */
import {
  catalogue,
  isRefusal,
  type Actor,
  type Command,
  type CommandMeta,
  type Decider,
  type DomainEvent,
  type Refusal,
  type Role,
} from '#libs/events/catalogue/index.js';
import { commandSchemas, type AnyCommand, type CommandInput, type CommandType } from './index.js';
import type { RefusalCode } from './refusals.js';

/** A UUID that says which it is: the same number, the same id. */
export const uuid = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;

export const ORGANISATION = uuid(0xa01);
export const OTHER_ORGANISATION = uuid(0xa02);
export const AT = '2031-05-06T07:08:09.000Z';

export interface Person extends Actor {
  readonly userId: string;
}
const person = (n: number, role: Role): Person => ({ userId: uuid(n), role });
export const people = {
  administrator: person(0xb01, 'ADMINISTRATOR'),
  producer: person(0xb02, 'PRODUCER'),
  artist: person(0xb03, 'ARTIST'),
  reviewer: person(0xb04, 'REVIEWER'),
  client: person(0xb05, 'CLIENT'),
  otherClient: person(0xb06, 'CLIENT'),
} as const;
export const system: Actor = { userId: null, role: 'SERVICE' };

let commandCount = 0;

/**
 * A command as the edge makes it: the input goes through the command's own schema (and throws when that refuses it).
 * By the producer of {@link ORGANISATION} unless told otherwise.
 */
export function command<T extends CommandType>(
  type: T,
  input: CommandInput<T>,
  by: Actor = people.producer,
  meta: Partial<CommandMeta> = {},
): Extract<AnyCommand, { type: T }> {
  const id = uuid(0xc0000 + commandCount++);
  return {
    type,
    data: commandSchemas[type].parse(input),
    meta: {
      commandId: id,
      organisationId: ORGANISATION,
      actor: by,
      at: AT,
      correlationId: id,
      causationId: id,
      ...meta,
    },
  } as Extract<AnyCommand, { type: T }>;
}

/** Folds events from the beginning. */
export const fold = <S, C extends Command, E extends DomainEvent>(
  decider: Decider<S, C, E>,
  events: readonly E[],
  from: S = decider.initialState,
): S => events.reduce((state, event) => decider.evolve(state, event), from);

/** Decides, checks every event against its schema in the catalogue, and folds. A refusal leaves the state alone. */
export function play<S, C extends Command, E extends DomainEvent>(
  decider: Decider<S, C, E>,
  state: S,
  cmd: C,
): { state: S; events: readonly E[]; refusal: Refusal | null } {
  const result = decider.decide(cmd, state);
  if (isRefusal(result)) return { state, events: [], refusal: result };
  for (const { type, data } of result) {
    const definition = catalogue.get(type);
    expect(definition?.category).toBe(decider.category);
    expect(definition!.schema.strict().parse(data)).toEqual(data);
  }
  return { state: fold(decider, result, state), events: result, refusal: null };
}

type ExpectedRefusal = { code: RefusalCode; path?: readonly (string | number)[]; details?: Record<string, unknown> };
/** An event with the part of its data that matters to the spec. */
type Told<E extends DomainEvent> = E extends DomainEvent<infer T, infer D> ? { type: T; data?: Partial<D> } : never;

export interface Then<S, E extends DomainEvent> {
  /** Exactly these events in this order, each with at least this data. */
  then(...events: Told<E>[]): S;
  thenRefused(code: RefusalCode, more?: Omit<ExpectedRefusal, 'code'>): void;
  /** Accepted, but there was nothing to do. */
  thenNothing(): void;
}

/** `given(decider, history).when(command).then(...)`. The history may hold commands too: they must be accepted. */
export function given<S, C extends Command, E extends DomainEvent>(
  decider: Decider<S, C, E>,
  history: readonly (C | E)[] = [],
): { state: S; when(cmd: C): Then<S, E> } {
  const state = history.reduce<S>((before, step) => {
    if (!('meta' in step)) return decider.evolve(before, step);
    const { state: after, refusal } = play(decider, before, step);
    expect(refusal).toBeNull();
    return after;
  }, decider.initialState);
  return {
    state,
    when(cmd) {
      const after = play(decider, state, cmd);
      return {
        then(...events) {
          expect(after.refusal).toBeNull();
          expect(after.events.map(({ type }) => type)).toEqual(events.map(({ type }) => type));
          expect(after.events).toMatchObject(events);
          return after.state;
        },
        thenRefused(code, more = {}) {
          expect(after.refusal).toMatchObject({ code, ...more });
        },
        thenNothing() {
          expect({ refusal: after.refusal, events: after.events }).toEqual({ refusal: null, events: [] });
        },
      };
    },
  };
}
