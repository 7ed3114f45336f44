import { randomUUID } from 'node:crypto';
import { type Pool, type PoolClient, withTransaction } from '#libs/postgres/index.js';
import { hashToken, isToken, newToken } from './crypto.js';
import { CHANNEL } from './person-keys.js';
import {
  type EndedSession,
  type ListedSession,
  type PersonKeys,
  SecretsError,
  type Session,
  type SessionEnd,
  type Sessions,
} from './types.js';

/** A session is never believed to be on for longer than this after the database said so. */
const TRUST_MS = 1_000;
/** Sessions not used for this long leave the memory. */
const WARM_MS = 5_000;
const CACHE_MAX = 5_000;
const TOUCH_EVERY_MS = 60_000;
/** An end may become visible this much later than its `changed_at` says. */
const OVERLAP_MS = 15_000;
const TOLD_MAX = 10_000;
const KEEP_ENDED = `interval '90 days'`;

const COLUMNS = 'session_id, token_hash, user_id, organisation_id, device, created_at, last_active_at, expires_at';

interface Row {
  session_id: string;
  token_hash: Buffer;
  user_id: string;
  organisation_id: string;
  device: string | null;
  created_at: Date;
  last_active_at: Date;
  expires_at: Date;
}

interface Cached {
  session: Session;
  hash: string;
  /** Monotonic, taken before the database was asked. */
  validAt: number;
  usedAt: number;
}

const toSession = (row: Row): Session => ({
  sessionId: row.session_id,
  userId: row.user_id,
  organisationId: row.organisation_id,
  device: row.device,
  createdAt: row.created_at,
  lastActiveAt: row.last_active_at,
  expiresAt: row.expires_at,
});

export interface SessionsDeps {
  pool: Pool;
  keys: PersonKeys;
  clock: () => Date;
  idleMinutes: number;
  absoluteHours: number;
}

export class PostgresSessions implements Sessions {
  private readonly byId = new Map<string, Cached>();
  private readonly idByHash = new Map<string, string>();
  /** Grows whenever a session ends or changes: a read begun before is not kept. */
  private generation = 0;
  private readonly listeners = new Set<(ended: EndedSession) => void>();
  private readonly told = new Set<string>();
  private seenUntil: Date | undefined;

  constructor(private readonly deps: SessionsDeps) {}

  async createSession(input: {
    userId: string;
    organisationId: string;
    device?: string;
    ip?: string;
  }): Promise<{ token: string; session: Session }> {
    const token = newToken();
    const sessionId = randomUUID();
    const now = this.deps.clock();
    const ip =
      input.ip === undefined ? null : await this.deps.keys.encrypt(input.userId, input.ip, `session.${sessionId}.ip`);
    const expiresAt = new Date(now.getTime() + this.deps.absoluteHours * 3_600_000);
    const session = await withTransaction(this.deps.pool, async (client) => {
      // Locked, so that a disabling at the same moment either is seen here or sees the session.
      const { rows: users } = await client.query<{ status: string }>(
        `SELECT status FROM secrets.credentials WHERE user_id = $1 FOR SHARE`,
        [input.userId],
      );
      if (users[0]?.status === 'DISABLED') throw new SecretsError('USER_DISABLED', 'The user is disabled');
      const { rows } = await client.query<Row>(
        `INSERT INTO secrets.sessions (session_id, token_hash, user_id, organisation_id, device, ip, created_at, last_active_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8) RETURNING ${COLUMNS}`,
        [
          sessionId,
          hashToken(token),
          input.userId,
          input.organisationId,
          input.device?.slice(0, 500) ?? null,
          ip,
          now,
          expiresAt,
        ],
      );
      return toSession(rows[0]!);
    });
    return { token, session };
  }

  async authenticate(token: string): Promise<Session | undefined> {
    if (!isToken(token)) return undefined;
    const hash = hashToken(token);
    const id = this.idByHash.get(hash.toString('base64'));
    return (id && this.trusted(id)) || this.read('token_hash = $1', hash);
  }

  async touch(sessionId: string): Promise<Session | undefined> {
    return this.trusted(sessionId) ?? this.read('session_id = $1', sessionId);
  }

  async rotate(token: string): Promise<{ token: string; session: Session } | undefined> {
    if (!isToken(token)) return undefined;
    const next = newToken();
    const now = this.deps.clock();
    const { rows } = await this.deps.pool.query<Row>(
      `WITH rotated AS (
         UPDATE secrets.sessions SET token_hash = $2, last_active_at = GREATEST(last_active_at, $3)
         WHERE token_hash = $1 AND ${this.live('$3', '$4')} RETURNING ${COLUMNS}
       ) SELECT *, pg_notify('${CHANNEL}', 'rotated:' || session_id) FROM rotated`,
      [hashToken(token), hashToken(next), now, this.idleSince(now)],
    );
    if (!rows[0]) return undefined;
    this.forget(rows[0].session_id);
    return { token: next, session: toSession(rows[0]) };
  }

  async terminate(sessionId: string, reason: SessionEnd = 'LOGGED_OUT'): Promise<boolean> {
    return (await this.end(this.deps.pool, 'session_id = $3', [sessionId], reason)) > 0;
  }

  async terminateAll(userId: string, options: { except?: string; reason?: SessionEnd } = {}): Promise<number> {
    return this.endAll(this.deps.pool, userId, options.reason ?? 'TERMINATED', options.except);
  }

  /** As `terminateAll`, as part of a transaction: others hear of it when it commits. */
  endAll(on: Pool | PoolClient, userId: string, reason: SessionEnd, except?: string): Promise<number> {
    return this.end(
      on,
      'user_id = $3 AND ($4::uuid IS NULL OR session_id <> $4)',
      [userId, except ?? null],
      reason,
      on === this.deps.pool,
    );
  }

  async list(of: { userId: string } | { organisationId: string }): Promise<ListedSession[]> {
    const now = this.deps.clock();
    const { rows } = await this.deps.pool.query<Row & { ip: string | null }>(
      `SELECT ${COLUMNS}, ip FROM secrets.sessions
       WHERE ${'userId' in of ? 'user_id' : 'organisation_id'} = $3 AND ${this.live('$1', '$2')}
       ORDER BY last_active_at DESC, session_id LIMIT 200`,
      [now, this.idleSince(now), 'userId' in of ? of.userId : of.organisationId],
    );
    const ring = await this.deps.keys.keysFor(rows.filter((row) => row.ip !== null).map((row) => row.user_id));
    return rows.map((row) => ({
      ...toSession(row),
      ip: row.ip === null ? null : (ring.decrypt(row.user_id, row.ip, `session.${row.session_id}.ip`) ?? null),
    }));
  }

  onTerminated(callback: (ended: EndedSession) => void): () => void {
    this.listeners.add(callback);
    return () => void this.listeners.delete(callback);
  }

  async sweep(): Promise<number> {
    const now = this.deps.clock();
    const ended = await this.end(
      this.deps.pool,
      '(last_active_at <= $3 OR expires_at <= $1)',
      [this.idleSince(now)],
      'EXPIRED',
    );
    await this.deps.pool.query(`DELETE FROM secrets.sessions WHERE ended_at < $1::timestamptz - ${KEEP_ENDED}`, [now]);
    return ended;
  }

  /** A NOTIFY: `ended:<session>:<user>:<reason>` or `rotated:<session>`. */
  notice(payload: string): void {
    const [what, sessionId, userId, reason] = payload.split(':');
    if (!sessionId) return;
    this.forget(sessionId);
    if (what === 'ended')
      this.tell({ sessionId, userId: userId ?? '', reason: (reason ?? 'TERMINATED') as SessionEnd });
  }

  /** Reads what NOTIFY may have missed, and asks again about the sessions in use. */
  async catchUp(): Promise<void> {
    const { rows: endings } = await this.deps.pool.query<{
      now: Date;
      session_id: string | null;
      user_id: string;
      end_reason: SessionEnd;
    }>(
      `SELECT t.now, s.session_id, s.user_id, s.end_reason
       FROM (SELECT clock_timestamp() AS now) t
       LEFT JOIN secrets.sessions s ON s.ended_at IS NOT NULL AND s.changed_at > $1`,
      [this.seenUntil ?? new Date(Date.now() - OVERLAP_MS)],
    );
    for (const row of endings) {
      if (row.session_id === null) continue;
      this.forget(row.session_id);
      this.tell({ sessionId: row.session_id, userId: row.user_id, reason: row.end_reason });
    }
    this.seenUntil = new Date(endings[0]!.now.getTime() - OVERLAP_MS);
    await this.revalidate();
  }

  private async revalidate(): Promise<void> {
    const asked = performance.now();
    for (const [sessionId, entry] of this.byId) if (asked - entry.usedAt > WARM_MS) this.forget(sessionId);
    if (this.byId.size === 0) return;
    const now = this.deps.clock();
    const { rows } = await this.deps.pool.query<Row>(
      `SELECT ${COLUMNS} FROM secrets.sessions WHERE session_id = ANY($3) AND ${this.live('$1', '$2')}`,
      [now, this.idleSince(now), [...this.byId.keys()]],
    );
    const live = new Map(rows.map((row) => [row.session_id, row]));
    for (const [sessionId, entry] of this.byId) {
      if (entry.validAt > asked) continue;
      const row = live.get(sessionId);
      if (!row || row.token_hash.toString('base64') !== entry.hash) this.forget(sessionId);
      else Object.assign(entry, { session: toSession(row), validAt: asked });
    }
  }

  private idleSince(now: Date): Date {
    return new Date(now.getTime() - this.deps.idleMinutes * 60_000);
  }

  /** SQL: not ended, not timed out. */
  private live(now: string, idleSince: string): string {
    return `ended_at IS NULL AND expires_at > ${now} AND last_active_at > ${idleSince}`;
  }

  /** From memory, when that is fresh and neither a time-out nor an activity has to be looked at. */
  private trusted(sessionId: string): Session | undefined {
    const entry = this.byId.get(sessionId);
    if (!entry || performance.now() - entry.validAt > TRUST_MS) return undefined;
    const now = this.deps.clock().getTime();
    const { lastActiveAt, expiresAt } = entry.session;
    if (expiresAt.getTime() <= now || now - lastActiveAt.getTime() >= TOUCH_EVERY_MS) return undefined;
    if (lastActiveAt <= this.idleSince(new Date(now))) return undefined;
    entry.usedAt = performance.now();
    return entry.session;
  }

  /** From the database; records the activity when the last one known is a minute old. */
  private async read(where: string, value: Buffer | string): Promise<Session | undefined> {
    const asked = performance.now();
    const generation = this.generation;
    const now = this.deps.clock();
    const found = await this.deps.pool.query<Row>(
      `SELECT ${COLUMNS} FROM secrets.sessions WHERE ${where} AND ${this.live('$2', '$3')}`,
      [value, now, this.idleSince(now)],
    );
    let row = found.rows[0];
    if (row && now.getTime() - row.last_active_at.getTime() >= TOUCH_EVERY_MS) {
      const touched = await this.deps.pool.query<Row>(
        `UPDATE secrets.sessions SET last_active_at = GREATEST(last_active_at, $2)
         WHERE ${where} AND ${this.live('$2', '$3')} RETURNING ${COLUMNS}`,
        [value, now, this.idleSince(now)],
      );
      row = touched.rows[0];
    }
    if (!row) return undefined;
    const session = toSession(row);
    if (generation === this.generation && this.byId.size < CACHE_MAX) {
      const hash = row.token_hash.toString('base64');
      this.forgetHash(session.sessionId);
      this.byId.set(session.sessionId, { session, hash, validAt: asked, usedAt: asked });
      this.idByHash.set(hash, session.sessionId);
    }
    return session;
  }

  private async end(
    on: Pool | PoolClient,
    where: string,
    values: readonly unknown[],
    reason: SessionEnd,
    tell = true,
  ): Promise<number> {
    const { rows } = await on.query<{ session_id: string; user_id: string }>(
      `WITH ended AS (
         UPDATE secrets.sessions SET ended_at = $1, end_reason = $2, changed_at = clock_timestamp()
         WHERE ended_at IS NULL AND ${where} RETURNING session_id, user_id
       ) SELECT session_id, user_id, pg_notify('${CHANNEL}', 'ended:' || session_id || ':' || user_id || ':' || $2) FROM ended`,
      [this.deps.clock(), reason, ...values],
    );
    for (const row of rows) {
      this.forget(row.session_id);
      if (tell) this.tell({ sessionId: row.session_id, userId: row.user_id, reason });
    }
    return rows.length;
  }

  private forgetHash(sessionId: string): void {
    const entry = this.byId.get(sessionId);
    if (entry) this.idByHash.delete(entry.hash);
  }

  private forget(sessionId: string): void {
    this.generation++;
    this.forgetHash(sessionId);
    this.byId.delete(sessionId);
  }

  private tell(ended: EndedSession): void {
    if (this.told.has(ended.sessionId)) return;
    this.told.add(ended.sessionId);
    if (this.told.size > TOLD_MAX) this.told.delete(this.told.values().next().value!);
    for (const listener of this.listeners) listener(ended);
  }
}
