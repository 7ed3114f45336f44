import { appendRecentIds, BoundedMap, recentIdAt, UNKNOWN_STREAM } from './streams-cache.js';
import { type StoredEvent, Tail } from './tail.js';

const stored = (position: number, bytes = 10): StoredEvent => ({
  position,
  stream: 's',
  revision: position,
  type: 'T',
  frame: Buffer.alloc(bytes),
});

describe('Tail', () => {
  it('holds what came after the head it began at', () => {
    const tail = new Tail(5);
    expect(tail.covers(5)).toBe(true);
    expect(tail.covers(4)).toBe(false);
    tail.append([stored(6), stored(7), stored(9)]);
    expect(tail.after(5, 10, 1_000).map((e) => e.position)).toEqual([6, 7, 9]);
    expect(tail.after(6, 1, 1_000).map((e) => e.position)).toEqual([7]);
    expect(tail.after(8, 10, 1_000).map((e) => e.position)).toEqual([9]);
    expect(tail.after(9, 10, 1_000)).toEqual([]);
  });

  it('gives at least one event however large', () => {
    const tail = new Tail(0);
    tail.append([stored(1, 100), stored(2, 100)]);
    expect(tail.after(0, 10, 50)).toHaveLength(1);
  });

  it('stays within its bounds and knows what it dropped', () => {
    const tail = new Tail(0, 1_000, 5_000);
    for (let n = 1; n <= 20_000; n++) tail.append([stored(n)]);
    expect(tail.size).toBe(500);
    expect(tail.byteSize).toBe(5_000);
    expect(tail.covers(19_499)).toBe(false);
    expect(tail.covers(19_500)).toBe(true);
    expect(tail.after(19_500, 10_000, 1e9)).toHaveLength(500);
  });
});

describe('BoundedMap', () => {
  it('never holds more than its limit and keeps what is used', () => {
    const map = new BoundedMap<number>(100);
    map.set('busy', 1);
    for (let n = 0; n < 10_000; n++) {
      map.set(`k${n}`, n);
      expect(map.get('busy')).toBe(1);
      expect(map.size).toBeLessThanOrEqual(100);
    }
    expect(map.get('k9999')).toBe(9_999);
    expect(map.get('k0')).toBeUndefined();
    map.clear();
    expect(map.size).toBe(0);
  });
});

describe('recent ids', () => {
  it('are found by revision while they last', () => {
    const ids = Array.from({ length: 50 }, (_, n) => `id${n}`);
    const recentIds = appendRecentIds(ids.slice(0, 30), ids.slice(30));
    const state = { ...UNKNOWN_STREAM, lastRevision: 49, recentIds };
    expect(recentIdAt(state, 49)).toBe('id49');
    expect(recentIdAt(state, 18)).toBe('id18');
    expect(recentIdAt(state, 17)).toBeUndefined();
    expect(recentIdAt(state, 50)).toBeUndefined();
  });
});
