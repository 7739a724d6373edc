import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { denoJsonOf, libraries } from './runtimes/jsr.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

test.each(libraries)(
  '%s has a deno.json with the entries of its package.json; `pnpm docs:write` makes it',
  (folder) => {
    expect(readFileSync(join(root, folder, 'deno.json'), 'utf8')).toBe(denoJsonOf(folder))
  },
)
