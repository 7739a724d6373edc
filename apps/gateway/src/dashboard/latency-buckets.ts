/** How many buckets a histogram of durations has: four an octave of microseconds, up to 71 minutes. */
export const latencyBuckets = 128

/** The bucket of a duration. Buckets are 19 to 25 % wide, so that a percentile is at most that far off before interpolation. */
export function latencyBucketOf(durationMs: number): number {
  const us = (durationMs * 1_000) >>> 0
  if (us < 4) return us
  const octave = 31 - Math.clz32(us)
  return (octave << 2) | ((us >>> (octave - 2)) & 3)
}

/** Where a bucket begins, in milliseconds. */
function lowerBoundMs(bucket: number): number {
  if (bucket < 8) return Math.min(bucket, 4) / 1_000
  return ((4 + (bucket & 3)) * 2 ** ((bucket >>> 2) - 2)) / 1_000
}

/**
 * The duration below which `ratio` of what was counted lies, interpolated in its bucket; `undefined` where nothing was counted.
 */
export function percentileMs(counts: ArrayLike<number>, ratio: number): number | undefined {
  let total = 0
  for (let i = 0; i < latencyBuckets; i++) total += counts[i] as number
  if (total === 0) return undefined
  let rank = ratio * total
  for (let i = 0; i < latencyBuckets; i++) {
    const count = counts[i] as number
    if (count > 0 && rank <= count) {
      const low = lowerBoundMs(i)
      return low + (lowerBoundMs(i + 1) - low) * (rank / count)
    }
    rank -= count
  }
  return lowerBoundMs(latencyBuckets)
}
