import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { documentText } from './blocks.ts'
import { configurationPage, unlisted } from './configuration.ts'

test('G13: docs/configuration.md is what the schema, the defaults and the environment’s names come to', () => {
  const page = configurationPage()
  if (process.env['GW_DOCS_WRITE'] !== undefined)
    writeFileSync(fileURLToPath(new URL('../../docs/configuration.md', import.meta.url)), page)
  expect(documentText('docs/configuration.md')).toBe(page)
})

test('G13: every option has a sentence, and every group of options a section', () => {
  expect(unlisted()).toEqual([])
  const bare = configurationPage()
    .split('\n')
    .filter((line) => /^\| `\w+` \|/.test(line) && !/see below/.test(line) && / \| {2}\|$/.test(line))
  expect(bare).toEqual([])
})
