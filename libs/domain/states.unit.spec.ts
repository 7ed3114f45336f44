import fc from 'fast-check';
import { PersistentMap } from './persistentMap.js';
import { changesBetween, plain, type Plain } from './states.js';

describe('a state as plain data', () => {
  it('has maps as objects and sets as lists, both sorted', () => {
    const state = {
      map: new Map([
        ['b', 1],
        ['a', 2],
      ]),
      persistent: new PersistentMap([['x', { deleted: false }]]),
      set: new Set(['z', 'y']),
      none: null,
    };
    expect(JSON.stringify(plain(state))).toBe(
      '{"map":{"a":2,"b":1},"none":null,"persistent":{"x":{"deleted":false}},"set":["y","z"]}',
    );
    expect(plain(null)).toBeNull();
  });
});

describe('what differs', () => {
  it('is told with the path, the old value and the new', () => {
    const comments = new PersistentMap([
      ['c1', { text: 'Too dark', resolved: false }],
      ['c2', { text: 'Fine', resolved: false }],
    ]);
    const before = { closed: null, comments, members: new Set(['ada']), stages: [{ stageId: 's1', state: 'READY' }] };
    const after = {
      closed: { reason: 'SUPERSEDED' },
      comments: comments.set('c1', { text: 'Too dark', resolved: true }),
      members: new Set(['ada', 'brin']),
      stages: [
        { stageId: 's0', state: 'READY' },
        { stageId: 's1', state: 'DONE' },
      ],
    };
    expect(changesBetween(before, after)).toEqual([
      { path: 'closed', old: null, new: { reason: 'SUPERSEDED' } },
      { path: 'comments.c1.resolved', old: false, new: true },
      { path: 'members', old: ['ada'], new: ['ada', 'brin'] },
      { path: 'stages.s0', old: null, new: { stageId: 's0', state: 'READY' } },
      { path: 'stages.s1.state', old: 'READY', new: 'DONE' },
    ]);
  });

  it('of a state that begins is each of its fields', () => {
    expect(changesBetween(null, { name: 'Harbour', members: new Set() })).toEqual([
      { path: 'members', old: null, new: [] },
      { path: 'name', old: null, new: 'Harbour' },
    ]);
  });

  const key = fc.constantFrom('a', 'b', 'c');
  const value = fc.letrec<{ value: Plain; object: Plain }>((tie) => ({
    value: fc.oneof({ depthSize: 'small' }, fc.constantFrom(null, true, 1, 'x', ['x', 'y']), tie('object')),
    object: fc.dictionary(key, tie('value'), { noNullPrototype: true }),
  }));
  /** Puts the new values in: what it yields must be the second state. */
  const apply = (state: Plain, changes: ReturnType<typeof changesBetween>): Plain => {
    const copy = structuredClone(state) as Record<string, Plain>;
    for (const { path, new: now } of changes) {
      const keys = path.split('.');
      let at = copy;
      for (const part of keys.slice(0, -1)) at = (at[part] ??= {}) as Record<string, Plain>;
      at[keys.at(-1)!] = now;
    }
    return copy;
  };
  /** What is null and what is not there say the same. */
  const bare = (state: Plain): Plain =>
    typeof state === 'object' && state !== null && !Array.isArray(state)
      ? Object.fromEntries(
          Object.entries(state)
            .map(([k, v]) => [k, bare(v)] as const)
            .filter(([, v]) => v !== null)
            .sort(([a], [b]) => (a < b ? -1 : 1)),
        )
      : state;

  it('turns the one into the other, and of two equal ones is nothing', () => {
    fc.assert(
      fc.property(value.object, value.object, (before, after) => {
        expect(changesBetween(before, structuredClone(before))).toEqual([]);
        expect(bare(apply(before, changesBetween(before, after)))).toEqual(bare(after));
      }),
      { numRuns: 300 },
    );
  });
});
