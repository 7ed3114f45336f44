import { Metadata, type sendUnaryData, type ServerReadableStream, type ServerUnaryCall, status } from '@grpc/grpc-js';
import errorsPb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/errors_pb.js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v2/streams/streams_pb.js';
import { randomUUID } from 'node:crypto';
import { expectedNumber, type ExpectedRevision } from '../core/expected-revision.js';
import { streamNameProblem } from '../core/stream-metadata.js';
import { bytesField } from '../protocol/append-messages.js';
import type { ProposedEvent } from '../protocol/frames.js';
import { type Guard, principalOf } from '../security/guard.js';
import type { LogWriter, TransactionRequest, TransactionResult, Violation } from '../storage/writer.js';
import type { AppendLimits } from './appends.js';
import { parsed } from './routes.js';
import { isRpcError, rpc, type RpcError } from './status.js';

/** Appends to several streams at once, of the newer protocol (kurrentdb.protocol.v2.streams). */

type Expected = TransactionRequest['streams'][number]['expected'];
type Streams = { stream: string; expected: Expected }[];
type Events = { index: number; event: ProposedEvent }[];

/** What one transaction may name; a message has room for more than a commit should look at. */
const MAX_STREAMS = 4_000;

/** A transaction that is being put together. Streams are told apart without regard to case, as the real server does. */
class Draft {
  readonly streams: Streams = [];
  readonly events: Events = [];
  size = 0;
  private readonly indexes = new Map<string, number>();

  constructor(private readonly limits: AppendLimits) {}

  has(stream: string): boolean {
    return this.indexes.has(stream.toLowerCase());
  }

  indexOf(stream: string, expected: Expected): number {
    const key = stream.toLowerCase();
    const known = this.indexes.get(key);
    if (known !== undefined) return known;
    if (this.streams.length >= MAX_STREAMS) throw invalid('AppendRequest', `More than ${MAX_STREAMS} streams.`);
    const problem = stream === '' ? 'Stream must not be empty.' : streamNameProblem(stream);
    if (problem !== undefined) throw invalid('AppendRequest', problem);
    this.indexes.set(key, this.streams.length);
    return this.streams.push({ stream, expected }) - 1;
  }

  add(record: pb.AppendRecord, stream: string, expected: Expected): void {
    const { maxAppendSize } = this.limits;
    const { event, size } = eventOf(record);
    const index = this.indexOf(stream, expected);
    if (size > maxAppendSize) throw recordTooLarge(stream, event.id, size, maxAppendSize);
    this.size += size;
    if (this.size > maxAppendSize) throw transactionTooLarge(this.events.length + 1, this.size, maxAppendSize);
    this.events.push({ index, event });
  }
}

/** AppendSession: one message for each stream, one answer for all. */
export function appendSession(writer: LogWriter, guard: Guard, limits: AppendLimits) {
  return (call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
    const draft = new Draft(limits);
    const access: Promise<void>[] = [];
    let failed: unknown;
    call.on('data', (message: Buffer) => {
      if (failed !== undefined) return;
      try {
        const request = parsed(() => pb.AppendRequest.deserializeBinary(message));
        const stream = request.getStream();
        if (draft.has(stream)) throw alreadyInSession(stream);
        const expected = expectedRevision(request.hasExpectedRevision() ? request.getExpectedRevision()! : '-2');
        const records = request.getRecordsList();
        if (records.length === 0)
          throw invalid('AppendRequest', 'Stream append request must contain at least one record');
        draft.indexOf(stream, expected);
        for (const record of records) draft.add(record, stream, expected);
        access.push(requireAccess(guard, call, 'write', stream));
      } catch (error) {
        failed = error;
        callback(asRpcError(error));
      }
    });
    call.on('error', () => (failed = true));
    call.on('end', () => {
      if (failed !== undefined) return;
      if (draft.streams.length === 0) {
        callback(noRequests());
        return;
      }
      Promise.all(access)
        .then(() => submit(writer, draft, limits, call))
        .then((result) => {
          if (result.result === 'written') callback(null, sessionResponse(draft.streams, result));
          else callback(refusal(result, (violations) => sessionConflict(draft.streams, violations[0]!)));
        })
        .catch((error: unknown) => callback(asRpcError(error)));
    });
  };
}

/** AppendRecords: records of any streams in any order, and checks of streams that may be others. */
export function appendRecords(writer: LogWriter, guard: Guard, limits: AppendLimits) {
  return (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
    const run = async (): Promise<Buffer> => {
      const request = parsed(() => pb.AppendRecordsRequest.deserializeBinary(call.request));
      if (request.getRecordsList().length === 0)
        throw invalid('AppendRecordsRequest', 'Append records request must contain at least one record.');
      const draft = new Draft(limits);
      for (const check of request.getChecksList()) {
        const state = check.getStreamState();
        if (state === undefined) throw invalid('AppendRecordsRequest', 'Each consistency check must specify a type.');
        if (draft.has(state.getStream()))
          throw invalid('AppendRecordsRequest', 'Each stream can only appear once in consistency checks.');
        draft.indexOf(state.getStream(), expectedState(state.getExpectedState()));
      }
      for (const record of request.getRecordsList()) draft.add(record, record.getStream(), 'any');
      const written = new Set(draft.events.map(({ index }) => index));
      for (const index of written) await requireAccess(guard, call, 'write', draft.streams[index]!.stream);
      for (const [index, { stream }] of draft.streams.entries())
        if (!written.has(index)) await requireAccess(guard, call, 'read', stream);
      const result = await submit(writer, draft, limits, call);
      if (result.result !== 'written') throw refusal(result, (violations) => inconsistent(draft.streams, violations));
      return recordsResponse(draft.streams, [...written], result);
    };
    run().then(
      (response) => callback(null, response),
      (error: unknown) => callback(asRpcError(error)),
    );
  };
}

function submit(
  writer: LogWriter,
  { streams, events, size }: Draft,
  limits: AppendLimits,
  call: { getDeadline(): Date | number; cancelled: boolean },
): Promise<TransactionResult> {
  return new Promise((settle) => {
    const deadline = Math.min(Number(call.getDeadline()), Date.now() + limits.writeTimeoutMs);
    writer.submit({ kind: 'transaction', streams, events, size, deadline, cancelled: () => call.cancelled, settle });
  });
}

async function requireAccess(guard: Guard, call: object, action: 'read' | 'write', stream: string): Promise<void> {
  if (await guard.mayAccess(principalOf(call), action, stream)) return;
  const operation = `streams:${action}:${stream}`.toLowerCase();
  throw richError('ACCESS_DENIED', `Access denied. Insufficient permissions to perform ${operation}`, {
    code: status.PERMISSION_DENIED,
    type: 'kurrent.rpc.AccessDeniedErrorDetails',
    value: fields([1, operation]),
  });
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const SCHEMA_NAME = /^[\p{L}\p{N}_.$:-]+$/u;
const FORMATS: Partial<Record<pb.SchemaFormat, string>> = {
  [pb.SchemaFormat.SCHEMA_FORMAT_JSON]: 'Json',
  [pb.SchemaFormat.SCHEMA_FORMAT_PROTOBUF]: 'Protobuf',
  [pb.SchemaFormat.SCHEMA_FORMAT_AVRO]: 'Avro',
  [pb.SchemaFormat.SCHEMA_FORMAT_BYTES]: 'Bytes',
};

/** The event of a record; properties become JSON metadata, as readers of the older protocol get them. */
function eventOf(record: pb.AppendRecord): { event: ProposedEvent; size: number } {
  const id = (record.hasRecordId() ? record.getRecordId()! : randomUUID()).toLowerCase();
  if (!UUID.test(id) || /^[0-]+$/.test(id))
    throw invalid('AppendRequest', 'Record ID must be a valid and non-empty UUID.');
  const schema = record.getSchema();
  const type = schema?.getName() ?? '';
  if (type === '') throw invalid('AppendRequest', 'Schema name must not be empty');
  if (type !== type.normalize('NFC'))
    throw invalid('AppendRequest', 'Schema name must be in Unicode NFC (Normalization Form C)');
  if (!SCHEMA_NAME.test(type)) {
    const may = 'unicode letters, digits, underscores, dashes, periods, colons, and dollar signs';
    throw invalid('AppendRequest', `Schema name can only contain ${may}. Attempted Value: ${type}`);
  }
  const format = FORMATS[schema!.getFormat()];
  if (format === undefined) throw invalid('AppendRequest', 'Schema format must not be Unspecified.');
  const properties: Record<string, unknown> = {};
  let propertiesSize = 0;
  for (const [key, value] of record.getPropertiesMap().entries()) {
    if (key === '') throw invalid('AppendRequest', 'Property keys must not be empty.');
    if (value.getKindCase() === 0) throw invalid('AppendRequest', 'Property values must have a type set.');
    properties[key] = value.toJavaScript();
    propertiesSize += Buffer.byteLength(key) + value.serializeBinary().length + 6;
  }
  if (schema!.hasId()) {
    if (!UUID.test(schema!.getId()!)) throw invalid('AppendRequest', 'Schema ID must be a valid and non-empty UUID');
    properties['$schema.id'] = schema!.getId();
  }
  properties['$schema.name'] = type;
  properties['$schema.format'] = format;
  const data = Buffer.from(record.getData_asU8());
  const event = {
    id,
    type,
    isJson: format === 'Json',
    data,
    metadata: Buffer.from(JSON.stringify(properties)),
  };
  return { event, size: data.length + propertiesSize + Buffer.byteLength(type) };
}

const KEYWORDS: Record<string, Expected> = {
  '-1': 'no_stream',
  '-2': 'any',
  '-4': 'stream_exists',
  '-5': 'deleted',
  '-6': 'tombstoned',
};

function expectedRevision(text: string): ExpectedRevision {
  const keyword = KEYWORDS[text];
  if (keyword !== undefined && keyword !== 'deleted' && keyword !== 'tombstoned') return keyword;
  if (text.startsWith('-')) {
    const constants = 'NoStream (-1), Any (-2) or Exists (-4)';
    throw invalid('AppendRequest', `Expected revision must be positive or one of the allowed constants: ${constants}.`);
  }
  return Number(text);
}

function expectedState(text: string): Expected {
  const keyword = KEYWORDS[text];
  if (keyword !== undefined && keyword !== 'any') return keyword;
  if (text.startsWith('-')) {
    const constants = 'NoStream (-1), Exists (-4), Deleted (-5), or Tombstoned (-6). Any (-2) is not allowed';
    throw invalid(
      'AppendRecordsRequest',
      `Expected state must be positive or one of the allowed constants: ${constants}.`,
    );
  }
  return Number(text);
}

function stateNumber(state: Expected): number {
  return state === 'deleted' ? -5 : state === 'tombstoned' ? -6 : expectedNumber(state);
}

type Written = Extract<TransactionResult, { result: 'written' }>;

function sessionResponse(streams: Streams, { revisions, position }: Written): Buffer {
  const response = new pb.AppendSessionResponse();
  for (const [index, { stream }] of streams.entries()) {
    const output = new pb.AppendResponse();
    output.setStream(stream);
    output.setStreamRevision(String(revisions[index]));
    response.addOutput(output);
  }
  response.setPosition(String(position));
  return Buffer.from(response.serializeBinary());
}

function recordsResponse(streams: Streams, written: readonly number[], { revisions, position }: Written): Buffer {
  const response = new pb.AppendRecordsResponse();
  for (const index of written) {
    const revision = new pb.StreamRevision();
    revision.setStream(streams[index]!.stream);
    revision.setRevision(String(revisions[index]));
    response.addRevisions(revision);
  }
  response.setPosition(String(position));
  return Buffer.from(response.serializeBinary());
}

function refusal(
  result: Exclude<TransactionResult, { result: 'written' }>,
  of: (violations: readonly Violation[]) => RpcError,
): RpcError {
  switch (result.result) {
    case 'violations':
      return of(result.violations);
    case 'timeout':
      return richError('OPERATION_TIMEOUT', 'Operation timed out: the append waited too long.', {
        code: status.DEADLINE_EXCEEDED,
      });
    case 'unavailable':
      return rpc.unavailable(result.reason);
  }
}

const ERRORS = 'kurrentdb.protocol.v2.streams.errors';

function sessionConflict(streams: Streams, { index, actual }: Violation): RpcError {
  const { stream, expected } = streams[index]!;
  if (actual === 'tombstoned') {
    const message = `Stream '${stream}' has been tombstoned. It has been permanently removed from the system and cannot be restored.`;
    return richError('STREAM_TOMBSTONED', message, {
      code: status.FAILED_PRECONDITION,
      type: `${ERRORS}.StreamTombstonedErrorDetails`,
      value: new errorsPb.StreamTombstonedErrorDetails().setStream(stream).serializeBinary(),
    });
  }
  const [wanted, found] = [String(stateNumber(expected)), String(actual === 'deleted' ? -1 : actual)];
  const details = new errorsPb.StreamRevisionConflictErrorDetails().setStream(stream);
  const message = `Append failed due to a revision conflict on stream '${stream}'. Expected revision: ${wanted}. Actual revision: ${found}.`;
  return richError('STREAM_REVISION_CONFLICT', message, {
    code: status.FAILED_PRECONDITION,
    type: `${ERRORS}.StreamRevisionConflictErrorDetails`,
    value: details.setExpectedRevision(wanted).setActualRevision(found).serializeBinary(),
  });
}

function inconsistent(streams: Streams, violations: readonly Violation[]): RpcError {
  const details = new errorsPb.AppendConsistencyViolationErrorDetails();
  const lines = ['Append failed due to consistency violations.'];
  for (const { index, actual } of violations) {
    const { stream, expected } = streams[index]!;
    const state = new errorsPb.ConsistencyViolation.StreamStateViolation().setStream(stream);
    state.setExpectedState(String(stateNumber(expected)));
    state.setActualState(String(typeof actual === 'number' ? actual : stateNumber(actual)));
    details.addViolations(new errorsPb.ConsistencyViolation().setCheckIndex(index).setStreamState(state));
    lines.push(` - ${describe(stream, expected, actual)}`);
  }
  return richError('APPEND_CONSISTENCY_VIOLATION', lines.join('\n'), {
    code: status.FAILED_PRECONDITION,
    type: `${ERRORS}.AppendConsistencyViolationErrorDetails`,
    value: details.serializeBinary(),
  });
}

function describe(stream: string, expected: Expected, actual: Violation['actual']): string {
  const is = typeof actual === 'string' ? `is ${actual}` : actual < 0 ? 'does not exist' : `is at revision ${actual}`;
  if (typeof expected === 'number') {
    const wanted = `, expected revision ${expected}.`;
    return `Stream '${stream}' ${is}${wanted}`;
  }
  if (expected === 'no_stream' && typeof actual === 'number')
    return `Stream '${stream}' already exists at revision ${actual}.`;
  if (expected === 'deleted' || expected === 'tombstoned')
    return `Stream '${stream}' ${is}, explicitly expected ${expected}.`;
  return `Stream '${stream}' ${is}.`;
}

function alreadyInSession(stream: string): RpcError {
  const message = `Stream '${stream}' already has a different group of messages in this session. Appends for the same stream must currently be grouped together and not interleaved with appends for other streams.`;
  return richError('STREAM_ALREADY_IN_APPEND_SESSION', message, {
    code: status.ABORTED,
    type: `${ERRORS}.StreamAlreadyInAppendSessionErrorDetails`,
    value: new errorsPb.StreamAlreadyInAppendSessionErrorDetails().setStream(stream).serializeBinary(),
  });
}

function recordTooLarge(stream: string, id: string, size: number, maximum: number): RpcError {
  const details = new errorsPb.AppendRecordSizeExceededErrorDetails().setStream(stream).setRecordId(id);
  const message = `The size of record ${id} (${size} B) exceeds the maximum allowed size of ${maximum} B bytes by ${size - maximum} B`;
  return richError('APPEND_RECORD_SIZE_EXCEEDED', message, {
    code: status.INVALID_ARGUMENT,
    type: `${ERRORS}.AppendRecordSizeExceededErrorDetails`,
    value: details.setSize(size).setMaxSize(maximum).serializeBinary(),
  });
}

function transactionTooLarge(records: number, size: number, maximum: number): RpcError {
  const message = `Transaction size (${size} B) exceeded the maximum allowed size of ${maximum} B by ${size - maximum} B, after ${records} record(s).`;
  return richError('APPEND_TRANSACTION_SIZE_EXCEEDED', message, {
    code: status.ABORTED,
    type: `${ERRORS}.AppendTransactionSizeExceededErrorDetails`,
    value: new errorsPb.AppendTransactionSizeExceededErrorDetails().setSize(size).setMaxSize(maximum).serializeBinary(),
  });
}

function noRequests(): RpcError {
  const message = 'Append session started, but no append requests were sent before ending the session.';
  return richError('APPEND_SESSION_NO_REQUESTS', message, { code: status.FAILED_PRECONDITION });
}

function invalid(request: string, problem: string): RpcError {
  return richError('BAD_REQUEST', `The '${request}' is invalid: ${problem}`, {
    code: status.INVALID_ARGUMENT,
    type: 'google.rpc.BadRequest',
    value: fields([1, fields([2, problem])]),
  });
}

function asRpcError(error: unknown): RpcError {
  return isRpcError(error) ? error : rpc.unavailable(error instanceof Error ? error.message : String(error));
}

/** Reasons of the domain `server`; the others are of `streams`. */
const SERVER_REASONS = new Set(['ACCESS_DENIED', 'BAD_REQUEST', 'OPERATION_TIMEOUT']);

/**
 * A status whose trailer `grpc-status-details-bin` holds a google.rpc.Status: an ErrorInfo and, where the error has some,
 * its details.
 */
function richError(
  reason: string,
  message: string,
  { code, type, value }: { code: status; type?: string; value?: Uint8Array },
): RpcError {
  const info = any('google.rpc.ErrorInfo', fields([1, reason], [2, SERVER_REASONS.has(reason) ? 'server' : 'streams']));
  const details = [info, ...(type && value ? [any(type, value)] : [])];
  const text = fields([2, message], ...details.map((detail) => [3, detail] as const));
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', Buffer.concat([Buffer.from([0x08, code]), text]));
  return Object.assign(new Error(message), { code, details: message, metadata });
}

function any(type: string, value: Uint8Array): Buffer {
  return fields([1, `type.googleapis.com/${type}`], [2, Buffer.from(value)]);
}

/** Length-delimited protobuf fields. */
function fields(...list: readonly (readonly [field: number, value: string | Buffer])[]): Buffer {
  return Buffer.concat(list.map(([field, value]) => bytesField(field, Buffer.from(value as string))));
}
