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
  home = mkdtempSync(join(tmpdir(), 'gw-breaker-'))
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
    name: 'window boundary off by one',
    file: 'window.ts',
    from: '>= rollingWindowMs) this.#first++',
    to: '> rollingWindowMs) this.#first++',
  },
  {
    name: 'threshold off by one',
    file: 'window.ts',
    from: ">= failureThreshold) return 'failure_threshold'",
    to: "> failureThreshold) return 'failure_threshold'",
  },
  {
    name: 'only one bucket expires',
    file: 'window.ts',
    from: 'back < passed;',
    to: 'back < Math.min(passed, 1);',
  },
  {
    name: 'failure counted twice',
    file: 'window.ts',
    from: 'this.count(now)\n',
    to: 'this.count(now); this.count(now)\n',
  },
  {
    name: 'half-open place leaked by a trial that throws',
    file: 'circuit-breaker.ts',
    from: 'this.#figures.late++\n      this.#trials.free(slot)',
    to: 'this.#figures.late++',
  },
  {
    name: 'half-open place leaked by a failed trial',
    file: 'circuit-breaker.ts',
    from: "await era.report(new Outcome('failure', true, error))\n    this.#trials.free(slot)",
    to: "await era.report(new Outcome('failure', true, error))",
  },
  {
    name: 'one trial too many',
    file: 'circuit-breaker.ts',
    from: 'taken >= this.#settings.halfOpenMaxCalls',
    to: 'taken > this.#settings.halfOpenMaxCalls',
  },
  {
    name: 'the window on the wall clock',
    file: 'circuit-breaker.ts',
    from: 'const reason = window.failure(now)',
    to: 'const reason = window.failure(settings.wallNow())',
  },
  {
    name: 'the wait on the wall clock',
    file: 'options.ts',
    from: 'now: options.now ??',
    to: 'now: options.wallNow ??',
  },
  {
    name: 'late results counted',
    file: 'era.ts',
    from: 'if (!this.live) this.#owner.late()',
    to: 'if (false) this.#owner.late()',
  },
  {
    name: 'the second word of a permit heard',
    file: 'permit.ts',
    from: '    this.#slot = undefined\n',
    to: '',
  },
  {
    name: 'reset leaves the window full',
    file: 'circuit-breaker.ts',
    from: "this.#window.clear()\n    this.#enterState('CLOSED', 'breaker.reset'",
    to: "this.#enterState('CLOSED', 'breaker.reset'",
  },
  {
    name: 'a caller that aborts counts',
    file: 'attempt.ts',
    from: "signal?.aborted === true ? 'neutral'",
    to: "false ? 'neutral'",
  },
  {
    name: 'a hung trial is waited for',
    file: 'trials.ts',
    from: 'if (now < since) return undefined',
    to: 'if (now < since + 1e9) return undefined',
  },
]

async function find(name: string, runs: number, bug?: Bug): Promise<string> {
  const folder = join(home, name.replaceAll(' ', '-'))
  cpSync(source, folder, { recursive: true })
  if (bug !== undefined) {
    const path = join(folder, bug.file)
    const text = readFileSync(path, 'utf8')
    const parts = text.split(bug.from)
    expect(parts.length, `\`${bug.from}\` is in ${bug.file} once`).toBe(2)
    writeFileSync(path, parts.join(bug.to))
  }
  const { stdout } = await run(process.execPath, [program, folder, String(runs)])
  return stdout.trim()
}

test.concurrent('P7: the model finds nothing in the source as it is', async () => {
  expect(await find('as it is', 2_000)).toBe('nothing')
})

test.concurrent.each(bugs)(
  'P7: the model finds a planted bug: $name',
  async (bug) => {
    expect(await find(bug.name, 20_000, bug)).toMatch(/^caught after \d+$/)
  },
  120_000,
)
