import { setTimeout as sleep } from 'node:timers/promises';
import { userDecider, type UserCommand } from '#libs/domain/index.js';
import { deriveCommandId } from '#libs/events/catalogue/index.js';
import type { CommandExecutor, EventLog } from '#libs/events/log/index.js';
import { READ_MODELS } from '#libs/read-models/index.js';
import type { ListedErasure, Logger } from '#libs/runtime/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import type { Access } from '../platform/access.js';
import type { ReadStore } from '../platform/read-store.js';

const AT_ONCE = 16;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 2000;
const PATIENCE_MS = 10_000;
const ALL = READ_MODELS.map(({ name }) => name);

interface Tools {
  readonly log: EventLog;
  readonly executor: CommandExecutor;
  readonly secrets: Pick<Secrets, 'erasePerson' | 'keys'>;
  readonly store: Pick<ReadStore, 'waitFor'>;
  readonly access: Pick<Access, 'raise'>;
  readonly logger: Logger;
}

/**
 * Forgets again who was forgotten after the backup that this log and these keys were restored from. To be done before
 * anything is served: when it returns the log has each erasure, the keys are gone and the read models show it. Waits for
 * what is away, rather than show what was erased. On a home that was not restored it finds nothing to do.
 */
export async function applyListedErasures(listed: readonly ListedErasure[], tools: Tools): Promise<void> {
  const { logger } = tools;
  if (listed.length === 0) return;
  const insist = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    for (let backoff = FIRST_BACKOFF_MS; ; backoff = Math.min(backoff * 2, MAX_BACKOFF_MS)) {
      try {
        return await work();
      } catch (err) {
        logger.warn({ err }, what);
        await sleep(backoff);
      }
    }
  };
  const buried = new Set(
    (await insist('waiting for the keys', () => tools.secrets.keys.erasures())).map(({ personId }) => personId),
  );
  let newest = 0n;
  let persons = 0;
  for (let from = 0; from < listed.length; from += AT_ONCE)
    await Promise.all(
      listed.slice(from, from + AT_ONCE).map(async ({ person }) => {
        const position = await insist('waiting for the event store: listed erasures come first', () =>
          erasedInLog(person, tools),
        );
        if (position !== null && position > newest) newest = position;
        if (position === null && buried.has(person)) return;
        persons++;
        await insist('waiting for the keys', () => tools.secrets.erasePerson(person));
      }),
    );
  if (persons === 0) return;
  logger.warn({ persons }, 'this is a restored backup: who was erased since is erased again');
  if (newest === 0n) return;
  tools.access.raise(newest);
  await insist('waiting for the read models: listed erasures come first', () =>
    tools.store.waitFor(newest, ALL, PATIENCE_MS),
  );
}

/** The position of the erasure that was written now; null when the log had it, or knows no such person. */
async function erasedInLog(person: string, { log, executor }: Tools): Promise<bigint | null> {
  let organisationId: string | undefined;
  for await (const { type, metadata } of log.readStream(`user-${person}`)) {
    if (type === 'PersonErased') return null;
    organisationId ??= metadata.organisationId;
  }
  if (organisationId === undefined) return null;
  const commandId = deriveCommandId(person, 'listed erasure');
  const command: UserCommand = {
    type: 'ErasePerson',
    data: { userId: person },
    meta: {
      commandId,
      organisationId,
      actor: { userId: null, role: 'SERVICE' },
      at: new Date().toISOString(),
      correlationId: commandId,
      causationId: commandId,
    },
  };
  const outcome = await executor.execute(userDecider, person, command);
  if (!outcome.ok) throw new Error(`A listed erasure was refused: ${outcome.refusal.code}`);
  return outcome.position;
}
