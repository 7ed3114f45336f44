/** A map that forgets what was not used for longest once it holds more than `limit` entries. */
export class LruMap<K, V> {
  readonly #map = new Map<K, V>();
  readonly #limit: number;
  readonly #mayEvict: (value: V) => boolean;

  constructor(limit: number, mayEvict: (value: V) => boolean = () => true) {
    this.#limit = limit;
    this.#mayEvict = mayEvict;
  }

  get size(): number {
    return this.#map.size;
  }

  get(key: K): V | undefined {
    const value = this.#map.get(key);
    if (value === undefined) return undefined;
    this.#map.delete(key);
    this.#map.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    this.#map.delete(key);
    this.#map.set(key, value);
    if (this.#map.size <= this.#limit) return;
    for (const [oldest, candidate] of this.#map) {
      if (this.#map.size <= this.#limit) return;
      if (oldest !== key && this.#mayEvict(candidate)) this.#map.delete(oldest);
    }
  }

  /** Longest unused first. */
  entries(): [K, V][] {
    return [...this.#map];
  }

  clear(): void {
    this.#map.clear();
  }
}
