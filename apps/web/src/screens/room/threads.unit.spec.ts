import { ADA, annotation, comment, MIRA } from './fixtures.js';
import { buildThreads, drawingsAt, filterThreads, layersOf, orderThreads, placeOf } from './threads.js';

const ids = (threads: ReturnType<typeof buildThreads>) =>
  threads.map(({ root, answers }) => [root.id, ...answers.map(({ id }) => id)]);

describe('threads', () => {
  it('keep the order of creation, answers to answers in the same thread', () => {
    const list = [
      comment('a'),
      comment('b'),
      comment('a1', { parentId: 'a' }),
      comment('b1', { parentId: 'b' }),
      comment('a2', { parentId: 'a1' }),
    ];
    expect(ids(buildThreads(list))).toEqual([
      ['a', 'a1', 'a2'],
      ['b', 'b1'],
    ]);
  });

  it('show an answer whose parent is missing, and survive a circle', () => {
    expect(ids(buildThreads([comment('x', { parentId: 'gone' })]))).toEqual([['x']]);
    const circle = [comment('p', { parentId: 'q' }), comment('q', { parentId: 'p' })];
    expect(buildThreads(circle).length).toBeGreaterThan(0);
  });

  it('keep a deleted root only for its answers', () => {
    expect(ids(buildThreads([comment('a', { deleted: true })]))).toEqual([]);
    expect(ids(buildThreads([comment('a', { deleted: true }), comment('a1', { parentId: 'a' })]))).toEqual([
      ['a', 'a1'],
    ]);
    expect(ids(buildThreads([comment('a'), comment('a1', { parentId: 'a', deleted: true })]))).toEqual([['a']]);
  });

  it('are filtered and ordered', () => {
    const threads = buildThreads([
      comment('late', { range: { in: 90, out: 95 } }),
      comment('done', { range: { in: 5, out: 5 }, resolved: true, author: MIRA }),
      comment('whole', { author: MIRA }),
      comment('drawn', { annotations: [annotation('x', 'drawn', { range: { in: 40, out: 40 } })], author: MIRA }),
    ]);
    expect(ids(orderThreads(threads, 'timecode')).flat()).toEqual(['whole', 'done', 'drawn', 'late']);
    expect(ids(orderThreads(threads, 'newest')).flat()).toEqual(['drawn', 'whole', 'done', 'late']);
    expect(ids(filterThreads(threads, 'open', null)).flat()).toEqual(['late', 'whole', 'drawn']);
    expect(ids(filterThreads(threads, 'resolved', null)).flat()).toEqual(['done']);
    expect(ids(filterThreads(threads, 'mine', ADA.id)).flat()).toEqual(['late']);
    expect(ids(filterThreads(threads, 'drawings', null)).flat()).toEqual(['drawn']);
    expect(filterThreads(threads, 'all', null)).toHaveLength(4);
  });
});

describe('drawings on a frame', () => {
  const list = [
    comment('a', { annotations: [annotation('a1', 'a'), annotation('a2', 'a', { removed: true })] }),
    comment('b', { annotations: [annotation('b1', 'b', { author: MIRA, range: { in: 5, out: 20 } })], resolved: true }),
    comment('c', { annotations: [annotation('c1', 'c', { range: null })], range: { in: 30, out: 31 } }),
    comment('d', { annotations: [annotation('d1', 'd')], deleted: true }),
  ];
  const options = { still: false, showResolved: true };
  const at = (frame: number, hidden: string[] = [], showResolved = true) =>
    drawingsAt(list, frame, new Set(hidden), { ...options, showResolved }).map(({ id }) => id);

  it('are those whose range holds it, without removed and deleted ones', () => {
    expect(at(10)).toEqual(['a1', 'b1']);
    expect(at(11)).toEqual(['b1']);
    expect(at(20)).toEqual(['b1']);
    expect(at(21)).toEqual([]);
    expect(at(31)).toEqual(['c1']);
  });

  it('can be hidden by reviewer and when resolved', () => {
    expect(at(10, [MIRA.id])).toEqual(['a1']);
    expect(at(10, [], false)).toEqual(['a1']);
  });

  it('are all of them on a still', () => {
    expect(drawingsAt(list, 0, new Set(), { still: true, showResolved: true })).toHaveLength(3);
  });

  it('make one layer per reviewer', () => {
    expect(layersOf(list)).toEqual([
      { id: 'ada', name: 'Ada', count: 2 },
      { id: 'mira', name: 'Mira', count: 1 },
    ]);
  });

  it('place a comment that has no range of its own', () => {
    expect(placeOf(list[0]!)).toEqual({ in: 10, out: 10 });
    expect(placeOf(comment('e'))).toBeNull();
  });
});
