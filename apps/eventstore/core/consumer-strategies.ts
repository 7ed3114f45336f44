/** Which consumer of a persistent subscription gets a message. Decisions in memory, no I/O. */

export type ConsumerStrategyName = 'DispatchToSingle' | 'RoundRobin' | 'Pinned' | 'PinnedByCorrelation';

const NAMES: readonly string[] = ['DispatchToSingle', 'RoundRobin', 'Pinned', 'PinnedByCorrelation'];

export function isConsumerStrategy(name: string): name is ConsumerStrategyName {
  return NAMES.includes(name);
}

/** What a strategy needs to know of a message. */
export type Routable = {
  /** Stream of the event; of an unresolved link, the stream it points at. */
  stream: string;
  /** Metadata of the event as written. */
  metadata: Buffer;
};

export interface Consumer<M> {
  /** Messages it may take before it has confirmed some. */
  readonly freeSlots: number;
  push(message: M): void;
  /** The message with this id needs its slot no more. */
  settled(id: string): void;
}

/** `skipped`: this message waits, others may be sent; `full`: nobody takes anything now. */
export type PushResult<M> = { sentTo: Consumer<M> } | 'skipped' | 'full';

export interface ConsumerStrategy<M> {
  added(consumer: Consumer<M>): void;
  removed(consumer: Consumer<M>): void;
  push(message: M): PushResult<M>;
  /** A message that was sent to the consumer is acknowledged, refused or timed out. */
  settled(consumer: Consumer<M>, message: M): void;
}

export function createStrategy<M extends Routable>(name: ConsumerStrategyName): ConsumerStrategy<M> {
  switch (name) {
    case 'RoundRobin':
      return new Taking<M>(true);
    case 'DispatchToSingle':
      return new Taking<M>(false);
    case 'Pinned':
      return new Pinned<M>((message) => message.stream);
    case 'PinnedByCorrelation':
      return new Pinned<M>((message) => correlationId(message.metadata) ?? message.stream);
  }
}

/** Round robin moves on after every message, dispatch to single only when the consumer is full. */
class Taking<M> implements ConsumerStrategy<M> {
  private queue: Consumer<M>[] = [];

  constructor(private readonly inTurn: boolean) {}

  added(consumer: Consumer<M>): void {
    this.queue.push(consumer);
  }

  removed(consumer: Consumer<M>): void {
    this.queue = this.queue.filter((other) => other !== consumer);
  }

  push(message: M): PushResult<M> {
    for (let n = this.queue.length; n > 0; n--) {
      const consumer = this.queue[0]!;
      const free = consumer.freeSlots > 0;
      if (!free || this.inTurn) this.queue.push(this.queue.shift()!);
      if (!free) continue;
      consumer.push(message);
      return { sentTo: consumer };
    }
    return 'full';
  }

  settled(): void {}
}

const BUCKETS = 1024;

/** Messages of one stream (or correlation) go to one consumer as long as it is there. */
class Pinned<M> implements ConsumerStrategy<M> {
  private readonly consumers = new Set<Consumer<M>>();
  private readonly buckets: { consumer: Consumer<M> | undefined; inFlight: number }[] = Array.from(
    { length: BUCKETS },
    () => ({ consumer: undefined, inFlight: 0 }),
  );

  constructor(private readonly subject: (message: M) => string) {}

  private bucketsOf(consumer: Consumer<M>) {
    return this.buckets.filter((bucket) => bucket.consumer === consumer);
  }

  /** The new one takes over what the others have too much of, idle buckets first. */
  added(consumer: Consumer<M>): void {
    const assigned = this.buckets.filter((bucket) => bucket.consumer !== undefined).length;
    const share = Math.ceil(assigned / (this.consumers.size + 1));
    for (const other of this.consumers) {
      const own = this.bucketsOf(other).sort((a, b) => a.inFlight - b.inFlight);
      for (const bucket of own.slice(0, Math.max(0, own.length - share))) {
        bucket.consumer = consumer;
        bucket.inFlight = 0;
      }
    }
    this.consumers.add(consumer);
  }

  removed(consumer: Consumer<M>): void {
    this.consumers.delete(consumer);
    for (const bucket of this.bucketsOf(consumer)) {
      bucket.consumer = undefined;
      bucket.inFlight = 0;
    }
  }

  push(message: M): PushResult<M> {
    if (![...this.consumers].some((consumer) => consumer.freeSlots > 0)) return 'full';
    const bucket = this.bucketOf(message);
    const consumer = (bucket.consumer ??= this.leastAssigned());
    if (consumer.freeSlots <= 0) return 'skipped';
    bucket.inFlight++;
    consumer.push(message);
    return { sentTo: consumer };
  }

  settled(consumer: Consumer<M>, message: M): void {
    const bucket = this.bucketOf(message);
    if (bucket.consumer === consumer && bucket.inFlight > 0) bucket.inFlight--;
  }

  private bucketOf(message: M) {
    return this.buckets[hash(this.subject(message)) % BUCKETS]!;
  }

  private leastAssigned(): Consumer<M> {
    const counted = [...this.consumers].map((consumer) => ({ consumer, count: this.bucketsOf(consumer).length }));
    return counted.reduce((least, other) => (other.count < least.count ? other : least)).consumer;
  }
}

/** FNV-1a, 32 bits. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}

function correlationId(metadata: Buffer): string | undefined {
  if (metadata.length === 0) return undefined;
  try {
    const parsed = JSON.parse(metadata.toString('utf8')) as Record<string, unknown> | null;
    const id = parsed?.$correlationId;
    return typeof id === 'string' ? id : undefined;
  } catch {
    return undefined;
  }
}
