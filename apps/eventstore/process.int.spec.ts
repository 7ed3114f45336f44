import { Client, credentials, status } from '@grpc/grpc-js';
import { UnavailableError } from '@kurrent/kurrentdb-client';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import streamsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
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
    // An append that isn't at its end: the client may repeat it, so it mustn't seem to be its own doing.
    const bare = new Client(`127.0.0.1:${store.port}`, credentials.createInsecure());
    const asIs = (bytes: Buffer) => bytes;
    const method = '/event_store.client.streams.Streams/Append';
    const interrupted = new Promise<unknown>((resolve) => {
      const call = bare.makeClientStreamRequest(method, asIs, asIs, resolve);
      const options = new streamsPb.AppendReq.Options().setAny(new sharedPb.Empty());
      options.setStreamIdentifier(new sharedPb.StreamIdentifier().setStreamName(Buffer.from('a-2').toString('base64')));
      call.write(Buffer.from(new streamsPb.AppendReq().setOptions(options).serializeBinary()));
    });
    await sleep(300);
    store.process.kill('SIGTERM');
    expect(await interrupted).toMatchObject({
      code: status.UNAVAILABLE,
      details: expect.stringContaining('shuts down'),
    });
    if (store.process.exitCode === null) await once(store.process, 'exit');
    bare.close();
    const [error] = (await ended) as [unknown];
    expect(error).toBeInstanceOf(UnavailableError);
    // The stock client can't ask for the server's features either and passes gRPC's own error on.
    await expect(client.appendToStream('a-1', event(1))).rejects.toMatchObject({ code: 14 });
    await client.dispose();
    await database.drop();
  });
});
