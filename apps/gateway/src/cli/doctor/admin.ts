import type { GatewayConfig } from '../../config/schema.ts'
import { CommandError, exit, messageOf } from '../failure.ts'
import { connectionOf, type GatewayFlags } from '../online/connection.ts'
import { period } from '../terminal.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

/** Whether the admin listener may be where the configuration puts it. */
export function checkToken({ admin }: GatewayConfig): readonly Finding[] {
  const { enabled = true, host = '127.0.0.1', token } = admin ?? {}
  const loopback = host === 'localhost' || host === '::1' || /^127\./.test(host)
  if (!enabled || loopback || token !== undefined) return []
  return [
    failed(
      'admin token',
      `admin.host is ${host}, which others can reach, and there is no token: the gateway will not start`,
      'Set GW_ADMIN_TOKEN to at least 32 random characters',
    ),
  ]
}

/** What a running gateway says of itself. That none runs is nothing bad. */
export async function checkGateway(flags: GatewayFlags): Promise<readonly Finding[]> {
  try {
    const { client, ask, url } = await connectionOf(flags)
    const system = await ask(client.admin.system.$get())
    const findings: Finding[] = []
    const up = `${url}, version ${system.version}, up for ${period(system.figures.uptimeMs)}`
    findings.push(
      system.status === 'ok'
        ? ok('gateway', up)
        : failed(
            'gateway',
            `${up}: it is ${system.status} (${system.phase})`,
            'See its log, and what else is wrong here',
          ),
    )
    if (system.configurationRefusal !== null)
      findings.push(
        failed(
          'gateway',
          `the newest configuration is not in force: ${system.configurationRefusal}`,
          'Mend the file; it is read again by itself',
        ),
      )
    if (system.configurationPending.length > 0)
      findings.push(
        warning(
          'gateway',
          `changed in the configuration, and in force with the next start: ${system.configurationPending.join(', ')}`,
          'Restart it when that suits you; requests under way finish',
        ),
      )
    const { circuit_breakers: breakers } = await ask(client.admin['circuit-breakers'].$get())
    const open = Object.entries(breakers).filter(([, { state }]) => state === 'OPEN')
    if (open.length > 0)
      findings.push(
        warning(
          'breakers',
          `open: ${open.map(([name]) => name).join(', ')}`,
          'See gw breakers show <name>, and what it protects',
        ),
      )
    const { connection_pools: pools } = await ask(client.admin['connection-pools'].$get())
    const starving = Object.entries(pools).filter(([, { waitingRequests }]) => waitingRequests > 0)
    if (starving.length > 0)
      findings.push(
        warning(
          'pools',
          `requests wait for: ${starving.map(([name]) => name).join(', ')}`,
          'See gw pools show <name>; gw pools resize <name> --max <n> gives it more',
        ),
      )
    return findings
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    if (error.exitCode === exit.unavailable) return [ok('gateway', 'none answers here')]
    return [
      warning(
        'gateway',
        `it could not be asked: ${messageOf(error)}`,
        'Set GW_ADMIN_TOKEN, or --data-dir to its data directory',
      ),
    ]
  }
}
