import type {
  sendUnaryData,
  Server,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import type { Guard, Requirement } from '../security/guard.js';
import { isRpcError, rpc, type RpcError } from './status.js';

type Answered<Call> = (call: Call, callback: sendUnaryData<Buffer>) => void;

const asIs = (bytes: Buffer): Buffer => bytes;

/** What a message says, or INVALID_ARGUMENT when it can't be read. */
export function parsed<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (isRpcError(error)) throw error;
    throw rpc.invalidArgument(`malformed message: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Registers methods, each behind the guard. A method that throws ends its call, never the server. */
export class Routes {
  constructor(
    private readonly server: Server,
    private readonly guard: Guard,
  ) {}

  unary(path: string, requires: Requirement, serve: Answered<ServerUnaryCall<Buffer, Buffer>>): void {
    this.server.register(path, this.answered(requires, serve), asIs, asIs, 'unary');
  }

  clientStream(path: string, requires: Requirement, serve: Answered<ServerReadableStream<Buffer, Buffer>>): void {
    this.server.register(path, this.answered(requires, serve), asIs, asIs, 'clientStream');
  }

  serverStream(path: string, requires: Requirement, serve: (call: ServerWritableStream<Buffer, Buffer>) => void): void {
    const handler = (call: ServerWritableStream<Buffer, Buffer>) => {
      const refuse = (error: RpcError) => void call.emit('error', error);
      this.guard.admit(call, requires, refuse, () => attempt(() => serve(call), refuse));
    };
    this.server.register(path, handler, asIs, asIs, 'serverStream');
  }

  bidi(path: string, requires: Requirement, serve: (call: ServerDuplexStream<Buffer, Buffer>) => void): void {
    const handler = (call: ServerDuplexStream<Buffer, Buffer>) => {
      const refuse = (error: RpcError) => void call.emit('error', error);
      this.guard.admit(call, requires, refuse, () => attempt(() => serve(call), refuse));
    };
    this.server.register(path, handler, asIs, asIs, 'bidi');
  }

  private answered<Call extends ServerUnaryCall<Buffer, Buffer> | ServerReadableStream<Buffer, Buffer>>(
    requires: Requirement,
    serve: Answered<Call>,
  ): Answered<Call> {
    return (call, callback) => {
      const refuse = (error: RpcError) => callback(error);
      this.guard.admit(call, requires, refuse, () => attempt(() => serve(call, callback), refuse));
    };
  }
}

function attempt(serve: () => void, refuse: (error: RpcError) => void): void {
  try {
    serve();
  } catch (error) {
    refuse(isRpcError(error) ? error : rpc.internal(error instanceof Error ? error.message : String(error)));
  }
}
