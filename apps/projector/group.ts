import type { EventBatch } from '#libs/events/log/types.js';
import { Session } from './session.js';
import { type Contribution, type ProjectorLogger, together, type Worker } from './worker.js';

/** After a failure of the shared connection everybody writes alone for so long. */
const REST_MS = 1_000;

/**
 * Writes what several projections make of a batch in one transaction. A transaction each would cost several times as much
 * under load, and with one, what may be seen and the permission for it become visible at the same moment.
 */
export class Group {
  #session: Session | undefined;
  #restUntil = 0;
  #closed = false;

  constructor(
    private readonly url: string,
    private readonly logger: ProjectorLogger | undefined,
  ) {}

  /**
   * False when they have to write alone, each at its own risk; nothing is lost by then and nothing written twice.
   *
   * @param workers in order
   */
  write(workers: readonly Worker[], batch: EventBatch): Promise<boolean> {
    if (workers.length < 2 || performance.now() < this.#restUntil) return Promise.resolve(false);
    return together(workers, () => this.#together(workers, batch));
  }

  async #together(workers: readonly Worker[], batch: EventBatch): Promise<boolean> {
    const parts: Contribution[] = [];
    for (const worker of workers) {
      const part = worker.contribute(batch);
      if (!part) return false;
      parts.push(part);
    }
    try {
      const session = (this.#session ??= await this.#open());
      const empty = parts.every((part) => part.empty);
      await session.transaction(
        parts.map(({ claim }) => claim),
        batch.position,
        { durable: !empty, notify: `*:${batch.position}` },
        empty
          ? undefined
          : async () => {
              const written = await Promise.allSettled(parts.map((part) => part.write(session)));
              for (const result of written) if (result.status === 'rejected') throw result.reason;
            },
      );
    } catch (error) {
      this.logger?.warn({ err: error }, 'a transaction of several projections failed: each goes alone');
      if (!this.#session || this.#session.lost) {
        this.#session = undefined;
        this.#restUntil = performance.now() + REST_MS;
      }
      for (const part of parts) await part.confirm();
      return false;
    }
    for (const part of parts) part.done();
    return true;
  }

  async #open(): Promise<Session> {
    const session = await Session.open(this.url, 'group', { pipeline: true });
    if (this.#closed) await session.close();
    return session;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#session?.close();
  }
}
