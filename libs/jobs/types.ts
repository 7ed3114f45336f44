/** The public shapes of the jobs room: BullMQ behind one small door. */
import type { z } from 'zod';

export interface JobsOptions {
  /** URL of the jobs database: checkpoints and progress always, queues unless `redisUrl` is given. */
  databaseUrl: string;
  /** Queues go to this Redis instead. It must keep what it is given (`maxmemory-policy noeviction`). */
  redisUrl?: string;
  /** Told about lost connections and errors in the background. */
  onError?: (error: Error) => void;
}

export interface Jobs {
  readonly backend: 'postgres' | 'redis';
  queue<T>(name: string, schema: z.ZodType<T>): JobQueue<T>;
  worker<T>(name: string, schema: z.ZodType<T>, processor: JobProcessor<T>, options?: WorkerOptions): JobWorker;
  /** Undefined when the queue does not know the job (any more). */
  state(name: string, jobId: string): Promise<JobState | undefined>;
  counts(name: string): Promise<JobCounts>;
  /** Failed for good, newest first; `limit` at most 200, default 50. */
  failed(name: string, options?: { offset?: number; limit?: number }): Promise<FailedJob[]>;
  /** A failed job starts over with all its attempts. False when it is not among the failed. */
  retry(name: string, jobId: string): Promise<boolean>;
  /**
   * Live, to whoever listens now in any process; lost when nobody does. At most ten a second per topic: the newest wins,
   * the last one always goes out. JSON of at most 4,000 bytes; larger throws RangeError.
   */
  publishProgress(topic: string, payload: unknown): void;
  /** Returns the unsubscriber. */
  onProgress(callback: (progress: Progress) => void): () => void;
  readonly checkpoint: Checkpoints;
  readonly parked: ParkedReactions;
  /** Workers close gracefully, then queues and connections. */
  close(options?: CloseOptions): Promise<void>;
}

export interface JobQueue<T> {
  readonly name: string;
  /**
   * Stored when it resolves. The same id again is nothing, whatever became of the first. The id comes from the event's
   * (see `jobIdOf`); letters, digits and `-_.=` only, at most 200 characters, not all digits.
   * Returns false when the id was there already; of several adding at once more than one may hear true.
   * Completed jobs are remembered for 7 days (at most 20,000), failed ones for 90.
   * @throws ZodError for data that the schema refuses, RangeError for an illegal id
   */
  add(jobId: string, data: T, options?: AddOptions): Promise<boolean>;
  /** Takes it out in any state but active; it may be added again then. */
  remove(jobId: string): Promise<boolean>;
}

export interface AddOptions {
  /** 1 runs first; default 0, before all with a priority. Same priority: oldest first. */
  priority?: number;
  /** Not before this long from now. */
  delayMs?: number;
  /** How often it is tried in all; default 5. */
  attempts?: number;
  /** Wait before the second attempt, doubled each time (±20 %), at most an hour; default 1,000. */
  backoffMs?: number;
}

export interface JobContext<T> {
  readonly jobId: string;
  readonly data: T;
  /** From 1. A run that a crash cut short counts as no attempt. */
  readonly attempt: number;
  /** Aborts when the worker's grace is over (throw: the job goes back) or the job was lost to another (nothing counts). */
  readonly signal: AbortSignal;
  /** `fraction` from 0 to 1. Kept with the job and published under the topic `job.<queue>.<jobId>`; rate-limited. */
  progress(fraction: number, info?: Record<string, unknown>): void;
}

/** Throw to be tried again; throw `PermanentJobError` when that would be in vain. Must bear to run twice. */
export type JobProcessor<T> = (context: JobContext<T>) => Promise<unknown>;

/** Failed and not to be tried again. */
export class PermanentJobError extends Error {
  override readonly name = 'PermanentJobError';
}

export interface WorkerOptions {
  /** Jobs at once in this worker; default 1. */
  concurrency?: number;
  /** A worker silent for this long is dead and its jobs are done by another; default 30,000 ms. */
  lockDurationMs?: number;
  /** How often the dead are looked for; default half the lock. */
  stalledIntervalMs?: number;
  onFailed?: (failure: { jobId: string; attempt: number; error: Error; final: boolean }) => void;
  onCompleted?: (done: { jobId: string; result: unknown }) => void;
}

export interface CloseOptions {
  /** How long jobs under way may take; then their signal aborts and they go back to the queue. Default 10,000 ms. */
  graceMs?: number;
  /** How long from then on a job that does not hear its signal is waited for; default 5,000 ms. */
  abandonMs?: number;
}

export interface JobWorker {
  /** Resolves when it takes jobs. */
  ready(): Promise<void>;
  close(options?: CloseOptions): Promise<void>;
}

export type JobStatus = 'waiting' | 'delayed' | 'active' | 'completed' | 'failed';

export interface JobState {
  readonly jobId: string;
  readonly status: JobStatus;
  readonly attempts: number;
  readonly progress?: { fraction: number; info?: Record<string, unknown> };
  readonly failedReason?: string;
  readonly result?: unknown;
  readonly addedAt: Date;
  readonly finishedAt?: Date;
}

export type JobCounts = Readonly<Record<JobStatus, number>>;

export interface FailedJob {
  readonly jobId: string;
  readonly data: unknown;
  readonly reason: string;
  readonly attempts: number;
  readonly failedAt: Date;
}

export interface Progress {
  readonly topic: string;
  readonly payload: unknown;
}

export interface ReactionCheckpoint {
  readonly name: string;
  readonly position: bigint;
  readonly savedAt: Date;
}

/** Where each reaction is in the log; kept in Postgres whatever the queues run on. */
export interface Checkpoints {
  /** Undefined for a reaction that never ran. */
  load(name: string): Promise<bigint | undefined>;
  /** All there are, by name. */
  all(): Promise<ReactionCheckpoint[]>;
  /** Only ever forward: an older position changes nothing. Returns the position that is kept. */
  save(name: string, position: bigint): Promise<bigint>;
}

/** `PARKED`: failed. `WAITING`: comes after a parked one that it must not overtake. `SKIPPED`: left out by a person. */
export type ParkedReactionState = 'PARKED' | 'WAITING' | 'SKIPPED';

/** The event, as far as it must be known to find it again. */
export interface ReactionEvent {
  readonly id: string;
  readonly type: string;
  readonly stream: string;
  readonly revision: number;
  readonly position: bigint;
}

/** An event that a reaction has put aside. */
export interface ParkedReaction {
  readonly reaction: string;
  /** Log position of the event. */
  readonly position: bigint;
  readonly state: ParkedReactionState;
  /** Events with the same key are reacted to in log order; null for one that none waits for. */
  readonly key: string | null;
  readonly eventId: string;
  readonly eventType: string;
  readonly stream: string;
  readonly revision: number;
  /** What went wrong; null for one that only waits. */
  readonly error: string | null;
  readonly attempts: number;
  /** Why it was skipped. */
  readonly reason: string | null;
  /** When it is tried again by itself. */
  readonly retryAt: Date | null;
  readonly parkedAt: Date;
}

export interface ReactionFailure {
  readonly message: string;
  /** Tries that were made now. */
  readonly attempts: number;
  readonly retryInSeconds: number;
}

/** What reactions have put aside; kept in Postgres whatever the queues run on. */
export interface ParkedReactions {
  /** Parks an event with its failure, also once more, or without one has it wait. One that was skipped stays skipped. */
  put(reaction: string, key: string | null, event: ReactionEvent, failure?: ReactionFailure): Promise<void>;
  /** It was reacted to after all. */
  settle(reaction: string, position: bigint): Promise<void>;
  /** Parked and waiting ones of a reaction in log order; `due` is what its own turn has come for. */
  open(reaction: string): Promise<(ParkedReaction & { readonly due: boolean })[]>;
  /** By reaction and position, skipped ones too; `limit` at most 1,000, default 100. */
  list(filter?: {
    reaction?: string;
    /** Exclusive: where the last page ended. */
    after?: { reaction: string; position: bigint };
    limit?: number;
  }): Promise<ParkedReaction[]>;
  /** Parked and waiting ones by reaction; reactions without any are left out. */
  counts(): Promise<ReadonlyMap<string, number>>;
  /** Has a parked one tried within about a second. False when there is none. */
  retry(reaction: string, position: bigint): Promise<boolean>;
  /** Leaves a parked one out for good. False when there is none. */
  skip(reaction: string, position: bigint, reason: string): Promise<boolean>;
}
