import { sha256 } from './sha256.ts'

const nodePrefix = Uint8Array.of(1)

/** The hash of an inner node (RFC 6962 §2.1). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(nodePrefix, left, right)
}

/** The root of a tree without leaves (RFC 6962 §2.1). */
export function emptyRoot(): Uint8Array {
  return sha256(new Uint8Array())
}

/**
 * The right edge of a Merkle tree: the roots of its perfect subtrees from the left, one a bit of its size. Enough to add leaves
 * and to tell the root, without the leaves before.
 */
export class CompactRange {
  #size: bigint
  readonly #roots: Uint8Array[]

  constructor(size = 0n, roots: readonly Uint8Array[] = []) {
    this.#size = size
    this.#roots = [...roots]
  }

  get size(): bigint {
    return this.#size
  }

  get roots(): readonly Uint8Array[] {
    return this.#roots
  }

  add(leaf: Uint8Array): void {
    let node = leaf
    for (let bits = this.#size; (bits & 1n) === 1n; bits >>= 1n) node = nodeHash(this.#roots.pop()!, node)
    this.#roots.push(node)
    this.#size++
  }

  root(): Uint8Array {
    let root = this.#roots.at(-1)
    if (root === undefined) return emptyRoot()
    for (let i = this.#roots.length - 2; i >= 0; i--) root = nodeHash(this.#roots[i]!, root)
    return root
  }
}
