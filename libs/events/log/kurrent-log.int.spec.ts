import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { FORWARDS, KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import { testDatabase, type TestDatabase } from '../../../test/support/database.js';
import { startService, type ServiceProcess } from '../../../test/support/processes.js';
import {
  CommentAdded,
  deriveEventId,
  ProjectRenamed,
  REDACTED,
  refuse,
  UserRegistered,
  type Command,
  type CommandMeta,
  type Decider,
  type EventMetadata,
  type RecordedEvent,
} from '../catalogue/index.js';
import { auditRefusals, auditStream } from './audit.js';
import { AppendTooLarge, InvalidEvent, LogUnavailable } from './errors.js';
import { CommandExecutor } from './executor.js';
import { openEventLog } from './kurrent-log.js';
import { MemoryOutcomes } from './memory-log.fixture.js';
import type { EventBatch, EventLog, LogSubscription, NewEvent, PersonCipher, SubscribeOptions } from './types.js';

/** A key per person, in memory. */
class Cipher implements PersonCipher {
  readonly #keys = new Map<string, Buffer>();
  readonly #destroyed = new Set<string>();

  encrypt(person: string, plaintext: string, aad: string): Promise<string> {
    const key = this.#keys.get(person) ?? randomBytes(32);
    this.#keys.set(person, key);
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(aad));
    const sealed = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()]);
    return Promise.resolve(Buffer.concat([iv, cipher.getAuthTag(), sealed]).toString('base64'));
  }

  decrypt(person: string, ciphertext: string, aad: string): Promise<string | undefined> {
    if (this.#destroyed.has(person)) return Promise.resolve(undefined);
    const bytes = Buffer.from(ciphertext, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', this.#keys.get(person)!, bytes.subarray(0, 12))
      .setAAD(Buffer.from(aad))
      .setAuthTag(bytes.subarray(12, 28));
    return Promise.resolve(Buffer.concat([decipher.update(bytes.subarray(28)), decipher.final()]).toString('utf8'));
  }

  destroy(person: string): void {
    this.#destroyed.add(person);
  }
}

const ORGANISATION = UserRegistered.example.organisationId;
const metadata = (commandId = randomUUID()): EventMetadata => ({
  $correlationId: commandId,
  $causationId: commandId,
  commandId,
  commandHash: 'ab',
  index: 0,
  count: 1,
  organisationId: ORGANISATION,
  actor: { userId: null, role: 'SERVICE' },
  schemaVersion: 1,
  at: '2031-05-06T07:08:09.000Z',
});
const registered = (userId: string, name = 'Ada Quill'): NewEvent => ({
  id: randomUUID(),
  type: 'UserRegistered',
  data: { ...UserRegistered.example, userId, name, email: 'ada@northlight.example' },
  metadata: metadata(),
});
/** An event that carries a number. */
const numbered = (n: number): NewEvent => ({
  id: randomUUID(),
  type: 'ProjectRenamed',
  data: { ...ProjectRenamed.example, to: `n${n}` },
  metadata: metadata(),
});
const numberOf = ({ data }: RecordedEvent) => Number((data as { to: string }).to.slice(1));
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}
async function until(condition: () => boolean, what: string, ms = 15_000): Promise<void> {
  for (const end = Date.now() + ms; !condition(); await sleep(5))
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
}

let database: TestDatabase;
let store: ServiceProcess;
let url: string;
let client: KurrentDBClient;
const cipher = new Cipher();
const logs: EventLog[] = [];
function open(options: { url?: string; timeoutMs?: number } = {}): EventLog {
  const log = openEventLog({ url, cipher, ...options });
  logs.push(log);
  return log;
}

beforeAll(async () => {
  database = await testDatabase();
  store = await startService('eventstore', {
    EVENTSTORE_DATABASE_URL: database.url,
    EVENTSTORE_PORT: '0',
    EVENTSTORE_HTTP_PORT: '0',
    EVENTSTORE_INSECURE: 'true',
    EVENTSTORE_LOG_LEVEL: 'error',
  });
  url = `kurrentdb://127.0.0.1:${store.ready.port}?tls=false`;
  client = KurrentDBClient.connectionString(url);
}, 120_000);
afterAll(async () => {
  await Promise.all(logs.map((log) => log.close()));
  await client?.dispose();
  await store?.stop();
  await database?.drop();
}, 60_000);

describe('the log door', () => {
  it('writes and reads back: revisions, positions, data, metadata', async () => {
    const log = open();
    const stream = `project-${randomUUID()}`;
    expect(await collect(log.readStream(stream))).toEqual([]);
    const events = range(0, 5).map(numbered);
    const result = await log.append(stream, events, 'no_stream');
    expect(result).toMatchObject({ ok: true, revision: 4n });
    const read = await collect(log.readStream(stream));
    expect(
      read.map(({ id, type, data, metadata: m, revision, stream: s }) => ({ id, type, data, m, revision, s })),
    ).toEqual(events.map(({ id, type, data, metadata: m }, revision) => ({ id, type, data, m, revision, s: stream })));
    const positions = read.map((e) => e.position);
    expect([...positions].sort((a, b) => (a < b ? -1 : 1))).toEqual(positions);
    expect(result.ok && result.position >= positions.at(-1)!).toBe(true);
    expect(await log.head()).toBeGreaterThanOrEqual(positions.at(-1)!);
    expect((await collect(log.readStream(stream, { from: 3n }))).map(numberOf)).toEqual([3, 4]);
    expect((await collect(log.readStream(stream, { from: 5n }))).map(numberOf)).toEqual([]);
    expect((await collect(log.readStream(stream, { from: 1n, limit: 2 }))).map(numberOf)).toEqual([1, 2]);
    expect((await collect(log.readAll({ after: positions[2]!, categories: ['project'] }))).map(numberOf)).toEqual([
      3, 4,
    ]);
  });

  it('checks the expected state, and says where the stream is', async () => {
    const log = open();
    const stream = `project-${randomUUID()}`;
    const conflict = (currentRevision: bigint | null) => ({ ok: false, conflict: true, currentRevision });
    expect(await log.append(stream, [numbered(0)], 'stream_exists')).toEqual(conflict(null));
    expect(await log.append(stream, [numbered(0)], 3n)).toEqual(conflict(null));
    expect(await log.append(stream, [numbered(0)], 'any')).toMatchObject({ ok: true, revision: 0n });
    expect(await log.append(stream, [numbered(1)], 'no_stream')).toEqual(conflict(0n));
    expect(await log.append(stream, [numbered(1)], 'stream_exists')).toMatchObject({ ok: true, revision: 1n });
    expect(await log.append(stream, [numbered(2)], 0n)).toEqual(conflict(1n));
    expect(await log.append(stream, [numbered(2)], 1n)).toMatchObject({ ok: true, revision: 2n });
  });

  it('never writes what the catalogue does not know or does not allow', async () => {
    const log = open();
    const stream = `project-${randomUUID()}`;
    const bad = [
      { ...numbered(0), type: 'NeverHeardOf' },
      { ...numbered(0), data: { ...ProjectRenamed.example, to: '' } },
    ];
    for (const event of bad) {
      await expect(log.append(stream, [numbered(0), event], 'any')).rejects.toBeInstanceOf(InvalidEvent);
      expect(await collect(log.readStream(stream))).toEqual([]);
    }
  });

  it('tells an append that is too large from a log that is away', async () => {
    const log = open();
    const stream = `version-${randomUUID()}`;
    const events = range(0, 130).map((): NewEvent => ({
      ...numbered(0),
      type: 'CommentAdded',
      data: { ...CommentAdded.example, text: 'x'.repeat(10_000) },
    }));
    await expect(log.append(stream, events, 'any')).rejects.toBeInstanceOf(AppendTooLarge);
    expect(await log.append(stream, events.slice(0, 90), 'any')).toMatchObject({ ok: true });
  });

  it('leaves events of others alone', async () => {
    const log = open();
    const stream = `project-${randomUUID()}`;
    const after = await log.head();
    await client.appendToStream(stream, {
      id: randomUUID(),
      contentType: 'application/json',
      type: 'Foreign',
      data: {},
      metadata: {},
    });
    await log.append(stream, [numbered(7)], 'any');
    expect((await collect(log.readStream(stream))).map((e) => [e.revision, numberOf(e)])).toEqual([[1, 7]]);
    expect((await collect(log.readAll({ after }))).map(numberOf)).toEqual([7]);
  });

  it('refuses to read what a newer Picturelock wrote', async () => {
    const log = open();
    const stream = `project-${randomUUID()}`;
    await log.append(stream, [{ ...numbered(0), metadata: { ...metadata(), schemaVersion: 99 } }], 'any');
    const read = collect(log.readStream(stream));
    await expect(read).rejects.toBeInstanceOf(InvalidEvent);
    await expect(read).rejects.toThrow('newer Picturelock');
    await client.tombstoneStream(stream);
  });
});

describe('personal fields', () => {
  it('are ciphertext in the store, clear to us, redacted once the key is destroyed', async () => {
    const log = open();
    const [userId, otherId] = [randomUUID(), randomUUID()];
    const stream = `user-${userId}`;
    await log.append(stream, [registered(userId), registered(otherId, 'Brin Vale')], 'any');

    const raw: string[] = [];
    for await (const { event } of client.readStream(stream, { direction: FORWARDS, fromRevision: START }))
      raw.push(JSON.stringify(event!.data));
    expect(raw).toHaveLength(2);
    for (const plaintext of ['Ada Quill', 'Brin Vale', 'northlight']) expect(raw.join()).not.toContain(plaintext);
    expect(JSON.parse(raw[0]!)).toMatchObject({ userId, name: { $personal: expect.any(String) as unknown } });

    const names = async (source: AsyncIterable<RecordedEvent>) =>
      (await collect(source)).map(({ data }) => [(data as { name: string }).name, (data as { email: string }).email]);
    expect(await names(log.readStream(stream))).toEqual([
      ['Ada Quill', 'ada@northlight.example'],
      ['Brin Vale', 'ada@northlight.example'],
    ]);
    cipher.destroy(userId);
    const redacted = [
      [REDACTED, REDACTED],
      ['Brin Vale', 'ada@northlight.example'],
    ];
    expect(await names(log.readStream(stream))).toEqual(redacted);
    expect((await names(log.readAll({ categories: ['user'] }))).slice(-2)).toEqual(redacted);
  });

  it('of nobody are not kept: a refusal of the system has no address', async () => {
    const log = open();
    const failures: unknown[] = [];
    const audit = auditRefusals(log, (error) => failures.push(error));
    const userId = randomUUID();
    const organisationId = randomUUID();
    const at = '2031-05-06T07:08:09.000Z';
    const command = (who: string | null): Command => ({
      type: 'AddComment',
      data: {},
      meta: {
        commandId: randomUUID(),
        organisationId,
        actor: { userId: who, role: 'SERVICE' },
        at,
        correlationId: 'c',
        causationId: 'c',
        origin: { ip: '203.0.113.9' },
      },
    });
    const refusal = refuse('NOT_FOUND', 'There is no such thing.', { path: ['input', 0] });
    const [mine, nobodys] = [command(userId), command(null)];
    await audit(mine, 'version-1', 'hash', refusal);
    await audit(mine, 'version-1', 'hash', refusal);
    await audit(nobodys, 'version-1', 'hash', refusal);
    const stream = auditStream(organisationId, at);
    expect(stream).toBe(`audit-${organisationId}-2031-05`);
    const events = await collect(log.readStream(stream));
    expect(events.map((e) => e.data)).toMatchObject([
      { commandId: mine.meta.commandId, code: 'NOT_FOUND', path: ['input', 0], userId, ip: '203.0.113.9' },
      { commandId: nobodys.meta.commandId, userId: null, ip: null },
    ]);
    expect(events[0]!.id).toBe(deriveEventId(organisationId, stream, mine.meta.commandId, 0));
    for await (const { event } of client.readStream(stream)) expect(JSON.stringify(event!.data)).not.toContain('203.0');
    // A record that can't be written is told of, and no matter of the caller's.
    await audit({ ...mine, meta: { ...mine.meta, organisationId: 'nonsense' } }, 's', 'hash', refusal);
    expect(failures).toEqual([expect.any(InvalidEvent)]);
  });
});

/** Follows what was appended after now. */
function follow(log: EventLog, after: bigint | null, more: Partial<SubscribeOptions> = {}) {
  const batches: EventBatch[] = [];
  const numbers: number[] = [];
  const connection: string[] = [];
  const subscription: LogSubscription = log.subscribe({
    after,
    categories: ['project'],
    onBatch: (batch) => {
      batches.push(batch);
      numbers.push(...batch.events.map(numberOf));
      return Promise.resolve();
    },
    onConnection: (state) => connection.push(state),
    ...more,
  });
  return { batches, numbers, connection, subscription };
}

/** Checkpoints only grow, and every event is at or before its batch's and after the one before. */
function expectOrder(batches: readonly EventBatch[]): void {
  let last = -1n;
  for (const { events, position } of batches) {
    for (const event of events) {
      expect(event.position).toBeGreaterThan(last);
      last = event.position;
    }
    expect(position).toBeGreaterThanOrEqual(last);
    last = position;
  }
}

describe('a subscription', () => {
  it('catches up and goes live without a gap or a double while others write', async () => {
    const log = open();
    const after = await log.head();
    const stream = `project-${randomUUID()}`;
    await log.append(stream, range(0, 700).map(numbered), 'any');
    let next = 700;
    const writers = [1, 7, 40].map(async (size) => {
      for (let i = 0; i < 15; i++) {
        const numbers = range(next, (next += size));
        await log.append(`project-${randomUUID()}`, numbers.map(numbered), 'no_stream');
        await log.append(`deliverable-x${randomUUID()}`, [numbered(-1)], 'any');
      }
    });
    // From the beginning, from the middle, in small batches, slowly; started while the writers are at it.
    const slow: number[] = [];
    const followers = [
      follow(log, after),
      follow(log, after, { maxBatch: 7 }),
      follow(open(), after, { maxBatch: 100 }),
      follow(log, after, {
        maxBatch: 50,
        onBatch: async ({ events }) => {
          slow.push(...events.map(numberOf));
          await sleep(2);
        },
      }),
    ];
    await Promise.all(writers);
    const late = follow(log, after, { maxBatch: 64 });
    for (const each of [...followers.slice(0, 3), late]) {
      await until(() => each.numbers.length >= next, 'all numbers');
      expectOrder(each.batches);
      expect(each.batches.every((b) => b.events.length <= 2000)).toBe(true);
    }
    await until(() => slow.length >= next, 'the slow one');
    const logged = (await collect(log.readAll({ after, categories: ['project'] }))).map(numberOf);
    expect([...logged].sort((a, b) => a - b)).toEqual(range(0, next));
    for (const numbers of [...followers.slice(0, 3), late].map((f) => f.numbers)) expect(numbers).toEqual(logged);
    expect(slow).toEqual(logged);
    await Promise.all([...followers, late].map((f) => f.subscription.stop()));
  }, 60_000);

  it('goes on from any checkpoint it was given', async () => {
    const log = open();
    const after = await log.head();
    await log.append(`project-${randomUUID()}`, range(0, 40).map(numbered), 'any');
    const whole = follow(log, after, { maxBatch: 9 });
    await until(() => whole.numbers.length >= 40, 'the first reading');
    await whole.subscription.stop();
    for (const [i, { position }] of whole.batches.entries()) {
      const rest = follow(log, position);
      const expected = whole.batches.slice(i + 1).flatMap((b) => b.events.map(numberOf));
      await until(() => rest.numbers.length >= expected.length, 'the rest');
      expect(rest.numbers).toEqual(expected);
      await rest.subscription.stop();
    }
  });

  it('moves its checkpoint over what does not match, so that nobody waits for ever', async () => {
    const log = open();
    const { batches, subscription, connection } = follow(log, await log.head());
    await until(() => connection.includes('connected'), 'the connection');
    for (let i = 0; i < 3; i++) {
      const result = await log.append(`deliverable-${randomUUID()}`, [numbered(i)], 'any');
      await until(() => (batches.at(-1)?.position ?? 0n) >= (result.ok ? result.position : 0n), 'the checkpoint');
    }
    expect(batches.flatMap((b) => b.events)).toEqual([]);
    await subscription.stop();
  });

  it('takes only the categories named, by their whole name', async () => {
    const log = open();
    const after = await log.head();
    const names = ['version', 'versionStack', 'versionMedia', 'project'];
    for (const [i, name] of names.entries()) await log.append(`${name}-${randomUUID()}`, [numbered(i)], 'any');
    const one = follow(log, after, { categories: ['version'] });
    const two = follow(log, after, { categories: ['version', 'versionMedia'] });
    const end = await log.head();
    for (const each of [one, two]) {
      await until(() => (each.batches.at(-1)?.position ?? 0n) >= end, 'the end');
      await each.subscription.stop();
    }
    expect([one.numbers, two.numbers]).toEqual([[0], [0, 2]]);
  });

  it('takes only the types named, in history and live, and its position passes the others', async () => {
    const log = open();
    const before = await log.head();
    const stream = `version-${randomUUID()}`;
    const comment: NewEvent = {
      id: randomUUID(),
      type: 'CommentAdded',
      data: CommentAdded.example,
      metadata: metadata(),
    };
    await log.append(stream, [numbered(1), comment, numbered(2)], 'no_stream');
    const seen: EventBatch[] = [];
    const subscription = log.subscribe({
      after: before,
      types: ['CommentAdded'],
      onBatch: async (batch) => void seen.push(batch),
    });
    await until(() => seen.length > 0, 'history');
    await log.append(stream, [numbered(3), { ...comment, id: randomUUID() }, numbered(4)], 2n);
    const head = await log.head();
    await until(() => seen.at(-1)!.position >= head, 'the end of the log');
    await subscription.stop();
    const events = seen.flatMap(({ events }) => events);
    expect(events.map(({ type, revision }) => [type, revision])).toEqual([
      ['CommentAdded', 1],
      ['CommentAdded', 4],
    ]);
  });

  it('says when it is live', async () => {
    const log = open();
    const after = await log.head();
    await log.append(`project-${randomUUID()}`, [numbered(0)], 'any');
    const { batches, numbers, subscription } = follow(log, after);
    await until(() => numbers.length === 1, 'history');
    expect(batches[0]!.live).toBe(false);
    await sleep(100);
    await log.append(`project-${randomUUID()}`, [numbered(1)], 'any');
    await until(() => numbers.length === 2, 'news');
    expect(batches.at(-1)!.live).toBe(true);
    await subscription.stop();
  });

  it('ends with its handler’s error, in history and live', async () => {
    const log = open();
    const after = await log.head();
    const failing = (onNumber: number) => ({
      maxBatch: 1,
      onBatch: ({ events }: EventBatch) =>
        events.some((e) => numberOf(e) === onNumber) ? Promise.reject(new RangeError('mine')) : Promise.resolve(),
    });
    await log.append(`project-${randomUUID()}`, range(0, 20).map(numbered), 'any');
    await expect(follow(log, after, failing(5)).subscription.done).rejects.toThrow(RangeError);
    const live = follow(log, await log.head(), failing(20));
    await sleep(100);
    await log.append(`project-${randomUUID()}`, [numbered(20)], 'any');
    await expect(live.subscription.done).rejects.toThrow(RangeError);
  });

  it('hands over one batch at a time, and stops promptly by itself and by a signal', async () => {
    const log = open();
    const after = await log.head();
    await log.append(`project-${randomUUID()}`, range(0, 300).map(numbered), 'any');
    let [inside, most] = [0, 0];
    const abort = new AbortController();
    const { subscription } = follow(log, after, {
      maxBatch: 10,
      signal: abort.signal,
      onBatch: async () => {
        most = Math.max(most, ++inside);
        await sleep(3);
        inside--;
      },
    });
    await until(() => most > 0, 'the first batch');
    abort.abort();
    const began = Date.now();
    await subscription.done;
    const idle = follow(log, await log.head());
    await until(() => idle.connection.length > 0, 'the connection');
    await idle.subscription.stop();
    await follow(log, after, { signal: abort.signal }).subscription.done;
    expect(Date.now() - began).toBeLessThan(1500);
    expect([inside, most]).toEqual([0, 1]);
  });

  it('keeps little in memory while its handler is slow', async () => {
    const log = open();
    const after = await log.head();
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => (release = resolve));
    let delivered = 0;
    const { subscription, connection } = follow(log, after, {
      maxBatch: 10,
      onBatch: async ({ events }) => {
        await held;
        delivered += events.length;
      },
    });
    await until(() => connection.includes('connected'), 'the connection');
    await sleep(100);
    const write = async () => {
      const data = { ...ProjectRenamed.example, from: 'x'.repeat(150) };
      const before = await heap();
      for (let i = 0; i < 12; i++)
        await log.append(
          `project-${randomUUID()}`,
          range(0, 1000).map((n) => ({ ...numbered(n), data: { ...data, to: `n${n}` } })),
          'any',
        );
      await sleep(500);
      return (await heap()) - before;
    };
    // Writing itself leaves something behind in the client: the second half has no reader.
    const withReader = await write();
    release();
    await until(() => delivered === 12_000, 'everything', 30_000);
    await subscription.stop();
    // 12,000 events of about 1.5 KB as objects would be far more.
    expect(withReader - (await write())).toBeLessThan(8 * 1024 * 1024);

    async function heap(): Promise<number> {
      await sleep(50);
      setFlagsFromString('--expose-gc');
      (runInNewContext('gc') as () => void)();
      return process.memoryUsage().heapUsed;
    }
  }, 90_000);
});

describe('a server that hangs', () => {
  /** Accepts connections and never says a word. */
  async function mute() {
    const sockets = new Set<Socket>();
    const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const close = () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(resolve));
    };
    return { url: `kurrentdb://127.0.0.1:${port}?tls=false`, close };
  }

  it('costs the time allowed and no more', async () => {
    const { url: muteUrl, close } = await mute();
    const log = openEventLog({ url: muteUrl, cipher, timeoutMs: 300 });
    const began = Date.now();
    await expect(log.append('project-1', [numbered(0)], 'any')).rejects.toBeInstanceOf(LogUnavailable);
    await expect(collect(log.readStream('project-1'))).rejects.toBeInstanceOf(LogUnavailable);
    await expect(log.head()).rejects.toBeInstanceOf(LogUnavailable);
    const { subscription, connection } = follow(log, null);
    await until(() => connection.includes('lost'), 'the loss', 3000);
    await subscription.stop();
    expect(Date.now() - began).toBeLessThan(4000);
    await close();
    await log.close();
  });
});

describe('the executor on the store', () => {
  type Noted = { type: 'CommentAdded'; data: typeof CommentAdded.example };
  type Note = Command<'Note', { text: string }>;
  const notes: Decider<readonly string[], Note, Noted> = {
    category: 'version',
    initialState: [],
    decide: ({ data }, texts) =>
      texts.includes(data.text)
        ? refuse('TAKEN', 'Noted before.')
        : [{ type: 'CommentAdded', data: { ...CommentAdded.example, text: data.text } }],
    evolve: (texts, { data }) => [...texts, data.text],
  };
  const command = (text: string, more: Partial<CommandMeta> = {}): Note => ({
    type: 'Note',
    data: { text },
    meta: {
      commandId: randomUUID(),
      organisationId: ORGANISATION,
      actor: { userId: null, role: 'SERVICE' },
      at: '2031-05-06T07:08:09.000Z',
      correlationId: 'c',
      causationId: 'c',
      ...more,
    },
  });
  const outcomes = new MemoryOutcomes();
  const executorOn = (log: EventLog) => new CommandExecutor({ log, outcomes, audit: () => Promise.resolve() });

  it('loses and doubles nothing with two processes of 50 writers each on one stream', async () => {
    const id = randomUUID();
    const executors = [executorOn(open()), executorOn(open())];
    const wanted: string[] = [];
    await Promise.all(
      range(0, 100).map(async (writer) => {
        for (const i of range(0, 4)) {
          const text = `${writer}.${i}`;
          wanted.push(text);
          const outcome = await executors[writer % 2]!.execute(notes, id, command(text, { minted: i % 2 === 0 }));
          expect(outcome.ok).toBe(true);
        }
      }),
    );
    const stored = await collect(open().readStream(`version-${id}`));
    expect(stored.map((e) => (e.data as { text: string }).text).sort()).toEqual([...wanted].sort());
    expect(stored.map((e) => e.revision)).toEqual(range(0, wanted.length));
  }, 60_000);

  it('tells a repeat the same position, also after a restart', async () => {
    const id = randomUUID();
    const one = command('a');
    const executor = executorOn(open());
    const first = await executor.execute(notes, id, one);
    await executor.execute(notes, id, command('b'));
    for (const each of [executor, executorOn(open())]) {
      const again = await each.execute(notes, id, one);
      expect(again.ok && first.ok && [again.repeated, again.revision, again.position]).toEqual([
        true,
        0,
        first.ok && first.position,
      ]);
    }
    const taken = command('a');
    expect(await executor.execute(notes, id, taken)).toMatchObject({ ok: false, repeated: false });
    expect(await executorOn(open()).execute(notes, id, taken)).toMatchObject({ ok: false, repeated: true });
  });

  it('goes on through kill -9 of the store: every command answered once it is back, subscriptions resumed', async () => {
    const port = Number(store.ready.port);
    const log = open();
    const after = await log.head();
    const id = randomUUID();
    const executor = executorOn(log);
    const seen: string[] = [];
    const { subscription, connection } = follow(log, after, {
      categories: ['version'],
      onBatch: ({ events }) => {
        seen.push(...events.map((e) => (e.data as { text: string }).text));
        return Promise.resolve();
      },
    });
    const texts = range(0, 120).map((n) => `${n}`);
    let answered = 0;
    const work = Promise.all(
      range(0, 12).map(async (writer) => {
        for (const text of texts.filter((_, i) => i % 12 === writer)) {
          const one = command(text);
          for (;;) {
            try {
              expect((await executor.execute(notes, id, one)).ok).toBe(true);
              break;
            } catch (error) {
              if (!(error instanceof LogUnavailable)) throw error;
            }
          }
          answered++;
        }
      }),
    );
    await until(() => answered > 20, 'the first answers');
    await store.kill('SIGKILL');
    await store.stop();
    await sleep(200);
    store = await restartOn(port);
    await work;
    await until(() => seen.length >= texts.length, 'the subscription');
    const stored = (await collect(log.readStream(`version-${id}`))).map((e) => (e.data as { text: string }).text);
    expect([...stored].sort()).toEqual([...texts].sort());
    expect(seen).toEqual(stored);
    expect(connection.filter((c) => c === 'lost').length).toBeGreaterThan(0);
    expect(connection.at(-1)).toBe('connected');
    await subscription.stop();
  }, 90_000);

  it('finds a server that was not there when it was opened', async () => {
    const port = Number(store.ready['port']);
    // Earlier specs left events in this log that nobody can read.
    const after = await open().head();
    await store.kill('SIGKILL');
    await store.stop();
    const early = openEventLog({
      url: `kurrentdb://127.0.0.1:${port}?tls=false`,
      cipher: new Cipher(),
      timeoutMs: 2_000,
    });
    const seen: number[] = [];
    const subscription = early.subscribe({
      after,
      categories: ['project'],
      onBatch: ({ events }) => {
        seen.push(...events.map(numberOf));
        return Promise.resolve();
      },
    });
    try {
      await expect(early.head()).rejects.toBeDefined();
      await expect(early.append('project-early', [numbered(1)], 'any')).rejects.toBeInstanceOf(LogUnavailable);
      await sleep(1_000);
      store = await restartOn(port);
      const stream = `project-${randomUUID()}`;
      for (;;) {
        try {
          await early.append(stream, [numbered(4711)], 'any');
          break;
        } catch (error) {
          if (!(error instanceof LogUnavailable)) throw error;
          await sleep(100);
        }
      }
      await until(() => seen.includes(4711), 'the subscription');
      expect((await collect(early.readStream(stream))).length).toBeGreaterThan(0);
      expect(await early.head()).toBeGreaterThan(0n);
    } finally {
      await subscription.stop();
      await early.close();
    }
  }, 60_000);

  function restartOn(port: number): Promise<ServiceProcess> {
    return startService('eventstore', {
      EVENTSTORE_DATABASE_URL: database.url,
      EVENTSTORE_PORT: String(port),
      EVENTSTORE_HTTP_PORT: '0',
      EVENTSTORE_INSECURE: 'true',
      EVENTSTORE_LOG_LEVEL: 'error',
    });
  }
});
