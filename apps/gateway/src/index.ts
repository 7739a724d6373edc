export type { AdminApi } from './admin/app.ts'
export { type AdminClient, type AdminClientOptions, adminClient } from './admin/client.ts'
export { defineGateway, type GatewayConfigInput } from './config/schema.ts'
export { GatewayError, type GatewayErrorCode } from './errors.ts'
export {
  createGateway,
  type DurableEnv,
  type DurableRouteOptions,
  Gateway,
  type GatewayEnv,
  type GatewaySettings,
  type RunningGateway,
} from './gateway.ts'
export type { AdminOptions, Failpoint, GatewayOptions } from './options.ts'
export type { ProxyRouteOptions } from './proxy/routes.ts'
export type { UpstreamOptions } from './proxy/upstream.ts'
