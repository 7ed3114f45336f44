import { Client as GrpcClient, type CallOptions, type ClientDuplexStream, type Metadata } from '@grpc/grpc-js';
import type { KurrentDBClient } from '@kurrent/kurrentdb-client';
import { decodeAnswer, encodeAppend, type AppendAnswer, type EncodedEvent } from './append-wire.js';
import type { ExpectedState } from './types.js';

type Call = ClientDuplexStream<Buffer, Buffer>;

/** What the client has for its own modules: its channel with discovery, TLS and credentials. Its own appends use the same. */
interface Inside {
  GRPCStreamCreator(
    client: typeof GrpcClient,
    name: string,
    create: (client: GrpcClient) => Call,
    cache: WeakMap<GrpcClient, Call | Promise<Call>>,
  ): () => Promise<Call>;
  callArguments(options: object, callOptions: CallOptions): [Metadata, CallOptions];
  supports(method: { path: string }): Promise<boolean>;
}

const METHOD = { path: '/event_store.client.streams.Streams/BatchAppend' };
/** One message must stay below what servers take. */
const MAX_BYTES = 2 * 1024 * 1024;

interface Waiting {
  readonly resolve: (answer: AppendAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/** With gRPC's code for a server that is away. */
const ended = () => Object.assign(new Error('The event store ended the call of appends'), { code: 14 });

const same = (message: Buffer): Buffer => message;

/**
 * One call of a client that carries all appends, each answered by itself, as the client's own do; encoded once and for
 * a tenth of the cost.
 */
export class AppendCall {
  readonly #inside: Inside;
  readonly #cache = new WeakMap<GrpcClient, Call | Promise<Call>>();
  readonly #waiting = new WeakMap<Call, Map<string, Waiting>>();
  readonly #open: () => Promise<Call>;
  #supported: Promise<boolean> | undefined;
  #sent = 0;

  constructor(client: KurrentDBClient) {
    this.#inside = client as unknown as Inside;
    this.#open = this.#inside.GRPCStreamCreator(GrpcClient, 'appends', (grpc) => this.#begin(grpc), this.#cache);
  }

  /** False for what must go by the client's own append: a server of before the call, or an append that is too large for it. */
  async takes(events: readonly EncodedEvent[]): Promise<boolean> {
    const supported = (this.#supported ??= this.#inside.supports(METHOD).catch((error: unknown) => {
      this.#supported = undefined;
      throw error;
    }));
    const bytes = events.reduce((sum, { data, metadata }) => sum + data.length + metadata.length + 200, 0);
    return bytes <= MAX_BYTES && supported;
  }

  /** Throws when the call breaks; then nothing is known of the append. */
  async append(
    stream: string,
    events: readonly EncodedEvent[],
    expected: ExpectedState,
    timeoutMs: number,
  ): Promise<AppendAnswer> {
    const call = await this.#open();
    // Unique on its call, which is all that is asked.
    const correlationId = `00000000-0000-4000-8000-${(++this.#sent).toString(16).padStart(12, '0')}`;
    const waiting = this.#waiting.get(call);
    if (!waiting) throw ended();
    return new Promise((resolve, reject) => {
      waiting.set(correlationId, { resolve, reject });
      call.write(encodeAppend(correlationId, stream, expected, Date.now() + timeoutMs, events));
    });
  }

  #begin(grpc: GrpcClient): Call {
    const call = grpc.makeBidiStreamRequest(
      METHOD.path,
      same,
      same,
      ...this.#inside.callArguments({}, { deadline: Infinity }),
    );
    const waiting = new Map<string, Waiting>();
    this.#waiting.set(call, waiting);
    const fail = (error: unknown) => {
      // The next append opens a new one; the client forgets only calls that end with an error.
      this.#cache.delete(grpc);
      this.#waiting.delete(call);
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    call.on('data', (message: Buffer) => {
      try {
        const answer = decodeAnswer(message);
        waiting.get(answer.correlationId)?.resolve(answer);
        waiting.delete(answer.correlationId);
      } catch (error) {
        fail(error);
        call.cancel();
      }
    });
    call.on('error', fail);
    call.on('end', () => fail(ended()));
    return call;
  }
}
