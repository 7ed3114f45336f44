import { randomUUID } from 'node:crypto';
import { jsonEvent, KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import { createPool, ensureDatabase } from '#libs/postgres/index.js';
import { startStack } from '../support/stack.js';
import { type BenchContext, percentile } from './kit.js';

const CLIENTS = 50;

/** The event store alone, over its protocol, against single-row inserts into a bare table of the same Postgres. */
export default async function append({ quick, seconds, signal, report }: BenchContext): Promise<void> {
  const stack = await startStack({ services: ['eventstore'] });
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  const bareUrl = stack.stack.postgres!.url('bench_bare');
  await ensureDatabase(bareUrl);
  const pool = createPool(bareUrl, { max: CLIENTS });
  try {
    await pool.query(
      `CREATE TABLE bare (position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stream text NOT NULL, revision bigint NOT NULL,
         event_id uuid NOT NULL, type text NOT NULL, data jsonb NOT NULL, metadata jsonb NOT NULL, UNIQUE (stream, revision))`,
    );
    const streams = Array.from({ length: CLIENTS }, () => `bench-${randomUUID()}`);
    const data = {
      text: 'The horizon tilts here. Can we level it?',
      points: Array.from({ length: 12 }, (_, i) => i / 7),
    };
    const metadata = { $correlationId: randomUUID(), actor: { role: 'CLIENT' }, at: new Date().toISOString() };
    const revisions = new Map<string, number>();
    const appendOne = async (stream: string) =>
      void (await client.appendToStream(stream, [jsonEvent({ id: randomUUID(), type: 'Noted', data, metadata })]));
    const insertOne = async (stream: string) => {
      const revision = revisions.get(stream) ?? 0;
      revisions.set(stream, revision + 1);
      await pool.query({
        name: 'insert',
        text: `INSERT INTO bare (stream, revision, event_id, type, data, metadata) VALUES ($1, $2, $3, $4, $5, $6)`,
        values: [stream, revision, randomUUID(), 'Noted', JSON.stringify(data), JSON.stringify(metadata)],
      });
    };
    const rate = async (one: (stream: string) => Promise<void>, of: readonly string[]) => {
      const times: number[] = [];
      const start = performance.now();
      const until = start + (seconds * 1000) / 2;
      await Promise.all(
        of.map(async (stream) => {
          while (performance.now() < until && !signal.aborted) {
            const sent = performance.now();
            await one(stream);
            times.push(performance.now() - sent);
          }
        }),
      );
      signal.throwIfAborted();
      return { rate: (times.length * 1000) / (performance.now() - start), times };
    };
    await rate(appendOne, streams.slice(0, 5)); // warm
    await rate(insertOne, streams.slice(0, 5));
    const [first, bareFirst, second, bareSecond] = [
      await rate(appendOne, streams),
      await rate(insertOne, streams),
      await rate(appendOne, streams),
      await rate(insertOne, streams),
    ];
    const appends = (first.rate + second.rate) / 2;
    const inserts = (bareFirst.rate + bareSecond.rate) / 2;
    const times = [...first.times, ...second.times];
    report({ figure: `appends, ${CLIENTS} clients`, value: appends, unit: 'appends/s' });
    report({ figure: `appends, ${CLIENTS} clients: p50`, value: percentile(times, 50), unit: 'ms' });
    report({ figure: `appends, ${CLIENTS} clients: p99`, value: percentile(times, 99), unit: 'ms' });
    report({ figure: `bare Postgres inserts, ${CLIENTS} clients`, value: inserts, unit: 'inserts/s' });
    report({ figure: 'appends as a part of bare inserts', value: appends / inserts, unit: 'ratio' });
    const alone = await rate(appendOne, streams.slice(0, 1));
    report({ figure: 'append, 1 client: p50', value: percentile(alone.times, 50), unit: 'ms' });

    let read = 0;
    const start = performance.now();
    for await (const resolved of client.readAll({ fromPosition: START, maxCount: quick ? 1_000 : 100_000 }))
      if (resolved.event) read++;
    report({ figure: 'reading $all', value: (read * 1000) / (performance.now() - start), unit: 'events/s' });
    const reads = await rate(async (stream) => {
      for await (const resolved of client.readStream(stream, { maxCount: 20 })) void resolved;
    }, streams);
    report({ figure: `reads of 20 events of a stream, ${CLIENTS} clients`, value: reads.rate, unit: 'reads/s' });
  } finally {
    await client.dispose();
    await pool.end();
    await stack.stop();
  }
}
