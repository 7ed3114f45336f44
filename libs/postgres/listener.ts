import pg from 'pg';

export interface ListenerOptions {
  url: string;
  channels: string[];
  /** One NOTIFY. Only a hint that something changed: read the tables for what. */
  onNotification?: (channel: string, payload: string) => void;
  /** After the first and every later connection: whatever was notified in between is lost, so re-read. */
  onReconnect?: () => void | Promise<void>;
  /** At least once per `tickMs`, connected or not, never twice at a time: re-read what NOTIFY may have missed. */
  onTick?: () => void | Promise<void>;
  /** Default 1,000 ms. */
  tickMs?: number;
  /** Told about lost connections and about errors of the callbacks. */
  onError?: (error: Error) => void;
  applicationName?: string;
}

const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
/** A connection that looks open but whose other end is gone is found by asking. */
const PROBE_EVERY_MS = 10_000;

/** LISTEN on a connection of its own that reconnects for ever, plus a clock, because a NOTIFY can be lost. */
export class Listener {
  private client: pg.Client | undefined;
  private stopped = true;
  private tickTimer: NodeJS.Timeout | undefined;
  private wait: { timer: NodeJS.Timeout; wake: () => void } | undefined;
  private loop: Promise<void> = Promise.resolve();
  private ticking: Promise<void> = Promise.resolve();
  private firstConnection: { resolve: () => void } | undefined;

  constructor(private readonly options: ListenerOptions) {}

  /** True while LISTEN is in effect. */
  get connected(): boolean {
    return this.client !== undefined;
  }

  /** Resolves once listening for the first time (however long that takes) or stopped. */
  async start(): Promise<void> {
    if (!this.stopped) throw new Error('the listener is started already');
    this.stopped = false;
    const first = new Promise<void>((resolve) => (this.firstConnection = { resolve }));
    this.loop = this.run();
    this.scheduleTick();
    await first;
  }

  /** Ends the connection; no callback begins after this resolves. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.tickTimer);
    this.firstConnection?.resolve();
    this.wait?.wake();
    await this.client?.end().catch(() => undefined);
    await this.loop;
    await this.ticking;
  }

  private scheduleTick(): void {
    if (this.stopped) return;
    this.tickTimer = setTimeout(() => {
      this.ticking = this.call(this.options.onTick).then(() => this.scheduleTick());
    }, this.options.tickMs ?? 1_000);
  }

  private async call(callback: (() => void | Promise<void>) | undefined): Promise<void> {
    try {
      await callback?.();
    } catch (error) {
      this.options.onError?.(error as Error);
    }
  }

  private async run(): Promise<void> {
    let backoff = FIRST_BACKOFF_MS;
    while (!this.stopped) {
      try {
        await this.listen(() => (backoff = FIRST_BACKOFF_MS));
      } catch (error) {
        if (!this.stopped) this.options.onError?.(error as Error);
      }
      if (this.stopped) return;
      await this.pause(backoff * (0.5 + Math.random()));
      backoff = Math.min(backoff * 2, MAX_BACKOFF_MS);
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.wait = undefined;
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.wait = { timer, wake };
    });
  }

  /** One connection from LISTEN to its end. */
  private async listen(onListening: () => void): Promise<void> {
    const client = new pg.Client({
      connectionString: this.options.url,
      application_name: this.options.applicationName ?? 'picturelock listener',
      connectionTimeoutMillis: 10_000,
      query_timeout: 10_000,
      keepAlive: true,
    });
    const ended = new Promise<void>((resolve) => {
      client.on('error', (error) => {
        if (!this.stopped) this.options.onError?.(error);
        resolve();
      });
      client.on('end', () => resolve());
    });
    client.on('notification', ({ channel, payload }) => {
      if (!this.stopped) void this.call(() => this.options.onNotification?.(channel, payload ?? ''));
    });
    let probe: NodeJS.Timeout | undefined;
    try {
      await client.connect();
      for (const channel of this.options.channels) await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`);
      if (this.stopped) return;
      this.client = client;
      onListening();
      probe = setInterval(() => {
        client.query('SELECT 1').catch(() => client.end().catch(() => undefined));
      }, PROBE_EVERY_MS);
      await this.call(this.options.onReconnect);
      this.firstConnection?.resolve();
      await ended;
    } finally {
      this.client = undefined;
      clearInterval(probe);
      await client.end().catch(() => undefined);
    }
  }
}
