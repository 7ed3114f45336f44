import type { sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/operations_pb.js';
import { bytesField } from '../protocol/append-messages.js';
import { WireReader } from '../protocol/wire.js';
import type { Requirement } from '../security/guard.js';
import type { ScavengeReport, Scavenger } from '../storage/scavenger.js';
import type { EventLog } from '../storage/event-log.js';
import { parsed } from './routes.js';
import { rpc } from './status.js';

type Unary = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => void;

const NOTHING = Buffer.alloc(0);

export type Operations = {
  scavenger: Scavenger;
  /** Ends the server, after the answer. */
  shutdown: () => void;
  restartPersistentSubscriptions: () => Promise<void>;
};

/** The operations an admin has. Those that move a cluster's leadership or its indexes mean nothing here and succeed. */
export function operationMethods(operations: Operations): Record<string, { requires: Requirement; serve: Unary }> {
  const { scavenger } = operations;
  const { ScavengeResult } = pb.ScavengeResp;
  const scavenge = (id: string, result: pb.ScavengeResp.ScavengeResult) => {
    const response = new pb.ScavengeResp();
    response.setScavengeId(id);
    response.setScavengeResult(result);
    return Buffer.from(response.serializeBinary());
  };
  const nothing: Unary = (_call, callback) => callback(null, NOTHING);
  const methods: Record<string, Unary> = {
    StartScavenge: (_call, callback) => {
      const { id, result } = scavenger.start();
      callback(null, scavenge(id, result === 'started' ? ScavengeResult.STARTED : ScavengeResult.INPROGRESS));
    },
    StopScavenge: (call, callback) => {
      const request = parsed(() => pb.StopScavengeReq.deserializeBinary(call.request));
      const id = request.getOptions()?.getScavengeId() ?? '';
      if (scavenger.stop(id)) callback(null, scavenge(id, ScavengeResult.STOPPED));
      else callback(rpc.scavengeNotFound(id));
    },
    Shutdown: (_call, callback) => {
      callback(null, NOTHING);
      operations.shutdown();
    },
    RestartPersistentSubscriptions: (_call, callback) => {
      operations.restartPersistentSubscriptions().then(
        () => callback(null, NOTHING),
        (error: unknown) => callback(rpc.unavailable(error instanceof Error ? error.message : String(error))),
      );
    },
    MergeIndexes: nothing,
    ResignNode: nothing,
    SetNodePriority: nothing,
  };
  return Object.fromEntries(
    Object.entries(methods).map(([name, serve]) => [name, { requires: 'operators' as const, serve }]),
  );
}

/** What is written about a scavenge, in the terms of the real server. */
export function scavengeNote(id: string, report: ScavengeReport | undefined): { type: string; data: object } {
  if (report === undefined) return { type: '$scavengeStarted', data: { scavengeId: id } };
  const { result, error = null, streams, removed, milliseconds } = report;
  return {
    type: '$scavengeCompleted',
    data: { scavengeId: id, result, error, streams, eventsRemoved: removed, timeTakenMs: milliseconds },
  };
}

/** Numbers of this process by the names the real server's statistics have, and some of its own. */
export function statistics(log: EventLog, startedAt: number): Record<string, string> {
  const cpu = process.cpuUsage();
  const numbers: Record<string, number> = {
    'proc-mem': process.memoryUsage().rss,
    'proc-id': process.pid,
    'proc-upTime': Math.round((Date.now() - startedAt) / 1_000),
    'proc-cpuSeconds': (cpu.user + cpu.system) / 1e6,
    'es-head': log.head,
    'es-subscriptions': log.subscriptions,
    'es-tail-events': log.tail.size,
    'es-tail-bytes': log.tail.byteSize,
    ...Object.fromEntries(Object.entries(log.writer.stats).map(([name, value]) => [`es-writer-${name}`, value])),
  };
  return Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, String(value)]));
}

const SHORTEST_PERIOD_MS = 100;

/** Monitoring: statistics now and then until the client has enough. */
export function monitoring(read: () => Record<string, string>) {
  return (call: ServerWritableStream<Buffer, Buffer>): void => {
    const period = Math.max(
      SHORTEST_PERIOD_MS,
      parsed(() => readPeriod(call.request)),
    );
    const send = () => {
      // A client that doesn't read misses some.
      if (call.writableNeedDrain) return;
      call.write(statsMessage(read()));
    };
    const timer = setInterval(send, period);
    const stop = () => clearInterval(timer);
    call.on('cancelled', stop);
    call.on('close', stop);
    call.on('error', stop);
    send();
  };
}

function readPeriod(message: Buffer): number {
  const reader = new WireReader(message);
  let period = 0;
  while (reader.next()) {
    if (reader.field === 4) period = reader.varint();
    else reader.skip();
  }
  return Math.min(period, 2 ** 31 - 1);
}

function statsMessage(stats: Record<string, string>): Buffer {
  return Buffer.concat(
    Object.entries(stats).map(([name, value]) => {
      const entry = Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, Buffer.from(value))]);
      return bytesField(1, entry);
    }),
  );
}
