import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChangeRow, feed, tableOf } from '#libs/read-models/index.js';
import { Access, ACCESS_EVENTS } from './access.js';
import type { ReadStore } from './read-store.js';

/** What a subscriber follows: one column of the feed. */
export type Topic = { readonly [K in 'stackId' | 'projectId' | 'organisationId']?: string };

/** Events after which the person they are about may see less. */
const REVOKING: ReadonlySet<string> = new Set([
  'StageUnassigned',
  'ProjectMemberRemoved',
  'UserRoleChanged',
  'UserDeactivated',
  'PersonErased',
]);

export function isOn({ stackId, projectId, organisationId }: Topic, change: ChangeRow): boolean {
  return (
    (stackId === undefined || change.stackId === stackId) &&
    (projectId === undefined || change.projectId === projectId) &&
    (organisationId === undefined || change.organisationId === organisationId)
  );
}

const PAGE = 500;
const { name: TABLE, columns: COLUMNS } = tableOf(ChangeRow);
const CHANGE = `${feed.schema}.${TABLE}`;
/** Rows as their class has them. The feed is read all the time: an object mapper would be a good part of this process. */
const ROW = COLUMNS.map(
  ({ name, property, type }) => `c.${name}${type === 'bigint' ? '::text' : ''} AS "${property}"`,
).join();
const COLUMN_OF = new Map(COLUMNS.map(({ name, property }) => [property, name]));
/** With nobody to tell, the feed is looked at this often under load, milliseconds. */
const UNFOLLOWED_MS = 15;
/** Changes kept for a subscriber that does not take them; past that it reads them from the table again. */
const MAX_WAITING = 1000;

/** Who follows, and by what. */
export interface Following {
  readonly userId: string;
  /** Names the socket. */
  readonly socket: string;
  /** Changes of the topic that the follower has no use for cost it nothing; default: all are wanted. */
  readonly wanted?: (change: ChangeRow) => boolean;
}

/** One follower, as the console shows it. */
export interface SubscriberState {
  readonly process: string;
  readonly socket: string;
  readonly userId: string;
  readonly topic: string;
  readonly topicId: string;
  readonly since: Date;
  /** Everything up to here was handed over. */
  readonly position: bigint;
  readonly waiting: number;
  readonly catchingUp: boolean;
}

const PROCESS = `${hostname()}:${process.pid}`;

/** What of a topic there is to look followers up by. */
const keysOf = (of: Topic): string[] =>
  (['stackId', 'projectId', 'organisationId'] as const).flatMap((key) => (of[key] ? [`${key} ${of[key]}`] : []));

class Follower {
  readonly since = new Date();
  waiting: ChangeRow[] = [];
  /** Changes were dropped (or never queued): read the table from the cursor. */
  behind = true;
  wake: (() => void) | undefined;
  ended = false;

  constructor(
    readonly topic: Topic,
    readonly by: Following,
    /** Of the last change that was handed over. */
    public cursor: bigint,
  ) {}

  wants(change: ChangeRow): boolean {
    if (change.userId === this.by.userId && REVOKING.has(change.eventType)) return true;
    return isOn(this.topic, change) && (this.by.wanted?.(change) ?? true);
  }
}

/** Followers by something they have in common, so that a change finds those it concerns without asking the others. */
class Index {
  readonly #of = new Map<string, Set<Follower>>();

  add(keys: readonly string[], follower: Follower): void {
    for (const key of keys) {
      const there = this.#of.get(key);
      if (there) there.add(follower);
      else this.#of.set(key, new Set([follower]));
    }
  }

  remove(keys: readonly string[], follower: Follower): void {
    for (const key of keys) {
      const there = this.#of.get(key);
      if (there?.delete(follower) && there.size === 0) this.#of.delete(key);
    }
  }

  get(key: string): Iterable<Follower> {
    return this.#of.get(key) ?? [];
  }
}

/**
 * Follows the change feed once for the whole process and hands changes to subscribers, in log order. A subscriber that
 * resumes, lags or overflows reads the table by keyset until it has caught up: nothing is missed and nothing doubled.
 */
export class Changes {
  readonly #store: ReadStore;
  readonly #access: Access;
  readonly #followers = new Set<Follower>();
  readonly #byTopic = new Index();
  readonly #byPerson = new Index();
  readonly #stopListening: () => void;
  readonly #onError: (error: unknown) => void;
  #cursor: bigint | undefined;
  #reading: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(store: ReadStore, access: Access, onError: (error: unknown) => void) {
    this.#store = store;
    this.#access = access;
    this.#onError = onError;
    this.#stopListening = store.onProgress((model) => {
      if (model === undefined || model === feed.name) this.#kick();
    });
    this.#kick();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopListening();
    for (const follower of this.#followers) {
      follower.ended = true;
      follower.wake?.();
    }
    await this.#reading;
  }

  /** Who follows in this process. */
  statistics(): { followers: number; catchingUp: number; waiting: number } {
    const all = [...this.#followers];
    return {
      followers: all.length,
      catchingUp: all.filter(({ behind }) => behind).length,
      waiting: all.reduce((sum, { waiting }) => sum + waiting.length, 0),
    };
  }

  /** Each of them, longest first. */
  subscribers(): SubscriberState[] {
    return [...this.#followers].map(({ topic, by, since, cursor, waiting, behind }) => {
      const [key, topicId] = keysOf(topic)[0]!.split(' ') as [string, string];
      return {
        process: PROCESS,
        socket: by.socket,
        userId: by.userId,
        topic: key.replace('Id', ''),
        topicId,
        since,
        position: cursor,
        waiting: waiting.length,
        catchingUp: behind,
      };
    });
  }

  /** The newest change there is: where a subscriber that names no position begins. */
  async now(): Promise<bigint> {
    const [last] = await this.#store.query<{ position: string }>(
      `SELECT coalesce(max(position), 0)::text AS position FROM ${CHANGE}`,
    );
    return BigInt(last?.position ?? 0);
  }

  /**
   * Changes of a topic after a position, for ever: stored ones first, then live. Ends with `signal` or on close. Changes
   * of what the follower may see come in between, on the topic or not (`isOn` tells), so that what is open can end
   * when they are made and not with the next message.
   */
  async *follow(topic: Topic, after: bigint, by: Following, signal: AbortSignal): AsyncGenerator<ChangeRow> {
    const follower = new Follower(topic, by, after);
    const keys = keysOf(topic);
    this.#followers.add(follower);
    this.#byTopic.add(keys, follower);
    this.#byPerson.add([by.userId], follower);
    const stop = () => {
      follower.ended = true;
      follower.wake?.();
    };
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      while (!follower.ended) {
        if (follower.behind) {
          // Queue from here on before looking at the table, so that no change falls between the two.
          follower.behind = false;
          follower.waiting = [];
          for (;;) {
            const page = await this.#page(topic, follower.cursor);
            for (const change of page) {
              follower.cursor = BigInt(change.position);
              if (!follower.wants(change)) continue;
              yield change;
              if (follower.ended) return;
            }
            if (page.length < PAGE) break;
          }
        }
        const next = follower.waiting.shift();
        if (next) {
          if (BigInt(next.position) <= follower.cursor) continue;
          follower.cursor = BigInt(next.position);
          yield next;
          continue;
        }
        if (follower.behind) continue;
        await new Promise<void>((resolve) => (follower.wake = resolve));
        follower.wake = undefined;
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#followers.delete(follower);
      this.#byTopic.remove(keys, follower);
      this.#byPerson.remove([by.userId], follower);
    }
  }

  #page(topic: Topic, cursor: bigint): Promise<ChangeRow[]> {
    const of = Object.entries(topic).filter(([, id]) => id !== undefined);
    const where = of.map(([property], i) => `c.${COLUMN_OF.get(property)} = $${i + 2} AND `).join('');
    return this.#store.query<ChangeRow>(
      // By the column: the position that is shown is text.
      `SELECT ${ROW} FROM ${CHANGE} AS c WHERE ${where}c.position > $1 ORDER BY c.position LIMIT ${PAGE}`,
      [String(cursor), ...of.map(([, id]) => id)],
    );
  }

  #kick(): void {
    if (this.#reading) {
      this.#again = true;
      return;
    }
    this.#reading = this.#read()
      .catch((error: unknown) => this.#onError(error))
      .then(() => (this.#followers.size === 0 && !this.#closed ? sleep(UNFOLLOWED_MS) : undefined))
      .finally(() => {
        this.#reading = undefined;
        if (this.#again) {
          this.#again = false;
          this.#kick();
        }
      });
  }

  async #read(): Promise<void> {
    if (this.#cursor === undefined) {
      this.#cursor = await this.now();
      this.#access.raise(this.#cursor);
      for (const follower of this.#followers) this.#markBehind(follower);
      return;
    }
    if (this.#followers.size === 0) return this.#skip(this.#cursor);
    for (;;) {
      const page = await this.#page({}, this.#cursor);
      for (const change of page) {
        const position = BigInt(change.position);
        this.#cursor = position;
        // The floor rises before anybody is told, so that a message is never checked against older permissions.
        if (ACCESS_EVENTS.has(change.eventType)) this.#access.raise(position);
        for (const follower of this.#concerned(change)) {
          if (!follower.wants(change)) continue;
          if (follower.waiting.length >= MAX_WAITING) this.#markBehind(follower);
          else if (!follower.behind) {
            follower.waiting.push(change);
            follower.wake?.();
          }
        }
      }
      if (page.length < PAGE) return;
    }
  }

  #concerned(change: ChangeRow): ReadonlySet<Follower> {
    const found = new Set<Follower>();
    const topic = change as unknown as Topic;
    for (const key of keysOf(topic)) for (const follower of this.#byTopic.get(key)) found.add(follower);
    if (change.userId && REVOKING.has(change.eventType))
      for (const follower of this.#byPerson.get(change.userId)) found.add(follower);
    return found;
  }

  /** With nobody to tell, it matters only whether access has changed. */
  async #skip(cursor: bigint): Promise<void> {
    const [to] = await this.#store.query<{ last: string | null; access: string | null }>(
      `SELECT max(position)::text AS last, (max(position) FILTER (WHERE event_type = ANY($2)))::text AS access
       FROM ${CHANGE} WHERE position > $1`,
      [String(cursor), [...ACCESS_EVENTS]],
    );
    if (to?.access) this.#access.raise(BigInt(to.access));
    if (!to?.last) return;
    this.#cursor = BigInt(to.last);
    // Who came meanwhile may have looked at the table before what was skipped was in it.
    for (const follower of this.#followers) this.#markBehind(follower);
  }

  #markBehind(follower: Follower): void {
    follower.behind = true;
    follower.waiting = [];
    follower.wake?.();
  }
}
