import fc from 'fast-check';
import { annotation, comment, decision, message, version } from './fixtures.js';
import {
  commentList,
  decisionList,
  EMPTY_ROOM,
  isAfter,
  type RoomAction,
  roomReducer,
  type RoomState,
  versionList,
} from './state.js';

const play = (...actions: RoomAction[]): RoomState => actions.reduce(roomReducer, EMPTY_ROOM);
const snapshot = (position: string): RoomAction => ({
  type: 'snapshot',
  position,
  entities: { currentVersionId: 'v1', versions: [version(1)] },
});
const opened: RoomAction = { type: 'opened', versionId: 'v1', entities: { comments: [comment('c1')], decisions: [] } };

describe('messages after a snapshot', () => {
  it('put their entities in place', () => {
    const state = play(snapshot('10'), opened, { type: 'message', message: message(11, { comment: comment('c2') }) });
    expect(commentList(state, 'v1').map(({ id }) => id)).toEqual(['c1', 'c2']);
    expect(state.position).toBe('11');
  });

  it('that were seen already change nothing: not at the snapshot’s position, not twice, not late', () => {
    const state = play(snapshot('10'), opened, { type: 'message', message: message(11, { comment: comment('c2') }) });
    for (const position of [9, 10, 11]) {
      const late = message(position, { comment: comment('c2', { text: 'old' }) });
      expect(roomReducer(state, { type: 'message', message: late })).toBe(state);
    }
  });

  it('are compared as numbers beyond 2^53', () => {
    expect(isAfter('9007199254740993', '9007199254740992')).toBe(true);
    expect(isAfter('9', '10')).toBe(false);
    expect(isAfter('0', null)).toBe(true);
  });

  it('come to the same state however often the line is cut and the tail sent again', () => {
    const messages = Array.from({ length: 12 }, (_, i) =>
      message(11 + i, { comment: comment(`c${i % 5}`, { text: `edit ${i}` }) }),
    );
    const whole = messages.reduce(
      (state, one) => roomReducer(state, { type: 'message', message: one }),
      play(snapshot('10')),
    );
    fc.assert(
      fc.property(fc.array(fc.nat(12), { maxLength: 6 }), (cuts) => {
        let state = play(snapshot('10'));
        // After a cut the server sends everything after a position at or before the last one seen.
        for (const cut of [...cuts, 12]) {
          const from = fc.sample(fc.nat(Number(state.position) - 10), 1)[0]!;
          for (const one of messages.slice(from, Math.max(from, cut)))
            state = roomReducer(state, { type: 'message', message: one });
        }
        expect(state).toEqual(whole);
      }),
    );
  });
});

describe('versions', () => {
  it('lock the one before as soon as a newer is current', () => {
    const state = play(snapshot('10'), {
      type: 'message',
      message: message(11, { stack: { id: 'stack', current: { id: 'v2' } }, version: version(2) }),
    });
    expect(versionList(state).map(({ number, status }) => [number, status])).toEqual([
      [2, 'CURRENT'],
      [1, 'LOCKED'],
    ]);
    expect(state.currentVersionId).toBe('v2');
  });

  it('keep a withdrawn one withdrawn when the older is current again', () => {
    const state = play(
      {
        type: 'snapshot',
        position: '10',
        entities: { currentVersionId: 'v2', versions: [version(1, { status: 'LOCKED' }), version(2)] },
      },
      {
        type: 'message',
        message: message(11, {
          version: version(2, { status: 'WITHDRAWN' }),
          stack: { id: 'stack', current: { id: 'v1' } },
        }),
      },
      { type: 'message', message: message(12, { version: version(1) }) },
    );
    expect(versionList(state).map(({ status }) => status)).toEqual(['WITHDRAWN', 'CURRENT']);
  });

  it('take fresh addresses without losing anything else', () => {
    const fresh = { ...version(1).media, hlsUrl: '/media/b' };
    const state = play(snapshot('10'), opened, { type: 'media', versionId: 'v1', media: fresh });
    expect(state.versions.get('v1')?.media.hlsUrl).toBe('/media/b');
    expect(state.comments.size).toBe(1);
    expect(roomReducer(state, { type: 'media', versionId: 'gone', media: fresh })).toBe(state);
  });
});

describe('drawings', () => {
  it('join their comment, once, and can go and come back', () => {
    const drawing = annotation('a1', 'c1');
    const at = (position: number, removed: boolean): RoomAction => ({
      type: 'message',
      message: message(position, { annotation: { ...drawing, removed } }),
    });
    const states = [play(snapshot('10'), opened, at(11, false))];
    states.push(roomReducer(states[0]!, at(12, true)));
    states.push(roomReducer(states[1]!, at(13, false)));
    expect(states.map((state) => state.comments.get('c1')!.annotations.map(({ removed }) => removed))).toEqual([
      [false],
      [true],
      [false],
    ]);
  });

  it('of a comment that isn’t here wait for it', () => {
    const state = play(snapshot('10'), {
      type: 'message',
      message: message(11, { annotation: annotation('a1', 'c9') }),
    });
    expect(state.comments.size).toBe(0);
  });
});

describe('an answer to a mutation', () => {
  const removed = annotation('a1', 'c1', { removed: true });
  const start = [
    snapshot('10'),
    opened,
    { type: 'message', message: message(11, { comment: comment('c1') }) },
  ] as const;
  const removedIn = (state: ReturnType<typeof play>) =>
    state.comments.get('c1')?.annotations.map(({ removed: gone }) => gone);

  it('shows at once what its message will tell', () => {
    const state = play(...start, { type: 'answered', position: '12', entities: { annotations: [removed] } });
    expect(removedIn(state)).toEqual([true]);
  });

  it('that comes after later messages changes nothing', () => {
    const state = play(
      ...start,
      { type: 'message', message: message(12, { annotation: removed }) },
      { type: 'message', message: message(13, { annotation: annotation('a1', 'c1') }) },
      { type: 'answered', position: '12', entities: { annotations: [removed] } },
    );
    expect(removedIn(state)).toEqual([false]);
  });
});

describe('decisions', () => {
  it('stand one per reviewer and version', () => {
    const state = play(
      snapshot('10'),
      opened,
      { type: 'message', message: message(11, { decision: decision('d1', { verdict: 'CHANGES_REQUESTED' }) }) },
      { type: 'message', message: message(12, { decision: decision('d2', { createdAt: '2026-01-02T00:00:00Z' }) }) },
      { type: 'message', message: message(13, { decision: decision('d3', { versionId: 'v2' }) }) },
    );
    expect(decisionList(state, 'v1').map(({ id, standing }) => [id, standing])).toEqual([
      ['d2', true],
      ['d1', false],
    ]);
    expect(decisionList(state, 'v2')).toHaveLength(1);
  });
});

it('opening a version replaces what was there of it, and nothing else', () => {
  const state = play(
    snapshot('10'),
    {
      type: 'answered',
      position: null,
      entities: { comments: [comment('stale'), comment('other', { versionId: 'v2' })] },
    },
    opened,
  );
  expect([...state.comments.keys()].sort()).toEqual(['c1', 'other']);
  expect(state.opened.has('v1')).toBe(true);
});
