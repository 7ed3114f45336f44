import type { Logger } from 'pino';
import { PersistentGroup, type Delivery, type GroupPort, type Message } from '../core/persistent-group.js';
import {
  ALL,
  checkpointStream,
  filterOf,
  groupKey,
  parkedStream,
  parsePosition,
  positionText,
  type GroupDefinition,
} from '../core/persistent-settings.js';
import { firstReadableRevision, metadataStreamOf, SYSTEM_EVENT } from '../core/stream-metadata.js';
import { framesOf, mayHoldLinks } from '../protocol/links.js';
import { messageOf, parkedLink, readFrame, type GroupInfo } from '../protocol/persistent-messages.js';
import { resolved, type Outlet } from '../rpc/reads.js';
import { isRpcError } from '../rpc/status.js';
import { subscribeToAll, subscribeToStream } from '../rpc/subscriptions.js';
import type { EventLog } from '../storage/event-log.js';
import { perSecond, type ConnectedConsumer } from './consumer.js';

const RETRY_MS = 500;
const PARK_ATTEMPTS = 5;
const NOTHING = Buffer.alloc(0);
/** Pages of parked messages. */
const REPLAY_PAGE = 200;

/**
 * A persistent subscription at work. Its group is fed like any other subscriber, as far as it has room; where it
 * stands is kept in its checkpoint stream, what it gave up in its parked stream.
 */
export class RunningGroup implements GroupPort {
  readonly key: string;
  private group!: PersistentGroup;
  private readonly consumers = new Set<ConnectedConsumer>();
  private stopped = false;
  private faulted = false;
  private live = false;
  /** The source was brought to the group up to here. */
  private cursor: number | undefined;
  private lastKnown: number | undefined;
  private lastCheckpoint: number | undefined;
  private unwritten: number | undefined;
  private writing = false;
  private replaying = false;
  /** First parked message whose replay isn't settled. */
  private replayedFrom: number | undefined;
  private makeRoom = () => {};
  private endFeed = () => {};
  private lastInfo = { at: performance.now(), delivered: 0 };

  constructor(
    readonly definition: GroupDefinition,
    private readonly log: EventLog,
    private readonly logger: Logger,
  ) {
    this.key = groupKey(definition.source, definition.group);
  }

  /** Takes up where the checkpoint says. Throws what the database throws. */
  async start(): Promise<void> {
    const { settings, source, endAtCreation } = this.definition;
    const checkpoint = await this.readCheckpoint();
    this.lastCheckpoint = checkpoint;
    this.group = new PersistentGroup(settings, checkpoint, this, Date.now);
    const before = source === ALL ? 0 : -1;
    this.cursor =
      checkpoint ?? (settings.startFrom === 'end' ? endAtCreation : Math.max(before, settings.startFrom - 1));
    await this.resumeReplay();
    void this.feed();
  }

  private async readCheckpoint(): Promise<number | undefined> {
    const last = await this.log.last(checkpointStream(this.key));
    if (last?.type !== '$SubscriptionCheckpoint') return undefined;
    const position = parsePosition(String(JSON.parse(last.data.toString('utf8'))));
    return position === 'end' ? undefined : position;
  }

  private async feed(): Promise<void> {
    while (!this.stopped) {
      try {
        await this.follow();
      } catch (error) {
        if (isRpcError(error)) {
          this.fault(error.message);
          return;
        }
        this.logger.warn({ err: error, subscription: this.key }, 'a persistent subscription waits for its source');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  private follow(): Promise<void> {
    const { source, settings } = this.definition;
    const isStopped = () => this.stopped;
    const outlet: Outlet = {
      get cancelled() {
        return isStopped();
      },
      whenCancelled: (listener) => (this.endFeed = listener),
      send: (frames) => this.receive(frames),
    };
    const pageEvents = Math.max(1, settings.readBatchSize);
    const from = this.cursor ?? 'start';
    if (source === ALL) {
      // What the filter leaves out counts like what is done: it is told of after every batch.
      const checkpointInterval = 1;
      return subscribeToAll(this.log, { from, filter: filterOf(settings), checkpointInterval, pageEvents }, outlet);
    }
    const queueEvents = Math.max(1, settings.liveBufferSize);
    return subscribeToStream(this.log, source, from, outlet, { pageEvents, queueEvents, outlivesStream: true });
  }

  private async receive(frames: Buffer): Promise<void> {
    const { source, settings } = this.definition;
    const shown = settings.resolveLinks && mayHoldLinks(frames) ? await resolved(this.log, frames) : frames;
    if (this.stopped) return;
    let messages: Message[] = [];
    const hand = () => {
      if (messages.length > 0) this.group.receive(messages);
      messages = [];
    };
    for (const frame of framesOf(shown)) {
      const message = messageOf(frame, source);
      if (message !== undefined) {
        messages.push(message);
        this.lastKnown = message.position;
        this.cursor = message.position;
        continue;
      }
      const read = readFrame(frame);
      if (read !== undefined && 'checkpoint' in read) {
        hand();
        const passed = read.checkpoint - (this.cursor ?? 0);
        this.cursor = read.checkpoint;
        if (passed > 0) this.group.skipped(read.checkpoint, passed);
      } else if (frame[5] === CAUGHT_UP) this.live = true;
      else if (frame[5] === FELL_BEHIND) this.live = false;
    }
    hand();
    if (!this.group.hasRoom) await new Promise<void>((resolve) => (this.makeRoom = resolve));
  }

  room(): void {
    this.makeRoom();
  }

  /** The source can't be read any more. */
  private fault(reason: string): void {
    this.faulted = true;
    this.logger.error({ subscription: this.key, reason }, 'a persistent subscription has lost its source');
    this.dropAll();
  }

  get isFull(): boolean {
    return this.group.isFull;
  }

  connect(consumer: ConnectedConsumer): void {
    if (this.faulted) {
      consumer.drop();
      return;
    }
    this.consumers.add(consumer);
    this.group.connect(consumer);
  }

  disconnect(consumer: ConnectedConsumer): void {
    if (this.consumers.delete(consumer)) this.group.disconnect(consumer);
  }

  acknowledge(ids: readonly string[]): void {
    if (!this.stopped) this.group.acknowledge(ids);
  }

  refuse(ids: readonly string[], action: Parameters<PersistentGroup['refuse']>[1], reason: string): void {
    if (!this.stopped) this.group.refuse(ids, action, reason);
  }

  tick(): void {
    if (this.stopped) return;
    this.group.tick();
    if (this.unwritten !== undefined) void this.writeCheckpoint();
  }

  checkpoint(position: number): void {
    this.unwritten = position;
    void this.writeCheckpoint();
  }

  private async writeCheckpoint(): Promise<void> {
    if (this.writing || this.stopped) return;
    this.writing = true;
    const stream = checkpointStream(this.key);
    // A checkpoint that is due is written even if the next one is due before the stream is ready for the first.
    let due = this.unwritten;
    try {
      const { metadata } = await this.log.readableStream(stream);
      if (metadata.maxCount === undefined) await this.writeMetadata(stream, { $maxCount: 2 });
      for (; due !== undefined && !this.stopped; due = this.unwritten) {
        const position = due;
        const data = Buffer.from(JSON.stringify(positionText(this.definition.source, position)));
        const event = { type: '$SubscriptionCheckpoint', isJson: true, data, metadata: NOTHING };
        const { result } = await this.log.append(stream, event);
        // Tried again with the next tick.
        if (result !== 'written') break;
        this.lastCheckpoint = position;
        if (this.unwritten === position) this.unwritten = undefined;
      }
    } catch (error) {
      this.logger.warn({ err: error, subscription: this.key }, 'a checkpoint waits for the database');
    } finally {
      this.writing = false;
    }
  }

  private writeMetadata(stream: string, metadata: object) {
    const data = Buffer.from(JSON.stringify(metadata));
    return this.log.append(metadataStreamOf(stream), {
      type: SYSTEM_EVENT.metadata,
      isJson: true,
      data,
      metadata: NOTHING,
    });
  }

  park(delivery: Delivery, reason: string): void {
    const { data, revision } = parkedLink(delivery.frame);
    const metadata = { added: new Date().toISOString(), reason, subscriptionEventNumber: revision };
    const link = {
      type: '$>',
      isJson: false,
      data: Buffer.from(data),
      metadata: Buffer.from(JSON.stringify(metadata)),
    };
    const store = async () => {
      for (let attempt = 0; attempt < PARK_ATTEMPTS && !this.stopped; attempt++) {
        const { result } = await this.log.append(parkedStream(this.key), link);
        if (result === 'written') {
          this.group.parkStored(delivery.id);
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
      this.group.parkFailed(delivery.id);
    };
    void store();
  }

  private async parkedRange(): Promise<{ first: number; end: number }> {
    const { lastRevision, softDeleted, metadata } = await this.log.readableStream(parkedStream(this.key));
    if (softDeleted || lastRevision < 0) return { first: 0, end: 0 };
    return { first: firstReadableRevision(metadata, lastRevision), end: lastRevision + 1 };
  }

  /** Delivers parked messages again, up to `stopAt` (exclusive). */
  async replayParked(stopAt: number | undefined): Promise<void> {
    if (this.replaying) return;
    const { first, end } = await this.parkedRange();
    const stop = Math.min(stopAt ?? end, end);
    if (stop <= first) return;
    this.replaying = true;
    try {
      // Only when all of them are settled the note is taken away: should the server die before, it replays them.
      this.replayedFrom ??= first;
      await this.writeMetadata(parkedStream(this.key), { $tb: stop, replayedFrom: this.replayedFrom });
      await this.deliverParked(first, stop);
    } finally {
      this.replaying = false;
    }
    if (!this.group.isReplaying) this.replaySettled();
  }

  replaySettled(): void {
    void (async () => {
      if (this.replaying || this.stopped) return;
      const { metadata } = await this.log.readableStream(parkedStream(this.key));
      await this.writeMetadata(parkedStream(this.key), { $tb: metadata.truncateBefore });
      this.replayedFrom = undefined;
    })().catch((error: unknown) => this.logger.warn({ err: error, subscription: this.key }, 'a replay stays noted'));
  }

  private async resumeReplay(): Promise<void> {
    const { rawMetadata, softDeleted, metadata } = await this.log.readableStream(parkedStream(this.key));
    if (softDeleted || rawMetadata === undefined || typeof metadata.truncateBefore !== 'number') return;
    const { replayedFrom } = JSON.parse(rawMetadata.toString('utf8')) as { replayedFrom?: number };
    if (replayedFrom === undefined) return;
    this.replayedFrom = replayedFrom;
    await this.deliverParked(replayedFrom, metadata.truncateBefore);
    if (!this.group.isReplaying) this.replaySettled();
  }

  private async deliverParked(first: number, stop: number): Promise<void> {
    const stream = parkedStream(this.key);
    for (let from = first; from < stop;) {
      const page = await this.log.reader.stream('forwards', stream, from, stop - 1, REPLAY_PAGE, undefined);
      if (page.last === undefined) return;
      const frames = await resolved(this.log, page.frames);
      if (this.stopped) return;
      this.group.replay([...framesOf(frames)].flatMap((frame) => messageOf(frame, stream) ?? []));
      from = page.last + 1;
    }
  }

  async info(): Promise<GroupInfo> {
    const { definition, group } = this;
    const { source, settings } = definition;
    const { first, end } = await this.parkedRange();
    const now = performance.now();
    const seconds = (now - this.lastInfo.at) / 1_000;
    const sinceLast = group.delivered - this.lastInfo.delivered;
    this.lastInfo = { at: now, delivered: group.delivered };
    const counts = group.counts;
    const isLive = this.live && group.hasRoom;
    return {
      ...definition,
      startFrom: positionText(source, settings.startFrom),
      status: [isLive ? 'Live' : 'Behind', ...(this.replaying ? ['ReplayingParkedMessages'] : [])].join(', '),
      averagePerSecond: perSecond(sinceLast, seconds),
      total: group.delivered,
      sinceLast,
      lastCheckpoint: this.lastCheckpoint === undefined ? '' : positionText(source, this.lastCheckpoint),
      lastKnown: this.lastKnown === undefined ? '' : positionText(source, this.lastKnown),
      buffered: counts.buffered,
      live: isLive ? counts.buffered : 0,
      retrying: counts.retrying,
      outstanding: counts.outstanding,
      parked: end - first,
      connections: [...this.consumers].map((consumer) => consumer.info(seconds)),
    };
  }

  private dropAll(): void {
    for (const consumer of [...this.consumers]) {
      consumer.drop();
      this.disconnect(consumer);
    }
  }

  /** Ends the feed. Its consumers are told unless the server goes down with them. */
  stop(tell = true): void {
    this.stopped = true;
    this.makeRoom();
    this.endFeed();
    if (tell) this.dropAll();
  }

  async forget(): Promise<void> {
    for (const stream of [checkpointStream(this.key), parkedStream(this.key)]) await this.log.delete(stream);
  }
}

/** Tags of the messages of a subscription that are no events. */
const CAUGHT_UP = 0x42;
const FELL_BEHIND = 0x4a;
