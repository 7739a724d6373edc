/**
 * The oldest entry of a map, in constant time. An iterator that begins anew walks over every entry that was deleted since the
 * map was last rebuilt, which costs more than everything else that a full cache does.
 */
export class Oldest<Key, Value> {
  readonly #map: ReadonlyMap<Key, Value>
  #entries: MapIterator<[Key, Value]>
  #first: readonly [Key, Value] | undefined

  constructor(map: ReadonlyMap<Key, Value>) {
    this.#map = map
    this.#entries = map.entries()
  }

  /** The same one until it is deleted or set anew; `undefined` where the map is empty. */
  first(): readonly [Key, Value] | undefined {
    while (this.#first === undefined || this.#map.get(this.#first[0]) !== this.#first[1]) {
      let next = this.#entries.next()
      if (next.done === true) {
        this.#entries = this.#map.entries()
        next = this.#entries.next()
        if (next.done === true) {
          this.#first = undefined
          return undefined
        }
      }
      this.#first = next.value
    }
    return this.#first
  }
}
