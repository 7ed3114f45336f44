/**
 * The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1): hashes, proofs and their verification. The tree is kept as tiles of 256
 * hashes (C2SP tlog-tiles): the tile of level L and index N holds the hashes of complete subtrees of 256^L leaves each.
 */
import { createHash } from 'node:crypto';

/** SHA-256, 32 bytes. */
export type Hash = Buffer;

export const HASH_SIZE = 32;
/** Hashes in a full tile, and the levels of the tree it spans. */
export const TILE_WIDTH = 256;
const TILE_HEIGHT = 8;

const sha256 = (...parts: Uint8Array[]): Hash => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

export const EMPTY_ROOT: Hash = sha256();
export const leafHash = (leaf: Uint8Array): Hash => sha256(LEAF, leaf);
export const nodeHash = (left: Hash, right: Hash): Hash => sha256(NODE, left, right);

/** Where tiles are. A tile may be partial only at the right edge. */
export interface TileSource {
  /** Hashes joined together, or undefined when there is no such tile. */
  tile(level: number, index: number): Promise<Buffer | undefined> | Buffer | undefined;
}

export interface ChangedTile {
  readonly level: number;
  readonly index: number;
  readonly hashes: Buffer;
}

/** A tree in memory. */
export class MemoryTree implements TileSource {
  readonly #tiles = new Map<string, Buffer>();
  size = 0;

  tile(level: number, index: number): Buffer | undefined {
    return this.#tiles.get(`${level}/${index}`);
  }

  async add(leaves: readonly Hash[]): Promise<void> {
    for (const { level, index, hashes } of await growTree(this, this.size, leaves))
      this.#tiles.set(`${level}/${index}`, hashes);
    this.size += leaves.length;
  }

  /** The hash of a leaf that is there. */
  leaf(index: number): Hash {
    const at = (index % TILE_WIDTH) * HASH_SIZE;
    return this.#tiles.get(`0/${Math.floor(index / TILE_WIDTH)}`)!.subarray(at, at + HASH_SIZE);
  }
}

/** What a tree of `size` leaves becomes with more: the tiles that are new or longer, for the caller to store. */
export async function growTree(tiles: TileSource, size: number, leaves: readonly Hash[]): Promise<ChangedTile[]> {
  const changed: ChangedTile[] = [];
  let added = leaves;
  let at = size;
  for (let level = 0; added.length > 0; level++) {
    const above: Hash[] = [];
    for (let done = 0; done < added.length;) {
      const index = Math.floor((at + done) / TILE_WIDTH);
      const there = (at + done) % TILE_WIDTH;
      const taken = added.slice(done, done + TILE_WIDTH - there);
      const before = there === 0 ? Buffer.alloc(0) : await wholeTile(tiles, level, index, there);
      const hashes = Buffer.concat([before, ...taken]);
      changed.push({ level, index, hashes });
      if (there + taken.length === TILE_WIDTH) above.push(subtree(hashes, 0, TILE_WIDTH));
      done += taken.length;
    }
    at = Math.floor(at / TILE_WIDTH);
    added = above;
  }
  return changed;
}

/** The first `width` hashes of a tile. @throws Error when they are not there: the store is damaged */
async function wholeTile(tiles: TileSource, level: number, index: number, width: number): Promise<Buffer> {
  const tile = await tiles.tile(level, index);
  if (!tile || tile.length < width * HASH_SIZE)
    throw new Error(`The ledger's tile ${level}/${index} has fewer than ${width} hashes`);
  return tile.subarray(0, width * HASH_SIZE);
}

/** Root of `width` hashes of a tile, a power of two. */
function subtree(hashes: Buffer, first: number, width: number): Hash {
  if (width === 1) return Buffer.from(hashes.subarray(first * HASH_SIZE, (first + 1) * HASH_SIZE));
  const half = width / 2;
  return nodeHash(subtree(hashes, first, half), subtree(hashes, first + half, half));
}

/** Largest power of two below n (n > 1). */
function split(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** Hash of the leaves from `start` up to but without `end`; the range is one that occurs in a tree. */
async function rangeHash(tiles: TileSource, start: number, end: number): Promise<Hash> {
  const width = end - start;
  const height = Math.log2(width);
  if (Number.isInteger(height)) {
    const level = Math.floor(height / TILE_HEIGHT);
    const inTile = 2 ** (height % TILE_HEIGHT);
    const first = start / TILE_WIDTH ** level;
    const index = Math.floor(first / TILE_WIDTH);
    const offset = first % TILE_WIDTH;
    return subtree(await wholeTile(tiles, level, index, offset + inTile), offset, inTile);
  }
  const k = split(width);
  return nodeHash(await rangeHash(tiles, start, start + k), await rangeHash(tiles, start + k, end));
}

/** Root of the first `size` leaves. */
export const rootHash = async (tiles: TileSource, size: number): Promise<Hash> =>
  size === 0 ? EMPTY_ROOT : rangeHash(tiles, 0, size);

/** Hash of one leaf. */
export const leafAt = (tiles: TileSource, index: number): Promise<Hash> => rangeHash(tiles, index, index + 1);

/** RFC 6962 §2.1.1: that leaf `index` is in the tree of `size` leaves. @throws RangeError */
export async function inclusionProof(tiles: TileSource, index: number, size: number): Promise<Hash[]> {
  if (!(index >= 0 && index < size)) throw new RangeError(`A tree of ${size} leaves has no leaf ${index}`);
  const proof: Hash[] = [];
  let [start, end] = [0, size];
  while (end - start > 1) {
    const middle = start + split(end - start);
    if (index < middle) {
      proof.unshift(await rangeHash(tiles, middle, end));
      end = middle;
    } else {
      proof.unshift(await rangeHash(tiles, start, middle));
      start = middle;
    }
  }
  return proof;
}

/** RFC 6962 §2.1.2: that the tree of `from` leaves is the beginning of the tree of `to`. Empty for 0 and for equal sizes. @throws RangeError */
export async function consistencyProof(tiles: TileSource, from: number, to: number): Promise<Hash[]> {
  if (!(from >= 0 && from <= to)) throw new RangeError(`A tree of ${to} leaves has no beginning of ${from}`);
  if (from === 0 || from === to) return [];
  const proof: Hash[] = [];
  let [start, end, whole] = [0, to, true];
  while (end !== from) {
    const middle = start + split(end - start);
    if (from <= middle) {
      proof.unshift(await rangeHash(tiles, middle, end));
      end = middle;
    } else {
      proof.unshift(await rangeHash(tiles, start, middle));
      start = middle;
      whole = false;
    }
  }
  if (!whole) proof.unshift(await rangeHash(tiles, start, end));
  return proof;
}

/** RFC 9162 §2.1.3.2. */
export function verifyInclusion(leaf: Hash, index: number, size: number, proof: readonly Hash[], root: Hash): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false;
  let [fn, sn] = [BigInt(index), BigInt(size - 1)];
  let hash = leaf;
  for (const other of proof) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      hash = nodeHash(other, hash);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else hash = nodeHash(hash, other);
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && hash.equals(root);
}

/** RFC 9162 §2.1.4.2. */
export function verifyConsistency(
  from: number,
  to: number,
  proof: readonly Hash[],
  fromRoot: Hash,
  toRoot: Hash,
): boolean {
  if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || from > to) return false;
  if (from === 0) return proof.length === 0 && fromRoot.equals(EMPTY_ROOT);
  if (from === to) return proof.length === 0 && fromRoot.equals(toRoot);
  const path = Number.isInteger(Math.log2(from)) ? [fromRoot, ...proof] : [...proof];
  const first = path.shift();
  if (!first) return false;
  let [fn, sn] = [BigInt(from - 1), BigInt(to - 1)];
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [older, newer] = [first, first];
  for (const other of path) {
    if (sn === 0n) return false;
    if (fn & 1n || fn === sn) {
      older = nodeHash(other, older);
      newer = nodeHash(other, newer);
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else newer = nodeHash(newer, other);
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && older.equals(fromRoot) && newer.equals(toRoot);
}
