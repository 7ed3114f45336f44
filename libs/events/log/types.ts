import type { DomainEvent, EventMetadata, RecordedEvent } from '../catalogue/index.js';

/** An event about to be written. Data is in the clear; the door validates and encrypts. */
export interface NewEvent<E extends DomainEvent = DomainEvent> {
  readonly id: string;
  readonly type: E['type'];
  readonly data: E['data'];
  readonly metadata: EventMetadata;
}

/** What must be true of the stream for an append to succeed; a bigint is the exact revision of its last event. */
export type ExpectedState = 'any' | 'no_stream' | 'stream_exists' | bigint;

export type AppendResult =
  | { readonly ok: true; readonly revision: bigint; readonly position: bigint }
  | { readonly ok: false; readonly conflict: true; readonly currentRevision: bigint | null };

/** A batch of matching events in log order, and how far the log has been read (≥ the last event's position). */
export interface EventBatch {
  readonly events: readonly RecordedEvent[];
  /** Everything at or before this commit position has been seen, also what did not match the filter. */
  readonly position: bigint;
  /** True when the subscription had caught up with the head when the batch was cut. */
  readonly live: boolean;
}

export interface SubscribeOptions {
  /** Exclusive; null reads from the start. */
  readonly after: bigint | null;
  /** Stream categories (`version` matches `version-…` only); filtered on the server. Default: all of the catalogue. */
  readonly categories?: readonly string[];
  /** Event types; filtered on the server, in place of categories. For who needs few of many events. */
  readonly types?: readonly string[];
  /** Largest batch, in events. */
  readonly maxBatch?: number;
  /**
   * While events keep coming, wait this long after a batch for more to join the next, milliseconds: many small
   * transactions cost more than few larger ones. The first event after a quiet moment never waits. Default 0.
   */
  readonly gatherMs?: number;
  /**
   * What becomes of an event that this build can't decode, as one of a newer Picturelock: `fail` (default) has the
   * subscription try again for ever; `deliver` hands it over without data, marked `unreadable`.
   */
  readonly unreadable?: 'fail' | 'deliver';
  /** Called one batch at a time; the next is gathered meanwhile, bounded. An error stops the subscription. */
  readonly onBatch: (batch: EventBatch) => Promise<void>;
  /** Told when the connection is lost and when it is back; the subscription resumes by itself with back-off. */
  readonly onConnection?: (state: 'connected' | 'lost', error?: unknown) => void;
  readonly signal?: AbortSignal;
}

export interface LogSubscription {
  /** Settles when the subscription ends: by `stop`, by the signal, or with the handler's error. */
  readonly done: Promise<void>;
  stop(): Promise<void>;
}

/** Encrypts and decrypts personal fields with a key per person. `undefined` means the key was destroyed. */
export interface PersonCipher {
  encrypt(personId: string, plaintext: string, aad: string): Promise<string>;
  decrypt(personId: string, ciphertext: string, aad: string): Promise<string | undefined>;
}

/** The one door to the event store. */
export interface EventLog {
  append(stream: string, events: readonly NewEvent[], expected: ExpectedState): Promise<AppendResult>;
  /** Forwards from `from` (inclusive revision). Empty when the stream does not exist. */
  readStream(stream: string, options?: { from?: bigint; limit?: number }): AsyncIterable<RecordedEvent>;
  /** Forwards through `$all` after a position, domain events only, up to the head at the time of the call. */
  readAll(options?: { after?: bigint | null; categories?: readonly string[] }): AsyncIterable<RecordedEvent>;
  subscribe(options: SubscribeOptions): LogSubscription;
  /** Commit position of the last event in the log, 0n when empty. */
  head(): Promise<bigint>;
  close(): Promise<void>;
}
