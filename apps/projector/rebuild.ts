import type { EventLog } from '#libs/events/log/types.js';
import { createPool } from '#libs/postgres/index.js';
import { digestReadModels, dropReadModel, partitionsOf, scratchCopy } from '#libs/read-models/index.js';
import { ProjectionInUse } from './errors.js';
import type { Projection } from './projection.js';
import { PROJECTIONS } from './projections/index.js';
import { startProjector } from './projector.js';
import { Session } from './session.js';
import type { ProjectorLogger } from './worker.js';

export interface RebuildOptions {
  readonly log: EventLog;
  /** Database of the read models. */
  readonly url: string;
  /** Default: every projection of this build. */
  readonly projections?: readonly Projection[];
  readonly maxBatch?: number;
  readonly logger?: ProjectorLogger;
  /** Told every `progressMs` (default 1,000) how many events the furthest projection has written. */
  readonly onProgress?: (events: number) => void;
  readonly progressMs?: number;
}

export interface RebuildReport {
  /** Head of the log when the rebuild began, and at least how far it got. */
  readonly position: bigint;
  /** Events written, by projection. */
  readonly events: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/**
 * Drops read models and fills them again from the first event to the end of the log.
 *
 * @throws ProjectionInUse while a projector runs one of them
 */
export async function rebuild(options: RebuildOptions): Promise<RebuildReport> {
  const { log, url, projections = PROJECTIONS } = options;
  const pool = createPool(url, { max: 2, applicationName: 'picturelock rebuild' });
  try {
    for (const { model } of projections) {
      const session = await Session.open(url, model.name);
      try {
        for (let partition = 0; partition < partitionsOf(model); partition++)
          if (!(await session.tryLock({ model, partition }))) throw new ProjectionInUse(model);
        await dropReadModel(pool, model);
      } finally {
        await session.close();
      }
    }
  } finally {
    await pool.end();
  }
  const position = await log.head();
  const started = performance.now();
  const projector = startProjector({ ...options, projections });
  const { onProgress, progressMs = 1_000 } = options;
  const telling =
    onProgress &&
    setInterval(() => onProgress(Math.max(...projector.status().map(({ events }) => events))), progressMs);
  try {
    await projector.reached(position);
    return {
      position,
      events: Object.fromEntries(projector.status().map(({ name, events }) => [name, events])),
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    clearInterval(telling);
    await projector.stop();
  }
}

/** Every projection of this build, from zero. */
export const rebuildAll = (options: Omit<RebuildOptions, 'projections'>): Promise<RebuildReport> => rebuild(options);

export interface Verification {
  readonly equal: boolean;
  /** Tables whose rows are not those of a clean rebuild, as `<read model>.<table>`. */
  readonly different: readonly string[];
}

/**
 * Fills scratch copies from the log and compares them with the rows that are there; the copies are removed. The log must be
 * quiet and the live projections at its end.
 */
export async function verifyReadModels(options: RebuildOptions): Promise<Verification> {
  const { url, projections = PROJECTIONS } = options;
  const models = projections.map(({ model }) => model);
  const copies = projections.map((projection) => ({ ...projection, model: scratchCopy(projection.model) }));
  const pool = createPool(url, { max: 2, applicationName: 'picturelock verify' });
  try {
    await rebuild({ ...options, projections: copies });
    const live = await digestReadModels(pool, models);
    const clean = await digestReadModels(
      pool,
      copies.map(({ model }) => model),
    );
    const different = Object.keys(clean).filter((table) => live[table] !== clean[table]);
    return { equal: different.length === 0, different };
  } finally {
    for (const { model } of copies) await dropReadModel(pool, model);
    await pool.end();
  }
}
