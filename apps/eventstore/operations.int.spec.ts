import { credentials } from '@grpc/grpc-js';
import grpcPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/operations_grpc_pb.js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/operations_pb.js';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import {
  clientOf,
  collect,
  event,
  events,
  forkStore,
  startTestStore,
  type TestStore,
  until,
} from './eventstore.fixture.js';
import { testDatabase } from '../../test/support/database.js';
import { startEventStoreServer } from './server.js';
import { connect } from './storage/database.js';

let store: TestStore;
let operations: grpcPb.OperationsClient;
beforeAll(async () => {
  store = await startTestStore();
  operations = new grpcPb.OperationsClient(`127.0.0.1:${store.server.port}`, credentials.createInsecure());
});
afterAll(async () => {
  operations.close();
  await store.close();
});

const { ScavengeResult } = pb.ScavengeResp;

function startScavenge(): Promise<pb.ScavengeResp> {
  const options = new pb.StartScavengeReq.Options().setThreadCount(1).setStartFromChunk(0);
  return new Promise((resolve, reject) =>
    operations.startScavenge(new pb.StartScavengeReq().setOptions(options), (error, response) =>
      error ? reject(error) : resolve(response),
    ),
  );
}

/** Resolves with the note of the end. */
async function scavenged(id: string): Promise<Record<string, unknown>> {
  const notes = async () => (await collect(store.client.readStream(`$scavenges-${id}`)).catch(() => [])) as never[];
  await until(async () => (await notes()).length === 2, 'the scavenge', 30_000);
  return (await notes())[1]!['data'];
}

const scavenge = async () => scavenged((await startScavenge()).getScavengeId());

const rows = async (where = 'true'): Promise<number> => {
  const session = await connect(store.database.url);
  const result = await session.query<{ n: number }>(`SELECT count(*)::int AS n FROM eventstore.events WHERE ${where}`);
  await session.end();
  return result.rows[0]!.n;
};

const shape = (all: Awaited<ReturnType<typeof collect>>) => all.map((e) => [e.streamId, Number(e.revision), e.id]);

describe('scavenge', () => {
  it('removes what metadata and deletes allow, and nothing a reader sees', async () => {
    const { client } = store;
    for (const stream of ['kept', 'counted', 'truncated', 'deleted', 'gone', 'revived'])
      await client.appendToStream(stream, events(10));
    await client.setStreamMetadata('counted', { maxCount: 3 });
    await client.setStreamMetadata('counted', { maxCount: 4 });
    await client.setStreamMetadata('truncated', { truncateBefore: 8 });
    await client.deleteStream('deleted');
    await client.tombstoneStream('gone');
    await client.deleteStream('revived');
    await client.appendToStream('revived', events(2));
    const visible = async () => [
      shape(await collect(client.readStream('kept'))),
      shape(await collect(client.readStream('counted'))),
      shape(await collect(client.readStream('truncated'))),
      shape(await collect(client.readStream('revived'))),
      await client.getStreamMetadata('counted'),
    ];
    const before = await visible();
    const all = await collect(client.readAll());
    const report = await scavenge();
    expect(report).toMatchObject({ result: 'Success', error: null });
    expect(await visible()).toEqual(before);
    expect(await rows("stream = 'kept'")).toBe(10);
    expect(await rows("stream = 'counted'")).toBe(4);
    expect(await rows("stream = 'truncated'")).toBe(2);
    expect(await rows("stream = 'revived'")).toBe(2);
    // The last event of a deleted stream stays for its revision, a tombstone for ever.
    expect(await rows("stream = 'deleted'")).toBe(1);
    expect(await rows("stream IN ('gone', '$$gone')")).toBe(1);
    expect(await rows("stream = '$$counted'")).toBe(1);
    const left = await collect(client.readAll());
    const known = new Map(all.map((e) => [e.id, e]));
    // What is left stands where it stood.
    for (const e of left) if (known.has(e.id)) expect(e.position).toEqual(known.get(e.id)!.position);
    expect(all.length - left.filter((e) => known.has(e.id)).length).toBe(report['eventsRemoved']);
    await expect(client.appendToStream('gone', event(0))).rejects.toMatchObject({ type: 'stream-deleted' });
    // Revisions go on.
    const { nextExpectedRevision } = await client.appendToStream('deleted', event(0));
    expect(nextExpectedRevision).toBe(10n);
  });

  it('removes what is older than $maxAge but the last', async () => {
    const { client } = store;
    await client.appendToStream('aged', events(5));
    const session = await connect(store.database.url);
    await session.query(
      "UPDATE eventstore.events SET created = now() - interval '1 hour' WHERE stream = 'aged' AND revision < 3",
    );
    await session.end();
    await client.setStreamMetadata('aged', { maxAge: 600 });
    await scavenge();
    expect(await rows("stream = 'aged'")).toBe(2);
  });

  it('goes on while appends, reads and subscriptions do, and tells a second one that it is under way', async () => {
    const { client } = store;
    for (let n = 0; n < 8; n++) {
      await client.appendToStream(`busy-${n}`, events(2_000));
      await client.setStreamMetadata(`busy-${n}`, { maxCount: 1 });
    }
    const started = await startScavenge();
    expect(started.getScavengeResult()).toBe(ScavengeResult.STARTED);
    const second = await startScavenge();
    expect(second.getScavengeResult()).toBe(ScavengeResult.INPROGRESS);
    expect(second.getScavengeId()).toBe(started.getScavengeId());
    let appended = 0;
    let over = false;
    const worker = (async () => {
      while (!over) {
        await client.appendToStream('meanwhile', event(appended++));
        await collect(client.readStream('busy-3', { maxCount: 10 }));
      }
    })();
    expect(await scavenged(started.getScavengeId())).toMatchObject({ result: 'Success' });
    over = true;
    await worker;
    expect(await collect(client.readStream('meanwhile'))).toHaveLength(appended);
    expect(await rows("stream LIKE 'busy-%'")).toBe(8);
  });

  it('stops when told, and the next one goes on where it stopped', async () => {
    const { client } = store;
    for (let n = 0; n < 8; n++) {
      await client.appendToStream(`stopped-${n}`, events(2_000));
      await client.setStreamMetadata(`stopped-${n}`, { maxCount: 1 });
    }
    const id = (await startScavenge()).getScavengeId();
    const stop = (which: string) =>
      new Promise<pb.ScavengeResp>((resolve, reject) => {
        const options = new pb.StopScavengeReq.Options().setScavengeId(which);
        operations.stopScavenge(new pb.StopScavengeReq().setOptions(options), (error, response) =>
          error ? reject(error) : resolve(response),
        );
      });
    await expect(stop('another')).rejects.toMatchObject({ code: 5, details: 'Scavenge id was invalid.' });
    expect((await stop(id)).getScavengeResult()).toBe(ScavengeResult.STOPPED);
    expect(await scavenged(id)).toMatchObject({ result: 'Stopped' });
    expect(await rows("stream LIKE 'stopped-%'")).toBeGreaterThan(8);
    await scavenge();
    expect(await rows("stream LIKE 'stopped-%'")).toBe(8);
    await expect(stop(id)).rejects.toMatchObject({ code: 5 });
  });

  it('leaves the last position alone, so that none is given twice after a restart', async () => {
    const database = await testDatabase();
    const first = await startEventStoreServer({ databaseUrl: database.url });
    const client = clientOf(first.port);
    await client.appendToStream('only', events(5));
    await client.deleteStream('only');
    const { position } = await client.appendToStream('other', event(0));
    await client.setStreamMetadata('other', { maxCount: 0, truncateBefore: 5 } as never);
    const admin = new grpcPb.OperationsClient(`127.0.0.1:${first.port}`, credentials.createInsecure());
    await new Promise((resolve) => admin.startScavenge(new pb.StartScavengeReq(), resolve));
    admin.close();
    await client.dispose();
    await first.close();
    const second = await startEventStoreServer({ databaseUrl: database.url });
    const again = clientOf(second.port);
    const after = await again.appendToStream('only', event(5));
    expect(after.position!.commit).toBeGreaterThan(position!.commit);
    expect(after.nextExpectedRevision).toBe(5n);
    await again.dispose();
    await second.close();
    await database.drop();
  });
});

describe('operations', () => {
  it('that mean nothing to a single node succeed', async () => {
    const empty = new sharedPb.Empty();
    const calls = [
      (done: (error: unknown) => void) => operations.mergeIndexes(empty, done),
      (done: (error: unknown) => void) => operations.resignNode(empty, done),
      (done: (error: unknown) => void) => operations.setNodePriority(new pb.SetNodePriorityReq().setPriority(1), done),
      (done: (error: unknown) => void) => operations.restartPersistentSubscriptions(empty, done),
    ];
    for (const call of calls) expect(await new Promise((resolve) => call(resolve))).toBeNull();
  });

  it('shut the process down cleanly', async () => {
    const database = await testDatabase();
    const forked = await forkStore(database.url);
    const admin = new grpcPb.OperationsClient(`127.0.0.1:${forked.port}`, credentials.createInsecure());
    const exited = once(forked.process, 'exit');
    expect(await new Promise((resolve) => admin.shutdown(new sharedPb.Empty(), resolve))).toBeNull();
    expect(await exited).toEqual([0, null]);
    admin.close();
    await database.drop();
  });
});

it('statistics come again and again', async () => {
  const session = connectHttp2(`http://127.0.0.1:${store.server.port}`);
  const request = session.request({
    ':method': 'POST',
    ':path': '/event_store.client.monitoring.Monitoring/Stats',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  // refresh_time_period_in_ms = 100
  request.end(Buffer.from([0, 0, 0, 0, 2, 0x20, 100]));
  let received = '';
  request.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
  await until(() => received.split('proc-mem').length > 3, 'three statistics');
  expect(received).toContain('es-writer-appends');
  request.close();
  session.close();
});
