import { setTimeout as sleep } from 'node:timers/promises';
import type { EventLog } from '#libs/events/log/types.js';
import { createPool, type Pool } from '#libs/postgres/index.js';
import { AS_OF_MODELS, asOfCopy, AsOfBuilds, dropReadModel, type AsOfBuild } from '#libs/read-models/index.js';
import { PROJECTIONS } from './projections/index.js';
import { rebuild } from './rebuild.js';
import type { ProjectorLogger } from './worker.js';

const LOOK_MS = 500;
const ALIVE_MS = 5_000;
const SWEEP_MS = 10_000;

/** The log as it was for one organisation: nothing of others, and nothing after the position. */
export function logAsOf(
  log: EventLog,
  { position: end, organisationId }: Pick<AsOfBuild, 'position' | 'organisationId'>,
): EventLog {
  return {
    append: () => Promise.reject(new Error('The past is only read')),
    readStream: (...args) => log.readStream(...args),
    readAll: (options) => log.readAll(options),
    head: () => Promise.resolve(end),
    subscribe: (options) => {
      let over = false;
      return log.subscribe({
        ...options,
        onBatch: async (batch) => {
          if (over) return;
          over = batch.position >= end;
          await options.onBatch({
            events: batch.events.filter(
              ({ position, metadata }) => position <= end && metadata.organisationId === organisationId,
            ),
            position: over ? end : batch.position,
            live: over || batch.live,
          });
        },
      });
    },
    close: () => Promise.resolve(),
  };
}

const drop = async (pool: Pool, build: Pick<AsOfBuild, 'id'>): Promise<void> => {
  for (const model of AS_OF_MODELS) await dropReadModel(pool, asOfCopy(model, build));
};

/** Makes read models as of a moment when they are asked for, one at a time, and removes them when their time is over. */
export function startAsOfBuilder(options: {
  readonly log: EventLog;
  readonly url: string;
  readonly logger: ProjectorLogger;
}): { stop(): Promise<void> } {
  const { log, url, logger } = options;
  const pool = createPool(url, {
    max: 2,
    applicationName: 'picturelock as-of',
    onError: (err) => logger.warn({ err }, 'as-of: connection trouble'),
  });
  const builds = new AsOfBuilds(pool);
  const abort = new AbortController();
  const projections = PROJECTIONS.filter(({ model }) => AS_OF_MODELS.includes(model));

  async function make(build: AsOfBuild): Promise<void> {
    const { id, organisationId, position } = build;
    const beat = setInterval(() => {
      builds.alive(id).catch((err: unknown) => logger.warn({ err }, 'as-of: a sign of life was lost'));
    }, ALIVE_MS);
    try {
      const copies = projections.map((projection) => ({ ...projection, model: asOfCopy(projection.model, build) }));
      const { seconds } = await rebuild({ log: logAsOf(log, build), url, projections: copies });
      await builds.done(id, null);
      logger.info({ id, organisationId, position: String(position), seconds }, 'read models as of a moment are ready');
    } catch (err) {
      logger.error({ id, err }, 'read models as of a moment could not be made');
      await builds.done(id, err instanceof Error ? err.message : String(err));
    } finally {
      clearInterval(beat);
    }
  }

  async function run(): Promise<void> {
    let sweptAt = -Infinity;
    while (!abort.signal.aborted) {
      try {
        if (performance.now() - sweptAt >= SWEEP_MS) {
          sweptAt = performance.now();
          await builds.sweep((build) => drop(pool, build));
        }
        const build = await builds.claim();
        if (build) {
          await make(build);
          continue;
        }
      } catch (err) {
        logger.warn({ err }, 'as-of: waiting for the database');
      }
      await sleep(LOOK_MS, undefined, { signal: abort.signal }).catch(() => undefined);
    }
  }
  const running = run();
  return {
    stop: async () => {
      abort.abort();
      await running;
      await pool.end();
    },
  };
}
