import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { liveThrough } from './sim/threads.ts'

const length = process.env['GW_TEST_LONG'] === '1' ? 3 : 2

/** Lives through every history of up to `operations` operations, with each fault at each of its writes. */
const exhaust = (operations: number, mutant?: string) =>
  liveThrough({
    from: 0,
    to: 2,
    threads: 2,
    mutant,
    untilFound: mutant !== undefined,
    exhaustive: { length: operations, nodes: 1 },
  })

test(`reliability D2: no history of ${length} operations breaks a rule, whichever write loses its answer or its process`, async () => {
  const { found, counts, seeds, seconds } = await exhaust(length)
  expect(found.map(({ broken }) => broken[0])).toEqual([])
  console.log(`${counts['history']} histories, ${seeds} cases in ${seconds.toFixed(1)} s`)
  expect(counts['history']).toBe(length === 3 ? 258 : 42)
  for (const fate of ['lost', 'crash_unheard', 'crash_before']) expect(counts[`fault ${fate}`]).toBeGreaterThan(100)
}, 7_200_000)

test('reliability D2: it finds bugs that are planted', async () => {
  for (const bug of ['5', '12', '24', 'S1']) expect((await exhaust(1, bug)).found, bug).not.toEqual([])
}, 120_000)

test('reliability D2: `sim --seed n --trace` replays one history exactly', async () => {
  const sim = fileURLToPath(new URL('./sim/sim.ts', import.meta.url))
  const replay = async () => (await promisify(execFile)(process.execPath, [sim, '--seed', '7', '--trace'])).stdout
  const [one, other] = await Promise.all([replay(), replay()])
  expect(one).toMatch(/^seed 7, trace [0-9a-f]{16}$/m)
  expect(one.split('\n').length).toBeGreaterThan(50)
  expect(other).toBe(one)
})
