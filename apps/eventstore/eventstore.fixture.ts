import {
  type AllStreamResolvedEvent,
  type JSONEventData,
  jsonEvent,
  KurrentDBClient,
  type ResolvedEvent,
} from '@kurrent/kurrentdb-client';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { testDatabase, type TestDatabase } from '../../test/support/database.js';
import { startEventStoreServer, type EventStoreServer, type EventStoreServerOptions } from './server.js';

export type TestStore = {
  server: EventStoreServer;
  client: KurrentDBClient;
  database: TestDatabase;
  close(): Promise<void>;
};

export function clientOf(port: number): KurrentDBClient {
  return KurrentDBClient.connectionString`kurrentdb://127.0.0.1:${port}?tls=false`;
}

/** A server on a fresh database and a stock client of it. */
export async function startTestStore(options: Partial<EventStoreServerOptions> = {}): Promise<TestStore> {
  const database = await testDatabase();
  const server = await startEventStoreServer({ databaseUrl: database.url, ...options });
  const client = clientOf(server.port);
  return {
    server,
    client,
    database,
    close: async () => {
      await client.dispose();
      await server.close();
      await database.drop();
    },
  };
}

export function event(n: number, type = 'Happened'): JSONEventData {
  return jsonEvent({ type, data: { n }, metadata: { by: 'spec' } });
}

export function events(count: number, type?: string): JSONEventData[] {
  return Array.from({ length: count }, (_, n) => event(n, type));
}

export async function collect<E extends ResolvedEvent | AllStreamResolvedEvent>(
  read: AsyncIterable<E>,
): Promise<NonNullable<E['event']>[]> {
  const all: NonNullable<E['event']>[] = [];
  for await (const resolved of read) if (resolved.event) all.push(resolved.event);
  return all;
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 10_000): Promise<void> {
  for (const end = Date.now() + ms; !(await condition()); await sleep(5)) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
  }
}

export type StoreProcess = { process: ChildProcess; port: number; httpPort: number };

/** The server as a process of its own, from source. */
export async function forkStore(databaseUrl: string): Promise<StoreProcess> {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url));
  const loader = new URL('../../scripts/typescript.mjs', import.meta.url).href;
  const child = fork(main, {
    execArgv: ['--no-warnings', '--import', loader],
    env: {
      PATH: process.env.PATH,
      EVENTSTORE_DATABASE_URL: databaseUrl,
      EVENTSTORE_PORT: '0',
      EVENTSTORE_HTTP_PORT: '0',
      EVENTSTORE_INSECURE: 'true',
      EVENTSTORE_LOG_LEVEL: 'error',
    },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ready = await Promise.race([
    once(child, 'message').then(([message]) => message as { type: string; port: number; httpPort: number }),
    once(child, 'exit').then(([code, signal]) => {
      throw new Error(`the event store ended before it was ready (${code ?? signal})`);
    }),
  ]);
  return { process: child, port: ready.port, httpPort: ready.httpPort };
}

/** A TCP way to Postgres that can be cut, in one direction or both. */
export class Cable {
  private readonly pairs = new Set<[Socket, Socket]>();
  private refusing = false;
  private swallowAnswers = false;
  private readonly server = createServer((near) => {
    if (this.refusing) {
      near.destroy();
      return;
    }
    const far = connect(Number(this.target.port), this.target.hostname);
    const pair: [Socket, Socket] = [near, far];
    this.pairs.add(pair);
    near.on('data', (bytes) => far.write(bytes));
    far.on('data', (bytes) => {
      if (!this.swallowAnswers) near.write(bytes);
    });
    for (const [one, other] of [pair, [far, near] as const]) {
      one.on('error', () => undefined);
      one.on('close', () => {
        other.end();
        this.pairs.delete(pair);
      });
    }
  });

  private constructor(private readonly target: URL) {}

  static async to(databaseUrl: string): Promise<Cable & { url: string }> {
    const cable = new Cable(new URL(databaseUrl));
    await new Promise<void>((resolve) => cable.server.listen(0, '127.0.0.1', resolve));
    const url = new URL(databaseUrl);
    url.port = String((cable.server.address() as { port: number }).port);
    return Object.assign(cable, { url: url.toString() });
  }

  /** Postgres goes on hearing us, we don't hear it. */
  muteAnswers(): void {
    this.swallowAnswers = true;
  }

  cut(): void {
    this.refusing = true;
    for (const [near, far] of this.pairs) {
      near.destroy();
      far.end();
    }
  }

  mend(): void {
    this.refusing = false;
    this.swallowAnswers = false;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
