/**
 * Writers of the event store with a stock client, in a process of their own: one client's work fills a core, so that two
 * of them show what the server bears. The parent sends {@link Order}s over IPC and gets a {@link Written} for each.
 */
import { randomUUID } from 'node:crypto';
import { jsonEvent, KurrentDBClient } from '@kurrent/kurrentdb-client';
import { startSideProcess } from './side-process.js';

export interface Order {
  readonly writers: number;
  /** Events of one append. */
  readonly batch: number;
  readonly seconds: number;
}

export interface Written {
  readonly events: number;
  /** Of the process, user and system, seconds. */
  readonly cpu: number;
}

export interface WriterProcess {
  write(order: Order): Promise<Written>;
  stop(): Promise<void>;
}

const data = {
  text: 'The horizon tilts here. Can we level it?',
  points: Array.from({ length: 12 }, (_, i) => i / 7),
};
const metadata = { $correlationId: randomUUID(), actor: { role: 'CLIENT' }, at: new Date().toISOString() };

/** An event as the product writes them, of about 400 bytes. */
export const sampleEvent = () => jsonEvent({ id: randomUUID(), type: 'Noted', data, metadata });

/**
 * Appends one after the other by each writer, to a stream of its own, until the time is over; how many events that were.
 * Rejects when it was aborted.
 */
export async function write(
  client: KurrentDBClient,
  { writers, batch, seconds }: Order,
  signal?: AbortSignal,
): Promise<number> {
  let written = 0;
  const until = performance.now() + seconds * 1_000;
  await Promise.all(
    Array.from({ length: writers }, async () => {
      const stream = `bench-${randomUUID()}`;
      while (performance.now() < until && !signal?.aborted) {
        await client.appendToStream(stream, Array.from({ length: batch }, sampleEvent));
        written += batch;
      }
    }),
  );
  signal?.throwIfAborted();
  return written;
}

export async function startWriterProcess(url: string): Promise<WriterProcess> {
  const side = await startSideProcess(import.meta.url, ['--write', url]);
  return {
    write: async (order) => {
      side.send(order);
      return (await side.told()) as Written;
    },
    stop: side.stop,
  };
}

if (process.argv[2] === '--write') {
  const client = KurrentDBClient.connectionString(process.argv[3]!);
  process.on('message', (order: Order) => {
    const before = process.cpuUsage();
    void write(client, order).then((events) => {
      const { user, system } = process.cpuUsage(before);
      process.send!({ events, cpu: (user + system) / 1e6 } satisfies Written);
    });
  });
  process.once('disconnect', () => void client.dispose());
  process.send!('ready');
}
