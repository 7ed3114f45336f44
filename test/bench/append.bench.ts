import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { jsonEvent, KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import type { Pool } from 'pg';
import { createPool, ensureDatabase } from '#libs/postgres/index.js';
import { startStack } from '../support/stack.js';
import { type BenchContext, percentile } from './kit.js';

const CLIENTS = 50;

interface Emmett {
  schema: { migrate(): Promise<unknown> };
  appendToStream(stream: string, events: { type: string; data: object; metadata: object }[]): Promise<unknown>;
  close(): Promise<void>;
}

/**
 * The peer, from the folder that BENCH_EMMETT names, where `npm install @event-driven-io/emmett-postgresql` was run: too
 * much to bring along for one figure.
 */
async function openEmmett(pool: Pool): Promise<Emmett | undefined> {
  const folder = process.env.BENCH_EMMETT;
  if (!folder) return undefined;
  const from = createRequire(join(resolve(folder), 'package.json'));
  const path = from.resolve('@event-driven-io/emmett-postgresql');
  const { getPostgreSQLEventStore } = (await import(pathToFileURL(path).href)) as {
    getPostgreSQLEventStore(url: string, options: object): Emmett;
  };
  const emmett = getPostgreSQLEventStore(pool.options.connectionString!, { connectionOptions: { pooled: true, pool } });
  await emmett.schema.migrate();
  return emmett;
}

/**
 * The event store alone, over its protocol, against single-row inserts into a bare table and, when it is at hand, against
 * emmett-postgresql: on the same Postgres, in turns, each with one connection a client.
 */
export default async function append({ quick, seconds, signal, report, note }: BenchContext): Promise<void> {
  const stack = await startStack({ asInstalled: true, services: ['eventstore'] });
  const client = KurrentDBClient.connectionString(stack.urls.eventStore);
  const bareUrl = stack.stack.postgres!.url('bench_bare');
  await ensureDatabase(bareUrl);
  const pool = createPool(bareUrl, { max: CLIENTS });
  const emmettUrl = stack.stack.postgres!.url('bench_emmett');
  await ensureDatabase(emmettUrl);
  const emmettPool = createPool(emmettUrl, { max: CLIENTS });
  const emmett = await openEmmett(emmettPool);
  if (!emmett) note('BENCH_EMMETT names no folder: emmett-postgresql is not measured');
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
    const emmettOne = async (stream: string) =>
      void (await emmett!.appendToStream(stream, [{ type: 'Noted', data, metadata }]));
    const all = [appendOne, insertOne, ...(emmett ? [emmettOne] : [])];
    for (const one of all) await rate(one, streams.slice(0, 5)); // warm
    const rounds: Awaited<ReturnType<typeof rate>>[][] = all.map(() => []);
    for (let round = 0; round < 2; round++)
      for (const [n, one] of all.entries()) rounds[n]!.push(await rate(one, streams));
    const [appends, inserts, peer] = rounds.map(([one, other]) => (one!.rate + other!.rate) / 2);
    const times = rounds[0]!.flatMap((round) => round.times);
    report({ figure: `appends, ${CLIENTS} clients`, value: appends!, unit: 'appends/s' });
    report({ figure: `appends, ${CLIENTS} clients: p50`, value: percentile(times, 50), unit: 'ms' });
    report({ figure: `appends, ${CLIENTS} clients: p99`, value: percentile(times, 99), unit: 'ms' });
    report({ figure: `bare Postgres inserts, ${CLIENTS} clients`, value: inserts!, unit: 'inserts/s' });
    report({ figure: 'appends as a part of bare inserts', value: appends! / inserts!, unit: 'ratio' });
    if (peer !== undefined) {
      report({ figure: `emmett-postgresql, ${CLIENTS} clients`, value: peer, unit: 'appends/s' });
      report({
        figure: "appends as a multiple of emmett-postgresql's",
        value: appends! / peer,
        unit: 'ratio',
        atLeast: 2.5,
      });
    }
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
    await emmett?.close();
    if (!emmettPool.ended) await emmettPool.end();
    await pool.end();
    await stack.stop();
  }
}
