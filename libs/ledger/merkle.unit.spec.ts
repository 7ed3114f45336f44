import { createHash } from 'node:crypto';
import fc from 'fast-check';
import {
  consistencyProof,
  EMPTY_ROOT,
  growTree,
  inclusionProof,
  leafAt,
  leafHash,
  MemoryTree,
  rootHash,
  verifyConsistency,
  verifyInclusion,
  type Hash,
} from './merkle.js';

/** The definition of RFC 6962 §2.1, word for word: the tree it is compared with. */
function mth(leaves: readonly Buffer[]): Buffer {
  const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
  if (leaves.length === 0) return sha();
  if (leaves.length === 1) return sha(Buffer.from([0]), leaves[0]!);
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return sha(Buffer.from([1]), mth(leaves.slice(0, k)), mth(leaves.slice(k)));
}

const leavesOf = (count: number): Buffer[] => Array.from({ length: count }, (_, i) => Buffer.from(`leaf ${i}`));

async function treeOf(leaves: readonly Buffer[]): Promise<MemoryTree> {
  const tree = new MemoryTree();
  await tree.add(leaves.map(leafHash));
  return tree;
}

describe('the Merkle tree', () => {
  // Leaves and roots of the test data of Certificate Transparency's reference implementation.
  const leaves = [
    '',
    '00',
    '10',
    '2021',
    '3031',
    '40414243',
    '5051525354555657',
    '606162636465666768696a6b6c6d6e6f',
  ].map((hex) => Buffer.from(hex, 'hex'));
  const roots = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];

  it('has the roots of RFC 6962', async () => {
    const tree = await treeOf(leaves);
    for (const [size, root] of roots.entries()) {
      expect((await rootHash(tree, size)).toString('hex')).toBe(root);
    }
  });

  it('has the proofs of the examples of RFC 6962 §2.1.3', async () => {
    const tree = await treeOf(leaves.slice(0, 7));
    const node = (from: number, to: number) => mth(leaves.slice(from, to)).toString('hex');
    const hex = (proof: Hash[]) => proof.map((hash) => hash.toString('hex'));
    expect(hex(await inclusionProof(tree, 0, 7))).toEqual([node(1, 2), node(2, 4), node(4, 7)]);
    expect(hex(await inclusionProof(tree, 3, 7))).toEqual([node(2, 3), node(0, 2), node(4, 7)]);
    expect(hex(await inclusionProof(tree, 4, 7))).toEqual([node(5, 6), node(6, 7), node(0, 4)]);
    expect(hex(await inclusionProof(tree, 6, 7))).toEqual([node(4, 6), node(0, 4)]);
    expect(hex(await consistencyProof(tree, 3, 7))).toEqual([node(2, 3), node(3, 4), node(0, 2), node(4, 7)]);
    expect(hex(await consistencyProof(tree, 4, 7))).toEqual([node(4, 7)]);
    expect(hex(await consistencyProof(tree, 6, 7))).toEqual([node(4, 6), node(6, 7), node(0, 4)]);
  });

  it('is what the definition says for every size up to three tiles, and over a tile boundary of the second level', async () => {
    const all = leavesOf(700);
    const tree = await treeOf(all);
    for (let size = 0; size <= 700; size += size < 20 ? 1 : 17) {
      expect(await rootHash(tree, size)).toEqual(mth(all.slice(0, size)));
    }
    const many = leavesOf(65_536 + 300);
    const large = await treeOf(many);
    for (const size of [65_536, 65_836]) {
      expect(await rootHash(large, size)).toEqual(mth(many.slice(0, size)));
    }
    const [proof, root] = [await inclusionProof(large, 65_600, 65_836), await rootHash(large, 65_836)];
    expect(verifyInclusion(leafHash(many[65_600]!), 65_600, 65_836, proof, root)).toBe(true);
  });

  it('grows in any steps to the same tree', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 6 }), async (steps) => {
        const all = leavesOf(steps.reduce((a, b) => a + b, 0));
        const tree = new MemoryTree();
        let at = 0;
        for (const step of steps) {
          await tree.add(all.slice(at, at + step).map(leafHash));
          at += step;
        }
        expect(tree.size).toBe(all.length);
        expect(await rootHash(tree, at)).toEqual(mth(all));
        if (at > 0) expect(await leafAt(tree, at - 1)).toEqual(leafHash(all[at - 1]!));
      }),
      { numRuns: 25 },
    );
  });

  it('refuses what is not there', async () => {
    const tree = await treeOf(leavesOf(5));
    await expect(rootHash(tree, 6)).rejects.toThrow('tile 0/0 has fewer than 6 hashes');
    await expect(inclusionProof(tree, 5, 5)).rejects.toThrow(RangeError);
    await expect(consistencyProof(tree, 6, 5)).rejects.toThrow(RangeError);
    await expect(growTree(new MemoryTree(), 3, [EMPTY_ROOT])).rejects.toThrow('fewer than 3');
  });
});

const MAX = 600;
const all = leavesOf(MAX);
/** Two different numbers with the smaller first. */
const pair = fc
  .tuple(fc.integer({ min: 0, max: MAX }), fc.integer({ min: 0, max: MAX }))
  .map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);

describe('proofs', () => {
  let tree: MemoryTree;
  beforeAll(async () => {
    tree = await treeOf(all);
  });

  it('of inclusion hold, and for nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(
        pair.filter(([a, b]) => a! < b!),
        fc.nat(),
        fc.nat({ max: 255 }),
        async ([index, size], at, flip) => {
          const root = await rootHash(tree, size!);
          const proof = await inclusionProof(tree, index!, size!);
          const leaf = leafHash(all[index!]!);
          expect(verifyInclusion(leaf, index!, size!, proof, root)).toBe(true);
          expect(verifyInclusion(leafHash(Buffer.from('another')), index!, size!, proof, root)).toBe(false);
          expect(verifyInclusion(leaf, size!, size!, proof, root)).toBe(false);
          expect(verifyInclusion(leaf, index!, size!, [...proof, root], root)).toBe(false);
          const other = (index! + 1) % size!;
          if (other !== index) expect(verifyInclusion(leaf, other, size!, proof, root)).toBe(false);
          if (proof.length > 0) {
            expect(verifyInclusion(leaf, index!, size!, proof.slice(1), root)).toBe(false);
            const broken = proof.map((hash) => Buffer.from(hash));
            broken[at % proof.length]![at % 32]! ^= flip || 1;
            expect(verifyInclusion(leaf, index!, size!, broken, root)).toBe(false);
          }
        },
      ),
    );
  });

  it('of consistency hold, and for nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(pair, fc.nat(), fc.nat({ max: 255 }), async ([from, to], at, flip) => {
        const [older, newer] = [await rootHash(tree, from!), await rootHash(tree, to!)];
        const proof = await consistencyProof(tree, from!, to!);
        expect(verifyConsistency(from!, to!, proof, older, newer)).toBe(true);
        const another = leafHash(Buffer.from('another'));
        expect(verifyConsistency(from!, to!, proof, another, newer)).toBe(false);
        if (from! > 0) expect(verifyConsistency(from!, to!, proof, older, another)).toBe(false);
        expect(verifyConsistency(from!, to!, [...proof, another], older, newer)).toBe(false);
        if (proof.length > 0) {
          expect(verifyConsistency(from!, to!, proof.slice(0, -1), older, newer)).toBe(false);
          const broken = proof.map((hash) => Buffer.from(hash));
          broken[at % proof.length]![at % 32]! ^= flip || 1;
          expect(verifyConsistency(from!, to!, broken, older, newer)).toBe(false);
        }
      }),
    );
  });

  it('of consistency fail for a tree that was rewritten', async () => {
    await fc.assert(
      fc.asyncProperty(
        pair.filter(([a, b]) => a! > 0 && a! < b!),
        fc.nat(),
        async ([from, to], at) => {
          const rewritten = all.slice(0, to);
          rewritten[at % from!] = Buffer.from('rewritten');
          const other = await treeOf(rewritten);
          const proof = await consistencyProof(other, from!, to!);
          const older = await rootHash(tree, from!);
          expect(verifyConsistency(from!, to!, proof, older, await rootHash(other, to!))).toBe(false);
        },
      ),
      { numRuns: 25 },
    );
  });
});
