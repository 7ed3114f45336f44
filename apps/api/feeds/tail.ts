import type { RecordedEvent } from '#libs/events/catalogue/index.js';
import type { EventLog, LogSubscription } from '#libs/events/log/index.js';

/** Events held for those who follow closely. Who is further behind reads the log. */
const HELD = 2000;

export interface Page {
  readonly events: readonly RecordedEvent[];
  /** Everything up to here is in the page, or is not of the categories. */
  readonly position: bigint;
}

/**
 * The end of the log, read once for the whole process: the newest events, and word that there are more. Nothing is queued
 * for anybody: each reader has a cursor and asks for what follows, so a slow one costs nothing.
 */
export class LogTail {
  readonly #log: EventLog;
  readonly #categories: readonly string[];
  readonly #onError: (error: unknown) => void;
  readonly #waiting = new Set<() => void>();
  #held: RecordedEvent[] = [];
  /** All events after this one, up to `reached`, are held. */
  #from: bigint | undefined;
  #reached = 0n;
  #starting: Promise<void> | undefined;
  #subscription: LogSubscription | undefined;
  #closed = false;

  constructor(log: EventLog, categories: readonly string[], onError: (error: unknown) => void) {
    this.#log = log;
    this.#categories = categories;
    this.#onError = onError;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake();
    await this.#starting?.catch(() => undefined);
    await this.#subscription?.stop();
  }

  /** Position of the newest event known; starts following at the first call. @throws LogUnavailable */
  async start(): Promise<bigint> {
    this.#starting ??= this.#follow().catch((error: unknown) => {
      this.#starting = undefined;
      throw error;
    });
    await this.#starting;
    return this.#reached;
  }

  /** What follows a position, at most `limit` events; from memory, or from the log for who is behind. */
  async after(position: bigint, limit: number): Promise<Page> {
    await this.start();
    const from = this.#from!;
    if (position >= from) {
      const first = this.#held.findIndex((event) => event.position > position);
      const events = first < 0 ? [] : this.#held.slice(first, first + limit);
      const cut = first >= 0 && first + limit < this.#held.length;
      const reached = cut ? events.at(-1)!.position : this.#reached;
      return { events, position: reached > position ? reached : position };
    }
    const events: RecordedEvent[] = [];
    for await (const event of this.#log.readAll({ after: position, categories: this.#categories })) {
      events.push(event);
      if (events.length === limit) return { events, position: event.position };
    }
    const last = events.at(-1)?.position ?? position;
    return { events, position: last > from ? last : from };
  }

  /** Resolves when there may be something after a position, when the signal aborts, or after `ms`. */
  async more(position: bigint, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#reached > position || this.#closed || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.#waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener('abort', done, { once: true });
      this.#waiting.add(done);
    });
  }

  async #follow(): Promise<void> {
    const head = await this.#log.head();
    this.#from = head;
    this.#reached = head;
    this.#held = [];
    this.#subscription = this.#log.subscribe({
      after: head > 0n ? head : null,
      categories: this.#categories,
      onBatch: async ({ events, position }) => {
        this.#held.push(...events);
        if (this.#held.length > HELD) {
          const dropped = this.#held.splice(0, this.#held.length - HELD);
          this.#from = dropped.at(-1)!.position;
        }
        this.#reached = position;
        this.#wake();
      },
    });
    this.#subscription.done.then(
      () => this.#again(),
      (error: unknown) => {
        this.#onError(error);
        this.#again();
      },
    );
  }

  /** The next reader starts it anew, at the end there is then. */
  #again(): void {
    this.#starting = undefined;
    this.#wake();
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}
