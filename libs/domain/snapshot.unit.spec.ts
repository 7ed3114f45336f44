import fc from 'fast-check';
import { definitions, type DomainEvent } from '#libs/events/catalogue/index.js';
import { deciders } from './index.js';
import { PersistentMap } from './persistentMap.js';
import { snapshots } from './snapshot.js';
import { plain } from './states.js';

type AnyDecider = {
  category: string;
  initialState: unknown;
  evolve(state: unknown, event: DomainEvent): unknown;
  snapshot?: ReturnType<typeof snapshots>;
};
const kept = (Object.values(deciders) as unknown as AnyDecider[]).filter(({ snapshot }) => snapshot);

it('are taken of what can grow long, and of nothing whose events hold what is personal', () => {
  expect(kept.map(({ category }) => category).sort()).toEqual(['deliverable', 'project', 'version', 'versionStack']);
  for (const { category } of kept)
    for (const { personal } of definitions.filter((d) => d.category === category)) expect(personal).toEqual({});
});

/** Histories of any events of a category about few things, so that they meet; what follows from them is not asked. */
const histories = (category: string) => {
  const of = definitions.filter((d) => d.category === category);
  const ids = [0, 1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`);
  const began = /Created|Opened|VersionUploaded/;
  return fc
    .array(fc.tuple(fc.constantFrom(...of), fc.constantFrom(...ids), fc.constantFrom(...ids)), { maxLength: 40 })
    .map((picked) =>
      [...of.filter(({ type }) => began.test(type)).map((d) => [d, ids[0]!, ids[0]!] as const), ...picked].map(
        ([{ type, example }, a, b]) => ({
          type,
          data: {
            ...example,
            ...('commentId' in example ? { commentId: a } : {}),
            ...('annotationId' in example ? { annotationId: b } : {}),
            ...('decisionId' in example ? { decisionId: a } : {}),
            ...('reviewerId' in example ? { reviewerId: b } : {}),
            ...('userId' in example ? { userId: a } : {}),
          },
        }),
      ),
    );
};

describe.each(kept.map((decider) => [decider.category, decider] as const))('a snapshot of %s', (category, decider) => {
  const { snapshot, evolve, initialState } = decider;
  const fold = (events: readonly DomainEvent[], from: unknown = initialState) => events.reduce(evolve, from);

  it('taken anywhere, and folded on, is the full fold', () => {
    fc.assert(
      fc.property(histories(category), fc.nat(45), (events, cut) => {
        const stored: unknown = JSON.parse(JSON.stringify(snapshot!.encode(fold(events.slice(0, cut)))));
        const resumed = fold(events.slice(cut), snapshot!.decode(stored));
        const whole = fold(events);
        expect(plain(resumed)).toEqual(plain(whole));
        // Kinds of maps and sets too, not only what is in them.
        expect(JSON.stringify(snapshot!.encode(resumed))).toBe(JSON.stringify(snapshot!.encode(whole)));
      }),
      { numRuns: 100 },
    );
  });
});

describe('the codec', () => {
  const { encode, decode } = snapshots(1);

  it('keeps maps, sets and lists apart, nested as they are', () => {
    const state = {
      persistent: new PersistentMap([['a', new Map([['b', new Set(['c'])]])]]),
      list: [null, true, 1.5, 'x', { y: [] }],
    };
    const back = decode(JSON.parse(JSON.stringify(encode(state)))) as typeof state;
    expect(back.persistent).toBeInstanceOf(PersistentMap);
    expect(back.persistent.get('a')).toEqual(new Map([['b', new Set(['c'])]]));
    expect(back.list).toEqual(state.list);
  });

  it('refuses what JSON would lose, rather than bring something else back', () => {
    for (const value of [{ a: undefined }, [Number.NaN], { d: new Date() }, 1n, { $kind: 'map', of: [] }])
      expect(() => encode(value)).toThrow(TypeError);
    expect(() => decode({ $kind: 'heap', of: [] })).toThrow(TypeError);
  });
});
