import { z } from 'zod';
import { Listener, type Pool } from '#libs/postgres/index.js';
import type { Progress } from './types.js';

const CHANNEL = 'picturelock_progress';
/** Ten a second per topic. */
const EVERY_MS = 100;
const MAX_BYTES = 4_000;
const MAX_TOPIC = 300;

const message = z.object({ topic: z.string(), payload: z.unknown() });

/** Live values over NOTIFY: the newest of each topic, in batches. Postgres refuses more than 8,000 bytes in one. */
export class ProgressWire {
  private readonly waiting = new Map<string, string>();
  private timer: NodeJS.Timeout | undefined;
  private sending: Promise<void> = Promise.resolve();
  private readonly listeners = new Set<(progress: Progress) => void>();
  private listener: Listener | undefined;

  constructor(
    private readonly pool: Pool,
    private readonly databaseUrl: string,
    private readonly onError: (error: Error) => void,
  ) {}

  publish(topic: string, payload: unknown): void {
    const text = JSON.stringify({ topic, payload: payload ?? null });
    if (topic.length > MAX_TOPIC || Buffer.byteLength(text) > MAX_BYTES + MAX_TOPIC) {
      throw new RangeError(`Progress is at most ${MAX_BYTES} bytes of JSON under a topic of ${MAX_TOPIC} characters`);
    }
    this.waiting.set(topic, text);
    if (this.timer) return;
    // The first goes out at once, the next ones together.
    this.flush();
    this.schedule();
  }

  subscribe(callback: (progress: Progress) => void): () => void {
    this.listeners.add(callback);
    if (!this.listener) {
      this.listener = new Listener({
        url: this.databaseUrl,
        channels: [CHANNEL],
        applicationName: 'picturelock progress listener',
        tickMs: 60_000,
        onNotification: (_channel, text) => this.receive(text),
        onError: this.onError,
      });
      void this.listener.start();
    }
    return () => void this.listeners.delete(callback);
  }

  async close(): Promise<void> {
    clearTimeout(this.timer);
    this.flush();
    await this.sending;
    await this.listener?.stop();
  }

  private schedule(): void {
    this.timer = setTimeout(() => {
      this.timer = undefined;
      if (this.waiting.size === 0) return;
      this.flush();
      this.schedule();
    }, EVERY_MS);
    this.timer.unref();
  }

  private flush(): void {
    if (this.waiting.size === 0) return;
    // One batch at a time, and what cannot be sent is lost: newer values follow.
    this.sending = this.sending.then(async () => {
      const batch = [...this.waiting.values()];
      this.waiting.clear();
      if (batch.length === 0) return;
      await this.pool
        .query(`SELECT pg_notify('${CHANNEL}', text) FROM unnest($1::text[]) AS t (text)`, [batch])
        .catch(this.onError);
    });
  }

  private receive(text: string): void {
    let progress: Progress;
    try {
      progress = message.parse(JSON.parse(text)) as Progress;
    } catch {
      return; // not ours
    }
    for (const listener of this.listeners) listener(progress);
  }
}
