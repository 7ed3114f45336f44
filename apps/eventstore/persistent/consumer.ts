import type { Consumer } from '../core/consumer-strategies.js';
import type { Delivery } from '../core/persistent-group.js';
import type { ConnectionInfo } from '../protocol/persistent-messages.js';

/** Answer times a consumer is measured by. */
const MEASUREMENTS = 1_000;

/** A client that reads a persistent subscription: its slots, and what is known of its pace. */
export class ConnectedConsumer implements Consumer<Delivery> {
  freeSlots: number;
  private readonly inFlight = new Map<string, number>();
  private readonly answerTimes: number[] = [];
  private total = 0;
  private lastTotal = 0;

  constructor(
    private readonly who: { username: string; connectionName: string },
    private readonly slots: number,
    private readonly measured: boolean,
    private readonly deliver: (delivery: Delivery) => void,
    /** Tells the client that it is no consumer any more. */
    readonly drop: () => void,
  ) {
    this.freeSlots = slots;
  }

  push(delivery: Delivery): void {
    this.freeSlots--;
    this.total++;
    this.inFlight.set(delivery.id, performance.now());
    this.deliver(delivery);
  }

  settled(id: string): void {
    const since = this.inFlight.get(id);
    if (since === undefined) return;
    this.inFlight.delete(id);
    this.freeSlots = Math.min(this.slots, this.freeSlots + 1);
    if (!this.measured) return;
    this.answerTimes.push(Math.round(performance.now() - since));
    if (this.answerTimes.length > MEASUREMENTS) this.answerTimes.shift();
  }

  /** @param seconds since the last time */
  info(seconds: number): ConnectionInfo {
    const sinceLast = this.total - this.lastTotal;
    this.lastTotal = this.total;
    return {
      ...this.who,
      averagePerSecond: perSecond(sinceLast, seconds),
      total: this.total,
      sinceLast,
      freeSlots: this.freeSlots,
      inFlight: this.inFlight.size,
      measurements: measurementsOf(this.answerTimes),
    };
  }
}

export function perSecond(count: number, seconds: number): number {
  return seconds > 0 ? Math.trunc(count / seconds) : 0;
}

/** Milliseconds from delivery to answer, named as the real server names them. */
function measurementsOf(times: readonly number[]): [string, number][] {
  if (times.length === 0) return [];
  const sorted = [...times].sort((a, b) => a - b);
  const at = (percent: number) => sorted[Math.min(sorted.length - 1, Math.trunc((percent / 100) * sorted.length))]!;
  return [
    ['Mean', Math.trunc(sorted.reduce((sum, time) => sum + time, 0) / sorted.length)],
    ['Median', at(50)],
    ['Fastest', sorted[0]!],
    ...[0, 20, 40, 60, 80].map((percent, n): [string, number] => [`Quintile ${n + 1}`, at(percent)]),
    ...[90, 95, 99, 99.5, 99.9].map((percent): [string, number] => [`${percent}%`, at(percent)]),
    ['Highest', sorted.at(-1)!],
  ];
}
