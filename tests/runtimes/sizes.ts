// `pnpm sizes`: what the common use of each package brings, bundled, minified, tree-shaken and gzipped, and whether that is within
// its budget. Peers and dependencies are left out: hono, cockatiel and generic-pool are counted by whoever installs them.
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/** The common use of a package, and what it may weigh. */
export interface Core {
  readonly name: string
  /** What most who use the package import: its middleware and the class behind it. */
  readonly imports: readonly string[]
  readonly budgetBytes: number
}

/** The five cores. `sqlite` and `postgres` are databases for servers, where no download is counted. */
export const cores: readonly Core[] = [
  { name: '@gw/breaker', imports: ['breaker', 'CircuitBreaker'], budgetBytes: 8_000 },
  { name: '@gw/pool', imports: ['pool', 'ConnectionPool'], budgetBytes: 11_500 },
  { name: '@gw/dedup', imports: ['dedup', 'RequestDeduplicator'], budgetBytes: 17_000 },
  { name: '@gw/events', imports: ['audit', 'EventStore'], budgetBytes: 15_500 },
  { name: '@gw/checkpoint', imports: ['durable', 'CheckpointManager'], budgetBytes: 20_000 },
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

/** What a core weighs, and what the package weighs for one who uses everything of its main entry. */
export async function sizeOf({ name, imports }: Core): Promise<{ readonly core: number; readonly whole: number }> {
  return {
    core: await gzippedBytes(`export { ${imports.join(', ')} } from '${name}'`, name),
    whole: await gzippedBytes(`export * from '${name}'`, name),
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const core of cores) {
    const { core: bytes, whole } = await sizeOf(core)
    const over = bytes > core.budgetBytes
    if (over) process.exitCode = 1
    console.log(
      `${core.name.padEnd(16)} ${String(bytes).padStart(6)} of ${String(core.budgetBytes).padStart(6)} bytes gzipped` +
        `${over ? ' (over budget)' : ''}; everything of its main entry ${whole}`,
    )
  }
}
