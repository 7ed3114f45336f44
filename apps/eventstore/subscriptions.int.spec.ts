import {
  type AllStreamSubscription,
  END,
  eventTypeFilter,
  excludeSystemEvents,
  type Position,
  START,
  StreamDeletedError,
  streamNameFilter,
  type StreamSubscription,
} from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { collect, event, events, startTestStore, type TestStore, until } from './eventstore.fixture.js';

let store: TestStore;
let client: TestStore['client'];
beforeAll(async () => {
  store = await startTestStore();
  ({ client } = store);
  await client.appendToStream('old-1', events(1_500, 'Old'));
});
afterAll(() => store.close());

const fresh = (category = 'stream') => `${category}-${randomUUID()}`;

/** Follows a subscription: what came, in order, and when it caught up. */
function follow(subscription: AllStreamSubscription | StreamSubscription) {
  const seen: { stream: string; revision: number; position: number }[] = [];
  let caughtUp = 0;
  subscription.on('data', ({ event: e }: { event?: { streamId: string; revision: bigint; position?: Position } }) => {
    if (e) seen.push({ stream: e.streamId, revision: Number(e.revision), position: Number(e.position!.commit) });
  });
  subscription.on('caughtUp', () => caughtUp++);
  return {
    seen,
    stop: () => subscription.unsubscribe(),
    caughtUp: () => until(() => caughtUp > 0, 'caughtUp'),
    has: (count: number) => until(() => seen.length >= count, `${count} events`),
  };
}

describe('a subscription to $all', () => {
  it('gives what was and goes on with what comes, the same as readAll', async () => {
    const all = follow(client.subscribeToAll({ fromPosition: START }));
    await all.caughtUp();
    const stream = fresh();
    for (let n = 0; n < 20; n++) await client.appendToStream(stream, event(n));
    const expected = (await collect(client.readAll())).map((e) => Number(e.position!.commit));
    await all.has(expected.length);
    expect(all.seen.map((e) => e.position)).toEqual(expected);
    await all.stop();
  });

  it('resumes exclusively after a position', async () => {
    const stream = fresh();
    const first = await client.appendToStream(stream, events(3));
    const after = { commit: first.position!.commit - 1n, prepare: first.position!.prepare - 1n };
    const all = follow(client.subscribeToAll({ fromPosition: after }));
    await all.caughtUp();
    await client.appendToStream(stream, event(3));
    await all.has(2);
    expect(all.seen.map((e) => e.revision)).toEqual([2, 3]);
    await all.stop();
  });

  it('from the end gives only what comes', async () => {
    const all = follow(client.subscribeToAll({ fromPosition: END }));
    await all.caughtUp();
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    await all.has(2);
    expect(all.seen.map((e) => e.stream)).toEqual([stream, stream]);
    await all.stop();
  });

  it('delivers a live event within milliseconds of its commit', async () => {
    const all = client.subscribeToAll({ fromPosition: END });
    await once(all, 'caughtUp');
    const stream = fresh();
    const delays: number[] = [];
    for (let n = 0; n < 50; n++) {
      const came = once(all, 'data').then(() => performance.now());
      await client.appendToStream(stream, event(n));
      const acknowledged = performance.now();
      delays.push((await came) - acknowledged);
    }
    delays.sort((a, b) => a - b);
    expect(delays[25]).toBeLessThan(20);
    await all.unsubscribe();
  });

  it.each([
    ['a stream prefix', (id: string) => streamNameFilter({ prefixes: [`${id}-a`] })],
    ['a stream expression', (id: string) => streamNameFilter({ regex: `^${id}-a` })],
    ['a type prefix', (id: string) => eventTypeFilter({ prefixes: [`${id}A`] })],
    ['a type expression', (id: string) => eventTypeFilter({ regex: `^${id}A$` })],
  ])('filters by %s, before and after it caught up', async (_name, filterOf) => {
    const id = `f${randomUUID().slice(0, 8)}`;
    const write = async () => {
      await client.appendToStream(`${id}-a`, events(2, `${id}A`));
      await client.appendToStream(`${id}-b`, events(2, `${id}B`));
    };
    await write();
    const filtered = follow(client.subscribeToAll({ fromPosition: START, filter: filterOf(id) }));
    await filtered.caughtUp();
    await write();
    await filtered.has(4);
    await client.appendToStream(`${id}-a`, event(4, `${id}A`));
    await filtered.has(5);
    expect(filtered.seen.map((e) => [e.stream, e.revision])).toEqual([0, 1, 2, 3, 4].map((n) => [`${id}-a`, n]));
    await filtered.stop();
  });

  it('leaves out system events', async () => {
    const stream = fresh();
    const filtered = follow(client.subscribeToAll({ fromPosition: END, filter: excludeSystemEvents() }));
    await filtered.caughtUp();
    await client.setStreamMetadata(stream, { maxCount: 5 });
    await client.appendToStream(stream, event(0));
    await filtered.has(1);
    expect(filtered.seen).toMatchObject([{ stream }]);
    await filtered.stop();
  });

  it('sends checkpoints through stretches that do not match, and they can be resumed from', async () => {
    const id = `c${randomUUID().slice(0, 8)}`;
    const checkpoints: bigint[] = [];
    const filter = eventTypeFilter({
      prefixes: [id],
      maxSearchWindow: 10,
      checkpointInterval: 5,
      checkpointReached: async (_subscription, position) => {
        checkpoints.push(position.commit);
      },
    });
    const filtered = follow(client.subscribeToAll({ fromPosition: START, filter }));
    await filtered.caughtUp();
    // One after every 50 events considered, and one on going live.
    expect(checkpoints.length).toBeGreaterThanOrEqual(1_500 / 50);
    expect(checkpoints.slice(0, 3)).toEqual([50n, 100n, 150n]);
    const before = checkpoints.length;
    await client.appendToStream(fresh(), events(120, 'Noise'));
    await until(() => checkpoints.length >= before + 2, 'live checkpoints');
    await filtered.stop();

    await client.appendToStream(fresh(), event(0, id));
    const last = checkpoints.at(-1)!;
    const resumed = follow(client.subscribeToAll({ fromPosition: { commit: last, prepare: last }, filter }));
    await resumed.has(1);
    expect(resumed.seen[0]!.position).toBeGreaterThan(Number(last));
    await resumed.stop();
  });

  it('says with one checkpoint how far what is sent together goes, when one is wanted after every event', async () => {
    const id = `c${randomUUID().slice(0, 8)}`;
    const checkpoints: bigint[] = [];
    const filter = eventTypeFilter({
      prefixes: [id],
      maxSearchWindow: 1,
      checkpointInterval: 1,
      checkpointReached: async (_subscription, position) => {
        checkpoints.push(position.commit);
      },
    });
    const filtered = follow(client.subscribeToAll({ fromPosition: END, filter }));
    await filtered.caughtUp();
    const before = checkpoints.length;
    const { position } = await client.appendToStream(fresh(), [...events(50, 'Noise'), event(50, id)]);
    await filtered.has(1);
    await until(() => checkpoints.at(-1) === position!.commit, 'the last position');
    expect(checkpoints.length - before).toBe(1);
    const { position: noise } = await client.appendToStream(fresh(), event(0, 'Noise'));
    await until(() => checkpoints.at(-1) === noise!.commit, 'the position of what does not match');
    await filtered.stop();
  });

  it('refuses a filter that is no regular expression', async () => {
    const broken = client.subscribeToAll({ filter: streamNameFilter({ regex: '(' }) });
    const [error] = (await once(broken, 'error')) as [{ code: number }];
    expect(error.code).toBe(3);
  });
});

describe('a subscription to a stream', () => {
  it('gives what was and goes on with what comes', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(5));
    const one = follow(client.subscribeToStream(stream));
    await one.caughtUp();
    await client.appendToStream(fresh(), event(0));
    await client.appendToStream(stream, events(2));
    await one.has(7);
    expect(one.seen.map((e) => e.revision)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    await one.stop();
  });

  it('resumes exclusively after a revision, or at the end', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(5));
    const after = follow(client.subscribeToStream(stream, { fromRevision: 2n }));
    const end = follow(client.subscribeToStream(stream, { fromRevision: END }));
    await Promise.all([after.caughtUp(), end.caughtUp()]);
    await client.appendToStream(stream, event(5));
    await Promise.all([after.has(3), end.has(1)]);
    expect(after.seen.map((e) => e.revision)).toEqual([3, 4, 5]);
    expect(end.seen.map((e) => e.revision)).toEqual([5]);
    await Promise.all([after.stop(), end.stop()]);
  });

  it('waits for a stream that is not there yet, and through a delete', async () => {
    const stream = fresh();
    const one = follow(client.subscribeToStream(stream));
    await one.caughtUp();
    await client.appendToStream(stream, event(0));
    await one.has(1);
    await client.deleteStream(stream);
    await client.appendToStream(stream, event(1));
    await one.has(2);
    expect(one.seen.map((e) => e.revision)).toEqual([0, 1]);
    await one.stop();
  });

  it('is refused on a tombstone', async () => {
    const stream = fresh();
    await client.tombstoneStream(stream);
    const [error] = await once(client.subscribeToStream(stream), 'error');
    expect(error).toBeInstanceOf(StreamDeletedError);
  });
});

describe('a subscriber that does not keep up', () => {
  it.each(['$all', 'a stream'])('of %s misses nothing and holds up nobody', async (source) => {
    const stream = fresh('slow');
    await client.appendToStream(stream, event(0));
    const slow =
      source === '$all'
        ? client.subscribeToAll({ fromPosition: END, filter: streamNameFilter({ prefixes: [stream] }) })
        : client.subscribeToStream(stream, { fromRevision: END });
    const seen: number[] = [];
    slow.on('data', ({ event: e }: { event?: { revision: bigint } }) => {
      if (e) seen.push(Number(e.revision));
    });
    await once(slow, 'caughtUp');
    slow.pause();
    // More than the client's and the server's buffers hold: 20,000 events, 10 MB.
    const text = 'x'.repeat(400);
    for (let n = 0; n < 20; n++) {
      await client.appendToStream(
        stream,
        events(1_000).map((e) => ({ ...e, data: { text } })),
      );
    }
    await sleep(50);
    slow.resume();
    await until(() => seen.length >= 20_000, '20,000 events', 25_000);
    expect(seen).toEqual(Array.from({ length: 20_000 }, (_, n) => n + 1));
    await slow.unsubscribe();
  });
});

describe('a subscriber that goes', () => {
  it('is forgotten', async () => {
    const count = async () =>
      ((await (await fetch(`http://127.0.0.1:${store.server.httpPort}/stats`)).json()) as { subscriptions: number })
        .subscriptions;
    await until(async () => (await count()) === 0, 'no subscription');
    const all = [client.subscribeToAll(), client.subscribeToStream('old-1'), client.subscribeToStream(fresh())];
    for (const subscription of all) subscription.resume();
    await until(async () => (await count()) === 3, 'three subscriptions');
    for (const subscription of all) await subscription.unsubscribe();
    await until(async () => (await count()) === 0, 'no subscription');
  });
});
