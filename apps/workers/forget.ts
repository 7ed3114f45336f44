import { setTimeout as sleep } from 'node:timers/promises';
import { createPool, scrub, type ScrubbedTable } from '#libs/postgres/index.js';
import { identity, readCheckpoint, tableOf, UserRow } from '#libs/read-models/index.js';
import type { Config, Logger } from '#libs/runtime/index.js';
import type { Secrets } from '#libs/secrets/index.js';
import { NotYet } from './reaction.js';

/** Read models that show personal data in the clear: every version, and copies under way. */
const IN_THE_CLEAR: readonly ScrubbedTable[] = [{ schemaPrefix: identity.name, table: tableOf(UserRow).name }];
const SECRET: readonly ScrubbedTable[] = ['person_keys', 'credentials', 'sessions', 'login_history'].map((table) => ({
  schemaPrefix: 'secrets',
  table,
}));
const PATIENCE_MS = 60_000;
const LOOK_MS = 100;

interface ForgetOptions {
  readonly secrets: Pick<Secrets, 'erasePerson'>;
  readonly databases: Pick<Config['databases'], 'read' | 'secrets'>;
  /** Keeps the list of who was erased apart from the databases. */
  readonly listErasures: () => Promise<void>;
  readonly logger: Logger;
}

/**
 * The rest of an erasure, every step of which may be repeated: the key and all that is secret about the person, then,
 * once the read models show them redacted, the traces in the databases' files.
 */
export const forgetter =
  ({ secrets, databases, listErasures, logger }: ForgetOptions) =>
  async (personId: string, position: bigint): Promise<void> => {
    const started = performance.now();
    await secrets.erasePerson(personId);
    await listErasures();
    await redacted(databases.read, position);
    const done = [await scrub(databases.secrets, SECRET), await scrub(databases.read, IN_THE_CLEAR)];
    logger.info(
      { personId, tables: done.flatMap(({ tables }) => tables), ms: Math.round(performance.now() - started) },
      'a person was forgotten',
    );
    if (!done.every(({ wal }) => wal))
      logger.warn({ personId }, 'the database server keeps its old write-ahead log: ask its operator to remove it');
  };

/** The read model has seen the erasure. @throws Error when it does not in time; to be tried again */
async function redacted(url: string, position: bigint): Promise<void> {
  const pool = createPool(url, { max: 1, applicationName: 'picturelock workers' });
  try {
    const deadline = Date.now() + PATIENCE_MS;
    while (((await readCheckpoint(pool, identity)) ?? -1n) < position) {
      if (Date.now() > deadline) throw new NotYet('The read model of people has not seen the erasure yet');
      await sleep(LOOK_MS);
    }
  } finally {
    await pool.end();
  }
}
