import {
  BACKWARDS,
  binaryEvent,
  END,
  eventTypeFilter,
  excludeSystemEvents,
  FORWARDS,
  MaxAppendSizeExceededError,
  NO_STREAM,
  STREAM_EXISTS,
  StreamDeletedError,
  StreamNotFoundError,
  streamNameFilter,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { collect, event, events, startTestStore, type TestStore } from './eventstore.fixture.js';

let store: TestStore;
let client: TestStore['client'];
beforeAll(async () => {
  store = await startTestStore();
  ({ client } = store);
});
afterAll(() => store.close());

const fresh = (category = 'stream') => `${category}-${randomUUID()}`;
/** Per-call credentials make the client use Append instead of BatchAppend. */
const credentials = { username: 'admin', password: 'changeit' };
const revisions = async (stream: string) => (await collect(client.readStream(stream))).map((e) => Number(e.revision));

describe.each([
  ['BatchAppend', {}],
  ['Append', { credentials }],
])('%s', (_name, call) => {
  it('writes events and returns revision and position', async () => {
    const stream = fresh();
    const first = await client.appendToStream(stream, event(0), { streamState: NO_STREAM, ...call });
    const more = await client.appendToStream(stream, events(3), { streamState: 0n, ...call });
    expect([first.nextExpectedRevision, more.nextExpectedRevision]).toEqual([0n, 3n]);
    const read = await collect(client.readStream(stream));
    expect(read.map((e) => e.revision)).toEqual([0n, 1n, 2n, 3n]);
    expect(read[3]!.position).toEqual(more.position);
    expect(read[0]!.position).toEqual(first.position);
  });

  it('keeps data, metadata, type, id and time as they were', async () => {
    const stream = fresh('名前 / odd %41 "name" \\ {a,b}');
    const before = Date.now();
    const json = { ...event(7, 'Typ "ü" \\,{}'), id: randomUUID().toUpperCase() };
    const binary = binaryEvent({
      type: 'Bytes',
      data: Uint8Array.from([0, 1, 255]),
      metadata: Uint8Array.from([9, 0]),
    });
    await client.appendToStream(stream, [json, binary], call);
    const [one, two] = await collect(client.readStream(stream));
    expect(one).toMatchObject({
      streamId: stream,
      id: json.id.toLowerCase(),
      type: 'Typ "ü" \\,{}',
      data: { n: 7 },
      metadata: { by: 'spec' },
      isJson: true,
    });
    // The native reader of the client cuts the time to seconds.
    expect(one!.created.getTime()).toBeGreaterThan(before - 1_001);
    expect(one!.created.getTime()).toBeLessThanOrEqual(Date.now());
    expect(two).toMatchObject({ type: 'Bytes', isJson: false });
    expect([...(two!.data as Uint8Array)]).toEqual([0, 1, 255]);
  });

  it.each([
    ['no_stream on a stream', NO_STREAM, 'no_stream', 1n],
    ['an older revision', 0n, 0n, 1n],
    ['a revision to come', 5n, 5n, 1n],
  ] as const)('refuses %s with WrongExpectedVersionError', async (_case, streamState, expected, actual) => {
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    const attempt = client.appendToStream(stream, event(9), { streamState, ...call });
    await expect(attempt).rejects.toThrow(WrongExpectedVersionError);
    await expect(attempt).rejects.toMatchObject({ streamName: stream, expectedState: expected, actualState: actual });
    expect(await revisions(stream)).toEqual([0, 1]);
  });

  it('refuses stream_exists where there is none', async () => {
    const attempt = client.appendToStream(fresh(), event(0), { streamState: STREAM_EXISTS, ...call });
    await expect(attempt).rejects.toMatchObject({ expectedState: 'stream_exists', actualState: 'no_stream' });
  });

  it('takes a repeat of the same events for done', async () => {
    const stream = fresh();
    const batch = events(3);
    const first = await client.appendToStream(stream, batch, { streamState: NO_STREAM, ...call });
    await client.appendToStream(stream, event(9), call);
    for (const streamState of [NO_STREAM, 'any', STREAM_EXISTS] as const) {
      const again = await client.appendToStream(stream, batch, { streamState, ...call });
      expect(again.nextExpectedRevision).toBe(2n);
      expect(again.position).toEqual(first.position);
    }
    expect(await revisions(stream)).toEqual([0, 1, 2, 3]);
    await expect(
      client.appendToStream(stream, [batch[0]!, event(8)], { streamState: NO_STREAM, ...call }),
    ).rejects.toThrow(WrongExpectedVersionError);
    // The matching revision is accepted without a look at the ids, as the real server does.
    const doubled = await client.appendToStream(stream, batch[0]!, { streamState: 3n, ...call });
    expect(doubled.nextExpectedRevision).toBe(4n);
  });

  it('refuses more than the maximum append size', async () => {
    const stream = fresh();
    const large = binaryEvent({ type: 'Large', data: new Uint8Array(700_000) });
    const tooMuch = binaryEvent({ type: 'Large', data: new Uint8Array(700_000) });
    await expect(client.appendToStream(stream, [large, tooMuch], call)).rejects.toThrow(MaxAppendSizeExceededError);
    await client.appendToStream(stream, large, call);
    expect(await revisions(stream)).toEqual([0]);
  });

  it('accepts an append of nothing', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    expect((await client.appendToStream(stream, [], { streamState: 1n, ...call })).nextExpectedRevision).toBe(1n);
  });

  it('refuses to write to $all', async () => {
    await expect(client.appendToStream('$all', event(0), call)).rejects.toMatchObject({ type: expect.any(String) });
  });
});

describe('idempotency beyond the memory', () => {
  it('finds old ids in the table when an older revision is expected', async () => {
    const stream = fresh();
    const first = events(2);
    const written = await client.appendToStream(stream, first, { streamState: NO_STREAM });
    await client.appendToStream(stream, events(100));
    const again = await client.appendToStream(stream, first, { streamState: NO_STREAM });
    expect(again).toMatchObject({ nextExpectedRevision: 1n, position: written.position });
    await expect(client.appendToStream(stream, event(0), { streamState: NO_STREAM })).rejects.toMatchObject({
      actualState: 101n,
    });
  });
});

describe('concurrent appends', () => {
  it('let exactly one of 50 win an expected revision', async () => {
    const stream = fresh();
    const outcomes = await Promise.allSettled(
      events(50).map((e) => client.appendToStream(stream, e, { streamState: NO_STREAM })),
    );
    expect(outcomes.filter((o) => o.status === 'fulfilled')).toHaveLength(1);
    expect(await revisions(stream)).toEqual([0]);
  });

  it('all succeed with any', async () => {
    const stream = fresh();
    await Promise.all(events(200).map((e) => client.appendToStream(stream, e)));
    expect(await revisions(stream)).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });

  it('share commits', async () => {
    const stats = async () =>
      (await (await fetch(`http://127.0.0.1:${store.server.httpPort}/stats`)).json()) as Record<string, number>;
    const before = await stats();
    await Promise.all(events(200).map((e, n) => client.appendToStream(fresh(`group${n}`), e)));
    const after = await stats();
    expect(after['appends']! - before['appends']!).toBe(200);
    expect(after['groups']! - before['groups']!).toBeLessThan(100);
  });
});

describe('reading a stream', () => {
  const stream = fresh();
  beforeAll(() => client.appendToStream(stream, events(2_500)));
  const read = async (options: Parameters<typeof client.readStream>[1]) =>
    (await collect(client.readStream(stream, options))).map((e) => Number(e.revision));

  it.each([
    ['forwards from the start', { maxCount: 3 }, [0, 1, 2]],
    ['forwards from a revision', { fromRevision: 2_497n }, [2_497, 2_498, 2_499]],
    ['forwards beyond the end', { fromRevision: 2_500n }, []],
    ['backwards from the end', { direction: BACKWARDS, fromRevision: END, maxCount: 2 }, [2_499, 2_498]],
    ['backwards from a revision', { direction: BACKWARDS, fromRevision: 1n }, [1, 0]],
    ['backwards from beyond the end', { direction: BACKWARDS, fromRevision: 9_999n, maxCount: 1 }, [2_499]],
    ['backwards from the first', { direction: BACKWARDS, fromRevision: 0n }, [0]],
  ] as const)('%s', async (_name, options, expected) => {
    expect(await read(options)).toEqual(expected);
  });

  it('gives everything in order over many pages', async () => {
    const all = Array.from({ length: 2_500 }, (_, n) => n);
    expect(await read({ direction: FORWARDS })).toEqual(all);
    expect(await read({ direction: BACKWARDS, fromRevision: END })).toEqual(all.reverse());
    expect(await read({ maxCount: 1_001 })).toHaveLength(1_001);
  });

  it('says that a stream is not there', async () => {
    const name = fresh();
    await expect(collect(client.readStream(name))).rejects.toThrow(StreamNotFoundError);
    await expect(collect(client.readStream(name))).rejects.toMatchObject({ streamName: name });
  });

  it('gives events larger than a page', async () => {
    const large = fresh();
    const store2 = await startTestStore({ maxAppendSize: 8 * 1024 * 1024 });
    try {
      for (const size of [3_000_000, 10, 3_500_000]) {
        await store2.client.appendToStream(large, binaryEvent({ type: 'Large', data: new Uint8Array(size).fill(7) }));
      }
      const sizes = (await collect(store2.client.readStream(large))).map((e) => (e.data as Uint8Array).length);
      expect(sizes).toEqual([3_000_000, 10, 3_500_000]);
    } finally {
      await store2.close();
    }
  });

  it('is the same in wide pages as in narrow ones, whatever its name', async () => {
    const stream = fresh("it's \\ $1 ” \n");
    await client.appendToStream(
      stream,
      Array.from({ length: 1_203 }, (_, n) => binaryEvent({ type: 'Bytes', data: Uint8Array.from([0, 92, n % 256]) })),
    );
    const narrow = await Promise.all(
      Array.from({ length: 13 }, (_, n) =>
        collect(client.readStream(stream, { fromRevision: BigInt(n * 100), maxCount: 100 })),
      ),
    );
    const wide = await collect(client.readStream(stream));
    expect(wide).toHaveLength(1_203);
    expect(wide).toEqual(narrow.flat());
    const backwards = await collect(client.readStream(stream, { direction: BACKWARDS, fromRevision: END }));
    expect(backwards).toEqual(wide.toReversed());
    const all = await collect(client.readAll({ fromPosition: wide[0]!.position!, maxCount: 1_203 }));
    expect(all.map((e) => [e.id, e.position])).toEqual(wide.map((e) => [e.id, e.position]));
    const last = await collect(
      client.readAll({ direction: BACKWARDS, fromPosition: wide.at(-1)!.position!, maxCount: 1_000 }),
    );
    expect(last.map((e) => e.id)).toEqual(
      wide
        .toReversed()
        .slice(1, 1_001)
        .map((e) => e.id),
    );
  });
});

describe('reading $all', () => {
  let own: TestStore;
  beforeAll(async () => {
    own = await startTestStore();
    await own.client.appendToStream('a-1', events(600, 'Even'));
    await own.client.appendToStream('b-1', events(700, 'Odd'));
    await own.client.setStreamMetadata('a-1', { maxCount: 1_000 });
    await own.client.appendToStream('a-1', events(5, 'Last'));
  });
  afterAll(() => own.close());
  const positions = async (options: Parameters<typeof client.readAll>[0]) =>
    (await collect(own.client.readAll(options))).map((e) => Number(e.position!.commit));

  it('gives every event once, positions strictly increasing', async () => {
    const all = await positions({});
    expect(all).toEqual(Array.from({ length: 1_306 }, (_, n) => n + 1));
    expect(await positions({ direction: BACKWARDS, fromPosition: END })).toEqual([...all].reverse());
  });

  it('through a filter for names that can’t be gives nothing', async () => {
    const filter = streamNameFilter({ prefixes: ['a\0'] });
    expect(await collect(client.readAll({ filter }))).toEqual([]);
  });

  it('starts at a position forwards and before it backwards', async () => {
    const at = { commit: 100n, prepare: 100n };
    expect(await positions({ fromPosition: at, maxCount: 2 })).toEqual([100, 101]);
    expect(await positions({ fromPosition: at, direction: BACKWARDS, maxCount: 2 })).toEqual([99, 98]);
    expect(await positions({ fromPosition: { commit: 1n, prepare: 1n }, direction: BACKWARDS })).toEqual([]);
    expect(await positions({ fromPosition: { commit: 9_999n, prepare: 9_999n } })).toEqual([]);
  });

  it.each([
    ['type prefixes', eventTypeFilter({ prefixes: ['Odd', 'Last'] }), 705],
    ['a type expression', eventTypeFilter({ regex: '^(Even|Last)$' }), 605],
    ['stream prefixes', streamNameFilter({ prefixes: ['b-'] }), 700],
    ['a stream expression', streamNameFilter({ regex: '^\\$\\$' }), 1],
    ['no system events', excludeSystemEvents(), 1_305],
  ])('filters by %s', async (_name, filter, count) => {
    const forwards = await positions({ filter });
    expect(forwards).toHaveLength(count);
    expect(await positions({ filter, direction: BACKWARDS, fromPosition: END })).toEqual([...forwards].reverse());
    expect(await positions({ filter, maxCount: 1 })).toEqual(forwards.slice(0, 1));
  });
});

// Few events come one by one, many glued together: both have to read a prefix as what it is.
it.each([3, 300])('prefixes are no patterns, with %d events', async (count) => {
  const own = await startTestStore();
  try {
    const names = ['a_b', 'a%b', 'a\\b', "a'b", 'a"b', 'a{b', 'a,b', 'axb', 'é$1b'];
    for (const name of names) await own.client.appendToStream(`${name}-1`, events(count));
    for (const name of names) {
      const filter = streamNameFilter({ prefixes: [name, '\0', 'none%'] });
      const found = await collect(own.client.readAll({ filter }));
      expect(found.map(({ streamId }) => streamId)).toEqual(Array.from({ length: count }, () => `${name}-1`));
    }
    const two = streamNameFilter({ prefixes: ['a"', 'a\\'] });
    expect(await collect(own.client.readAll({ filter: two }))).toHaveLength(2 * count);
    const last = own.client.readAll({ filter: two, direction: BACKWARDS, fromPosition: END, maxCount: count + 1 });
    const backwards = await collect(last);
    expect([backwards[0]?.streamId, backwards.at(-1)?.streamId, backwards.length]).toEqual([
      'a"b-1',
      'a\\b-1',
      count + 1,
    ]);
  } finally {
    await own.close();
  }
});

describe('stream metadata', () => {
  it('can be set and read', async () => {
    const stream = fresh();
    await client.setStreamMetadata(stream, { maxCount: 4, own: 'x' });
    await client.setStreamMetadata(stream, { maxCount: 5, own: 'y' });
    expect((await client.getStreamMetadata(stream)).metadata).toEqual({ maxCount: 5, own: 'y' });
    expect((await client.getStreamMetadata(fresh())).metadata).toBeUndefined();
  });

  it('bounds what readers see by $maxCount and $tb', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(10));
    await client.setStreamMetadata(stream, { maxCount: 3 });
    expect(await revisions(stream)).toEqual([7, 8, 9]);
    await client.setStreamMetadata(stream, { truncateBefore: 8 });
    expect(await revisions(stream)).toEqual([8, 9]);
    const backwards = await collect(client.readStream(stream, { direction: BACKWARDS, fromRevision: END }));
    expect(backwards.map((e) => Number(e.revision))).toEqual([9, 8]);
  });

  it('lets events expire by $maxAge', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    await client.setStreamMetadata(stream, { maxAge: 1 });
    expect(await revisions(stream)).toEqual([0, 1]);
    await sleep(1_050);
    await client.appendToStream(stream, event(2));
    expect(await revisions(stream)).toEqual([2]);
  });
});

describe('delete', () => {
  it('hides a stream, which can be written again and goes on where it was', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(3));
    await client.setStreamMetadata(stream, { own: 'kept' });
    const { position } = await client.deleteStream(stream);
    expect(position!.commit).toBeGreaterThan(0n);
    await expect(collect(client.readStream(stream))).rejects.toThrow(StreamNotFoundError);
    await expect(client.appendToStream(stream, event(9), { streamState: STREAM_EXISTS })).rejects.toThrow(
      StreamDeletedError,
    );

    const again = await client.appendToStream(stream, events(2), { streamState: NO_STREAM });
    expect(again.nextExpectedRevision).toBe(4n);
    expect(await revisions(stream)).toEqual([3, 4]);
    // A soft delete writes metadata of its own: what was there before is gone, as with the real server.
    expect((await client.getStreamMetadata(stream)).metadata).toEqual({ truncateBefore: 3 });
  });

  it('is undone by setting metadata', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    await client.deleteStream(stream);
    await client.setStreamMetadata(stream, { own: 'x' });
    expect((await client.getStreamMetadata(stream)).metadata).toMatchObject({ own: 'x' });
    await client.appendToStream(stream, event(2));
    expect((await revisions(stream)).at(-1)).toBe(2);
  });

  it('checks the expected revision and that there is something', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(3));
    const attempt = client.deleteStream(stream, { expectedRevision: 1n });
    await expect(attempt).rejects.toThrow(WrongExpectedVersionError);
    await expect(attempt).rejects.toMatchObject({ expectedState: 1n, actualState: 2n });
    await client.deleteStream(stream, { expectedRevision: 2n });
    await expect(client.deleteStream(fresh())).rejects.toThrow(WrongExpectedVersionError);
  });
});

describe('tombstone', () => {
  it('ends a stream for good', async () => {
    const stream = fresh();
    await client.appendToStream(stream, events(2));
    await client.tombstoneStream(stream, { expectedRevision: 1n });
    await expect(collect(client.readStream(stream))).rejects.toThrow(StreamDeletedError);
    for (const call of [{}, { credentials }]) {
      const attempt = client.appendToStream(stream, event(0), call);
      await expect(attempt).rejects.toThrow(StreamDeletedError);
      await expect(attempt).rejects.toMatchObject({ streamName: stream });
    }
    await expect(client.setStreamMetadata(stream, { maxCount: 1 })).rejects.toThrow(StreamDeletedError);
    await expect(client.deleteStream(stream)).rejects.toThrow(StreamDeletedError);
    const [last] = await collect(client.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 }));
    expect(last).toMatchObject({ streamId: stream, type: '$streamDeleted', revision: 9_223_372_036_854_775_807n });
  });

  it('works on a stream that never was', async () => {
    const stream = fresh();
    await client.tombstoneStream(stream);
    await expect(client.appendToStream(stream, event(0))).rejects.toThrow(StreamDeletedError);
  });
});

describe('links', () => {
  it('to streams that can’t be lead nowhere', async () => {
    const links = fresh();
    const link = binaryEvent({ type: '$>', data: Buffer.from('0@none\0') });
    await client.appendToStream(links, link);
    const found = [];
    for await (const { event: target, link: own } of client.readStream(links, { resolveLinkTos: true }))
      found.push({ target, type: own?.type });
    expect(found).toEqual([{ target: undefined, type: '$>' }]);
  });

  it('are resolved for who asks, in reads and subscriptions', async () => {
    const [target, links] = [fresh('target'), fresh('links')];
    await client.appendToStream(target, events(3));
    const link = (text: string) => binaryEvent({ type: '$>', data: Buffer.from(text), metadata: Buffer.from('{}') });
    await client.appendToStream(links, [link(`1@${target}`), link(`9@${target}`), link('no link'), link('0@nowhere')]);

    const seen = [];
    for await (const e of client.readStream(links, { resolveLinkTos: true })) seen.push(e);
    expect(seen[0]!.event).toMatchObject({ streamId: target, revision: 1n, data: { n: 1 } });
    expect(seen[0]!.link).toMatchObject({ streamId: links, revision: 0n, type: '$>' });
    expect(seen[0]!.commitPosition).toBe(seen[0]!.link!.position!.commit);
    expect(seen[1]).toMatchObject({ link: { revision: 1n } });
    expect(seen[1]!.event).toBeUndefined();
    // What doesn't begin with a number is no link.
    expect(seen[2]).toMatchObject({ event: { type: '$>', revision: 2n } });
    expect(seen[2]!.link).toBeUndefined();
    expect(seen[3]!.event).toBeUndefined();
    expect((await collect(client.readStream(links))).map((e) => e.type)).toEqual(['$>', '$>', '$>', '$>']);

    const subscription = client.subscribeToStream(links, { resolveLinkTos: true });
    const got: { event?: { streamId: string } | undefined; link?: { revision: bigint } | undefined }[] = [];
    subscription.on('data', (e) => got.push(e));
    await once(subscription, 'caughtUp');
    await client.appendToStream(links, link(`2@${target}`));
    while (got.length < 5) await sleep(5);
    expect(got.map((e) => e.event?.streamId)).toEqual([target, undefined, links, undefined, target]);
    await subscription.unsubscribe();

    await client.deleteStream(target);
    for await (const e of client.readStream(links, { resolveLinkTos: true, maxCount: 1 })) {
      expect(e.event).toBeUndefined();
    }
  });
});
