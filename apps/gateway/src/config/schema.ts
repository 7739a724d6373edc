import { z } from 'zod'
import { bearerToken, bearerTokenExpected } from '../bearer.ts'
import { durationMs, longestTimerMs, sizeBytes } from './units.ts'
import { variables } from './variables.ts'

interface Bounds {
  readonly aboveMs?: number
  readonly upToMs?: number
}

const duration = (
  description: string,
  fallback?: string,
  { aboveMs = -1, upToMs = Number.POSITIVE_INFINITY }: Bounds = {},
) =>
  z
    .string()
    .refine((text) => durationMs(text) !== undefined, "expected a duration like '500ms', '30s', '5min' or '2h'")
    .refine((text) => (durationMs(text) ?? 0) <= upToMs, 'expected at most 24d')
    .refine((text) => (durationMs(text) ?? 1) > aboveMs, 'expected more than 0s')
    .transform((text) => durationMs(text)!)
    .meta({ description, unit: 'duration', ...(fallback === undefined ? {} : { fallback }) })
const period = (description: string, fallback?: string) => duration(description, fallback, { aboveMs: 0 })
/** What a timer waits for. */
const timer = (description: string, fallback?: string) =>
  duration(description, fallback, { aboveMs: 0, upToMs: longestTimerMs })
const delay = (description: string) => duration(description, undefined, { upToMs: longestTimerMs })
const size = (description: string, fallback?: string) =>
  z
    .string()
    .refine((text) => sizeBytes(text) !== undefined, "expected a size like '64KB' or '512MB'")
    .transform((text) => sizeBytes(text)!)
    .meta({ description, unit: 'size', ...(fallback === undefined ? {} : { fallback }) })
const count = (description: string, fallback?: number) =>
  z
    .int()
    .min(1)
    .meta({ description, ...(fallback === undefined ? {} : { fallback }) })
const port = (description: string) => z.int().min(0).max(65_535).meta({ description })
const ratio = (description: string) => z.number().gt(0).max(1).meta({ description })
const text = (description: string) => z.string().min(1).meta({ description })
const flag = (description: string, fallback?: boolean) =>
  z.boolean().meta({ description, ...(fallback === undefined ? {} : { fallback }) })

const breaker = z.strictObject({
  failureThreshold: count('counted failures inside the window at which it opens', 5).optional(),
  rollingWindow: period('how long a failure counts', '5min').optional(),
  open: period('how long it stays open before the first trial', '60s').optional(),
  halfOpenMaxCalls: count('trials at once while half-open', 3).optional(),
  failureRatio: ratio('opens at this part of the calls in the window, too').optional(),
  minimumCalls: count('calls in the window below which ratios are not looked at', 10).optional(),
  callTimeout: timer('a call that takes longer counts as a failure').optional(),
})

const upstream = z.strictObject({
  url: z
    .string()
    .regex(/^https?:\/\/[^\s?#]+$/, 'expected http:// or https:// with a host and no query')
    .meta({ description: 'where the service is; a path is put in front of every request’s' }),
  breaker: breaker.optional().meta({ description: 'guards every call to it, under its name' }),
  timeout: timer('until the head of an answer is there, and between two pieces of its body', '30s').optional(),
  connectTimeout: timer('until a connection stands', '5s').optional(),
  connections: count('connections at once', 128).optional(),
  allowPrivate: flag('its name may lead to this machine or a private network', false).optional(),
})

const method = z.string().regex(/^[A-Z]{1,20}$/, "expected a method like 'POST'")
const route = z.strictObject({
  path: z
    .string()
    .startsWith('/', "expected a path like '/api/*'")
    .meta({ description: 'a pattern of Hono: `/api/charge`, `/users/:id`, `/api/*`' }),
  methods: z.array(method).min(1).optional().meta({ description: 'all methods, where nothing is said' }),
  upstream: z.string().meta({ description: 'the name of one of `upstreams`' }),
  durable: flag('requests are recorded, finish after a crash, and the answer is kept', false).optional(),
  operation: z
    .string()
    .regex(/^[\x21-\x7e]{1,200}$/)
    .optional()
    .meta({ description: 'the name under which its runs are kept; method and path, where nothing is said' }),
  idempotency: z
    .enum(['optional', 'required', 'fingerprint', 'off'])
    .optional()
    .meta({ description: 'what a request without an `Idempotency-Key` is', fallback: 'optional' }),
  retry: z.strictObject({ maxAttempts: count('how often a durable request is sent', 3).optional() }).optional(),
  onUnknown: z.enum(['execute', 'park']).optional().meta({
    description: 'a durable request that was on its way at a crash: sent again with its key, or left to a person',
    fallback: 'execute',
  }),
  headers: z
    .array(z.string().regex(/^[A-Za-z0-9-]+$/))
    .optional()
    .meta({ description: 'further request fields that a durable request keeps, credentials among them' }),
  maxBody: size('the longest body of a request', '1MiB').optional(),
})

const redisUrl = z
  .string()
  .regex(/^rediss?:\/\/\S+$/, 'expected redis://… or rediss://…')
  .refine(
    (url) => !/[?&]cluster(?:=|&|$)/.test(url) || /^\w+:\/\/[^/]*(?:\/0?)?(?:\?|$)/.test(url),
    'a Redis Cluster has database 0 only: leave the number out',
  )
  .meta({
    secret: true,
    description:
      'keys lie there instead, and breakers are shared; several nodes separated by commas, or ?cluster, for a Cluster',
  })

/** Everything a configuration file may say. Durations and sizes are texts here and numbers behind it. */
export const configSchema = z
  .strictObject({
    title: text('the name in logs and on the dashboard').optional(),
    description: z.string().optional().meta({ description: 'a sentence for people' }),
    serverType: z
      .enum(['durable', 'basic'])
      .optional()
      .meta({ description: '`basic`: no keys and no audit events of requests unless a route asks' }),
    host: text('where to listen').optional(),
    port: port('0 takes a free one').optional(),
    admin: z
      .strictObject({
        enabled: flag('whether there is an admin listener').optional(),
        host: text('where it listens; any but loopback needs a token').optional(),
        port: port('0 takes a free one').optional(),
        token: z
          .string()
          .min(32, 'expected at least 32 characters')
          .regex(bearerToken, bearerTokenExpected)
          .optional()
          .meta({ secret: true, description: 'may do everything; made afresh on loopback where it is absent' }),
        readToken: z
          .string()
          .min(32, 'expected at least 32 characters')
          .regex(bearerToken, bearerTokenExpected)
          .optional()
          .meta({ secret: true, description: 'may read everything and change nothing' }),
        allowedHosts: z
          .array(z.string().min(1))
          .optional()
          .meta({ description: 'further names under which browsers may reach it' }),
      })
      .optional(),
    dataDir: text('where the embedded database and this process’s own files lie').optional(),
    nodeId: z
      .string()
      .regex(/^[A-Za-z0-9._:-]{1,128}$/)
      .optional()
      .meta({ description: 'tells this machine from others in records; the host’s name, where nothing is said' }),
    databaseUrl: z
      .string()
      .regex(/^postgres(?:ql)?:\/\/\S+$/, 'expected postgres://…')
      .optional()
      .meta({ secret: true, description: 'state lies there instead, and any number of gateways share it' }),
    redisUrl: redisUrl.optional(),
    coldTier: z
      .strictObject({
        url: z.string().min(1).meta({ description: 'https://key:secret@host/bucket?region=…', secret: true }),
        after: period('a completed request moves there so long after its end', '24h').optional(),
        backupInterval: timer('requests are backed up there so often', '5min').optional(),
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
        signingKey: z.string().min(1).optional().meta({
          description: 'signs checkpoints: an Ed25519 private key as PKCS #8 in PEM, the same on every node',
          secret: true,
        }),
        interval: timer('how often a checkpoint is signed and retention runs').optional(),
        verifyInterval: timer('how often the whole trail is verified', '24h').optional(),
        projections: flag('keep the states of requests and the figures of operations as projections').optional(),
      })
      .optional(),
    privacy: z
      .strictObject({
        keysFile: z.string().min(1).optional().meta({ description: 'where the keys of subjects lie' }),
        personal: z
          .record(z.string(), z.array(z.string().startsWith('/', 'expected JSON pointers')))
          .optional()
          .meta({ description: 'by type of event, the members that are encrypted under their subject’s key' }),
      })
      .optional(),
    secret: z
      .string()
      .min(32, 'expected at least 32 characters')
      .optional()
      .meta({ secret: true, description: 'keys the names and the seals of what is kept; made and kept in the store' }),
    apiTokens: z
      .record(
        z.string().regex(/^[A-Za-z0-9._@-]+$/),
        z.string().regex(bearerToken, bearerTokenExpected).meta({ secret: true }),
      )
      .optional()
      .meta({ description: 'bearer tokens by principal: without one, only /health answers' }),
    idempotencyWindow: period('how long an answer is replayed to its key').optional(),
    maxWorkers: count('durable handlers at once').optional(),
    maxConcurrentRequests: count('requests under way at once').optional(),
    maxBody: size('the longest body of a request').optional(),
    requestTimeout: timer('how long an inline caller waits before it gets 202').optional(),
    gracefulShutdown: delay('how long a stopping server waits for requests under way').optional(),
    drainDelay: delay('how long a stopping server still accepts').optional(),
    lease: timer('how long a node may be silent before its runs are taken').optional(),
    trustedProxies: z
      .array(z.string())
      .optional()
      .meta({ description: 'addresses or networks in front whose word on the client is believed' }),
    viaName: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/)
      .optional()
      .meta({ description: 'this gateway’s name in `Via`', fallback: 'gw' }),
    metrics: z
      .strictObject({
        enabled: flag('whether figures are kept', true).optional(),
        namespace: z
          .string()
          .regex(/^[a-z][a-z0-9_]*$/)
          .optional()
          .meta({ description: 'what every name begins with', fallback: 'gw' }),
      })
      .optional(),
    telemetry: z
      .strictObject({
        otlp: z
          .string()
          .regex(/^https?:\/\/\S+$/, 'expected http://… or https://…')
          .meta({ description: 'a collector that takes OTLP over HTTP, as http://127.0.0.1:4318', secret: true }),
        headers: z
          .record(z.string().regex(/^[A-Za-z0-9-]+$/), z.string().meta({ secret: true }))
          .optional()
          .meta({ description: 'fields of each call, such as the collector’s credentials' }),
        serviceName: z
          .string()
          .min(1)
          .optional()
          .meta({ description: 'its `service.name`', fallback: 'durable-gateway' }),
        metricsInterval: timer('how often figures are sent', '60s').optional(),
      })
      .optional()
      .meta({ description: 'figures and traces go to a collector, too' }),
    alerts: z
      .strictObject({
        webhook: z
          .string()
          .regex(/^https?:\/\/\S+$/, 'expected http://… or https://…')
          .meta({ description: 'is told by POST what goes wrong, and what is well again', secret: true }),
        secret: z
          .string()
          .min(24, 'expected at least 24 characters')
          .optional()
          .meta({ description: 'signs each call (Standard Webhooks)', secret: true }),
        interval: timer('how often it is looked', '15s').optional(),
        backlog: count('how many requests may wait for a handler', 1_000).optional(),
      })
      .optional()
      .meta({ description: 'a webhook is told what goes wrong' }),
    logLevel: z
      .enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent'])
      .optional()
      .meta({ description: '`warn` on a terminal, `info` elsewhere' }),
    breakers: z.record(z.string(), breaker).optional().meta({ description: 'circuit breakers by name' }),
    app: z.string().min(1).optional().meta({
      description: 'a module that exports `register(gateway)`, for routes in code; beside this file, as ./src/app.ts',
    }),
    upstreams: z.record(z.string(), upstream).optional().meta({ description: 'services by name' }),
    routes: z.array(route).optional().meta({ description: 'the first that fits is taken' }),
  })
  .superRefine((config, context) => {
    const holders = new Map<string, string>()
    for (const [principal, token] of Object.entries(config.apiTokens ?? {})) {
      const holder = holders.get(token)
      if (holder !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['apiTokens', principal],
          message: `expected a token of its own, got the one of ${holder}`,
        })
      holders.set(token, principal)
    }
    for (const name of Object.keys(config.breakers ?? {})) {
      if (config.upstreams?.[name]?.breaker === undefined) continue
      context.addIssue({
        code: 'custom',
        path: ['breakers', name],
        message: 'expected another name than that of an upstream with a breaker of its own',
      })
    }
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

/** The JSON Schema (2020-12) of a configuration file, for editors; `environment` names the variable that sets an option. */
export function configJsonSchema(): object {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
  for (const { name, path } of variables) {
    let node: { properties?: Record<string, unknown> } = schema as never
    for (const part of path) node = node.properties![part] as never
    Object.assign(node, { environment: name })
  }
  return schema
}
