import type { AnyEvent, CommandMeta, RecordedEvent } from '#libs/events/catalogue/index.js';
import { deriveCommandId } from '#libs/events/catalogue/index.js';
import type { CommandExecutor, EventLog, LogSubscription } from '#libs/events/log/index.js';
import type { Jobs } from '#libs/jobs/index.js';
import type { Logger } from '#libs/runtime/index.js';
import { setTimeout as sleep } from 'node:timers/promises';

/** An event of any type, so that a `switch` on `type` knows its data. */
export type Happened = {
  [T in AnyEvent['type']]: RecordedEvent<Extract<AnyEvent, { type: T }>> & { readonly type: T };
}[AnyEvent['type']];

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
export interface Reaction {
  /** Names its checkpoint; never changes. */
  readonly name: string;
  /** Stream categories it reads. */
  readonly categories: readonly string[];
  react(event: Happened, tools: ReactionTools): Promise<void>;
}

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
  const follow = async (): Promise<void> => {
    for (let backoff = FIRST_BACKOFF_MS; !signal.aborted; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        const after = (await jobs.checkpoint.load(reaction.name)) ?? null;
        const subscription: LogSubscription = log.subscribe({
          after,
          categories: reaction.categories,
          maxBatch: 200,
          signal,
          onBatch: async ({ events, position }) => {
            for (const event of events) {
              if (signal.aborted) return;
              await insist(event as Happened);
            }
            // Stopped in the middle of a batch: what was not done must be done next time.
            if (!signal.aborted) await jobs.checkpoint.save(reaction.name, position);
            backoff = FIRST_BACKOFF_MS;
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
