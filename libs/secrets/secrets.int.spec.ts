import { jest } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { newKey } from './crypto.js';
import { type EndedSession, openSecrets, type Secrets, type SecretsOptions } from './index.js';

const masterKey = newKey();
const password = 'correct horse battery';
const T0 = Date.parse('2026-03-01T10:00:00Z');

let database: TestDatabase;
let pool: Pool;
let now: number;
const opened: Secrets[] = [];
const errors: Error[] = [];

const openOne = async (options: Partial<SecretsOptions> = {}): Promise<Secrets> => {
  const secrets = await openSecrets({
    databaseUrl: database.url,
    masterKey,
    clock: () => new Date(now),
    onError: (error) => errors.push(error),
    ...options,
  });
  opened.push(secrets);
  return secrets;
};

const until = async (what: () => boolean | Promise<boolean>, ms = 5_000): Promise<number> => {
  const started = performance.now();
  while (!(await what())) {
    if (performance.now() - started > ms) throw new Error(`did not happen within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return performance.now() - started;
};

beforeAll(async () => {
  database = await testDatabase();
  pool = createPool(database.url);
});

afterAll(async () => {
  await pool?.end();
  await database?.drop();
});

beforeEach(() => {
  now = T0;
  errors.length = 0;
});

afterEach(async () => {
  await Promise.all(opened.splice(0).map((secrets) => secrets.close()));
  await pool.query(
    `TRUNCATE secrets.keyring, secrets.person_keys, secrets.credentials, secrets.login_attempts, secrets.login_history,
       secrets.sessions, secrets.command_outcomes`,
  );
  expect(errors).toEqual([]);
});

/** Drops every NOTIFY from here on, as a network may: nothing is told to whoever listens. */
const deafen = async (): Promise<void> => {
  await pool.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%listener'`,
  );
};

describe('person keys', () => {
  it('encrypt for one person and survive a restart', async () => {
    const first = await openOne();
    const person = randomUUID();
    const sealed = await first.keys.encrypt(person, 'Ada Lovelace', 'UserRegistered.name');
    expect(await first.keys.decrypt(person, sealed, 'UserRegistered.name')).toBe('Ada Lovelace');
    await first.close();
    const second = await openOne();
    expect(await second.keys.decrypt(person, sealed, 'UserRegistered.name')).toBe('Ada Lovelace');
    await expect(second.keys.decrypt(person, sealed, 'UserRegistered.email')).rejects.toMatchObject({
      code: 'CIPHERTEXT_INVALID',
    });
  });

  it('are one, however many ask for the first time at once', async () => {
    const processes = await Promise.all([openOne(), openOne(), openOne()]);
    const person = randomUUID();
    const sealed = await Promise.all(
      Array.from({ length: 50 }, (_, n) => processes[n % 3]!.keys.encrypt(person, `value ${n}`, 'f')),
    );
    const { rows } = await pool.query(`SELECT * FROM secrets.person_keys WHERE person_id = $1`, [person]);
    expect(rows).toHaveLength(1);
    const fresh = await openOne();
    expect(await Promise.all(sealed.map((text) => fresh.keys.decrypt(person, text, 'f')))).toEqual(
      sealed.map((_, n) => `value ${n}`),
    );
  });

  it('come in batches with overlapping persons, without deadlock', async () => {
    const processes = await Promise.all([openOne(), openOne()]);
    const persons = Array.from({ length: 40 }, () => randomUUID());
    const rings = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        processes[n % 2]!.keys.keysFor(n % 3 ? persons : [...persons].reverse(), { create: true }),
      ),
    );
    for (const person of persons) {
      const sealed = rings[0]!.encrypt(person, person, 'f');
      for (const ring of rings) expect(ring.decrypt(person, sealed, 'f')).toBe(person);
    }
  });

  it('are not made by reading', async () => {
    const { keys } = await openOne();
    const person = randomUUID();
    const sealed = await keys.encrypt(person, 'x', 'f');
    await pool.query(`DELETE FROM secrets.person_keys`);
    const fresh = await openOne();
    await expect(fresh.keys.decrypt(person, sealed, 'f')).rejects.toMatchObject({ code: 'PERSON_KEY_MISSING' });
    const ring = await fresh.keys.keysFor([person]);
    expect(() => ring.decrypt(person, sealed, 'f')).toThrow(expect.objectContaining({ code: 'PERSON_KEY_MISSING' }));
  });

  it('stay in memory on hot paths', async () => {
    const own = createPool(database.url, { max: 2 });
    try {
      const { keys } = await openOne({ pool: own });
      const persons = Array.from({ length: 200 }, () => randomUUID());
      const ring = await keys.keysFor(persons, { create: true });
      const sealed = persons.map((person) => ring.encrypt(person, 'x', 'f'));
      const queries = jest.spyOn(own, 'query');
      await keys.keysFor(persons);
      for (const [n, person] of persons.entries()) await keys.decrypt(person, sealed[n]!, 'f');
      expect(queries.mock.calls.filter(([sql]) => String(sql).includes('WHERE person_id = ANY'))).toHaveLength(0);
    } finally {
      await opened.pop()!.close();
      await own.end();
    }
  });

  it('once destroyed, read as nothing everywhere and are never made again', async () => {
    const [here, there] = await Promise.all([openOne(), openOne()]);
    const person = randomUUID();
    const sealed = await here.keys.encrypt(person, 'x', 'f');
    expect(await there.keys.decrypt(person, sealed, 'f')).toBe('x');
    const told: string[] = [];
    there.keys.onErased((id) => told.push(id));
    const erasure = await here.keys.destroy(person);
    expect(erasure).toEqual({ personId: person, erasedAt: new Date(T0) });
    expect(await here.keys.decrypt(person, sealed, 'f')).toBeUndefined();
    await until(async () => (await there.keys.decrypt(person, sealed, 'f')) === undefined, 1_500);
    expect(told).toEqual([person]);
    for (const { keys } of [here, there, await openOne()]) {
      await expect(keys.encrypt(person, 'y', 'f')).rejects.toMatchObject({ code: 'PERSON_ERASED' });
      expect((await keys.keysFor([person], { create: true })).decrypt(person, sealed, 'f')).toBeUndefined();
    }
    now += 60_000;
    expect(await there.keys.destroy(person)).toEqual(erasure);
    expect(await there.keys.erasures()).toEqual([erasure]);
    expect(await there.keys.erasures(new Date(T0 + 1))).toEqual([]);
    const { rows } = await pool.query(`SELECT wrapped, master_key_id FROM secrets.person_keys`);
    expect(rows).toEqual([{ wrapped: null, master_key_id: null }]);
  });

  it('are known to be destroyed also when the NOTIFY was lost', async () => {
    const there = await openOne();
    const person = randomUUID();
    const sealed = await there.keys.encrypt(person, 'x', 'f');
    // As another process would, without telling.
    await pool.query(
      `UPDATE secrets.person_keys SET wrapped = NULL, master_key_id = NULL, destroyed_at = now(), changed_at = clock_timestamp()`,
    );
    await until(async () => (await there.keys.decrypt(person, sealed, 'f')) === undefined, 2_000);
  });

  it('can be destroyed before they exist', async () => {
    const { keys } = await openOne();
    const person = randomUUID();
    await keys.destroy(person);
    await expect(keys.encrypt(person, 'x', 'f')).rejects.toMatchObject({ code: 'PERSON_ERASED' });
  });

  it('stay readable when the master key changes, and not without it', async () => {
    const old = await openOne();
    const persons = Array.from({ length: 1_100 }, () => randomUUID());
    const ring = await old.keys.keysFor(persons, { create: true });
    const sealed = persons.map((person) => ring.encrypt(person, person, 'f'));
    await old.credentials.createCredential({ userId: persons[0]!, organisationId: 'o', email: 'a@b.c', password });
    await old.credentials.confirmCredential(persons[0]!);
    await old.close();

    const next = newKey();
    await expect(openOne({ masterKey: next })).rejects.toMatchObject({ code: 'MASTER_KEY_WRONG' });
    const rotated = await openOne({ masterKey: next, previousMasterKeys: [masterKey] });
    await rotated.close();
    await expect(openOne()).rejects.toMatchObject({ code: 'MASTER_KEY_WRONG' });
    const after = await openOne({ masterKey: next });
    const again = await after.keys.keysFor(persons);
    persons.forEach((person, n) => expect(again.decrypt(person, sealed[n]!, 'f')).toBe(person));
    expect(await after.credentials.verifyLogin({ email: 'A@b.c', password })).toEqual({
      userId: persons[0],
      organisationId: 'o',
    });
  });

  it('come back from a backup, but the erased do not', async () => {
    const before = await openOne();
    const [kept, gone, goneLater] = [randomUUID(), randomUUID(), randomUUID()];
    const sealed = new Map<string, string>();
    for (const person of [kept, gone, goneLater]) sealed.set(person, await before.keys.encrypt(person, person, 'f'));
    await before.keys.destroy(gone);
    const backup = await before.keys.exportKeys();
    expect(backup).not.toContain('wrapped');
    const later = await before.keys.destroy(goneLater);
    await before.close();
    await pool.query(`TRUNCATE secrets.person_keys, secrets.keyring`);

    const after = await openOne();
    expect(await after.keys.importKeys(backup, [later])).toEqual({ keys: 1, erasures: 2, conflicts: 0 });
    expect(await after.keys.decrypt(kept, sealed.get(kept)!, 'f')).toBe(kept);
    expect(await after.keys.decrypt(gone, sealed.get(gone)!, 'f')).toBeUndefined();
    expect(await after.keys.decrypt(goneLater, sealed.get(goneLater)!, 'f')).toBeUndefined();
    expect(await after.keys.importKeys(backup)).toEqual({ keys: 0, erasures: 2, conflicts: 0 });
    expect(await after.keys.decrypt(goneLater, sealed.get(goneLater)!, 'f')).toBeUndefined();
  });

  it('refuse a backup that was changed, and count keys that differ', async () => {
    const { keys } = await openOne();
    const person = randomUUID();
    await keys.encrypt(person, 'x', 'f');
    const backup = await keys.exportKeys();
    const [header, line, mac] = backup.split('\n');
    for (const bad of ['', 'x', `${header}\n${mac}\n`, backup.replace(person, randomUUID()), `${header}\n${line}\n`]) {
      await expect(keys.importKeys(bad)).rejects.toMatchObject({ code: 'KEY_BACKUP_INVALID' });
    }
    await pool.query(`TRUNCATE secrets.person_keys`);
    const fresh = await openOne();
    await fresh.keys.encrypt(person, 'other key', 'f');
    expect(await fresh.keys.importKeys(backup)).toEqual({ keys: 0, erasures: 0, conflicts: 1 });
  });
});

describe('credentials', () => {
  const register = async (secrets: Secrets, email: string, userId = randomUUID()): Promise<string> => {
    expect(await secrets.credentials.createCredential({ userId, organisationId: 'org', email, password })).toEqual({
      status: 'RESERVED',
    });
    expect(await secrets.credentials.confirmCredential(userId)).toBe(true);
    return userId;
  };

  it('log in once confirmed, by any spelling of the address', async () => {
    const secrets = await openOne();
    const userId = randomUUID();
    const input = { userId, organisationId: 'org', email: 'Ada@Example.org', password };
    expect(await secrets.credentials.createCredential(input)).toEqual({ status: 'RESERVED' });
    expect(await secrets.credentials.verifyLogin(input)).toMatchObject({ code: 'INVALID_CREDENTIALS' });
    await secrets.credentials.confirmCredential(userId);
    expect(await secrets.credentials.createCredential(input)).toEqual({ status: 'ACTIVE' });
    expect(await secrets.credentials.verifyLogin({ email: ' ada@EXAMPLE.org', password })).toEqual({
      userId,
      organisationId: 'org',
    });
    const { rows } = await pool.query(`SELECT * FROM secrets.credentials`);
    expect(JSON.stringify(rows)).not.toMatch(/ada|correct horse/i);
    expect(rows[0].password_hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
  });

  it('give one address to one user of fifty at once', async () => {
    const processes = await Promise.all([openOne(), openOne()]);
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        processes[n % 2]!.credentials.createCredential({
          userId: randomUUID(),
          organisationId: 'org',
          email: n % 3 ? 'one@example.org' : ' ONE@example.org',
          password,
        }),
      ),
    );
    expect(results.filter((result) => 'status' in result)).toHaveLength(1);
    expect(results.filter((result) => 'code' in result && result.code === 'EMAIL_TAKEN')).toHaveLength(49);
  });

  it('let the same registration be tried again at once and after a crash', async () => {
    const secrets = await openOne();
    const input = { userId: randomUUID(), organisationId: 'org', email: 'a@example.org', password };
    const results = await Promise.all(Array.from({ length: 10 }, () => secrets.credentials.createCredential(input)));
    expect(results).toEqual(results.map(() => ({ status: 'RESERVED' })));
    expect(await secrets.credentials.createCredential({ ...input, email: 'b@example.org' })).toMatchObject({
      code: 'CREDENTIAL_EXISTS',
    });
    expect(await secrets.credentials.reservations(new Date(now))).toEqual([]);
    now += 60_000;
    expect(await secrets.credentials.reservations(new Date(now))).toEqual([
      { userId: input.userId, organisationId: 'org', reservedAt: new Date(T0) },
    ]);
    expect(await secrets.credentials.releaseCredential(input.userId)).toBe(true);
    expect(await secrets.credentials.confirmCredential(input.userId)).toBe(false);
    const other = await register(secrets, 'a@example.org');
    expect(await secrets.credentials.releaseCredential(other)).toBe(false);
  });

  it.each([
    [{ email: 'nobody' }, 'EMAIL_INVALID', ['input', 'email']],
    [{ email: `${'x'.repeat(320)}@y.z` }, 'EMAIL_INVALID', ['input', 'email']],
    [{ password: 'short' }, 'PASSWORD_TOO_SHORT', ['input', 'password']],
    [{ password: 'x'.repeat(257) }, 'PASSWORD_TOO_LONG', ['input', 'password']],
  ])('refuse %j', async (change, code, path) => {
    const secrets = await openOne();
    const input = { userId: randomUUID(), organisationId: 'org', email: 'a@example.org', password, ...change };
    expect(await secrets.credentials.createCredential(input)).toMatchObject({ refused: true, code, path });
  });

  it.each(['known@example.org', 'unknown@example.org'])('lock out after wrong tries: %s', async (email) => {
    const secrets = await openOne();
    await register(secrets, 'known@example.org');
    const wrong = (): Promise<unknown> =>
      secrets.credentials.verifyLogin({ email, password: 'wrong', ip: '192.0.2.1' });
    for (let n = 0; n < 5; n++) expect(await wrong()).toMatchObject({ code: 'INVALID_CREDENTIALS' });
    expect(await wrong()).toMatchObject({ code: 'LOGIN_THROTTLED', details: { retryAfterSeconds: 30 } });
    now += 20_000;
    expect(await secrets.credentials.verifyLogin({ email, password })).toMatchObject({
      code: 'LOGIN_THROTTLED',
      details: { retryAfterSeconds: 10 },
    });
    now += 10_000;
    expect(await wrong()).toMatchObject({ code: 'INVALID_CREDENTIALS' });
    expect(await wrong()).toMatchObject({ code: 'LOGIN_THROTTLED', details: { retryAfterSeconds: 60 } });
    now += 60_000;
    if (email === 'known@example.org') {
      expect(await secrets.credentials.verifyLogin({ email, password })).toHaveProperty('userId');
      for (let n = 0; n < 5; n++) expect(await wrong()).toMatchObject({ code: 'INVALID_CREDENTIALS' });
    }
  });

  it('let no more tries through when they come at once, in several processes', async () => {
    const processes = await Promise.all([openOne(), openOne()]);
    await register(processes[0]!, 'a@example.org');
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        processes[n % 2]!.credentials.verifyLogin({ email: 'a@example.org', password: `guess ${n}` }),
      ),
    );
    const codes = results.map((result) => ('code' in result ? result.code : 'IN'));
    expect(codes.filter((code) => code === 'INVALID_CREDENTIALS')).toHaveLength(5);
    expect(codes.filter((code) => code === 'LOGIN_THROTTLED')).toHaveLength(35);
  });

  it('throttle one place that tries many addresses, whoever it logs in as between', async () => {
    const secrets = await openOne();
    await register(secrets, 'mine@example.org');
    const tries = async (from: number, to: number): Promise<string[]> => {
      const results = await Promise.all(
        Array.from({ length: to - from }, (_, n) =>
          secrets.credentials.verifyLogin({ email: `user${from + n}@example.org`, password: 'x', ip: '192.0.2.9' }),
        ),
      );
      return results.map((result) => ('code' in result ? result.code : 'IN'));
    };
    expect(new Set(await tries(0, 99))).toEqual(new Set(['INVALID_CREDENTIALS']));
    expect(
      await secrets.credentials.verifyLogin({ email: 'mine@example.org', password, ip: '192.0.2.10' }),
    ).toHaveProperty('userId');
    expect(await tries(200, 201)).toEqual(['INVALID_CREDENTIALS']);
    expect(await tries(300, 303)).toEqual(['LOGIN_THROTTLED', 'LOGIN_THROTTLED', 'LOGIN_THROTTLED']);
  });

  it('take about as long for unknown addresses as for known ones', async () => {
    const secrets = await openOne();
    const time = async (email: string): Promise<number> => {
      const started = performance.now();
      await secrets.credentials.verifyLogin({ email, password: 'wrong' });
      return performance.now() - started;
    };
    for (let n = 0; n < 4; n++) await register(secrets, `known${n}@example.org`);
    await time('warm@example.org');
    const known: number[] = [];
    const unknown: number[] = [];
    for (let n = 0; n < 8; n++) {
      known.push(await time(`known${n % 4}@example.org`));
      unknown.push(await time(`unknown${n % 4}@example.org`));
    }
    const median = (times: number[]): number => times.sort((a, b) => a - b)[4]!;
    // Argon2 takes tens of milliseconds; leaving it out for unknown addresses would be a factor of ten.
    expect(median(unknown)).toBeGreaterThan(median(known) / 3);
    expect(median(known)).toBeGreaterThan(median(unknown) / 3);
  });

  it('keep a login history whose places only the person’s key opens', async () => {
    const secrets = await openOne();
    const userId = await register(secrets, 'a@example.org');
    const attempt = { email: 'a@example.org', ip: '192.0.2.77', userAgent: 'Firefox on Mac' };
    await secrets.credentials.verifyLogin({ ...attempt, password: 'wrong' });
    now += 1_000;
    await secrets.credentials.verifyLogin({ ...attempt, password });
    await until(async () => (await secrets.credentials.loginHistory(userId)).length === 2);
    expect(await secrets.credentials.loginHistory(userId)).toEqual([
      { at: new Date(T0 + 1_000), outcome: 'SUCCEEDED', ip: '192.0.2.77', userAgent: 'Firefox on Mac' },
      { at: new Date(T0), outcome: 'WRONG_PASSWORD', ip: '192.0.2.77', userAgent: 'Firefox on Mac' },
    ]);
    const { rows } = await pool.query(`SELECT * FROM secrets.login_history`);
    expect(JSON.stringify(rows)).not.toMatch(/192\.0\.2|Firefox/);
    await secrets.keys.destroy(userId);
    expect((await secrets.credentials.loginHistory(userId)).map(({ ip }) => ip)).toEqual([null, null]);
  });

  it('change the password and end the other sessions', async () => {
    const secrets = await openOne();
    const userId = await register(secrets, 'a@example.org');
    const [one, two] = await Promise.all([
      secrets.sessions.createSession({ userId, organisationId: 'org' }),
      secrets.sessions.createSession({ userId, organisationId: 'org' }),
    ]);
    const change = (currentPassword: string): Promise<unknown> =>
      secrets.credentials.changePassword({
        userId,
        currentPassword,
        newPassword: 'a whole new one',
        keepSessionId: one.session.sessionId,
      });
    expect(await change('wrong')).toMatchObject({ code: 'INVALID_CREDENTIALS', path: ['input', 'currentPassword'] });
    expect(await secrets.sessions.authenticate(two.token)).toBeDefined();
    expect(await change(password)).toEqual({ changed: true });
    expect(await secrets.sessions.authenticate(two.token)).toBeUndefined();
    expect(await secrets.sessions.authenticate(one.token)).toBeDefined();
    expect(await secrets.credentials.verifyLogin({ email: 'a@example.org', password })).toHaveProperty('code');
    expect(
      await secrets.credentials.verifyLogin({ email: 'a@example.org', password: 'a whole new one' }),
    ).toHaveProperty('userId', userId);
    expect(
      await secrets.credentials.changePassword({ userId: randomUUID(), newPassword: 'a whole new one' }),
    ).toMatchObject({ code: 'USER_UNKNOWN' });
  });

  it('of a disabled user open nothing, until enabled', async () => {
    const secrets = await openOne();
    const userId = await register(secrets, 'a@example.org');
    const { token } = await secrets.sessions.createSession({ userId, organisationId: 'org' });
    await secrets.credentials.disableUser(userId);
    expect(await secrets.sessions.authenticate(token)).toBeUndefined();
    expect(await secrets.credentials.verifyLogin({ email: 'a@example.org', password })).toMatchObject({
      code: 'INVALID_CREDENTIALS',
    });
    await expect(secrets.sessions.createSession({ userId, organisationId: 'org' })).rejects.toMatchObject({
      code: 'USER_DISABLED',
    });
    await secrets.credentials.enableUser(userId);
    expect(await secrets.credentials.verifyLogin({ email: 'a@example.org', password })).toHaveProperty('userId');
  });

  it('leave no live session when logins race with the disabling', async () => {
    const processes = await Promise.all([openOne(), openOne()]);
    const userId = await register(processes[0]!, 'a@example.org');
    const logins = Array.from({ length: 20 }, (_, n) =>
      processes[n % 2]!.sessions.createSession({ userId, organisationId: 'org' }).catch(() => undefined),
    );
    await Promise.all([...logins, processes[1]!.credentials.disableUser(userId)]);
    expect(await processes[0]!.sessions.list({ userId })).toEqual([]);
  });

  it('go with the person, also when a backup from before comes back', async () => {
    const secrets = await openOne();
    const userId = await register(secrets, 'a@example.org');
    const { token } = await secrets.sessions.createSession({ userId, organisationId: 'org', ip: '192.0.2.1' });
    await secrets.credentials.verifyLogin({ email: 'a@example.org', password, ip: '192.0.2.1' });
    await until(async () => (await secrets.credentials.loginHistory(userId)).length === 1);
    const { rows: saved } = await pool.query(`SELECT * FROM secrets.credentials`);
    await secrets.erasePerson(userId);
    expect(await secrets.sessions.authenticate(token)).toBeUndefined();
    expect(await secrets.credentials.verifyLogin({ email: 'a@example.org', password })).toHaveProperty('code');
    expect(await secrets.credentials.loginHistory(userId)).toEqual([]);
    await secrets.close();
    await pool.query(
      `INSERT INTO secrets.credentials SELECT * FROM json_populate_record(NULL::secrets.credentials, $1)`,
      [
        JSON.stringify({
          ...saved[0],
          email_hash: `\\x${saved[0].email_hash.toString('hex')}`,
        }),
      ],
    );
    const restored = await openOne();
    expect(await restored.credentials.verifyLogin({ email: 'a@example.org', password })).toHaveProperty('code');
    expect((await pool.query(`SELECT * FROM secrets.credentials`)).rows).toEqual([]);
  });
});

describe('sessions', () => {
  const login = (secrets: Secrets, userId = 'u1'): ReturnType<Secrets['sessions']['createSession']> =>
    secrets.sessions.createSession({ userId, organisationId: 'org', device: 'Firefox on Mac', ip: '192.0.2.1' });

  it('are opened by a token that is stored nowhere', async () => {
    const secrets = await openOne();
    const { token, session } = await login(secrets);
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(await secrets.sessions.authenticate(token)).toEqual(session);
    const { rows } = await pool.query(`SELECT *, encode(token_hash, 'base64') AS hash FROM secrets.sessions`);
    expect(JSON.stringify(rows)).not.toMatch(new RegExp(`${token}|192\\.0\\.2`));
    expect(await secrets.sessions.authenticate(token.replace(/.$/, token.endsWith('A') ? 'E' : 'A'))).toBeUndefined();
    expect(await secrets.sessions.authenticate(`${token}'; --`)).toBeUndefined();
    expect(await secrets.sessions.list({ organisationId: 'org' })).toEqual([{ ...session, ip: '192.0.2.1' }]);
    expect(await secrets.sessions.list({ userId: 'other' })).toEqual([]);
  });

  it('time out when idle, but not while used', async () => {
    const secrets = await openOne({ sessionIdleMinutes: 30, sessionAbsoluteHours: 2 });
    const { token, session } = await login(secrets);
    for (let n = 0; n < 3; n++) {
      now += 29 * 60_000;
      expect(await secrets.sessions.authenticate(token)).toMatchObject({ lastActiveAt: new Date(now) });
    }
    now += 30 * 60_000;
    expect(await secrets.sessions.authenticate(token)).toBeUndefined();
    expect(await secrets.sessions.touch(session.sessionId)).toBeUndefined();
    expect(await secrets.sessions.rotate(token)).toBeUndefined();
    expect(await secrets.sessions.list({ userId: 'u1' })).toEqual([]);
  });

  it('time out in the end, however much used', async () => {
    const secrets = await openOne({ sessionIdleMinutes: 30, sessionAbsoluteHours: 2 });
    const { token } = await login(secrets);
    for (let n = 0; n < 7; n++) {
      now += 17 * 60_000;
      expect(await secrets.sessions.authenticate(token)).toBeDefined();
    }
    now += 60_000;
    expect(await secrets.sessions.authenticate(token)).toBeUndefined();
  });

  it('write their activity at most once a minute, and answer from memory in between', async () => {
    const own = createPool(database.url, { max: 3 });
    try {
      const secrets = await openOne({ pool: own });
      const { token, session } = await login(secrets);
      const queries = jest.spyOn(own, 'query');
      const count = (text: string): number => queries.mock.calls.filter(([sql]) => String(sql).includes(text)).length;
      for (let n = 0; n < 50; n++) {
        now += 1_000;
        expect(await secrets.sessions.authenticate(token)).toMatchObject({ lastActiveAt: new Date(T0) });
        expect(await secrets.sessions.touch(session.sessionId)).toBeDefined();
      }
      expect(count('SET last_active_at')).toBe(0);
      expect(count('WHERE token_hash')).toBeLessThanOrEqual(1);
      now += 10_000;
      for (let n = 0; n < 10; n++) {
        expect(await secrets.sessions.authenticate(token)).toMatchObject({ lastActiveAt: new Date(now) });
      }
      expect(count('SET last_active_at')).toBe(1);
    } finally {
      await opened.pop()!.close();
      await own.end();
    }
  });

  it('end at once in every process, and each hears of it once', async () => {
    const [here, there] = await Promise.all([openOne(), openOne()]);
    const { token, session } = await login(here);
    const told: EndedSession[][] = [[], []];
    here.sessions.onTerminated((ended) => told[0]!.push(ended));
    there.sessions.onTerminated((ended) => told[1]!.push(ended));
    expect(await there.sessions.authenticate(token)).toEqual(session);
    expect(await here.sessions.terminate(session.sessionId)).toBe(true);
    expect(await here.sessions.authenticate(token)).toBeUndefined();
    expect(await until(async () => !(await there.sessions.authenticate(token)))).toBeLessThan(500);
    expect(await there.sessions.terminate(session.sessionId)).toBe(false);
    const ended = [{ sessionId: session.sessionId, userId: 'u1', reason: 'LOGGED_OUT' }];
    await until(() => told[1]!.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // two catch-ups later
    expect(told).toEqual([ended, ended]);
  });

  it('are over within a second in another process when no NOTIFY arrives', async () => {
    const there = await openOne();
    const told: EndedSession[] = [];
    there.sessions.onTerminated((ended) => told.push(ended));
    const { token, session } = await login(there);
    expect(await there.sessions.authenticate(token)).toBeDefined();
    await pool.query(
      `UPDATE secrets.sessions SET ended_at = now(), end_reason = 'TERMINATED', changed_at = clock_timestamp()`,
    );
    expect(await until(async () => !(await there.sessions.authenticate(token)))).toBeLessThan(1_100);
    await until(() => told.length === 1, 2_000);
    expect(told).toEqual([{ sessionId: session.sessionId, userId: 'u1', reason: 'TERMINATED' }]);
  });

  it('are over within a second also for a process whose listening connection is broken', async () => {
    const [here, there] = await Promise.all([openOne(), openOne({ onError: () => undefined })]);
    const sessions = await Promise.all(Array.from({ length: 20 }, () => login(here)));
    const told = new Set<string>();
    there.sessions.onTerminated(({ sessionId }) => told.add(sessionId));
    for (const { token } of sessions) expect(await there.sessions.authenticate(token)).toBeDefined();
    await deafen();
    expect(await here.sessions.terminateAll('u1')).toBe(20);
    await until(async () => {
      const left = await Promise.all(sessions.map(({ token }) => there.sessions.authenticate(token)));
      return left.every((session) => session === undefined);
    }, 1_200);
    await until(() => told.size === 20, 3_000);
    errors.length = 0; // here's own listener was broken too, and says so
  });

  it('tell of time-outs', async () => {
    const secrets = await openOne({ sessionIdleMinutes: 30 });
    const { session } = await login(secrets);
    const told: EndedSession[] = [];
    secrets.sessions.onTerminated((ended) => told.push(ended));
    now += 31 * 60_000;
    expect(await secrets.sessions.sweep()).toBe(1);
    expect(await secrets.sessions.sweep()).toBe(0);
    expect(told).toEqual([{ sessionId: session.sessionId, userId: 'u1', reason: 'EXPIRED' }]);
  });

  it('rotate: the old token is void, here at once and elsewhere within a second', async () => {
    const [here, there] = await Promise.all([openOne(), openOne()]);
    const { token, session } = await login(here);
    expect(await there.sessions.authenticate(token)).toBeDefined();
    const rotated = await here.sessions.rotate(token);
    expect(rotated!.session.sessionId).toBe(session.sessionId);
    expect(await here.sessions.authenticate(token)).toBeUndefined();
    expect(await here.sessions.authenticate(rotated!.token)).toBeDefined();
    await until(async () => !(await there.sessions.authenticate(token)), 1_100);
    expect(await there.sessions.authenticate(rotated!.token)).toBeDefined();
    const both = await Promise.all([here.sessions.rotate(rotated!.token), there.sessions.rotate(rotated!.token)]);
    expect(both.filter(Boolean)).toHaveLength(1);
  });

  it('are terminated all but one', async () => {
    const secrets = await openOne();
    const [keep, ...others] = await Promise.all([login(secrets), login(secrets), login(secrets), login(secrets, 'u2')]);
    expect(await secrets.sessions.terminateAll('u1', { except: keep!.session.sessionId })).toBe(2);
    expect(await secrets.sessions.authenticate(keep!.token)).toBeDefined();
    expect(await secrets.sessions.authenticate(others[0]!.token)).toBeUndefined();
    expect(await secrets.sessions.authenticate(others[2]!.token)).toBeDefined();
  });
});

describe('command outcomes', () => {
  const outcome = {
    organisationId: 'org',
    commandId: 'c1',
    commandHash: 'h1',
    stream: 'version-1',
    outcome: { refused: true, code: 'VERSION_LOCKED', details: { n: [1, null, 'x'] } },
  };

  const { outcome: _outcome, ...claim } = outcome;

  it('are remembered across restarts; the first stays', async () => {
    const first = await openOne();
    expect(await first.outcomes.claimId(claim)).toBeUndefined();
    expect(await first.outcomes.rememberOutcome(outcome)).toEqual({ ...outcome, at: new Date(T0) });
    now += 1_000;
    expect(await first.outcomes.rememberOutcome({ ...outcome, commandHash: 'h2', outcome: null })).toEqual({
      ...outcome,
      at: new Date(T0),
    });
    await first.close();
    const second = await openOne();
    expect(await second.outcomes.claimId(claim)).toEqual({ ...outcome, at: new Date(T0) });
    expect(await second.outcomes.claimId({ ...claim, organisationId: 'other' })).toBeUndefined();
  });

  it('agree when many remember at once', async () => {
    const { outcomes } = await openOne();
    const kept = await Promise.all(
      Array.from({ length: 30 }, (_, n) => outcomes.rememberOutcome({ ...outcome, outcome: n })),
    );
    expect(new Set(kept.map((one) => one.outcome)).size).toBe(1);
    expect((await outcomes.claimId(claim))!.outcome).toBe(kept[0]!.outcome);
  });

  it('begin with the id: it is taken for one command on one stream, whoever asks, also after a restart', async () => {
    const first = await openOne();
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, n) => first.outcomes.claimId({ ...claim, stream: `version-${n}` })),
    );
    expect(claims.filter((taken) => taken === undefined)).toHaveLength(1);
    const stream = `version-${claims.indexOf(undefined)}`;
    await first.close();
    const { outcomes } = await openOne();
    const held = { ...claim, stream, outcome: null, at: new Date(T0) };
    expect(await outcomes.claimId({ ...claim, stream: 'version-x' })).toEqual(held);
    expect(await outcomes.claimId({ ...claim, stream, commandHash: 'h2' })).toEqual(held);
    expect(await outcomes.claimId({ ...claim, stream })).toBeUndefined();
    // What another command came to does not take its place; what it came to itself does.
    await outcomes.rememberOutcome({ ...outcome, stream: 'version-x' });
    expect(await outcomes.claimId({ ...claim, stream })).toBeUndefined();
    await outcomes.rememberOutcome({ ...outcome, stream });
    expect(await outcomes.claimId({ ...claim, stream })).toMatchObject({ outcome: outcome.outcome });
  });

  it('are forgotten after seven days', async () => {
    const { outcomes } = await openOne();
    await outcomes.rememberOutcome(outcome);
    now += 7 * 24 * 3_600_000 - 1;
    expect(await outcomes.claimId(claim)).toBeDefined();
    expect(await outcomes.expireOutcomes()).toBe(0);
    now += 1;
    expect(await outcomes.claimId({ ...claim, stream: 'version-2' })).toBeUndefined();
    now += 8 * 24 * 3_600_000;
    expect(await outcomes.rememberOutcome({ ...outcome, commandHash: 'h2' })).toMatchObject({ commandHash: 'h2' });
    now += 8 * 24 * 3_600_000;
    expect(await outcomes.expireOutcomes()).toBe(1);
  });
});

describe('opening', () => {
  it('refuses a newer schema', async () => {
    await (await openOne()).close();
    await pool.query(
      `INSERT INTO secrets.schema_migrations (version, name, checksum) VALUES (99, 'from the future', 'x')`,
    );
    try {
      await expect(openOne()).rejects.toMatchObject({ code: 'SCHEMA_NEWER' });
    } finally {
      await pool.query(`DELETE FROM secrets.schema_migrations WHERE version = 99`);
    }
  });

  it('works for several processes at once on an empty database', async () => {
    const empty = await testDatabase();
    try {
      const all = await Promise.all(
        Array.from({ length: 4 }, () => openSecrets({ databaseUrl: empty.url, masterKey })),
      );
      const sealed = await all[0]!.keys.encrypt('p', 'x', 'f');
      expect(await all[3]!.keys.decrypt('p', sealed, 'f')).toBe('x');
      await Promise.all(all.map((secrets) => secrets.close()));
    } finally {
      await empty.drop();
    }
  });
});
