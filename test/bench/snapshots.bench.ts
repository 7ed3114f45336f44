import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { versionDecider, type VersionCommand } from '#libs/domain/index.js';
import { catalogue, deriveEventId, type CommandMeta } from '#libs/events/catalogue/index.js';
import { CommandExecutor, openEventLog, type NewEvent } from '#libs/events/log/index.js';
import { createPool, ensureDatabase } from '#libs/postgres/index.js';
import { openSnapshots, snapshotStatistics } from '#libs/snapshots/index.js';
import { startStack } from '../support/stack.js';
import { type BenchContext, percentile } from './kit.js';

const LENGTHS = [500, 1000, 2000, 10_000];
const BATCH = 100;
const ROUNDS = 7;
const organisationId = randomUUID();

const plain = (_: string, text: string): Promise<string> => Promise.resolve(text);

/** What a cold start of a long stream costs the process that decides: all its events from the real store, or a snapshot. */
export default async function snapshots({ quick, signal, report, note }: BenchContext): Promise<void> {
  const stack = await startStack({ asInstalled: true, services: ['eventstore'] });
  const url = stack.stack.postgres!.url('bench_snapshots');
  await ensureDatabase(url);
  const pool = createPool(url, { max: 1 });
  const log = openEventLog({ url: stack.urls.eventStore, cipher: { encrypt: plain, decrypt: plain } });
  const store = openSnapshots(url, (error) => note(error.message));
  try {
    for (const length of quick ? [600] : LENGTHS) {
      const versionId = randomUUID();
      const events = eventsOf(versionId, length);
      for (let from = 0; from < length; from += BATCH) {
        await log.append(
          `version-${versionId}`,
          events.slice(from, from + BATCH),
          from === 0 ? 'no_stream' : BigInt(from - 1),
        );
        signal.throwIfAborted();
      }
      /** Folds the stream in an executor that has never seen it, and asks it for something it refuses. */
      const cold = async (withSnapshots: boolean, snapshotEvery = 500): Promise<{ ms: number; cpu: number }> => {
        const executor = new CommandExecutor({
          log,
          snapshotEvery,
          // Refusals are not what is measured.
          audit: () => Promise.resolve(),
          outcomes: { claim: () => Promise.resolve(undefined), remember: () => Promise.resolve() },
          ...(withSnapshots ? { snapshots: store } : {}),
        });
        const [began, before] = [performance.now(), process.cpuUsage()];
        const outcome = await executor.execute(versionDecider, versionId, refusedOn(versionId));
        const { user, system } = process.cpuUsage(before);
        if (outcome.ok) throw new Error('it was to be refused');
        return { ms: performance.now() - began, cpu: (user + system) / 1000 };
      };
      await cold(true, 1);
      while ((await snapshotStatistics(pool, 100)).largest.every(({ stream }) => stream !== `version-${versionId}`))
        await sleep(50, undefined, { signal });
      const [folded, resumed]: { ms: number; cpu: number }[][] = [[], []];
      for (let round = 0; round < ROUNDS; round++) {
        folded!.push(await cold(false));
        resumed!.push(await cold(true));
      }
      const median = (of: { ms: number; cpu: number }[], what: 'ms' | 'cpu') =>
        percentile(
          of.map((one) => one[what]),
          50,
        );
      const name = `${length} events`;
      for (const what of ['ms', 'cpu'] as const) {
        const unit = what === 'ms' ? 'ms' : 'ms cpu';
        report({ figure: `${name}, folded: ${what}`, value: median(folded!, what), unit });
        report({ figure: `${name}, snapshot: ${what}`, value: median(resumed!, what), unit });
      }
      report({
        figure: `${name}: snapshot as a part of folding`,
        value: median(resumed!, 'cpu') / median(folded!, 'cpu'),
        unit: 'ratio',
      });
    }
  } finally {
    await store.close();
    await log.close();
    await pool.end();
    await stack.stop();
  }
}

const example = (type: string): Record<string, unknown> => ({
  ...(catalogue.get(type)!.example as Record<string, unknown>),
});

/** A version that is talked about: comments with an annotation each. */
function eventsOf(versionId: string, length: number): NewEvent[] {
  const stream = `version-${versionId}`;
  const metadata = (commandId: string, index: number, count: number) => ({
    $correlationId: commandId,
    $causationId: commandId,
    commandId,
    commandHash: 'f'.repeat(64),
    index,
    count,
    organisationId,
    actor: { userId: randomUUID(), role: 'CLIENT' as const },
    schemaVersion: 1,
    at: new Date().toISOString(),
  });
  const event = (type: string, data: object, commandId: string, index: number, count: number): NewEvent => ({
    id: deriveEventId(organisationId, stream, commandId, index),
    type: type as NewEvent['type'],
    data: data as NewEvent['data'],
    metadata: metadata(commandId, index, count),
  });
  const events = [
    event('VersionOpened', { ...example('VersionOpened'), versionId, organisationId }, randomUUID(), 0, 1),
  ];
  while (events.length < length) {
    const [commandId, commentId] = [randomUUID(), randomUUID()];
    const about = { versionId, organisationId, commentId };
    events.push(event('CommentAdded', { ...example('CommentAdded'), ...about }, commandId, 0, 2));
    const annotation = { ...example('AnnotationAdded'), ...about, annotationId: randomUUID() };
    events.push(event('AnnotationAdded', annotation, commandId, 1, 2));
  }
  return events.slice(0, length);
}

function refusedOn(versionId: string): VersionCommand {
  const commandId = randomUUID();
  const meta: CommandMeta = {
    commandId,
    organisationId,
    actor: { userId: randomUUID(), role: 'ADMINISTRATOR' },
    at: new Date().toISOString(),
    correlationId: commandId,
    causationId: commandId,
  };
  return { type: 'ResolveComment', data: { versionId, commentId: randomUUID() }, meta };
}
