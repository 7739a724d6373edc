import fc from 'fast-check'
import { expect, test } from 'vitest'
import { latencyBucketOf, latencyBuckets, percentileMs } from '../src/dashboard/latency-buckets.ts'
import { type Gauges, RecentFigures } from '../src/dashboard/recent-figures.ts'
import { columns, slotCount, slotMs } from '../src/dashboard/wire.ts'

const idle: Gauges = { inFlight: 0, running: 0, queued: 0, pendingWrites: 0, commits: 0, commitMs: 0 }
const of = (values: readonly (number | null)[], column: (typeof columns)[number]) => values[columns.indexOf(column)]

function clocked() {
  let at = 1_000_000 * slotMs
  const figures = new RecentFigures(() => at)
  return {
    figures,
    pass(ms: number) {
      at += ms
    },
  }
}

test('gateway G11: a percentile is within a bucket of the value that has that rank', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0.001, max: 600_000, noNaN: true }), { minLength: 1, maxLength: 200 }),
      fc.constantFrom(0.5, 0.95, 0.99),
      (durations, ratio) => {
        const counts = new Uint32Array(latencyBuckets)
        for (const duration of durations) counts[latencyBucketOf(duration)]!++
        const sorted = durations.toSorted((a, b) => a - b)
        const exact = sorted[Math.min(sorted.length - 1, Math.ceil(ratio * sorted.length) - 1)]!
        const found = percentileMs(counts, ratio)!
        expect(found).toBeGreaterThanOrEqual(exact * 0.74 - 0.001)
        expect(found).toBeLessThanOrEqual(exact * 1.34 + 0.001)
      },
    ),
  )
  expect(percentileMs(new Uint32Array(latencyBuckets), 0.5)).toBeUndefined()
})

test('gateway G11: a slot has the rates, percentiles and gauges of its five seconds, and the commits of no other', () => {
  const { figures, pass } = clocked()
  for (let i = 0; i < 50; i++) figures.record(10, i < 5 ? 500 : 201)
  figures.count('dedup.replayed')
  figures.count('dedup.conflict')
  figures.count('dedup.claimed')
  pass(slotMs)
  expect(figures.roll({ ...idle, inFlight: 7, commits: 20, commitMs: 40 })).toBe(true)
  figures.record(2, 200)
  pass(slotMs)
  figures.roll({ ...idle, commits: 25, commitMs: 90 })
  const [first, second] = figures.history().slots
  expect([of(first!.values, 'requests'), of(first!.values, 'errors')]).toEqual([10, 1])
  expect([of(first!.values, 'replays'), of(first!.values, 'conflicts')]).toEqual([0.2, 0.2])
  expect([of(first!.values, 'inFlight'), of(first!.values, 'commits'), of(first!.values, 'commitMs')]).toEqual([
    7, 4, 2,
  ])
  expect([of(second!.values, 'requests'), of(second!.values, 'commits'), of(second!.values, 'commitMs')]).toEqual([
    0.2, 1, 10,
  ])
  expect(of(second!.values, 'p50')).toBeGreaterThan(1.7)
  expect(of(second!.values, 'p50')).toBeLessThan(2.4)
})

test('gateway G11: the hour holds its number of slots however long it runs, and what nobody measured is empty', () => {
  const { figures, pass } = clocked()
  for (let i = 0; i < slotCount * 2; i++) {
    figures.record(1, 200)
    pass(slotMs)
    figures.roll(idle)
  }
  expect(figures.history().slots).toHaveLength(slotCount - 1)
  figures.record(1, 200)
  pass(3 * slotMs)
  figures.roll(idle)
  const last = figures.history().slots.slice(-3)
  expect(last.map(({ values }) => of(values, 'requests'))).toEqual([0.2, 0, 0])
  expect(last.map(({ values }) => of(values, 'p50') === null)).toEqual([false, true, true])
  pass(10 * slotCount * slotMs)
  figures.roll(idle)
  expect(figures.history().slots.every(({ values }) => of(values, 'requests') === 0)).toBe(true)
  expect(figures.history().slots).toHaveLength(slotCount - 1)
})

test('gateway G11: the present figures are those of the slot under way and the one before', () => {
  const { figures, pass } = clocked()
  for (let i = 0; i < 10; i++) figures.record(4, 200)
  pass(slotMs)
  figures.roll(idle)
  for (let i = 0; i < 10; i++) figures.record(4, 200)
  pass(slotMs - 1)
  figures.roll({ ...idle, queued: 3 })
  const now = figures.current()
  expect(now.requests).toBeCloseTo(2, 1)
  expect([now.queued, now.errors]).toEqual([3, 0])
  expect(now.commitMs).toBeNull()
})
