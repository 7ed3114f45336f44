import { setTimeout as sleep } from 'node:timers/promises';
import { In } from 'typeorm';
import type { EventLog } from '#libs/events/log/index.js';
import type { Jobs } from '#libs/jobs/index.js';
import { COMPARE_QUEUE, TRANSCODE_QUEUE } from '#libs/application/index.js';
import {
  ChangeRow,
  feed,
  listRebuilds,
  OrganisationRow,
  READ_MODELS,
  type Rebuild as RebuildRecord,
  type Verification as VerificationRecord,
  tableOf,
} from '#libs/read-models/index.js';
import { parkedNow } from './alarms.js';
import type { Changes } from '../platform/changes.js';
import type { ReadStore } from '../platform/read-store.js';
import type {
  Lag,
  LogStatistics,
  Operations,
  ProjectionStatus,
  QueueStatus,
  ReactionStatus,
  Rebuild,
  Verification,
} from './types.js';

/** Events that are counted one by one to say how far something lags. */
const COUNTED = 1000;
const FAILURES_SHOWN = 10;
const LOOK_MS = 1000;
/** An ended rebuild is shown this long. */
const REBUILD_SHOWN_MS = 10 * 60_000;
const CHANGE = `${feed.schema}.${tableOf(ChangeRow).name}`;
/** Every category that anything follows: what is not of these lags nowhere. */
const CATEGORIES = [...new Set(READ_MODELS.flatMap(({ categories }) => categories))];

export const toRebuild = (rebuild: RebuildRecord): Rebuild => ({
  ...rebuild,
  position: rebuild.position < 0n ? null : String(rebuild.position),
  head: rebuild.head === null ? null : String(rebuild.head),
});

export const toVerification = (verification: VerificationRecord): Verification => ({
  ...toRebuild(verification),
  equal: verification.equal,
  differences: verification.differences?.map((one) => ({ ...one, examples: [...one.examples] })) ?? null,
});

/** What an operator wants to know of the running installation, gathered from the log, the read models and the queues. */
export class OperationsView {
  constructor(
    private readonly log: EventLog,
    private readonly store: ReadStore,
    private readonly jobs: Jobs,
    private readonly changes: Changes,
  ) {}

  /** @param before the look before this one, for the rate between the two */
  async look(before?: Operations): Promise<Operations> {
    const at = new Date();
    const [head, rows, reactionRows, parkedByReaction, queues, rebuilds, parked] = await Promise.all([
      this.log.head(),
      this.store.query<{ name: string; version: number; position: string; updated_at: Date }>(
        `SELECT name, version, min(position)::text AS position, max(updated_at) AS updated_at
           FROM projection.checkpoint GROUP BY name, version`,
      ),
      this.jobs.checkpoint.all(),
      this.jobs.parked.counts(),
      Promise.all([TRANSCODE_QUEUE, COMPARE_QUEUE].map((name) => this.#queue(name))),
      listRebuilds(this.store.pool),
      parkedNow(this.store.pool),
    ]);
    const lagAt = this.#lags(head, at);
    const projections = await Promise.all(
      READ_MODELS.map(async ({ name, version, schema, categories }): Promise<ProjectionStatus> => {
        const row = rows.find((r) => r.name === name && r.version === version);
        const position = BigInt(row?.position ?? -1);
        return {
          name,
          version,
          schema,
          position: position < 0n ? null : String(position),
          movedAt: row?.updated_at ?? null,
          lag: await lagAt(position, categories),
        };
      }),
    );
    const reactions = await Promise.all(
      reactionRows.map(async ({ name, position, savedAt }): Promise<ReactionStatus> => ({
        name,
        position: String(position),
        movedAt: savedAt,
        parked: parkedByReaction.get(name) ?? 0,
        lag: await lagAt(position, CATEGORIES),
      })),
    );
    return {
      at,
      head: String(head),
      eventsPerSecond: before ? await this.#rate(before, at, projections) : null,
      projections,
      rebuilds: rebuilds
        .filter(({ endedAt }) => endedAt === null || at.getTime() - endedAt.getTime() < REBUILD_SHOWN_MS)
        .map(toRebuild),
      parked: parked.parked,
      parkedAccess: parked.access,
      reactions,
      queues,
      subscribers: this.changes.statistics(),
    };
  }

  async statistics(): Promise<LogStatistics> {
    const [[whole], types, organisations, [size]] = await Promise.all([
      this.store.query<{ position: string; events: number }>(
        `SELECT coalesce(max(position), 0)::text AS position, count(*)::int AS events FROM ${CHANGE}`,
      ),
      this.store.query<{ type: string; events: number; firstAt: Date; lastAt: Date }>(
        `SELECT event_type AS type, count(*)::int AS events, min(at) AS "firstAt", max(at) AS "lastAt"
         FROM ${CHANGE} GROUP BY event_type ORDER BY events DESC, type`,
      ),
      this.store.query<{ id: string; events: number; lastAt: Date }>(
        `SELECT organisation_id AS id, count(*)::int AS events, max(at) AS "lastAt"
         FROM ${CHANGE} GROUP BY organisation_id ORDER BY events DESC LIMIT 50`,
      ),
      this.store.query<{ bytes: string }>(`SELECT pg_database_size(current_database())::text AS bytes`),
    ]);
    const named = await this.store.manager
      .getRepository(OrganisationRow)
      .findBy({ id: In(organisations.map(({ id }) => id)) });
    const names = new Map(named.map(({ id, name }) => [id, name]));
    return {
      position: whole!.position,
      events: whole!.events,
      types,
      organisations: organisations.map((row) => ({ ...row, name: names.get(row.id) ?? row.id })),
      readModelBytes: size!.bytes,
    };
  }

  async #queue(name: string): Promise<QueueStatus> {
    const [counts, failures] = await Promise.all([
      this.jobs.counts(name),
      this.jobs.failed(name, { limit: FAILURES_SHOWN }),
    ]);
    return {
      name,
      ...counts,
      newestFailures: failures.map(({ jobId, reason, attempts, failedAt }) => ({
        id: jobId,
        reason,
        attempts,
        failedAt,
      })),
    };
  }

  /** The lag of a position; each distinct question is asked once. */
  #lags(head: bigint, now: Date): (position: bigint, categories: readonly string[]) => Promise<Lag> {
    const asked = new Map<string, Promise<Lag>>();
    return (position, categories) => {
      if (position >= head) return Promise.resolve({ events: 0, more: false, seconds: 0 });
      const key = `${position} ${categories.join()}`;
      let answer = asked.get(key);
      if (!answer) asked.set(key, (answer = this.#lag(position, categories, now)));
      return answer;
    };
  }

  async #lag(position: bigint, categories: readonly string[], now: Date): Promise<Lag> {
    let events = 0;
    let oldest: Date | undefined;
    let more = false;
    try {
      for await (const event of this.log.readAll({ after: position < 0n ? null : position, categories })) {
        oldest ??= event.created;
        if ((more = events === COUNTED)) break;
        events++;
      }
    } catch {
      // An event that this build can't read is one that is not counted.
      more = true;
    }
    return {
      events,
      more,
      seconds: oldest ? Math.max(0, (now.getTime() - oldest.getTime()) / 1000) : 0,
    };
  }

  async #rate(before: Operations, at: Date, projections: readonly ProjectionStatus[]): Promise<number | null> {
    const [from, to] = [before.projections, projections].map(
      (all) => all.find(({ name }) => name === feed.name)?.position ?? '0',
    );
    const seconds = (at.getTime() - before.at.getTime()) / 1000;
    if (seconds <= 0 || BigInt(to!) < BigInt(from!)) return null;
    const [row] = await this.store.query<{ n: number }>(
      `SELECT count(*)::int AS n FROM ${CHANGE} WHERE position > $1 AND position <= $2`,
      [from, to],
    );
    return row!.n / seconds;
  }
}

/** Looks once a second for all who watch, and not at all without any. */
export class OperationsFeed {
  readonly #watchers = new Set<(seen: Operations) => void>();
  #latest: Operations | undefined;
  #running = false;

  constructor(
    private readonly view: Pick<OperationsView, 'look'>,
    private readonly onError: (error: unknown) => void,
  ) {}

  /** A look now, then one each second, the newest only; ends with the signal. */
  async *watch(signal: AbortSignal): AsyncGenerator<Operations> {
    let newest: Operations | undefined = this.#latest;
    let wake: (() => void) | undefined;
    const watcher = (seen: Operations) => {
      newest = seen;
      wake?.();
    };
    const end = () => wake?.();
    this.#watchers.add(watcher);
    signal.addEventListener('abort', end, { once: true });
    if (!this.#running) void this.#run();
    try {
      while (!signal.aborted) {
        if (newest) {
          const seen = newest;
          newest = undefined;
          yield seen;
        } else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      signal.removeEventListener('abort', end);
      this.#watchers.delete(watcher);
    }
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#watchers.size > 0) {
      try {
        this.#latest = await this.view.look(this.#latest);
        for (const watcher of [...this.#watchers]) watcher(this.#latest);
      } catch (error) {
        this.onError(error);
      }
      await sleep(LOOK_MS);
    }
    this.#latest = undefined;
    this.#running = false;
  }
}
