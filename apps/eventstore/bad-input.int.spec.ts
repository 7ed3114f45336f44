import { status } from '@grpc/grpc-js';
import {
  type KurrentDBClient,
  MaxAppendSizeExceededError,
  StreamNotFoundError,
  WrongExpectedVersionError,
} from '@kurrent/kurrentdb-client';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import streamsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js';
import usersPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/usermanagement_pb.js';
import v2Pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/streams_pb.js';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { clientOf, collect, event, events, forkStore, type StoreProcess, until } from './eventstore.fixture.js';
import { LARGEST_RECORD } from './protocol/append-messages.js';

/** A process of its own: it must outlive everything here. */
let database: TestDatabase;
let store: StoreProcess;
let client: KurrentDBClient;
let session: ClientHttp2Session;
beforeAll(async () => {
  database = await testDatabase();
  store = await forkStore(database.url);
  client = clientOf(store.port);
  session = connect(`http://127.0.0.1:${store.port}`);
  session.on('error', () => undefined);
});
afterEach(async () => {
  // Alive, and of use to others.
  expect(store.process.exitCode).toBeNull();
  await client.appendToStream(`after-${randomUUID()}`, event(0));
});
afterAll(async () => {
  session.destroy();
  await client.dispose();
  store.process.kill('SIGTERM');
  await once(store.process, 'exit');
  await database.drop();
});

function open(path: string, on: ClientHttp2Session = session): ClientHttp2Stream {
  const request = on.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  request.on('error', () => undefined);
  return request;
}

function frame(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The status of a call with these bytes as its body, on a connection of its own; 'closed' when it ended without one. */
async function send(path: string, body: Uint8Array): Promise<number | 'closed'> {
  const own = connect(`http://127.0.0.1:${store.port}`);
  own.on('error', () => undefined);
  const request = open(path, own);
  let answered: number | undefined;
  const note = (headers: Record<string, unknown>) => {
    if (headers['grpc-status'] !== undefined) answered = Number(headers['grpc-status']);
  };
  request.on('response', note);
  request.on('trailers', note);
  request.resume();
  const closed = new Promise<void>((resolve) => request.on('close', resolve));
  request.end(body);
  // A subscription goes on until it is ended.
  const patience = setTimeout(() => {
    answered ??= status.OK;
    request.close();
  }, 400);
  await closed;
  clearTimeout(patience);
  own.destroy();
  return answered ?? 'closed';
}

const streams = '/event_store.client.streams.Streams';
const identifier = (name: string) =>
  new sharedPb.StreamIdentifier().setStreamName(Buffer.from(name).toString('base64'));

function appendOptions(stream: string): Uint8Array {
  const options = new streamsPb.AppendReq.Options()
    .setStreamIdentifier(identifier(stream))
    .setAny(new sharedPb.Empty());
  return new streamsPb.AppendReq().setOptions(options).serializeBinary();
}

function proposed(data: Uint8Array | string): Uint8Array {
  const message = new streamsPb.AppendReq.ProposedMessage().setId(new sharedPb.UUID().setString(randomUUID()));
  message.getMetadataMap().set('type', 'T').set('content-type', 'application/json');
  message.setData(typeof data === 'string' ? Buffer.from(data).toString('base64') : data);
  return new streamsPb.AppendReq().setProposedMessage(message).serializeBinary();
}

function readAll(): Uint8Array {
  const options = new streamsPb.ReadReq.Options();
  options.setAll(new streamsPb.ReadReq.Options.AllOptions().setStart(new sharedPb.Empty()));
  options.setSubscription(new streamsPb.ReadReq.Options.SubscriptionOptions());
  options.setNoFilter(new sharedPb.Empty());
  options.setUuidOption(new streamsPb.ReadReq.Options.UUIDOption().setString(new sharedPb.Empty()));
  return new streamsPb.ReadReq().setOptions(options).serializeBinary();
}

const memory = async (): Promise<number> => {
  const stats = await (await fetch(`http://127.0.0.1:${store.httpPort}/stats`)).json();
  return (stats as { memoryBytes: number }).memoryBytes;
};

describe('events', () => {
  it('that are too large are refused, one by one and as a whole', async () => {
    const large = { ...event(0), data: { text: 'x'.repeat(1_100_000) } };
    await expect(client.appendToStream('large', large)).rejects.toThrow(MaxAppendSizeExceededError);
    const many = Array.from({ length: 20 }, () => ({ ...event(0), data: { text: 'x'.repeat(60_000) } }));
    await expect(client.appendToStream('large', many)).rejects.toThrow(MaxAppendSizeExceededError);
    const credentials = { username: 'a', password: 'b' };
    await expect(client.appendToStream('large', large, { credentials })).rejects.toThrow(MaxAppendSizeExceededError);
    await expect(collect(client.readStream('large'))).rejects.toThrow(StreamNotFoundError);
  });

  it('larger than any message are refused before they are taken in', async () => {
    const body = Buffer.concat([frame(appendOptions('huge')), frame(proposed(Buffer.alloc(17 * 1024 * 1024)))]);
    // HTTP/2 may lose patience with so much of it first.
    expect([status.RESOURCE_EXHAUSTED, 'closed']).toContain(await send(`${streams}/Append`, body));
    // As on the real server, a message is as large as a log record may be.
    const largest = Buffer.alloc(LARGEST_RECORD + 1);
    expect([status.RESOURCE_EXHAUSTED, 'closed']).toContain(await send(`${streams}/Append`, frame(largest)));
    // A length that promises more than there is room for.
    const promise = Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
    expect(await send(`${streams}/Append`, promise)).toBe(status.RESOURCE_EXHAUSTED);
  });

  it('whose JSON is none are kept as they are, as on the real server', async () => {
    const body = Buffer.concat([frame(appendOptions('no-json')), frame(proposed('{"broken":'))]);
    expect(await send(`${streams}/Append`, body)).toBe(status.OK);
    const metadata = Buffer.concat([frame(appendOptions('$$no-json')), frame(proposed('not json'))]);
    expect(await send(`${streams}/Append`, metadata)).toBe(status.OK);
    const seen: string[] = [];
    for await (const { event: e } of client.readAll()) if (e?.streamId === 'no-json') seen.push(e.id);
    expect(seen).toHaveLength(1);
  });

  it('of any stream name and type come back as they went', async () => {
    const text = fc.oneof(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 60 }),
      fc.constantFrom(
        "'; DROP TABLE eventstore.events; --",
        '{"a","b"}',
        '\\',
        '"',
        'a,b',
        ' ',
        '\u2028',
        '🎬-1',
        '%',
        '../x',
      ),
    );
    await fc.assert(
      fc.asyncProperty(text, text, async (name, type) => {
        fc.pre(!/^\$|\0/.test(name) && !type.includes('\0') && Buffer.byteLength(name) < 900);
        const stream = `${name}-${randomUUID()}`;
        await client.appendToStream(stream, event(1, type));
        const [found] = await collect(client.readStream(stream));
        expect(found).toMatchObject({ streamId: stream, type, revision: 0n });
      }),
      { numRuns: 60 },
    );
  });

  it.each(['', '$$$$x', '$$', 'x'.repeat(1_025), 'a\0b', '$all'])('stream name %j is refused', async (name) => {
    const body = Buffer.concat([frame(appendOptions(name)), frame(proposed('{}'))]);
    expect(await send(`${streams}/Append`, body)).toBe(status.INVALID_ARGUMENT);
  });

  it('at a revision that isn’t are refused with the one that is', async () => {
    await client.appendToStream('revised', events(2));
    for (const streamState of [0n, 5n, 2n ** 62n]) {
      const attempt = client.appendToStream('revised', event(0), { streamState });
      await expect(attempt).rejects.toThrow(WrongExpectedVersionError);
      await expect(attempt).rejects.toMatchObject({ actualState: 1n });
    }
  });
});

describe('clients', () => {
  it('that never read cost the server next to nothing', async () => {
    const big = Array.from({ length: 40 }, () => ({ ...event(0), data: { text: 'x'.repeat(20_000) } }));
    for (let n = 0; n < 20; n++) await client.appendToStream('lots', big);
    const before = await memory();
    const deaf = Array.from({ length: 30 }, () => {
      const request = open(`${streams}/Read`);
      request.end(frame(readAll()));
      return request;
    });
    for (let n = 0; n < 20; n++) await client.appendToStream('lots', big);
    // 30 × 32 MB would be 1 GB.
    expect((await memory()) - before).toBeLessThan(300 * 2 ** 20);
    for (const request of deaf) request.close();
  });

  it('that go in the middle of a batch leave nothing behind', async () => {
    const correlation = new sharedPb.UUID().setString(randomUUID());
    const options = new streamsPb.BatchAppendReq.Options().setStreamIdentifier(identifier('half'));
    const { Empty } = await import('google-protobuf/google/protobuf/empty_pb.js').then((m) => m.default);
    options.setAny(new Empty());
    const message = new streamsPb.BatchAppendReq.ProposedMessage().setId(new sharedPb.UUID().setString(randomUUID()));
    message.getMetadataMap().set('type', 'T').set('content-type', 'application/json');
    const request = new streamsPb.BatchAppendReq().setCorrelationId(correlation).setOptions(options);
    const bytes = frame(request.setProposedMessagesList([message]).serializeBinary());
    const final = frame(
      new streamsPb.BatchAppendReq().setCorrelationId(correlation).setIsFinal(true).serializeBinary(),
    );
    for (const [body, cut] of [
      [bytes, false],
      [Buffer.concat([bytes, final.subarray(0, final.length - 3)]), false],
      [bytes.subarray(0, 20), true],
    ] as const) {
      const own = connect(`http://127.0.0.1:${store.port}`);
      own.on('error', () => undefined);
      const call = open(`${streams}/BatchAppend`, own);
      await new Promise((resolve) => call.write(body, resolve));
      if (cut) call.close();
      own.destroy();
    }
    await client.appendToStream('whole', event(0));
    await expect(collect(client.readStream('half'))).rejects.toThrow(StreamNotFoundError);
  });

  it('may be 2,000 that do nothing', async () => {
    const idle: ClientHttp2Session[] = [];
    for (let n = 0; n < 2_000; n += 100) {
      const some = Array.from({ length: 100 }, () => connect(`http://127.0.0.1:${store.port}`));
      idle.push(...some);
      await Promise.all(some.map((one) => once(one, 'remoteSettings')));
    }
    await client.appendToStream('among-many', events(3));
    expect(await collect(client.readStream('among-many'))).toHaveLength(3);
    for (const one of idle) one.destroy();
    expect(await memory()).toBeLessThan(700 * 2 ** 20);
  }, 120_000);
});

describe('bytes that are no messages', () => {
  const users = '/event_store.client.users.Users';
  const subscriptions = '/event_store.client.persistent_subscriptions.PersistentSubscriptions';
  const transactions = '/kurrentdb.protocol.v2.streams.StreamsService';
  const METHODS = [
    ...['Read', 'Append', 'BatchAppend', 'Delete', 'Tombstone'].map((name) => `${streams}/${name}`),
    ...['Create', 'Update', 'Details', 'ChangePassword', 'Delete'].map((name) => `${users}/${name}`),
    ...['Create', 'Update', 'Delete', 'Read', 'GetInfo', 'ReplayParked', 'List'].map(
      (name) => `${subscriptions}/${name}`,
    ),
    `${transactions}/AppendSession`,
    `${transactions}/AppendRecords`,
    '/event_store.client.operations.Operations/StopScavenge',
    '/event_store.client.monitoring.Monitoring/Stats',
    '/event_store.client.gossip.Gossip/Read',
  ];
  /** Nothing that says the server doesn't know what hit it. */
  const EXPECTED = [
    ...[status.OK, status.INVALID_ARGUMENT, status.NOT_FOUND, status.FAILED_PRECONDITION, status.ALREADY_EXISTS],
    ...[status.INTERNAL, status.CANCELLED, status.UNIMPLEMENTED, status.RESOURCE_EXHAUSTED, status.DEADLINE_EXCEEDED],
    ...[status.ABORTED, status.UNKNOWN, 'closed'],
  ];

  const valid = (): Uint8Array[] => [
    appendOptions('fuzz'),
    proposed('{}'),
    readAll(),
    new usersPb.DetailsReq().setOptions(new usersPb.DetailsReq.Options().setLoginName('x')).serializeBinary(),
    new v2Pb.AppendRequest()
      .setStream('fuzz')
      .setExpectedRevision('-2')
      .addRecords(
        new v2Pb.AppendRecord()
          .setRecordId(randomUUID())
          .setData('AAAA')
          .setSchema(new v2Pb.SchemaInfo().setFormat(v2Pb.SchemaFormat.SCHEMA_FORMAT_JSON).setName('T')),
      )
      .serializeBinary(),
  ];

  const mutated = fc
    .record({
      message: fc.nat(4),
      cuts: fc.array(fc.record({ at: fc.nat(200), byte: fc.nat(255) }), { minLength: 1, maxLength: 6 }),
      length: fc.option(fc.nat(120), { nil: undefined }),
    })
    .map(({ message, cuts, length }) => {
      const bytes = Buffer.from(valid()[message]!);
      for (const { at, byte } of cuts) bytes[at % bytes.length] = byte;
      return length === undefined ? bytes : bytes.subarray(0, length);
    });
  const body = fc.oneof(
    mutated.map(frame),
    fc.uint8Array({ maxLength: 200 }).map(frame),
    // Not even a frame.
    fc.uint8Array({ maxLength: 100 }),
    fc.array(mutated, { minLength: 2, maxLength: 3 }).map((all) => Buffer.concat(all.map(frame))),
  );

  it('end their call with a status, or are closed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(...METHODS), body), { minLength: 20, maxLength: 20 }),
        async (calls) => {
          const answers = await Promise.all(calls.map(([path, bytes]) => send(path, bytes)));
          for (const [n, answer] of answers.entries()) {
            if (!EXPECTED.includes(answer)) throw new Error(`${calls[n]![0]} answered ${answer}`);
          }
          expect(store.process.exitCode).toBeNull();
        },
      ),
      { numRuns: 25 },
    );
    await until(async () => (await fetch(`http://127.0.0.1:${store.httpPort}/health/ready`)).ok, 'readiness');
  }, 120_000);

  it('of a method that isn’t are unimplemented', async () => {
    expect(await send('/event_store.client.streams.Streams/Nothing', frame(Buffer.alloc(0)))).toBe(
      status.UNIMPLEMENTED,
    );
    expect(await send('/', Buffer.alloc(3))).toBe(status.UNIMPLEMENTED);
  });
});
