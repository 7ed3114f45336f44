import {
  END,
  eventTypeFilter,
  excludeSystemEvents,
  type Filter,
  type Position,
  type ResolvedEvent,
  START,
  StreamDeletedError,
  streamNameFilter,
  type StreamSubscription,
} from '@kurrent/kurrentdb-client';
import { connectSubject, events, type Subject, unique, until, upTo } from './conformance.fixture.js';

let subject: Subject;
let client: Subject['client'];
beforeAll(async () => {
  subject = await connectSubject();
  ({ client } = subject);
});
afterAll(() => subject.close());

/** Follows a subscription; `caughtUp` counts how often it reached the end. */
function follow(subscription: unknown) {
  const source = subscription as StreamSubscription;
  const seen = { numbers: [] as number[], streams: [] as string[], caughtUp: 0, error: undefined as unknown };
  source.on('error', (error) => (seen.error = error));
  source.on('caughtUp', () => seen.caughtUp++);
  source.on('data', ({ event }: ResolvedEvent) => {
    if (event === undefined) return;
    seen.numbers.push((event.data as { n: number }).n);
    seen.streams.push(event.streamId);
  });
  return {
    seen,
    caughtUp: () => until(() => seen.caughtUp > 0, 'caughtUp'),
    has: (count: number) => until(() => seen.numbers.length >= count, `${count} events`),
    stop: () => source.unsubscribe(),
  };
}

describe('to a stream', () => {
  it.each([
    ['the start', START, upTo(15)],
    ['after a revision', 7n, upTo(15, 8)],
    ['the end', END, upTo(15, 10)],
  ])('from %s: what was, then what comes', async (_name, fromRevision, expected) => {
    const stream = unique();
    await client.appendToStream(stream, events(10));
    const subscription = follow(client.subscribeToStream(stream, { fromRevision: fromRevision as typeof START }));
    await subscription.caughtUp();
    await client.appendToStream(stream, events(5, 'T', 10));
    await subscription.has(expected.length);
    expect(subscription.seen.numbers).toEqual(expected);
    await subscription.stop();
  });

  it('that is none yet', async () => {
    const stream = unique();
    const subscription = follow(client.subscribeToStream(stream));
    await subscription.caughtUp();
    await client.appendToStream(stream, events(3));
    await subscription.has(3);
    expect(subscription.seen.numbers).toEqual([0, 1, 2]);
    await subscription.stop();
  });

  it('that has a tombstone fails', async () => {
    const stream = unique();
    await client.appendToStream(stream, events(1));
    await client.tombstoneStream(stream);
    const subscription = follow(client.subscribeToStream(stream));
    await until(() => subscription.seen.error !== undefined, 'the error');
    expect(subscription.seen.error).toBeInstanceOf(StreamDeletedError);
  });

  it('whose stream is tombstoned ends with the tombstone', async () => {
    const stream = unique();
    await client.appendToStream(stream, events(1));
    const types: string[] = [];
    let error: unknown;
    const subscription = client.subscribeToStream(stream);
    subscription.on('error', (failed) => (error = failed));
    subscription.on('data', ({ event }) => types.push(event!.type));
    await until(() => types.length === 1, 'the event');
    await client.tombstoneStream(stream);
    await until(() => error !== undefined, 'the end');
    expect(error).toBeInstanceOf(StreamDeletedError);
    expect(types).toEqual(['Conformed', '$streamDeleted']);
  });

  it('brings each event once to each of many', async () => {
    const stream = unique();
    await client.appendToStream(stream, events(200));
    const all = upTo(5).map(() => follow(client.subscribeToStream(stream)));
    for (const n of upTo(20)) await client.appendToStream(stream, events(1, 'T', 200 + n));
    for (const one of all) {
      await one.has(220);
      expect(one.seen.numbers).toEqual(upTo(220));
      await one.stop();
    }
  });
});

describe('to $all with a filter', () => {
  it.each<[string, (id: string) => Filter]>([
    ['a prefix of the stream', (id) => streamNameFilter({ prefixes: [`${id}a`, `${id}b`] })],
    ['an expression for the stream', (id) => streamNameFilter({ regex: `^${id}[ab]` })],
    ['a prefix of the type', (id) => eventTypeFilter({ prefixes: [`${id}A`, `${id}B`] })],
    ['an expression for the type', (id) => eventTypeFilter({ regex: `^${id}[AB]$` })],
  ])('by %s', async (_name, filterOf) => {
    const id = unique();
    const write = async (first: number) => {
      await client.appendToStream(`${id}a`, events(2, `${id}A`, first));
      await client.appendToStream(`${id}c`, events(2, `${id}C`, 1_000));
      await client.appendToStream(`${id}b`, events(2, `${id}B`, first + 2));
    };
    await write(0);
    const subscription = follow(client.subscribeToAll({ fromPosition: START, filter: filterOf(id) }));
    await subscription.has(4);
    await write(4);
    await subscription.has(8);
    expect(subscription.seen.numbers).toEqual(upTo(8));
    await subscription.stop();
  });

  it('leaves out system events', async () => {
    const stream = unique();
    const subscription = follow(client.subscribeToAll({ fromPosition: END, filter: excludeSystemEvents() }));
    await subscription.caughtUp();
    await client.setStreamMetadata(stream, { maxCount: 3 });
    await client.appendToStream(stream, events(1));
    await until(() => subscription.seen.streams.includes(stream), 'the event');
    expect(subscription.seen.streams.filter((name) => name.startsWith('$'))).toEqual([]);
    await subscription.stop();
  });

  it('tells checkpoints from which it can be resumed', async () => {
    const id = unique();
    const stream = unique();
    const { position: before } = await client.appendToStream(stream, events(1));
    const checkpoints: Position[] = [];
    const filter = eventTypeFilter({
      prefixes: [id],
      maxSearchWindow: 10,
      checkpointInterval: 2,
      checkpointReached: (_subscription, position) => {
        checkpoints.push(position);
        return Promise.resolve();
      },
    });
    const subscription = follow(client.subscribeToAll({ fromPosition: before!, filter }));
    await subscription.caughtUp();
    for (const n of upTo(5)) await client.appendToStream(stream, events(20, 'Other', n));
    await until(() => checkpoints.length >= 3, 'checkpoints');
    await subscription.stop();
    await client.appendToStream(stream, events(1, id, 42));
    const resumed = follow(
      client.subscribeToAll({ fromPosition: checkpoints.at(-1)!, filter: eventTypeFilter({ prefixes: [id] }) }),
    );
    await resumed.has(1);
    expect(resumed.seen.numbers).toEqual([42]);
    await resumed.stop();
  });
});
