import type { GatewayConfig } from '../../config/schema.ts'
import type { ConfiguredStores } from '../configured.ts'
import { type Finding, failed, ok } from './finding.ts'

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

/** What a running gateway says of itself. */
export async function checkAdmin(_stores: ConfiguredStores): Promise<readonly Finding[]> {
  return [ok('gateway', 'not asked')]
}
