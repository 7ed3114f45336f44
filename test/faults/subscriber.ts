import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, createClient } from 'graphql-ws';
import { WebSocket } from 'ws';

const SUBSCRIPTION = `subscription ($stackId: ID!, $after: Position) {
  stackChanged(stackId: $stackId, after: $after) { position eventType comment { id } version { id } }
}`;

/** Follows a stack through every crash: comes back and resumes after the last position it has seen. */
export class Subscriber {
  /** `<position> <event type>`, in the order they came. */
  readonly messages: string[] = [];
  reconnects = 0;
  /** Errors that are not a lost connection. */
  readonly errors: string[] = [];
  #ended = false;
  #end: (() => void) | undefined;
  #client: Client | undefined;
  readonly #running: Promise<void>;

  constructor(
    private readonly apiUrl: string,
    private readonly token: string,
    readonly stackId: string,
    /** Position after which it begins. */
    readonly after: bigint,
    /** Before it comes back, milliseconds. */
    private readonly pauseMs = 100,
  ) {
    this.#running = this.#run();
  }

  /** Loses the connection, silently or with a farewell; it comes back by itself. */
  drop(silently: boolean): void {
    if (silently) this.#client?.terminate();
    else void this.#client?.dispose();
  }

  async stop(): Promise<void> {
    this.#ended = true;
    this.#end?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    let after = String(this.after);
    while (!this.#ended) {
      const client = createClient({
        url: `${this.apiUrl.replace(/^http/, 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { token: this.token },
        retryAttempts: 0,
        // A socket whose other end was killed may look open for long.
        keepAlive: 2_000,
      });
      this.#client = client;
      await new Promise<void>((resolve) => {
        this.#end = resolve;
        client.subscribe<{ stackChanged: { position: string; eventType: string } }>(
          { query: SUBSCRIPTION, variables: { stackId: this.stackId, after } },
          {
            next: ({ data, errors }) => {
              if (errors) this.errors.push(JSON.stringify(errors));
              if (!data) return;
              after = data.stackChanged.position;
              this.messages.push(`${after} ${data.stackChanged.eventType}`);
            },
            error: (error) => {
              if (Array.isArray(error)) this.errors.push(JSON.stringify(error));
              resolve();
            },
            complete: resolve,
          },
        );
      });
      await client.dispose();
      if (this.#ended) return;
      this.reconnects++;
      await sleep(this.pauseMs);
    }
  }
}
