/**
 * An immutable map whose updates take constant time.
 *
 * The newest version holds a real `Map`; every older one holds what differs from the next newer (Baker's trick, as in
 * Conchon and Filliâtre, “A Persistent Union-Find Data Structure”, 2007). So a fold that keeps only its newest state,
 * as the executor does, pays O(1) per event and keeps no older versions alive; reading an older version is still
 * right and costs the number of updates in between.
 */
type Node<K, V> = { map: Map<K, V> } | { key: K; had: boolean; value: V | undefined; newer: PersistentMap<K, V> };

export class PersistentMap<K, V> {
  private node: Node<K, V>;

  constructor(entries: Iterable<readonly [K, V]> = []) {
    this.node = { map: new Map(entries) };
  }

  get size(): number {
    return this.own().size;
  }

  get(key: K): V | undefined {
    return this.own().get(key);
  }

  has(key: K): boolean {
    return this.own().has(key);
  }

  entries(): [K, V][] {
    return [...this.own()];
  }

  values(): V[] {
    return [...this.own().values()];
  }

  /** A map with `key` set to `value`; this one keeps what it had. Order of keys is not kept. */
  set(key: K, value: V): PersistentMap<K, V> {
    const map = this.own();
    const newer = new PersistentMap<K, V>();
    newer.node = { map };
    this.node = { key, had: map.has(key), value: map.get(key), newer };
    map.set(key, value);
    return newer;
  }

  private own(): Map<K, V> {
    return 'map' in this.node ? this.node.map : this.reroot();
  }

  /** Brings the real map here from the newer version that holds it. Not recursive: the way can be long. */
  private reroot(): Map<K, V> {
    const trail: PersistentMap<K, V>[] = [this];
    let last = this.node;
    while (!('map' in last)) {
      trail.push(last.newer);
      last = last.newer.node;
    }
    const { map } = last;
    for (let i = trail.length - 2; i >= 0; i--) {
      const [older, holder] = [trail[i]!, trail[i + 1]!];
      const { key, had, value } = older.node as Exclude<Node<K, V>, { map: Map<K, V> }>;
      holder.node = { key, had: map.has(key), value: map.get(key), newer: older };
      if (had) map.set(key, value as V);
      else map.delete(key);
      older.node = { map };
    }
    return map;
  }
}
