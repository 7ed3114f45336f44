import { randomInt } from 'node:crypto';
import { uuidWords } from '../protocol/uuid.js';

/** Where an append stands: its first event and, with `n`, any of it. */
export type KnownAppend = { stream: string; revision: number; position: number };

/** Ids of half of the events remembered, in an open hash table beside the heap. */
class Generation {
  private readonly mask: number;
  private readonly words: Uint32Array;
  /** By slot: one more than the index of the append in `appends`; 0 is a free slot. */
  private readonly append: Uint32Array;
  private readonly place: Uint32Array;
  private appends: KnownAppend[] = [];
  count = 0;

  constructor(entries: number) {
    const slots = 2 ** Math.ceil(Math.log2(entries * 2));
    this.mask = slots - 1;
    this.words = new Uint32Array(4 * slots);
    this.append = new Uint32Array(slots);
    this.place = new Uint32Array(slots);
  }

  private slotOf(id: Uint32Array, hash: number): number {
    let slot = hash & this.mask;
    for (; this.append[slot] !== 0; slot = (slot + 1) & this.mask) {
      const at = 4 * slot;
      if (
        this.words[at] === id[0] &&
        this.words[at + 1] === id[1] &&
        this.words[at + 2] === id[2] &&
        this.words[at + 3] === id[3]
      )
        return slot;
    }
    return slot;
  }

  has(id: Uint32Array, hash: number): boolean {
    return this.append[this.slotOf(id, hash)] !== 0;
  }

  /** Keeps the first place of an id. */
  add(id: Uint32Array, hash: number, append: KnownAppend, place: number): void {
    const slot = this.slotOf(id, hash);
    if (this.append[slot] !== 0) return;
    if (this.appends.at(-1) !== append) this.appends.push(append);
    this.count++;
    this.words.set(id, 4 * slot);
    this.append[slot] = this.appends.length;
    this.place[slot] = place;
  }

  get(id: Uint32Array, hash: number): KnownAppend | undefined {
    const slot = this.slotOf(id, hash);
    const append = this.appends[this.append[slot]! - 1];
    if (append === undefined) return undefined;
    const { stream, revision, position } = append;
    return { stream, revision: revision + this.place[slot]!, position: position + this.place[slot]! };
  }

  clear(): void {
    this.append.fill(0);
    this.appends = [];
    this.count = 0;
  }
}

/**
 * Where the events with the last ids written stand, at least as many as half of the limit. Of an id that is written again
 * the first place stays, as the real server's cache keeps it. As a map of strings to objects they would be most of what the
 * garbage collector goes through, again and again.
 */
export class RecentIds {
  private young: Generation;
  private old: Generation;
  private readonly words = new Uint32Array(4);
  /** So that nobody can choose ids that collide. */
  private readonly seed = randomInt(2 ** 32);

  constructor(private readonly limit: number) {
    this.young = new Generation(limit / 2);
    this.old = new Generation(limit / 2);
  }

  /** @param place of the event in its append, from 0 */
  add(id: string, append: KnownAppend, place: number): void {
    uuidWords(id, this.words);
    const hash = this.hash();
    if (this.old.has(this.words, hash)) return;
    this.young.add(this.words, hash, append, place);
    if (this.young.count * 2 < this.limit) return;
    [this.young, this.old] = [this.old, this.young];
    this.young.clear();
  }

  /** Stream, revision and position of the event itself. */
  get(id: string): KnownAppend | undefined {
    uuidWords(id, this.words);
    const hash = this.hash();
    return this.young.get(this.words, hash) ?? this.old.get(this.words, hash);
  }

  clear(): void {
    this.young.clear();
    this.old.clear();
  }

  private hash(): number {
    let hash = this.seed;
    for (const word of this.words) {
      hash = Math.imul(hash ^ word, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return hash >>> 0;
  }
}
