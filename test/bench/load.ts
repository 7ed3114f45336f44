/**
 * The clients of a bench, in a process of their own: they share an event loop with nothing that is measured. The parent
 * sends one {@link Order} after the other over IPC and gets a {@link Delivery} for each.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { startSideProcess } from './side-process.js';

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
  | {
      readonly kind: 'subscribers';
      /** The client of the same index draws on it; followers are spread over them evenly. */
      readonly stackIds: readonly string[];
      readonly subscription: string;
      readonly subscribers: number;
      /** Sign-ins that the subscribers take turns with. */
      readonly tokens: readonly string[];
      /** Mutations in a second; 0 for as many as are answered. */
      readonly rate: number;
      readonly seconds: number;
    }
);

export interface Delivery {
  /** From sending to the answer, milliseconds; warm-up left out. */
  readonly answered: number[];
  /** Answers in all, those of the warm-up and after the end included. */
  readonly commands: number;
  /** Processor seconds the clients themselves have used for all of them. */
  readonly cpuSeconds: number;
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
  const side = await startSideProcess(import.meta.url, ['--generate']);
  return {
    run: async (order) => {
      side.send(order);
      const delivery = (await side.told()) as Delivery;
      if (delivery.errors.length > 0) throw new Error(`the load met errors: ${delivery.errors.join('; ')}`);
      return delivery;
    },
    stop: side.stop,
  };
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

/**
 * A kept connection with one request at a time, that speaks just enough HTTP: the clients share the processors with what
 * they measure, so they must cost next to nothing.
 */
class Connection {
  readonly #socket: Socket;
  readonly #head: string;
  #received: Buffer[] = [];
  #length = 0;
  /** Bytes of the answer under way; known when its head is there. */
  #expected: number | undefined;
  #bodyAt = 0;
  #answer: ((problem: string | undefined) => void) | undefined;
  #broken: string | undefined;

  constructor(url: URL, token: string) {
    this.#head = [
      'POST /graphql HTTP/1.1',
      `host: ${url.host}`,
      `authorization: Bearer ${token}`,
      'content-type: application/json',
      'content-length: ',
    ].join('\r\n');
    this.#socket = connect({ host: url.hostname, port: Number(url.port), noDelay: true });
    this.#socket.on('data', (chunk) => this.#receive(chunk));
    this.#socket.on('error', (error) => this.#break(String(error)));
    this.#socket.on('close', () => this.#break('the connection was closed'));
  }

  /** Undefined when all is well, else what is wrong. */
  post(body: string): Promise<string | undefined> {
    if (this.#broken !== undefined) return Promise.resolve(this.#broken);
    return new Promise((resolve) => {
      this.#answer = resolve;
      this.#socket.write(`${this.#head}${Buffer.byteLength(body)}\r\n\r\n${body}`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#received.push(chunk);
    this.#length += chunk.length;
    if (this.#expected === undefined) {
      const text = Buffer.concat(this.#received).toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end));
      if (!length) return this.#break(`an answer without its length: ${text.slice(0, end)}`);
      this.#bodyAt = end + 4;
      this.#expected = this.#bodyAt + Number(length[1]);
    }
    if (this.#length < this.#expected) return;
    const bytes = Buffer.concat(this.#received);
    const body = bytes.toString('utf8', this.#bodyAt, this.#expected);
    const ok = bytes.toString('latin1', 0, 13) === 'HTTP/1.1 200 ';
    this.#received = [];
    this.#length = 0;
    this.#expected = undefined;
    const fine = ok && body.includes('"position":"') && !body.includes('"message":');
    this.#settle(fine ? undefined : `${bytes.toString('latin1', 0, 13)} ${body.slice(0, 400)}`);
  }

  #break(problem: string): void {
    this.#broken ??= problem;
    this.#settle(this.#broken);
  }

  #settle(problem: string | undefined): void {
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(problem);
  }
}

/** As many connections as there are requests under way at once. */
class Connections {
  readonly #all: Connection[] = [];
  readonly #idle = new Map<string, Connection[]>();

  constructor(private readonly url: URL) {}

  async post(token: string, body: string): Promise<string | undefined> {
    const idle = this.#idle.get(token) ?? [];
    this.#idle.set(token, idle);
    let connection = idle.pop();
    if (!connection) this.#all.push((connection = new Connection(this.url, token)));
    const error = await connection.post(body);
    idle.push(connection);
    return error;
  }

  close(): void {
    for (const connection of this.#all) connection.close();
  }
}

async function annotate(order: Extract<Order, { kind: 'annotate' }>): Promise<Delivery> {
  const url = new URL(order.apiUrl);
  const errors: string[] = [];
  const answered: number[] = [];
  const cpu = process.cpuUsage();
  const from = performance.now() + order.warmUpSeconds * 1000;
  const until = from + order.seconds * 1000;
  let commands = 0;
  await Promise.all(
    order.clients.map(async ({ token, versionId }, client) => {
      const connection = new Connection(url, token);
      while (performance.now() < until && errors.length < 5) {
        const body = JSON.stringify({
          query: order.query,
          variables: { input: input(versionId, `note of ${client}`) },
        });
        const sent = performance.now();
        const error = await connection.post(body);
        const now = performance.now();
        if (error) {
          errors.push(error);
          break;
        }
        commands++;
        // Answers after the end are not counted, so the time is that of the window.
        if (now > from && now <= until) answered.push(now - sent);
        if (order.pauseMs) await sleep(order.pauseMs * (0.5 + Math.random()));
      }
      connection.close();
    }),
  );
  return { answered, commands, received: [], seconds: order.seconds, errors, cpuSeconds: secondsOf(cpu) };
}

/** Processor seconds this process has used since. */
function secondsOf(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
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
  const connection = new Connection(url, token);
  const cpu = process.cpuUsage();
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
    const error = await connection.post(body);
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
  connection.close();
  await socket.dispose();
  return {
    answered,
    commands: order.messages + warmUp,
    received,
    seconds: (performance.now() - begun) / 1000,
    errors,
    cpuSeconds: secondsOf(cpu),
  };
}

/** Sockets of the last order with the same subscribers: opening a thousand of them is not what is measured. */
let sockets:
  { key: string; close(): Promise<void>; onText: (text: string, socket: number) => void; errors: string[] } | undefined;

async function openSockets(order: Extract<Order, { kind: 'subscribers' }>): Promise<NonNullable<typeof sockets>> {
  const key = JSON.stringify([order.subscription, order.subscribers, order.stackIds, order.tokens]);
  if (sockets?.key === key) return sockets;
  await sockets?.close();
  const { host } = new URL(order.apiUrl);
  const clients: ReturnType<typeof createClient>[] = [];
  const opened: NonNullable<typeof sockets> = {
    key,
    errors: [],
    onText: () => undefined,
    close: async () => void (await Promise.all(clients.map((client) => client.dispose()))),
  };
  for (let i = 0; i < order.subscribers; i++) {
    const client = createClient({
      url: `ws://${host}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { token: order.tokens[i % order.tokens.length] },
      retryAttempts: 0,
      lazy: false,
    });
    clients.push(client);
    client.subscribe<{ stackChanged: { comment: { text: string } | null } }>(
      { query: order.subscription, variables: { stackId: order.stackIds[i % order.stackIds.length] } },
      {
        next: ({ data, errors: refused }) => {
          if (refused) opened.errors.push(JSON.stringify(refused));
          const text = data?.stackChanged.comment?.text;
          if (text !== undefined) opened.onText(text, i);
        },
        error: (error) => opened.errors.push(error instanceof Error ? error.message : JSON.stringify(error)),
        complete: () => undefined,
      },
    );
    // Fifty at a time: the api is not to be measured while it still welcomes.
    if (i % 50 === 49) await sleep(500);
  }
  await greet(order, opened);
  return (sockets = opened);
}

/** Until everybody has heard something: nothing says when a subscription has begun. */
async function greet(order: Extract<Order, { kind: 'subscribers' }>, to: NonNullable<typeof sockets>): Promise<void> {
  const heard = new Set<number>();
  to.onText = (_text, socket) => heard.add(socket);
  const api = new Connections(new URL(order.apiUrl));
  for (const end = performance.now() + 60_000; heard.size < order.subscribers && to.errors.length === 0;) {
    if (performance.now() > end) to.errors.push(`only ${heard.size} subscribers heard anything`);
    for (const { token, versionId } of order.clients) {
      const body = JSON.stringify({ query: order.query, variables: { input: { versionId, text: 'Are you there?' } } });
      const error = await api.post(token, body);
      if (error) to.errors.push(error);
    }
    await sleep(1000);
  }
  api.close();
}

/** Serial number of an order, so that late messages of one are not taken for the next one's. */
let orders = 0;

async function subscribers(order: Extract<Order, { kind: 'subscribers' }>): Promise<Delivery> {
  const opened = await openSockets(order);
  const serial = ++orders;
  const errors = opened.errors;
  const answered: number[] = [];
  const received: number[] = [];
  const sentAt = new Map<string, number>();
  let lastAt = performance.now();
  opened.onText = (text) => {
    const sent = sentAt.get(text);
    if (sent === undefined) return;
    lastAt = performance.now();
    received.push(lastAt - sent);
  };
  const api = new Connections(new URL(order.apiUrl));
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const until = begun + order.seconds * 1000;
  let sent = 0;
  const one = async (): Promise<void> => {
    const n = sent++;
    const { token, versionId } = order.clients[n % order.clients.length]!;
    const text = `order ${serial}, note ${n}`;
    const body = JSON.stringify({ query: order.query, variables: { input: { versionId, text } } });
    const at = performance.now();
    sentAt.set(text, at);
    const error = await api.post(token, body);
    if (error) errors.push(error);
    else answered.push(performance.now() - at);
  };
  if (order.rate > 0) {
    const under: Promise<void>[] = [];
    // By the clock, whatever the answers take: a slow server must not slow its load down.
    for (let n = 0; begun + (n * 1000) / order.rate < until && errors.length === 0; n++) {
      await sleep(Math.max(0, begun + (n * 1000) / order.rate - performance.now()));
      under.push(one());
    }
    await Promise.all(under);
  } else
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        while (performance.now() < until && errors.length < 5) await one();
      }),
    );
  const each = order.subscribers / order.stackIds.length;
  const expected = answered.length * each;
  for (const end = performance.now() + 60_000; received.length < expected && performance.now() < end;) await sleep(20);
  if (received.length !== expected) errors.push(`${received.length} messages came instead of ${expected}`);
  api.close();
  return {
    answered,
    commands: answered.length,
    received,
    seconds: (lastAt - begun) / 1000,
    errors,
    cpuSeconds: secondsOf(cpu),
  };
}

if (process.argv[2] === '--generate' && process.send) {
  process.on('SIGINT', () => undefined);
  process.on('disconnect', () => process.exit(0));
  process.on('message', (order: Order) => {
    const generate =
      order.kind === 'annotate' ? annotate(order) : order.kind === 'live' ? live(order) : subscribers(order);
    void generate.then((delivery) => process.send!(delivery));
  });
  process.send('ready');
}
