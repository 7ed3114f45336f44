import fc from 'fast-check';
import { audit, partitionOf, partitionsOf, scratchCopy } from './index.js';

// Vectors of the FNV reference, 32 bits: with so many partitions the hash is left as it is.
it.each([
  ['', 0x811c9dc5],
  ['a', 0xe40c292c],
  ['foobar', 0xbf9cf968],
])('the hash of %p is that of FNV-1a', (text, hash) => expect(partitionOf(text, 2 ** 32)).toBe(hash));

it('spreads streams evenly', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 16 }),
      fc.array(fc.uuid(), { minLength: 2_000, maxLength: 2_000 }),
      (of, ids) => {
        const counts = new Array<number>(of).fill(0);
        for (const id of new Set(ids)) counts[partitionOf(`version-${id}`, of)]!++;
        const mean = new Set(ids).size / of;
        // Six standard deviations of a fair die.
        for (const count of counts) expect(Math.abs(count - mean)).toBeLessThan(6 * Math.sqrt(mean));
      },
    ),
    { numRuns: 20, seed: 20 },
  );
});

it('a copy has one runner', () => {
  expect(partitionsOf(audit)).toBeGreaterThan(1);
  expect(partitionsOf(scratchCopy(audit))).toBe(1);
});
