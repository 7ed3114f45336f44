/**
 * The clients of a bench, in a process of their own: they share an event loop with nothing that is measured. The parent
 * sends one {@link Order} after the other over IPC and gets a {@link Delivery} for each.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { ROOT } from '../support/build.js';

/** The work of one client: what it draws on, one after the other. */
export interface LoadClient {
  readonly token: string;
  readonly versionId: string;
}

export type Order = { readonly apiUrl: string; readonly query: string; readonly clients: readonly LoadClient[] } & (
  | {
      readonly kind: 'annotate';
      readonly seconds: number;
      readonly warmUpSeconds: number;
      /** Mean pause of each client between two, milliseconds; default none. */
      readonly pauseMs?: number;
    }
  | { readonly kind: 'live'; readonly stackId: string; readonly subscription: string; readonly messages: number }
);

export interface Delivery {
  /** From sending to the answer, milliseconds; warm-up left out. */
  readonly answered: number[];
  /** From sending to the subscription's message, milliseconds. */
  readonly received: number[];
  /** Of the measured part. */
  readonly seconds: number;
  /** What went wrong, the first few; a figure with errors is no figure. */
  readonly errors: string[];
}

export interface LoadGenerator {
  run(order: Order): Promise<Delivery>;
  stop(): Promise<void>;
}

/** Starts the process. */
export async function startLoad(): Promise<LoadGenerator> {
  const child = fork(fileURLToPath(import.meta.url), ['--generate'], {
    execArgv: ['--no-warnings', '--import', join(ROOT, 'scripts', 'typescript.mjs')],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  await once(child, 'message');
  return {
    run: async (order) => {
      child.send(order);
      const [delivery] = (await Promise.race([once(child, 'message'), died(child)])) as [Delivery];
      if (delivery.errors.length > 0) throw new Error(`the load met errors: ${delivery.errors.join('; ')}`);
      return delivery;
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.disconnect();
      await once(child, 'exit');
    },
  };
}

async function died(child: ChildProcess): Promise<never> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  throw new Error(`the load generator ended (${code ?? signal})`);
}

let drawn = 0;

const input = (versionId: string, text: string) => {
  const n = drawn++;
  return {
    versionId,
    text,
    range: { in: n % 40, out: (n % 40) + 4 },
    shape: {
      kind: 'FREEHAND',
      points: Array.from({ length: 12 }, (_, i) => ({ x: 0.2 + i * 0.02, y: 0.3 + ((n + i) % 20) * 0.01 })),
    },
    colour: '#ff453a',
    strokeWidth: 0.004,
  };
};

/** One GraphQL request on a kept connection; undefined when all is well, else what is wrong. */
function post(agent: Agent, url: URL, token: string, body: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const sent = request(
      {
        agent,
        host: url.hostname,
        port: url.port,
        path: '/graphql',
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
          authorization: `Bearer ${token}`,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', (error) => resolve(String(error)));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8');
          const fine = response.statusCode === 200 && text.includes('"position":"') && !text.includes('"message":');
          resolve(fine ? undefined : `${response.statusCode} ${text.slice(0, 400)}`);
        });
      },
    );
    sent.on('error', (error) => resolve(String(error)));
    sent.end(body);
  });
}

async function annotate(order: Extract<Order, { kind: 'annotate' }>): Promise<Delivery> {
  const url = new URL(order.apiUrl);
  const errors: string[] = [];
  const answered: number[] = [];
  const from = performance.now() + order.warmUpSeconds * 1000;
  const until = from + order.seconds * 1000;
  let last = from;
  await Promise.all(
    order.clients.map(async ({ token, versionId }, client) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1, noDelay: true });
      while (performance.now() < until && errors.length < 5) {
        const body = JSON.stringify({
          query: order.query,
          variables: { input: input(versionId, `note of ${client}`) },
        });
        const sent = performance.now();
        const error = await post(agent, url, token, body);
        const now = performance.now();
        if (error) errors.push(error);
        else if (now > from && now <= until) {
          answered.push(now - sent);
          last = now;
        }
        if (order.pauseMs) await sleep(order.pauseMs * (0.5 + Math.random()));
      }
      agent.destroy();
    }),
  );
  // Answers after the end are not counted, so the time is that of the window.
  return { answered, received: [], seconds: Math.max(last - from, order.seconds * 1000) / 1000, errors };
}

async function live(order: Extract<Order, { kind: 'live' }>): Promise<Delivery> {
  const url = new URL(order.apiUrl);
  const { token, versionId } = order.clients[0]!;
  const errors: string[] = [];
  const answered: number[] = [];
  const received: number[] = [];
  const arrivals = new Map<string, () => void>();
  const socket = createClient({
    url: `ws://${url.host}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { token },
    retryAttempts: 0,
    lazy: false,
  });
  socket.subscribe<{ stackChanged: { comment: { text: string } | null } }>(
    { query: order.subscription, variables: { stackId: order.stackId } },
    {
      next: ({ data, errors: refused }) => {
        if (refused) errors.push(JSON.stringify(refused));
        const text = data?.stackChanged.comment?.text;
        if (text === undefined) return;
        arrivals.get(text)?.();
        arrivals.delete(text);
      },
      error: (error) => errors.push(error instanceof Error ? error.message : JSON.stringify(error)),
      complete: () => undefined,
    },
  );
  await sleep(1000);
  const agent = new Agent({ keepAlive: true, maxSockets: 1, noDelay: true });
  const begun = performance.now();
  const warmUp = Math.ceil(order.messages / 10);
  for (let i = 0; i < order.messages + warmUp && errors.length === 0; i++) {
    const text = `message ${i}`;
    const body = JSON.stringify({ query: order.query, variables: { input: input(versionId, text) } });
    const sent = performance.now();
    let arrived = 0;
    const message = new Promise<void>((resolve) =>
      arrivals.set(text, () => {
        arrived = performance.now();
        resolve();
      }),
    );
    const error = await post(agent, url, token, body);
    const answer = performance.now();
    if (error) errors.push(error);
    else if ((await Promise.race([message.then(() => true), sleep(15_000, false, { ref: false })])) === false)
      errors.push(`no message came for mutation ${i} within 15 s`);
    else if (i >= warmUp) {
      answered.push(answer - sent);
      received.push(arrived - sent);
    }
    // People don't draw in lockstep with the server's own rhythm.
    await sleep(5 + Math.random() * 40);
  }
  agent.destroy();
  await socket.dispose();
  return { answered, received, seconds: (performance.now() - begun) / 1000, errors };
}

if (process.argv[2] === '--generate' && process.send) {
  process.on('SIGINT', () => undefined);
  process.on('disconnect', () => process.exit(0));
  process.on('message', (order: Order) => {
    void (order.kind === 'annotate' ? annotate(order) : live(order)).then((delivery) => process.send!(delivery));
  });
  process.send('ready');
}
