import { setTimeout as sleep } from 'node:timers/promises';
import type { EventBatch, EventLog, LogSubscription } from '#libs/events/log/types.js';
import type { Worker } from './worker.js';

export const BATCH = 250;
/** Those that begin together share a reading. */
const JOIN_MS = 50;
const NAP_MS = 200;
/** While there is live work, a rebuild without a limit of its own rests so many times as long as it has worked. */
const REST = 3;
const REST_MAX_MS = 1_000;
/** The live rows have moved within this: somebody is at work. */
const BUSY_MS = 1_000;

/** Most events per second; without a limit as fast as it goes, and considerate of live work. */
export interface Pace {
  readonly throttle: number | null;
}

interface Member {
  readonly worker: Worker;
  readonly pace: Pace;
  /** The projection whose rows are being read: when they move, people are at work. */
  readonly live: Worker;
}

/** A member's part in a reading. */
export interface Reading {
  /** Resolves when the batch under way is done. */
  stop(): Promise<void>;
}

/**
 * Reads the log for those who build read models beside: once for all that begin together at the same place and pace, so that
 * a rebuild of all of them reads and decodes each event once.
 */
export class Readings {
  readonly #joining = new Set<Member>();
  readonly #shared = new Map<Member, SharedReading>();
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly log: EventLog) {}

  join(member: Member): Reading {
    this.#joining.add(member);
    this.#timer ??= setTimeout(() => this.#begin(), JOIN_MS);
    return {
      stop: async () => {
        this.#joining.delete(member);
        const shared = this.#shared.get(member);
        this.#shared.delete(member);
        await shared?.leave(member);
      },
    };
  }

  #begin(): void {
    this.#timer = undefined;
    const groups = new Map<string, Member[]>();
    for (const member of this.#joining) {
      const place = `${member.worker.position} ${member.pace.throttle}`;
      groups.set(place, [...(groups.get(place) ?? []), member]);
    }
    this.#joining.clear();
    for (const members of groups.values()) {
      const shared = new SharedReading(this.log, members);
      for (const member of members) this.#shared.set(member, shared);
    }
  }
}

async function inTurn(workers: readonly Worker[], work: (worker: Worker) => Promise<void>): Promise<void> {
  for (const worker of workers) await work(worker);
}

/** One subscription for several, at one pace. */
class SharedReading {
  readonly #members: Set<Member>;
  readonly #pace: Pace;
  readonly #abort = new AbortController();
  readonly #subscription: LogSubscription;
  #applying: Promise<unknown> = Promise.resolve();
  #paced = 0;
  readonly #began = performance.now();
  #live: bigint | null = null;
  #liveAt = -Infinity;

  constructor(log: EventLog, members: readonly Member[]) {
    this.#members = new Set(members);
    this.#pace = members[0]!.pace;
    this.#subscription = log.subscribe({
      after: members[0]!.worker.position,
      categories: [...new Set(members.flatMap(({ worker }) => worker.projection.model.categories))],
      maxBatch: BATCH,
      unreadable: 'deliver',
      onBatch: (batch) => this.#apply(batch),
    });
    this.#subscription.done.catch(() => undefined);
  }

  /** Resolves when nothing is being written for the member any more. */
  async leave(member: Member): Promise<void> {
    this.#members.delete(member);
    if (this.#members.size === 0) {
      this.#abort.abort();
      await this.#subscription.stop();
    } else await this.#applying;
  }

  async #apply(batch: EventBatch): Promise<void> {
    const atEnd = batch.live || batch.events.length < BATCH;
    const begun = performance.now();
    const workers = [...this.#members].map(({ worker }) => worker);
    const considerate = this.#pace.throttle === null && this.#busy();
    const apply = (worker: Worker) => worker.apply(batch, atEnd);
    // At the end of the log indexes are made, each with a processor of its own: one after the other leaves some for others.
    this.#applying = considerate && atEnd ? inTurn(workers, apply) : Promise.all(workers.map(apply));
    await this.#applying;
    if (batch.live) return;
    this.#paced += batch.events.length;
    if (this.#pace.throttle !== null) await this.#limit(this.#pace.throttle);
    else if (considerate) {
      // Most of the work is the database's.
      await Promise.all(workers.map((worker) => worker.written()));
      await this.#nap(Math.min(REST * (performance.now() - begun), REST_MAX_MS));
    }
  }

  async #limit(throttle: number): Promise<void> {
    while (!this.#abort.signal.aborted) {
      const early = (this.#paced * 1000) / throttle - (performance.now() - this.#began);
      if (early < 5) return;
      await this.#nap(Math.min(early, NAP_MS));
    }
  }

  /** Whether somebody writes, and waits to read it. */
  #busy(): boolean {
    const now = performance.now();
    const live = [...this.#members].reduce<bigint>((most, { live: { position } }) => {
      return position !== null && position > most ? position : most;
    }, -1n);
    if (this.#live !== null && live > this.#live) this.#liveAt = now;
    this.#live = live;
    return now - this.#liveAt < BUSY_MS;
  }

  async #nap(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#abort.signal }).catch(() => undefined);
  }
}
