import { randomUUID } from 'node:crypto';
import {
  jsonEvent,
  KurrentDBClient,
  PARK,
  persistentSubscriptionToAllSettingsFromDefaults,
  START,
} from '@kurrent/kurrentdb-client';
import { startStack } from '../support/stack.js';
import { type BenchContext, cpuSeconds, difference } from './kit.js';

const BATCH = 50;

/** The event store over its protocol, by a stock client in this process: with TLS and credentials, as in the product. */
export default async function eventstore(context: BenchContext): Promise<void> {
  const { quick, seconds, signal, wants, report, note, env } = context;
  const stack = await startStack({ asInstalled: true, services: ['eventstore'], env });
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  try {
    const data = {
      text: 'The horizon tilts here. Can we level it?',
      points: Array.from({ length: 12 }, (_, i) => i / 7),
    };
    const metadata = { $correlationId: randomUUID(), actor: { role: 'CLIENT' }, at: new Date().toISOString() };
    const event = () => jsonEvent({ id: randomUUID(), type: 'Noted', data, metadata });

    /** What the server and this process spent on one of `count`; on a shared machine that says more than the clock. */
    const costs = async (measure: () => Promise<number>): Promise<{ count: number; cost: string }> => {
      const [before, own] = [cpuSeconds(stack), process.cpuUsage()];
      const count = await measure();
      const used = difference(cpuSeconds(stack), before);
      const { user, system } = process.cpuUsage(own);
      const micros = (all: number) => `${Math.round((all * 1e6) / count)} µs`;
      const parts = Object.entries({ ...used, client: (user + system) / 1e6 });
      return { count, cost: parts.map(([name, spent]) => `${name} ${micros(spent)}`).join(', ') };
    };

    const appends = async (writers: number, batch: number, forSeconds: number): Promise<number> => {
      let written = 0;
      const until = performance.now() + forSeconds * 1_000;
      await Promise.all(
        Array.from({ length: writers }, async () => {
          const stream = `bench-${randomUUID()}`;
          while (performance.now() < until && !signal.aborted) {
            await client.appendToStream(stream, Array.from({ length: batch }, event));
            written += batch;
          }
        }),
      );
      signal.throwIfAborted();
      return written;
    };

    const measureAppends = async (figure: string, writers: number, batch: number, atLeast: number) => {
      if (!wants(figure)) return;
      await appends(writers, batch, 0.2);
      const start = performance.now();
      const { count, cost } = await costs(() => appends(writers, batch, seconds));
      const unit = batch === 1 ? 'appends/s' : 'events/s';
      report({ figure, value: (count * 1_000) / (performance.now() - start), unit, atLeast });
      note(`each: ${cost}`);
    };
    await measureAppends('appends, 1 writer', 1, 1, 400);
    await measureAppends('appends, 50 writers', 50, 1, 3_500);
    await measureAppends('appends, 200 writers', 200, 1, 5_000);
    await measureAppends(`appends in batches of ${BATCH}, 10 writers`, 10, BATCH, 20_000);

    const enough = quick ? 2_000 : 100_000;
    await fill(client, event, enough);
    if (wants('reading $all')) {
      const start = performance.now();
      const { count, cost } = await costs(async () => {
        let read = 0;
        for await (const { event: found } of client.readAll({ fromPosition: START, maxCount: enough }))
          if (found) read++;
        return read;
      });
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
      await client.appendToStream(`lag-${randomUUID()}`, event());
      note(`writing ${lag} events behind a subscriber that doesn't read`);
      await fill(client, event, lag);
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

/** Writes so many events as fast as it goes. */
async function fill(client: KurrentDBClient, event: () => ReturnType<typeof jsonEvent>, count: number): Promise<void> {
  const perWriter = Math.ceil(count / 10);
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      const stream = `fill-${randomUUID()}`;
      for (let left = perWriter; left > 0; left -= 250)
        await client.appendToStream(stream, Array.from({ length: Math.min(left, 250) }, event));
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
