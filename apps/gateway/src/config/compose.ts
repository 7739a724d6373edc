import { CircuitBreaker } from '@gw/breaker'
import { defaultMaxConcurrentRequests } from '../admission.ts'
import type { Gateway } from '../gateway.ts'
import { logOf } from '../log.ts'
import type { GatewayOptions } from '../options.ts'
import type { RouteTable } from './route-table.ts'
import type { GatewayConfig } from './schema.ts'
import { breakerOptionsOf, given } from './upstream-options.ts'

/** What `createGateway` takes, from a configuration. */
export function gatewayOptionsOf(config: GatewayConfig): GatewayOptions {
  const { admin, metrics, secret, logLevel = process.stdout.isTTY ? 'warn' : 'info' } = config
  return given({
    title: config.title,
    description: config.description,
    serverType: config.serverType,
    dataDir: config.dataDir,
    nodeId: config.nodeId,
    databaseUrl: config.databaseUrl,
    redisUrl: config.redisUrl,
    coldTier:
      config.coldTier &&
      given({
        url: config.coldTier.url,
        afterMs: config.coldTier.after,
        backupIntervalMs: config.coldTier.backupInterval,
      }),
    idempotencyWindowMs: config.idempotencyWindow,
    maxWorkers: config.maxWorkers,
    maxConcurrentRequests: config.maxConcurrentRequests,
    maxBodyBytes: config.maxBody,
    requestTimeoutMs: config.requestTimeout,
    gracefulShutdownMs: config.gracefulShutdown,
    drainDelayMs: config.drainDelay,
    leaseMs: config.lease,
    trustedProxies: config.trustedProxies,
    viaName: config.viaName,
    metrics: metrics && given(metrics),
    telemetry:
      config.telemetry &&
      given({ ...config.telemetry, metricsInterval: undefined, metricsIntervalMs: config.telemetry.metricsInterval }),
    alerts:
      config.alerts &&
      given({
        webhook: config.alerts.webhook,
        secret: config.alerts.secret,
        intervalMs: config.alerts.interval,
        backlog: config.alerts.backlog,
      }),
    admin: admin && given(admin),
    audit:
      config.audit &&
      given({
        archive: config.audit.archive,
        retentionMs: config.audit.retention,
        maxEvents: config.audit.maxEvents,
        maxSegmentBytes: config.audit.maxSegment,
        signingKey: config.audit.signingKey,
        intervalMs: config.audit.interval,
        verifyIntervalMs: config.audit.verifyInterval,
        projections: config.audit.projections,
      }),
    privacy: config.privacy && given(config.privacy),
    secret: secret === undefined ? undefined : new TextEncoder().encode(secret),
    logger: logLevel === 'silent' ? undefined : logOf(logLevel),
  }) as GatewayOptions
}

/**
 * Puts the parts of a configuration in force that may change while the gateway runs: routes, upstreams, breakers and limits. Throws,
 * and changes nothing, where the routes cannot be.
 */
export function applyConfig(
  gateway: Gateway,
  table: RouteTable,
  before: GatewayConfig | undefined,
  config: GatewayConfig,
): void {
  const wanted = breakersOf(config)
  const present = before === undefined ? new Map<string, string>() : breakersOf(before)
  // One that stays the same keeps what it has counted.
  const changed = [...wanted].filter(([name, options]) => present.get(name) !== options)
  const breakers = changed.map(([name, options]) => new CircuitBreaker({ ...JSON.parse(options), name }))
  table.replace(config)
  for (const breaker of breakers) {
    gateway.breakers.remove(breaker.name)
    gateway.breakers.add(breaker.name, breaker)
  }
  for (const name of present.keys()) if (!wanted.has(name)) gateway.breakers.remove(name)
  gateway.admission.maxConcurrentRequests = config.maxConcurrentRequests ?? defaultMaxConcurrentRequests
}

/** Every breaker that a configuration names, with its options as text. An upstream's has the upstream's name. */
function breakersOf({ breakers = {}, upstreams = {} }: GatewayConfig): Map<string, string> {
  const all = new Map<string, string>()
  for (const [name, options] of Object.entries(breakers)) all.set(name, JSON.stringify(breakerOptionsOf(options)))
  for (const [name, { breaker }] of Object.entries(upstreams))
    if (breaker !== undefined) all.set(name, JSON.stringify(breakerOptionsOf(breaker)))
  return all
}
