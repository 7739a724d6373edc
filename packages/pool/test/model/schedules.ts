import fc from 'fast-check'
import { type Machine, World } from './world.ts'

/** Runs that many schedules and answers how often each thing happened in them. Rejects with the smallest schedule that breaks a law. */
export async function checkSchedules(machine: Machine, runs: number, seed?: number): Promise<Record<string, number>> {
  const coverage: Record<string, number> = { schedules: 0 }
  const commands = fc.array(fc.tuple(fc.nat(99), fc.nat(9_999)), { minLength: 10, maxLength: 60, size: 'max' })
  await fc.assert(
    fc.asyncProperty(commands, async (schedule) => {
      const world = new World(machine)
      await world.run(schedule)
      coverage['schedules']!++
      for (const [what, times] of Object.entries(world.coverage)) coverage[what] = (coverage[what] ?? 0) + times
    }),
    { numRuns: runs, ...(seed === undefined ? {} : { seed }) },
  )
  return coverage
}
