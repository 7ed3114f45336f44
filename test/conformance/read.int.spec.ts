import {
  BACKWARDS,
  binaryEvent,
  END,
  streamNameFilter,
  StreamNotFoundError,
  type Position,
} from '@kurrent/kurrentdb-client';
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

describe('a stream', () => {
  const stream = unique();
  const read = async (options: Parameters<typeof client.readStream>[1]) =>
    revisions(await collect(client.readStream(stream, options)));
  beforeAll(() => client.appendToStream(stream, events(25)));

  it.each<[string, Parameters<typeof client.readStream>[1], number[]]>([
    ['forwards', {}, upTo(25)],
    ['forwards from a revision', { fromRevision: 20n }, upTo(25, 20)],
    ['forwards, a few', { maxCount: 3 }, [0, 1, 2]],
    ['forwards from beyond the end', { fromRevision: 100n }, []],
    ['backwards', { direction: BACKWARDS, fromRevision: END }, upTo(25).toReversed()],
    ['backwards from a revision', { direction: BACKWARDS, fromRevision: 3n }, [3, 2, 1, 0]],
    ['backwards, a few', { direction: BACKWARDS, fromRevision: END, maxCount: 2 }, [24, 23]],
    ['backwards from the first', { direction: BACKWARDS, fromRevision: 0n }, [0]],
    ['backwards from beyond the end', { direction: BACKWARDS, fromRevision: 100n, maxCount: 2 }, [24, 23]],
  ])('%s', async (_name, options, expected) => {
    expect(await read(options)).toEqual(expected);
  });

  // That forwards from the end is refused too is for protocol.int.spec.ts: this client turns such a read around.
  it('isn’t read where there can be nothing to read', async () => {
    expect(await failure(read({ maxCount: 0 }))).toBeInstanceOf(Error);
  });

  it('that is none is not found', async () => {
    const name = unique();
    const error = await failure(collect(client.readStream(name)));
    expect(error).toBeInstanceOf(StreamNotFoundError);
    expect(error).toMatchObject({ streamName: name });
  });

  it('that can be none is not found', async () => {
    for (const name of [`${unique()}\0`, `$$${unique()}\0x`, `$ce-${unique()}\0`])
      expect(await failure(collect(client.readStream(name)))).toBeInstanceOf(StreamNotFoundError);
  });

  it('with an odd name is read as it was written', async () => {
    for (const name of ['ä €😀/\\?#%20', '"\'{},', ' spaced ', 'a@b', '0@x', 'x'.repeat(500)].map((odd) =>
      unique(odd),
    )) {
      await client.appendToStream(name, events(1));
      expect((await collect(client.readStream(name)))[0]!.streamId).toBe(name);
    }
  });

  it('of links shows the links, or what they point at', async () => {
    const links = unique();
    await client.appendToStream(
      links,
      // A number that means nothing makes no link; spaces and -1, the last event, are fine.
      [
        `3@${stream}`,
        `0@${stream}`,
        `99@${stream}`,
        `0@${unique()}`,
        `no@${stream}`,
        ` 1 @${stream}`,
        `-1@${stream}`,
      ].map((text) => binaryEvent({ type: '$>', data: Buffer.from(text) })),
    );
    expect(new Set((await collect(client.readStream(links))).map((event) => event.type))).toEqual(new Set(['$>']));
    const resolved = [];
    for await (const each of client.readStream(links, { resolveLinkTos: true })) resolved.push(each);
    expect(
      resolved.map((each) => [each.link?.revision, each.event && `${each.event.revision}@${each.event.streamId}`]),
    ).toEqual([
      [0n, `3@${stream}`],
      [1n, `0@${stream}`],
      [2n, undefined],
      [3n, undefined],
      [undefined, `4@${links}`],
      [5n, `1@${stream}`],
      [6n, `24@${stream}`],
    ]);
  });
});

describe('$all', () => {
  const prefix = unique();
  const filter = streamNameFilter({ prefixes: [prefix] });
  const written: Position[] = [];
  beforeAll(async () => {
    for (const n of upTo(5))
      written.push((await client.appendToStream(`${prefix}-${n % 2}`, events(2, 'T', 2 * n))).position!);
  });
  const read = async (options: Parameters<typeof client.readAll>[0]) =>
    (await collect(client.readAll({ filter, ...options } as never))).map((event) => (event.data as { n: number }).n);

  it('is in the order things were written, both ways', async () => {
    expect(await read({})).toEqual(upTo(10));
    expect(await read({ direction: BACKWARDS, fromPosition: END })).toEqual(upTo(10).toReversed());
    expect(await read({ maxCount: 3 })).toEqual([0, 1, 2]);
    expect(await read({ direction: BACKWARDS, fromPosition: END, maxCount: 3 })).toEqual([9, 8, 7]);
  });

  it('is read from a position, forwards with it, backwards without', async () => {
    const all = await collect(client.readAll({ filter, maxCount: 10 } as never));
    const { position } = all[4]!;
    expect(await read({ fromPosition: position! })).toEqual(upTo(10, 4));
    expect(await read({ direction: BACKWARDS, fromPosition: position! })).toEqual([3, 2, 1, 0]);
  });

  it('from beyond the end has nothing forwards and isn’t read backwards', async () => {
    const fromPosition = { commit: 2n ** 62n, prepare: 2n ** 62n };
    expect(await read({ fromPosition })).toEqual([]);
    expect(await failure(read({ direction: BACKWARDS, fromPosition }))).toBeInstanceOf(Error);
  });

  it.each([
    [`\\A${prefix}-0\\z`, [0, 1, 4, 5, 8, 9]],
    [`(?i)^${prefix.toUpperCase()}-1$`, [2, 3, 6, 7]],
    [`^${prefix}$`, []],
  ])('is filtered by what .NET understands: %s', async (expression, expected) => {
    expect(await read({ filter: streamNameFilter({ regex: expression }) } as never)).toEqual(expected);
  });

  it('has positions that rise', async () => {
    const all = await collect(client.readAll({ filter } as never));
    for (const [n, event] of all.slice(1).entries())
      expect(event.position!.commit).toBeGreaterThanOrEqual(all[n]!.position!.commit);
    expect(written.map((position) => position.commit)).toEqual([1, 3, 5, 7, 9].map((n) => all[n]!.position!.commit));
  });
});
