import type { sendUnaryData, ServerUnaryCall, ServerWritableStream } from '@grpc/grpc-js';
import pb from '@kurrent/kurrentdb-client/generated/kurrentdb/protocols/v1/projectionmanagement_pb.js';
import structPb from 'google-protobuf/google/protobuf/struct_pb.js';
import { SYSTEM_PROJECTIONS } from '../core/system-projections.js';
import type { Requirement } from '../security/guard.js';
import { parsed } from './routes.js';
import { rpc } from './status.js';

type Unary = (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => void;
type Named = { getName(): string } | undefined;

const NOTHING = Buffer.alloc(0);

/** Throws the NOT_FOUND of the protocol for what is no system projection: there are no others. */
function known(options: Named): string {
  const name = options?.getName() ?? '';
  if (!SYSTEM_PROJECTIONS.some((projection) => projection === name)) throw rpc.projectionNotFound(name);
  return name;
}

function answer(serve: (message: Buffer) => Uint8Array): Unary {
  return (call, callback) => callback(null, Buffer.from(parsed(() => serve(call.request))));
}

function alwaysOn(what: string, options: Named): never {
  throw rpc.systemProjection(known(options), what);
}

/** The system projections keep no state of their own. */
function emptyState() {
  const value = new structPb.Value();
  value.setStructValue(new structPb.Struct());
  return value;
}

/**
 * Management of projections. The system projections are part of the log: always on and never behind. There are no
 * others, so creating one is refused and whatever else is asked of one finds nothing.
 */
export const projectionMethods: Record<string, { requires: Requirement; serve: Unary }> = {
  Create: {
    requires: 'authenticated',
    serve: answer(() => {
      throw rpc.unimplemented('A projection of your own');
    }),
  },
  Update: {
    requires: 'authenticated',
    serve: answer((message) => alwaysOn('updated', pb.UpdateReq.deserializeBinary(message).getOptions())),
  },
  Delete: {
    requires: 'operators',
    serve: answer((message) => alwaysOn('deleted', pb.DeleteReq.deserializeBinary(message).getOptions())),
  },
  Disable: {
    requires: 'authenticated',
    serve: answer((message) => alwaysOn('disabled', pb.DisableReq.deserializeBinary(message).getOptions())),
  },
  Reset: {
    requires: 'authenticated',
    serve: answer((message) => alwaysOn('reset', pb.ResetReq.deserializeBinary(message).getOptions())),
  },
  Enable: {
    requires: 'authenticated',
    serve: answer((message) => {
      known(pb.EnableReq.deserializeBinary(message).getOptions());
      return NOTHING;
    }),
  },
  State: {
    requires: 'authenticated',
    serve: answer((message) => {
      known(pb.StateReq.deserializeBinary(message).getOptions());
      const response = new pb.StateResp();
      response.setState(emptyState());
      return response.serializeBinary();
    }),
  },
  Result: {
    requires: 'authenticated',
    serve: answer((message) => {
      known(pb.ResultReq.deserializeBinary(message).getOptions());
      const response = new pb.ResultResp();
      response.setResult(emptyState());
      return response.serializeBinary();
    }),
  },
  RestartSubsystem: { requires: 'operators', serve: answer(() => NOTHING) },
};

/** Statistics, one message for each projection asked for. */
export function projectionStatistics(head: () => number) {
  return (call: ServerWritableStream<Buffer, Buffer>): void => {
    for (const name of parsed(() => asked(call.request))) call.write(Buffer.from(details(name, head())));
    call.end();
  };
}

function asked(message: Buffer): readonly string[] {
  const options = pb.StatisticsReq.deserializeBinary(message).getOptions();
  if (options?.hasName()) return [known(options)];
  // They are continuous ones.
  return options?.hasTransient() || options?.hasOneTime() ? [] : SYSTEM_PROJECTIONS;
}

function details(name: string, head: number): Uint8Array {
  const position = `C:${head}/P:${head}`;
  const details = new pb.StatisticsResp.Details();
  details.setName(name);
  details.setEffectivename(name);
  details.setMode('Continuous');
  details.setStatus('Running');
  details.setProgress(100);
  details.setPosition(position);
  details.setLastcheckpoint(position);
  details.setVersion('1');
  details.setEpoch('1');
  details.setPartitionscached(1);
  const response = new pb.StatisticsResp();
  response.setDetails(details);
  return response.serializeBinary();
}
