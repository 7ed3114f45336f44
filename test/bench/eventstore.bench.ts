import { randomUUID } from 'node:crypto';
import {
  KurrentDBClient,
  PARK,
  persistentSubscriptionToAllSettingsFromDefaults,
  START,
} from '@kurrent/kurrentdb-client';
import { startStack, type TestStack } from '../support/stack.js';
import { type BenchContext, cpuSeconds, difference } from './kit.js';
import { type Order, sampleEvent, startWriterProcess, write, type Written } from './writers.js';

const BATCH = 50;
const OF_TWO = `appends in batches of ${BATCH}, 10 writers, 2 processes`;

/** Processor seconds of each part as microseconds for one of `count`. */
const costOf = (spent: Record<string, number>, count: number): string =>
  Object.entries(spent)
    .map(([name, seconds]) => `${name} ${Math.round((seconds * 1e6) / count)} µs`)
    .join(', ');

/** The event store over its protocol, by a stock client in this process: with TLS and credentials, as in the product. */
export default async function eventstore(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, wants, report, note, env } = context;
  const stack = await startStack({ asInstalled: true, services: ['eventstore'], env });
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  try {
    /** What the server and this process spent on one of `count`; on a shared machine that says more than the clock. */
    const costs = async (measure: () => Promise<number>): Promise<{ count: number; cost: string }> => {
      const [before, own] = [cpuSeconds(stack), process.cpuUsage()];
      const count = await measure();
      const used = difference(cpuSeconds(stack), before);
      const { user, system } = process.cpuUsage(own);
      return { count, cost: costOf({ ...used, client: (user + system) / 1e6 }, count) };
    };

    const measureAppends = async (figure: string, order: Order, atLeast?: number) => {
      if (!wants(figure)) return;
      await write(client, { ...order, seconds: 0.2 }, signal);
      const start = performance.now();
      const { count, cost } = await costs(() => write(client, order, signal));
      const unit = order.batch === 1 ? 'appends/s' : 'events/s';
      report({ figure, value: (count * 1_000) / (performance.now() - start), unit, atLeast });
      note(`each: ${cost}`);
    };
    await measureAppends('appends, 1 writer', { writers: 1, batch: 1, seconds }, 400);
    await measureAppends('appends, 50 writers', { writers: 50, batch: 1, seconds }, 3_500);
    await measureAppends('appends, 200 writers', { writers: 200, batch: 1, seconds }, 5_000);
    await measureAppends(`appends in batches of ${BATCH}, 10 writers, 1 process`, {
      writers: 10,
      batch: BATCH,
      seconds,
    });
    if (wants(OF_TWO)) await batchesOfTwo(context, stack);

    const enough = quick ? 2_000 : 100_000;
    await fill(client, enough);
    if (wants('reading $all')) {
      const readUpTo = async (maxCount: number): Promise<number> => {
        let read = 0;
        for await (const { event } of client.readAll({ fromPosition: START, maxCount })) if (event) read++;
        return read;
      };
      await readUpTo(enough / 10);
      const start = performance.now();
      const { count, cost } = await costs(async () => {
        let read = 0;
        while (performance.now() - start < seconds * 1_000 && !signal.aborted) read += await readUpTo(enough);
        return read;
      });
      signal.throwIfAborted();
      report({
        figure: 'reading $all',
        value: (count * 1_000) / (performance.now() - start),
        unit: 'events/s',
        atLeast: 40_000,
      });
      note(`each: ${cost}`);
    }
    if (wants('catch-up subscription to $all')) {
      const start = performance.now();
      const { count, cost } = await costs(async () => {
        let seen = 0;
        for await (const resolved of client.subscribeToAll({ fromPosition: START }))
          if (resolved.event && ++seen >= enough) break;
        return seen;
      });
      report({
        figure: 'catch-up subscription to $all',
        value: (count * 1_000) / (performance.now() - start),
        unit: 'events/s',
      });
      note(`each: ${cost}`);
    }
    if (wants('persistent subscription')) await persistent(context, client, quick ? 500 : 20_000, costs);
    if (wants('memory behind a slow subscriber')) {
      const lag = quick ? 5_000 : 1_000_000;
      // Nobody reads it: what doesn't fit the connection's windows stays in the database.
      const slow = client.subscribeToAll({ fromPosition: 'end' });
      slow.pause();
      await client.appendToStream(`lag-${randomUUID()}`, sampleEvent());
      note(`writing ${lag} events behind a subscriber that doesn't read`);
      await fill(client, lag);
      const stats = (await (await fetch(`${stack.urls.eventStoreHttp}/stats`)).json()) as { memoryBytes: number };
      report({
        figure: 'memory behind a slow subscriber',
        value: stats.memoryBytes / 2 ** 20,
        unit: 'MiB',
        atMost: 300,
      });
      await slow.unsubscribe();
    }
  } finally {
    await client.dispose();
    await stack.stop();
  }
}

/** By two processes: one stock client by itself fills a core before the server has enough to do. */
async function batchesOfTwo({ seconds, signal, report, note }: BenchContext, stack: TestStack): Promise<void> {
  const processes = await Promise.all([1, 2].map(() => startWriterProcess(stack.urls.eventStore)));
  try {
    const each = { writers: 5, batch: BATCH };
    const written = async (forSeconds: number): Promise<Written[]> => {
      const all = await Promise.all(processes.map((one) => one.write({ ...each, seconds: forSeconds })));
      signal.throwIfAborted();
      return all;
    };
    await written(0.2);
    const before = cpuSeconds(stack);
    const start = performance.now();
    const parts = await written(seconds);
    const passed = (performance.now() - start) / 1_000;
    const events = parts.reduce((sum, part) => sum + part.events, 0);
    const clients = parts.reduce((sum, part) => sum + part.cpu, 0);
    report({
      figure: OF_TWO,
      value: events / passed,
      unit: 'events/s',
      atLeast: 20_000,
    });
    note(`each: ${costOf({ ...difference(cpuSeconds(stack), before), clients }, events)}`);
  } finally {
    await Promise.all(processes.map((one) => one.stop()));
  }
}

/** Writes so many events as fast as it goes. */
async function fill(client: KurrentDBClient, count: number): Promise<void> {
  const perWriter = Math.ceil(count / 10);
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const stream = `fill-${randomUUID()}`;
      for (let left = perWriter; left > 0; left -= 250)
        await client.appendToStream(stream, Array.from({ length: Math.min(left, 250) }, sampleEvent));
    }),
  );
}

async function persistent(
  { signal, report, note }: BenchContext,
  client: KurrentDBClient,
  count: number,
  costs: (measure: () => Promise<number>) => Promise<{ count: number; cost: string }>,
): Promise<void> {
  const group = `bench-${randomUUID()}`;
  await client.createPersistentSubscriptionToAll(
    group,
    persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START }),
  );
  const start = performance.now();
  const { count: done, cost } = await costs(async () => {
    let acked = 0;
    const subscription = client.subscribeToPersistentSubscriptionToAll(group, { bufferSize: 200 });
    for await (const resolved of subscription) {
      signal.throwIfAborted();
      if (resolved.event) await subscription.ack(resolved);
      else await subscription.nack(PARK, 'no event', resolved);
      if (++acked >= count) break;
    }
    return acked;
  });
  const value = (done * 1_000) / (performance.now() - start);
  report({ figure: 'persistent subscription, acknowledged one by one', value, unit: 'messages/s' });
  note(`each: ${cost}`);
}
