import fc from 'fast-check';
import { PersistentMap } from './persistentMap.js';

describe('PersistentMap', () => {
  it('is at every version what a copied map would be, in whatever order versions are read', () => {
    const step = fc.record({ base: fc.nat(), key: fc.nat(5), value: fc.nat(), read: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25, size: 'max' }), (steps) => {
        const versions = [{ real: new PersistentMap<number, number>(), model: new Map<number, number>() }];
        const check = ({ real, model }: (typeof versions)[number]) => {
          expect(real.size).toBe(model.size);
          expect(new Map(real.entries())).toEqual(model);
          for (let key = 0; key <= 5; key++) {
            expect(real.get(key)).toBe(model.get(key));
            expect(real.has(key)).toBe(model.has(key));
          }
          expect(real.values().sort()).toEqual([...model.values()].sort());
        };
        for (const { base, key, value, read } of steps) {
          const { real, model } = versions[base % versions.length]!;
          versions.push({ real: real.set(key, value), model: new Map(model).set(key, value) });
          check(versions[read % versions.length]!);
        }
        versions.forEach(check);
      }),
    );
  });

  it('survives a long way back', () => {
    const first = new PersistentMap<number, number>([[0, 0]]);
    let last = first;
    for (let i = 1; i <= 200_000; i++) last = last.set(i, i);
    expect(first.size).toBe(1);
    expect(last.size).toBe(200_001);
  });
});
