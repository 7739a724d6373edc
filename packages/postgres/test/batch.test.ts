import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Batchable, chooseBatch, HeldLocks, mergeLocks, planGroups } from '../src/batch.ts'

interface Named extends Batchable {
  readonly name: string
}

function unit(name: string, procedures: string, locks: Batchable['locks'] = [], slow = false): Named {
  const steps = [...procedures].map((procedure, i) => ({ procedure, args: `${name}${i}`, apart: false }))
  return { name, steps, locks, shape: procedures, slow }
}

describe('the order of a batch', () => {
  test('P2: law: every unit finds its writes in its own order, each once, whatever the shapes', () => {
    const shapes = fc.array(fc.string({ unit: fc.constantFrom('A', 'B', 'C', 'D'), minLength: 1, maxLength: 5 }), {
      maxLength: 20,
    })
    fc.assert(
      fc.property(shapes, (all) => {
        const units = all.map((shape, i) => unit(`u${i}_`, shape))
        const groups = planGroups(units)
        const ran = new Map<string, string[]>()
        for (const { procedure, batch, units: owners, steps } of groups) {
          batch.forEach((args, i) => {
            const owner = owners[i]!
            expect(owner.steps[steps[i]!]).toMatchObject({ procedure, args })
            ran.set(owner.name, [...(ran.get(owner.name) ?? []), args as string])
          })
        }
        for (const { name, steps } of units) expect(ran.get(name)).toEqual(steps.map(({ args }) => args))
      }),
    )
  })

  test('P1: shapes that are parts of a longer one add no group', () => {
    const groups = planGroups([unit('a', 'C'), unit('b', 'A'), unit('c', 'AC'), unit('d', 'ABC'), unit('e', 'BBC')])
    expect(groups.map(({ procedure, batch }) => `${procedure}${batch.length}`)).toEqual(['A3', 'B3', 'C4'])
  })

  test('a procedure comes twice where no single place would do', () => {
    const groups = planGroups([unit('a', 'AB'), unit('b', 'BA')])
    expect(groups.map(({ procedure }) => procedure).join('')).toMatch(/^(ABA|BAB)$/)
  })
})

describe('the choice of a batch', () => {
  test('P2: law: what is chosen is of one pace, conflicts with nothing held or chosen, overtakes nothing it conflicts with, and is freed again', () => {
    const lock = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), shared: fc.boolean() })
    const locks = fc.uniqueArray(lock, { maxLength: 3, selector: ({ name }) => name })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(locks, fc.boolean()), { maxLength: 12 }),
        fc.array(locks, { maxLength: 2 }),
        fc.boolean(),
        (all, before, allowSlow) => {
          const held = new HeldLocks()
          const taken = before.filter((set) => {
            if (held.conflicts(set)) return false
            held.take(set)
            return true
          })
          const units = all.map(([set, slow], i) => unit(`${i}`, 'A', set, slow))
          const queue = [...units]
          const chosen = chooseBatch(queue, held, 100, allowSlow)
          expect([...chosen, ...queue].length).toBe(units.length)
          units.forEach((one, i) => {
            const against = [
              ...taken,
              ...units
                .slice(0, i)
                .filter((other) => chosen.includes(one) || chosen.includes(other) || queue.includes(other)),
            ].map((other) => ('locks' in other ? other.locks : other))
            const conflict = against.some((set) =>
              set.some((a) => one.locks.some((b) => a.name === b.name && !(a.shared && b.shared))),
            )
            const leading = units.slice(0, i).find((other) => chosen.includes(other))
            const inPace = leading === undefined ? allowSlow || !one.slow : one.slow === leading.slow
            expect(chosen.includes(one)).toBe(inPace && !conflict)
          })
          for (const { locks: set } of chosen) held.free(set)
          for (const set of taken) held.free(set)
          for (const name of 'abcd') expect(held.conflicts([{ name, shared: false }])).toBe(false)
        },
      ),
    )
  })

  test('P2: what several share is held until the last of them has left, and a unit that names it both ways has it alone', () => {
    const held = new HeldLocks()
    const [shared, alone] = [
      { name: 'a', shared: true },
      { name: 'a', shared: false },
    ]
    for (let i = 0; i < 3; i++) held.take([shared])
    for (let i = 0; i < 3; i++) {
      expect(held.conflicts([alone])).toBe(true)
      held.free([shared])
    }
    expect(held.conflicts([alone])).toBe(false)
    for (const both of [
      [shared, alone],
      [alone, shared],
    ])
      expect(mergeLocks(both)).toEqual([alone])
  })

  test('P1: a batch has at most as many units as it may', () => {
    const queue = Array.from({ length: 10 }, (_, i) => unit(`${i}`, 'A'))
    expect(chooseBatch(queue, new HeldLocks(), 4, true).map(({ name }) => name)).toEqual(['0', '1', '2', '3'])
    expect(queue.map(({ name }) => name)).toEqual(['4', '5', '6', '7', '8', '9'])
  })
})
