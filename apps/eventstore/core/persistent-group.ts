/**
 * A persistent subscription in memory: what waits, what is with consumers, what is to be tried again, and how far
 * everything is done. No I/O and no clock of its own: messages, answers and ticks come in, effects go out by the port.
 */
import { createStrategy, type Consumer, type ConsumerStrategy, type Routable } from './consumer-strategies.js';
import { strategyOf, type GroupSettings } from './persistent-settings.js';

export type Message = Routable & {
  /** Id consumers answer with: the link's for a link, else the event's. */
  id: string;
  /** Revision (of `$all`: position) in the source. */
  position: number;
  frame: Buffer;
};

export type Delivery = Message & {
  retryCount: number;
  /** Comes from the parked messages: has no place in the source's order. */
  replayed: boolean;
  /** Counts what the source brought, from 0 (from 1 after a checkpoint). */
  sequence: number;
  /** Position of what the source brought before it. */
  previous: number | undefined;
};

/** Events that were filtered out, the first of which has the sequence; done as soon as everything before them is. */
type Gap = { gap: true; sequence: number; previous: number | undefined };

export type NackAction = 'retry' | 'park' | 'skip' | 'stop';

export type GroupPort = {
  /** Everything up to this position is done and is to be stored. */
  checkpoint(position: number): void;
  /** Store the message among the parked ones; the answer comes by `parkStored` or `parkFailed`. */
  park(message: Delivery, reason: string): void;
  /** There is room again for what the source brings. */
  room(): void;
  /** Every message that was replayed is acknowledged, skipped or parked again. */
  replaySettled(): void;
};

export class PersistentGroup {
  private readonly strategy: ConsumerStrategy<Delivery>;
  private readonly consumers = new Set<Consumer<Delivery>>();
  private readonly buffer: (Delivery | Gap)[] = [];
  private readonly retry: Delivery[] = [];
  private readonly outstanding = new Map<
    string,
    { delivery: Delivery; consumer: Consumer<Delivery>; expires: number }
  >();
  private readonly parking = new Map<string, Delivery>();
  private readonly replaying = new Set<string>();
  private nextSequence: number;
  private lastQueued: number | undefined;
  private checkpointedSequence: number;
  private checkpointedAt = 0;
  /** Messages sent to consumers, repeats included. */
  delivered = 0;

  /** @param checkpoint position up to which everything was done before, if any */
  constructor(
    private readonly settings: GroupSettings,
    checkpoint: number | undefined,
    private readonly port: GroupPort,
    private readonly clock: () => number,
  ) {
    this.strategy = createStrategy(strategyOf(settings));
    this.lastQueued = checkpoint;
    this.nextSequence = checkpoint === undefined ? 0 : 1;
    this.checkpointedSequence = this.nextSequence - 1;
  }

  get counts() {
    return {
      buffered: this.buffer.length,
      retrying: this.retry.length,
      outstanding: this.outstanding.size,
      consumers: this.consumers.size,
    };
  }

  /** True when the source may bring another batch. */
  get hasRoom(): boolean {
    return this.settings.bufferSize - this.buffer.length - this.retry.length > this.settings.readBatchSize;
  }

  get isFull(): boolean {
    return this.settings.maxSubscriberCount !== 0 && this.consumers.size >= this.settings.maxSubscriberCount;
  }

  /** Takes what the source brings, in order. */
  receive(messages: readonly Message[]): void {
    for (const message of messages) {
      this.buffer.push({ ...message, retryCount: 0, replayed: false, ...this.place(message.position) });
    }
    this.pump();
  }

  /** Events up to `position` didn't match the filter. */
  skipped(position: number, count: number): void {
    const last = this.buffer.at(-1);
    const gap = { gap: true as const, ...this.place(position) };
    this.nextSequence += count - 1;
    if (last === undefined || !('gap' in last)) this.buffer.push(gap);
    this.pump();
    this.tryCheckpoint(false);
  }

  private place(position: number) {
    const place = { sequence: this.nextSequence, previous: this.lastQueued };
    this.nextSequence++;
    this.lastQueued = position;
    return place;
  }

  /** Parked messages are to be delivered once more, after what is tried again. */
  replay(messages: readonly Message[]): void {
    for (const message of messages) {
      this.replaying.add(message.id);
      this.retry.push({ ...message, retryCount: 0, replayed: true, sequence: -1, previous: undefined });
    }
    this.pump();
  }

  /** True while a replayed message isn't settled. */
  get isReplaying(): boolean {
    return this.replaying.size > 0;
  }

  connect(consumer: Consumer<Delivery>): void {
    this.consumers.add(consumer);
    this.strategy.added(consumer);
    this.pump();
  }

  /** What the consumer hadn't answered is tried again with the others. */
  disconnect(consumer: Consumer<Delivery>): void {
    if (!this.consumers.delete(consumer)) return;
    this.strategy.removed(consumer);
    for (const { delivery, consumer: holder } of [...this.outstanding.values()]) {
      if (holder !== consumer) continue;
      this.outstanding.delete(delivery.id);
      this.tryAgain(delivery);
    }
    this.pump();
  }

  acknowledge(ids: readonly string[]): void {
    for (const id of ids) {
      if (this.take(id)) this.replayDone(id);
    }
    this.proceed();
  }

  refuse(ids: readonly string[], action: NackAction, reason: string): void {
    for (const id of ids) {
      const delivery = this.take(id);
      if (delivery === undefined) continue;
      if (action === 'park') this.park(delivery, `Client explicitly NAK'ed message.\n${reason}`);
      else if (action === 'retry') this.tryAgainOrPark(delivery);
      else this.replayDone(id);
    }
    this.proceed();
  }

  parkStored(id: string): void {
    if (!this.parking.delete(id)) return;
    this.replayDone(id);
    this.proceed();
  }

  /** The message couldn't be stored and must not be lost. */
  parkFailed(id: string): void {
    const delivery = this.parking.get(id);
    if (delivery === undefined) return;
    this.parking.delete(id);
    this.tryAgain(delivery);
    this.pump();
  }

  /** Time passes: messages time out, checkpoints fall due. */
  tick(): void {
    const now = this.clock();
    // All wait equally long, so they time out in the order they were sent.
    for (const [id, { expires }] of this.outstanding) {
      if (expires > now) break;
      this.tryAgainOrPark(this.take(id)!);
    }
    this.pump();
    this.tryCheckpoint(true);
  }

  private proceed(): void {
    this.tryCheckpoint(false);
    this.pump();
  }

  private take(id: string): Delivery | undefined {
    const entry = this.outstanding.get(id);
    if (entry === undefined) return undefined;
    this.outstanding.delete(id);
    this.strategy.settled(entry.consumer, entry.delivery);
    entry.consumer.settled(id);
    return entry.delivery;
  }

  private tryAgainOrPark(delivery: Delivery): void {
    if (delivery.retryCount < this.settings.maxRetryCount) this.tryAgain(delivery);
    else this.park(delivery, `Reached retry count of ${this.settings.maxRetryCount}`);
  }

  private park(delivery: Delivery, reason: string): void {
    this.parking.set(delivery.id, delivery);
    this.port.park(delivery, reason);
  }

  /** In the order of the source; replayed messages come last. */
  private tryAgain(delivery: Delivery): void {
    const again = { ...delivery, retryCount: delivery.retryCount + 1 };
    const later = delivery.replayed
      ? -1
      : this.retry.findIndex((other) => other.replayed || other.position > delivery.position);
    if (later < 0) this.retry.push(again);
    else this.retry.splice(later, 0, again);
  }

  private replayDone(id: string): void {
    if (this.replaying.delete(id) && !this.isReplaying) this.port.replaySettled();
  }

  /** Sends as much as consumers take. */
  private pump(): void {
    const wasFull = !this.hasRoom;
    const open = this.drain(this.retry, this.consumers.size > 0);
    this.drain(this.buffer, open);
    if (wasFull && this.hasRoom) this.port.room();
  }

  /** False when nobody takes anything any more. */
  private drain(list: (Delivery | Gap)[], open: boolean): boolean {
    const waiting: (Delivery | Gap)[] = [];
    let at = 0;
    for (; at < list.length; at++) {
      const entry = list[at]!;
      if ('gap' in entry) {
        if (waiting.length > 0) waiting.push(entry);
        continue;
      }
      if (!open) break;
      // Of two messages with one id the second waits for the first: answers couldn't tell them apart.
      const result = this.isHeld(entry.id) ? 'skipped' : this.strategy.push(entry);
      if (result === 'full') {
        open = false;
        break;
      }
      if (result === 'skipped') {
        waiting.push(entry);
        continue;
      }
      this.delivered++;
      const { messageTimeout } = this.settings;
      const expires = messageTimeout === 0 ? Infinity : this.clock() + messageTimeout;
      this.outstanding.set(entry.id, { delivery: entry, consumer: result.sentTo, expires });
    }
    if (at > waiting.length) list.splice(0, at, ...waiting);
    return open;
  }

  private isHeld(id: string): boolean {
    return this.outstanding.has(id) || this.parking.has(id);
  }

  /** Stores how far everything is done, when enough is done or, by the clock, long enough has passed. */
  private tryCheckpoint(byClock: boolean): void {
    const { minCheckpointCount, maxCheckpointCount, checkpointAfter } = this.settings;
    const mostDone = this.nextSequence - 1 - this.checkpointedSequence;
    if (mostDone < (byClock ? Math.min(minCheckpointCount, maxCheckpointCount) : maxCheckpointCount)) return;
    const lowest = this.lowestUndone();
    const sequence = (lowest?.sequence ?? this.nextSequence) - 1;
    const position = lowest === undefined ? this.lastQueued : lowest.previous;
    if (position === undefined) return;
    const done = sequence - this.checkpointedSequence;
    const now = this.clock();
    const due = checkpointAfter !== 0 && now - this.checkpointedAt >= checkpointAfter;
    if (done <= 0 || (done < maxCheckpointCount && !(byClock && due && done >= minCheckpointCount))) return;
    this.checkpointedAt = now;
    this.checkpointedSequence = sequence;
    this.port.checkpoint(position);
  }

  private lowestUndone(): Delivery | Gap | undefined {
    let lowest: Delivery | Gap | undefined = this.buffer[0];
    const consider = (delivery: Delivery) => {
      if (!delivery.replayed && (lowest === undefined || delivery.sequence < lowest.sequence)) lowest = delivery;
    };
    for (const { delivery } of this.outstanding.values()) consider(delivery);
    for (const delivery of this.parking.values()) consider(delivery);
    // Sorted, replayed ones last.
    if (this.retry[0] !== undefined) consider(this.retry[0]);
    return lowest;
  }
}
