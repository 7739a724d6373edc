import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lastBefore } from '../src/time-search.ts'

/** A log whose first event is at `base + 1`, and how often it was looked into. */
function logOf(times: readonly number[], base = 0n) {
  const log = {
    looks: 0,
    lastBefore(time: number): bigint {
      const at = (i: number) => ({ position: base + BigInt(i + 1), time: times[i]! })
      return lastBefore(time, { ...at(0), position: base }, at(times.length - 1), (position) => {
        log.looks++
        return times[Number(position - base) - 1]
      })
    },
  }
  return log
}

test('Q1: law: a bound of time is the last position before it, wherever the times lie, in few more looks than by halves', () => {
  const gaps = fc.array(fc.oneof(fc.constant(0), fc.nat(3), fc.nat(1_000_000)), { minLength: 1, maxLength: 300 })
  fc.assert(
    fc.property(gaps, fc.nat(1_000), fc.double({ min: -0.1, max: 1.1, noNaN: true }), (steps, base, share) => {
      let now = 1_700_000_000_000
      const times = steps.map((step) => {
        now += step
        return now
      })
      const time = Math.round(times[0]! + (now - times[0]!) * share)
      const log = logOf(times, BigInt(base))
      const older = times.filter((each) => each < time).length
      expect(log.lastBefore(time)).toBe(BigInt(base + older))
      expect(log.looks).toBeLessThanOrEqual(Math.ceil(Math.log2(times.length + 1)) + 6)
    }),
    { numRuns: 2_000 },
  )
})

test('Q1: among a million events that come evenly, fifty a millisecond, a bound is found in a dozen looks', () => {
  const times = Array.from({ length: 1_000_000 }, (_, i) => 1_700_000_000_000 + Math.floor(i / 50))
  for (let share = 0.05; share < 1; share += 0.1) {
    const log = logOf(times)
    const time = Math.floor(times[0]! + 20_000 * share)
    expect(log.lastBefore(time)).toBe(BigInt(times.findIndex((each) => each >= time)))
    expect(log.looks).toBeLessThanOrEqual(12)
  }
})
