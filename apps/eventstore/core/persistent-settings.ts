/** Settings of a persistent subscription, and how they are kept in `$persistentSubscriptionConfig`. Pure. */
import { isConsumerStrategy, type ConsumerStrategyName } from './consumer-strategies.js';
import type { EventFilter } from './event-filter.js';
import { createFilter } from './event-filter.js';
import { mayExist } from './stream-metadata.js';

export type FilterExpression = { on: EventFilter['on']; regex: string; prefixes: readonly string[] };

export type GroupSettings = {
  resolveLinks: boolean;
  /** First revision (of `$all`: position) to deliver. */
  startFrom: number | 'end';
  /** Only for `$all`. */
  filter: FilterExpression | undefined;
  extraStatistics: boolean;
  /** Milliseconds; 0 is never. */
  messageTimeout: number;
  maxRetryCount: number;
  /** Milliseconds; 0 is never. */
  checkpointAfter: number;
  minCheckpointCount: number;
  maxCheckpointCount: number;
  /** 0 is any number. */
  maxSubscriberCount: number;
  liveBufferSize: number;
  readBatchSize: number;
  bufferSize: number;
  strategy: string;
};

export type GroupDefinition = {
  /** A stream's name or `$all`. */
  source: string;
  group: string;
  settings: GroupSettings;
  /** Where the source ended when the subscription was made; delivery begins after it when `startFrom` is `end`. */
  endAtCreation: number;
};

export const ALL = '$all';

/** Name of a subscription among all of them, and part of the names of its streams. */
export function groupKey(source: string, group: string): string {
  return `${source}::${group}`;
}

export function checkpointStream(key: string): string {
  return `$persistentsubscription-${key}-checkpoint`;
}

export function parkedStream(key: string): string {
  return `$persistentsubscription-${key}-parked`;
}

/** Names of the streams in which subscriptions to `$all` keep where they stand and what they gave up. */
export const HIDDEN_FROM_ALL = {
  prefix: `$persistentsubscription-${groupKey(ALL, '')}`,
  suffixes: ['-checkpoint', '-parked'],
} as const;

/** As on the real server no reader of `$all` sees them: a subscription to it would be fed with its own checkpoints for ever. */
export function isHiddenFromAll(stream: string): boolean {
  const { prefix, suffixes } = HIDDEN_FROM_ALL;
  return stream.startsWith(prefix) && suffixes.some((suffix) => stream.endsWith(suffix));
}

/** Why no subscription can have these names, or undefined. */
export function nameProblem({ source, group }: Pick<GroupDefinition, 'source' | 'group'>): string | undefined {
  const key = groupKey(source, group);
  if (!mayExist(key)) return 'Stream or group name contains a NUL character.';
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) return `Stream and group name are longer than ${MAX_KEY_BYTES} bytes.`;
  return undefined;
}

const MAX_KEY_BYTES = 2_000;

/** The real server's reason to refuse settings, or undefined. */
export function settingsProblem(definition: GroupDefinition, head: number): string | undefined {
  const { source, settings } = definition;
  if (source === '') return 'Bad stream name.';
  if (!isConsumerStrategy(settings.strategy)) return `Consumer strategy ${settings.strategy} does not exist.`;
  if (source === ALL && settings.startFrom !== 'end' && settings.startFrom > head)
    return 'Invalid Start From position: commit position must be less than or equal to the last commit position in the transaction file.';
  if (settings.readBatchSize >= settings.bufferSize)
    return "Specified argument was out of the range of valid values. (Parameter 'ReadBatchSize may not be greater than or equal to BufferSize')";
  return undefined;
}

export function strategyOf(settings: GroupSettings): ConsumerStrategyName {
  return isConsumerStrategy(settings.strategy) ? settings.strategy : 'RoundRobin';
}

/** A position as the protocol shows it: a revision, or `C:…/P:…` of `$all`. */
export function positionText(source: string, position: number | 'end'): string {
  const number = position === 'end' ? -1 : position;
  return source === ALL ? `C:${number}/P:${number}` : String(number);
}

export function parsePosition(text: string): number | 'end' {
  const number = Number(/^C:(-?\d+)\/P:/.exec(text)?.[1] ?? text);
  return number < 0 ? 'end' : number;
}

/** JSON of the configuration event, named as the real server names it. */
export function encodeConfiguration(definitions: Iterable<GroupDefinition>, updated: Date, updatedBy: string): Buffer {
  const entries = [...definitions].map(({ source, group, settings, endAtCreation }) => ({
    stream: source,
    group,
    ...(settings.filter && { filter: settings.filter }),
    resolveLinkTos: settings.resolveLinks,
    extraStatistics: settings.extraStatistics,
    messageTimeout: settings.messageTimeout,
    startPosition: positionText(source, settings.startFrom),
    endAtCreation,
    liveBufferSize: settings.liveBufferSize,
    historyBufferSize: settings.bufferSize,
    maxRetryCount: settings.maxRetryCount,
    readBatchSize: settings.readBatchSize,
    checkPointAfter: settings.checkpointAfter,
    minCheckPointCount: settings.minCheckpointCount,
    maxCheckPointCount: settings.maxCheckpointCount,
    maxSubscriberCount: settings.maxSubscriberCount,
    namedConsumerStrategy: settings.strategy,
  }));
  return Buffer.from(JSON.stringify({ version: '2', updated: updated.toISOString(), updatedBy, entries }));
}

type Entry = Record<string, unknown> & { stream: string; group: string; filter?: FilterExpression };

/** Throws when it isn't the JSON of `encodeConfiguration`. */
export function decodeConfiguration(data: Buffer): GroupDefinition[] {
  const { entries } = JSON.parse(data.toString('utf8')) as { entries: Entry[] };
  return entries.map((entry) => ({
    source: entry.stream,
    group: entry.group,
    endAtCreation: Number(entry.endAtCreation),
    settings: {
      resolveLinks: entry.resolveLinkTos === true,
      startFrom: parsePosition(String(entry.startPosition)),
      filter: entry.filter,
      extraStatistics: entry.extraStatistics === true,
      messageTimeout: Number(entry.messageTimeout),
      maxRetryCount: Number(entry.maxRetryCount),
      checkpointAfter: Number(entry.checkPointAfter),
      minCheckpointCount: Number(entry.minCheckPointCount),
      maxCheckpointCount: Number(entry.maxCheckPointCount),
      maxSubscriberCount: Number(entry.maxSubscriberCount),
      liveBufferSize: Number(entry.liveBufferSize),
      readBatchSize: Number(entry.readBatchSize),
      bufferSize: Number(entry.historyBufferSize),
      strategy: String(entry.namedConsumerStrategy),
    },
  }));
}

export function filterOf({ filter }: GroupSettings): EventFilter | undefined {
  return filter && createFilter(filter.on, filter.regex, filter.prefixes);
}
