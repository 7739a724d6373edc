// `pnpm pack:check`: packs each package, installs it with npm in an empty project with only its peers, and uses it there in strict
// TypeScript and in plain JavaScript on Node, Bun and Deno. Says what is in each tarball, how large each core is, and whether JSR
// would take the sources.
import { execFile } from 'node:child_process'
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { publish } from './jsr.ts'
import { runtimes } from './runtime.ts'
import { cores, sizeOf } from './sizes.ts'
import { rows } from './table.ts'
import { uses } from './uses.ts'

const exec = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
/** Their declarations name Node's own types, which a project on Node has. */
const needsNodeTypes: ReadonlySet<string> = new Set(['@gw/gateway', '@gw/postgres'])
const home = mkdtempSync(join(tmpdir(), 'gw-pack-'))
const problems: string[] = []

interface Manifest {
  readonly name: string
  readonly scripts?: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

const manifestOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

/** Packs a package and gives its tarball; looks at what is in it. */
async function pack(folder: string): Promise<string> {
  const { name } = manifestOf(folder)
  const into = join(home, 'tarballs')
  await exec('npx', ['pnpm@12.21.0', 'pack', '--pack-destination', into], { cwd: folder })
  const tarball = globSync(join(into, `${name.replace('@', '').replace('/', '-')}-[0-9]*.tgz`))[0]
  if (tarball === undefined) throw new Error(`${name} was not packed`)
  const files = (await exec('tar', ['tzf', tarball])).stdout.trim().split('\n')
  for (const wanted of ['package/LICENSE', 'package/README.md', 'package/dist/index.js', 'package/dist/index.d.ts'])
    if (!files.includes(wanted)) problems.push(`${name}: ${wanted} is not in the tarball`)
  const other = files.filter((file) => !/^package\/((dist|src)\/|(LICENSE|README\.md|package\.json)$)/.test(file))
  if (other.length > 0) problems.push(`${name}: the tarball has ${other.join(', ')}`)
  const packed = JSON.parse((await exec('tar', ['xzOf', tarball, 'package/package.json'])).stdout) as Manifest
  for (const script of ['preinstall', 'install', 'postinstall', 'prepare'])
    if (packed.scripts?.[script] !== undefined) problems.push(`${name}: has the install script ${script}`)
  const ranges = JSON.stringify([packed.dependencies, packed.peerDependencies])
  if (/workspace:|catalog:/.test(ranges)) problems.push(`${name}: ${ranges} means nothing outside of the workspace`)
  return tarball
}

const folders = [...globSync('packages/*', { cwd: root }), 'apps/gateway'].map((folder) => join(root, folder)).sort()
const columns = await runtimes()
try {
  mkdirSync(join(home, 'tarballs'))
  const tarballs = new Map<string, string>()
  for (const folder of folders) tarballs.set(manifestOf(folder).name, await pack(folder))
  for (const folder of folders) {
    const manifest = manifestOf(folder)
    const { name } = manifest
    const project = join(home, basename(folder))
    mkdirSync(project)
    // Peers come from the tarballs where they are ours, and in the versions that the suites run on where they are not.
    const installed = new Map<string, string>([[name, `file:${tarballs.get(name)}`]])
    for (const peer of Object.keys({ ...manifest.peerDependencies, ...manifest.dependencies })) {
      const own = tarballs.get(peer)
      if (own !== undefined) installed.set(peer, `file:${own}`)
      else if (manifest.peerDependencies?.[peer] !== undefined) installed.set(peer, versionOf(folder, peer))
    }
    if (needsNodeTypes.has(name)) installed.set('@types/node', versionOf(folder, '@types/node'))
    const overrides = Object.fromEntries([...tarballs].map(([own, file]) => [own, `file:${file}`]))
    for (const own of installed.keys()) delete overrides[own]
    writeFileSync(
      join(project, 'package.json'),
      JSON.stringify({ type: 'module', private: true, dependencies: Object.fromEntries(installed), overrides }),
    )
    await exec('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], { cwd: project })
    const use = uses[name]
    if (use === undefined) {
      problems.push(`${name}: there is no program that uses it`)
      continue
    }
    writeFileSync(join(project, 'use.js'), use)
    writeFileSync(join(project, 'use.ts'), use)
    const flags = [
      '--strict',
      '--noEmit',
      '--module',
      'nodenext',
      '--target',
      'es2022',
      '--lib',
      'es2023,dom,dom.iterable,dom.asynciterable,esnext.disposable',
      '--types',
      needsNodeTypes.has(name) ? 'node' : '',
    ]
    const typed = await exec(join(root, 'node_modules/.bin/tsc'), ['--ignoreConfig', ...flags, 'use.ts'], {
      cwd: project,
    }).then(
      () => 'ok',
      ({ stdout }: { stdout: string }) => {
        // drizzle's declarations do not compile without every driver that it knows.
        const ours = stdout
          .split('\n')
          .filter((line) => /^\S/.test(line) && !line.startsWith('node_modules/drizzle-orm/'))
        if (ours.length === 0) return 'ok'
        problems.push(`${name}: tsc says\n${ours.join('\n').slice(0, 2_000)}`)
        return 'FAILED'
      },
    )
    const results: string[] = []
    for (const { name: runtime, command } of columns) {
      if (command === undefined || notOn(folder, runtime)) continue
      const [program, ...args] = command
      const result = await exec(program, [...args, 'use.js'], { cwd: project, timeout: 30_000 }).then(
        ({ stdout }) => (stdout.trim().endsWith('used') ? 'ok' : 'FAILED'),
        ({ stderr }: { stderr: string }) => {
          problems.push(`${name} on ${runtime}:\n${stderr.slice(0, 2_000)}`)
          return 'FAILED'
        },
      )
      results.push(`${runtime} ${result}`)
    }
    const core = cores.find((each) => each.name === name)
    let size = ''
    if (core !== undefined) {
      const { core: bytes } = await sizeOf(core)
      size = `core ${bytes} of ${core.budgetBytes} bytes gzipped; `
      if (bytes > core.budgetBytes)
        problems.push(`${name}: the core is ${bytes} bytes gzipped; the budget is ${core.budgetBytes}`)
    }
    console.log(`${name.padEnd(16)} ${size}strict TypeScript ${typed}; ${results.join(', ')}`)
  }
} finally {
  for (const { close } of columns) await close?.()
  rmSync(home, { recursive: true, force: true })
}
try {
  publish({ dryRun: true })
  console.log('JSR would take every library')
} catch (error) {
  problems.push(`JSR would refuse a library:\n${(error as { stderr?: Buffer }).stderr ?? error}`)
}
for (const problem of problems) console.error(problem)
process.exitCode = problems.length > 0 ? 1 : 0

/** Whether the table of runtimes leaves a runtime out for the whole package. */
function notOn(folder: string, runtime: string): boolean {
  const own = rows.filter((row) => join(root, row.folder) === folder)
  return own.length > 0 && own.every(({ not }) => not?.[runtime] !== undefined)
}

/** The version of a peer that the package's own suite runs on. */
function versionOf(folder: string, peer: string): string {
  return (JSON.parse(readFileSync(join(folder, 'node_modules', peer, 'package.json'), 'utf8')) as { version: string })
    .version
}
