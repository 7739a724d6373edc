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
    name: 'an aborted request keeps its place',
    file: 'factory-pool.ts',
    from: 'this.#queue.remove(request)\n    this.#leave(request)',
    to: 'this.#leave(request)',
  },
  {
    name: 'releasing twice is not noticed',
    file: 'lease.ts',
    from: 'if (this.#entry.loan === this.#loan) this.#lender.giveBack(this.#entry, false)',
    to: 'this.#lender.giveBack(this.#entry, false)',
  },
  {
    name: 'one connection too many',
    file: 'factory-pool.ts',
    from: '>= this.#engine.max',
    to: '> this.#engine.max',
  },
  {
    name: 'a connection that is being closed takes no place',
    file: 'factory-pool.ts',
    from: 'this.size + this.#connector.limbo >= ',
    to: 'this.size >= ',
  },
  {
    name: 'a connect given up takes no place',
    file: 'connector.ts',
    from: 'this.limbo++\n        let counted = true',
    to: 'let counted = false',
  },
  {
    name: 'equal priorities served backwards',
    file: 'wait-queue.ts',
    from: 'before.key > waiter.key',
    to: 'before.key >= waiter.key',
  },
  {
    name: 'only the first timeout fires',
    file: 'request.ts',
    from: 'if (earliest !== Number.POSITIVE_INFINITY) this.arm(earliest, now)',
    to: '',
  },
  {
    name: 'a refresh forgets what is on loan',
    file: 'factory-pool.ts',
    from: 'this.#generation++',
    to: '',
  },
  {
    name: 'a connection that died on loan is lent again',
    file: 'factory-pool.ts',
    from: 'entry.lost = true\n',
    to: '\n',
  },
  {
    name: 'a finished test is still waited for',
    file: 'factory-pool.ts',
    from: 'this.#queue.endTest()\n',
    to: '\n',
  },
  {
    name: 'a drain does not wait for loans',
    file: 'factory-pool.ts',
    from: 'if (this.#leased === 0 && this.#queue.size === 0)',
    to: 'if (this.#queue.size === 0)',
  },
  {
    name: 'a returned connection wakes nobody',
    file: 'engine.ts',
    from: 'this._dispense()',
    to: '',
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
  const { stdout } = await run(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, folder, String(runs)],
    {
      timeout: 60_000,
    },
  )
  return stdout.trim()
}

test.concurrent('P8: the model finds nothing in the source as it is', async () => {
  expect(await find('as it is', 1_000)).toMatch(/^nothing/)
})

test.concurrent.each(bugs)(
  'P8: the model finds a planted bug: $name',
  async (bug) => {
    const found = await find(bug.name, 20_000, bug)
    console.log(`${bug.name}: ${found.split('\n')[0]}`)
    expect(found).toMatch(/^caught after \d+/)
  },
  120_000,
)
