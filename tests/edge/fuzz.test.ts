import { expect, test } from 'vitest'
import { fuzz } from './fuzz.ts'

const long = process.env['GW_TEST_LONG'] === '1'
const messages = long ? 2_000_000 : 200_000
/** New messages every night; a failure names its seed: set it here to see the same ones again. */
const seed = Number(process.env['GW_TEST_SEED'] ?? (long ? Date.now() & 0xff_ff_ff : 7))
const megabyte = 1_048_576

test(`H1: ${messages} mutated messages of seed ${seed}: no request that a strict reader does not see, no 500, the canary lives, memory is flat`, {
  timeout: long ? 7_200_000 : 600_000,
}, async () => {
  const result = await fuzz({ seed, messages })
  const { violations, statuses, canaries, grownBytes, printed, seconds, connections } = result
  console.info(
    `seed ${seed}: ${result.messages} messages on ${connections} connections in ${Math.round(seconds)} s, answers ${JSON.stringify(Object.fromEntries(statuses))}, memory ${(grownBytes / megabyte).toFixed(1)} MiB`,
  )
  expect(violations.slice(0, 3), violations.slice(0, 3).join('\n\n')).toEqual([])
  expect(printed).toBe('')
  expect(result.messages).toBe(messages)
  // Both answers are there in numbers, or nothing was tested.
  expect((statuses.get(200) ?? 0) > messages / 10 && (statuses.get(400) ?? 0) > messages / 10).toBe(true)
  expect(canaries).toBeGreaterThan(seconds / 5)
  expect(grownBytes).toBeLessThan(64 * megabyte)
})

test('H1: the same messages find what gets in where the edge guard is not there', { timeout: 300_000 }, async () => {
  const { violations } = await fuzz({ seed: 1, messages: 50_000, kind: 'bare', untilViolation: true })
  expect(violations.length).toBeGreaterThan(0)
})
