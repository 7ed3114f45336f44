/**
 * The decision whether an append may be written, as the real server's storage writer takes it. Pure: what is known of
 * the stream comes in, a decision goes out.
 */

/** What the caller expects of the stream; a number is the exact revision of its last event. */
export type ExpectedRevision = 'any' | 'no_stream' | 'stream_exists' | number;

export type StreamHead = {
  /** Revision of the last event, -1 when there is none. */
  lastRevision: number;
  tombstoned: boolean;
  softDeleted: boolean;
  /** Revision of the last event of the metadata stream, -1 when there is none. */
  metaLastRevision: number;
};

export type KnownEvents = {
  /** Revision of a recently written event of this stream with this id. */
  recentRevisionOf(eventId: string): number | undefined;
  /** Id of this stream's event at this revision. */
  eventIdAt(revision: number): string | undefined;
};

export type CommitDecision =
  | { decision: 'ok'; softDeleted: boolean }
  | { decision: 'wrong_expected_revision'; current: number }
  | { decision: 'deleted' }
  | { decision: 'idempotent'; first: number; last: number };

/** The exact revision a keyword stands for when compared with the last revision. */
export function expectedNumber(expected: ExpectedRevision): number {
  switch (expected) {
    case 'no_stream':
      return -1;
    case 'any':
      return -2;
    case 'stream_exists':
      return -4;
    default:
      return expected;
  }
}

export function checkCommit(
  head: StreamHead,
  expected: ExpectedRevision,
  eventIds: readonly string[],
  known: KnownEvents,
): CommitDecision {
  const wrong: CommitDecision = { decision: 'wrong_expected_revision', current: head.lastRevision };
  if (head.tombstoned) return { decision: 'deleted' };

  if (expected === 'stream_exists') {
    if (head.softDeleted) return { decision: 'deleted' };
    if (head.lastRevision < 0 && head.metaLastRevision < 0) return wrong;
  }

  if (expected === 'any' || expected === 'stream_exists') {
    let first = -1;
    let last = -1;
    for (const [index, id] of eventIds.entries()) {
      const revision = known.recentRevisionOf(id);
      // All of them known means a repeat; none known means new; a mix is a different transaction and conflicts.
      if (revision === undefined) return index === 0 ? { decision: 'ok', softDeleted: head.softDeleted } : wrong;
      if (index === 0) first = revision;
      last = revision;
    }
    if (eventIds.length === 0) return { decision: 'ok', softDeleted: head.softDeleted };
    return { decision: 'idempotent', first, last };
  }

  const exact = expectedNumber(expected);
  if (exact > head.lastRevision) return wrong;
  if (exact === head.lastRevision) return { decision: 'ok', softDeleted: head.softDeleted };

  for (const [index, id] of eventIds.entries()) {
    if (known.eventIdAt(exact + 1 + index) === id) continue;
    if (index === 0 && expected === 'no_stream' && head.softDeleted) return { decision: 'ok', softDeleted: true };
    return wrong;
  }
  if (eventIds.length === 0) return wrong;
  return { decision: 'idempotent', first: exact + 1, last: exact + eventIds.length };
}

/**
 * What a transaction may expect beyond `checkCommit`: states of deleted streams, and streams that are checked without
 * being written to. Undefined where `checkCommit` decides.
 */
export function checkState(
  head: StreamHead,
  expected: ExpectedRevision | 'deleted' | 'tombstoned',
  written: boolean,
): { decision: 'ok'; softDeleted: boolean } | { decision: 'violation' } | undefined {
  const is = (met: boolean) =>
    met ? ({ decision: 'ok', softDeleted: head.softDeleted } as const) : ({ decision: 'violation' } as const);
  if (head.tombstoned) return is(!written && ['any', 'no_stream', 'tombstoned'].includes(expected as string));
  if (expected === 'tombstoned') return is(false);
  // A stream that isn't deleted may still hold the events of a repeat.
  if (expected === 'deleted') return written && !head.softDeleted ? undefined : is(head.softDeleted);
  if (!written && expected === 'no_stream' && head.softDeleted) return is(true);
  return undefined;
}
