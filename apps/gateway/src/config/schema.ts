import { z } from 'zod'
import { durationMs, sizeBytes } from './units.ts'

const duration = (description: string) =>
  z
    .string()
    .refine((text) => durationMs(text) !== undefined, "expected a duration like '500ms', '30s', '5min' or '2h'")
    .transform((text) => durationMs(text)!)
    .meta({ description, examples: ['30s'] })
const size = (description: string) =>
  z
    .string()
    .refine((text) => sizeBytes(text) !== undefined, "expected a size like '64KB' or '512MB'")
    .transform((text) => sizeBytes(text)!)
    .meta({ description, examples: ['1MB'] })
const count = (description: string) => z.int().min(1).meta({ description })
const port = (description: string) => z.int().min(0).max(65_535).meta({ description })
const ratio = z.number().gt(0).max(1)

const breaker = z.strictObject({
  failureThreshold: count('counted failures inside the window at which it opens').optional(),
  rollingWindow: duration('how long a failure counts').optional(),
  open: duration('how long it stays open before the first trial').optional(),
  halfOpenMaxCalls: count('trials at once while half-open').optional(),
  failureRatio: ratio.optional(),
  minimumCalls: count('calls in the window below which ratios are not looked at').optional(),
  callTimeout: duration('a call that takes longer counts as a failure').optional(),
})

const upstream = z.strictObject({
  url: z
    .string()
    .regex(/^https?:\/\/[^\s?#]+$/, 'expected http:// or https:// with a host and no query')
    .meta({ description: 'where the service is; a path is put in front of every request’s' }),
  breaker: breaker.optional(),
  timeout: duration('until the head of an answer is there, and between two pieces of its body').optional(),
  connectTimeout: duration('until a connection stands').optional(),
  connections: count('connections at once').optional(),
  allowPrivate: z.boolean().optional().meta({ description: 'its name may lead to this machine or a private network' }),
})

const method = z.string().regex(/^[A-Z]{1,20}$/, "expected a method like 'POST'")
const route = z.strictObject({
  path: z.string().startsWith('/', "expected a path like '/api/*'"),
  methods: z.array(method).min(1).optional(),
  upstream: z.string().meta({ description: 'the name of one of `upstreams`' }),
  durable: z.boolean().optional(),
  operation: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/)
    .optional(),
  idempotency: z.enum(['optional', 'required', 'fingerprint', 'off']).optional(),
  retry: z.strictObject({ maxAttempts: count('how often a durable request is sent').optional() }).optional(),
  onUnknown: z.enum(['execute', 'park']).optional(),
  headers: z.array(z.string().regex(/^[A-Za-z0-9-]+$/)).optional(),
  maxBody: size('the longest body of a request').optional(),
})

const redisUrl = z
  .string()
  .regex(/^rediss?:\/\/\S+$/, 'expected redis://… or rediss://…')
  .refine(
    (url) => !/[?&]cluster(?:=|&|$)/.test(url) || /^\w+:\/\/[^/]*(?:\/0?)?(?:\?|$)/.test(url),
    'a Redis Cluster has database 0 only: leave the number out',
  )
  .meta({ description: 'keys lie there instead; several nodes separated by commas, or ?cluster, for a Cluster' })

/** Everything a configuration file may say. Durations and sizes are texts here and numbers behind it. */
export const configSchema = z
  .strictObject({
    title: z.string().min(1).optional(),
    description: z.string().optional(),
    serverType: z.enum(['durable', 'basic']).optional(),
    host: z.string().min(1).optional(),
    port: port('0 takes a free one').optional(),
    admin: z
      .strictObject({
        enabled: z.boolean().optional(),
        host: z.string().min(1).optional(),
        port: port('0 takes a free one').optional(),
        token: z.string().min(32, 'expected at least 32 characters').optional().meta({ secret: true }),
        readToken: z.string().min(32, 'expected at least 32 characters').optional().meta({ secret: true }),
        allowedHosts: z.array(z.string().min(1)).optional(),
      })
      .optional(),
    dataDir: z.string().min(1).optional(),
    nodeId: z
      .string()
      .regex(/^[A-Za-z0-9._:-]{1,128}$/)
      .optional(),
    databaseUrl: z
      .string()
      .regex(/^postgres(?:ql)?:\/\/\S+$/, 'expected postgres://…')
      .optional()
      .meta({ secret: true }),
    redisUrl: redisUrl.optional().meta({ secret: true }),
    coldTier: z
      .strictObject({
        url: z.string().min(1).meta({ description: 'https://key:secret@host/bucket?region=…', secret: true }),
        after: duration('a completed request moves there so long after its end').optional(),
        backupInterval: duration('requests are backed up there so often').optional(),
      })
      .optional(),
    audit: z
      .strictObject({
        archive: z
          .string()
          .min(1)
          .optional()
          .meta({ description: 'a folder, or https://key:secret@host/bucket?region=…', secret: true }),
        retention: duration('events move to the archive so long after they happened').optional(),
        maxEvents: z.int().min(0).optional().meta({ description: 'how many events stay in the store' }),
        maxSegment: size('how much a segment of the archive holds').optional(),
        interval: duration('how often a checkpoint is signed and retention runs').optional(),
        projections: z.boolean().optional(),
      })
      .optional(),
    privacy: z
      .strictObject({
        keysFile: z.string().min(1).optional().meta({ description: 'where the keys of subjects lie' }),
        personal: z.record(z.string(), z.array(z.string().startsWith('/', 'expected JSON pointers'))).optional(),
      })
      .optional(),
    secret: z.string().min(32, 'expected at least 32 characters').optional().meta({ secret: true }),
    apiTokens: z
      .record(z.string().regex(/^[A-Za-z0-9._@-]+$/), z.string().min(1).meta({ secret: true }))
      .optional()
      .meta({ description: 'bearer tokens by principal, needed on /api and /requests' }),
    idempotencyWindow: duration('how long an answer is replayed to its key').optional(),
    maxWorkers: count('durable handlers at once').optional(),
    maxConcurrentRequests: count('requests under way at once').optional(),
    maxBody: size('the longest body of a request').optional(),
    requestTimeout: duration('how long an inline caller waits before it gets 202').optional(),
    gracefulShutdown: duration('how long a stopping server waits for requests under way').optional(),
    drainDelay: duration('how long a stopping server still accepts').optional(),
    lease: duration('how long a node may be silent before its runs are taken').optional(),
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
    logLevel: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).optional(),
    breakers: z.record(z.string(), breaker).optional(),
    upstreams: z.record(z.string(), upstream).optional(),
    routes: z.array(route).optional(),
  })
  .superRefine((config, context) => {
    for (const [i, { upstream: name }] of (config.routes ?? []).entries()) {
      if (Object.hasOwn(config.upstreams ?? {}, name)) continue
      const known = Object.keys(config.upstreams ?? {}).join(', ') || 'none'
      context.addIssue({
        code: 'custom',
        path: ['routes', i, 'upstream'],
        message: `expected one of \`upstreams\`: ${known}`,
      })
    }
  })

/** What a person writes into `gateway.config.ts`. */
export type GatewayConfigInput = z.input<typeof configSchema>
/** A configuration with its durations in milliseconds and its sizes in bytes. */
export type GatewayConfig = z.output<typeof configSchema>

/** Types the configuration of `gateway.config.ts`; gives it back as it is. */
export function defineGateway(config: GatewayConfigInput): GatewayConfigInput {
  return config
}

/** The JSON Schema (2020-12) of a configuration file, for editors. */
export function configJsonSchema(): object {
  return z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
}
