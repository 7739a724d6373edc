import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { proof } from './runtimes/proof.ts'
import { withTable } from './runtimes/table.ts'

test('G15: every cell of package and runtime is ok now, and the READMEs say so', async () => {
  const command = fileURLToPath(new URL('./runtimes/runtimes.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [command, '--check'])
  expect(stdout).not.toContain('FAILED')
}, 600_000)

test('a proof tells which of its tests failed, and goes on', async () => {
  const outcome = await proof((run) => {
    run('good', async () => {})
    run('bad', async () => {
      throw new Error('no')
    })
    run('good again', async () => {})
  }).run()
  expect(outcome).toEqual({ passed: 2, failures: [{ name: 'bad', error: expect.stringContaining('no') }] })
})

test('a table replaces the one between the marks, and is added where there are none', () => {
  const added = withTable('# a\n', '| old |')
  expect(added).toBe('# a\n\n## Runtimes\n\n<!-- runtimes -->\n| old |\n<!-- /runtimes -->\n')
  expect(withTable(`${added}\nrest\n`, '| new |')).toBe(`${added.replace('old', 'new')}\nrest\n`)
})
