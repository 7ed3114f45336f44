import streamsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/streams_pb.js';
import sharedPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/shared_pb.js';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import {
  AppendSize,
  appendWrongExpectedVersion,
  batchError,
  batchSuccess,
  readAppendMessage,
  readBatchAppendMessage,
} from './append-messages.js';
import {
  decodeEventFrame,
  encodeCheckpointFrame,
  encodeEventFrame,
  encodeEventFrames,
  TOMBSTONE_REVISION,
} from './frames.js';
import { withStructuredIds } from './read-messages.js';
import { uuidFromBits, uuidToBits } from './uuid.js';
import { MalformedMessage, varintSize, WireReader, writeVarint } from './wire.js';

const { BatchAppendReq, BatchAppendResp, AppendResp, ReadResp } = streamsPb;
const body = (frame: Buffer) => frame.subarray(5);

const proposed = fc.record({
  id: fc.uuid(),
  type: fc.string({ minLength: 1, unit: 'grapheme' }),
  isJson: fc.boolean(),
  data: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
  metadata: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
});
const revision = fc.integer({ min: 0, max: 2 ** 50 });

describe('event frames', () => {
  it('are what the generated stubs read', () => {
    fc.assert(
      fc.property(
        proposed,
        fc.string({ minLength: 1, unit: 'grapheme' }),
        revision,
        revision,
        (event, stream, at, position) => {
          const frame = encodeEventFrame(event, stream, at, position, '17000000000000000');
          expect(frame.readUInt32BE(1)).toBe(frame.length - 5);
          const readEvent = ReadResp.deserializeBinary(body(frame)).getEvent()!;
          const recorded = readEvent.getEvent()!;
          expect(readEvent.getCommitPosition()).toBe(String(position));
          expect(recorded.getId()!.getString()).toBe(event.id);
          expect(Buffer.from(recorded.getStreamIdentifier()!.getStreamName_asU8()).toString()).toBe(stream);
          expect(recorded.getStreamRevision()).toBe(String(at));
          expect(recorded.getPreparePosition()).toBe(String(position));
          expect(recorded.getCommitPosition()).toBe(String(position));
          expect(Object.fromEntries(recorded.getMetadataMap().toArray())).toEqual({
            type: event.type,
            created: '17000000000000000',
            'content-type': event.isJson ? 'application/json' : 'application/octet-stream',
          });
          expect(Buffer.from(recorded.getData_asU8())).toEqual(event.data);
          expect(Buffer.from(recorded.getCustomMetadata_asU8())).toEqual(event.metadata);
          // The payload is the tail: the readable view of the table rests on it.
          expect(frame.subarray(frame.length - event.data.length)).toEqual(event.data);

          const decoded = decodeEventFrame(frame);
          expect(decoded).toMatchObject({ id: event.id, type: event.type, isJson: event.isJson, stream });
          expect(decoded.data).toEqual(event.data);
          expect(decoded.metadata).toEqual(event.metadata);
        },
      ),
    );
  });

  it('of one append are the same as one by one', () => {
    fc.assert(
      fc.property(fc.array(proposed, { maxLength: 5 }), revision, revision, (events, at, position) => {
        const some = events.flatMap((event) => [event, { ...event, id: randomUUID() }]);
        expect(encodeEventFrames(some, 's', at, position, '17')).toEqual(
          some.map((event, n) => encodeEventFrame(event, 's', at + n, position + n, '17')),
        );
      }),
    );
  });

  it('give a tombstone the highest revision of the protocol', () => {
    const event = {
      id: randomUUID(),
      type: '$streamDeleted',
      isJson: false,
      data: Buffer.alloc(0),
      metadata: Buffer.alloc(0),
    };
    const frame = encodeEventFrame(event, 'a', TOMBSTONE_REVISION, 5, '0');
    expect(ReadResp.deserializeBinary(body(frame)).getEvent()!.getEvent()!.getStreamRevision()).toBe(
      '9223372036854775807',
    );
  });

  it('turn into frames with structured ids, other messages untouched', () => {
    fc.assert(
      fc.property(fc.array(proposed, { maxLength: 4 }), (events) => {
        const frames = events.flatMap((event, n) => [
          encodeEventFrame(event, 's', n, n + 1, '1'),
          encodeCheckpointFrame(n + 1),
        ]);
        let rest = withStructuredIds(Buffer.concat(frames));
        for (const [n, event] of events.entries()) {
          const end = 5 + rest.readUInt32BE(1);
          const recorded = ReadResp.deserializeBinary(rest.subarray(5, end)).getEvent()!.getEvent()!;
          const bits = recorded.getId()!.getStructured()!;
          expect(uuidFromBits(BigInt(bits.getMostSignificantBits()), BigInt(bits.getLeastSignificantBits()))).toBe(
            event.id,
          );
          expect(Buffer.from(recorded.getData_asU8())).toEqual(event.data);
          expect(recorded.getCommitPosition()).toBe(String(n + 1));
          rest = rest.subarray(end);
          const checkpointEnd = 5 + rest.readUInt32BE(1);
          expect(ReadResp.deserializeBinary(rest.subarray(5, checkpointEnd)).getCheckpoint()!.getCommitPosition()).toBe(
            String(n + 1),
          );
          rest = rest.subarray(checkpointEnd);
        }
        expect(rest).toHaveLength(0);
      }),
    );
  });
});

describe('append messages', () => {
  function batch(
    change: (
      request: InstanceType<typeof BatchAppendReq>,
      options: InstanceType<typeof BatchAppendReq.Options>,
    ) => void,
  ) {
    const request = new BatchAppendReq();
    const id = new sharedPb.UUID();
    id.setString('6D3B5F2A-0000-4000-8000-00000000000A');
    request.setCorrelationId(id);
    const options = new BatchAppendReq.Options();
    const stream = new sharedPb.StreamIdentifier();
    stream.setStreamName(Buffer.from('a-1'));
    options.setStreamIdentifier(stream);
    request.setOptions(options);
    change(request, options);
    return readBatchAppendMessage(Buffer.from(request.serializeBinary()), 1_000);
  }

  it('are read as the stubs write them', () => {
    const message = batch((request, options) => {
      options.setStreamPosition('7');
      const event = new BatchAppendReq.ProposedMessage();
      const bits = uuidToBits('11111111-2222-4333-8444-555555555555');
      const structured = new sharedPb.UUID.Structured();
      structured.setMostSignificantBits(bits.most.toString());
      structured.setLeastSignificantBits(bits.least.toString());
      const id = new sharedPb.UUID();
      id.setStructured(structured);
      event.setId(id);
      event.getMetadataMap().set('type', 'T').set('content-type', 'application/json');
      event.setData(Buffer.from('{}'));
      event.setCustomMetadata(Buffer.from('{"a":1}'));
      request.addProposedMessages(event);
      request.setIsFinal(true);
    });
    expect(message).toMatchObject({
      correlationId: '6d3b5f2a-0000-4000-8000-00000000000a',
      options: { stream: 'a-1', expected: 7, hasStream: true, deadline: undefined },
      isFinal: true,
      problem: undefined,
    });
    expect(message.events).toMatchObject([{ id: '11111111-2222-4333-8444-555555555555', type: 'T', isJson: true }]);
    expect(message.events[0]!.data.toString()).toBe('{}');
    const size = new AppendSize();
    size.add(message.events[0]!);
    expect(size.total).toBe(2 + 7 + 2);
    expect([1, 2].map((maximum) => size.exceeds(maximum))).toEqual([true, false]);
  });

  it('take 2^64-1 for the revision of a stream that is not there', () => {
    const message = batch((request) => request.getOptions()!.setStreamPosition('18446744073709551615'));
    expect(message.options!.expected).toBe('no_stream');
  });

  it('name what an event lacks', () => {
    const message = batch((request) => {
      const event = new BatchAppendReq.ProposedMessage();
      event.getMetadataMap().set('type', 'T');
      request.addProposedMessages(event);
    });
    expect(message.problem).toContain('content-type');
  });

  it('survive any bytes: read or refused, never worse', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [
          () => readBatchAppendMessage(Buffer.from(bytes), 0),
          () => readAppendMessage(Buffer.from(bytes)),
        ]) {
          try {
            read();
          } catch (error) {
            expect(error).toBeInstanceOf(Error);
            expect(['MALFORMED_MESSAGE', undefined]).toContain((error as MalformedMessage).code);
          }
        }
      }),
      { numRuns: 500 },
    );
  });

  it('answer what the stubs read', () => {
    const raw = Buffer.from(new sharedPb.UUID().serializeBinary());
    const success = BatchAppendResp.deserializeBinary(body(batchSuccess(raw, 'a-1', 4, 300)));
    expect(success.getSuccess()!.getCurrentRevision()).toBe('4');
    expect(success.getSuccess()!.getPosition()!.getCommitPosition()).toBe('300');

    const failed = BatchAppendResp.deserializeBinary(
      body(batchError(raw, 'a-1', { kind: 'wrong_expected_version', expected: 'no_stream', current: 4 })),
    );
    expect(failed.getError()!.getCode()).toBe(6);
    const detail = failed
      .getError()!
      .getDetails()!
      .unpack(sharedPb.WrongExpectedVersion.deserializeBinary, 'event_store.client.WrongExpectedVersion')!;
    expect(detail.hasExpectedNoStream()).toBe(true);
    expect(detail.getCurrentStreamRevision()).toBe('4');

    const append = AppendResp.deserializeBinary(appendWrongExpectedVersion(9, -1)).getWrongExpectedVersion()!;
    expect(append.hasCurrentNoStream()).toBe(true);
    expect(append.getExpectedRevision()).toBe('9');
  });
});

describe('the wire codec', () => {
  it('writes and reads varints of every size', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const buffer = Buffer.alloc(10);
        const end = writeVarint(buffer, 0, value);
        expect(end).toBe(varintSize(value));
        const reader = new WireReader(Buffer.concat([Buffer.from([0x08]), buffer.subarray(0, end)]));
        expect(reader.next()).toBe(true);
        expect(reader.varint()).toBe(value);
      }),
    );
  });

  it('skips fields it does not know', () => {
    const bytes = Buffer.from([
      0x10, 0x96, 0x01, 0x1a, 0x02, 1, 2, 0x21, 1, 2, 3, 4, 5, 6, 7, 8, 0x2d, 1, 2, 3, 4, 0x08, 5,
    ]);
    const reader = new WireReader(bytes);
    while (reader.next() && reader.field !== 1) reader.skip();
    expect(reader.varint()).toBe(5);
  });

  it('refuses a message that ends too early', () => {
    const reader = new WireReader(Buffer.from([0x0a, 5, 1]));
    reader.next();
    expect(() => reader.bytes()).toThrow(MalformedMessage);
  });
});
