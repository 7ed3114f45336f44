import { setTimeout as sleep } from 'node:timers/promises';
import { openEventLog } from './kurrent-log.js';
import type { EventLog, PersonCipher } from './types.js';

/** For reading what is not personal: needs no key, opens nothing. */
export const BLIND: PersonCipher = {
  encrypt: () => Promise.reject(new Error('This log is only read')),
  decrypt: () => Promise.resolve(undefined),
};

/** The keys' own knowledge of who was erased. */
export interface Erasures {
  erasuresKnownTo(): Promise<bigint | null>;
  takeErasures(personIds: readonly string[], upTo: bigint): Promise<void>;
}

/**
 * Applies what the log has erased and the keys don't know: nothing as a rule, and everything since the backup when they
 * were restored from one. To be done before anything is decrypted or served. Returns how many persons.
 *
 * @param log opened with {@link BLIND}: keys may be missing
 * @throws LogUnavailable
 */
export async function applyErasures(log: EventLog, erasures: Erasures): Promise<number> {
  const after = await erasures.erasuresKnownTo();
  const head = await log.head();
  if (after !== null && head === after) return 0;
  const persons: string[] = [];
  // Keys that know more than this log were used with another: they are compared with all of it.
  const from = after !== null && after <= head ? after : null;
  for await (const { type, data } of log.readAll({ after: from, categories: ['user'] }))
    if (type === 'PersonErased') persons.push((data as { userId: string }).userId);
  await erasures.takeErasures(persons, head);
  return persons.length;
}

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2000;

/** The same when a process starts: waits for the event store as long as it takes, rather than show what was erased. */
export async function startWithErasures(options: {
  readonly url: string;
  readonly secrets: Erasures;
  readonly logger: { info(details: object, message: string): void; warn(details: object, message: string): void };
}): Promise<void> {
  const { url, secrets, logger } = options;
  const log = openEventLog({ url, cipher: BLIND });
  try {
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        const persons = await applyErasures(log, secrets);
        if (persons > 0) logger.info({ persons }, 'erasures of the log applied to the keys');
        return;
      } catch (err) {
        logger.warn({ err }, 'waiting for the event store: erasures must be known first');
        await sleep(backoff);
      }
    }
  } finally {
    await log.close();
  }
}
