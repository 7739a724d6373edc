import { nodeHash } from './compact-range.ts'
import { EventError } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { rangeRoot, type Subtrees } from './merkle.ts'
import { frontierOf } from './verify.ts'

const tileLevel = 8
const tileSize = 1n << BigInt(tileLevel)

/** The Merkle tree over a log. Roots of 256 leaves and more are kept once they are known. */
export class LogTree {
  readonly #events: EventStore
  readonly #nodes = new Map<string, Uint8Array>()
  #edge: { readonly base: bigint; readonly nodes: ReadonlyMap<string, Uint8Array> } | undefined

  constructor(events: EventStore) {
    this.#events = events
  }

  /** The root of the tree of the first `size` events. */
  root(size: bigint): Promise<Uint8Array> {
    return rangeRoot(this.subtree, 0n, size)
  }

  readonly subtree: Subtrees = async (level, index) => {
    const key = `${level} ${index}`
    const known = this.#nodes.get(key) ?? (await this.#atTheEdge(key))
    if (known !== undefined) return known
    let node: Uint8Array
    if (level <= tileLevel) node = await this.#fromLeaves(level, index)
    else node = nodeHash(await this.subtree(level - 1, 2n * index), await this.subtree(level - 1, 2n * index + 1n))
    if (level >= tileLevel) this.#nodes.set(key, node)
    return node
  }

  async #fromLeaves(level: number, index: bigint): Promise<Uint8Array> {
    const width = 1n << BigInt(level)
    const begin = index * width
    const { base } = await this.#readEdge()
    if (begin < base && begin + width > base && level > 0)
      return nodeHash(await this.subtree(level - 1, 2n * index), await this.subtree(level - 1, 2n * index + 1n))
    const found = await this.#events.readStored({ after: begin, asOf: begin + width, limit: Number(tileSize) })
    if (BigInt(found.length) !== width)
      throw new EventError('not_supported', `Events ${begin + 1n} to ${begin + width} are not all at hand`)
    let row = found.map(({ hash }) => hash)
    while (row.length > 1) row = row.flatMap((left, i) => (i % 2 === 0 ? [nodeHash(left, row[i + 1]!)] : []))
    return row[0]!
  }

  /** Subtrees that lie before what retention took are known where they touch the cut. */
  async #atTheEdge(key: string): Promise<Uint8Array | undefined> {
    return (await this.#readEdge()).nodes.get(key)
  }

  async #readEdge() {
    const { position } = await this.#events.store.base()
    if (this.#edge?.base === position) return this.#edge
    const roots = (await frontierOf(this.#events, position)) ?? []
    const nodes = new Map<string, Uint8Array>()
    let at = 0n
    for (const root of roots) {
      const left = position - at
      const level = left.toString(2).length - 1
      const width = 1n << BigInt(level)
      nodes.set(`${level} ${at / width}`, root)
      at += width
    }
    this.#edge = { base: position, nodes }
    return this.#edge
  }
}

const trees = new WeakMap<EventStore, LogTree>()

/** The tree of a log. */
export function treeOf(events: EventStore): LogTree {
  let tree = trees.get(events)
  if (tree === undefined) {
    tree = new LogTree(events)
    trees.set(events, tree)
  }
  return tree
}
