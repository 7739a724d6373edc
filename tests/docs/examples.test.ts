import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }

const shown: Readonly<Record<string, string>> = {
  payments: 'pi_1 succeeded, pi_1 again\ncalls at the bank: 4, charges: 1\n',
  report: '202, to be found at its location\nkilled in the middle\n2026-11: 30 items, begun in 2 processes\n',
  proxy:
    '201 {"orders":1}\n201 {"orders":1} replayed: true\n400 without a key\n200 straight through\n503 with the service away Retry-After: true\n',
  worker:
    '201 {"order":1}\n201 {"order":1} replayed\n201 {"order":1} replayed after a restart\n503 Retry-After: true\n',
}

describe('an example runs by its one command, prints what it shows, and ends', () => {
  for (const [name, output] of Object.entries(shown)) {
    test(name, { timeout: 120_000 }, async () => {
      const file = /^node (\S+)$/.exec(scripts[`example:${name}`] ?? '')?.[1] ?? ''
      const { stdout } = await promisify(execFile)(process.execPath, [join(root, file)], { timeout: 100_000 })
      expect(stdout).toBe(output)
    })
  }
})

test('each example of the repository is run here', () => {
  const names = Object.keys(scripts).filter((name) => name.startsWith('example:'))
  expect(names.sort()).toEqual(
    Object.keys(shown)
      .map((name) => `example:${name}`)
      .sort(),
  )
})
