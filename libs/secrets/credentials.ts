import { type Algorithm, hash, verify } from '@node-rs/argon2';
import type { Refusal } from '#libs/events/catalogue/index.js';
import { type Pool, withTransaction } from '#libs/postgres/index.js';
import { newToken, normaliseEmail, type RootKeys } from './crypto.js';
import type { PostgresSessions } from './sessions.js';
import {
  type Credentials,
  type LoginAttempt,
  type LoginRecord,
  type NewCredential,
  type PersonKeys,
  SecretsError,
} from './types.js';

/** OWASP's first choice for Argon2id: 19 MiB, two passes, one lane. The const enum does not survive swc: 2 is Argon2id. */
const ARGON2 = { algorithm: 2 as Algorithm, memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const ARGON2_PREFIX = `$argon2id$v=19$m=${ARGON2.memoryCost},t=${ARGON2.timeCost},p=${ARGON2.parallelism}$`;
const PASSWORD_MIN = 10;
const PASSWORD_MAX = 256;
const EMAIL_MAX = 320;

/** Wrong tries that cost nothing; from there on each doubles the wait. */
const THROTTLE = {
  /** One address, known or not. */
  email: { free: 5, firstWaitSeconds: 30, longestWaitSeconds: 900 },
  /** One place: an office has many people behind it. */
  ip: { free: 100, firstWaitSeconds: 30, longestWaitSeconds: 900 },
} as const;
const QUIET_MINUTES = 60;
const KEEP_HISTORY = `interval '180 days'`;

interface Row {
  user_id: string;
  organisation_id: string;
  email_hash: Buffer;
  password_hash: string;
  status: 'RESERVED' | 'ACTIVE' | 'DISABLED';
}

const refuse = (code: string, message: string, more: Pick<Refusal, 'path' | 'details'> = {}): Refusal => ({
  refused: true,
  code,
  message,
  ...more,
});

const invalid = (): Refusal => refuse('INVALID_CREDENTIALS', 'E-mail or password is wrong.');

function checkPassword(password: string, path: string[]): Refusal | undefined {
  const length = [...password].length;
  if (length < PASSWORD_MIN) {
    return refuse('PASSWORD_TOO_SHORT', `A password has at least ${PASSWORD_MIN} characters.`, {
      path,
      details: { minimum: PASSWORD_MIN },
    });
  }
  if (length > PASSWORD_MAX) {
    return refuse('PASSWORD_TOO_LONG', `A password has at most ${PASSWORD_MAX} characters.`, {
      path,
      details: { maximum: PASSWORD_MAX },
    });
  }
  return undefined;
}

export interface CredentialsDeps {
  pool: Pool;
  keys: PersonKeys;
  sessions: PostgresSessions;
  root: () => RootKeys;
  clock: () => Date;
  onError: (error: Error) => void;
}

export class PostgresCredentials implements Credentials {
  /** Verified against when there is no such user, so that both take the same work. */
  private decoy: Promise<string> | undefined;
  private readonly background = new Set<Promise<void>>();

  constructor(private readonly deps: CredentialsDeps) {}

  async createCredential(input: NewCredential): Promise<{ status: 'RESERVED' | 'ACTIVE' | 'DISABLED' } | Refusal> {
    const email = normaliseEmail(input.email);
    if (email.length > EMAIL_MAX || !/^[^\s@]+@[^\s@]+$/.test(email)) {
      return refuse('EMAIL_INVALID', 'This is not an e-mail address.', { path: ['input', 'email'] });
    }
    const weak = checkPassword(input.password, ['input', 'password']);
    if (weak) return weak;
    const emailHash = this.deps.root().emailHash(email);
    // Looked at before the costly hash; the insert decides.
    const before = await this.holder(input.userId, emailHash);
    if (before) return before;
    const passwordHash = await this.hash(input.password);
    const now = this.deps.clock();
    await this.deps.pool.query(
      `INSERT INTO secrets.credentials (user_id, organisation_id, email_hash, password_hash, status, reserved_at, password_changed_at)
       VALUES ($1, $2, $3, $4, 'RESERVED', $5, $5) ON CONFLICT DO NOTHING`,
      [input.userId, input.organisationId, emailHash, passwordHash, now],
    );
    return (await this.holder(input.userId, emailHash)) ?? this.createCredential(input);
  }

  async confirmCredential(userId: string): Promise<boolean> {
    const { rowCount } = await this.deps.pool.query(
      `UPDATE secrets.credentials SET
         status = CASE WHEN status = 'RESERVED' THEN 'ACTIVE' ELSE status END,
         confirmed_at = COALESCE(confirmed_at, $2)
       WHERE user_id = $1`,
      [userId, this.deps.clock()],
    );
    return rowCount === 1;
  }

  async releaseCredential(userId: string): Promise<boolean> {
    const { rowCount } = await this.deps.pool.query(
      `DELETE FROM secrets.credentials WHERE user_id = $1 AND status = 'RESERVED'`,
      [userId],
    );
    return rowCount === 1;
  }

  async reservations(olderThan: Date): Promise<{ userId: string; organisationId: string; reservedAt: Date }[]> {
    const { rows } = await this.deps.pool.query<{ user_id: string; organisation_id: string; reserved_at: Date }>(
      `SELECT user_id, organisation_id, reserved_at FROM secrets.credentials
       WHERE status = 'RESERVED' AND reserved_at < $1 ORDER BY reserved_at LIMIT 1000`,
      [olderThan],
    );
    return rows.map((row) => ({
      userId: row.user_id,
      organisationId: row.organisation_id,
      reservedAt: row.reserved_at,
    }));
  }

  async verifyLogin(attempt: LoginAttempt): Promise<{ userId: string; organisationId: string } | Refusal> {
    // Long before any address is looked up, so it tells nothing.
    if ([...attempt.password].length > PASSWORD_MAX || attempt.email.length > EMAIL_MAX) return invalid();
    const root = this.deps.root();
    const emailHash = root.emailHash(attempt.email);
    const bySubject = root.throttleSubject('email', emailHash);
    const byIp = attempt.ip === undefined ? undefined : root.throttleSubject('ip', attempt.ip);
    const row = await this.find(emailHash);
    const throttled =
      (byIp && (await this.countAttempt(byIp, THROTTLE.ip))) ?? (await this.countAttempt(bySubject, THROTTLE.email));
    if (throttled) {
      if (row) this.record(row.user_id, 'THROTTLED', attempt);
      return throttled;
    }
    const right = await this.matches(row?.password_hash, attempt.password);
    if (!row || !right || row.status !== 'ACTIVE') {
      if (row) this.record(row.user_id, right ? 'DISABLED' : 'WRONG_PASSWORD', attempt);
      return invalid();
    }
    await this.forgive(bySubject, byIp);
    this.record(row.user_id, 'SUCCEEDED', attempt);
    if (!row.password_hash.startsWith(ARGON2_PREFIX)) {
      await this.deps.pool.query(
        `UPDATE secrets.credentials SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2`,
        [row.user_id, row.password_hash, await this.hash(attempt.password)],
      );
    }
    return { userId: row.user_id, organisationId: row.organisation_id };
  }

  async changePassword(input: {
    userId: string;
    currentPassword?: string;
    newPassword: string;
    keepSessionId?: string;
  }): Promise<{ changed: true } | Refusal> {
    const weak = checkPassword(input.newPassword, ['input', 'newPassword']);
    if (weak) return weak;
    const { rows } = await this.deps.pool.query<Row>(`SELECT * FROM secrets.credentials WHERE user_id = $1`, [
      input.userId,
    ]);
    const row = rows[0];
    if (!row) return refuse('USER_UNKNOWN', 'There is no such user.');
    if (input.currentPassword !== undefined) {
      const subject = this.deps.root().throttleSubject('email', row.email_hash);
      const throttled = await this.countAttempt(subject, THROTTLE.email);
      if (throttled) return throttled;
      if (!(await this.matches(row.password_hash, input.currentPassword))) {
        return { ...invalid(), path: ['input', 'currentPassword'] };
      }
      await this.forgive(subject);
    }
    const passwordHash = await this.hash(input.newPassword);
    const changed = await withTransaction(this.deps.pool, async (client) => {
      const { rowCount } = await client.query(
        `UPDATE secrets.credentials SET password_hash = $3, password_changed_at = $4
         WHERE user_id = $1 AND ($5 OR password_hash = $2)`,
        [input.userId, row.password_hash, passwordHash, this.deps.clock(), input.currentPassword === undefined],
      );
      if (rowCount === 1)
        await this.deps.sessions.endAll(client, input.userId, 'PASSWORD_CHANGED', input.keepSessionId);
      return rowCount === 1;
    });
    // Changed by another in the meantime: what was verified is no longer the password.
    return changed ? { changed: true } : { ...invalid(), path: ['input', 'currentPassword'] };
  }

  async disableUser(userId: string): Promise<void> {
    await withTransaction(this.deps.pool, async (client) => {
      await client.query(`UPDATE secrets.credentials SET status = 'DISABLED' WHERE user_id = $1`, [userId]);
      await this.deps.sessions.endAll(client, userId, 'USER_DISABLED');
    });
  }

  async enableUser(userId: string): Promise<void> {
    await this.deps.pool.query(
      `UPDATE secrets.credentials SET status = 'ACTIVE', confirmed_at = COALESCE(confirmed_at, $2)
       WHERE user_id = $1 AND status = 'DISABLED'`,
      [userId, this.deps.clock()],
    );
  }

  async loginHistory(userId: string, options: { limit?: number; before?: Date } = {}): Promise<LoginRecord[]> {
    const { rows } = await this.deps.pool.query<{
      at: Date;
      outcome: LoginRecord['outcome'];
      ip: string | null;
      user_agent: string | null;
    }>(
      `SELECT at, outcome, ip, user_agent FROM secrets.login_history
       WHERE user_id = $1 AND ($2::timestamptz IS NULL OR at < $2) ORDER BY at DESC, id DESC LIMIT $3`,
      [userId, options.before ?? null, Math.min(Math.max(options.limit ?? 50, 1), 200)],
    );
    const ring = await this.deps.keys.keysFor(rows.length > 0 ? [userId] : []);
    const clear = (value: string | null, field: string): string | null =>
      value === null ? null : (ring.decrypt(userId, value, `login.${field}`) ?? null);
    return rows.map((row) => ({
      at: row.at,
      outcome: row.outcome,
      ip: clear(row.ip, 'ip'),
      userAgent: clear(row.user_agent, 'userAgent'),
    }));
  }

  /** Forgets old attempts and logins. */
  async sweep(): Promise<void> {
    const now = this.deps.clock();
    await this.deps.pool.query(
      `DELETE FROM secrets.login_attempts WHERE last_at < $1::timestamptz - interval '1 day'`,
      [now],
    );
    await this.deps.pool.query(`DELETE FROM secrets.login_history WHERE at < $1::timestamptz - ${KEEP_HISTORY}`, [now]);
  }

  /** Waits for login records under way. */
  async settle(): Promise<void> {
    await Promise.all(this.background);
  }

  /** What the address or the user holds already, as the answer to creating it. */
  private async holder(
    userId: string,
    emailHash: Buffer,
  ): Promise<{ status: 'RESERVED' | 'ACTIVE' | 'DISABLED' } | Refusal | undefined> {
    const { rows } = await this.deps.pool.query<Row>(
      `SELECT * FROM secrets.credentials WHERE user_id = $1 OR email_hash = $2`,
      [userId, emailHash],
    );
    const byEmail = rows.find((row) => row.email_hash.equals(emailHash));
    if (byEmail && byEmail.user_id !== userId) {
      return refuse('EMAIL_TAKEN', 'Somebody has this e-mail address already.', { path: ['input', 'email'] });
    }
    if (byEmail) return { status: byEmail.status };
    if (rows.length > 0) {
      return refuse('CREDENTIAL_EXISTS', 'The user has another e-mail address.', { path: ['input', 'email'] });
    }
    return undefined;
  }

  private async find(emailHash: Buffer): Promise<Row | undefined> {
    const { rows } = await this.deps.pool.query<Row>(
      `SELECT * FROM secrets.credentials WHERE email_hash = $1 AND status <> 'RESERVED'`,
      [emailHash],
    );
    return rows[0];
  }

  private hash(password: string): Promise<string> {
    return hash(password.normalize('NFKC'), { ...ARGON2, secret: this.deps.root().pepper });
  }

  private async matches(passwordHash: string | undefined, password: string): Promise<boolean> {
    this.decoy ??= this.hash(newToken());
    const against = passwordHash ?? (await this.decoy);
    const right = await verify(against, password.normalize('NFKC'), { secret: this.deps.root().pepper });
    return right && passwordHash !== undefined;
  }

  /** Counts before the password is looked at, so that many tries at once don't slip through together. */
  private async countAttempt(
    subject: Buffer,
    rule: { free: number; firstWaitSeconds: number; longestWaitSeconds: number },
  ): Promise<Refusal | undefined> {
    const now = this.deps.clock();
    const { rowCount } = await this.deps.pool.query(
      `INSERT INTO secrets.login_attempts AS a (subject, failures, last_at) VALUES ($1, 1, $2)
       ON CONFLICT (subject) DO UPDATE SET
         failures = CASE WHEN a.last_at < $2::timestamptz - $6 * interval '1 minute' THEN 1 ELSE a.failures + 1 END,
         last_at = $2,
         blocked_until = CASE
           WHEN a.last_at < $2::timestamptz - $6 * interval '1 minute' OR a.failures + 1 < $3 THEN NULL
           ELSE $2::timestamptz + LEAST($5, $4 * 2 ^ LEAST(a.failures + 1 - $3, 20)) * interval '1 second'
         END
       WHERE a.blocked_until IS NULL OR a.blocked_until <= $2`,
      [subject, now, rule.free, rule.firstWaitSeconds, rule.longestWaitSeconds, QUIET_MINUTES],
    );
    if (rowCount === 1) return undefined;
    const { rows } = await this.deps.pool.query<{ blocked_until: Date | null }>(
      `SELECT blocked_until FROM secrets.login_attempts WHERE subject = $1`,
      [subject],
    );
    const wait = (rows[0]?.blocked_until?.getTime() ?? now.getTime()) - now.getTime();
    const retryAfterSeconds = Math.max(1, Math.ceil(wait / 1_000));
    return refuse('LOGIN_THROTTLED', `Too many wrong tries: try again in ${retryAfterSeconds} s.`, {
      details: { retryAfterSeconds },
    });
  }

  /** The address starts afresh; the place only gets this one try back, or an account of one's own would open all others. */
  private async forgive(bySubject: Buffer, byIp?: Buffer): Promise<void> {
    await this.deps.pool.query(`DELETE FROM secrets.login_attempts WHERE subject = $1`, [bySubject]);
    if (byIp) {
      await this.deps.pool.query(
        `UPDATE secrets.login_attempts SET failures = GREATEST(failures - 1, 0) WHERE subject = $1`,
        [byIp],
      );
    }
  }

  /** Not waited for: it would tell known addresses from unknown ones by the clock. */
  private record(userId: string, outcome: LoginRecord['outcome'], attempt: LoginAttempt): void {
    const at = this.deps.clock();
    const work = (async () => {
      const sealed = async (value: string | undefined, field: string): Promise<string | null> =>
        value === undefined ? null : this.deps.keys.encrypt(userId, value.slice(0, 500), `login.${field}`);
      const ip = await sealed(attempt.ip, 'ip');
      const userAgent = await sealed(attempt.userAgent, 'userAgent');
      await this.deps.pool.query(
        `INSERT INTO secrets.login_history (user_id, at, outcome, ip, user_agent) VALUES ($1, $2, $3, $4, $5)`,
        [userId, at, outcome, ip, userAgent],
      );
    })().catch((error: unknown) => {
      // Erased between the look-up and now: nothing is to be kept of them.
      if (!(error instanceof SecretsError && error.code === 'PERSON_ERASED')) this.deps.onError(error as Error);
    });
    this.background.add(work);
    void work.finally(() => this.background.delete(work));
  }
}
