import {
  END,
  eventTypeFilter,
  jsonEvent,
  type KurrentDBClient,
  PersistentSubscriptionMaximumSubscribersReachedError,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionFailedError,
  type PersistentSubscriptionToStream,
  type PersistentSubscriptionToStreamSettings,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  START,
} from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { clientOf, collect, events, forkStore, startTestStore, type TestStore, until } from './eventstore.fixture.js';
import { testDatabase } from '../../test/support/database.js';
import { startEventStoreServer } from './server.js';

let store: TestStore;
let client: KurrentDBClient;
beforeAll(async () => {
  store = await startTestStore();
  ({ client } = store);
});
afterAll(() => store.close());

/** For busy machines; nothing here waits that long otherwise. */
const PATIENCE_MS = 25_000;

const fresh = () => `s-${randomUUID()}`;
type Settings = Partial<PersistentSubscriptionToStreamSettings>;
const settings = (own: Settings = {}) =>
  persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, ...own });

type Seen = { stream: string; n: number; id: string; retryCount: number };
type Answer = 'ack' | 'park' | 'retry' | 'skip' | 'none';

/** Reads a persistent subscription and answers each message as told. */
function consume(
  connection: KurrentDBClient,
  stream: string,
  group: string,
  answer: (seen: Seen, count: number) => Answer = () => 'ack',
  bufferSize = 10,
) {
  const seen: Seen[] = [];
  let failure: unknown;
  const subscription: PersistentSubscriptionToStream =
    stream === '$all'
      ? (connection.subscribeToPersistentSubscriptionToAll(group, { bufferSize }) as never)
      : connection.subscribeToPersistentSubscriptionToStream(stream, group, { bufferSize });
  subscription.on('error', (error) => (failure = error));
  subscription.on('data', (delivered) => {
    const { event } = delivered;
    const one = {
      stream: event?.streamId ?? '',
      n: Number(event?.revision),
      id: (delivered.link ?? event)!.id,
      retryCount: delivered.retryCount,
    };
    seen.push(one);
    const action = answer(one, seen.length);
    if (action === 'ack') void subscription.ack(delivered);
    else if (action !== 'none') void subscription.nack(action, 'because', delivered);
  });
  return {
    seen,
    subscription,
    failed: () => until(() => failure !== undefined, 'its end').then(() => failure),
    has: (count: number) => until(() => seen.length >= count, `${count} messages`, PATIENCE_MS),
    stop: () => subscription.unsubscribe(),
  };
}

const numbers = (seen: Seen[]) => seen.map((one) => one.n);
const upTo = (end: number, start = 0) => Array.from({ length: end - start }, (_, n) => start + n);
const info = (stream: string) => client.getPersistentSubscriptionToStreamInfo(stream, 'g');

async function subscribed(own: Settings, count = 0): Promise<string> {
  const stream = fresh();
  if (count > 0) await client.appendToStream(stream, events(count));
  await client.createPersistentSubscriptionToStream(stream, 'g', settings(own));
  return stream;
}

describe('delivery', () => {
  it('brings what was and what comes, in order, once', async () => {
    const stream = await subscribed({}, 700);
    const reader = consume(client, stream, 'g');
    await reader.has(700);
    await client.appendToStream(stream, events(50));
    await reader.has(750);
    expect(numbers(reader.seen)).toEqual(upTo(750));
    await reader.stop();
  });

  it.each([
    ['the start', START, upTo(6)],
    ['a revision', 2n, upTo(6, 2)],
    ['the end', END, [4, 5]],
  ])('begins at %s', async (_name, startFrom, expected) => {
    const stream = await subscribed({ startFrom: startFrom as typeof START }, 4);
    await client.appendToStream(stream, events(2));
    const reader = consume(client, stream, 'g');
    await reader.has(expected.length);
    expect(numbers(reader.seen)).toEqual(expected);
    await reader.stop();
  });

  it('has no more in flight than the consumer allows', async () => {
    const stream = await subscribed({}, 30);
    const held = consume(client, stream, 'g', () => 'none', 4);
    await held.has(4);
    await until(async () => (await info(stream)).stats.totalInFlightMessages === 4, 'four in flight');
    expect(held.seen).toHaveLength(4);
    await held.stop();
    const other = consume(client, stream, 'g');
    await other.has(30);
    expect(numbers(other.seen)).toEqual(upTo(30));
    expect(other.seen.map((one) => one.retryCount)).toEqual(upTo(30).map((n) => (n < 4 ? 1 : 0)));
    await other.stop();
  });

  it('keeps the buffer within its size while nobody reads', async () => {
    const stream = await subscribed({ historyBufferSize: 60, readBatchSize: 20, liveBufferSize: 60 }, 500);
    await until(async () => (await info(stream)).stats.readBufferCount >= 40, 'a full buffer');
    expect((await info(stream)).stats.readBufferCount).toBeLessThanOrEqual(60);
    const reader = consume(client, stream, 'g');
    await reader.has(500);
    expect(numbers(reader.seen)).toEqual(upTo(500));
    await reader.stop();
  });

  it('resolves links, and a link stream of a category is as good as any', async () => {
    const category = `c${randomUUID().slice(0, 8)}`;
    await client.createPersistentSubscriptionToStream(`$ce-${category}`, 'g', settings({ resolveLinkTos: true }));
    await client.appendToStream(`${category}-1`, events(3));
    await client.appendToStream(`${category}-2`, events(2));
    const reader = consume(client, `$ce-${category}`, 'g');
    await reader.has(5);
    await client.appendToStream(`${category}-1`, events(1));
    await reader.has(6);
    expect(reader.seen.map((one) => `${one.n}@${one.stream}`)).toEqual([
      ...upTo(3).map((n) => `${n}@${category}-1`),
      ...upTo(2).map((n) => `${n}@${category}-2`),
      `3@${category}-1`,
    ]);
    await reader.stop();
  });

  it('of $all with a filter brings what matches only', async () => {
    const type = `t${randomUUID().slice(0, 8)}`;
    const group = fresh();
    const stream = fresh();
    await client.createPersistentSubscriptionToAll(
      group,
      persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START }),
      { filter: eventTypeFilter({ prefixes: [type] }) },
    );
    await client.appendToStream(stream, [...events(2, type), ...events(40, 'Other'), ...events(1, type)]);
    const reader = consume(client, '$all', group);
    await reader.has(3);
    await client.appendToStream(stream, events(2, type));
    await reader.has(5);
    expect(numbers(reader.seen)).toEqual([0, 1, 42, 43, 44]);
    await reader.stop();
    await client.deletePersistentSubscriptionToAll(group);
  });
});

describe('answers', () => {
  it('retry delivers again, skip and ack do not', async () => {
    const stream = await subscribed({}, 6);
    const reader = consume(client, stream, 'g', ({ n, retryCount }) =>
      n === 2 && retryCount < 3 ? 'retry' : n === 4 ? 'skip' : 'ack',
    );
    await reader.has(9);
    expect(reader.seen.filter((one) => one.n === 2).map((one) => one.retryCount)).toEqual([0, 1, 2, 3]);
    expect(new Set(numbers(reader.seen))).toEqual(new Set(upTo(6)));
    await until(async () => (await info(stream)).stats.outstandingMessagesCount === 0, 'nothing outstanding');
    await reader.stop();
  });

  it('what was retried often enough is parked', async () => {
    const stream = await subscribed({ maxRetryCount: 2 }, 3);
    const reader = consume(client, stream, 'g', ({ n }) => (n === 1 ? 'retry' : 'ack'));
    await until(async () => (await info(stream)).stats.parkedMessageCount === 1n, 'a parked message');
    expect(reader.seen.filter((one) => one.n === 1).map((one) => one.retryCount)).toEqual([0, 1, 2]);
    await reader.stop();
    const parked = await collect(client.readStream(`$persistentsubscription-${stream}::g-parked`));
    expect(parked.map((e) => [e.type, Buffer.from(e.data as Uint8Array).toString()])).toEqual([['$>', `1@${stream}`]]);
    expect(parked[0]!.metadata).toMatchObject({
      reason: 'Reached retry count of 2',
      subscriptionEventNumber: 1,
    });
  });

  it('no answer in time counts as a retry', async () => {
    const stream = await subscribed({ messageTimeout: 300 }, 2);
    const reader = consume(client, stream, 'g', ({ retryCount }) => (retryCount === 0 ? 'none' : 'ack'));
    await reader.has(4);
    expect(numbers(reader.seen)).toEqual([0, 1, 0, 1]);
    await reader.stop();
  });

  it('parked messages are replayed, up to where it is told', async () => {
    const stream = await subscribed({}, 5);
    let parking = true;
    const reader = consume(client, stream, 'g', () => (parking ? 'park' : 'ack'));
    await until(async () => (await info(stream)).stats.parkedMessageCount === 5n, 'five parked');
    parking = false;
    await client.replayParkedMessagesToStream(stream, 'g', { stopAt: 2 });
    await reader.has(7);
    expect((await info(stream)).stats.parkedMessageCount).toBe(3n);
    await client.replayParkedMessagesToStream(stream, 'g');
    await reader.has(10);
    expect(numbers(reader.seen)).toEqual([...upTo(5), ...upTo(5)]);
    await until(async () => (await info(stream)).stats.parkedMessageCount === 0n, 'none parked');
    await reader.stop();
  });
});

it('an expression no server understands is refused', async () => {
  const all = persistentSubscriptionToAllSettingsFromDefaults();
  await expect(
    client.createPersistentSubscriptionToAll(fresh(), all, { filter: eventTypeFilter({ regex: '(' }) }),
  ).rejects.toThrow('Invalid regular expression');
});

describe('consumers', () => {
  const consumers = async (strategy: Settings['consumerStrategyName'], stream = fresh()) => {
    await client.createPersistentSubscriptionToStream(stream, 'g', settings({ consumerStrategyName: strategy }));
    const readers = [1, 2, 3].map(() => consume(client, stream, 'g', undefined, 200));
    await until(async () => (await info(stream)).connections.length === 3, 'three consumers');
    return { stream, readers, stop: () => Promise.all(readers.map((reader) => reader.stop())) };
  };
  const total = (readers: { seen: Seen[] }[]) => readers.reduce((sum, reader) => sum + reader.seen.length, 0);

  it('take turns (round robin)', async () => {
    const { stream, readers, stop } = await consumers('RoundRobin');
    await client.appendToStream(stream, events(90));
    await until(() => total(readers) === 90, 'all messages');
    expect(readers.map((reader) => reader.seen.length)).toEqual([30, 30, 30]);
    await stop();
  });

  it('one takes all it can (dispatch to single)', async () => {
    const { stream, readers, stop } = await consumers('DispatchToSingle');
    await client.appendToStream(stream, events(90));
    await until(() => total(readers) === 90, 'all messages');
    expect(readers.map((reader) => reader.seen.length).sort()).toEqual([0, 0, 90].sort());
    await stop();
  });

  it('keep to their streams (pinned)', async () => {
    const category = `c${randomUUID().slice(0, 8)}`;
    const { readers, stop } = await consumers('Pinned', `$ce-${category}`).then(async (all) => {
      for (let n = 0; n < 60; n++) await client.appendToStream(`${category}-${n % 20}`, events(2));
      return all;
    });
    await until(() => total(readers) === 120, 'all messages');
    const homes = new Map<string, Set<number>>();
    // Links aren't resolved here: what they point at decides.
    const links = await collect(client.readStream(`$ce-${category}`));
    const target = new Map(
      links.map((link) => [
        link.id,
        Buffer.from(link.data as Uint8Array)
          .toString()
          .split('@')[1]!,
      ]),
    );
    for (const [n, reader] of readers.entries())
      for (const one of reader.seen)
        homes.set(target.get(one.id)!, (homes.get(target.get(one.id)!) ?? new Set()).add(n));
    expect(homes.size).toBe(20);
    for (const home of homes.values()) expect(home.size).toBe(1);
    expect(new Set([...homes.values()].flatMap((home) => [...home])).size).toBeGreaterThan(1);
    await stop();
  });

  it('keep to a correlation (pinned by correlation)', async () => {
    const { stream, readers, stop } = await consumers('PinnedByCorrelation');
    const correlated = upTo(60).map((n) =>
      jsonEvent({ type: 'T', data: { n }, metadata: { $correlationId: `c${n % 12}` } }),
    );
    await client.appendToStream(stream, correlated);
    await until(() => total(readers) === 60, 'all messages');
    for (let c = 0; c < 12; c++)
      expect(readers.filter((reader) => reader.seen.some((one) => one.n % 12 === c))).toHaveLength(1);
    await stop();
  });

  it('are as many as allowed', async () => {
    const stream = await subscribed({ maxSubscriberCount: 1 });
    const first = consume(client, stream, 'g');
    await until(async () => (await info(stream)).connections.length === 1, 'a consumer');
    expect(await consume(client, stream, 'g').failed()).toBeInstanceOf(
      PersistentSubscriptionMaximumSubscribersReachedError,
    );
    await first.stop();
    await until(async () => (await info(stream)).connections.length === 0, 'no consumer');
    const next = consume(client, stream, 'g');
    await until(async () => (await info(stream)).connections.length === 1, 'a consumer');
    await next.stop();
  });
});

describe('administration', () => {
  it('refuses as the real server does', async () => {
    const stream = await subscribed({});
    await expect(client.createPersistentSubscriptionToStream(stream, 'g', settings())).rejects.toThrow(
      PersistentSubscriptionExistsError,
    );
    const none = PersistentSubscriptionDoesNotExistError;
    await expect(client.deletePersistentSubscriptionToStream(stream, 'no')).rejects.toThrow(none);
    await expect(client.updatePersistentSubscriptionToStream(stream, 'no', settings())).rejects.toThrow(none);
    await expect(client.getPersistentSubscriptionToStreamInfo(stream, 'no')).rejects.toThrow(none);
    await expect(client.replayParkedMessagesToStream(stream, 'no')).rejects.toThrow(none);
    await expect(client.listPersistentSubscriptionsToStream(fresh())).rejects.toThrow(none);
    expect(await consume(client, stream, 'no').failed()).toBeInstanceOf(none);
    for (const wrong of [{ readBatchSize: 500, historyBufferSize: 500 }])
      await expect(client.createPersistentSubscriptionToStream(stream, 'bad', settings(wrong))).rejects.toThrow(
        PersistentSubscriptionFailedError,
      );
  });

  it('ends consumers when it is deleted, updated or restarted', async () => {
    const stream = await subscribed({}, 3);
    const first = consume(client, stream, 'g');
    await first.has(3);
    await client.updatePersistentSubscriptionToStream(stream, 'g', settings({ maxRetryCount: 7 }));
    expect(await first.failed()).toBeInstanceOf(PersistentSubscriptionDroppedError);
    expect((await info(stream)).settings.maxRetryCount).toBe(7);

    const second = consume(client, stream, 'g');
    await until(async () => (await info(stream)).connections.length === 1, 'a consumer');
    await client.restartPersistentSubscriptionSubsystem();
    expect(await second.failed()).toBeInstanceOf(PersistentSubscriptionDroppedError);

    const third = consume(client, stream, 'g');
    await until(async () => (await info(stream)).connections.length === 1, 'a consumer');
    await client.deletePersistentSubscriptionToStream(stream, 'g');
    expect(await third.failed()).toBeInstanceOf(PersistentSubscriptionDroppedError);
    expect(await consume(client, stream, 'g').failed()).toBeInstanceOf(PersistentSubscriptionDoesNotExistError);
  });

  it('one made anew begins anew', async () => {
    const stream = await subscribed({ checkPointUpperBound: 1 }, 3);
    const first = consume(client, stream, 'g', ({ n }) => (n === 1 ? 'park' : 'ack'));
    await until(async () => (await info(stream)).stats.lastCheckpointedEventRevision === 2n, 'a checkpoint');
    await client.deletePersistentSubscriptionToStream(stream, 'g');
    await first.failed();
    await client.createPersistentSubscriptionToStream(stream, 'g', settings());
    expect((await info(stream)).stats).toMatchObject({ parkedMessageCount: 0n });
    const second = consume(client, stream, 'g');
    await second.has(3);
    expect(numbers(second.seen)).toEqual([0, 1, 2]);
    await second.stop();
  });

  it('lists what there is, with settings and pace', async () => {
    const stream = await subscribed({ extraStatistics: true, maxRetryCount: 3, messageTimeout: 5_000 }, 20);
    await client.createPersistentSubscriptionToStream(stream, 'h', settings());
    const reader = consume(client, stream, 'g');
    await reader.has(20);
    const listed = await client.listPersistentSubscriptionsToStream(stream);
    expect(listed.map((one) => one.groupName).sort()).toEqual(['g', 'h']);
    expect((await client.listAllPersistentSubscriptions()).length).toBeGreaterThanOrEqual(2);
    await until(async () => (await info(stream)).stats.outstandingMessagesCount === 0, 'all answered');
    expect(await info(stream)).toMatchObject({
      eventSource: stream,
      groupName: 'g',
      status: 'Live',
      settings: settings({ extraStatistics: true, maxRetryCount: 3, messageTimeout: 5_000 }),
      stats: { totalItems: 20n, lastKnownEventRevision: 19n },
    });
    const [connection] = (await info(stream)).connections;
    expect(connection).toMatchObject({ connectionName: client.connectionName, totalItems: 20n, availableSlots: 10 });
    expect(connection!.extraStatistics!.get('median')).toBeDefined();
    await reader.stop();
  });
});

describe('what is done stays done', () => {
  const cleanup: (() => unknown)[] = [];
  afterEach(async () => {
    for (const clean of cleanup.splice(0).reverse()) await clean();
  });

  async function databaseUrl(): Promise<string> {
    const database = await testDatabase();
    cleanup.push(() => database.drop());
    return database.url;
  }
  async function start(url: string) {
    const server = await startEventStoreServer({ databaseUrl: url });
    const own = clientOf(server.port);
    const stop = async () => {
      await own.dispose();
      await server.close();
    };
    cleanup.push(stop);
    return { own, stop };
  }

  it('over a restart of the server', async () => {
    const url = await databaseUrl();
    const first = await start(url);
    const stream = fresh();
    await first.own.createPersistentSubscriptionToStream(stream, 'g', settings({ checkPointUpperBound: 1 }));
    await first.own.appendToStream(stream, events(10));
    const reader = consume(first.own, stream, 'g', ({ n }) => (n === 3 ? 'park' : n < 6 ? 'ack' : 'none'));
    await reader.has(10);
    await until(async () => {
      const { stats } = await first.own.getPersistentSubscriptionToStreamInfo(stream, 'g');
      return stats.lastCheckpointedEventRevision === 5n;
    }, 'the checkpoint');
    await first.stop();

    const { own } = await start(url);
    const again = consume(own, stream, 'g');
    await again.has(4);
    expect(numbers(again.seen)).toEqual([6, 7, 8, 9]);
    await own.replayParkedMessagesToStream(stream, 'g');
    await again.has(5);
    expect(again.seen[4]).toMatchObject({ n: 3, stream });
    await again.stop();
  });

  it('a configuration nobody understands keeps the server from nothing', async () => {
    const url = await databaseUrl();
    const first = await start(url);
    const garbage = jsonEvent({ type: '$PersistentConfig', data: { entries: 'none' } });
    await first.own.appendToStream('$persistentSubscriptionConfig', garbage);
    await first.stop();
    const { own } = await start(url);
    expect(await own.listAllPersistentSubscriptions()).toEqual([]);
  });

  it('a name that can’t be is left out, and the others run', async () => {
    const url = await databaseUrl();
    const first = await start(url);
    await first.own.createPersistentSubscriptionToStream('s-1', 'good', settings());
    const configuration = '$persistentSubscriptionConfig';
    const [{ data } = { data: undefined }] = await collect(first.own.readStream(configuration));
    const { entries, ...rest } = data as unknown as { entries: object[] };
    const bad = entries.map((entry) => ({ ...entry, group: 'bad\0' }));
    const stored = jsonEvent({ type: '$PersistentConfig', data: { ...rest, entries: [...bad, ...entries] } });
    await first.own.appendToStream(configuration, stored);
    await first.stop();
    const { own } = await start(url);
    expect((await own.listAllPersistentSubscriptions()).map((one) => one.groupName)).toEqual(['good']);
  });

  it('kill -9 loses no message, parked ones and replays under way included', async () => {
    const url = await databaseUrl();
    const stream = fresh();
    const count = 400;
    const done = new Set<number>();
    let parkedOnce = false;
    for (let round = 0; done.size < count; round++) {
      expect(round).toBeLessThan(20);
      const server = await forkStore(url);
      const own = clientOf(server.port);
      cleanup.push(
        () => own.dispose(),
        () => server.process.kill('SIGKILL'),
      );
      if (round === 0) {
        await own.createPersistentSubscriptionToStream(stream, 'g', settings({ checkPointUpperBound: 20 }));
        await own.appendToStream(stream, events(count));
      }
      if (parkedOnce) await own.replayParkedMessagesToStream(stream, 'g');
      // Every seventh is parked the first time it is seen in a round, and only counts when it is acknowledged.
      const reader = consume(own, stream, 'g', ({ n, retryCount }) => {
        if (round < 3 && n % 7 === 0 && retryCount === 0 && !done.has(n)) return 'park';
        done.add(n);
        return 'ack';
      });
      const goal = Math.min(count, (round + 1) * 120);
      await until(
        async () => {
          if (round >= 3) await own.replayParkedMessagesToStream(stream, 'g');
          return done.size >= goal || (round < 3 && reader.seen.length >= 120);
        },
        `round ${round}: ${done.size} done`,
        20_000,
      );
      parkedOnce = true;
      server.process.kill('SIGKILL');
      await once(server.process, 'exit');
    }
    expect([...done].sort((a, b) => a - b)).toEqual(upTo(count));
  }, 120_000);
});
