import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { Miniflare } from 'miniflare'
import type { Outcome } from './proof.ts'
import type { Servers } from './servers.ts'

/** One column of the table. */
export interface Runtime {
  readonly name: string
  /** How a program is started on it; none where it has no processes. */
  readonly command?: readonly [program: string, ...args: string[]]
  /** Runs one proof, `<module>.<export>`; `env` is for programs only. */
  prove(id: string, env?: Readonly<Record<string, string>>): Promise<Outcome>
  close?(): Promise<void>
}

const here = dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const run = promisify(execFile)

/** A file of a platform's package, which only the package that chooses it can resolve; no install script is needed. */
function binary(chooser: string, candidates: readonly string[]): string {
  const from = createRequire(require.resolve(`${chooser}/package.json`))
  for (const candidate of candidates) {
    try {
      return from.resolve(candidate)
    } catch {
      // Another platform's.
    }
  }
  throw new Error(`${chooser} has no package for ${process.platform} ${process.arch}`)
}

function withProcesses(name: string, command: readonly [string, ...string[]], servers: Servers | undefined): Runtime {
  return {
    name,
    command,
    async prove(id, env) {
      const [program, ...args] = command
      const { stdout } = await run(program, [...args, join(here, 'prove.ts'), ...id.split('.')], {
        cwd: here,
        env: { ...process.env, ...servers, ...env },
        timeout: 120_000,
        maxBuffer: 16_777_216,
      })
      const line = stdout.split('\n').find((text) => text.startsWith('outcome '))
      if (line === undefined) throw new Error(`No outcome: ${stdout}`)
      return JSON.parse(line.slice('outcome '.length)) as Outcome
    },
  }
}

async function workerd(servers: Servers | undefined): Promise<Runtime> {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'worker.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['workerd', 'worker'],
    mainFields: ['module', 'main'],
    external: ['node:*'],
    logLevel: 'error',
  })
  const miniflare = new Miniflare({
    modules: [{ type: 'ESModule', path: 'worker.mjs', contents: outputFiles[0]?.text ?? '' }],
    compatibilityDate: '2026-07-01',
    compatibilityFlags: ['nodejs_compat'],
    r2Buckets: ['BUCKET'],
    bindings: { BUCKET_URL: servers?.BUCKET_URL ?? '' },
    durableObjects: { STORES: { className: 'Stores', useSQLite: true } },
  })
  return {
    name: 'workerd',
    async prove(id) {
      const response = await miniflare.dispatchFetch(`http://localhost/${id}`)
      if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
      return (await response.json()) as Outcome
    },
    close: () => miniflare.dispose(),
  }
}

/** The runtimes that the packages are held to, each from npm in the version that `package.json` pins; stores find `servers` on them. */
export async function runtimes(servers?: Servers): Promise<readonly Runtime[]> {
  const bun = binary('bun', [`@oven/bun-${process.platform}-${process.arch === 'arm64' ? 'aarch64' : 'x64'}/bin/bun`])
  const libc = process.platform === 'linux' ? '-glibc' : ''
  const deno = binary('deno', [`@deno/${process.platform}-${process.arch}${libc}/deno`])
  const node22 = join(here, 'node_modules/node-22/bin/node')
  return [
    withProcesses('Node 22.13', [node22, '--experimental-strip-types'], servers),
    withProcesses('Node 24', [process.execPath], servers),
    withProcesses('Bun 1.4', [bun], servers),
    withProcesses('Deno 2.9', [deno, 'run', '-A', '--node-modules-dir=manual', '--no-check'], servers),
    await workerd(servers),
  ]
}
