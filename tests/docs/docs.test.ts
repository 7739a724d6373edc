import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Block, blocksOf, documents } from './blocks.ts'

const run = promisify(execFile)
const here = fileURLToPath(new URL('.', import.meta.url))
const root = join(here, '../..')
const extracted = join(here, 'extracted')
const blocks = documents().flatMap((document) => blocksOf(document))
const programs = blocks.filter(({ language, flag }) => language === 'ts' && flag !== 'signature')

const folderOf = ({ document }: Block) => join(extracted, document.replaceAll(/[/.]/g, '-').toLowerCase())
const fileOf = (block: Block) => join(folderOf(block), block.file ?? `line-${block.line}.ts`)

beforeAll(() => {
  rmSync(extracted, { recursive: true, force: true })
  for (const block of programs) {
    mkdirSync(folderOf(block), { recursive: true })
    writeFileSync(fileOf(block), `${block.text}export {}\n`)
  }
  writeFileSync(
    join(extracted, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        module: 'nodenext',
        target: 'es2022',
        lib: ['es2023', 'dom', 'dom.iterable', 'dom.asynciterable', 'esnext.disposable'],
        types: ['node'],
        noEmit: true,
        skipLibCheck: true,
        allowImportingTsExtensions: true,
      },
      include: ['.'],
    }),
  )
})

afterAll(() => rmSync(extracted, { recursive: true, force: true }))

test('every block of TypeScript compiles in strict mode against what ships', async () => {
  expect(programs.length).toBeGreaterThan(10)
  const tsc = join(root, 'node_modules/.bin/tsc')
  const { stdout } = await run(tsc, ['-p', extracted, '--pretty', 'false']).catch((error: { stdout: string }) => error)
  expect(stdout).toBe('')
}, 120_000)

/** What it opens may keep it alive: a program that has not failed after this long is up, and is ended. */
const upAfterMs = 5_000

describe('a block that is a whole program runs: to its end, or until it is ended', () => {
  for (const block of programs.filter(({ flag, file }) => flag !== 'types' && (file ?? 'main.ts') === 'main.ts')) {
    test.concurrent(`${block.document}:${block.line}`, async ({ expect }) => {
      const cwd = mkdtempSync(join(tmpdir(), 'gw-docs-'))
      try {
        const ended = await run(process.execPath, [fileOf(block)], { cwd, timeout: upAfterMs }).then(
          () => '',
          (error: { killed: boolean; stderr: string }) => (error.killed ? '' : error.stderr),
        )
        expect(ended).toBe('')
      } finally {
        rmSync(cwd, { recursive: true, force: true })
      }
    })
  }
})

test('every command of this repository that a document names is there', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const npm = new Set(['install', 'start', 'test', ...Object.keys(scripts).map((name) => `run ${name}`)])
  const pnpm = new Set(['install', 'exec', ...Object.keys(scripts)])
  const unknown: string[] = []
  const texts = documents().map((document) => [document, readFileSync(join(root, document), 'utf8')] as const)
  for (const [document, text] of texts) {
    for (const [, name = ''] of text.matchAll(/npx pnpm@[\d.]+ ([\w:-]+)/g))
      if (!pnpm.has(name)) unknown.push(`${document}: pnpm ${name}`)
    for (const [, name = ''] of text.matchAll(/\bnpm (run [\w:-]+|[a-z]+)/g))
      if (!npm.has(name)) unknown.push(`${document}: npm ${name}`)
  }
  expect(unknown).toEqual([])
})

test('a block is known by its language, its flag and the name of its file', () => {
  const markdown = 'a\n```ts types\n// file: a.ts\nlet a\n```\n```sh\nb\n```\n'
  expect(blocksOf('x.md', markdown)).toEqual([
    { document: 'x.md', line: 2, language: 'ts', flag: 'types', file: 'a.ts', text: '// file: a.ts\nlet a\n' },
    { document: 'x.md', line: 6, language: 'sh', flag: '', file: undefined, text: 'b\n' },
  ])
  expect(() => blocksOf('x.md', '```ts\n')).toThrow('x.md:1')
})
