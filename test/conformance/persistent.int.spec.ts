import {
  BACKWARDS,
  END,
  eventTypeFilter,
  PersistentSubscriptionDoesNotExistError,
  PersistentSubscriptionDroppedError,
  PersistentSubscriptionExistsError,
  PersistentSubscriptionMaximumSubscribersReachedError,
  type PersistentSubscriptionToStream,
  type PersistentSubscriptionToStreamSettings,
  persistentSubscriptionToAllSettingsFromDefaults,
  persistentSubscriptionToStreamSettingsFromDefaults,
  START,
  streamNameFilter,
} from '@kurrent/kurrentdb-client';
import { collect, connectSubject, events, failure, type Subject, unique, until, upTo } from './conformance.fixture.js';

let subject: Subject;
let client: Subject['client'];
beforeAll(async () => {
  subject = await connectSubject();
  ({ client } = subject);
});
afterAll(() => subject.close());

type Settings = Partial<PersistentSubscriptionToStreamSettings>;
const GROUP = 'group';
const settings = (own: Settings = {}) =>
  persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, ...own });
const info = (stream: string) => client.getPersistentSubscriptionToStreamInfo(stream, GROUP);

async function subscribed(count: number, own: Settings = {}): Promise<string> {
  const stream = unique();
  await client.appendToStream(stream, events(count));
  await client.createPersistentSubscriptionToStream(stream, GROUP, settings(own));
  return stream;
}

type Answer = 'ack' | 'park' | 'retry' | 'skip' | 'none';

function consume(subscription: unknown, answer: (n: number, retryCount: number) => Answer = () => 'ack') {
  const source = subscription as PersistentSubscriptionToStream;
  const seen: number[] = [];
  let error: unknown;
  source.on('error', (failed) => (error = failed));
  source.on('data', (delivered) => {
    const n = (delivered.event!.data as { n: number }).n;
    seen.push(n);
    const action = answer(n, delivered.retryCount);
    if (action === 'ack') void source.ack(delivered);
    else if (action !== 'none') void source.nack(action, 'conformance', delivered);
  });
  return {
    seen,
    has: (count: number) => until(() => seen.length >= count, `${count} messages`),
    failed: () => until(() => error !== undefined, 'an error').then(() => error),
    stop: () => source.unsubscribe(),
  };
}
const reader = (stream: string, answer?: Parameters<typeof consume>[1], bufferSize = 20) =>
  consume(client.subscribeToPersistentSubscriptionToStream(stream, GROUP, { bufferSize }), answer);

it('delivers what was and what comes', async () => {
  const stream = await subscribed(60);
  const one = reader(stream);
  await one.has(60);
  await client.appendToStream(stream, events(10, 'T', 60));
  await one.has(70);
  expect(one.seen).toEqual(upTo(70));
  await one.stop();
});

it('delivers $all through a filter', async () => {
  const type = unique();
  const group = unique();
  const filter = eventTypeFilter({ prefixes: [type] });
  const all = persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START });
  await client.createPersistentSubscriptionToAll(group, all, { filter });
  await client.appendToStream(unique(), [...events(2, type), ...events(5, 'Other', 100), ...events(1, type, 2)]);
  const one = consume(client.subscribeToPersistentSubscriptionToAll(group));
  await one.has(3);
  expect(one.seen).toEqual([0, 1, 2]);
  await one.stop();
  await client.deletePersistentSubscriptionToAll(group);
});

it('tries again what is refused, what times out and what a lost consumer had', async () => {
  const stream = await subscribed(4, { messageTimeout: 1_000 });
  const first = reader(stream, () => 'none');
  await first.has(4);
  await first.stop();
  const one = reader(stream, (n, tries) => (n === 1 && tries < 3 ? 'retry' : n === 2 && tries < 2 ? 'none' : 'ack'));
  await until(async () => (await info(stream)).stats.outstandingMessagesCount === 0 && one.seen.length >= 6, 'answers');
  expect(new Set(one.seen)).toEqual(new Set(upTo(4)));
  expect(one.seen.filter((n) => n === 1).length).toBeGreaterThanOrEqual(2);
  expect(one.seen.filter((n) => n === 2).length).toBeGreaterThanOrEqual(2);
  await one.stop();
});

it('parks and replays', async () => {
  const stream = await subscribed(5, { maxRetryCount: 1 });
  let refusing = true;
  const one = reader(stream, (n) => (!refusing ? 'ack' : n === 4 ? 'retry' : 'park'));
  await until(async () => (await info(stream)).stats.parkedMessageCount === 5n, 'parked messages');
  refusing = false;
  const before = one.seen.length;
  await client.replayParkedMessagesToStream(stream, GROUP, { stopAt: 2 });
  await one.has(before + 2);
  await client.replayParkedMessagesToStream(stream, GROUP);
  await one.has(before + 5);
  expect(one.seen.slice(before).sort()).toEqual(upTo(5));
  await one.stop();
});

it.each(['RoundRobin', 'DispatchToSingle', 'Pinned', 'PinnedByCorrelation'] as const)(
  'shares messages among consumers (%s), each to one',
  async (consumerStrategyName) => {
    const stream = await subscribed(0 + 1, { consumerStrategyName });
    const all = upTo(3).map(() => reader(stream, undefined, 100));
    await until(async () => (await info(stream)).connections.length === 3, 'three consumers');
    await client.appendToStream(stream, events(60, 'T', 1));
    await until(() => all.reduce((sum, one) => sum + one.seen.length, 0) >= 61, 'all messages');
    expect(all.flatMap((one) => one.seen).sort((a, b) => a - b)).toEqual(upTo(61));
    if (consumerStrategyName === 'RoundRobin')
      for (const one of all) expect(one.seen.length).toBeGreaterThanOrEqual(20);
    await Promise.all(all.map((one) => one.stop()));
  },
);

it('goes on after its checkpoint when consumers come back', async () => {
  const stream = await subscribed(30, { checkPointUpperBound: 1, checkPointLowerBound: 1 });
  const first = reader(stream);
  await first.has(30);
  await until(async () => (await info(stream)).stats.lastCheckpointedEventRevision === 29n, 'the checkpoint');
  await first.stop();
  await client.restartPersistentSubscriptionSubsystem();
  await client.appendToStream(stream, events(3, 'T', 30));
  await until(
    () =>
      info(stream).then(
        () => true,
        () => false,
      ),
    'the restart',
  );
  const second = reader(stream);
  // A server may write the checkpoint later than it tells it: what was acknowledged may come once more, before the rest.
  await until(() => second.seen.includes(32), 'the new messages');
  expect(second.seen.slice(-3)).toEqual([30, 31, 32]);
  expect(second.seen.slice(0, -3)).toEqual(upTo(30, 33 - second.seen.length));
  await second.stop();
});

describe('refuses', () => {
  it('what is there already and what is not', async () => {
    const stream = await subscribed(1);
    const exists = await failure(client.createPersistentSubscriptionToStream(stream, GROUP, settings()));
    expect(exists).toBeInstanceOf(PersistentSubscriptionExistsError);
    expect(exists).toMatchObject({ streamName: stream, groupName: GROUP });
    for (const use of [
      () => client.deletePersistentSubscriptionToStream(stream, 'none'),
      () => client.updatePersistentSubscriptionToStream(stream, 'none', settings()),
      () => client.getPersistentSubscriptionToStreamInfo(stream, 'none'),
      () => client.replayParkedMessagesToStream(stream, 'none'),
    ]) {
      const missing = await failure(use());
      expect(missing).toBeInstanceOf(PersistentSubscriptionDoesNotExistError);
      expect(missing).toMatchObject({ streamName: stream, groupName: 'none' });
    }
  });

  it('one consumer too many', async () => {
    const stream = await subscribed(1, { maxSubscriberCount: 1 });
    const one = reader(stream);
    await one.has(1);
    expect(await reader(stream).failed()).toBeInstanceOf(PersistentSubscriptionMaximumSubscribersReachedError);
    await one.stop();
  });

  it('to go on when it is deleted', async () => {
    const stream = await subscribed(1);
    const one = reader(stream);
    await one.has(1);
    await client.deletePersistentSubscriptionToStream(stream, GROUP);
    expect(await one.failed()).toBeInstanceOf(PersistentSubscriptionDroppedError);
    expect(await failure(info(stream))).toBeInstanceOf(PersistentSubscriptionDoesNotExistError);
  });
});

it('of $all keeps its own streams out of $all', async () => {
  const [group, prefix] = [unique(), unique()];
  const filter = streamNameFilter({ prefixes: [prefix] });
  const own = persistentSubscriptionToAllSettingsFromDefaults({
    startFrom: END,
    checkPointLowerBound: 1,
    checkPointUpperBound: 1,
  });
  await client.createPersistentSubscriptionToAll(group, own, { filter });
  const one = consume(client.subscribeToPersistentSubscriptionToAll(group), (n) => (n === 1 ? 'park' : 'ack'));
  for (let n = 0; n < 3; n++) await client.appendToStream(`${prefix}-${n}`, events(1, 'Conformed', n));
  await one.has(3);
  const streams = ['checkpoint', 'parked'].map((what) => `$persistentsubscription-$all::${group}-${what}`);
  const isThere = async (stream: string) => (await collect(client.readStream(stream)).catch(() => [])).length > 0;
  for (const stream of streams) await until(() => isThere(stream), stream);
  await one.stop();
  const seen = await collect(client.readAll({ filter: streamNameFilter({ prefixes: streams }) }));
  expect(seen).toEqual([]);
  const newest = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 100 }));
  expect(newest.filter((event) => streams.includes(event.streamId))).toEqual([]);
});

it('tells settings and state', async () => {
  const own = settings({ maxRetryCount: 7, consumerStrategyName: 'Pinned', checkPointLowerBound: 3 });
  const stream = unique();
  await client.createPersistentSubscriptionToStream(stream, GROUP, own);
  expect(await info(stream)).toMatchObject({ eventSource: stream, groupName: GROUP, settings: own, connections: [] });
  await client.updatePersistentSubscriptionToStream(stream, GROUP, { ...own, maxRetryCount: 8 });
  expect((await info(stream)).settings).toEqual({ ...own, maxRetryCount: 8 });
  const listed = await client.listPersistentSubscriptionsToStream(stream);
  expect(listed.map((one) => [one.eventSource, one.groupName])).toEqual([[stream, GROUP]]);
});
