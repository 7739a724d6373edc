import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { blocksOf, documents, documentText } from './blocks.ts'
import { addresses, extract, extracted, removeExtracted, run } from './programs.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const blocks = documents().flatMap((document) => blocksOf(document))
const programs = blocks.filter(({ language }) => language === 'ts')

/** What may stand behind a fence, and what becomes of such a block. */
const kinds: Readonly<Record<string, string>> = {
  ts: 'is compiled and run, and ends by itself',
  'ts serves': 'is compiled and run until its top level is through',
  'ts types': 'is compiled; a comment in front of it says why it is not run',
  sh: 'names only commands and packages that are there',
  'sh tour': 'is run against a real server, and prints what the next block shows',
  'text output': 'what the block before it printed',
  text: 'a picture',
  json: 'is read',
}

let env: Record<string, string> = {}

beforeAll(async () => {
  extract(programs)
  env = await addresses()
}, 120_000)

afterAll(() => removeExtracted())

test('every block is of a kind that something holds it to', () => {
  const odd = blocks.filter(({ language, flag }) => !(`${language} ${flag}`.trim() in kinds))
  expect(odd.map(({ document, line, language, flag }) => `${document}:${line} ${language} ${flag}`)).toEqual([])
})

test('a block that is not run says why, and such blocks are few', () => {
  const still = programs.filter(({ flag }) => flag === 'types')
  expect(still.filter(({ notRun }) => notRun === undefined)).toEqual([])
  expect(still.length).toBeLessThanOrEqual(3)
})

test('every block of TypeScript compiles in strict mode against what ships', async () => {
  expect(programs.length).toBeGreaterThan(25)
  const tsc = join(root, 'node_modules/.bin/tsc')
  const { stdout } = await promisify(execFile)(tsc, ['-p', join(extracted, 'all'), '--pretty', 'false']).catch(
    (error: { stdout: string }) => error,
  )
  expect(stdout).toBe('')
}, 240_000)

describe('a block that is a whole program runs', () => {
  for (const block of programs.filter(({ flag, file }) => flag !== 'types' && (file ?? 'main.ts') === 'main.ts')) {
    test.concurrent(`${block.document}:${block.line}`, { timeout: 120_000 }, async ({ expect }) => {
      expect(await run(block, env)).toBe('')
    })
  }
})

test('every block of JSON can be read', () => {
  for (const { language, text } of blocks) if (language === 'json') JSON.parse(text)
})

test('every command of this repository that a document names is there', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const npm = new Set(['install', 'start', 'test', ...Object.keys(scripts).map((name) => `run ${name}`)])
  const pnpm = new Set(['install', 'exec', 'test', ...Object.keys(scripts)])
  const unknown: string[] = []
  for (const document of documents()) {
    const text = documentText(document)
    for (const [, name = ''] of text.matchAll(/npx pnpm@[\d.]+ ([\w:-]+)/g))
      if (!pnpm.has(name)) unknown.push(`${document}: pnpm ${name}`)
    for (const [, name = ''] of text.matchAll(/\bnpm (run [\w:-]+|[a-z]+)/g))
      if (!npm.has(name)) unknown.push(`${document}: npm ${name}`)
  }
  expect(unknown).toEqual([])
})

test('what a document tells to install is ours, or what we are tested with', () => {
  const ours = ['packages/*/package.json', 'apps/*/package.json'].flatMap((pattern) =>
    globSync(pattern, { cwd: root }).map((file) => JSON.parse(readFileSync(join(root, file), 'utf8')).name as string),
  )
  const known = new Set(
    [...ours, ...readFileSync(join(root, 'pnpm-workspace.yaml'), 'utf8').matchAll(/^ {2}"?([\w@/.-]+)"?: \d/gm)].map(
      (entry) => (typeof entry === 'string' ? entry : entry[1]!),
    ),
  )
  const named = blocks.flatMap(({ document, text }) =>
    [...text.matchAll(/npm install ([^#\n]+)/g)].flatMap(([, list = '']) =>
      list
        .trim()
        .split(/\s+/)
        .filter((name) => !name.startsWith('-'))
        .map((name) => ({ document, name })),
    ),
  )
  expect(named.length).toBeGreaterThan(7)
  expect(named.filter(({ name }) => !known.has(name))).toEqual([])
})

test('every link inside the repository leads to a file, and every heading that a link names is there', () => {
  const broken: string[] = []
  for (const document of [...documents(), 'llms.txt']) {
    const text = documentText(document).replaceAll(/^```[\s\S]*?^```$/gm, '')
    for (const [, written, picture] of text.matchAll(/\]\(([^)\s]+)\)|\bsrc(?:set)?="([^"]+)"/g)) {
      const link = written ?? picture ?? ''
      if (/^(https?|mailto):/.test(link)) continue
      const [path = '', heading] = link.split('#')
      const target = path === '' ? document : join(document, '..', path)
      const found = globSync(target.replace(/\/$/, ''), { cwd: root }).length > 0
      if (!found) broken.push(`${document}: ${link}`)
      else if (heading !== undefined && !anchors(documentText(target)).has(heading)) broken.push(`${document}: ${link}`)
    }
  }
  expect(broken).toEqual([])
})

test('every file of the source that the architecture, the guarantees and the ADRs name is there', () => {
  const missing: string[] = []
  for (const document of documents().filter((path) => /^docs\/((architecture|guarantees)\.md|adr\/)/.test(path))) {
    for (const [, path = ''] of documentText(document).matchAll(/`([\w/.-]+\.tsx?|tests\/[\w-]+|docs\/[\w/-]+)`/g)) {
      const [folder = '', ...rest] = path.split('/')
      const places = [
        path,
        `packages/*/src/${path}`,
        `packages/${folder}/src/${rest.join('/')}`,
        `apps/${folder}/src/${rest.join('/')}`,
      ]
      if (!places.some((place) => globSync(place, { cwd: root }).length > 0)) missing.push(`${document}: ${path}`)
    }
  }
  expect(missing).toEqual([])
})

test('llms.txt names every page', () => {
  const pages = documents().filter((document) => !/\/adr\/|^tests\/|^docs\/examples\/.+\//.test(document))
  const text = documentText('llms.txt')
  expect(pages.filter((page) => !text.includes(`](${page})`))).toEqual([])
})

/** The anchors that a reader's viewer makes of headings. */
function anchors(markdown: string): Set<string> {
  return new Set(
    [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

test('a block is known by its language, its flag, the name of its file and why it is not run', () => {
  const markdown =
    'a\n```ts types\n// file: a.ts\nlet a\n```\n```sh\nb\n```\n<!-- not run: it needs a cloud -->\n\n```ts\nc\n```\n'
  expect(blocksOf('x.md', markdown)).toEqual([
    {
      document: 'x.md',
      line: 2,
      language: 'ts',
      flag: 'types',
      file: 'a.ts',
      notRun: undefined,
      text: '// file: a.ts\nlet a\n',
    },
    { document: 'x.md', line: 6, language: 'sh', flag: '', file: undefined, notRun: undefined, text: 'b\n' },
    {
      document: 'x.md',
      line: 11,
      language: 'ts',
      flag: '',
      file: undefined,
      notRun: 'it needs a cloud',
      text: 'c\n',
    },
  ])
  expect(() => blocksOf('x.md', '```ts\n')).toThrow('x.md:1')
})
