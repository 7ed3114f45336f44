import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import fc from 'fast-check';
import { decodeAnswer, encodeAppend } from './append-wire.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- the client's own stubs have no types of their own */
const load = createRequire(import.meta.url);
const protocol = '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/';
const { BatchAppendReq, BatchAppendResp } = load(`${protocol}streams_pb.js`);
const { AllStreamPosition, Empty, StreamIdentifier, UUID, WrongExpectedVersion } = load(`${protocol}shared_pb.js`);
const { Status } = load('@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/status_pb.js');
const { Any } = load('google-protobuf/google/protobuf/any_pb.js');

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8');

it('an append is read by the client’s own stubs as what it is', () => {
  const event = fc.record({
    id: fc.uuid(),
    type: fc.string({ minLength: 1, maxLength: 200 }),
    data: fc.uint8Array({ maxLength: 40_000 }),
    metadata: fc.uint8Array({ maxLength: 300 }),
  });
  const expected = fc.oneof(
    fc.constantFrom('no_stream' as const, 'any' as const, 'stream_exists' as const),
    fc.bigInt({ min: 0n, max: BigInt(Number.MAX_SAFE_INTEGER) }),
  );
  fc.assert(
    fc.property(
      fc.uuid(),
      fc.string({ minLength: 1 }),
      expected,
      fc.integer({ min: 0, max: 4e12 }),
      fc.array(event, { maxLength: 5 }),
      (correlationId, stream, state, deadline, events) => {
        const read = BatchAppendReq.deserializeBinary(encodeAppend(correlationId, stream, state, deadline, events));
        const options = read.getOptions();
        const timestamp = options.getDeadline21100();
        expect({
          correlationId: read.getCorrelationId().getString(),
          final: read.getIsFinal(),
          stream: textOf(options.getStreamIdentifier().getStreamName_asU8()),
          deadline: timestamp.getSeconds() * 1000 + timestamp.getNanos() / 1e6,
          state: options.hasStreamPosition()
            ? BigInt(options.getStreamPosition())
            : options.hasNoStream()
              ? 'no_stream'
              : options.hasAny()
                ? 'any'
                : options.hasStreamExists() && 'stream_exists',
          events: read.getProposedMessagesList().map((message: any) => ({
            id: message.getId().getString(),
            type: message.getMetadataMap().get('type'),
            contentType: message.getMetadataMap().get('content-type'),
            data: textOf(message.getData_asU8()),
            metadata: textOf(message.getCustomMetadata_asU8()),
          })),
        }).toEqual({
          correlationId,
          final: true,
          stream: textOf(Buffer.from(stream)),
          deadline,
          state,
          events: events.map(({ id, type, data, metadata }) => ({
            id,
            type: textOf(Buffer.from(type)),
            contentType: 'application/json',
            data: textOf(data),
            metadata: textOf(metadata),
          })),
        });
      },
    ),
    { numRuns: 60 },
  );
});

const id = randomUUID();
const answer = () => {
  const uuid = new UUID();
  uuid.setString(id);
  const resp = new BatchAppendResp();
  resp.setCorrelationId(uuid);
  const name = new StreamIdentifier();
  name.setStreamName(Buffer.from('version-1').toString('base64'));
  resp.setStreamIdentifier(name);
  return resp;
};
const read = (resp: any) => decodeAnswer(Buffer.from(resp.serializeBinary()));

it.each([0n, 1n, 127n, 128n, 2n ** 40n])('an answer of success: revision and position %s', (n) => {
  const resp = answer();
  const success = new BatchAppendResp.Success();
  const position = new AllStreamPosition();
  position.setCommitPosition(String(n));
  position.setPreparePosition(String(n));
  success.setCurrentRevision(String(n));
  success.setPosition(position);
  resp.setSuccess(success);
  expect(read(resp)).toEqual({ correlationId: id, revision: n, position: n });
});

it('an answer whose correlation is in two halves', () => {
  const resp = answer();
  const uuid = new UUID();
  const halves = new UUID.Structured();
  const [most, least] = [id.replaceAll('-', '').slice(0, 16), id.replaceAll('-', '').slice(16)];
  halves.setMostSignificantBits(String(BigInt.asIntN(64, BigInt(`0x${most}`))));
  halves.setLeastSignificantBits(String(BigInt.asIntN(64, BigInt(`0x${least}`))));
  uuid.setStructured(halves);
  resp.setCorrelationId(uuid);
  resp.setSuccess(new BatchAppendResp.Success());
  expect(read(resp).correlationId).toBe(id);
});

it.each([
  [7n, 7n],
  [undefined, null],
])('an answer of a wrong expected revision: %s', (revision, current) => {
  const resp = answer();
  const wrong = new WrongExpectedVersion();
  if (revision === undefined) wrong.setCurrentNoStream(new Empty());
  else wrong.setCurrentStreamRevision(String(revision));
  const detail = new Any();
  detail.pack(wrong.serializeBinary(), 'event_store.client.WrongExpectedVersion');
  const status = new Status();
  status.setMessage('no');
  status.setDetails(detail);
  resp.setError(status);
  expect(read(resp)).toEqual({ correlationId: id, error: 'WrongExpectedVersion', message: 'no', current });
});

it('what is cut off is an error, never an answer', () => {
  const whole = Buffer.from(answer().serializeBinary());
  for (let length = 1; length < 40; length++) expect(() => decodeAnswer(whole.subarray(0, length))).toThrow(RangeError);
  expect(decodeAnswer(whole)).toMatchObject({ error: 'Unknown' });
});
