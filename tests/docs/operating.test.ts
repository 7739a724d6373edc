import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createGateway } from '@gw/gateway'
import { expect, test } from 'vitest'
import { documents, documentText } from './blocks.ts'

const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))
const help = (...command: readonly string[]) =>
  execFileSync(process.execPath, [cli, ...command, '--help'], {
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  })

/** The names of the commands that a help text lists. */
function commandsOf(text: string): Set<string> {
  if (!/^Usage: .*\[command\]/m.test(text)) return new Set()
  return new Set([...text.matchAll(/^ {2}([a-z][a-z-]*)(?:\|[a-z-]+)?(?: |$)/gm)].map(([, name = '']) => name))
}

test('G12: every command of gw that a document names is there', () => {
  const groups = new Map<string, Set<string>>()
  const top = commandsOf(help())
  const unknown: string[] = []
  for (const document of documents()) {
    // In code: `gw requests ls`, or a line of a shell block.
    for (const [, first = '', second] of documentText(document).matchAll(
      /(?:`|^|pnpm@[\d.]+ )gw ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?(?=[ `\n<[-]|$)/gm,
    )) {
      if (!top.has(first)) {
        unknown.push(`${document}: gw ${first}`)
        continue
      }
      if (second === undefined) continue
      if (!groups.has(first)) groups.set(first, commandsOf(help(first)))
      // A command without commands of its own has an argument there.
      const inside = groups.get(first)!
      if (inside.size > 0 && !inside.has(second)) unknown.push(`${document}: gw ${first} ${second}`)
    }
  }
  expect(top.size).toBeGreaterThan(3)
  expect(unknown).toEqual([])
}, 120_000)

test('G8: every figure that docs/operating.md names is there', async () => {
  const gateway = await createGateway({ dataDir: join(mkdtempSync(join(tmpdir(), 'gw-docs-')), 'data') })
  gateway.get('/', (c) => c.text(''))
  await gateway.start()
  await gateway.request('/')
  const figures = await gateway.metrics!.registry.metrics()
  await gateway.close()
  const named = new Set([...documentText('docs/operating.md').matchAll(/`(gw_[a-z_]+)/g)].map(([, name = '']) => name))
  expect(named.size).toBeGreaterThan(5)
  expect([...named].filter((name) => !figures.includes(name))).toEqual([])
})
