import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { ConfigError, databaseUrl, loadConfig, loadSettings, publicUrl } from './config.js';
import { ensureSecrets, readSecrets } from './secrets-file.js';
import { variables } from './variables.js';

let home: string;
beforeEach(() => (home = mkdtempSync(join(tmpdir(), 'picturelock-config-'))));
afterEach(() => rmSync(home, { recursive: true, force: true }));

const KEY = Buffer.alloc(32, 7).toString('base64url');
const complete = (): Record<string, string> => ({
  PICTURELOCK_HOME: home,
  DATABASE_URL: 'postgres://u:p@db:5432',
  EVENTSTORE_URL: 'kurrentdb://admin:changeit@log:2113?tls=false',
  MASTER_KEY: KEY,
  MEDIA_SIGNING_KEY: KEY,
});

function issues(run: () => unknown): Record<string, string> {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigError) return Object.fromEntries(error.issues.map((i) => [i.variable, i.message]));
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('loadSettings', () => {
  it('needs nothing', () => {
    expect(loadSettings({})).toMatchObject({
      env: 'production',
      home: resolve('.picturelock'),
      databases: { log: undefined, read: undefined, jobs: undefined, secrets: undefined },
      eventStoreUrl: undefined,
      redisUrl: undefined,
      api: { host: '127.0.0.1', port: 4000, publicUrl: undefined, trustProxy: false, corsOrigins: [] },
      uploads: { maxImageBytes: 52_428_800, maxVideoBytes: 1_099_511_627_776, expiryHours: 24 },
    });
    expect(loadSettings({}).storageUrl).toMatch(/^file:\/\/\/.*\/\.picturelock\/blobs$/);
  });

  it('takes an empty variable for unset', () => expect(loadSettings({ API_PORT: '' }).api.port).toBe(4000));

  it.each([
    ['API_PORT', '70000', 'at most 65535'],
    ['API_PORT', 'http', 'whole number'],
    ['DATABASE_URL', 'mysql://db', 'postgres://'],
    ['EVENTSTORE_URL', 'http://log:2113', 'kurrentdb://'],
    ['REDIS_URL', 'localhost:6379', 'redis://'],
    ['STORAGE_URL', '/var/blobs', 'file://'],
    ['CORS_ORIGINS', 'https://a.example/path', 'origins'],
    ['LOG_LEVEL', 'loud', 'pino'],
    ['METRICS', 'perhaps', 'on or off'],
    ['MASTER_KEY', 'short', '32 bytes'],
    ['MEDIA_URL_TTL_SECONDS', '1', 'at least 10'],
  ])('refuses %s=%s by name', (variable, value, message) => {
    expect(issues(() => loadSettings({ [variable]: value }))).toEqual({ [variable]: expect.stringContaining(message) });
  });

  it('names everything wrong at once and repeats no value', () => {
    const run = (): unknown => loadSettings({ API_PORT: 'x1', REDIS_URL: 'hunter2', MASTER_KEY: 'hunter3' });
    expect(Object.keys(issues(run))).toEqual(['REDIS_URL', 'API_PORT', 'MASTER_KEY']);
    expect(run).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter') }));
  });

  it.each([
    ['2', 2],
    ['off', false],
    ['10.0.0.1, 10.0.0.2', ['10.0.0.1', '10.0.0.2']],
  ])('reads TRUST_PROXY=%s', (text, value) =>
    expect(loadSettings({ TRUST_PROXY: text }).api.trustProxy).toEqual(value),
  );

  it('wants the two S3 keys together', () =>
    expect(issues(() => loadSettings({ AWS_ACCESS_KEY_ID: 'x' }))).toHaveProperty('AWS_SECRET_ACCESS_KEY'));
});

describe('databases', () => {
  it.each([
    ['postgres://u:p@db:5432', 'postgres://u:p@db:5432/picturelock_read'],
    ['postgres://u:p@db/', 'postgres://u:p@db/picturelock_read'],
    ['postgres://u:p@db/studio?sslmode=require', 'postgres://u:p@db/studio_read?sslmode=require'],
  ])('%s → %s', (server, url) => expect(databaseUrl(server, 'read')).toBe(url));

  it('one URL may differ', () =>
    expect(loadConfig({ ...complete(), JOBS_DATABASE_URL: 'postgres://other/jobs' }).databases).toEqual({
      log: 'postgres://u:p@db:5432/picturelock_log',
      read: 'postgres://u:p@db:5432/picturelock_read',
      jobs: 'postgres://other/jobs',
      secrets: 'postgres://u:p@db:5432/picturelock_secrets',
    }));
});

describe('loadConfig', () => {
  it('is complete', () => {
    const config = loadConfig(complete());
    expect(config.keys.master).toEqual(Buffer.alloc(32, 7));
    expect(config.eventStoreUrl).toContain('kurrentdb://');
  });

  it('names all that a service lacks', () =>
    expect(Object.keys(issues(() => loadConfig({ PICTURELOCK_HOME: home })))).toEqual([
      'READ_DATABASE_URL',
      'JOBS_DATABASE_URL',
      'SECRETS_DATABASE_URL',
      'EVENTSTORE_URL',
      'MASTER_KEY',
      'MEDIA_SIGNING_KEY',
    ]));

  it('reads keys from files, and tells which file is wrong', () => {
    const good = join(home, 'good');
    const bad = join(home, 'bad');
    writeFileSync(good, `${KEY}\n`);
    writeFileSync(bad, 'nonsense');
    const env = { ...complete(), MASTER_KEY: '', MASTER_KEY_FILE: good };
    expect(loadConfig(env).keys.master).toEqual(Buffer.alloc(32, 7));
    expect(issues(() => loadConfig({ ...env, MASTER_KEY_FILE: bad }))).toHaveProperty('MASTER_KEY_FILE');
    expect(issues(() => loadConfig({ ...env, MASTER_KEY_FILE: join(home, 'none') }))).toEqual({
      MASTER_KEY_FILE: expect.stringContaining('ENOENT'),
    });
    expect(issues(() => loadConfig({ ...complete(), MASTER_KEY_FILE: good }))).toHaveProperty('MASTER_KEY');
  });

  it('falls back to the secrets generated in the home', () => {
    const secrets = ensureSecrets(home);
    const config = loadConfig({ ...complete(), MASTER_KEY: '', MEDIA_SIGNING_KEY: '' });
    expect(config.keys.master.toString('base64url')).toBe(secrets.masterKey);
    expect(config.keys.mediaSigning.toString('base64url')).toBe(secrets.mediaSigningKey);
  });
});

describe('secrets.json', () => {
  it('is made once, for its owner alone', () => {
    expect(readSecrets(home)).toBeUndefined();
    const first = ensureSecrets(home);
    expect(ensureSecrets(home)).toEqual(first);
    expect(statSync(join(home, 'secrets.json')).mode & 0o777).toBe(0o600);
    expect(new Set(Object.values(first)).size).toBe(3);
  });

  it('is refused when others can read it or it is damaged, never replaced', () => {
    ensureSecrets(home);
    const path = join(home, 'secrets.json');
    chmodSync(path, 0o644);
    expect(issues(() => loadConfig(complete()))).toEqual({ PICTURELOCK_HOME: expect.stringContaining('chmod 600') });
    chmodSync(path, 0o600);
    for (const text of ['', '{}', '{"masterKey":"x"']) {
      writeFileSync(path, text);
      expect(() => ensureSecrets(home)).toThrow('damaged');
    }
  });
});

describe('publicUrl', () => {
  it.each([
    [{}, 'http://localhost:4001'],
    [{ API_HOST: '0.0.0.0' }, 'http://localhost:4001'],
    [{ API_HOST: '10.1.2.3' }, 'http://10.1.2.3:4001'],
    [{ API_HOST: '2001:db8::1' }, 'http://[2001:db8::1]:4001'],
    [{ PUBLIC_URL: 'https://review.example.com/' }, 'https://review.example.com'],
  ])('of %j is %s', (env, url) => expect(publicUrl(loadSettings(env), 4001)).toBe(url));
});

it('every variable explains itself', () => {
  for (const [name, schema] of Object.entries(variables.shape)) {
    expect({ name, description: schema.description ?? '' }).toEqual({
      name,
      description: expect.stringMatching(/.{8,}/),
    });
  }
});
