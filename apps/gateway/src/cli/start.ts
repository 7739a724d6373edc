import pc from 'picocolors'
import { pino } from 'pino'
import { GatewayError } from '../errors.ts'
import { failpointOf } from '../failpoint.ts'
import type { Gateway } from '../gateway.ts'
import { createReferenceServer, parseApiTokens } from '../reference/server.ts'

/** Flags of `gw start`; they win over the environment. */
export interface StartFlags {
  readonly host?: string
  readonly port?: string
  readonly adminPort?: string
  readonly dataDir?: string
}

/** Runs the reference gateway until SIGTERM or SIGINT. */
export async function start(flags: StartFlags): Promise<void> {
  const { env } = process
  try {
    const host = flags.host ?? env['HOST'] ?? '127.0.0.1'
    const port = portOf('PORT', flags.port ?? env['PORT'] ?? '8000')
    const dataDir = flags.dataDir ?? env['GW_DATA_DIR'] ?? './data'
    const tokens = parseApiTokens(env['GW_API_TOKENS'])
    const failpoint = failpointOf(env['GW_FAILPOINT'])
    const secret = env['GW_SECRET']
    const gateway = await createReferenceServer(
      {
        dataDir,
        logger: pino({ level: env['GW_LOG_LEVEL'] ?? (process.stdout.isTTY ? 'warn' : 'info') }),
        admin: {
          host: env['GW_ADMIN_HOST'] ?? '127.0.0.1',
          port: portOf('GW_ADMIN_PORT', flags.adminPort ?? env['GW_ADMIN_PORT'] ?? '8001'),
          ...(env['GW_ADMIN_TOKEN'] === undefined ? {} : { token: env['GW_ADMIN_TOKEN'] }),
        },
        ...(env['GW_NODE_ID'] === undefined ? {} : { nodeId: env['GW_NODE_ID'] }),
        ...(secret === undefined ? {} : { secret: new TextEncoder().encode(secret) }),
        ...(failpoint === undefined ? {} : { failpoint }),
      },
      tokens,
    )
    await serve(gateway, host, port, tokens.length === 0)
  } catch (error) {
    console.error(pc.red(error instanceof Error ? error.message : String(error)))
    const code = error instanceof GatewayError ? error.code : undefined
    process.exit(code === 'admin_token_missing' || code === 'invalid_option' || code === 'unknown_option' ? 78 : 1)
  }
}

async function serve(gateway: Gateway, host: string, port: number, tryingOut: boolean): Promise<void> {
  gateway.engine.onFailed((cause) => {
    console.error(`The storage has failed: ${cause instanceof Error ? cause.message : String(cause)}`)
    process.exit(74)
  })
  const running = await gateway.run({ host, port }).catch(async (error: unknown) => {
    await gateway.close()
    throw error
  })
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
  console.log(greeting(running.url, running.adminUrl, running.adminToken, tryingOut))
}

function greeting(url: string, adminUrl: string | undefined, token: string | undefined, tryingOut: boolean): string {
  const json = "-H 'Content-Type: application/json'"
  return [
    `${pc.bold('Gateway')}    ${url}`,
    ...(adminUrl === undefined ? [] : [`${pc.bold('Dashboard')}  ${adminUrl}   (bearer token ${token})`]),
    ...(tryingOut ? [pc.yellow('No GW_API_TOKENS: everyone is who X-User-ID says. For trying out only.')] : []),
    '',
    'Try:',
    `  curl -i ${url}/api/payment -H 'Idempotency-Key: order-1' ${json} -d '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'`,
    `  curl -i ${url}/api/long-running-process -H 'Prefer: respond-async' ${json} -d '{"type":"report","user_id":"ann","items":200,"item_ms":50}'`,
    `  curl '${url}/api/payments?customer_id=ann'`,
  ].join('\n')
}

function portOf(name: string, text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65_535 || text.trim() === '') {
    throw new GatewayError('invalid_option', `Expected ${name} to be a port from 0 to 65535, got \`${text}\``)
  }
  return port
}
