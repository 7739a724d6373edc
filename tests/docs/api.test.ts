import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const folder = fileURLToPath(new URL('../../docs/api', import.meta.url))

test('the API reference has every exported class, interface, type and variable with what it is, and can be made without a warning', {
  timeout: 240_000,
}, async () => {
  const typedoc = join(folder, 'node_modules/typedoc/bin/typedoc')
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [typedoc, '--emit', 'none'], { cwd: folder })
  expect(stdout + stderr).not.toMatch(/warning|error/i)
})
