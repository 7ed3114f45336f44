import { KurrentDBClient, START } from '@kurrent/kurrentdb-client';
import { rebuildAll } from '#apps/projector/index.js';
import { crowd } from '#apps/projector/story.fixture.js';
import { openEventLog, type EventLog, type NewEvent } from '#libs/events/log/index.js';
import { loadConfig } from '#libs/runtime/index.js';
import { openSecrets } from '#libs/secrets/index.js';
import { startStack } from '../support/stack.js';
import type { BenchContext } from './kit.js';

const EVENTS = 200_000;
const VERSIONS = 500;
const APPEND = 500;

/**
 * All read models from zero over a log of comments and annotations, against the rate at which the stock client alone reads
 * the same log in the same run. Both go through the network from this process.
 */
export default async function rebuild({ quick, signal, note, report }: BenchContext): Promise<void> {
  const count = quick ? 4_000 : EVENTS;
  const stack = await startStack({ services: ['eventstore'] });
  const config = loadConfig(stack.env);
  const secrets = await openSecrets({ databaseUrl: config.databases.secrets, masterKey: config.keys.master });
  const log = openEventLog({ url: config.eventStoreUrl, cipher: secrets.keys });
  const client = KurrentDBClient.connectionString(config.eventStoreUrl);
  try {
    note(`writing ${count} events`);
    const began = performance.now();
    await fill(log, count, quick ? 20 : VERSIONS, signal);
    report({
      figure: 'generating and appending in bulk',
      value: (count * 1000) / (performance.now() - began),
      unit: 'events/s',
    });
    const bare: number[] = [];
    const rebuilt: number[] = [];
    const readBare = async () => {
      let read = 0;
      const start = performance.now();
      for await (const { event } of client.readAll({ fromPosition: START }))
        if (event && !event.type.startsWith('$')) read++;
      bare.push((read * 1000) / (performance.now() - start));
      if (read < count) throw new Error(`the stock client read ${read} of ${count} events`);
    };
    // In turns, so that a noisy machine is noisy to both.
    for (let run = 0; run < (quick ? 1 : 3); run++) {
      signal.throwIfAborted();
      await readBare();
      const { events, seconds } = await rebuildAll({ log, url: config.databases.read });
      const written = Object.values(events).reduce((most, n) => Math.max(most, n), 0);
      if (written < count) throw new Error(`a rebuild wrote ${written} of ${count} events`);
      rebuilt.push(count / seconds);
    }
    await readBare();
    const middle = (of: number[]) => of.sort((a, b) => a - b)[of.length >> 1]!;
    report({ figure: 'bare reading by the stock client', value: middle(bare), unit: 'events/s' });
    report({ figure: 'rebuild of all read models', value: middle(rebuilt), unit: 'events/s' });
    report({
      figure: 'rebuild as a part of bare reading',
      value: middle(rebuilt) / middle(bare),
      unit: 'ratio',
      atLeast: 0.5,
    });
  } finally {
    await client.dispose();
    await log.close();
    await secrets.close();
    await stack.stop();
  }
}

/** The order within each stream is that of the story; streams are written in blocks. */
export async function fill(log: EventLog, count: number, versions: number, signal: AbortSignal): Promise<void> {
  const waiting = new Map<string, NewEvent[]>();
  let written = 0;
  const flush = async (stream: string, events: NewEvent[]) => {
    for (let from = 0; from < events.length; from += APPEND) {
      signal.throwIfAborted();
      const result = await log.append(stream, events.slice(from, from + APPEND), 'any');
      if (!result.ok) throw new Error(`an append to ${stream} was refused`);
    }
    waiting.delete(stream);
  };
  const head = 2 + versions * 3;
  for (const { stream, event } of crowd(count, versions)) {
    if (written++ < head) {
      // Versions must be there before what is said about them.
      await flush(stream, [event]);
      continue;
    }
    const events = waiting.get(stream) ?? [];
    if (events.length === 0) waiting.set(stream, events);
    events.push(event);
    if (events.length >= 200) await flush(stream, events);
  }
  for (const [stream, events] of [...waiting]) await flush(stream, events);
}
