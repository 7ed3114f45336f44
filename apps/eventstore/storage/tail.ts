import type { EventFrame } from '../protocol/frames.js';

/** An event as the server holds it in memory. */
export type StoredEvent = {
  position: number;
  stream: string;
  revision: number;
  type: string;
  frame: EventFrame;
};

/** Places of events in a link stream of the system projections, from a revision of it on. */
export type Links = { stream: string; revision: number; events: StoredEvent[] };

/**
 * The recent end of the log in memory, bounded by count and bytes. Whoever is close enough to the end reads from here;
 * whoever is not reads the table. That is all the buffering there is: a slow subscriber costs nothing but a number.
 */
export class Tail {
  private events: StoredEvent[] = [];
  /** Index of the oldest event still kept; what stands before it is cut off now and then. */
  private first = 0;
  private bytes = 0;
  /** Everything after this position is in memory. */
  private complete: number;

  constructor(
    head: number,
    private readonly maxEvents = 16_384,
    private readonly maxBytes = 32 * 1024 * 1024,
  ) {
    this.complete = head;
  }

  get size(): number {
    return this.events.length - this.first;
  }

  get byteSize(): number {
    return this.bytes;
  }

  append(events: readonly StoredEvent[]): void {
    for (const event of events) {
      this.events.push(event);
      this.bytes += event.frame.length;
    }
    while (this.size > 0 && (this.size > this.maxEvents || this.bytes > this.maxBytes)) {
      const dropped = this.events[this.first++]!;
      this.bytes -= dropped.frame.length;
      this.complete = dropped.position;
    }
    if (this.first > 4_096 && this.first > this.events.length / 2) {
      this.events = this.events.slice(this.first);
      this.first = 0;
    }
  }

  /** True when every event after `position` is here. */
  covers(position: number): boolean {
    return position >= this.complete;
  }

  /** Up to `limit` events after `position`, at most about `maxBytes`. Only when `covers(position)`. */
  after(position: number, limit: number, maxBytes: number): StoredEvent[] {
    let low = this.first;
    let high = this.events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.events[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    const page: StoredEvent[] = [];
    let bytes = 0;
    for (let i = low; i < this.events.length && page.length < limit && bytes < maxBytes; i++) {
      const event = this.events[i]!;
      page.push(event);
      bytes += event.frame.length;
    }
    return page;
  }
}
