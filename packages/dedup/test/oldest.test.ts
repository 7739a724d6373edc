import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Oldest } from '../src/oldest.ts'

test('law: after any schedule of sets and deletes the oldest entry is the one that a fresh iterator finds', () => {
  const key = fc.integer({ min: 0, max: 5 })
  const step = fc.oneof(
    fc.record({ set: key }),
    fc.record({ delete: key }),
    fc.record({ evict: fc.constant(true) }),
    fc.record({ look: fc.constant(true) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const map = new Map<number, object>()
      const oldest = new Oldest(map)
      for (const step of steps) {
        if ('set' in step) {
          map.delete(step.set)
          map.set(step.set, {})
        } else if ('delete' in step) map.delete(step.delete)
        else if ('evict' in step) {
          const first = oldest.first()
          if (first !== undefined) map.delete(first[0])
        } else expect(oldest.first()).toEqual(map.entries().next().value)
      }
      const expected = map.entries().next().value
      expect(oldest.first()?.[0]).toBe(expected?.[0])
      expect(oldest.first()?.[1]).toBe(expected?.[1])
    }),
    { numRuns: 2_000 },
  )
})
