import { UnavailableError } from '@kurrent/kurrentdb-client';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { testDatabase } from '../../test/support/database.js';
import { clientOf, event, forkStore } from './eventstore.fixture.js';

describe('the process', () => {
  it('ends cleanly when its launcher is gone', async () => {
    const database = await testDatabase();
    const store = await forkStore(database.url);
    const exited = once(store.process, 'exit');
    store.process.disconnect();
    expect(await exited).toEqual([0, null]);
    // The database is free again.
    const next = await forkStore(database.url);
    next.process.kill('SIGINT');
    expect((await once(next.process, 'exit'))[0]).toBe(0);
    await database.drop();
  });

  it('names the variable when settings are wrong', async () => {
    const child = fork(fileURLToPath(new URL('./main.ts', import.meta.url)), {
      execArgv: ['--no-warnings', '--import', new URL('../../scripts/typescript.mjs', import.meta.url).href],
      env: { PATH: process.env['PATH'] },
      silent: true,
    });
    let stderr = '';
    child.stderr!.on('data', (text) => (stderr += text));
    expect((await once(child, 'exit'))[0]).toBe(2);
    expect(stderr).toContain('EVENTSTORE_SETTINGS_INVALID');
    expect(stderr).toContain('EVENTSTORE_DATABASE_URL');
  });

  it('tells clients of its end', async () => {
    const database = await testDatabase();
    const store = await forkStore(database.url);
    const client = clientOf(store.port);
    await client.appendToStream('a-1', event(0));
    const subscription = client.subscribeToAll();
    subscription.resume();
    const ended = once(subscription, 'error');
    await once(subscription, 'caughtUp');
    store.process.kill('SIGTERM');
    await once(store.process, 'exit');
    const [error] = (await ended) as [unknown];
    expect(error).toBeInstanceOf(UnavailableError);
    // The stock client can't ask for the server's features either and passes gRPC's own error on.
    await expect(client.appendToStream('a-1', event(1))).rejects.toMatchObject({ code: 14 });
    await client.dispose();
    await database.drop();
  });
});
