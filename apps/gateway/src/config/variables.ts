/** An environment variable that sets an option. */
export interface Variable {
  readonly name: string
  /** Which option it sets. */
  readonly path: readonly [string, ...string[]]
  readonly read: (text: string) => unknown
}

const text = (value: string) => value
const number = (value: string) => (/^\d+$/.test(value.trim()) ? Number(value) : value)

/** What each environment variable sets. */
export const variables: readonly Variable[] = [
  { name: 'HOST', path: ['host'], read: text },
  { name: 'PORT', path: ['port'], read: number },
  { name: 'GW_ADMIN_HOST', path: ['admin', 'host'], read: text },
  { name: 'GW_ADMIN_PORT', path: ['admin', 'port'], read: number },
  { name: 'GW_ADMIN_TOKEN', path: ['admin', 'token'], read: text },
  { name: 'GW_ADMIN_READ_TOKEN', path: ['admin', 'readToken'], read: text },
  { name: 'GW_DATA_DIR', path: ['dataDir'], read: text },
  { name: 'GW_NODE_ID', path: ['nodeId'], read: text },
  { name: 'DATABASE_URL', path: ['databaseUrl'], read: text },
  { name: 'REDIS_URL', path: ['redisUrl'], read: text },
  { name: 'GW_S3_URL', path: ['coldTier', 'url'], read: text },
  { name: 'GW_AUDIT_SIGNING_KEY', path: ['audit', 'signingKey'], read: text },
  { name: 'GW_SECRET', path: ['secret'], read: text },
  { name: 'GW_LEASE', path: ['lease'], read: text },
  { name: 'OTEL_EXPORTER_OTLP_ENDPOINT', path: ['telemetry', 'otlp'], read: text },
  { name: 'OTEL_SERVICE_NAME', path: ['telemetry', 'serviceName'], read: text },
  { name: 'GW_ALERT_WEBHOOK', path: ['alerts', 'webhook'], read: text },
  { name: 'GW_ALERT_SECRET', path: ['alerts', 'secret'], read: text },
  { name: 'GW_LOG_LEVEL', path: ['logLevel'], read: text },
  { name: 'GW_API_TOKENS', path: ['apiTokens'], read: apiTokens },
  { name: 'GW_IDEMPOTENCY_WINDOW', path: ['idempotencyWindow'], read: text },
  { name: 'GW_MAX_BODY', path: ['maxBody'], read: text },
  { name: 'GW_MAX_CONCURRENT_REQUESTS', path: ['maxConcurrentRequests'], read: number },
  { name: 'GW_MAX_WORKERS', path: ['maxWorkers'], read: number },
  { name: 'GW_REQUEST_TIMEOUT', path: ['requestTimeout'], read: text },
  { name: 'GW_GRACEFUL_SHUTDOWN', path: ['gracefulShutdown'], read: text },
  { name: 'GW_DRAIN_DELAY', path: ['drainDelay'], read: text },
]

/** `alice:<token>,bob:<token>` as an object; the text itself where it is not that, for the check to refuse. */
function apiTokens(value: string): unknown {
  const entries = value.split(',').map((entry) => /^\s*([A-Za-z0-9._@-]+):(\S+)\s*$/.exec(entry))
  if (entries.some((entry) => entry === null)) return 'not like alice:<token>,bob:<token>'
  return Object.fromEntries(entries.map((entry) => [entry![1]!, entry![2]!]))
}
