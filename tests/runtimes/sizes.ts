// `pnpm sizes`: what each package's class weighs, and with it its middleware, bundled, minified, tree-shaken and gzipped, and whether
// that is within its budget. Peers and dependencies are left out: hono, cockatiel and generic-pool are counted by whoever installs them.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/** What most who use a package import of it. */
export interface Core {
  readonly name: string
  /** The class that does the work, and knows nothing of Hono. */
  readonly class: string
  readonly middleware: string
  /** What both may weigh together. */
  readonly budgetBytes: number
}

/** The five cores. `sqlite` and `postgres` are databases for servers, where no download is counted. */
export const cores: readonly Core[] = [
  { name: '@gw/breaker', class: 'CircuitBreaker', middleware: 'breaker', budgetBytes: 8_000 },
  { name: '@gw/pool', class: 'ConnectionPool', middleware: 'pool', budgetBytes: 11_500 },
  { name: '@gw/dedup', class: 'RequestDeduplicator', middleware: 'dedup', budgetBytes: 17_000 },
  { name: '@gw/events', class: 'EventStore', middleware: 'audit', budgetBytes: 15_500 },
  { name: '@gw/checkpoint', class: 'CheckpointManager', middleware: 'durable', budgetBytes: 20_000 },
]

const here = fileURLToPath(new URL('.', import.meta.url))

/** The gzipped bytes of one statement, with everything of the package that it reaches, also by `import()`. */
export async function gzippedBytes(statement: string, name: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: statement, resolveDir: here },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    logLevel: 'error',
    plugins: [
      {
        name: 'peers-are-external',
        setup(given) {
          given.onResolve({ filter: /^[^./]/ }, ({ path }) => (path === name ? undefined : { path, external: true }))
        },
      },
    ],
  })
  return gzipSync(outputFiles[0]?.contents ?? new Uint8Array(), { level: 9 }).length
}

/** What the class weighs, what it does with its middleware, and what the package weighs for one who uses all of its main entry. */
export async function sizeOf(
  core: Core,
): Promise<{ readonly class: number; readonly core: number; readonly whole: number }> {
  const { name } = core
  return {
    class: await gzippedBytes(`export { ${core.class} } from '${name}'`, name),
    core: await gzippedBytes(`export { ${core.middleware}, ${core.class} } from '${name}'`, name),
    whole: await gzippedBytes(`export * from '${name}'`, name),
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const core of cores) {
    const sizes = await sizeOf(core)
    const over = sizes.core > core.budgetBytes
    if (over) process.exitCode = 1
    console.log(
      `${core.name.padEnd(16)} ${core.class} ${sizes.class}, with ${core.middleware}() ${sizes.core} of ${core.budgetBytes} bytes gzipped` +
        `${over ? ' (over budget)' : ''}; everything of its main entry ${sizes.whole}`,
    )
  }
}
