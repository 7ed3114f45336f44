import { Metadata, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import type { Writable } from 'node:stream';
import { framesOf } from '../protocol/links.js';
import type { RpcError } from './status.js';

type StreamingCall = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

/** A call being served, which is told when the server shuts down. */
export type OpenCall = { fail(error: RpcError): void };

/** The HTTP/2 stream below a call, which grpc-js keeps for itself. */
type Inner = { call?: { stream?: Writable } };

/**
 * Sends framed gRPC messages on a call. grpc-js takes one message at a time through two streams, which costs more than
 * everything else we do for an event; so whole pages of frames are written to the HTTP/2 stream below it. Headers,
 * trailers, status and cancellation stay grpc-js's. Should a future grpc-js hide the stream, messages go one by one.
 */
export class FrameSink {
  cancelled = false;
  private ended = false;
  private readonly stream: Writable | undefined;
  private readonly onCancel: (() => void)[] = [];
  /** While the client doesn't keep up. */
  private room: Promise<void> | undefined;
  private endWait: (() => void) | undefined;

  constructor(
    private readonly call: StreamingCall,
    open: Set<OpenCall>,
  ) {
    open.add(this);
    this.whenCancelled(() => open.delete(this));
    this.stream = (call as unknown as Inner).call?.stream;
    if (this.stream !== undefined) call.sendMetadata(new Metadata());
    const cancelled = () => {
      if (this.cancelled) return;
      this.cancelled = true;
      for (const listener of this.onCancel) listener();
      this.endWait?.();
    };
    call.on('cancelled', cancelled);
    call.on('close', cancelled);
    this.stream?.on('close', cancelled);
    this.stream?.on('error', cancelled);
  }

  whenCancelled(listener: () => void): void {
    if (this.cancelled) listener();
    else this.onCancel.push(listener);
  }

  /** Sends frames; when the client doesn't keep up, a promise that resolves once it does or is gone. */
  send(frames: Buffer): Promise<void> | undefined {
    if (this.cancelled || this.ended || frames.length === 0) return undefined;
    const writable = this.stream ?? this.call;
    let room = true;
    if (this.stream !== undefined) room = this.stream.write(frames);
    else for (const frame of framesOf(frames)) room = this.call.write(frame.subarray(5));
    if (room) return undefined;
    return (this.room ??= new Promise((resolve) => {
      const done = () => {
        writable.off('drain', done);
        this.room = this.endWait = undefined;
        resolve();
      };
      writable.once('drain', done);
      this.endWait = done;
    }));
  }

  end(): void {
    if (this.ended || this.cancelled) return;
    this.ended = true;
    this.call.end();
  }

  fail(error: RpcError): void {
    if (this.ended || this.cancelled) return;
    this.ended = true;
    this.call.emit('error', error);
  }
}
