import type { AnyEvent, CommandMeta, RecordedEvent } from '#libs/events/catalogue/index.js';
import { deriveCommandId } from '#libs/events/catalogue/index.js';
import { LogUnavailable, type CommandExecutor, type EventLog, type LogSubscription } from '#libs/events/log/index.js';
import type { Jobs, ParkedReaction } from '#libs/jobs/index.js';
import { isTransient } from '#libs/postgres/index.js';
import type { Logger } from '#libs/runtime/index.js';
import { setTimeout as sleep } from 'node:timers/promises';

type EventType = AnyEvent['type'];

/** An event of one of some types, so that a `switch` on `type` knows its data. */
export type Happened<T extends EventType = EventType> = {
  [K in T]: RecordedEvent<Extract<AnyEvent, { type: K }>> & { readonly type: K };
}[T];

export interface ReactionTools {
  readonly executor: CommandExecutor;
  readonly jobs: Jobs;
  readonly logger: Logger;
  /** Finishes the erasure of a person that the log has at a position. */
  readonly forget: (personId: string, position: bigint) => Promise<void>;
}

/**
 * What follows from events: a job, or a next command. Runs at least once for each event of its types, in log order but
 * for those that were parked; everything it does must bear to be done twice (ids derived from the event's make that so).
 */
export interface Reaction<T extends EventType = EventType> {
  /** Names its checkpoint; never changes. */
  readonly name: string;
  /** All it is told of: what happens most is nothing to react to, and should not be sent here. */
  readonly types: readonly T[];
  /**
   * Where order matters: events with the same key wait for a parked one. Of an unreadable event it is the id that its
   * stream is named by. Without, none ever waits for another.
   */
  readonly inOrder?: (event: Happened<T>) => string;
  react(event: Happened<T>, tools: ReactionTools): Promise<void>;
}

/** Infers what `react` gets from `types`. */
export const reaction = <const T extends EventType>(definition: Reaction<T>): Reaction =>
  definition as unknown as Reaction;

/** The envelope of a command that follows from an event. */
export function consequence(event: Happened, name: string): CommandMeta {
  return {
    commandId: deriveCommandId(event.id, name),
    organisationId: event.metadata.organisationId,
    actor: { userId: null, role: 'SERVICE' },
    at: new Date().toISOString(),
    correlationId: event.metadata.$correlationId,
    causationId: event.id,
  };
}

/** Something that an event's reaction needs is not there yet: to be tried again, and no reason to park the event. */
export class NotYet extends Error {
  override readonly name = 'NotYet';
}

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** While events keep coming, batches are this far apart, milliseconds. */
const GATHER_MS = 50;
/** A position reached with nothing to do is stored after this, milliseconds: to lose it costs a look at what follows. */
const IDLE_SAVE_MS = 500;
/** Tries, 100 ms apart and twice as much each time, before an event is parked. */
const ATTEMPTS = 5;
/** A parked event is tried again by itself after this long, seconds; the wait doubles each time. */
const FIRST_RETRY_SECONDS = 10;
const MAX_RETRY_SECONDS = 3600;
/** How often parked events are looked at. */
const LOOK_MS = 1000;

/** Nothing the event is to blame for: it goes away by waiting. */
const isOutage = (error: unknown): boolean =>
  error instanceof NotYet || error instanceof LogUnavailable || isTransient(error);

/** The message of an error and of what caused it. */
const told = (error: unknown): string =>
  error instanceof Error
    ? [error.message, ...(error.cause instanceof Error ? [error.cause.message] : [])].join(': ')
    : String(error);

async function firstOf<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}

const idOf = (stream: string): string => stream.slice(stream.indexOf('-') + 1);

/**
 * Follows the log for one reaction with its own durable checkpoint, which moves only after what the reaction did is
 * stored. An event that fails is tried a few times and then parked with its error, so that it stops no other; parked
 * events are tried again by themselves, ever more seldom, and when the operator says so. While something that all
 * depend on is away, the reaction waits for it and parks nothing.
 */
export function runReaction(
  reaction: Reaction,
  log: EventLog,
  tools: ReactionTools,
  signal: AbortSignal,
): Promise<void> {
  const { jobs, logger } = tools;
  const { name } = reaction;
  const rest = (ms: number): Promise<void> => sleep(ms, undefined, { signal }).catch(() => undefined);
  /** Keys with something put aside. */
  let held = new Set<string>();
  // New events and parked ones take turns: what waits must not be overtaken while it is being looked at.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };

  const keyOf = (event: RecordedEvent): string | null => {
    if (!reaction.inOrder) return null;
    return event.unreadable ? idOf(event.stream) : reaction.inOrder(event as Happened);
  };
  /** Undefined when it was reacted to, or the process stops. */
  const failureOf = async (
    event: RecordedEvent,
    most: number,
  ): Promise<{ error: unknown; attempts: number } | undefined> => {
    let attempts = 0;
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      if (event.unreadable) return { error: event.unreadable, attempts: 1 };
      try {
        await reaction.react(event as Happened, tools);
        return undefined;
      } catch (error) {
        const outage = isOutage(error);
        if (!outage && ++attempts >= most) return { error, attempts };
        logger.warn(
          { err: error, reaction: name, eventType: event.type, position: String(event.position) },
          outage ? 'reaction waits for what it needs' : 'reaction failed, will try again',
        );
        await rest(backoff);
      }
    }
    return undefined;
  };
  const handle = async (event: RecordedEvent): Promise<void> => {
    const key = keyOf(event);
    if (key !== null && held.has(key)) return jobs.parked.put(name, key, event);
    const failed = await failureOf(event, ATTEMPTS);
    if (!failed || signal.aborted) return;
    const { error, attempts } = failed;
    await jobs.parked.put(name, key, event, { message: told(error), attempts, retryInSeconds: FIRST_RETRY_SECONDS });
    if (key !== null) held.add(key);
    logger.error(
      { err: error, reaction: name, eventType: event.type, stream: event.stream, position: String(event.position) },
      'a reaction has parked an event: `picturelock reactions parked`',
    );
  };

  /** Tries what has been put aside and whose turn has come, in log order; what waits for one that fails again waits on. */
  const retry = async (): Promise<void> => {
    const open = await jobs.parked.open(name);
    const stuck = new Set<string>();
    for (const { key, due, ...parked } of open) {
      if (signal.aborted) return;
      if (key !== null && stuck.has(key)) continue;
      if (due && (await again(parked))) continue;
      if (key !== null) stuck.add(key);
    }
    held = stuck;
  };
  const again = async (parked: Omit<ParkedReaction, 'key'>): Promise<boolean> => {
    const { stream, revision, position, attempts } = parked;
    let failed: Awaited<ReturnType<typeof failureOf>>;
    try {
      const event = await firstOf(log.readStream(stream, { from: BigInt(revision), limit: 1 }));
      if (event?.id !== parked.eventId) throw new Error('The log has this event no more');
      // A read of one stream need not tell the position in all.
      failed = await failureOf({ ...event, position }, 1);
    } catch (error) {
      if (isOutage(error)) throw error;
      failed = { error, attempts: 1 };
    }
    if (signal.aborted) return false;
    if (!failed) {
      await jobs.parked.settle(name, position);
      logger.info({ reaction: name, eventType: parked.eventType, stream }, 'a parked event was reacted to');
      return true;
    }
    const retryInSeconds = Math.min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** Math.max(0, attempts - ATTEMPTS + 1));
    const event = { id: parked.eventId, type: parked.eventType, stream, revision, position };
    await jobs.parked.put(name, null, event, {
      message: told(failed.error),
      attempts: failed.attempts,
      retryInSeconds,
    });
    logger.warn({ err: failed.error, reaction: name, stream, retryInSeconds }, 'a parked event failed again');
    return false;
  };
  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      await rest(LOOK_MS);
      if (signal.aborted) return;
      await inTurn(retry).catch((err: unknown) => logger.warn({ err, reaction: name }, 'parked events must wait'));
    }
  };
  const idle = new IdlePosition((position) => {
    // The next one to be stored says more than this one.
    jobs.checkpoint.save(name, position).catch(() => undefined);
  }, signal);
  const follow = async (): Promise<void> => {
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        const after = (await jobs.checkpoint.load(name)) ?? null;
        held = new Set((await jobs.parked.open(name)).flatMap(({ key }) => (key === null ? [] : [key])));
        const subscription: LogSubscription = log.subscribe({
          after,
          types: reaction.types,
          maxBatch: 200,
          gatherMs: GATHER_MS,
          unreadable: 'deliver',
          signal,
          onBatch: ({ events, position }) =>
            inTurn(async () => {
              backoff = FIRST_BACKOFF_MS;
              if (events.length === 0) return idle.reached(position);
              for (const event of events) {
                if (signal.aborted) return;
                await handle(event);
              }
              // Stopped in the middle of a batch: what was not done must be done next time.
              if (signal.aborted) return;
              idle.settled();
              await jobs.checkpoint.save(name, position);
            }),
        });
        await subscription.done;
      } catch (err) {
        logger.error({ err, reaction: name }, 'reaction stopped, will resume');
        await rest(backoff);
      }
    }
  };
  return Promise.all([follow(), watch()]).then(() => undefined);
}

/** The last position that was reached with nothing to do, stored now and then. */
class IdlePosition {
  #timer: NodeJS.Timeout | undefined;
  #position = 0n;

  constructor(
    private readonly save: (position: bigint) => void,
    signal: AbortSignal,
  ) {
    signal.addEventListener('abort', () => this.settled(), { once: true });
  }

  reached(position: bigint): void {
    this.#position = position;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.save(this.#position);
    }, IDLE_SAVE_MS);
  }

  /** What was reached before is stored with something newer, or not at all. */
  settled(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
