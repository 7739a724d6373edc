import { expect, test } from 'vitest'
import { adminApiPage } from './admin-api.ts'
import { documentText } from './blocks.ts'
import { configurationPage, unlisted } from './configuration.ts'

const outOfStep = 'the page is out of step with the code: run `npx pnpm@12.21.0 docs:write`'

test('G13: docs/configuration.md is what the schema, the defaults and the environment’s names come to', () => {
  expect(documentText('docs/configuration.md'), outOfStep).toBe(configurationPage())
})

test('G13: every option has a sentence, and every group of options a section', () => {
  expect(unlisted()).toEqual([])
  const bare = configurationPage()
    .split('\n')
    .filter((line) => /^\| `\w+` \|/.test(line) && !/see below/.test(line) && / \| {2}\|$/.test(line))
  expect(bare).toEqual([])
})

test('G10: docs/admin-api.md has every path of the admin API', async () => {
  expect(documentText('docs/admin-api.md'), outOfStep).toBe(await adminApiPage())
})
