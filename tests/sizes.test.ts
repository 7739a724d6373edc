import { expect, test } from 'vitest'
import { cores, sizeOf } from './runtimes/sizes.ts'

test.each(cores)('G17: the core of $name is within its budget', async (core) => {
  expect((await sizeOf(core)).core).toBeLessThanOrEqual(core.budgetBytes)
})
