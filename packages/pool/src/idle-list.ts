import type { Entry } from './entry.ts'

/** generic-pool's wrapper round what it keeps. */
export interface PooledResource<Kept> {
  readonly obj: Kept
}

/**
 * The idle connections, the last one returned first. It stands in for generic-pool's `Deque`, and can hand out the one
 * that the pool asks for, which `Deque` cannot.
 */
export class IdleList<Connection extends object> {
  /** The last one is the next to go. */
  readonly #items: PooledResource<Entry<Connection>>[] = []
  readonly #onBorn: (entry: Entry<Connection>) => void

  constructor(onBorn: (entry: Entry<Connection>) => void) {
    this.#onBorn = onBorn
  }

  get length(): number {
    return this.#items.length
  }

  /** The one that `shift` would give. */
  get next(): Entry<Connection> | undefined {
    return this.#items[this.#items.length - 1]?.obj
  }

  /** All of them, the longest idle first. */
  entries(): Entry<Connection>[] {
    return this.#items.map((item) => item.obj)
  }

  /** Makes `entry` the next to go. Answers `false` when it is not idle. */
  promote(entry: Entry<Connection>): boolean {
    const at = this.#items.findIndex((item) => item.obj === entry)
    if (at < 0) return false
    const [item] = this.#items.splice(at, 1)
    this.#items.push(item as PooledResource<Entry<Connection>>)
    return true
  }

  shift(): PooledResource<Entry<Connection>> | undefined {
    return this.#items.pop()
  }

  unshift(item: PooledResource<Entry<Connection>>): void {
    const entry = item.obj
    if (entry.keepsPlace) {
      entry.keepsPlace = false
      const at = this.#items.findIndex((other) => other.obj.idleSinceMs > entry.idleSinceMs)
      this.#items.splice(at < 0 ? this.#items.length : at, 0, item)
    } else {
      this.#items.push(item)
    }
    if (entry.fresh) {
      entry.fresh = false
      this.#onBorn(entry)
    }
  }

  push(item: PooledResource<Entry<Connection>>): void {
    this.unshift(item)
  }

  iterator(): Iterator<PooledResource<Entry<Connection>>> {
    return this[Symbol.iterator]()
  }

  [Symbol.iterator](): Iterator<PooledResource<Entry<Connection>>> {
    return [...this.#items].reverse()[Symbol.iterator]()
  }
}
