import { Gauge, type Registry } from 'prom-client';
import type { EventLog } from '#libs/events/log/types.js';
import type { Projector } from './projector.js';

const STATES = ['waiting', 'leading', 'failed', 'stopped'] as const;

/** Registers what shows how far the projections are and how far behind. Read when scraped; nothing runs in between. */
export function registerMetrics(registers: Registry[], projector: Projector, log: EventLog): void {
  const labelNames = ['projection'] as const;
  const gauge = (name: string, help: string, collect: (this: Gauge<'projection'>) => void | Promise<void>): void =>
    void new Gauge({ name: `picturelock_projection_${name}`, help, labelNames, registers, collect });

  gauge('position', 'Log position up to which the rows are complete', function () {
    for (const { name, position } of projector.status()) this.set({ projection: name }, Number(position ?? -1n));
  });
  gauge('events_written', 'Events written since the start of the process', function () {
    for (const { name, events } of projector.status()) this.set({ projection: name }, events);
  });
  gauge('batches_written', 'Transactions committed since the start of the process', function () {
    for (const { name, batches } of projector.status()) this.set({ projection: name }, batches);
  });
  gauge('lag_positions', 'How far the rows are behind the end of the log, in log positions', async function () {
    const head = await log.head().catch(() => undefined);
    if (head === undefined) return;
    for (const { name, position } of projector.status())
      this.set({ projection: name }, Math.max(0, Number(head - (position ?? -1n))));
  });
  gauge(
    'lag_seconds',
    'Age of the last written event while there are later ones, in seconds; 0 at the end',
    async function () {
      const head = await log.head().catch(() => undefined);
      if (head === undefined) return;
      for (const { name, position, lastEventAt } of projector.status()) {
        const behind = (position ?? -1n) < head && lastEventAt !== undefined;
        this.set({ projection: name }, behind ? (Date.now() - lastEventAt.getTime()) / 1000 : 0);
      }
    },
  );
  new Gauge({
    name: 'picturelock_projection_state',
    help: 'State of the projection in this process: 1 for the one it is in',
    labelNames: ['projection', 'state'],
    registers,
    collect() {
      for (const { name, state } of projector.status())
        for (const each of STATES) this.set({ projection: name, state: each }, state === each ? 1 : 0);
    },
  });
}
