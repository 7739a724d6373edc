/** The later of two positions. */
export function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

/** The earlier of two positions. */
export function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
