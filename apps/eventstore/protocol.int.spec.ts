import { Client, credentials as grpcCredentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import streamsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js';
import emptyPb from 'google-protobuf/google/protobuf/empty_pb.js';
import timestampPb from 'google-protobuf/google/protobuf/timestamp_pb.js';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { collect, event, events, startTestStore, type TestStore } from './eventstore.fixture.js';

/** What the stock client never sends, said with the bare protocol. */

const { BatchAppendReq, BatchAppendResp, ReadReq, ReadResp } = streamsPb;
const STREAMS = '/event_store.client.streams.Streams';
const asIs = (bytes: Buffer) => bytes;

let store: TestStore;
let bare: Client;
beforeAll(async () => {
  store = await startTestStore();
  bare = new Client(`127.0.0.1:${store.server.port}`, grpcCredentials.createInsecure());
});
afterAll(async () => {
  bare.close();
  await store.close();
});

function identifier(stream: string) {
  const message = new sharedPb.StreamIdentifier();
  message.setStreamName(Buffer.from(stream));
  return message;
}

function batch(
  stream: string,
  options: { deadline?: Date; isFinal?: boolean; correlationId?: string; withOptions?: boolean } = {},
) {
  const request = new BatchAppendReq();
  const id = new sharedPb.UUID();
  id.setString(options.correlationId ?? randomUUID());
  request.setCorrelationId(id);
  if (options.withOptions !== false) {
    const message = new BatchAppendReq.Options();
    message.setStreamIdentifier(identifier(stream));
    message.setAny(new emptyPb.Empty());
    if (options.deadline) {
      const timestamp = new timestampPb.Timestamp();
      timestamp.fromDate(options.deadline);
      message.setDeadline21100(timestamp);
    }
    request.setOptions(message);
  }
  const proposed = new BatchAppendReq.ProposedMessage();
  const eventId = new sharedPb.UUID();
  eventId.setString(randomUUID());
  proposed.setId(eventId);
  proposed.getMetadataMap().set('type', 'T').set('content-type', 'application/json');
  proposed.setData(Buffer.from('{}'));
  request.addProposedMessages(proposed);
  request.setIsFinal(options.isFinal ?? true);
  return Buffer.from(request.serializeBinary());
}

describe('BatchAppend', () => {
  function open() {
    const call = bare.makeBidiStreamRequest(`${STREAMS}/BatchAppend`, asIs, asIs);
    const answers: InstanceType<typeof BatchAppendResp>[] = [];
    call.on('data', (bytes: Buffer) => answers.push(BatchAppendResp.deserializeBinary(bytes)));
    const ended = new Promise<ServiceError | undefined>((resolve) => {
      call.on('error', resolve);
      call.on('end', () => resolve(undefined));
    });
    return { call, answers, ended };
  }

  it('answers a deadline that has passed with Timeout and writes nothing', async () => {
    const stream = `late-${randomUUID()}`;
    const { call, answers, ended } = open();
    call.write(batch(stream, { deadline: new Date(Date.now() - 1) }));
    call.end();
    expect(await ended).toBeUndefined();
    expect(answers).toHaveLength(1);
    expect(answers[0]!.getError()!.getCode()).toBe(4);
    expect(answers[0]!.getError()!.getDetails()!.getTypeName()).toBe('event_store.client.Timeout');
    await expect(collect(store.client.readStream(stream))).rejects.toThrow();
  });

  it('ends an append that is never finished by its deadline', async () => {
    const stream = `open-${randomUUID()}`;
    const { call, answers } = open();
    const correlationId = randomUUID();
    call.write(batch(stream, { correlationId, deadline: new Date(Date.now() + 50), isFinal: false }));
    await sleep(1_000);
    expect(answers.map((a) => a.getError()!.getCode())).toEqual([4]);
    // Its end comes too late and is ignored.
    call.write(batch(stream, { correlationId, withOptions: false }));
    await sleep(50);
    call.end();
    expect(answers).toHaveLength(1);
  });

  it('puts an append together from several messages, and interleaves appends', async () => {
    const streams = [`many-${randomUUID()}`, `many-${randomUUID()}`];
    const ids = [randomUUID(), randomUUID()];
    const { call, answers, ended } = open();
    for (const n of [0, 1]) call.write(batch(streams[n]!, { correlationId: ids[n]!, isFinal: false }));
    for (const n of [1, 0]) call.write(batch(streams[n]!, { correlationId: ids[n]!, withOptions: false }));
    call.end();
    await ended;
    expect(answers.map((a) => a.getSuccess()!.getCurrentRevision())).toEqual(['1', '1']);
    expect(new Set(answers.map((a) => a.getCorrelationId()!.getString()))).toEqual(new Set(ids));
  });

  it('writes nothing of an append whose client went away in the middle', async () => {
    const stream = `gone-${randomUUID()}`;
    const { call, ended } = open();
    call.write(batch(stream, { isFinal: false }));
    await sleep(20);
    call.cancel();
    await ended;
    await expect(collect(store.client.readStream(stream))).rejects.toThrow();
  });
});

describe('Read', () => {
  type Options = InstanceType<typeof ReadReq.Options>;
  async function read(
    change: (options: Options, uuid: InstanceType<typeof ReadReq.Options.UUIDOption>) => void,
    stream: string,
    revision: string,
  ) {
    const request = new ReadReq();
    const options = new ReadReq.Options();
    const streamOptions = new ReadReq.Options.StreamOptions();
    streamOptions.setStreamIdentifier(identifier(stream));
    streamOptions.setRevision(revision);
    options.setStream(streamOptions);
    options.setCount('10');
    options.setNoFilter(new sharedPb.Empty());
    const uuid = new ReadReq.Options.UUIDOption();
    uuid.setString(new sharedPb.Empty());
    options.setUuidOption(uuid);
    change(options, uuid);
    request.setOptions(options);
    const call = bare.makeServerStreamRequest(`${STREAMS}/Read`, asIs, asIs, Buffer.from(request.serializeBinary()));
    const responses: InstanceType<typeof ReadResp>[] = [];
    for await (const bytes of call as AsyncIterable<Buffer>) responses.push(ReadResp.deserializeBinary(bytes));
    return responses;
  }

  it('gives ids in the structured form when asked', async () => {
    const stream = `ids-${randomUUID()}`;
    const written = { ...event(1), id: 'f1111111-2222-4333-8444-955555555555' };
    await store.client.appendToStream(stream, written);
    const [response] = await read((_options, uuid) => uuid.setStructured(new sharedPb.Empty()), stream, '0');
    const bits = response!.getEvent()!.getEvent()!.getId()!.getStructured()!;
    expect(BigInt.asUintN(64, BigInt(bits.getMostSignificantBits())).toString(16)).toBe('f111111122224333');
    expect(BigInt.asUintN(64, BigInt(bits.getLeastSignificantBits())).toString(16)).toBe('8444955555555555');
  });

  it('fails where there can be nothing to read, as on the real server', async () => {
    const nothing = (change: Parameters<typeof read>[0]) => read(change, `none-${randomUUID()}`, '0');
    const failure = { code: status.UNKNOWN, details: 'Unexpected ReadStreamResult: Error' };
    await expect(nothing((options) => options.setCount('0'))).rejects.toMatchObject(failure);
    const fromEnd = nothing((options) => options.getStream()!.setEnd(new sharedPb.Empty()));
    await expect(fromEnd).rejects.toMatchObject(failure);
  });

  it('tells newer clients the first and last position of a stream', async () => {
    const stream = `positions-${randomUUID()}`;
    await store.client.appendToStream(stream, events(10));
    await store.client.setStreamMetadata(stream, { truncateBefore: 8 });
    const control = new ReadReq.Options.ControlOption();
    control.setCompatibility(1);
    const responses = await read((options) => options.setControlOption(control), stream, '0');
    expect(responses.filter((r) => r.hasEvent()).map((r) => r.getEvent()!.getEvent()!.getStreamRevision())).toEqual([
      '8',
      '9',
    ]);
    expect(responses.at(-1)!.getLastStreamPosition()).toBe('9');
    expect((await read(() => undefined, stream, '0')).every((r) => r.hasEvent())).toBe(true);
  });
});

describe('whatever comes over the wire', () => {
  const methods = ['Read', 'Append', 'BatchAppend', 'Delete', 'Tombstone'] as const;

  function send(method: (typeof methods)[number], bytes: Buffer): Promise<number> {
    return new Promise((resolve) => {
      const path = `${STREAMS}/${method}`;
      const metadata = new Metadata();
      const deadline = { deadline: Date.now() + 2_000 };
      const done = (error: ServiceError | null) => resolve(error?.code ?? 0);
      if (method === 'Append') bare.makeClientStreamRequest(path, asIs, asIs, metadata, deadline, done).end(bytes);
      else if (method === 'Delete' || method === 'Tombstone')
        bare.makeUnaryRequest(path, asIs, asIs, bytes, metadata, deadline, done);
      else {
        const bidi =
          method === 'BatchAppend' ? bare.makeBidiStreamRequest(path, asIs, asIs, metadata, deadline) : undefined;
        const call = bidi ?? bare.makeServerStreamRequest(path, asIs, asIs, bytes, metadata, deadline);
        call.on('data', () => undefined);
        call.on('error', (error: ServiceError) => resolve(error.code));
        call.on('end', () => resolve(0));
        bidi?.end(bytes);
      }
    });
  }

  it.each(methods)('%s refuses malformed messages and the server lives', async (method) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 60 }), async (bytes) => {
        // OK, INVALID_ARGUMENT, or UNAVAILABLE's kin when the bytes happen to mean something; never INTERNAL.
        expect([0, 3, 5, 9]).toContain(await send(method, Buffer.from(bytes)));
      }),
      { numRuns: 40 },
    );
    await store.client.appendToStream('alive', event(0));
  });

  it('refuses methods it does not have', async () => {
    const code = await new Promise((resolve) =>
      bare.makeUnaryRequest(
        '/event_store.client.redaction.Redaction/SwitchChunks',
        asIs,
        asIs,
        Buffer.alloc(0),
        (error) => resolve(error?.code),
      ),
    );
    expect(code).toBe(12);
  });

  it('carries idle and talkative strangers', async () => {
    const sockets: Socket[] = [];
    for (let n = 0; n < 200; n++) {
      const socket = connectTcp(store.server.port, '127.0.0.1');
      socket.on('error', () => undefined);
      if (n % 4 === 0) socket.write('GET / HTTP/1.1\r\n\r\n');
      sockets.push(socket);
    }
    await sleep(50);
    await store.client.appendToStream('alive', event(0));
    for (const socket of sockets) socket.destroy();
  });
});
