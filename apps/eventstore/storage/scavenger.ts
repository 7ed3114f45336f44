import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Logger } from 'pino';
import { baseStreamOf, firstReadableRevision, isMetadataStream } from '../core/stream-metadata.js';
import { readStreamStates } from './reader.js';
import type { StreamState } from './streams-cache.js';

/** Streams looked at together, and rows removed by one statement. */
const PAGE_STREAMS = 500;
const PAGE_ROWS = 1_000;

export type ScavengeReport = {
  scavengeId: string;
  streams: number;
  removed: number;
  result: 'Success' | 'Stopped' | 'Errored';
  error?: string;
  milliseconds: number;
};

type Running = { id: string; stop: boolean; done: Promise<void>; abort?: () => void };

/**
 * Removes the rows of events that no reader of their stream can see any more: by $maxCount, $maxAge, $tb, deletion or
 * tombstone. The last event of a stream always stays, for it is what tells the next revision; so the last position of
 * the log stays too. Positions and revisions of the rest don't change. Few rows go at a time on a connection of its own,
 * so appends and reads go on. How far it came is kept: after a stop or a crash the next one goes on from there.
 */
export class Scavenger {
  private running: Running | undefined;

  constructor(
    private readonly databaseUrl: string,
    private readonly logger: Logger,
    /** Told about the begin (`report` undefined) and the end. */
    private readonly onChange: (id: string, report: ScavengeReport | undefined) => Promise<void>,
  ) {}

  /** Starts one, or tells which is under way. */
  start(): { id: string; result: 'started' | 'in_progress' } {
    if (this.running !== undefined) return { id: this.running.id, result: 'in_progress' };
    const id = randomUUID();
    const running: Running = { id, stop: false, done: Promise.resolve() };
    this.running = running;
    running.done = this.run(running).finally(() => (this.running = undefined));
    return { id, result: 'started' };
  }

  /** False when no such scavenge is under way. */
  stop(id: string): boolean {
    if (this.running?.id !== id) return false;
    this.running.stop = true;
    return true;
  }

  get current(): string | undefined {
    return this.running?.id;
  }

  async finished(): Promise<void> {
    await this.running?.done;
  }

  async close(): Promise<void> {
    if (this.running !== undefined) {
      this.running.stop = true;
      this.running.abort?.();
    }
    await this.finished();
  }

  private async run(running: Running): Promise<void> {
    const report: ScavengeReport = {
      scavengeId: running.id,
      streams: 0,
      removed: 0,
      result: 'Success',
      milliseconds: 0,
    };
    const began = Date.now();
    const client = new pg.Client({ connectionString: this.databaseUrl, application_name: 'eventstore-scavenger' });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await this.onChange(running.id, undefined);
      await this.pass(client, running, report);
      if (running.stop) report.result = 'Stopped';
      else if (report.removed > 0) {
        // It may take long, and what isn't finished is Postgres's own to do later.
        running.abort = () => void client.end();
        await client.query('VACUUM (ANALYZE) eventstore.events').catch((error: unknown) => {
          if (!running.stop) throw error;
        });
      }
    } catch (error) {
      report.result = 'Errored';
      report.error = error instanceof Error ? error.message : String(error);
      this.logger.error({ err: error }, 'a scavenge failed');
    } finally {
      await client.end().catch(() => undefined);
    }
    report.milliseconds = Date.now() - began;
    this.logger.info(report, 'a scavenge has ended');
    await this.onChange(running.id, report).catch((error: unknown) => {
      this.logger.warn({ err: error }, 'the end of a scavenge could not be written down');
    });
  }

  private async pass(client: pg.Client, running: Running, report: ScavengeReport): Promise<void> {
    const before = await client.query<{ after: string }>('SELECT after FROM eventstore.scavenge');
    let after = before.rows[0]?.after ?? '';
    while (!running.stop) {
      const names = await streamNames(client, after);
      if (names.length === 0) {
        await client.query('DELETE FROM eventstore.scavenge');
        return;
      }
      const states = await readStreamStates(client, [...new Set(names.map(baseStreamOf))]);
      for (const name of names) {
        const state = states.get(baseStreamOf(name));
        const below = state && removableBelow(name, state);
        report.streams++;
        if (below !== undefined) report.removed += await remove(client, running, name, below);
        if (running.stop) return;
      }
      after = names.at(-1)!;
      await client.query(
        'INSERT INTO eventstore.scavenge (after) VALUES ($1) ON CONFLICT (single) DO UPDATE SET after = excluded.after',
        [after],
      );
    }
  }
}

/** Names of the next streams, one index probe each. */
async function streamNames(client: pg.Client, after: string): Promise<string[]> {
  const result = await client.query<{ stream: string }>(
    `WITH RECURSIVE names (stream, n) AS (
       (SELECT stream, 1 FROM eventstore.events WHERE stream > $1 ORDER BY stream LIMIT 1)
       UNION ALL
       SELECT (SELECT e.stream FROM eventstore.events e WHERE e.stream > names.stream ORDER BY e.stream LIMIT 1), n + 1
         FROM names WHERE names.stream IS NOT NULL AND n < ${PAGE_STREAMS}
     ) SELECT stream FROM names WHERE stream IS NOT NULL`,
    [after],
  );
  return result.rows.map((row) => row.stream);
}

type Bound = { revision: number; created?: Date };

/** Rows of lower revision, or older ones of a revision below the last, may go. Undefined when nothing may. */
export function removableBelow(stream: string, state: StreamState): Bound | undefined {
  if (isMetadataStream(stream)) {
    // Only the newest metadata counts; with the stream, it goes altogether.
    const keep = state.tombstoned ? state.metaLastRevision + 1 : state.metaLastRevision;
    return keep > 0 ? { revision: keep } : undefined;
  }
  const { lastRevision, metadata } = state;
  if (state.tombstoned || state.softDeleted) return { revision: lastRevision };
  const first = Math.min(firstReadableRevision(metadata, lastRevision), lastRevision);
  if (metadata.maxAge === undefined) return first > 0 ? { revision: first } : undefined;
  return { revision: first, created: new Date(Math.max(0, Date.now() - metadata.maxAge * 1_000)) };
}

async function remove(client: pg.Client, running: Running, stream: string, bound: Bound): Promise<number> {
  let removed = 0;
  for (;;) {
    const result = await client.query(
      `DELETE FROM eventstore.events WHERE position IN (
         SELECT position FROM eventstore.events
          WHERE stream = $1 AND (revision < $2
             OR created < $3::timestamptz AND revision < (SELECT max(revision) FROM eventstore.events WHERE stream = $1))
          ORDER BY revision LIMIT ${PAGE_ROWS})`,
      [stream, bound.revision, bound.created?.toISOString() ?? '-infinity'],
    );
    removed += result.rowCount ?? 0;
    if ((result.rowCount ?? 0) < PAGE_ROWS || running.stop) return removed;
  }
}
