/** `pnpm bench cold`: what it takes to begin: `gw start` to its first answer, the import of each package, and what a core weighs. */
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { freePorts } from '@gw/services'
import { cores, sizeOf } from '../runtimes/sizes.ts'
import { median, type Row, rounded } from './row.ts'
import { answers, ended } from './server-process.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))
const run = promisify(execFile)
const imported = ['hono', ...cores.map(({ name }) => name)]

/** Medians of alternating rounds, each in a process of its own. The file system's cache is warm after the first. */
export async function cold(rounds: number): Promise<Row[]> {
  const starts = { plain: [] as number[], gateway: [] as number[] }
  const imports = new Map<string, number[]>(imported.map((name) => [name, []]))
  for (let round = 0; round <= rounds; round++) {
    const plain = await firstAnswer((port) => [join(here, 'sides/plain.ts'), String(port)])
    const gateway = await firstAnswer(() => [cli, 'start'])
    // The first round fills the cache.
    if (round > 0) {
      starts.plain.push(plain)
      starts.gateway.push(gateway)
    }
    for (const [name, times] of imports) {
      const took = await importMs(name)
      if (round > 0) times.push(took)
    }
  }
  const plain = median(starts.plain)
  const hono = median(imports.get('hono')!)
  const rows: Row[] = [
    { name: 'plain Hono on @hono/node-server, to its first answer', value: rounded(plain), unit: 'ms' },
    {
      name: '`gw start`, to its first answer',
      value: rounded(median(starts.gateway)),
      unit: 'ms',
      ratio: rounded(median(starts.gateway) / plain),
    },
  ]
  for (const [name, times] of imports)
    rows.push({
      name: `import '${name}'`,
      value: rounded(median(times)),
      unit: 'ms',
      ratio: rounded(median(times) / hono),
    })
  for (const core of cores) {
    const { core: bytes } = await sizeOf(core)
    rows.push({ name: `core of ${core.name}`, value: bytes, unit: 'bytes gzipped' })
  }
  return rows
}

/** From the start of a process to the first answer of its server. */
async function firstAnswer(argsFor: (port: number) => readonly string[]): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'gw-cold-'))
  const [port] = (await freePorts(1)) as [number]
  const began = performance.now()
  const child = spawn(process.execPath, argsFor(port), {
    stdio: 'ignore',
    env: {
      ...process.env,
      PORT: String(port),
      GW_ADMIN_PORT: '0',
      GW_DATA_DIR: join(directory, 'data'),
      GW_LOG_LEVEL: 'error',
    },
  })
  try {
    await answers(child, port)
    return performance.now() - began
  } finally {
    await ended(child)
    rmSync(directory, { recursive: true, force: true })
  }
}

async function importMs(name: string): Promise<number> {
  const program = `const began = performance.now(); await import('${name}'); console.log(performance.now() - began)`
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program], { cwd: here })
  return Number(stdout)
}
