import { checkCommit, expectedNumber, type ExpectedRevision, type StreamHead } from './expected-revision.js';

const head = (lastRevision: number, more: Partial<StreamHead> = {}): StreamHead => ({
  lastRevision,
  tombstoned: false,
  softDeleted: false,
  metaLastRevision: -1,
  ...more,
});

/** A stream that holds these ids from revision 0 on, the last `recent` of them in the recent cache. */
function holding(ids: string[], recent = ids.length) {
  const cached = new Map(ids.map((id, revision) => [id, revision] as const).slice(ids.length - recent));
  return { recentRevisionOf: (id: string) => cached.get(id), eventIdAt: (revision: number) => ids[revision] };
}

const ok = { decision: 'ok', softDeleted: false };
const wrong = (current: number) => ({ decision: 'wrong_expected_revision', current });
const repeat = (first: number, last: number) => ({ decision: 'idempotent', first, last });

describe('checkCommit', () => {
  it.each<[string, StreamHead, ExpectedRevision, string[], string[], object]>([
    // a new stream
    ['any on a new stream', head(-1), 'any', ['a'], [], ok],
    ['no_stream on a new stream', head(-1), 'no_stream', ['a'], [], ok],
    ['stream_exists on a new stream', head(-1), 'stream_exists', ['a'], [], wrong(-1)],
    ['an exact revision on a new stream', head(-1), 0, ['a'], [], wrong(-1)],
    ['stream_exists when only metadata exists', head(-1, { metaLastRevision: 0 }), 'stream_exists', ['a'], [], ok],
    // the matching revision is accepted without a look at the ids
    ['the last revision', head(1), 1, ['c'], ['a', 'b'], ok],
    ['the last revision with a known id', head(1), 1, ['a'], ['a', 'b'], ok],
    ['a revision to come', head(1), 2, ['c'], ['a', 'b'], wrong(1)],
    // an older revision succeeds only where the same ids stand
    ['a repeat of the first append', head(1), 'no_stream', ['a', 'b'], ['a', 'b'], repeat(0, 1)],
    ['a repeat of its beginning', head(1), 'no_stream', ['a'], ['a', 'b'], repeat(0, 0)],
    ['a repeat in the middle', head(2), 0, ['b'], ['a', 'b', 'c'], repeat(1, 1)],
    ['a repeat that goes on beyond the end', head(1), 0, ['b', 'x'], ['a', 'b'], wrong(1)],
    ['other ids at an older revision', head(1), 'no_stream', ['x'], ['a', 'b'], wrong(1)],
    ['the same ids at another revision', head(2), 0, ['c'], ['a', 'b', 'c'], wrong(2)],
    ['nothing to write at an older revision', head(1), 0, [], ['a', 'b'], wrong(1)],
    // any looks at recent ids only
    ['a repeat with any', head(1), 'any', ['a', 'b'], ['a', 'b'], repeat(0, 1)],
    ['a partly known append with any', head(1), 'any', ['a', 'x'], ['a', 'b'], wrong(1)],
    ['a new id before a known one with any', head(1), 'any', ['x', 'a'], ['a', 'b'], ok],
    ['a repeat with stream_exists', head(1), 'stream_exists', ['b'], ['a', 'b'], repeat(1, 1)],
    ['nothing to write with any', head(1), 'any', [], ['a', 'b'], ok],
    // deletion
    ['a tombstone', head(1, { tombstoned: true }), 'any', ['x'], [], { decision: 'deleted' }],
    [
      'stream_exists after a soft delete',
      head(1, { softDeleted: true }),
      'stream_exists',
      ['x'],
      [],
      { decision: 'deleted' },
    ],
    [
      'any after a soft delete',
      head(1, { softDeleted: true }),
      'any',
      ['x'],
      [],
      { decision: 'ok', softDeleted: true },
    ],
    [
      'no_stream after a soft delete',
      head(1, { softDeleted: true }),
      'no_stream',
      ['x'],
      ['a', 'b'],
      { decision: 'ok', softDeleted: true },
    ],
    [
      'the exact revision after a soft delete',
      head(1, { softDeleted: true }),
      1,
      ['x'],
      ['a', 'b'],
      { decision: 'ok', softDeleted: true },
    ],
    ['an older revision after a soft delete', head(1, { softDeleted: true }), 0, ['x'], ['a', 'b'], wrong(1)],
  ])('%s', (_name, stream, expected, ids, held, decision) => {
    expect(checkCommit(stream, expected, ids, holding(held))).toEqual(decision);
  });

  it('takes an id that fell out of the recent cache for new under any', () => {
    expect(checkCommit(head(2), 'any', ['a'], holding(['a', 'b', 'c'], 1))).toEqual(ok);
  });
});

describe('expectedNumber', () => {
  it('spells keywords as the protocol does', () => {
    expect((['no_stream', 'any', 'stream_exists', 7] as const).map(expectedNumber)).toEqual([-1, -2, -4, 7]);
  });
});
