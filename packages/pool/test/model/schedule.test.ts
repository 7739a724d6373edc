import * as machine from '@gw/pool'
import { test } from 'vitest'
import { checkSchedules } from './schedule.ts'

const runs = Number(process.env['GW_MODEL_RUNS'] ?? 20_000)

test(`P8, C2, C3, C8, C11, C12: ${runs} schedules keep the laws`, { timeout: 600_000 }, () =>
  checkSchedules(machine, runs),
)
