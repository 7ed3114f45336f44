import {
  ANY,
  type AppendStreamState,
  binaryEvent,
  jsonEvent,
  MaxAppendSizeExceededError,
  NO_STREAM,
  STREAM_EXISTS,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import { collect, connectSubject, events, failure, revisions, type Subject, unique } from './conformance.fixture.js';

let subject: Subject;
let client: Subject['client'];
beforeAll(async () => {
  subject = await connectSubject();
  ({ client } = subject);
});
afterAll(() => subject.close());

/** Credentials of its own make a call leave the batch: the client then uses the older append. */
const CREDENTIALS = { username: 'admin', password: 'changeit' };

describe.each([
  ['BatchAppend', {}],
  ['Append', { credentials: CREDENTIALS }],
])('append by %s', (_name, how) => {
  const append = (stream: string, batch: ReturnType<typeof jsonEvent>[], streamState: AppendStreamState = ANY) =>
    client.appendToStream(stream, batch, { streamState, ...how });
  const written = async (stream: string) => revisions(await collect(client.readStream(stream)));

  it('numbers events from 0 and tells revision and position of the last', async () => {
    const stream = unique();
    const first = await append(stream, events(3));
    expect(first).toMatchObject({ success: true, nextExpectedRevision: 2n });
    const second = await append(stream, events(1));
    expect(second.nextExpectedRevision).toBe(3n);
    expect(second.position!.commit).toBeGreaterThan(first.position!.commit);
    expect(await written(stream)).toEqual([0, 1, 2, 3]);
  });

  it('keeps type, id, data, metadata and content type', async () => {
    const stream = unique();
    const [id, other] = [randomUUID(), randomUUID()];
    await client.appendToStream(
      stream,
      [
        jsonEvent({ id, type: 'T ä €', data: { text: '✓', n: [1.5, null] }, metadata: { who: 'ü' } }),
        binaryEvent({ id: other, type: 'B', data: Buffer.from([0, 255, 1]), metadata: Buffer.from([7]) }),
      ],
      how,
    );
    const [json, binary] = await collect(client.readStream(stream));
    expect(json).toMatchObject({
      id,
      type: 'T ä €',
      isJson: true,
      data: { text: '✓', n: [1.5, null] },
      metadata: { who: 'ü' },
      streamId: stream,
    });
    expect(Math.abs(Date.now() - json!.created.getTime())).toBeLessThan(600_000);
    expect(binary).toMatchObject({ id: other, isJson: false });
    expect([...(binary!.data as Uint8Array)]).toEqual([0, 255, 1]);
    expect([...(binary!.metadata as Uint8Array)]).toEqual([7]);
  });

  describe('with an expected state', () => {
    // What stands in the stream, what is expected, and the current state an answer of “wrong” tells.
    it.each<[string, number, AppendStreamState, true | AppendStreamState]>([
      ['no stream of none', 0, NO_STREAM, true],
      ['any of none', 0, ANY, true],
      ['a stream of none', 0, STREAM_EXISTS, NO_STREAM],
      ['a revision of none', 0, 0n, NO_STREAM],
      ['no stream of one', 3, NO_STREAM, 2n],
      ['a stream of one', 3, STREAM_EXISTS, true],
      ['its revision', 3, 2n, true],
      ['an older revision', 3, 1n, 2n],
      ['a newer revision', 3, 3n, 2n],
    ])('%s', async (_case, count, expected, outcome) => {
      const stream = unique();
      if (count > 0) await append(stream, events(count));
      if (outcome === true) {
        expect((await append(stream, events(1), expected)).nextExpectedRevision).toBe(BigInt(count));
        return;
      }
      const error = await failure(append(stream, events(1), expected));
      expect(error).toBeInstanceOf(WrongExpectedVersionError);
      expect(error).toMatchObject({ streamName: stream, expectedState: expected, actualState: outcome });
    });
  });

  describe('repeated with the same ids', () => {
    it.each<[string, AppendStreamState]>([
      ['any', ANY],
      ['no stream', NO_STREAM],
    ])('expecting %s is answered as the first time', async (_name, expected) => {
      const stream = unique();
      const batch = events(3);
      const first = await append(stream, batch, expected);
      await append(stream, events(2));
      const again = await append(stream, batch, expected);
      expect(again.nextExpectedRevision).toBe(first.nextExpectedRevision);
      expect(await written(stream)).toEqual([0, 1, 2, 3, 4]);
    });

    it('expecting the revision it was written at is answered as the first time', async () => {
      const stream = unique();
      await append(stream, events(2));
      const batch = events(2);
      await append(stream, batch, 1n);
      expect((await append(stream, batch, 1n)).nextExpectedRevision).toBe(3n);
      expect(await written(stream)).toEqual([0, 1, 2, 3]);
    });

    it('the beginning alone is a repeat, more than was written is not', async () => {
      const stream = unique();
      const batch = events(3);
      await append(stream, batch);
      expect((await append(stream, batch.slice(0, 2))).nextExpectedRevision).toBe(1n);
      expect(await failure(append(stream, [...batch, ...events(1)]))).toBeInstanceOf(WrongExpectedVersionError);
      expect(await failure(append(stream, [...batch, ...events(1)], NO_STREAM))).toBeInstanceOf(
        WrongExpectedVersionError,
      );
      expect(await written(stream)).toEqual([0, 1, 2]);
    });

    it('of an id that was written more than once the first place counts', async () => {
      const [stream, other] = [unique(), unique()];
      const [event] = events(1);
      const six = Array.from({ length: 6 }, () => event!);
      const first = await append(stream, six);
      expect(first.nextExpectedRevision).toBe(5n);
      expect((await append(stream, six)).nextExpectedRevision).toBe(0n);
      const exact = await append(stream, six, NO_STREAM);
      expect(exact.nextExpectedRevision).toBe(5n);
      expect(exact.position!.commit).toBe((await collect(client.readStream(stream))).at(-1)!.position!.commit);
      // In another stream it is no repeat, not even the second time.
      await append(other, [event!]);
      expect((await append(other, [event!])).nextExpectedRevision).toBe(1n);
      expect(await written(stream)).toHaveLength(6);
    });

    it('expecting the current revision is written once more: ids are not looked at', async () => {
      const stream = unique();
      const batch = events(1);
      await append(stream, batch);
      expect((await append(stream, batch, 0n)).nextExpectedRevision).toBe(1n);
      expect(await written(stream)).toEqual([0, 1]);
    });

    it('in another stream is a new append', async () => {
      const batch = events(1);
      const [one, other] = [unique(), unique()];
      await append(one, batch);
      await append(other, batch);
      expect(await written(other)).toEqual([0]);
    });
  });

  it('takes a mebibyte of data, whatever the metadata', async () => {
    const stream = unique();
    const data = Buffer.alloc(1024 * 1024);
    await append(stream, [binaryEvent({ type: 'Full', data, metadata: Buffer.alloc(5_000) }) as never]);
    expect(await written(stream)).toEqual([0]);
  });

  it('refuses more than fits, and writes nothing of it', async () => {
    const stream = unique();
    const large = jsonEvent({ type: 'Large', data: { text: 'x'.repeat(2 * 1024 * 1024) } });
    // A real server may be configured to take more than the usual 1 MiB.
    expect(await failure(append(stream, [...events(1), large]))).toBeInstanceOf(MaxAppendSizeExceededError);
    expect(await failure(written(stream))).toBeInstanceOf(StreamNotFoundError);
  });
});
