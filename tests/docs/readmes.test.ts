import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')

/** The files in which each package states its options. */
const packages: Readonly<Record<string, readonly string[]>> = {
  'packages/sqlite': ['database.ts'],
  'packages/postgres': ['postgres-database.ts', 'connect.ts'],
  'packages/checkpoint': ['manager-options.ts', 'middleware.ts', 'stores/tiered.ts', 'stores/s3.ts', 'seal.ts'],
  'packages/dedup': ['options.ts', 'deduplicator-options.ts'],
  'packages/events': ['event-store.ts'],
  'packages/breaker': ['options.ts', 'sharing.ts', 'registry.ts', 'middleware.ts', 'fetch.ts'],
  'packages/pool': ['options.ts', 'middleware.ts', 'factory.ts'],
  'apps/gateway': ['options.ts'],
}

describe.each(Object.entries(packages))('the README of %s', (folder, files) => {
  const readme = read(`${folder}/README.md`)

  test('has the parts that every README of a package has, in their order', () => {
    const wanted = [
      /^# @gw\/\w+$/m,
      /^```sh\nnpm install @gw\//m,
      /^```ts/m,
      /^## Behaviour$/m,
      /^1\. /m,
      /^#+ Options|^## `\w+`$/m,
      /^## (Errors|Problems)$/m,
      /^## Limits$/m,
      /^\*\*When not to use it\.\*\* /m,
    ]
    const places = wanted.map((part) => readme.search(part))
    expect(places).not.toContain(-1)
    expect(places).toEqual(places.toSorted((a, b) => a - b))
  })

  test('names every code of its errors', () => {
    const codes = ['errors.ts', 'problem.ts'].flatMap((file) => {
      const path = `${folder}/src/${file}`
      if (!existsSync(join(root, path))) return []
      const unions = read(path).matchAll(/Code =\s*((?:\|?\s*'[a-z_]+'\s*)+)/g)
      return [...unions].flatMap(([, union = '']) => [...union.matchAll(/'([a-z_]+)'/g)].map(([, code = '']) => code))
    })
    expect(codes.length).toBeGreaterThan(3)
    expect(codes.filter((code) => !readme.includes(`\`${code}\``))).toEqual([])
  })

  test('names every option', () => {
    const options = files.flatMap((file) =>
      [...read(`${folder}/src/${file}`).matchAll(/^export interface \w*Options\b[^{]*\{\n([\s\S]*?)^\}/gm)].flatMap(
        ([, body = '']) => [...body.matchAll(/^ {2}(?:readonly )?(\w+)\??:/gm)].map(([, name = '']) => name),
      ),
    )
    expect(options.length).toBeGreaterThan(0)
    expect(options.filter((name) => !new RegExp(`\`[^\`]*\\b${name}\\b[^\`]*\``).test(readme))).toEqual([])
  })
})

describe('a promise has its test', () => {
  /** `K1–K3` and `S5, P1` as single letters with their numbers. */
  const lettersOf = (text: string) =>
    new Set(
      [...text.matchAll(/\b([A-Z])(\d{1,2})(?:–(?:[A-Z])?(\d{1,2}))?\b/g)].flatMap(([, letter, from = '', to = from]) =>
        Array.from({ length: Number(to) - Number(from) + 1 }, (_, i) => `${letter}${Number(from) + i}`),
      ),
    )
  /** Held by a bench: a figure, and the command that prints it. */
  const measured = new Set(['packages/breaker B12'])

  test.each(Object.keys(packages))('every letter that the behaviours of %s name stands in its tests', (folder) => {
    const [, behaviour = ''] = /^## Behaviour\n([\s\S]*?)^## /m.exec(read(`${folder}/README.md`)) ?? []
    const promises = [...behaviour.matchAll(/^\d+\. .*$/gm)].map(([line]) => line)
    expect(promises.length).toBeGreaterThan(7)
    const named = lettersOf(promises.join('\n').replaceAll(/`[^`]*`/g, ''))
    const patterns = [`${folder}/test/**/*.ts`, `${folder}/src/testing.ts`, 'tests/*.test.ts', 'tests/docs/*.test.ts']
    const tests = globSync(patterns, { cwd: root }).map(read).join('\n')
    const kept = lettersOf(tests)
    expect([...named].filter((letter) => !kept.has(letter) && !measured.has(`${folder} ${letter}`))).toEqual([])
  })
})

test('every library that a package brings has its reason in an ADR', () => {
  const reasons = read('docs/adr/0006-libraries-rather-than-our-own.md')
  const brought = ['packages/*/package.json', 'apps/*/package.json'].flatMap((pattern) =>
    globSync(pattern, { cwd: root }).flatMap((file) => {
      const { dependencies = {}, peerDependencies = {} } = JSON.parse(read(file)) as Record<string, object>
      return Object.keys({ ...dependencies, ...peerDependencies })
    }),
  )
  const libraries = [...new Set(brought)].filter((name) => !name.startsWith('@gw/'))
  expect(libraries.length).toBeGreaterThan(10)
  expect(libraries.filter((name) => !reasons.includes(`\`${name}\``))).toEqual([])
})
