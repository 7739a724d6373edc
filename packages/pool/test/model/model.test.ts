import { expect, test } from 'vitest'
import * as machine from '../../src/index.ts'
import { checkSchedules } from './schedules.ts'

const runs = Number(process.env['GW_MODEL_RUNS'] ?? 20_000)

test(`P8: the pool keeps its laws in ${runs} schedules`, async () => {
  const started = performance.now()
  const coverage = await checkSchedules(machine, runs)
  console.log(`${runs} schedules in ${Math.round(performance.now() - started)} ms: ${JSON.stringify(coverage)}`)
  expect(coverage['schedules']).toBe(runs)
  const faults = ['served', 'released', 'aborted', 'releasedTwice', 'connectFailed', 'connectTimedOut', 'testFailed']
  const others = ['lost', 'refreshed', 'resized', 'pool_exhausted', 'pool_factory_failed', 'destroyed']
  for (const what of [...faults, ...others]) expect(coverage[what], what).toBeGreaterThan(runs / 50)
}, 3_600_000)
