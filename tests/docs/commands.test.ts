import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { blocksOf, documents, documentText } from './blocks.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const readmes = documents().filter((document) => document.endsWith('README.md'))

/** Where `npm test` runs the commands of the READMEs: the file, and what stands there. Often with smaller numbers. */
const runs: Readonly<Record<string, readonly [file: string, text: string]>> = {
  'npm start': ['tools/test.mjs', 'tryStart()'],
  'npm test': ['.ci/run', 'npm test'],
  // The same commands with larger numbers, by hand or by night.
  'npm run nightly': ['tools/test-on-servers.mjs', "nightly ? '2000' : '10'"],
  'npm install': ['tools/test.mjs', "'pack:check'"],
  'pnpm pack:check': ['tools/test.mjs', "'pack:check'"],
  'pnpm build': ['tools/test.mjs', "'build'"],
  'pnpm crash --cycles': ['tools/test-on-servers.mjs', "pnpm('run', 'crash', '--cycles'"],
  'pnpm crash --cycles --storage-faults': ['tools/test-on-servers.mjs', "'--storage-faults'"],
  'pnpm crash --cycles --full-disk': ['tools/test-on-servers.mjs', "'--full-disk'"],
  'pnpm crash --each-call --every': ['tools/test-on-servers.mjs', "'--each-call', '--every'"],
  'pnpm crash --cycles --power-cut': ['tools/test-on-servers.mjs', "'--power-cut'"],
  'pnpm sim --seeds': ['tools/simulate.mjs', "sim('--seeds'"],
  'sim --mutants': ['tools/simulate.mjs', "sim('--mutants'"],
  'sim --seed --trace': ['tests/exhaustive.test.ts', "'--trace'"],
  'pnpm bench durable': ['tests/bench.test.ts', "'durable'"],
  'node bench/breaker.ts': ['tests/bench.test.ts', "'breaker'"],
  'node bench/pool.ts': ['tests/bench.test.ts', "'pool'"],
  'node bench/replay.ts': ['tests/bench.test.ts', "'replay'"],
  'node bench/group-commit.ts': ['tests/bench.test.ts', "'group-commit'"],
  'pnpm runtimes': ['tests/runtimes.test.ts', 'runtimes'],
  'pnpm docs:api': ['tests/docs/api.test.ts', 'typedoc'],
  'pnpm screenshots': ['tests/browser/screenshots.test.ts', 'page.screenshot'],
  'node tests/services/run.ts --s3': ['tools/test.mjs', "'tests/services/run.ts', '--s3'"],
  'npx @gw/dedup conformance': ['packages/dedup/test/conformance.test.ts', "[cli, 'conformance'"],
  ...Object.fromEntries(
    ['payments', 'report', 'proxy', 'worker'].map(
      (name) => [`pnpm example:${name}`, ['tests/docs/examples.test.ts', `  ${name}:`]] as const,
    ),
  ),
}

/** The commands of a document, without their values: `pnpm crash --cycles`, `gw requests ls`. */
function commandsOf(document: string): string[] {
  const blocks = blocksOf(document).filter(({ language }) => language === 'sh')
  const inline = documentText(document)
    .replaceAll(/^```[\s\S]*?^```$/gm, '')
    .matchAll(/`([^`\n]+)`/g)
  return [...blocks.flatMap(({ text }) => text.split('\n')), ...[...inline].map(([, code = '']) => code)]
    .flatMap((line) => line.split('&&'))
    .map((line) =>
      line
        .trim()
        .replace(/^npx pnpm@[\d.]+/, 'pnpm')
        .replace(/^pnpm gw /, 'gw '),
    )
    .filter((line) => /^(npm|npx|pnpm|node|gw|sim|bun|deno) /.test(line))
    .map(bare)
}

function bare(command: string): string {
  const [program = '', ...words] = command.replace(/ (#|-- ).*/, '').split(/\s+/)
  if (program === 'npm' && words[0] === 'install') return 'npm install'
  if (program === 'npx' || program === 'gw')
    return [program, ...words.filter((word) => /^[@a-z/]+$/.test(word))].slice(0, 3).join(' ')
  if (program === 'node') {
    const file = words.findIndex((word) => word.endsWith('.ts'))
    return ['node', ...words.slice(file)].join(' ')
  }
  return [program, ...words.filter((word) => /^(--)?[a-z][a-z:-]+$/.test(word))].join(' ')
}

test('a command is known by its words, without their values', () => {
  expect(bare('pnpm crash --cycles 20 --power-cut')).toBe('pnpm crash --cycles --power-cut')
  expect(bare('node --conditions=@gw/source bench/group-commit.ts')).toBe('node bench/group-commit.ts')
  expect(bare("npx @gw/dedup conformance --url http://a --header 'b: c'")).toBe('npx @gw/dedup conformance')
  expect(bare('npm start    # installs')).toBe('npm start')
})

test.each(readmes)('npm test runs every command of %s', (document) => {
  const unrun = [...new Set(commandsOf(document))].filter((command) => {
    if (command.startsWith('gw ')) return !ranByGw(command)
    const [file, text] = runs[command] ?? []
    return file === undefined || text === undefined || !readFileSync(join(root, file), 'utf8').includes(text)
  })
  expect(unrun).toEqual([])
})

/** Whether the tests of the command line have a call of it, such as `gw(['requests', 'ls'`. */
function ranByGw(command: string): boolean {
  const [, ...words] = command.split(' ')
  const call = new RegExp(`\\[?${words.map((word) => `'${word}'`).join(', ')}`)
  const files = [
    'apps/gateway/test/cli-*.test.ts',
    'apps/gateway/test/config.test.ts',
    'tests/*.test.ts',
    'tests/crash/server.ts',
  ]
  return files
    .flatMap((pattern) => globSync(pattern, { cwd: root }))
    .some((file) => call.test(readFileSync(join(root, file), 'utf8')))
}
