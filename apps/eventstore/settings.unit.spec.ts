import { isDurable } from './storage/database.js';
import { parseSettings } from './settings.js';

const url = 'postgres://user:secret@127.0.0.1:5432/log';

describe('parseSettings', () => {
  it('needs only the database and a password', () => {
    expect(parseSettings({ EVENTSTORE_DATABASE_URL: url, EVENTSTORE_ADMIN_PASSWORD: 'changeit' })).toEqual({
      databaseUrl: url,
      host: '127.0.0.1',
      port: 2113,
      httpPort: 2114,
      maxAppendSize: 1_048_576,
      logLevel: 'info',
      security: { adminPassword: 'changeit' },
      tls: undefined,
    });
  });

  it('lets nobody in without a password unless told to, and never beyond this machine without TLS', () => {
    const parse = (env: Record<string, string>) => parseSettings({ EVENTSTORE_DATABASE_URL: url, ...env });
    expect(() => parse({})).toThrow(/EVENTSTORE_ADMIN_PASSWORD: is required/);
    expect(parse({ EVENTSTORE_INSECURE: 'true' }).security).toBeUndefined();
    const everywhere = { EVENTSTORE_HOST: '0.0.0.0' };
    expect(() => parse({ ...everywhere, EVENTSTORE_INSECURE: 'true' })).toThrow(/EVENTSTORE_HOST/);
    expect(() => parse({ ...everywhere, EVENTSTORE_ADMIN_PASSWORD: 'changeit' })).toThrow(/EVENTSTORE_HOST/);
    const secured = { ...everywhere, EVENTSTORE_ADMIN_PASSWORD: 'changeit', EVENTSTORE_TLS_FOLDER: '/x' };
    expect(parse(secured).tls).toEqual({ folder: '/x' });
    expect(() => parse({ ...secured, EVENTSTORE_TLS_CERTIFICATE: '/c' })).toThrow(
      /come together[^]*exclude each other/,
    );
    expect(() => parse({ EVENTSTORE_INSECURE: 'true', EVENTSTORE_ADMIN_PASSWORD: 'changeit' })).toThrow(/exclude/);
    expect(() => parse({ EVENTSTORE_ADMIN_PASSWORD: 'short' })).toThrow(/at least 8/);
  });

  it('names every variable that is wrong, and no secret', () => {
    const attempt = () => parseSettings({ EVENTSTORE_PORT: '70000', EVENTSTORE_LOG_LEVEL: 'loud' });
    expect(attempt).toThrow(/EVENTSTORE_DATABASE_URL: is required/);
    expect(attempt).toThrow(/EVENTSTORE_PORT/);
    expect(attempt).toThrow(/EVENTSTORE_LOG_LEVEL/);
    expect(attempt).toThrow(expect.objectContaining({ code: 'EVENTSTORE_SETTINGS_INVALID' }));
    expect(() => parseSettings({ EVENTSTORE_DATABASE_URL: 'mysql://user:secret@host/x' })).toThrow(/^(?!.*secret)/);
  });
});

describe('isDurable', () => {
  it('wants each setting on', () => {
    expect(isDurable('fsync', 'on')).toBe(true);
    expect(isDurable('fsync', 'off')).toBe(false);
    expect(isDurable('full_page_writes', 'off')).toBe(false);
    expect(isDurable('synchronous_commit', 'off')).toBe(false);
    expect(isDurable('synchronous_commit', 'local')).toBe(true);
  });
});
