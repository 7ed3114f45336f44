import { Gauge, type Registry } from 'prom-client';
import type { Jobs } from '#libs/jobs/index.js';
import { countParked, READ_MODELS } from '#libs/read-models/index.js';
import type { Logger } from '#libs/runtime/index.js';
import type { ReadStore } from '../platform/read-store.js';

const LOOK_MS = 5_000;
/** An alarm that stands is said again this often. */
const AGAIN_MS = 10 * 60_000;
const GUARDS = READ_MODELS.filter(({ grantsAccess }) => grantsAccess).map(({ name }) => name);

/** Parked and waiting events, of all and of the projections that say who may see what. */
export async function parkedNow(pool: ReadStore['pool']): Promise<{ parked: number; access: number }> {
  const states = ['PARKED', 'WAITING', 'STOPPED'] as const;
  const [parked, ...guards] = await Promise.all([
    countParked(pool, { states }),
    // A rebuild that stopped leaves what is read as it was.
    ...GUARDS.map((projection) => countParked(pool, { projection, states: ['PARKED', 'WAITING'] })),
  ]);
  return { parked, access: guards.reduce((sum, n) => sum + n, 0) };
}

/**
 * Watches for what must not wait until somebody looks at the console: an event that is parked in a projection that says
 * who may see what means that somebody may see what they no longer should.
 */
export class Alarms {
  #access = 0;
  #reactions: ReadonlyMap<string, number> = new Map();
  #saidAt = -Infinity;
  readonly #timer: NodeJS.Timeout;

  constructor(
    private readonly store: Pick<ReadStore, 'pool'>,
    private readonly jobs: Pick<Jobs, 'parked'>,
    private readonly logger: Logger,
    metrics: Registry,
  ) {
    new Gauge({
      name: 'picturelock_access_events_parked',
      help: 'Events parked in projections that say who may see what: access may be stale while it is not 0',
      registers: [metrics],
      collect: async function (this: Gauge) {
        this.set((await parkedNow(store.pool)).access);
      },
    });
    new Gauge({
      name: 'picturelock_reaction_events_parked',
      help: 'Events that a reaction has parked, or that wait for a parked one',
      labelNames: ['reaction'],
      registers: [metrics],
      collect: async function (this: Gauge) {
        this.reset();
        for (const [reaction, n] of await jobs.parked.counts()) this.set({ reaction }, n);
      },
    });
    this.#timer = setInterval(() => void this.#look(), LOOK_MS);
    this.#timer.unref();
    void this.#look();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** What stands, in words; for health and the console. */
  standing(): string[] {
    return [
      ...(this.#access > 0
        ? [`${this.#access} events are parked in ${GUARDS.join(' or ')}: who may see what may be stale`]
        : []),
      ...[...this.#reactions].map(([name, n]) => `${n} events are parked or wait in the reaction ${name}`),
    ];
  }

  async #look(): Promise<void> {
    try {
      const before = this.#access;
      this.#access = (await parkedNow(this.store.pool)).access;
      this.#reactions = await this.jobs.parked.counts();
      const again = performance.now() - this.#saidAt > AGAIN_MS;
      if (this.#access > 0 && (this.#access !== before || again)) {
        this.#saidAt = performance.now();
        this.logger.error(
          { events: this.#access, projections: GUARDS },
          'ALARM: parked events guard access, which may be stale: `picturelock parked`',
        );
      } else if (this.#access === 0 && before > 0) this.logger.info('no parked event guards access any more');
    } catch {
      // The databases are away, or the projector has made no tables yet: others say so.
    }
  }
}
