import { refuse, type Refusal } from '#libs/events/catalogue/index.js';
import type { Pool } from '#libs/postgres/index.js';
import { READ_MODELS } from './all.js';
import type { TableDifference } from './compare.js';

export const REBUILD_STATES = ['REQUESTED', 'RUNNING', 'DONE', 'CANCELLED', 'FAILED'] as const;
export type RebuildState = (typeof REBUILD_STATES)[number];

/** A rebuild beside the rows that are being read. */
export interface Rebuild {
  readonly id: string;
  readonly projection: string;
  readonly version: number;
  readonly state: RebuildState;
  /** Log position reached; −1 before the first event. */
  readonly position: bigint;
  /** Where the log ended when last looked at. */
  readonly head: bigint | null;
  readonly events: number;
  readonly eventsPerSecond: number | null;
  /** Estimated from the log positions left; null when there is nothing to go by. */
  readonly secondsLeft: number | null;
  /** Most events per second, or null for as fast as it goes. */
  readonly throttle: number | null;
  /** Why it failed: the event at fault, by name. */
  readonly error: string | null;
  readonly requestedAt: Date;
  readonly startedAt: Date | null;
  readonly endedAt: Date | null;
}

/** A rebuild that is compared, row by row, with what is being read, and then thrown away. */
export interface Verification extends Rebuild {
  /** Null until it is done, and when it could not be. */
  readonly equal: boolean | null;
  /** Tables whose rows are not those of a clean rebuild; null until it is done. */
  readonly differences: readonly TableDifference[] | null;
}

/** What becomes of the rows that were built. */
export type RebuildPurpose = 'REPLACE' | 'VERIFY';

interface RebuildRow {
  id: string;
  purpose: RebuildPurpose;
  differences: TableDifference[] | null;
  name: string;
  version: number;
  state: RebuildState;
  throttle: number | null;
  cancel: boolean;
  position: string;
  head: string | null;
  events: string;
  events_per_second: number | null;
  error: string | null;
  requested_at: Date;
  started_at: Date | null;
  ended_at: Date | null;
  seconds: number | null;
}

const toRebuild = (row: RebuildRow): Rebuild => {
  const position = BigInt(row.position);
  const head = row.head === null ? null : BigInt(row.head);
  const running = row.state === 'RUNNING' && head !== null && row.seconds !== null && position > 0n;
  return {
    id: row.id,
    projection: row.name,
    version: row.version,
    state: row.state,
    position,
    head,
    events: Number(row.events),
    eventsPerSecond: row.events_per_second,
    secondsLeft: running ? (row.seconds! * Math.max(0, Number(head! - position))) / Number(position) : null,
    throttle: row.throttle,
    error: row.error,
    requestedAt: row.requested_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
  };
};

const toVerification = (row: RebuildRow): Verification => ({
  ...toRebuild(row),
  equal: row.differences && row.differences.length === 0,
  differences: row.differences,
});

async function list(pool: Pool, purpose: RebuildPurpose, projection: string | undefined): Promise<RebuildRow[]> {
  const { rows } = await pool.query<RebuildRow>(
    `SELECT *, extract(epoch FROM clock_timestamp() - started_at)::double precision AS seconds FROM projection.rebuild
      WHERE purpose = $1 AND ($2::text IS NULL OR name = $2) ORDER BY requested_at DESC, name LIMIT 1000`,
    [purpose, projection ?? null],
  );
  return rows;
}

/** Newest first, at most 1000. */
export const listRebuilds = async (pool: Pool, projection?: string): Promise<Rebuild[]> =>
  (await list(pool, 'REPLACE', projection)).map(toRebuild);

/** Newest first, at most 1000. */
export const listVerifications = async (pool: Pool, projection?: string): Promise<Verification[]> =>
  (await list(pool, 'VERIFY', projection)).map(toVerification);

const checkThrottle = (throttle: number | null | undefined): Refusal | undefined =>
  throttle == null || (Number.isInteger(throttle) && throttle > 0)
    ? undefined
    : refuse('INVALID_INPUT', 'A throttle is a whole number of events per second, at least 1.', { path: ['throttle'] });

const RUNNING: Readonly<Record<RebuildPurpose, readonly [code: string, text: string]>> = {
  REPLACE: ['REBUILD_RUNNING', 'A rebuild of that projection is requested or running already.'],
  VERIFY: ['VERIFICATION_RUNNING', 'A verification of that projection is requested or running already.'],
};

async function request(
  pool: Pool,
  purpose: RebuildPurpose,
  projections: readonly string[] | undefined,
  throttle: number | null,
): Promise<Refusal | undefined> {
  const wrong = checkThrottle(throttle);
  if (wrong) return wrong;
  const names = [...new Set(projections ?? READ_MODELS.map(({ name }) => name))];
  const models = [];
  for (const name of names) {
    const found = READ_MODELS.find((model) => model.name === name);
    if (!found)
      return refuse('UNKNOWN_PROJECTION', `There is no projection "${name}".`, {
        path: ['projections'],
        details: { known: READ_MODELS.map(({ name }) => name) },
      });
    models.push(found);
  }
  try {
    await pool.query(
      `INSERT INTO projection.rebuild (name, version, state, throttle, purpose)
       SELECT name, version, 'REQUESTED', $3, $4 FROM unnest($1::text[], $2::int[]) AS wanted (name, version)`,
      [models.map(({ name }) => name), models.map(({ version }) => version), throttle, purpose],
    );
  } catch (error) {
    if ((error as { code?: unknown }).code !== '23505') throw error;
    const inTheWay = (await openRebuilds(pool)).find(({ name }) => names.includes(name));
    const [code, text] = RUNNING[inTheWay?.purpose ?? purpose];
    return refuse(code, text, { details: { projections: names } });
  }
  return undefined;
}

/**
 * Has the runners of projections build them anew, each beside the rows that are being read, which it replaces when it has
 * caught up. All or none are requested. Without names: every projection of this build.
 *
 * @returns the refusal: UNKNOWN_PROJECTION, REBUILD_RUNNING, VERIFICATION_RUNNING, INVALID_INPUT
 */
export const requestRebuild = (
  pool: Pool,
  projections?: readonly string[],
  { throttle = null }: { readonly throttle?: number | null } = {},
): Promise<Refusal | undefined> => request(pool, 'REPLACE', projections, throttle);

/**
 * Has the runners of projections build them anew and compare them, row by row, with what is being read, at one position;
 * what is being read is not touched. All or none are requested. Without names: every projection of this build.
 *
 * @returns the refusal: UNKNOWN_PROJECTION, REBUILD_RUNNING, VERIFICATION_RUNNING, INVALID_INPUT
 */
export const requestVerification = (
  pool: Pool,
  projections?: readonly string[],
  { throttle = null }: { readonly throttle?: number | null } = {},
): Promise<Refusal | undefined> => request(pool, 'VERIFY', projections, throttle);

const NONE: Readonly<Record<RebuildPurpose, readonly [code: string, what: string]>> = {
  REPLACE: ['NO_REBUILD', 'rebuild'],
  VERIFY: ['NO_VERIFICATION', 'verification'],
};

async function change(
  pool: Pool,
  purpose: RebuildPurpose,
  projection: string,
  set: string,
  value: unknown,
): Promise<Refusal | undefined> {
  const { rowCount } = await pool.query(
    `UPDATE projection.rebuild SET ${set} = $3 WHERE name = $1 AND purpose = $2 AND state IN ('REQUESTED', 'RUNNING')`,
    [projection, purpose, value],
  );
  if (rowCount) return undefined;
  const [code, what] = NONE[purpose];
  return refuse(code, `No ${what} of "${projection}" is requested or running.`, { details: { projection } });
}

/** Gives a rebuild up; what is being read stays. @returns the refusal: NO_REBUILD */
export const cancelRebuild = (pool: Pool, projection: string): Promise<Refusal | undefined> =>
  change(pool, 'REPLACE', projection, 'cancel', true);

/** Gives a verification up. @returns the refusal: NO_VERIFICATION */
export const cancelVerification = (pool: Pool, projection: string): Promise<Refusal | undefined> =>
  change(pool, 'VERIFY', projection, 'cancel', true);

/** Events per second at most, from the next moment on; null takes the limit away. @returns the refusal: NO_REBUILD, INVALID_INPUT */
export const throttleRebuild = async (
  pool: Pool,
  projection: string,
  throttle: number | null,
): Promise<Refusal | undefined> => checkThrottle(throttle) ?? change(pool, 'REPLACE', projection, 'throttle', throttle);

/** A requested or running rebuild, as the projector sees it. */
export interface RebuildOrder {
  readonly id: string;
  readonly name: string;
  readonly version: number;
  readonly purpose: RebuildPurpose;
  readonly state: RebuildState;
  readonly throttle: number | null;
  readonly cancel: boolean;
}

export async function openRebuilds(pool: Pool): Promise<RebuildOrder[]> {
  const { rows } = await pool.query<RebuildRow>(
    `SELECT id, name, version, purpose, state, throttle, cancel FROM projection.rebuild WHERE state IN ('REQUESTED', 'RUNNING')`,
  );
  return rows;
}
