import fc from 'fast-check';
import { uuidFromBits } from '../protocol/uuid.js';
import { RecentIds } from './recent-ids.js';
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

describe('RecentIds', () => {
  const id = (n: number) => uuidFromBits(0n, BigInt(n));

  it('knows where the last ids stand, as a map of them would', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.uuid(), fc.nat(3)), { maxLength: 60 }), fc.nat(7), (written, shared) => {
        const ids = new RecentIds(200);
        const model = new Map<string, { stream: string; revision: number; position: number }>();
        for (const [n, [uuid, place]] of written.entries()) {
          // Some come twice; the first one counts.
          const name = n % 8 === shared ? id(1) : uuid;
          const append = { stream: `s-${n}`, revision: 10 * n, position: 100 * n };
          ids.add(name, append, place);
          if (!model.has(name))
            model.set(name, { stream: `s-${n}`, revision: 10 * n + place, position: 100 * n + place });
        }
        for (const [name, event] of model) expect(ids.get(name)).toEqual(event);
        expect(ids.get(id(2))).toBeUndefined();
      }),
    );
  });

  it('keeps at least half of its limit, and forgets what is older than the limit', () => {
    const ids = new RecentIds(1_000);
    for (let n = 0; n < 100_000; n++) ids.add(id(n), { stream: 's', revision: n, position: n + 1 }, 0);
    const known = Array.from({ length: 100_000 }, (_, n) => ids.get(id(n))?.revision);
    expect(known.slice(99_500)).toEqual(Array.from({ length: 500 }, (_, n) => 99_500 + n));
    expect(known.slice(0, 99_000).some((revision) => revision !== undefined)).toBe(false);
    ids.clear();
    expect(ids.get(id(99_999))).toBeUndefined();
  });
});
