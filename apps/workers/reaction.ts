import type { AnyEvent, CommandMeta, RecordedEvent } from '#libs/events/catalogue/index.js';
import { deriveCommandId } from '#libs/events/catalogue/index.js';
import type { CommandExecutor, EventLog, LogSubscription } from '#libs/events/log/index.js';
import type { Jobs } from '#libs/jobs/index.js';
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
 * What follows from events: a job, or a next command. Runs at least once for each event, in log order; everything it
 * does must bear to be done twice (ids derived from the event's make that so).
 */
export interface Reaction<T extends EventType = EventType> {
  /** Names its checkpoint; never changes. */
  readonly name: string;
  /** All it is told of: what happens most is nothing to react to, and should not be sent here. */
  readonly types: readonly T[];
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

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** While events keep coming, batches are this far apart, milliseconds. */
const GATHER_MS = 50;
/** A position reached with nothing to do is stored after this, milliseconds: to lose it costs a look at what follows. */
const IDLE_SAVE_MS = 500;

/**
 * Follows the log for one reaction with its own durable checkpoint, which moves only after what the reaction did is
 * stored. An event that fails is tried again with back-off until it succeeds: nothing is skipped.
 */
export function runReaction(
  reaction: Reaction,
  log: EventLog,
  tools: ReactionTools,
  signal: AbortSignal,
): Promise<void> {
  const { jobs, logger } = tools;
  const insist = async (event: Happened): Promise<void> => {
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        return await reaction.react(event, tools);
      } catch (err) {
        logger.error(
          { err, reaction: reaction.name, eventType: event.type, position: String(event.position) },
          'reaction failed, will try again',
        );
        await sleep(backoff, undefined, { signal }).catch(() => undefined);
      }
    }
  };
  const idle = new IdlePosition((position) => {
    // The next one to be stored says more than this one.
    jobs.checkpoint.save(reaction.name, position).catch(() => undefined);
  }, signal);
  const follow = async (): Promise<void> => {
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        const after = (await jobs.checkpoint.load(reaction.name)) ?? null;
        const subscription: LogSubscription = log.subscribe({
          after,
          types: reaction.types,
          maxBatch: 200,
          gatherMs: GATHER_MS,
          signal,
          onBatch: async ({ events, position }) => {
            backoff = FIRST_BACKOFF_MS;
            if (events.length === 0) return idle.reached(position);
            for (const event of events) {
              if (signal.aborted) return;
              await insist(event as Happened);
            }
            // Stopped in the middle of a batch: what was not done must be done next time.
            if (signal.aborted) return;
            idle.settled();
            await jobs.checkpoint.save(reaction.name, position);
          },
        });
        await subscription.done;
      } catch (err) {
        logger.error({ err, reaction: reaction.name }, 'reaction stopped, will resume');
        await sleep(backoff, undefined, { signal }).catch(() => undefined);
      }
    }
  };
  return follow();
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
