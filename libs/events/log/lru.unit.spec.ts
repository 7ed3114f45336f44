import fc from 'fast-check';
import { LruMap } from './lru.js';

describe('LruMap', () => {
  it('forgets what was not used for longest', () => {
    const map = new LruMap<string, number>(2);
    map.set('a', 1);
    map.set('b', 2);
    expect(map.get('a')).toBe(1);
    map.set('c', 3);
    expect(['a', 'b', 'c'].map((k) => map.get(k))).toEqual([1, undefined, 3]);
    map.clear();
    expect([map.size, map.get('a')]).toEqual([0, undefined]);
  });

  it('keeps what may not be evicted, and makes up for it later', () => {
    const busy = new Set([1, 2, 3]);
    const map = new LruMap<string, number>(1, (value) => !busy.has(value));
    for (const [i, key] of ['a', 'b', 'c'].entries()) map.set(key, i + 1);
    expect(map.size).toBe(3);
    busy.clear();
    map.set('d', 4);
    expect([map.size, map.get('d')]).toEqual([1, 4]);
  });

  it('equals a list in order of use', () => {
    const step = fc.tuple(fc.boolean(), fc.nat(6));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 40 }), (limit, steps) => {
        const map = new LruMap<number, string>(limit);
        let model: [number, string][] = [];
        for (const [i, [write, key]] of steps.entries()) {
          const found = model.find(([k]) => k === key);
          if (write) {
            map.set(key, `${i}`);
            model = [...model.filter(([k]) => k !== key), [key, `${i}`] as [number, string]].slice(-limit);
          } else {
            expect(map.get(key)).toBe(found?.[1]);
            if (found) model = [...model.filter((entry) => entry !== found), found];
          }
          expect(map.size).toBe(model.length);
        }
      }),
    );
  });
});
