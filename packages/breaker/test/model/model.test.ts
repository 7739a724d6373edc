import { expect, test } from 'vitest'
import * as machine from '../../src/index.ts'
import { checkSchedules } from './schedules.ts'

const runs = Number(process.env['GW_MODEL_RUNS'] ?? 20_000)

test(`P7: the machine agrees with the reference in ${runs} schedules`, async () => {
  const started = performance.now()
  const coverage = await checkSchedules(machine, runs)
  console.log(`${runs} schedules in ${Math.round(performance.now() - started)} ms: ${JSON.stringify(coverage)}`)
  expect(coverage.schedules).toBe(runs)
  for (const [what, times] of Object.entries(coverage)) expect(times, what).toBeGreaterThan(runs / 50)
}, 3_600_000)
