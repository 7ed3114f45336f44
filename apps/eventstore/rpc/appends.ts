import type { sendUnaryData, ServerDuplexStream, ServerReadableStream, ServerUnaryCall } from '@grpc/grpc-js';
import { expectedNumber, type ExpectedRevision } from '../core/expected-revision.js';
import { streamNameProblem } from '../core/stream-metadata.js';
import {
  AppendSize,
  appendSuccess,
  appendWrongExpectedVersion,
  batchError,
  batchSuccess,
  deleteResponse,
  MissingEventProperty,
  readAppendMessage,
  readBatchAppendMessage,
  readDeleteMessage,
  type AppendOptions,
  type BatchError,
} from '../protocol/append-messages.js';
import type { ProposedEvent } from '../protocol/frames.js';
import { MalformedMessage } from '../protocol/wire.js';
import { type Guard, principalOf } from '../security/guard.js';
import type { AppendResult, LogWriter } from '../storage/writer.js';
import { FrameSink, type OpenCall } from './call.js';
import { isRpcError, rpc, type RpcError } from './status.js';

export type AppendLimits = {
  /** Bytes of data, metadata and type names in one append. */
  maxAppendSize: number;
  /** Milliseconds a write may wait for its turn. */
  writeTimeoutMs: number;
};

function asRpcError(error: unknown): RpcError {
  if (isRpcError(error)) return error;
  if (error instanceof MissingEventProperty) return rpc.requiredMetadataMissing(error.property);
  if (error instanceof MalformedMessage) return rpc.invalidArgument(error.message);
  return rpc.internal(error instanceof Error ? error.message : String(error));
}

/** Append: one client stream, one answer. */
export function append(writer: LogWriter, guard: Guard, limits: AppendLimits, open: Set<OpenCall>) {
  return (call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
    let options: (AppendOptions & { expected: ExpectedRevision }) | undefined;
    const events: ProposedEvent[] = [];
    const size = new AppendSize();
    let done = false;
    let allowed: boolean | Promise<boolean> = false;
    const unfinished: OpenCall = { fail: (error) => finish(error) };
    open.add(unfinished);
    const end = () => {
      done = true;
      open.delete(unfinished);
    };
    const finish: typeof callback = (...answer) => {
      if (done) return;
      end();
      callback(...answer);
    };
    call.on('data', (message: Buffer) => {
      if (done) return;
      try {
        const content = readAppendMessage(message);
        if ('options' in content) {
          if (options !== undefined) throw rpc.invalidArgument('Options were sent twice.');
          options = { ...content.options, expected: content.options.expected ?? missingExpectation('AppendReq') };
          allowed = guard.mayAccess(principalOf(call), 'write', options.stream);
          if (allowed === false) throw rpc.accessDenied();
          const problem = streamNameProblem(options.stream);
          if (problem !== undefined) throw rpc.invalidArgument(problem);
          return;
        }
        if (options === undefined) throw rpc.invalidArgument('The first message must carry the options.');
        size.add(content.event);
        if (size.exceeds(limits.maxAppendSize)) throw rpc.maxAppendSizeExceeded(limits.maxAppendSize);
        events.push(content.event);
      } catch (error) {
        finish(asRpcError(error));
      }
    });
    call.on('error', end);
    call.on('cancelled', end);
    call.on('end', () => {
      if (done) return;
      if (options === undefined) {
        finish(rpc.invalidArgument('The stream ended before the options.'));
        return;
      }
      const { stream, expected } = options;
      const submit = () =>
        writer.submit({
          kind: 'append',
          stream,
          expected,
          events,
          size: size.total,
          deadline: deadlineOf(call.getDeadline(), limits),
          cancelled: () => call.cancelled,
          settle: (result) => {
            if (result.result === 'written') finish(null, appendSuccess(result.revision, result.position));
            else if (result.result === 'wrong_expected_revision')
              finish(null, appendWrongExpectedVersion(expected, result.current));
            else finish(refusal('Append', stream, expected, result));
          },
        });
      if (allowed === true) submit();
      else
        Promise.resolve(allowed).then(
          (is) => (is ? submit() : finish(rpc.accessDenied())),
          (error: unknown) => finish(rpc.unavailable(error instanceof Error ? error.message : String(error))),
        );
    });
  };
}

function missingExpectation(request: 'AppendReq' | 'DeleteReq' | 'TombstoneReq'): never {
  throw rpc.invalidArgument(missing(`${request}+Types+Options+ExpectedStreamRevision`));
}

/** As the real server names an alternative of the protocol of which none was sent. */
function missing(what: string): string {
  return `'None' is not a valid EventStore.Client.Streams.${what}OneofCase`;
}

function deadlineOf(deadline: Date | number, limits: AppendLimits): number {
  return Math.min(Number(deadline), Date.now() + limits.writeTimeoutMs);
}

function refusal(
  operation: string,
  stream: string,
  expected: ExpectedRevision,
  result: Exclude<AppendResult, { result: 'written' }>,
): RpcError {
  switch (result.result) {
    case 'stream_deleted':
      return rpc.streamDeleted(stream);
    case 'timeout':
      return rpc.timeout(`${operation} waited too long`);
    case 'unavailable':
      return rpc.unavailable(result.reason);
    case 'wrong_expected_revision':
      return rpc.wrongExpectedVersion(operation, stream, expectedNumber(expected), result.current);
  }
}

/** Delete (soft) and Tombstone (for good). */
export function deleteStream(kind: 'delete' | 'tombstone', writer: LogWriter, guard: Guard, limits: AppendLimits) {
  return (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void => {
    const run = async () => {
      const request = kind === 'delete' ? 'DeleteReq' : 'TombstoneReq';
      const { stream, expected = missingExpectation(request) } = readDeleteMessage(call.request);
      await guard.require(principalOf(call), 'delete', stream);
      const problem = streamNameProblem(stream);
      if (problem !== undefined) throw rpc.invalidArgument(problem);
      if (stream.startsWith('$$')) throw rpc.invalidArgument(`Metadata stream '${stream}' can't be deleted.`);
      writer.submit({
        kind,
        stream,
        expected,
        deadline: deadlineOf(call.getDeadline(), limits),
        cancelled: () => call.cancelled,
        settle: (result) => {
          if (result.result === 'written') callback(null, deleteResponse(result.position));
          else callback(refusal('Delete', stream, expected, result));
        },
      });
    };
    run().catch((error: unknown) => callback(asRpcError(error)));
  };
}

type PendingBatch = {
  rawCorrelationId: Buffer;
  stream: string;
  expected: ExpectedRevision;
  deadline: number;
  events: ProposedEvent[];
  size: AppendSize;
  /** Whether the caller may write to the stream; a promise while its metadata is read. */
  allowed: true | Promise<boolean>;
};

/** A client may have begun at most this many appends on one call without finishing them. */
const MAX_UNFINISHED = 10_000;

/** BatchAppend: many appends over one call, each answered by its correlation id as soon as it is committed. */
export function batchAppend(writer: LogWriter, guard: Guard, limits: AppendLimits, open: Set<OpenCall>) {
  return (call: ServerDuplexStream<Buffer, Buffer>): void => {
    const sink = new FrameSink(call, open);
    const pending = new Map<string, PendingBatch>();
    let unanswered = 0;
    let ended = false;
    let outgoing: Buffer[] = [];
    let paused = false;
    const principal = principalOf(call);
    /** Appends of one call keep their order although some wait for the list that allows them. */
    let order: Promise<void> | undefined;

    // Answers of one commit go out as one write.
    const flush = () => {
      const frames = outgoing.length === 1 ? outgoing[0]! : Buffer.concat(outgoing);
      outgoing = [];
      const room = sink.send(frames);
      if (room !== undefined && !paused) {
        // A client that doesn't read its answers isn't read from either.
        paused = true;
        call.pause();
        void room.then(() => {
          paused = false;
          call.resume();
        });
      }
      if (ended && unanswered === 0) sink.end();
    };
    const answer = (frame: Buffer) => {
      outgoing.push(frame);
      if (outgoing.length === 1) queueMicrotask(flush);
    };
    const refuse = (rawCorrelationId: Buffer, stream: string, error: BatchError) =>
      answer(batchError(rawCorrelationId, stream, error));

    // Appends that were begun and never finished end by their deadline.
    const sweep = setInterval(() => {
      const now = Date.now();
      for (const [id, batch] of pending) {
        if (batch.deadline >= now) continue;
        pending.delete(id);
        refuse(batch.rawCorrelationId, batch.stream, { kind: 'timeout' });
      }
    }, 500);
    sweep.unref();
    sink.whenCancelled(() => {
      clearInterval(sweep);
      pending.clear();
    });

    const submit = (batch: PendingBatch) => {
      unanswered++;
      if (batch.allowed === true && order === undefined) {
        write(batch);
        return;
      }
      const turn = (order ?? Promise.resolve()).then(async () => {
        try {
          if (await batch.allowed) {
            write(batch);
            return;
          }
          unanswered--;
          refuse(batch.rawCorrelationId, batch.stream, { kind: 'access_denied' });
        } catch (error) {
          sink.fail(rpc.unavailable(error instanceof Error ? error.message : String(error)));
        } finally {
          if (order === turn) order = undefined;
        }
      });
      order = turn;
    };
    const write = (batch: PendingBatch) => {
      writer.submit({
        kind: 'append',
        stream: batch.stream,
        expected: batch.expected,
        events: batch.events,
        size: batch.size.total,
        deadline: batch.deadline,
        cancelled: () => sink.cancelled,
        settle: (result) => {
          unanswered--;
          const { rawCorrelationId, stream, expected } = batch;
          switch (result.result) {
            case 'written':
              answer(batchSuccess(rawCorrelationId, stream, result.revision, result.position));
              return;
            case 'wrong_expected_revision':
              refuse(rawCorrelationId, stream, { kind: 'wrong_expected_version', expected, current: result.current });
              return;
            case 'stream_deleted':
              refuse(rawCorrelationId, stream, { kind: 'stream_deleted' });
              return;
            case 'timeout':
              refuse(rawCorrelationId, stream, { kind: 'timeout' });
              return;
            case 'unavailable':
              // The protocol has no such answer for one append: the call ends, and with it all that is unanswered.
              clearInterval(sweep);
              sink.fail(rpc.unavailable(result.reason));
          }
        },
      });
    };

    call.on('data', (message: Buffer) => {
      try {
        const request = readBatchAppendMessage(message, Date.now());
        const { correlationId, rawCorrelationId, options } = request;
        if (correlationId === '') throw new MalformedMessage('correlation_id is missing');
        if (options !== undefined) {
          const deadline = Math.min(options.deadline ?? Infinity, Date.now() + limits.writeTimeoutMs);
          const allowed = options.hasStream ? guard.mayAccess(principal, 'write', options.stream) : true;
          if (allowed === false) {
            refuse(rawCorrelationId, options.stream, { kind: 'access_denied' });
            return;
          }
          // Its failure is seen when it is awaited.
          if (allowed !== true) allowed.catch(() => undefined);
          const problem = !options.hasStream
            ? 'Required field StreamIdentifier not set.'
            : options.expected === undefined
              ? `Status(StatusCode="InvalidArgument", Detail="${missing('BatchAppendReq+Types+Options+ExpectedStreamPosition')}")`
              : (streamNameProblem(options.stream) ??
                (pending.size >= MAX_UNFINISHED ? 'Too many unfinished appends on this call.' : undefined));
          if (problem !== undefined) {
            refuse(rawCorrelationId, options.stream, { kind: 'bad_request', message: problem });
            return;
          }
          if (deadline <= Date.now()) {
            refuse(rawCorrelationId, options.stream, { kind: 'timeout' });
            return;
          }
          if (!pending.has(correlationId)) {
            pending.set(correlationId, {
              rawCorrelationId,
              stream: options.stream,
              expected: options.expected!,
              deadline,
              events: [],
              size: new AppendSize(),
              allowed,
            });
          }
        }
        const batch = pending.get(correlationId);
        if (batch === undefined) return;
        for (const event of request.events) batch.size.add(event);
        if (request.problem !== undefined) {
          pending.delete(correlationId);
          refuse(rawCorrelationId, batch.stream, { kind: 'bad_request', message: request.problem });
          return;
        }
        if (batch.size.exceeds(limits.maxAppendSize)) {
          pending.delete(correlationId);
          refuse(rawCorrelationId, batch.stream, { kind: 'max_append_size', maximum: limits.maxAppendSize });
          return;
        }
        batch.events = batch.events.length === 0 ? request.events : batch.events.concat(request.events);
        if (!request.isFinal) return;
        pending.delete(correlationId);
        submit(batch);
      } catch (error) {
        sink.fail(asRpcError(error));
      }
    });
    call.on('error', () => clearInterval(sweep));
    call.on('end', () => {
      ended = true;
      clearInterval(sweep);
      if (unanswered === 0 && outgoing.length === 0) sink.end();
    });
  };
}
