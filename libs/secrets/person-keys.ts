import { timingSafeEqual, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { type Pool, withTransaction } from '#libs/postgres/index.js';
import { assertCiphertext, assertPersonId, type MasterKeys, newKey, open, seal, secretKey } from './crypto.js';
import { type Erasure, type KeyRing, type PersonKeys, SecretsError } from './types.js';

const CACHE_MAX = 10_000;
/** Keys are read anew after this long, should both the NOTIFY and the clock behind it have failed. */
const CACHE_TTL_MS = 60_000;
/** An erasure may become visible this much later than its `changed_at` says. */
const OVERLAP_MS = 15_000;
export const CHANNEL = 'picturelock_secrets';

/** A key; `null` is a tombstone. */
type Held = KeyObject | null;

interface Row {
  person_id: string;
  master_key_id: string | null;
  wrapped: Buffer | null;
  created_at: Date;
  destroyed_at: Date | null;
}

const backupHeader = z.object({
  format: z.literal('picturelock-keys'),
  version: z.literal(1),
  exportedAt: z.string(),
  masterKeyId: z.string(),
  root: z.string(),
});
const backupLine = z.union([
  z.object({ person: z.string(), key: z.string(), created: z.iso.datetime() }),
  z.object({ person: z.string(), erased: z.iso.datetime() }),
]);
const backupEnd = z.object({ mac: z.string() });

const erased = (personId: string): SecretsError =>
  new SecretsError('PERSON_ERASED', `The key of person ${personId} was destroyed`);
const missing = (personId: string): SecretsError =>
  new SecretsError('PERSON_KEY_MISSING', `There is no key of person ${personId}`);

class Ring implements KeyRing {
  constructor(private readonly keys: ReadonlyMap<string, Held>) {}

  encrypt(personId: string, plaintext: string, aad: string): string {
    const key = this.keys.get(personId);
    if (key === undefined) throw missing(personId);
    if (key === null) throw erased(personId);
    return seal(key, personId, plaintext, aad);
  }

  decrypt(personId: string, ciphertext: string, aad: string): string | undefined {
    assertCiphertext(personId, ciphertext);
    const key = this.keys.get(personId);
    if (key === undefined) throw missing(personId);
    return key === null ? undefined : open(key, personId, ciphertext, aad);
  }
}

export interface PersonKeysDeps {
  pool: Pool;
  master: MasterKeys;
  clock: () => Date;
  /** Root key of the install, for the backup. */
  root: { read: () => Buffer; replace: (root: Buffer) => Promise<void> };
  /** Removes what else is known of erased persons. */
  purge: () => Promise<void>;
}

export class PostgresPersonKeys implements PersonKeys {
  /** Oldest use first. */
  private readonly cache = new Map<string, { key: Held; at: number }>();
  private readonly loading = new Map<string, Promise<Held | undefined>>();
  private readonly listeners = new Set<(personId: string) => void>();
  private readonly told = new Set<string>();
  private seenUntil: Date | undefined;

  constructor(private readonly deps: PersonKeysDeps) {}

  async encrypt(personId: string, plaintext: string, aad: string): Promise<string> {
    assertPersonId(personId);
    const key = await this.one(personId, true);
    if (!key) throw erased(personId);
    return seal(key, personId, plaintext, aad);
  }

  async decrypt(personId: string, ciphertext: string, aad: string): Promise<string | undefined> {
    assertCiphertext(personId, ciphertext);
    const key = await this.one(personId, false);
    if (key === undefined) throw missing(personId);
    return key === null ? undefined : open(key, personId, ciphertext, aad);
  }

  async keysFor(personIds: readonly string[], options: { create?: boolean } = {}): Promise<KeyRing> {
    const found = new Map<string, Held>();
    const unknown: string[] = [];
    for (const personId of new Set(personIds)) {
      assertPersonId(personId);
      const held = this.cached(personId);
      if (held === undefined) unknown.push(personId);
      else found.set(personId, held);
    }
    if (unknown.length > 0) for (const entry of await this.load(unknown, options.create ?? false)) found.set(...entry);
    return new Ring(found);
  }

  async destroy(personId: string): Promise<Erasure> {
    assertPersonId(personId);
    const [erasure] = await this.bury([{ personId, erasedAt: this.deps.clock() }]);
    // The dead row still holds the wrapped key until it is vacuumed. Not every role may; autovacuum comes anyway.
    await this.deps.pool.query('VACUUM (SKIP_LOCKED) secrets.person_keys').catch(() => undefined);
    return erasure!;
  }

  async erasures(since?: Date): Promise<Erasure[]> {
    const { rows } = await this.deps.pool.query<{ person_id: string; destroyed_at: Date }>(
      `SELECT person_id, destroyed_at FROM secrets.person_keys
       WHERE destroyed_at IS NOT NULL AND ($1::timestamptz IS NULL OR destroyed_at >= $1)
       ORDER BY destroyed_at, person_id`,
      [since ?? null],
    );
    return rows.map((row) => ({ personId: row.person_id, erasedAt: row.destroyed_at }));
  }

  onErased(callback: (personId: string) => void): () => void {
    this.listeners.add(callback);
    return () => void this.listeners.delete(callback);
  }

  async exportKeys(): Promise<string> {
    const { master, pool } = this.deps;
    // Wrapped anew for the backup, so that one master key opens it whatever stage a rotation is at.
    const header: z.infer<typeof backupHeader> = {
      format: 'picturelock-keys',
      version: 1,
      exportedAt: this.deps.clock().toISOString(),
      masterKeyId: master.currentId,
      root: master.wrap(this.deps.root.read(), 'root').toString('base64url'),
    };
    const { rows } = await pool.query<Row>(`SELECT * FROM secrets.person_keys ORDER BY person_id`);
    const lines = rows.map((row): z.infer<typeof backupLine> => {
      if (row.destroyed_at) return { person: row.person_id, erased: row.destroyed_at.toISOString() };
      const key = master.wrap(this.unwrap(row), `person:${row.person_id}`).toString('base64url');
      return { person: row.person_id, key, created: row.created_at.toISOString() };
    });
    const body = [header, ...lines].map((line) => `${JSON.stringify(line)}\n`).join('');
    return `${body}${JSON.stringify({ mac: master.mac(master.currentId, body).toString('base64url') })}\n`;
  }

  async importKeys(
    backup: string,
    erasures: readonly Erasure[] = [],
  ): Promise<{ keys: number; erasures: number; conflicts: number }> {
    const { header, lines } = this.readBackup(backup);
    const { master, pool } = this.deps;
    await this.deps.root.replace(master.unwrap(header.masterKeyId, Buffer.from(header.root, 'base64url'), 'root'));
    const dead = [...erasures];
    const live: { personId: string; key: Buffer; created: string }[] = [];
    for (const line of lines) {
      assertPersonId(line.person);
      if ('erased' in line) dead.push({ personId: line.person, erasedAt: new Date(line.erased) });
      else {
        const wrapped = Buffer.from(line.key, 'base64url');
        const key = master.unwrap(header.masterKeyId, wrapped, `person:${line.person}`);
        live.push({ personId: line.person, key, created: line.created });
      }
    }
    // Tombstones first: a key must not come alive for a moment.
    await this.bury(dead);
    let keys = 0;
    let conflicts = 0;
    for (let from = 0; from < live.length; from += 500) {
      const batch = live.slice(from, from + 500);
      const inserted = await this.insert(batch);
      keys += inserted;
      if (inserted === batch.length) continue;
      for (const row of await this.rows(batch.map(({ personId }) => personId))) {
        const ours = row.wrapped ? this.unwrap(row) : undefined;
        if (ours && !timingSafeEqual(ours, batch.find(({ personId }) => personId === row.person_id)!.key)) conflicts++;
      }
    }
    this.cache.clear();
    // Who was erased after the backup was made is known to the log: it is asked again, from the start.
    await pool.query(`DELETE FROM secrets.erasures_applied`);
    await this.deps.purge();
    const { rows } = await pool.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM secrets.person_keys WHERE destroyed_at IS NOT NULL`,
    );
    return { keys, erasures: rows[0]!.n, conflicts };
  }

  /** Wraps again whatever an older master key wrapped. */
  async rewrap(): Promise<number> {
    let total = 0;
    for (;;) {
      const done = await withTransaction(this.deps.pool, async (client) => {
        const { rows } = await client.query<Row>(
          `SELECT * FROM secrets.person_keys WHERE master_key_id <> $1 ORDER BY person_id LIMIT 500 FOR UPDATE`,
          [this.deps.master.currentId],
        );
        if (rows.length === 0) return 0;
        await client.query(
          `UPDATE secrets.person_keys AS p SET master_key_id = $1, wrapped = n.wrapped
           FROM unnest($2::text[], $3::bytea[]) AS n (person_id, wrapped) WHERE p.person_id = n.person_id`,
          [
            this.deps.master.currentId,
            rows.map((row) => row.person_id),
            rows.map((row) => this.deps.master.wrap(this.unwrap(row), `person:${row.person_id}`)),
          ],
        );
        return rows.length;
      });
      if (done === 0) return total;
      total += done;
    }
  }

  /** Another process destroyed a key, or this one did. */
  notice(personId: string): void {
    // A tombstone and no gap: a read that began before must not put the key back.
    this.put(personId, null);
    if (this.told.has(personId)) return;
    this.told.add(personId);
    if (this.told.size > CACHE_MAX) this.told.delete(this.told.values().next().value!);
    for (const listener of this.listeners) listener(personId);
  }

  /** Reads what NOTIFY may have missed. */
  async catchUp(): Promise<void> {
    const { rows } = await this.deps.pool.query<{ now: Date; persons: string[] | null }>(
      `SELECT clock_timestamp() AS now,
        (SELECT array_agg(person_id) FROM secrets.person_keys WHERE destroyed_at IS NOT NULL AND changed_at > $1) AS persons`,
      [this.seenUntil ?? new Date(Date.now() - OVERLAP_MS)],
    );
    for (const personId of rows[0]!.persons ?? []) this.notice(personId);
    this.seenUntil = new Date(rows[0]!.now.getTime() - OVERLAP_MS);
  }

  private cached(personId: string): Held | undefined {
    const entry = this.cache.get(personId);
    if (!entry) return undefined;
    // A tombstone is for ever.
    if (entry.key !== null && performance.now() - entry.at > CACHE_TTL_MS) {
      this.cache.delete(personId);
      return undefined;
    }
    this.cache.delete(personId);
    this.cache.set(personId, entry);
    return entry.key;
  }

  private put(personId: string, key: Held): void {
    if (this.cache.get(personId)?.key === null) return;
    this.cache.delete(personId);
    this.cache.set(personId, { key, at: performance.now() });
    if (this.cache.size > CACHE_MAX) this.cache.delete(this.cache.keys().next().value!);
  }

  private one(personId: string, create: boolean): Promise<Held | undefined> {
    const held = this.cached(personId);
    if (held !== undefined) return Promise.resolve(held);
    const ticket = `${create ? '+' : '?'}${personId}`;
    let loading = this.loading.get(ticket);
    if (!loading) {
      loading = this.load([personId], create)
        .then((found) => found.get(personId))
        .finally(() => this.loading.delete(ticket));
      this.loading.set(ticket, loading);
    }
    return loading;
  }

  private async load(personIds: readonly string[], create: boolean): Promise<Map<string, Held>> {
    let rows = await this.rows(personIds);
    if (create && rows.length < personIds.length) {
      const known = new Set(rows.map((row) => row.person_id));
      const created = this.deps.clock().toISOString();
      const fresh = personIds.filter((personId) => !known.has(personId));
      await this.insert(fresh.map((personId) => ({ personId, key: newKey(), created })));
      // Whoever was first wins: read what is really there.
      rows = [...rows, ...(await this.rows(fresh))];
    }
    const found = new Map<string, Held>();
    for (const row of rows) {
      // A tombstone that arrived meanwhile is newer than the row.
      const buried = row.wrapped === null || this.cache.get(row.person_id)?.key === null;
      const key = buried ? null : secretKey(this.unwrap(row));
      this.put(row.person_id, key);
      found.set(row.person_id, key);
    }
    return found;
  }

  private async rows(personIds: readonly string[]): Promise<Row[]> {
    const { rows } = await this.deps.pool.query<Row>(`SELECT * FROM secrets.person_keys WHERE person_id = ANY($1)`, [
      personIds,
    ]);
    return rows;
  }

  private async insert(keys: readonly { personId: string; key: Buffer; created: string }[]): Promise<number> {
    // Always in the same order, so that two batches wait for each other and never in a circle.
    const sorted = [...keys].sort((a, b) => (a.personId < b.personId ? -1 : 1));
    const { rowCount } = await this.deps.pool.query(
      `INSERT INTO secrets.person_keys (person_id, master_key_id, wrapped, created_at)
       SELECT person_id, $1, wrapped, created_at
       FROM unnest($2::text[], $3::bytea[], $4::timestamptz[]) WITH ORDINALITY AS n (person_id, wrapped, created_at, nr)
       ORDER BY nr
       ON CONFLICT (person_id) DO NOTHING`,
      [
        this.deps.master.currentId,
        sorted.map(({ personId }) => personId),
        sorted.map(({ personId, key }) => this.deps.master.wrap(key, `person:${personId}`)),
        sorted.map(({ created }) => created),
      ],
    );
    return rowCount ?? 0;
  }

  /** Tombstones for these persons; returns them with the time that was first. */
  private async bury(erasures: readonly Erasure[]): Promise<Erasure[]> {
    if (erasures.length === 0) return [];
    const first = new Map<string, Date>();
    for (const { personId, erasedAt } of erasures) {
      assertPersonId(personId);
      const known = first.get(personId);
      if (!known || erasedAt < known) first.set(personId, erasedAt);
    }
    const sorted = [...first].sort(([a], [b]) => (a < b ? -1 : 1));
    const rows = await withTransaction(this.deps.pool, async (client) => {
      await client.query(
        `WITH buried AS (
           INSERT INTO secrets.person_keys AS p (person_id, created_at, destroyed_at)
           SELECT person_id, at, at FROM unnest($1::text[], $2::timestamptz[]) WITH ORDINALITY AS n (person_id, at, nr) ORDER BY nr
           ON CONFLICT (person_id) DO UPDATE
             SET master_key_id = NULL, wrapped = NULL, destroyed_at = EXCLUDED.destroyed_at, changed_at = clock_timestamp()
             WHERE p.destroyed_at IS NULL
           RETURNING person_id
         ) SELECT pg_notify('${CHANNEL}', 'erased:' || person_id) FROM buried`,
        [sorted.map(([personId]) => personId), sorted.map(([, at]) => at)],
      );
      const found = await client.query<{ person_id: string; destroyed_at: Date }>(
        `SELECT person_id, destroyed_at FROM secrets.person_keys WHERE person_id = ANY($1)`,
        [sorted.map(([personId]) => personId)],
      );
      return found.rows;
    });
    for (const row of rows) this.notice(row.person_id);
    return rows.map((row) => ({ personId: row.person_id, erasedAt: row.destroyed_at }));
  }

  private unwrap(row: Row): Buffer {
    return this.deps.master.unwrap(row.master_key_id!, row.wrapped!, `person:${row.person_id}`);
  }

  private readBackup(text: string): {
    header: z.infer<typeof backupHeader>;
    lines: z.infer<typeof backupLine>[];
  } {
    const invalid = (why: string): SecretsError => new SecretsError('KEY_BACKUP_INVALID', `The key backup ${why}`);
    const parse = <T>(schema: z.ZodType<T>, line: string | undefined): T => {
      try {
        return schema.parse(JSON.parse(line ?? ''));
      } catch {
        throw invalid('is not one, or is cut off');
      }
    };
    const lines = text.trimEnd().split('\n');
    const header = parse(backupHeader, lines[0]);
    const end = parse(backupEnd, lines.at(-1));
    const body = lines
      .slice(0, -1)
      .map((line) => `${line}\n`)
      .join('');
    const expected = this.deps.master.mac(header.masterKeyId, body);
    const mac = Buffer.from(end.mac, 'base64url');
    if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) throw invalid('was changed');
    return { header, lines: lines.slice(1, -1).map((line) => parse(backupLine, line)) };
  }
}
