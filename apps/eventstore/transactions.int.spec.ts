import {
  AppendConsistencyViolationError,
  AppendRecordSizeExceededError,
  jsonEvent,
  type KurrentDBClient,
  StreamNotFoundError,
  type StreamStateCheck,
  StreamTombstonedError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { collect, startTestStore, type TestStore } from './eventstore.fixture.js';

let store: TestStore;
let client: KurrentDBClient;
beforeAll(async () => {
  store = await startTestStore({ maxAppendSize: 64 * 1024 });
  client = store.client;
});
afterAll(() => store.close());

const record = (n: number, data: { n: number } | { text: string } = { n }) =>
  jsonEvent({ id: randomUUID(), type: 'Happened', data, metadata: { by: 'spec' } });
const to = (streamName: string, n: number) => ({ streamName, record: record(n) });
const check = (streamName: string, expectedState: StreamStateCheck['expectedState']): StreamStateCheck => ({
  type: 'stream_state',
  streamName,
  expectedState,
});
const revisions = async (stream: string) => (await collect(client.readStream(stream))).map((e) => Number(e.revision));

describe('multiStreamAppend', () => {
  it('writes to all streams in one go', async () => {
    const events = [record(0), record(1), record(2)];
    const result = await client.multiStreamAppend([
      { streamName: 'm1', events: [events[0]!, events[1]!], expectedState: 'no_stream' },
      { streamName: 'm2', events: [events[2]!], expectedState: 'any' },
    ]);
    const log = (await collect(client.readAll())).filter((e) => e.streamId.startsWith('m'));
    expect(log.map((e) => e.id)).toEqual(events.map((e) => e.id));
    expect(result).toEqual({
      position: log.at(-1)!.position!.commit,
      responses: [
        { streamName: 'm1', revision: 1n },
        { streamName: 'm2', revision: 0n },
      ],
    });
    // Properties are JSON metadata to readers of the older protocol, with the schema the record had.
    expect(log[0]).toMatchObject({
      type: 'Happened',
      isJson: true,
      data: { n: 0 },
      metadata: { by: 'spec', '$schema.name': 'Happened', '$schema.format': 'Json' },
    });
  });

  it('writes nothing when one stream isn’t as expected, and says which', async () => {
    await client.appendToStream('c1', [record(0), record(1)]);
    const attempt = client.multiStreamAppend([
      { streamName: 'c2', events: [record(0)], expectedState: 'no_stream' },
      { streamName: 'c1', events: [record(2)], expectedState: 0n },
    ]);
    await expect(attempt).rejects.toThrow(WrongExpectedVersionError);
    await expect(attempt).rejects.toMatchObject({ streamName: 'c1', expectedState: 0n, actualState: 1n });
    await expect(revisions('c2')).rejects.toThrow(StreamNotFoundError);
    expect(await revisions('c1')).toEqual([0, 1]);
  });

  it('answers a repeat like the first time', async () => {
    const requests = [
      { streamName: 'r1', events: [record(0), record(1)], expectedState: 'no_stream' as const },
      { streamName: 'r2', events: [record(2)], expectedState: 'any' as const },
    ];
    const first = await client.multiStreamAppend(requests);
    await client.appendToStream('r1', record(9));
    expect(await client.multiStreamAppend(requests)).toEqual(first);
    expect(await revisions('r1')).toEqual([0, 1, 2]);
    // A part of it is another transaction.
    await expect(client.multiStreamAppend([requests[0]!, { ...requests[1]!, streamName: 'r3' }])).rejects.toThrow(
      WrongExpectedVersionError,
    );
  });

  it('refuses tombstones, a stream named twice, too much at once and no records', async () => {
    await client.appendToStream('t1', record(0));
    await client.tombstoneStream('t1');
    const any = 'any' as const;
    await expect(
      client.multiStreamAppend([{ streamName: 't1', events: [record(0)], expectedState: any }]),
    ).rejects.toThrow(StreamTombstonedError);
    const twice = [
      { streamName: 'x1', events: [record(0)], expectedState: any },
      { streamName: 'X1', events: [record(0)], expectedState: any },
    ];
    await expect(client.multiStreamAppend(twice)).rejects.toMatchObject({ code: 10 });
    await expect(client.multiStreamAppend([])).rejects.toMatchObject({ code: 9 });
    await expect(
      client.multiStreamAppend([{ streamName: 'x1', events: [], expectedState: any }]),
    ).rejects.toMatchObject({ code: 3 });
    const large = record(0, { text: 'x'.repeat(70_000) });
    await expect(client.multiStreamAppend([{ streamName: 'x1', events: [large], expectedState: any }])).rejects.toThrow(
      AppendRecordSizeExceededError,
    );
    const half = () => record(0, { text: 'x'.repeat(40_000) });
    await expect(
      client.multiStreamAppend([{ streamName: 'x1', events: [half(), half()], expectedState: any }]),
    ).rejects.toMatchObject({ type: 'transaction-max-size-exceeded', maxSize: 65_536 });
    const named = { ...record(0), type: 'not a name' };
    await expect(
      client.multiStreamAppend([{ streamName: 'x1', events: [named], expectedState: any }]),
    ).rejects.toMatchObject({ code: 3 });
    await expect(revisions('x1')).rejects.toThrow(StreamNotFoundError);
  });

  it('brings soft-deleted streams back', async () => {
    await client.appendToStream('d1', [record(0), record(1)]);
    await client.deleteStream('d1');
    await client.multiStreamAppend([
      { streamName: 'd1', events: [record(2)], expectedState: 'no_stream' },
      { streamName: 'd2', events: [record(0)], expectedState: 'any' },
    ]);
    expect(await revisions('d1')).toEqual([2]);
  });
});

describe('appendRecords', () => {
  it('keeps the order of interleaved records and checks streams it doesn’t write', async () => {
    await client.appendToStream('guard', [record(0), record(1)]);
    const records = [to('i1', 0), to('i2', 0), to('i1', 1)];
    const result = await client.appendRecords(records, [check('guard', 1n), check('i1', 'no_stream')]);
    expect(result.responses).toEqual(
      expect.arrayContaining([
        { streamName: 'i1', revision: 1n },
        { streamName: 'i2', revision: 0n },
      ]),
    );
    const log = (await collect(client.readAll())).filter((e) => e.streamId.startsWith('i'));
    expect(log.map((e) => e.streamId)).toEqual(['i1', 'i2', 'i1']);
    // A repeat is the same even when what it checked has moved on.
    await client.appendToStream('guard', record(2));
    expect(await client.appendRecords(records, [check('guard', 1n)])).toEqual(result);
  });

  it('names every check that failed', async () => {
    await client.appendToStream('v1', record(0));
    await client.appendToStream('v2', record(0));
    await client.tombstoneStream('v2');
    const attempt = client.appendRecords(
      [to('v4', 0)],
      [check('v1', 'no_stream'), check('v2', 'stream_exists'), check('v3', 3n), check('v4', 'no_stream')],
    );
    await expect(attempt).rejects.toThrow(AppendConsistencyViolationError);
    await expect(attempt).rejects.toMatchObject({
      violations: [
        { checkIndex: 0, streamName: 'v1', expectedState: 'no_stream', actualState: 0n },
        { checkIndex: 1, streamName: 'v2', expectedState: 'stream_exists', actualState: -6n },
        { checkIndex: 2, streamName: 'v3', expectedState: 3n, actualState: 'no_stream' },
      ],
    });
    await expect(revisions('v4')).rejects.toThrow(StreamNotFoundError);
  });

  it('refuses a check of any state and a stream checked twice', async () => {
    await expect(client.appendRecords([to('w1', 0)], [check('w1', 'any')])).rejects.toMatchObject({ code: 3 });
    const once = check('w1', 'no_stream');
    await expect(client.appendRecords([to('w1', 0)], [once, once])).rejects.toMatchObject({ code: 3 });
  });
});

it('is all or nothing whatever runs at the same time', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ streams: fc.uniqueArray(fc.nat(3), { minLength: 1, maxLength: 3 }), fail: fc.boolean() }), {
        minLength: 2,
        maxLength: 12,
      }),
      async (plan) => {
        const run = randomUUID();
        const transactions = plan.map(({ streams, fail }) => ({
          ids: streams.map(() => randomUUID()),
          streams: streams.map((n) => `p${n}-${run}`),
          fail,
        }));
        const outcomes = await Promise.allSettled(
          transactions.map(({ ids, streams, fail }) =>
            client.multiStreamAppend([
              ...streams.map((streamName, n) => ({
                streamName,
                events: [{ ...record(n), id: ids[n]! }],
                expectedState: 'any' as const,
              })),
              ...(fail ? [{ streamName: `f-${run}`, events: [record(0)], expectedState: 7n }] : []),
            ]),
          ),
        );
        const log = (await collect(client.readAll())).filter((e) => e.streamId.endsWith(run));
        const position = new Map(log.map((e) => [e.id, Number(e.position!.commit)]));
        for (const [n, { ids, fail }] of transactions.entries()) {
          expect(outcomes[n]!.status).toBe(fail ? 'rejected' : 'fulfilled');
          const at = ids.map((id) => position.get(id));
          if (fail) expect(at.every((p) => p === undefined)).toBe(true);
          // Together, and nothing in between.
          else expect(at).toEqual(ids.map((_, i) => at[0]! + i));
        }
      },
    ),
    { numRuns: 15 },
  );
});
