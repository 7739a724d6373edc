import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const source = fileURLToPath(new URL('../../src', import.meta.url))
const program = fileURLToPath(new URL('run.ts', import.meta.url))
const run = promisify(execFile)
let home: string
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'gw-pool-'))
  symlinkSync(fileURLToPath(new URL('../../node_modules', import.meta.url)), join(home, 'node_modules'))
  writeFileSync(join(home, 'package.json'), '{ "type": "module" }')
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

interface Bug {
  readonly name: string
  readonly file: string
  readonly from: string
  readonly to: string
}

const bugs: readonly Bug[] = [
  {
    name: 'a lease is given back twice',
    file: 'lease.ts',
    from: 'if (this.#entry.loan === this.#loan) this.#lender.giveBack(this.#entry, false)',
    to: 'this.#lender.giveBack(this.#entry, false)',
  },
  {
    name: 'an aborted request keeps its place',
    file: 'factory-pool.ts',
    from: 'this.#queue.remove(request)\n    this.#leave(request)\n    this.counters.failedAcquisitions++',
    to: 'this.#leave(request)\n    this.counters.failedAcquisitions++',
  },
  {
    name: 'one connection too many',
    file: 'factory-pool.ts',
    from: 'this.#connector.limbo >= this.#engine.max',
    to: 'this.#connector.limbo > this.#engine.max',
  },
  {
    name: 'a connect that was given up is not counted',
    file: 'factory-pool.ts',
    from: 'this.#entries.size + this.#coming + this.#connector.limbo >=',
    to: 'this.#entries.size + this.#coming >=',
  },
  {
    name: 'a deadline passes unnoticed',
    file: 'factory-pool.ts',
    from: 'if (request.deadlineMs <= now) this.#expire(request)',
    to: 'if (request.deadlineMs + 1_000 <= now) this.#expire(request)',
  },
]

async function find(name: string, runs: number, bug?: Bug): Promise<string> {
  const folder = join(home, name.replaceAll(' ', '-'))
  cpSync(source, folder, { recursive: true })
  if (bug !== undefined) {
    const path = join(folder, bug.file)
    const parts = readFileSync(path, 'utf8').split(bug.from)
    expect(parts.length, `\`${bug.from}\` is in ${bug.file} once`).toBe(2)
    writeFileSync(path, parts.join(bug.to))
  }
  const { stdout } = await run(process.execPath, [program, folder, String(runs)])
  return stdout.trim()
}

test.concurrent('P8: the schedules find nothing in the source as it is', { timeout: 60_000 }, async () => {
  expect(await find('as it is', 1_000)).toBe('nothing')
})

test.concurrent.each(bugs)('P8: the schedules find a planted bug: $name', { timeout: 120_000 }, async (bug) => {
  expect(await find(bug.name, 20_000, bug)).toMatch(/^caught after \d+$/)
})
