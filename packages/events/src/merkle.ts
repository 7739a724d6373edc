import { sameBytes } from './bytes.ts'
import { CompactRange, nodeHash } from './compact-range.ts'

/** Gives the root of the perfect subtree of `2 ** level` leaves that is the `index`-th of its level. */
export type Subtrees = (level: number, index: bigint) => Promise<Uint8Array>

/** The largest power of two below `n`. */
function split(n: bigint): bigint {
  let k = 1n
  while (k * 2n < n) k *= 2n
  return k
}

function levelOf(size: bigint): number {
  return size.toString(2).length - 1
}

/** The root of the `size` leaves from `begin` on (RFC 6962 §2.1), from perfect subtrees. */
export async function rangeRoot(subtrees: Subtrees, begin: bigint, size: bigint): Promise<Uint8Array> {
  const roots: Uint8Array[] = []
  let at = begin
  for (let left = size; left > 0n; ) {
    const level = levelOf(left)
    const width = 1n << BigInt(level)
    roots.push(await subtrees(level, at / width))
    at += width
    left -= width
  }
  return new CompactRange(size, roots).root()
}

/** The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 §2.1.1). */
export async function inclusionPath(subtrees: Subtrees, index: bigint, size: bigint): Promise<Uint8Array[]> {
  const path: Uint8Array[] = []
  let begin = 0n
  let leaf = index
  for (let n = size; n > 1n; ) {
    const k = split(n)
    if (leaf < k) {
      path.push(await rangeRoot(subtrees, begin + k, n - k))
      n = k
    } else {
      path.push(await rangeRoot(subtrees, begin, k))
      begin += k
      leaf -= k
      n -= k
    }
  }
  return path.reverse()
}

/** The proof that the tree of `older` leaves is the beginning of that of `newer` (RFC 6962 §2.1.2). */
export async function consistencyPath(subtrees: Subtrees, older: bigint, newer: bigint): Promise<Uint8Array[]> {
  if (older === 0n || older === newer) return []
  const path: Uint8Array[] = []
  let begin = 0n
  let m = older
  let whole = true
  let n = newer
  while (m !== n) {
    const k = split(n)
    if (m <= k) {
      path.push(await rangeRoot(subtrees, begin + k, n - k))
      n = k
    } else {
      path.push(await rangeRoot(subtrees, begin, k))
      begin += k
      m -= k
      n -= k
      whole = false
    }
  }
  if (!whole) path.push(await rangeRoot(subtrees, begin, m))
  return path.reverse()
}

/** Whether `leaf` is at `index` in the tree of `size` leaves with this root (RFC 9162 §2.1.3.2). */
export function verifyInclusion(
  leaf: Uint8Array,
  index: bigint,
  size: bigint,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (index < 0n || index >= size) return false
  let node = index
  let last = size - 1n
  let hash = leaf
  for (const sibling of path) {
    if (last === 0n) return false
    if ((node & 1n) === 1n || node === last) {
      hash = nodeHash(sibling, hash)
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n
        last >>= 1n
      }
    } else hash = nodeHash(hash, sibling)
    node >>= 1n
    last >>= 1n
  }
  return last === 0n && sameBytes(hash, root)
}

/** Whether the tree of `older` leaves is the beginning of that of `newer` (RFC 9162 §2.1.4.2). */
export function verifyConsistency(
  older: bigint,
  newer: bigint,
  path: readonly Uint8Array[],
  olderRoot: Uint8Array,
  newerRoot: Uint8Array,
): boolean {
  if (older > newer || older < 0n) return false
  if (older === newer) return path.length === 0 && sameBytes(olderRoot, newerRoot)
  if (older === 0n) return path.length === 0
  const power = (older & (older - 1n)) === 0n
  const nodes = power ? [olderRoot, ...path] : path
  const [first, ...rest] = nodes
  if (first === undefined) return false
  let node = older - 1n
  let last = newer - 1n
  while ((node & 1n) === 1n) {
    node >>= 1n
    last >>= 1n
  }
  let oldHash = first
  let newHash = first
  for (const sibling of rest) {
    if (last === 0n) return false
    if ((node & 1n) === 1n || node === last) {
      oldHash = nodeHash(sibling, oldHash)
      newHash = nodeHash(sibling, newHash)
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n
        last >>= 1n
      }
    } else newHash = nodeHash(newHash, sibling)
    node >>= 1n
    last >>= 1n
  }
  return last === 0n && sameBytes(oldHash, olderRoot) && sameBytes(newHash, newerRoot)
}
