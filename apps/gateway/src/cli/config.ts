import { loadConfig } from '../config/load.ts'
import { masked } from '../config/mask.ts'
import { configJsonSchema } from '../config/schema.ts'
import { exit, messageOf } from './failure.ts'
import { paint, paintAside } from './terminal.ts'

/** Flags of the commands that show the configuration. */
export interface ConfigFlags {
  readonly config?: string
  readonly json?: boolean
}

/** `gw config check`, `print` and `diff`. Exits with 78 where the configuration is not valid. */
export async function showConfig(
  what: 'check' | 'print' | 'diff',
  { config: file, json = false }: ConfigFlags,
): Promise<void> {
  const { env } = process
  const loaded = await loadConfig({ cwd: process.cwd(), file: file ?? env['GW_CONFIG'], env }).catch(
    (error: unknown) => {
      const message = messageOf(error)
      if (json) console.log(JSON.stringify({ ok: false, message }))
      else console.error(paintAside.red(message))
      process.exit(exit.configuration)
    },
  )
  const shown = masked(loaded.input) as Record<string, unknown>
  if (what === 'check') {
    if (json) console.log(JSON.stringify({ ok: true, file: loaded.file ?? null }))
    else console.log(`${loaded.file ?? 'No configuration file; environment and defaults'}: ${paint.green('valid')}`)
  } else if (json || what === 'print') {
    const whole = what === 'print' ? { ...defaults, ...shown } : shown
    console.log(JSON.stringify(whole, undefined, json ? undefined : 2))
  } else for (const line of difference(shown, defaults)) console.log(line)
}

/** `gw config schema` */
export function printSchema(): void {
  console.log(JSON.stringify(configJsonSchema(), undefined, 2))
}

/** What holds where nothing is said. */
const defaults: Readonly<Record<string, unknown>> = {
  host: '127.0.0.1',
  port: 8000,
  admin: { enabled: true, host: '127.0.0.1', port: 8001 },
  dataDir: './data',
  serverType: 'durable',
  idempotencyWindow: '60min',
  maxWorkers: 1_000,
  maxConcurrentRequests: 10_000,
  maxBody: '1MiB',
  requestTimeout: '300s',
  gracefulShutdown: '30s',
  drainDelay: '5s',
  lease: '15s',
}

function difference(shown: Readonly<Record<string, unknown>>, from: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(shown).flatMap(([name, value]) => {
    const before = from[name]
    if (JSON.stringify(before) === JSON.stringify(value)) return []
    return [
      ...(before === undefined ? [] : [paint.red(`- ${name}: ${JSON.stringify(before)}`)]),
      paint.green(`+ ${name}: ${JSON.stringify(value)}`),
    ]
  })
}
