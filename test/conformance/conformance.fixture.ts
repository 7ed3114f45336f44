import {
  type AllStreamResolvedEvent,
  type JSONEventData,
  jsonEvent,
  KurrentDBClient,
  type ResolvedEvent,
} from '@kurrent/kurrentdb-client';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { startEventStoreServer } from '#apps/eventstore/server.js';
import { testDatabase } from '../support/database.js';

/**
 * What any server of the protocol has to do, through the stock client. `CONFORMANCE_URL` names the server to check
 * (`kurrentdb://admin:changeit@localhost:2113?tls=false`); without it, ours is started. Streams have names of their own
 * and `$all` is only looked at through filters, so the server may hold other events and may be in use.
 */
export const CONFORMANCE_URL = process.env.CONFORMANCE_URL;

export type Subject = { client: KurrentDBClient; close(): Promise<void> };

export async function connectSubject(): Promise<Subject> {
  if (CONFORMANCE_URL !== undefined) {
    const client = KurrentDBClient.connectionString(CONFORMANCE_URL);
    return { client, close: () => client.dispose() };
  }
  const database = await testDatabase();
  const server = await startEventStoreServer({ databaseUrl: database.url });
  const client = KurrentDBClient.connectionString`kurrentdb://127.0.0.1:${server.port}?tls=false`;
  return {
    client,
    close: async () => {
      await client.dispose();
      await server.close();
      await database.drop();
    },
  };
}

/** A name nobody else uses. */
export function unique(prefix = 'conformance'): string {
  return `${prefix}${randomUUID().replaceAll('-', '')}`;
}

export function events(count: number, type = 'Conformed', first = 0): JSONEventData[] {
  return Array.from({ length: count }, (_, n) => jsonEvent({ type, data: { n: first + n } }));
}

type Recorded<E extends ResolvedEvent | AllStreamResolvedEvent> = NonNullable<E['event']>;

export async function collect<E extends ResolvedEvent | AllStreamResolvedEvent>(
  read: AsyncIterable<E>,
): Promise<Recorded<E>[]> {
  const all: Recorded<E>[] = [];
  for await (const resolved of read) if (resolved.event) all.push(resolved.event as Recorded<E>);
  return all;
}

export const revisions = (all: readonly { revision: bigint }[]): number[] => all.map((event) => Number(event.revision));

export function upTo(end: number, start = 0): number[] {
  return Array.from({ length: end - start }, (_, n) => start + n);
}

/** The error a promise fails with; a promise that doesn't fail is an error itself. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => {
      throw new Error('it did not fail');
    },
    (error: unknown) => error,
  );
}

export async function until(condition: () => boolean | Promise<boolean>, what: string, ms = 20_000): Promise<void> {
  for (const end = Date.now() + ms; !(await condition()); await sleep(10)) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain for ${what}`);
  }
}
