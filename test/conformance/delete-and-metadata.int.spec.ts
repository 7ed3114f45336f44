import {
  ANY,
  BACKWARDS,
  END,
  NO_STREAM,
  STREAM_EXISTS,
  StreamDeletedError,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  collect,
  connectSubject,
  events,
  failure,
  revisions,
  type Subject,
  unique,
  upTo,
} from './conformance.fixture.js';

let subject: Subject;
let client: Subject['client'];
beforeAll(async () => {
  subject = await connectSubject();
  ({ client } = subject);
});
afterAll(() => subject.close());

const read = async (stream: string) => revisions(await collect(client.readStream(stream)));
const streamOf = async (count: number) => {
  const stream = unique();
  await client.appendToStream(stream, events(count));
  return stream;
};

describe('a deleted stream', () => {
  it('is not found, and goes on where it ended when it is written again', async () => {
    const stream = await streamOf(3);
    await client.deleteStream(stream);
    expect(await failure(read(stream))).toBeInstanceOf(StreamNotFoundError);
    expect((await client.appendToStream(stream, events(2))).nextExpectedRevision).toBe(4n);
    expect(await read(stream)).toEqual([3, 4]);
    expect((await client.getStreamMetadata(stream)).metadata).toMatchObject({ truncateBefore: 3 });
  });

  it.each([
    ['any', ANY],
    ['no stream', NO_STREAM],
    ['its last revision', 2n],
  ])('is written again expecting %s', async (_name, streamState) => {
    const stream = await streamOf(3);
    await client.deleteStream(stream);
    await client.appendToStream(stream, events(1), { streamState: streamState as typeof ANY });
    expect(await read(stream)).toEqual([3]);
  });

  it('is not written expecting that it exists, or an older revision', async () => {
    const stream = await streamOf(3);
    await client.deleteStream(stream);
    expect(await failure(client.appendToStream(stream, events(1), { streamState: STREAM_EXISTS }))).toBeInstanceOf(
      StreamDeletedError,
    );
    expect(await failure(client.appendToStream(stream, events(1), { streamState: 1n }))).toBeInstanceOf(
      WrongExpectedVersionError,
    );
  });

  it('keeps the rest of its metadata over deletion and return', async () => {
    const stream = await streamOf(3);
    await client.setStreamMetadata(stream, { maxCount: 10, mine: 'kept' });
    await client.deleteStream(stream);
    await client.appendToStream(stream, events(1));
    expect((await client.getStreamMetadata<{ mine?: string }>(stream)).metadata).toMatchObject({ truncateBefore: 3 });
  });

  it('is deleted only at the expected revision', async () => {
    const stream = await streamOf(3);
    const error = await failure(client.deleteStream(stream, { expectedRevision: 1n }));
    expect(error).toBeInstanceOf(WrongExpectedVersionError);
    expect(error).toMatchObject({ streamName: stream, expectedState: 1n, actualState: 2n });
    await client.deleteStream(stream, { expectedRevision: 2n });
    expect(await failure(read(stream))).toBeInstanceOf(StreamNotFoundError);
  });
});

describe('a tombstone', () => {
  it('ends a stream for good', async () => {
    const stream = await streamOf(2);
    await client.tombstoneStream(stream);
    for (const use of [
      () => read(stream),
      () => client.appendToStream(stream, events(1)),
      () => client.appendToStream(stream, events(1), { streamState: NO_STREAM }),
      () => client.deleteStream(stream),
      () => client.tombstoneStream(stream),
      () => client.setStreamMetadata(stream, { maxCount: 1 }),
    ]) {
      const error = await failure(use());
      expect(error).toBeInstanceOf(StreamDeletedError);
    }
    expect(await failure(read(stream))).toMatchObject({ streamName: stream });
  });

  it('is set only at the expected revision, also where nothing was', async () => {
    const stream = await streamOf(2);
    expect(await failure(client.tombstoneStream(stream, { expectedRevision: 0n }))).toBeInstanceOf(
      WrongExpectedVersionError,
    );
    const none = unique();
    await client.tombstoneStream(none, { expectedRevision: NO_STREAM });
    expect(await failure(read(none))).toBeInstanceOf(StreamDeletedError);
  });
});

describe('metadata', () => {
  it('is read as it was set, and set only at the expected revision', async () => {
    const stream = await streamOf(1);
    expect((await client.getStreamMetadata(stream)).metadata).toBeUndefined();
    await client.setStreamMetadata(stream, {
      maxCount: 3,
      maxAge: 60,
      truncateBefore: 0,
      mine: { deep: [1] },
    } as never);
    expect(await client.getStreamMetadata(stream)).toMatchObject({
      metadata: { maxCount: 3, maxAge: 60, mine: { deep: [1] } },
    });
    // The client passes its `expectedRevision` on under a name that its append doesn't know.
    const atFirst = { streamState: 0n } as never;
    await client.setStreamMetadata(stream, { maxCount: 4 }, atFirst);
    expect(await failure(client.setStreamMetadata(stream, { maxCount: 5 }, atFirst))).toBeInstanceOf(
      WrongExpectedVersionError,
    );
  });

  it('$maxCount shows the newest', async () => {
    const stream = await streamOf(10);
    await client.setStreamMetadata(stream, { maxCount: 4 });
    expect(await read(stream)).toEqual(upTo(10, 6));
    expect(revisions(await collect(client.readStream(stream, { direction: BACKWARDS, fromRevision: END })))).toEqual([
      9, 8, 7, 6,
    ]);
    await client.appendToStream(stream, events(1));
    expect(await read(stream)).toEqual(upTo(11, 7));
  });

  it('$tb hides what is older, also when everything is', async () => {
    const stream = await streamOf(5);
    await client.setStreamMetadata(stream, { truncateBefore: 3 });
    expect(await read(stream)).toEqual([3, 4]);
    await client.setStreamMetadata(stream, { truncateBefore: 5 });
    expect(await read(stream)).toEqual([]);
    await client.appendToStream(stream, events(1));
    expect(await read(stream)).toEqual([5]);
  });

  it('$maxAge hides what is too old', async () => {
    const stream = await streamOf(2);
    await client.setStreamMetadata(stream, { maxAge: 1 });
    await sleep(2_000);
    expect(await read(stream)).toEqual([]);
    await client.appendToStream(stream, events(1));
    expect(await read(stream)).toEqual([2]);
  });

  it('can be set before the stream is', async () => {
    const stream = unique();
    await client.setStreamMetadata(stream, { maxCount: 2 });
    await client.appendToStream(stream, events(3), { streamState: NO_STREAM });
    expect(await read(stream)).toEqual([1, 2]);
  });
});
