import { gatewayOptionsOf } from '../config/compose.ts'
import { type ConfigSources, loadConfig } from '../config/load.ts'
import type { GatewayConfig, GatewayConfigInput } from '../config/schema.ts'
import { createConfiguredServer } from '../configured-server.ts'
import { failpointOf } from '../failpoint.ts'
import type { Gateway } from '../gateway.ts'
import { createReferenceServer } from '../reference/server.ts'
import type { RunningGateway } from '../serve.ts'
import { exit, exitCodeOf, messageOf } from './failure.ts'
import { paint, paintAside } from './terminal.ts'

/** Flags of `gw start`; they win over the environment. */
export interface StartFlags {
  readonly host?: string
  readonly port?: string
  readonly adminPort?: string
  readonly dataDir?: string
  readonly config?: string
}

/** Runs the configured gateway, or the reference gateway where there is no configuration file, until SIGTERM or SIGINT. */
export async function start(flags: StartFlags): Promise<void> {
  const { env } = process
  let dataDir: string | undefined
  try {
    const sources: ConfigSources = {
      cwd: process.cwd(),
      file: flags.config ?? env['GW_CONFIG'],
      env,
      flags: configOf(flags),
    }
    const loaded = await loadConfig(sources)
    const { config } = loaded
    dataDir = config.dataDir ?? './data'
    const { host = '127.0.0.1', port = 8000, apiTokens = {} } = config
    const failpoint = failpointOf(env['GW_FAILPOINT'])
    if (loaded.file === undefined) {
      const options = { ...gatewayOptionsOf(config), ...(failpoint === undefined ? {} : { failpoint }) }
      const gateway = await createReferenceServer(options, apiTokens)
      await serve(gateway, host, port, (running) =>
        greeting(running, config, Object.keys(apiTokens).length === 0, curlLines(running.url)),
      )
      return
    }
    const { gateway, live } = await createConfiguredServer(loaded, sources)
    process.on('SIGHUP', () => void live.reload())
    await serve(gateway, host, port, (running) =>
      greeting(running, config, false, [`Configuration  ${loaded.file}`, ...(config.routes ?? []).map(routeLine)]),
    )
  } catch (error) {
    const code = exitCodeOf(error)
    const where =
      code === exit.storageFailed && dataDir !== undefined
        ? `. Nothing was deleted: look at the room and the disk of ${dataDir}, and start again`
        : ''
    console.error(paintAside.red(`${messageOf(error)}${where}`))
    process.exit(code)
  }
}

function configOf({ host, port, adminPort, dataDir }: StartFlags): GatewayConfigInput {
  const portOf = (text: string) => (/^\d+$/.test(text) ? Number(text) : (text as unknown as number))
  return {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port: portOf(port) }),
    ...(adminPort === undefined ? {} : { admin: { port: portOf(adminPort) } }),
    ...(dataDir === undefined ? {} : { dataDir }),
  }
}

async function serve(
  gateway: Gateway,
  host: string,
  port: number,
  greet: (running: RunningGateway) => string,
): Promise<void> {
  gateway.engine.onFailed((cause) => {
    console.error(`The storage has failed: ${cause instanceof Error ? cause.message : String(cause)}`)
    process.exit(74)
  })
  const running = await gateway.run({ host, port }).catch(async (error: unknown) => {
    await gateway.close()
    throw error
  })
  // By the admin API.
  running.stopped.then(
    () => process.exit(0),
    () => process.exit(1),
  )
  let stopping = false
  const stop = (drainDelayMs: number | undefined) => {
    if (stopping) process.exit(1)
    stopping = true
    running.stop(drainDelayMs === undefined ? {} : { drainDelayMs }).then(
      () => process.exit(0),
      (error: unknown) => {
        console.error(error)
        process.exit(1)
      },
    )
  }
  process.on('SIGTERM', () => stop(undefined))
  process.on('SIGINT', () => stop(0))
  console.log(greet(running))
}

/** A token that was given is not printed: whoever gave it has it, and the log would. */
function greeting(
  { url, adminUrl, adminToken }: RunningGateway,
  { admin }: GatewayConfig,
  tryingOut: boolean,
  more: readonly string[],
): string {
  const token = admin?.token === undefined ? `bearer token ${adminToken}` : 'the bearer token that was configured'
  return [
    `${paint.bold('Gateway')}    ${url}`,
    ...(adminUrl === undefined ? [] : [`${paint.bold('Dashboard')}  ${adminUrl}   (${token})`]),
    ...(tryingOut ? [paint.yellow('No GW_API_TOKENS: everyone is who X-User-ID says. For trying out only.')] : []),
    '',
    ...more,
  ].join('\n')
}

function curlLines(url: string): string[] {
  const json = "-H 'Content-Type: application/json'"
  return [
    'Try:',
    `  curl -i ${url}/api/payment -H 'Idempotency-Key: order-1' ${json} -d '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'`,
    `  curl -i ${url}/api/long-running-process -H 'Prefer: respond-async' ${json} -d '{"type":"report","user_id":"ann","items":200,"item_ms":50}'`,
    `  curl '${url}/api/payments?customer_id=ann'`,
  ]
}

function routeLine({ path, methods, upstream, durable }: NonNullable<GatewayConfig['routes']>[number]): string {
  return `  ${(methods ?? ['*']).join(',')} ${path} → ${upstream}${durable === true ? ' (durable)' : ''}`
}
