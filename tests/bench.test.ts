import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const bench = fileURLToPath(new URL('./bench/bench.ts', import.meta.url))
const run = promisify(execFile)

// What they measure here says nothing: one short round, beside other work.
test.each([
  ['durable', ['--seconds', '0.2']],
  ['durable-postgres', ['--seconds', '0.2']],
  ['overhead', []],
  ['breaker', []],
  ['pool', []],
  ['replay', ['--seconds', '0.2']],
  ['events', ['--seconds', '0.1', '--small', '1000', '--large', '3000']],
  ['group-commit', ['--seconds', '0.1']],
  ['proxy', ['--seconds', '0.2']],
  ['growth', ['--runs', '10000']],
  ['nodes', ['--seconds', '0.2']],
  ['cold', []],
])('`bench %s` runs, and prints its rows as JSON', { timeout: 300_000 }, async (suite, options) => {
  const { stdout } = await run(process.execPath, [bench, suite, '--rounds', '1', ...options, '--json'])
  const printed = JSON.parse(stdout)
  expect(printed).toMatchObject({ suite, machine: { cores: expect.any(Number) } })
  expect(printed.rows.length).toBeGreaterThan(2)
  for (const row of printed.rows)
    expect(row).toMatchObject({ name: expect.any(String), value: expect.any(Number), unit: expect.any(String) })
})

test('an unknown suite is an error that names those there are', async () => {
  await expect(run(process.execPath, [bench, 'speed'])).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^Expected a suite: durable, .*cold/),
  })
})
