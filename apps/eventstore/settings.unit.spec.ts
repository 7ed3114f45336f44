import { isDurable } from './storage/database.js';
import { parseSettings } from './settings.js';

const url = 'postgres://user:secret@127.0.0.1:5432/log';

describe('parseSettings', () => {
  it('needs only the database', () => {
    expect(parseSettings({ EVENTSTORE_DATABASE_URL: url })).toEqual({
      databaseUrl: url,
      host: '127.0.0.1',
      port: 2113,
      httpPort: 2114,
      maxAppendSize: 1_048_576,
      logLevel: 'info',
    });
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
