import type { CircuitBreaker } from '@gw/breaker'
import type { CheckpointManager } from '@gw/checkpoint'
import type { RequestDeduplicator } from '@gw/dedup'
import type { EventStore } from '@gw/events'
import type { ArchiveTarget } from '@gw/events/archive'
import type { Keyring } from '@gw/events/privacy'
import type { ConnectionPool } from '@gw/pool'
import type { Database } from '@gw/sqlite'
import type { Context } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import type { AlertOptions } from './alerts.ts'
import { bearerToken, bearerTokenExpected } from './bearer.ts'
import type { ColdTierOptions } from './cold-tier.ts'
import { longestTimerMs } from './config/units.ts'
import { GatewayError } from './errors.ts'
import type { AuditOptions } from './event-keeping.ts'
import type { TelemetryOptions } from './otlp.ts'
import type { PrivacyOptions } from './privacy.ts'

/** A point at which a fault test may stop the process; see `failpoint` of {@link GatewayOptions}. */
export type Failpoint =
  | 'accept.before'
  | 'accept.after'
  | 'step.before'
  | 'step.after'
  | 'outcome.before'
  | 'outcome.after'

/** What `createGateway` takes. Every field is optional; an unknown one is an error. */
export interface GatewayOptions {
  /** The name in logs, the admin API and the dashboard: `Durable Gateway`. */
  readonly title?: string
  readonly description?: string
  /**
   * `durable` (the default), or `basic`: no idempotency keys and no audit events of requests unless a route asks for keys.
   */
  readonly serverType?: 'durable' | 'basic'
  /** `false`: runs, keys and events are kept in memory, and end with the process. Default `true`. */
  readonly durable?: boolean
  /** `false`: runs alone are kept in memory: durable routes work, and their requests end with the process. Default `true`. */
  readonly persistRequests?: boolean
  /** Circuit breakers by name, as `gateway.breakers.add` takes them. */
  readonly breakers?: Readonly<Record<string, CircuitBreaker>>
  /** Connection pools, as `gateway.pools.add` takes them. */
  readonly pools?: readonly ConnectionPool[]
  /** Where the embedded database lies: `./data`. */
  readonly dataDir?: string
  /** An open database to use instead of `dataDir`; whoever opened it closes it. */
  readonly database?: Database
  /** `postgres://user:password@host/database`: state lies in PostgreSQL, which any number of gateways share, instead of `dataDir`. */
  readonly databaseUrl?: string
  /**
   * `redis://…`: idempotency keys lie in Redis, and breakers of one name open and try together on all nodes; several nodes separated
   * by commas, or `?cluster`, make it a Cluster.
   */
  readonly redisUrl?: string
  /** Completed requests move on to S3, and requests are backed up there. */
  readonly coldTier?: ColdTierOptions
  /** Tells this process apart from others on the same stores: the host's name by default. */
  readonly nodeId?: string
  /**
   * Who is asking. Read once a request, after your authentication, into `c.var.principal`; `undefined` is `anonymous`,
   * which never gets the fingerprint mode of idempotency.
   */
  readonly principal?: (c: Context) => string | undefined
  readonly checkpoints?: CheckpointManager
  readonly events?: EventStore
  readonly deduplicator?: RequestDeduplicator
  /** `false`: `Idempotency-Key` is not looked at. Default `true`. */
  readonly deduplicate?: boolean
  /** How long an answer is replayed to its key, counted from completion: 60 minutes. */
  readonly idempotencyWindowMs?: number
  /** Durable handlers that may run at once: 1,000. The rest wait as `queued`. */
  readonly maxWorkers?: number
  /** Requests that may be under way at once before 503 with `Retry-After`: 10,000. */
  readonly maxConcurrentRequests?: number
  readonly maxBodyBytes?: number
  /** How long an inline caller of a durable route waits before it gets 202: 300 s. The run goes on. */
  readonly requestTimeoutMs?: number
  /** How long SIGTERM waits for requests under way: 30 s. */
  readonly gracefulShutdownMs?: number
  /** How long after SIGTERM connections are still accepted, so that load balancers notice: 5 s. */
  readonly drainDelayMs?: number
  readonly leaseMs?: number
  /** Addresses or networks of proxies in front whose word on the client is believed: none by default. */
  readonly trustedProxies?: readonly string[]
  /** This gateway's name in `Via`: `gw`. A request that bears it already is a loop. */
  readonly viaName?: string
  readonly metrics?: { readonly enabled?: boolean; readonly namespace?: string }
  /** Figures and traces go to a collector, too. */
  readonly telemetry?: TelemetryOptions
  /** A webhook is told what goes wrong. */
  readonly alerts?: AlertOptions
  /** One line a request; none by default. */
  readonly logger?: Logger
  readonly admin?: AdminOptions
  /** The audit trail's archive and retention, and the key that signs its checkpoints. */
  readonly audit?: AuditOptions
  /** Where the keys of subjects lie, and what is personal in events. */
  readonly privacy?: PrivacyOptions
  /** 32 bytes that key the storage names of idempotency keys; made and kept in the database by default. */
  readonly secret?: Uint8Array
  /** A port for fault tests: called at each named point of a durable request. */
  readonly failpoint?: (name: Failpoint) => void
}

/** The second listener, for operators. */
export interface AdminOptions {
  readonly enabled?: boolean
  /** 127.0.0.1. Any other host needs a `token`. */
  readonly host?: string
  /** 8001. 0 takes a free one. */
  readonly port?: number
  /** At least 32 characters. On loopback a fresh one is made where it is absent, and written to `<dataDir>/admin-token`. */
  readonly token?: string
  /** At least 32 characters: whoever brings it may look and not act. */
  readonly readToken?: string
  /** Names that requests may call a loopback listener by, beside localhost and the loopback addresses: of a proxy in front. */
  readonly allowedHosts?: readonly string[]
}

const period = z.number().min(0)
const delay = period.max(longestTimerMs)
/** What a timer waits for. */
const timer = z.number().gt(0).max(longestTimerMs)
const count = z.int().min(1)
const given = <Value>(what: string) =>
  z.custom<Value>((value) => typeof value === 'object' && value !== null, `expected ${what}`)
const called = <Value>() => z.custom<Value>((value) => typeof value === 'function', 'expected a function')

const schema = z.strictObject({
  title: z.string().min(1).optional(),
  description: z.string().optional(),
  serverType: z.enum(['durable', 'basic']).optional(),
  durable: z.boolean().optional(),
  persistRequests: z.boolean().optional(),
  breakers: given('circuit breakers by name').optional(),
  pools: z.array(given('a ConnectionPool')).optional(),
  dataDir: z.string().min(1).optional(),
  database: given<Database>('an open database').optional(),
  databaseUrl: z
    .string()
    .regex(/^postgres(?:ql)?:\/\/\S+$/, 'expected postgres://…')
    .optional(),
  redisUrl: z
    .string()
    .regex(/^rediss?:\/\/\S+$/, 'expected redis://…')
    .optional(),
  coldTier: z
    .strictObject({
      url: z.string().min(1),
      afterMs: z.number().gt(0).optional(),
      backupIntervalMs: timer.optional(),
      onError: called().optional(),
    })
    .optional(),
  nodeId: z
    .string()
    .regex(/^[A-Za-z0-9._:-]{1,128}$/)
    .optional(),
  principal: called().optional(),
  checkpoints: given('a CheckpointManager').optional(),
  events: given('an EventStore').optional(),
  deduplicator: given('a RequestDeduplicator').optional(),
  deduplicate: z.boolean().optional(),
  idempotencyWindowMs: z.number().gt(0).optional(),
  maxWorkers: count.optional(),
  maxConcurrentRequests: count.optional(),
  maxBodyBytes: count.optional(),
  requestTimeoutMs: timer.optional(),
  gracefulShutdownMs: delay.optional(),
  drainDelayMs: delay.optional(),
  leaseMs: timer.optional(),
  trustedProxies: z.array(z.string()).optional(),
  viaName: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/)
    .optional(),
  metrics: z
    .strictObject({
      enabled: z.boolean().optional(),
      namespace: z
        .string()
        .regex(/^[a-z][a-z0-9_]*$/)
        .optional(),
    })
    .optional(),
  telemetry: z
    .strictObject({
      otlp: z.string().regex(/^https?:\/\/\S+$/, 'expected http://… or https://…'),
      headers: z.record(z.string(), z.string()).optional(),
      serviceName: z.string().min(1).optional(),
      metricsIntervalMs: timer.optional(),
    })
    .optional(),
  alerts: z
    .strictObject({
      webhook: z.string().regex(/^https?:\/\/\S+$/, 'expected http://… or https://…'),
      secret: z.string().min(24, 'expected at least 24 characters').optional(),
      intervalMs: timer.optional(),
      backlog: count.optional(),
    })
    .optional(),
  logger: given('a pino logger').optional(),
  admin: z
    .strictObject({
      enabled: z.boolean().optional(),
      host: z.string().min(1).optional(),
      port: z.int().min(0).max(65_535).optional(),
      token: z.string().min(32, 'expected at least 32 characters').regex(bearerToken, bearerTokenExpected).optional(),
      readToken: z
        .string()
        .min(32, 'expected at least 32 characters')
        .regex(bearerToken, bearerTokenExpected)
        .optional(),
      allowedHosts: z.array(z.string().min(1)).optional(),
    })
    .optional(),
  audit: z
    .strictObject({
      archive: z.union([z.string().min(1), given<ArchiveTarget>('a folder, or an archive target')]).optional(),
      retentionMs: period.optional(),
      maxEvents: z.int().min(0).optional(),
      maxSegmentBytes: count.optional(),
      signingKey: z.string().min(1).optional(),
      intervalMs: timer.optional(),
      verifyIntervalMs: timer.optional(),
      projections: z.boolean().optional(),
    })
    .optional(),
  privacy: z
    .strictObject({
      keysFile: z.string().min(1).optional(),
      keyring: given<Keyring>('a keyring').optional(),
      personal: z.record(z.string(), z.array(z.string().startsWith('/', 'expected JSON pointers'))).optional(),
    })
    .optional(),
  secret: z
    .instanceof(Uint8Array)
    .refine((bytes) => bytes.length >= 32, 'expected at least 32 bytes')
    .optional(),
  failpoint: called().optional(),
})

/** Throws `GatewayError` for every option that is unknown or out of range, all at once, each with its path. */
export function checkOptions(options: GatewayOptions): void {
  const result = schema.safeParse(options)
  if (result.success) {
    checkParts(options as Readonly<Record<string, unknown>>)
    return
  }
  const lines: string[] = []
  let unknown = false
  for (const issue of result.error.issues) {
    const at = issue.path.map(String)
    if (issue.code === 'unrecognized_keys') {
      unknown = true
      const known = knownAt(at)
      for (const key of issue.keys) {
        const near = nearest(key, known)
        lines.push(
          `Unknown option \`${[...at, key].join('.')}\`${near === undefined ? '' : `; did you mean \`${[...at, near].join('.')}\`?`}`,
        )
      }
      continue
    }
    const value = at.reduce<unknown>((object, key) => (object as Record<string, unknown> | undefined)?.[key], options)
    lines.push(`Expected \`${at.join('.')}\`: ${issue.message}, got \`${shown(value)}\``)
  }
  throw new GatewayError(unknown ? 'unknown_option' : 'invalid_option', lines.join('\n'))
}

/** What is said to a part itself, and how it is called there, where the part is given. */
const ofPart: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  checkpoints: {
    maxWorkers: 'maxConcurrentRuns',
    requestTimeoutMs: 'requestTimeoutMs',
    leaseMs: 'leaseMs',
    nodeId: 'nodeId',
    failpoint: 'failpoint',
    persistRequests: 'store',
    coldTier: 'store',
  },
  deduplicator: { idempotencyWindowMs: 'windowMs', secret: 'secret', redisUrl: 'store' },
}

/** An option that a given part would make void is refused, so that every option does something. */
function checkParts(options: Readonly<Record<string, unknown>>): void {
  const lines: string[] = []
  for (const [part, names] of Object.entries(ofPart)) {
    if (options[part] === undefined) continue
    for (const [name, there] of Object.entries(names))
      if (options[name] !== undefined)
        lines.push(`Expected no \`${name}\` beside \`${part}\`: give that its \`${there}\` instead`)
  }
  if (lines.length > 0) throw new GatewayError('invalid_option', lines.join('\n'))
}

function knownAt(path: readonly string[]): string[] {
  let inside: z.ZodObject = schema
  for (const name of path) {
    const option: unknown = inside.shape[name]
    const object = option instanceof z.ZodOptional ? option.unwrap() : option
    if (!(object instanceof z.ZodObject)) break
    inside = object
  }
  return Object.keys(inside.shape)
}

function shown(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return String(value)
}

/** The known name within a third of the word's length in edits (Levenshtein), if any. */
function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = edits(word.toLowerCase(), candidate.toLowerCase())
    if (distance < least) {
      least = distance
      best = candidate
    }
  }
  return best
}

function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
