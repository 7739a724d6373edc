// What each package's deno.json says, which JSR publishes from: the same entries as its package.json, on the sources.
// `node tests/runtimes/jsr.ts` publishes the packages to JSR, `--dry-run` shows whether it would take them.
import { execFileSync } from 'node:child_process'
import { cpSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

interface Manifest {
  readonly name: string
  readonly version: string
  readonly license: string
  readonly private?: boolean
  readonly exports: Readonly<Record<string, { readonly '@gw/source': string } | string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

/** The folders of the packages that JSR gets: the libraries. The server is installed from npm. */
export const libraries: readonly string[] = globSync('packages/*', { cwd: root }).sort()

const manifestOf = (folder: string) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest

/** The text of a package's deno.json. */
export function denoJsonOf(folder: string): string {
  const manifest = manifestOf(folder)
  const { name, version, license, dependencies = {}, peerDependencies = {} } = manifest
  const exports = Object.fromEntries(
    Object.entries(manifest.exports).flatMap(([entry, to]) =>
      typeof to === 'string' ? [] : [[entry, to['@gw/source']]],
    ),
  )
  const imports = Object.fromEntries(
    Object.entries({ ...dependencies, ...peerDependencies }).map(([library, range]) => [
      library,
      library.startsWith('@gw/') ? `jsr:${library}@^${version}` : `npm:${library}@${rangeOf(folder, library, range)}`,
    ]),
  )
  const publish = { include: ['src', 'README.md', 'LICENSE', 'deno.json'] }
  return `${JSON.stringify({ name, version, license, exports, imports, publish }, undefined, 2)}\n`
}

/** A range that is closed above: an open one would be the newest version of the day, whatever it breaks. */
function rangeOf(folder: string, library: string, range: string): string {
  if (range === 'catalog:') return manifestOf(join(folder, 'node_modules', library)).version
  return range.replace(/^>=/, '^')
}

/** Publishes every library, in an order in which each finds what it needs; throws with what Deno says where one is refused. */
export function publish({ dryRun }: { readonly dryRun: boolean }): void {
  // A workspace of Deno's own: in ours it would look into the folders that pnpm installs.
  const workspace = mkdtempSync(join(tmpdir(), 'gw-jsr-'))
  try {
    writeFileSync(join(workspace, 'deno.json'), JSON.stringify({ workspace: libraries.map((folder) => `./${folder}`) }))
    for (const folder of libraries)
      for (const name of ['src', 'README.md', 'LICENSE', 'deno.json'])
        cpSync(join(root, folder, name), join(workspace, folder, name), { recursive: true, dereference: true })
    const deno = fileURLToPath(new URL('./node_modules/.bin/deno', import.meta.url))
    const args = ['publish', '--allow-dirty', ...(dryRun ? ['--dry-run'] : [])]
    execFileSync(deno, args, { cwd: workspace, stdio: ['ignore', 'ignore', 'pipe'], timeout: 300_000 })
  } finally {
    rmSync(workspace, { recursive: true, force: true })
  }
}

if (import.meta.main) publish({ dryRun: process.argv.includes('--dry-run') })
