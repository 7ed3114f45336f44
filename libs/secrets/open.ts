import { createPool, Listener, migrate, type Pool, withTransaction } from '#libs/postgres/index.js';
import { MasterKeys, newKey, RootKeys } from './crypto.js';
import { PostgresCredentials } from './credentials.js';
import { migrations } from './migrations.js';
import { PostgresOutcomes } from './outcomes.js';
import { CHANNEL, PostgresPersonKeys } from './person-keys.js';
import { PostgresSessions } from './sessions.js';
import type { Secrets, SecretsOptions } from './types.js';

/** Below the second that a session is trusted for. */
const TICK_MS = 600;
const SWEEP_EVERY_MS = 5_000;
const TIDY_EVERY_MS = 3_600_000;

/**
 * Migrates the `secrets` schema, opens the keyring, wraps again what an older master key wrapped, applies the erasures, and
 * listens.
 *
 * @throws SecretsError MASTER_KEY_WRONG; PostgresError SCHEMA_NEWER
 */
export async function openSecrets(options: SecretsOptions): Promise<Secrets> {
  const url = options.databaseUrl ?? options.pool?.options.connectionString;
  if (!url)
    throw new TypeError('openSecrets needs a databaseUrl, or a pool made from one: listening has its own connection');
  const clock = options.clock ?? (() => new Date());
  const onError = options.onError ?? (() => undefined);
  const master = new MasterKeys(options.masterKey, options.previousMasterKeys);
  const pool = options.pool ?? createPool(url, { applicationName: 'picturelock secrets', onError });
  const close = async (): Promise<void> => {
    if (!options.pool) await pool.end();
  };
  try {
    await migrate(pool, 'secrets', migrations);
    const root = await Root.open(pool, master);
    const keys = new PostgresPersonKeys({ pool, master, clock, root, purge: () => purge() });
    const sessions = new PostgresSessions({
      pool,
      keys,
      clock,
      idleMinutes: options.sessionIdleMinutes ?? 60,
      absoluteHours: options.sessionAbsoluteHours ?? 12,
    });
    const credentials = new PostgresCredentials({ pool, keys, sessions, root: () => root.keys, clock, onError });
    const outcomes = new PostgresOutcomes({ pool, clock });

    /** Nothing else may be known of erased persons, also after a backup from before came back. */
    const purge = async (): Promise<void> => {
      const erased = `SELECT person_id FROM secrets.person_keys WHERE destroyed_at IS NOT NULL`;
      const { rows } = await pool.query<{ user_id: string }>(
        `SELECT DISTINCT user_id FROM secrets.sessions WHERE ended_at IS NULL AND user_id IN (${erased})`,
      );
      for (const row of rows) await sessions.terminateAll(row.user_id, { reason: 'ERASED' });
      await pool.query(`DELETE FROM secrets.credentials WHERE user_id IN (${erased})`);
      await pool.query(`DELETE FROM secrets.login_history WHERE user_id IN (${erased})`);
      await pool.query(
        `UPDATE secrets.sessions SET device = NULL, ip = NULL
         WHERE user_id IN (${erased}) AND (device IS NOT NULL OR ip IS NOT NULL)`,
      );
    };

    await keys.rewrap();
    await purge();

    let sweptAt = performance.now();
    let tidiedAt = performance.now();
    const listener = new Listener({
      url,
      channels: [CHANNEL],
      applicationName: 'picturelock secrets listener',
      tickMs: TICK_MS,
      onNotification: (_channel, payload) => {
        if (payload.startsWith('erased:')) keys.notice(payload.slice('erased:'.length));
        else sessions.notice(payload);
      },
      onReconnect: async () => {
        await sessions.catchUp();
        await keys.catchUp();
      },
      onTick: async () => {
        await sessions.catchUp();
        await keys.catchUp();
        const now = performance.now();
        if (now - sweptAt >= SWEEP_EVERY_MS) {
          sweptAt = now;
          await sessions.sweep();
        }
        if (now - tidiedAt >= TIDY_EVERY_MS) {
          tidiedAt = now;
          await outcomes.expireOutcomes();
          await credentials.sweep();
        }
      },
      onError,
    });
    await listener.start();

    let closing: Promise<void> | undefined;
    return {
      keys,
      credentials,
      sessions,
      outcomes,
      erasePerson: async (personId) => {
        // The tombstone first: whatever a crash leaves undone is done on the next opening.
        await keys.destroy(personId);
        await purge();
      },
      erasuresKnownTo: async () => {
        const { rows } = await pool.query<{ position: string }>(`SELECT position::text FROM secrets.erasures_applied`);
        return rows[0] ? BigInt(rows[0].position) : null;
      },
      takeErasures: async (personIds, upTo) => {
        for (const personId of personIds) await keys.destroy(personId);
        if (personIds.length > 0) await purge();
        await pool.query(
          `INSERT INTO secrets.erasures_applied AS e (position) VALUES ($1)
           ON CONFLICT (one) DO UPDATE SET position = greatest(e.position, EXCLUDED.position)`,
          [String(upTo)],
        );
      },
      close: () =>
        (closing ??= (async () => {
          await listener.stop();
          await credentials.settle();
          await close();
        })()),
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The install's root key: made once, wrapped by the master key. */
class Root {
  private constructor(
    private readonly pool: Pool,
    private readonly master: MasterKeys,
    private bytes: Buffer,
    public keys: RootKeys,
  ) {}

  static async open(pool: Pool, master: MasterKeys): Promise<Root> {
    const bytes = await withTransaction(pool, async (client) => {
      const fresh = newKey();
      await client.query(
        `INSERT INTO secrets.keyring (name, master_key_id, wrapped) VALUES ('root', $1, $2) ON CONFLICT DO NOTHING`,
        [master.currentId, master.wrap(fresh, 'root')],
      );
      const { rows } = await client.query<{ master_key_id: string; wrapped: Buffer }>(
        `SELECT master_key_id, wrapped FROM secrets.keyring WHERE name = 'root' FOR UPDATE`,
      );
      const root = master.unwrap(rows[0]!.master_key_id, rows[0]!.wrapped, 'root');
      if (rows[0]!.master_key_id !== master.currentId) {
        await client.query(`UPDATE secrets.keyring SET master_key_id = $1, wrapped = $2 WHERE name = 'root'`, [
          master.currentId,
          master.wrap(root, 'root'),
        ]);
      }
      return root;
    });
    return new Root(pool, master, bytes, new RootKeys(bytes));
  }

  read = (): Buffer => this.bytes;

  /** Takes over a backup's root key, unless credentials here already depend on this one. */
  replace = async (bytes: Buffer): Promise<void> => {
    const { rowCount } = await this.pool.query(
      `UPDATE secrets.keyring SET master_key_id = $1, wrapped = $2
       WHERE name = 'root' AND NOT EXISTS (SELECT 1 FROM secrets.credentials)`,
      [this.master.currentId, this.master.wrap(bytes, 'root')],
    );
    if (rowCount !== 1) return;
    this.bytes = bytes;
    this.keys = new RootKeys(bytes);
  };
}
