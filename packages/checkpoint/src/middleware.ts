import type { Context, Env, MiddlewareHandler, Next } from 'hono'
import { encode } from './codec.ts'
import { ParkError } from './errors.ts'
import type { CheckpointManager } from './manager.ts'
import { invalid } from './manager-options.ts'
import type { Operation, Settled } from './operation.ts'
import { aboveZero, aFunction, checkOptions, having, type OptionRule, zeroOrMore } from './option-rules.ts'
import { responseOf } from './outcome.ts'
import { boundedBytes } from './pieces.ts'
import { acceptedResponse, appliedText, type Preference, preferenceOf } from './preferences.ts'
import { problem } from './problem.ts'
import { durableRoutes } from './resume.ts'
import { type Frequency, strategies } from './retention.ts'
import { defaultRetry, type RetryPolicy } from './retry.ts'
import type { Run } from './run.ts'
import type { RunInput, RunRecord } from './run-record.ts'
import type { Timers } from './timers.ts'
import { refusalOf } from './unit.ts'
import { withoutSecretParameters } from './without-secrets.ts'

/** How one route is durable. */
export interface DurableOptions {
  readonly checkpoints: CheckpointManager
  /** The name under which runs are kept and resumed; unique, and stable across deploys. */
  readonly operation: string
  /** Changed by hand when runs of the older handler cannot go on in the newer: `1`. */
  readonly version?: string
  /** What happens to runs of another version: `continue` (the default), `park`, or `restart` without their kept steps. */
  readonly onVersion?: 'continue' | 'park' | 'restart'
  /** Context variables that a resumed handler needs; they must serialise. */
  readonly persist?: readonly string[]
  /** Further request headers to keep. `Authorization`, `Cookie` and their like are kept only when named here. */
  readonly headers?: readonly string[]
  /** Query parameters to keep although they are named like secrets (`token`, `api_key`, `sig`, …); the values of others are not kept. */
  readonly query?: readonly string[]
  /** Who may see the run. */
  readonly principal?: (c: Context) => string | undefined
  /** Whose data the payloads are: what is kept for a subject is sealed with its key and can be erased by it. */
  readonly subject?: (c: Context) => string | undefined
  /** How steps are kept and for how long, by the kind of work: `financial`, `analytics`, `reporting`. The next two go before it. */
  readonly strategy?: 'financial' | 'analytics' | 'reporting'
  /** How often steps become durable: `every-step`. */
  readonly frequency?: Frequency
  /** How long a finished run is kept, counted from its end; the manager's `retentionMs` unless given. */
  readonly retentionMs?: number
  /** A middleware around the durable part, for live requests only. */
  readonly around?: MiddlewareHandler
  readonly maxBodyBytes?: number
  readonly retry?: Partial<RetryPolicy>
  /** What a client that goes away does to its run: nothing (`continue`, the default), or `cancel`. */
  readonly onDisconnect?: 'continue' | 'cancel'
}

/** What a durable handler finds in `c.var`. */
export interface DurableEnv {
  Variables: { run: Run }
}

const keptHeaders: readonly string[] = [
  'content-type',
  'accept',
  'accept-language',
  'user-agent',
  'x-request-id',
  'idempotency-key',
  'traceparent',
  'tracestate',
]
/**
 * Makes the handlers that follow on its route survive the process: the request is recorded before they run, finished steps are
 * kept, and the answer is durable before its first byte leaves.
 */
export function durable(given: DurableOptions): MiddlewareHandler<DurableEnv> {
  checkOptions(given, rules)
  checkOptions(given.retry ?? {}, retryRules)
  const named = given.headers?.map((name) => name.toLowerCase()) ?? []
  const options = { ...given, headers: [...new Set([...keptHeaders, ...named])] }
  const { checkpoints, around } = options
  const operation = operationOf(options)
  checkpoints.declare(operation)
  const part = async (c: Context, next: Next): Promise<void> => {
    const response = await durablePart(c, next, options, operation)
    // Hono copies the fields of a response that is there onto the one that replaces it.
    c.res = undefined
    c.res = response
  }
  const durable: MiddlewareHandler<DurableEnv> = async (c, next) => {
    if (around === undefined) await part(c, next)
    else return (await around(c as Context<Env>, () => part(c, next))) as Response | undefined
  }
  Object.defineProperty(durable, 'name', { value: 'durable' })
  durableRoutes.set(durable, operation.operation)
  return durable
}

function operationOf(options: DurableOptions): Operation {
  const { operation, version = '1', onVersion = 'continue', strategy } = options
  const preset = strategy === undefined ? undefined : strategies[strategy]
  return {
    operation,
    version,
    onVersion,
    retry: { ...defaultRetry, ...options.retry },
    frequency: options.frequency ?? preset?.frequency ?? 'every-step',
    retentionMs: options.retentionMs ?? preset?.retentionMs,
  }
}

async function durablePart(c: Context, next: Next, options: DurableOptions, operation: Operation): Promise<Response> {
  const { checkpoints, principal, subject } = options
  if (checkpoints.stopping) return stopping()
  try {
    await checkpoints.start()
  } catch (error) {
    return startProblem(error)
  }
  const maxBodyBytes = options.maxBodyBytes ?? checkpoints.options.maxBodyBytes ?? 1_048_576
  const body = await boundedBody(c, maxBodyBytes)
  if (body === undefined)
    return problem(413, 'body_too_large', `The body is longer than ${maxBodyBytes} bytes`, { connection: 'close' })

  // The body may have taken long to come.
  if (checkpoints.stopping) return stopping()
  const preference = preferenceOf(c.req.header('prefer'))
  let record = checkpoints.newRecord(preference.respondAsync, {
    requestId: requestIdOf(c),
    operation: operation.operation,
    version: operation.version,
    method: c.req.method,
    route: c.req.routePath,
    principal: textOrNone('principal', principal?.(c)),
    subject: textOrNone('subject', subject?.(c)),
  })
  try {
    record = await checkpoints.accept(record, inputOf(c, options, body), c)
  } catch (error) {
    if (refusalOf(error) !== undefined) return problem(409, 'run_not_accepted', 'The request was not accepted')
    return storeProblem(record.id, error)
  }
  if (options.onDisconnect !== 'cancel' || preference.respondAsync)
    return answerTo(c, next, record, preference, operation, checkpoints)
  const { signal } = c.req.raw
  const cancel = () => void checkpoints.cancel(record.id, { actor: 'client disconnect' }).catch(() => {})
  signal.addEventListener('abort', cancel)
  if (signal.aborted) cancel()
  try {
    return await answerTo(c, next, record, preference, operation, checkpoints)
  } finally {
    // A client that has its 202 may go.
    signal.removeEventListener('abort', cancel)
  }
}

/** Runs the handlers of an accepted run, or has it run later, and answers for it. */
async function answerTo(
  c: Context,
  next: Next,
  record: RunRecord,
  preference: Preference,
  operation: Operation,
  checkpoints: CheckpointManager,
): Promise<Response> {
  if (record.status === 'queued') {
    if (preference.respondAsync && preference.waitMs === undefined)
      return acceptedResponse(record.id, 'queued', 'respond-async')
    return inline(
      checkpoints,
      record.id,
      preference.waitMs ?? checkpoints.options.requestTimeoutMs ?? 300_000,
      appliedText(preference),
    )
  }

  const run = checkpoints.runOf(record)
  c.set('run', run)
  let answered = false
  let handled: Promise<void> | undefined
  const settled = checkpoints.drive(
    record,
    run,
    async () => {
      handled = next()
      await handled
      // The exchange has had its 202, and Hono drops what a handler answers after that: the run is entered again by itself, and
      // its kept steps give the answer.
      if (answered) throw new ParkError('the caller had its 202 before the handler was done', checkpoints.now())
      return c.error === undefined ? { response: c.res } : { response: c.res, error: c.error }
    },
    operation,
  )
  const timeoutMs = preference.waitMs ?? checkpoints.options.requestTimeoutMs ?? 300_000
  const first = await firstOf(settled, timeoutMs, checkpoints.timers)
  if (first === undefined) {
    answered = true
    settled.catch(() => {})
    return acceptedResponse(record.id, 'running', appliedText(preference))
  }
  // Hono puts the answer to an error of the handler in the place of any other: what stopped the run has to reach its end first.
  if (first.kind === 'lost' || first.kind === 'unknown')
    await firstOf<unknown>(handled ?? settled, 0, checkpoints.timers)
  return answer(checkpoints, record.id, first, timeoutMs, appliedText(preference))
}

async function answer(
  checkpoints: CheckpointManager,
  id: string,
  settled: Settled,
  timeoutMs: number,
  applied: string | undefined,
): Promise<Response> {
  if (settled.kind === 'lost' || settled.kind === 'unknown') {
    const goesOn = { 'retry-after': '1', 'gw-run': id, location: `/requests/${id}` }
    return settled.kind === 'lost'
      ? problem(503, 'lease_lost', 'The request goes on in another process', goesOn)
      : problem(503, 'run_interrupted', 'The request was interrupted and goes on by itself', goesOn)
  }
  if (settled.kind === 'suspended') {
    const { inlineWaitMs = 10_000 } = checkpoints.options
    const waits =
      settled.status === 'waiting' && settled.wakeAt !== undefined && settled.wakeAt - checkpoints.now() <= inlineWaitMs
    return waits
      ? inline(checkpoints, id, Math.min(timeoutMs, inlineWaitMs * 2), applied)
      : acceptedResponse(id, settled.status, applied)
  }
  if (settled.streaming !== undefined) {
    const response = new Response(settled.streaming.body, settled.streaming)
    response.headers.set('gw-run', id)
    return response
  }
  const response = responseOf(settled.outcome, id)
  if (settled.durability !== undefined) response.headers.set('gw-durability', settled.durability)
  if (applied !== undefined) response.headers.set('preference-applied', applied)
  return response
}

async function inline(
  checkpoints: CheckpointManager,
  id: string,
  timeoutMs: number,
  applied: string | undefined,
): Promise<Response> {
  const outcome = await checkpoints.wait(id, { timeoutMs })
  if (outcome !== undefined) return responseOf(outcome, id)
  return acceptedResponse(id, (await checkpoints.get(id))?.status ?? 'queued', applied)
}

/** `undefined` when the run takes longer; the run is not disturbed. */
function firstOf<Value>(settled: Promise<Value>, timeoutMs: number, timers: Timers): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    const timer = timers.setTimeout(() => resolve(undefined), timeoutMs)
    settled.then(resolve, reject).finally(() => timers.clearTimeout(timer))
  })
}

/**
 * The body, read once and left where Hono's `c.req.json()` and the like find it; `undefined` when it is longer than the bound,
 * which is noticed before it is buffered.
 */
async function boundedBody(c: Context, maxBytes: number): Promise<Uint8Array | undefined> {
  const declared = c.req.header('content-length')
  if (declared !== undefined && Number(declared) > maxBytes) return undefined
  const { bodyCache } = c.req
  const cached = Object.keys(bodyCache).length > 0
  if (cached || declared !== undefined) {
    const bytes = new Uint8Array(await c.req.arrayBuffer())
    return bytes.length > maxBytes ? undefined : bytes
  }
  const { body } = c.req.raw
  if (body === null) return new Uint8Array()
  const bytes = await boundedBytes(body, maxBytes)
  if (bytes === undefined) return undefined
  // Hono awaits what it finds here, whatever its type says.
  bodyCache.arrayBuffer = Promise.resolve(bytes.buffer) as unknown as ArrayBuffer
  return bytes
}

function inputOf(c: Context, { headers = [], query = [], persist = [] }: DurableOptions, body: Uint8Array): RunInput {
  const kept: [string, string][] = []
  for (const name of headers) {
    const value = c.req.header(name)
    if (value !== undefined) kept.push([name, value])
  }
  const variables = persist.length === 0 ? '{}' : encode(Object.fromEntries(persist.map((name) => [name, c.get(name)])))
  return { url: withoutSecretParameters(c.req.url, query), headers: kept, variables, body }
}

/** Any other type would come back from a database as another value, which the row's CRC takes for damage. */
function textOrNone(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'string') throw invalid(name, 'a function that gives a text', value)
  return value
}

const requestIdForm = /^[A-Za-z0-9._:-]{1,128}$/

function requestIdOf(c: Context): string | undefined {
  const given: unknown = c.get('requestId') ?? c.req.header('x-request-id')
  return typeof given === 'string' && requestIdForm.test(given) ? given : undefined
}

const notApplied: ReadonlySet<unknown> = new Set([
  'storage_failed',
  'storage_full',
  'write_queue_full',
  'closed',
  'unavailable',
])

const stopping = () =>
  problem(503, 'stopping', 'This process is shutting down and takes no new requests', { 'retry-after': '1' })

const nothingRan = () =>
  problem(503, 'storage_unavailable', 'The request could not be recorded; nothing ran', { 'retry-after': '1' })

/** What to say while the store cannot be opened. */
function startProblem(error: unknown): Response {
  const code = codeOf(error)
  if (notApplied.has(code) || code === 'unknown') return nothingRan()
  throw error
}

/** What to say when a request could not be recorded, or it is not known whether it was. Anything else is a bug and thrown. */
function storeProblem(id: string, error: unknown): Response {
  const code = codeOf(error)
  if (notApplied.has(code)) return nothingRan()
  if (code === 'unknown')
    return problem(503, 'outcome_unknown', 'It is not known whether the request was recorded; if it was, it will run', {
      'retry-after': '1',
      'gw-run': id,
      location: `/requests/${id}`,
    })
  throw error
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}

const texts: OptionRule = {
  expected: 'a list of texts',
  accepts: (value) => Array.isArray(value) && value.every((each) => typeof each === 'string'),
}
const count: OptionRule = {
  expected: 'a whole number above 0',
  accepts: (value) => Number.isInteger(value) && Number(value) > 0,
}

function oneOf(...names: readonly string[]): OptionRule {
  return { expected: names.join(' or '), accepts: (value) => names.includes(value as string) }
}

const rules: Readonly<Record<keyof DurableOptions, OptionRule>> = {
  checkpoints: { ...having('a `CheckpointManager`', 'accept', 'drive'), required: true },
  operation: {
    expected: '1 to 200 visible ASCII characters',
    accepts: (value) => typeof value === 'string' && /^[\x21-\x7e]{1,200}$/.test(value),
    required: true,
  },
  version: { expected: 'a text', accepts: (value) => typeof value === 'string' },
  onVersion: oneOf('continue', 'park', 'restart'),
  persist: texts,
  headers: texts,
  query: texts,
  principal: aFunction,
  subject: aFunction,
  strategy: oneOf(...Object.keys(strategies)),
  frequency: {
    expected: '`every-step`, `stage-boundaries` or `{ everySteps: n }`',
    accepts: (value) =>
      value === 'every-step' ||
      value === 'stage-boundaries' ||
      (typeof value === 'object' && count.accepts((value as { everySteps?: unknown } | null)?.everySteps)),
  },
  retentionMs: aboveZero,
  around: aFunction,
  maxBodyBytes: count,
  retry: { expected: 'an object', accepts: (value) => typeof value === 'object' && value !== null },
  onDisconnect: oneOf('continue', 'cancel'),
}

const retryRules: Readonly<Record<keyof RetryPolicy, OptionRule>> = {
  maxAttempts: aboveZero,
  initialMs: zeroOrMore,
  factor: zeroOrMore,
  maxMs: zeroOrMore,
  jitterRatio: zeroOrMore,
  retryable: aFunction,
}
