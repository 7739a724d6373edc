/** How many connections the demand needs, from what was measured. */
export interface Demand {
  /** Takes in the time that connections have been in use so far, in all, and answers how many should be kept. */
  sample(nowMs: number, useMsTotal: number): number
}

/**
 * Little's law: the mean number in use is the rate of acquisitions times how long each is held, which is the time in
 * use per time gone by. Half of what is remembered is from the last `halfLifeMs`. To that come two square roots of it,
 * so that few requests find all of them taken.
 */
export function littleDemand(halfLifeMs = 30_000): Demand {
  let lastMs: number | undefined
  let lastUseMs = 0
  let mean = 0
  return {
    sample(nowMs, useMsTotal) {
      if (lastMs !== undefined && nowMs > lastMs) {
        const load = (useMsTotal - lastUseMs) / (nowMs - lastMs)
        const keep = 0.5 ** ((nowMs - lastMs) / halfLifeMs)
        mean = mean * keep + load * (1 - keep)
      }
      lastMs = nowMs
      lastUseMs = useMsTotal
      return mean < 0.01 ? 0 : Math.ceil(mean + 2 * Math.sqrt(mean))
    },
  }
}
