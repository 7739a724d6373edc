import type { Context, MiddlewareHandler } from 'hono'
import { routePath } from 'hono/route'
import { EventError, refuseUnknown, tell } from './errors.ts'
import type { EventStore } from './event-store.ts'
import type { EventInput } from './new-event.ts'
import { redactedUrl } from './redacted-url.ts'

/** What handlers find in `c.var`. */
export interface AuditEnv {
  Variables: {
    /** Adds members to the event that ends this request; they are redacted as everything else. */
    auditDetail: (detail: Readonly<Record<string, unknown>>) => void
  }
}

/** How requests are accounted for. */
export interface AuditOptions {
  readonly events: EventStore
  /** Which stream the events go to: `audit`. */
  readonly stream?: string
  /** Who is asking: nobody known. */
  readonly actor?: (c: Context) => string | undefined
  /** Whom or what the request is about. */
  readonly subject?: (c: Context) => string | undefined
  /** What the request asks for: `<method> <route>`. */
  readonly operation?: (c: Context) => string
  /** The id that ties the request's events together: `c.var.requestId`, the `X-Request-Id` header, or a fresh one. */
  readonly requestId?: (c: Context) => string | undefined
  /** The client's address, which is cut to its /24 or /48 before it is stored: not recorded. */
  readonly address?: (c: Context) => string | undefined
  /** Names of request headers whose values are recorded, as far as redaction lets them: `user-agent`, `content-type`. */
  readonly headers?: readonly string[]
  /** What a request gets when its first events cannot be stored: `fail` (503), or `pass` (it goes on unaccounted). */
  readonly onStoreError?: 'fail' | 'pass'
  /** Called with every error of the store; its own failure changes nothing. */
  readonly onError?: (error: unknown) => void
}

const known: ReadonlySet<string> = new Set([
  'events',
  'stream',
  'actor',
  'subject',
  'operation',
  'requestId',
  'address',
  'headers',
  'onStoreError',
  'onError',
])

/**
 * Accounts for every request with `request_received` and `operation_started`, durable before the handler runs, and
 * `operation_completed` or `operation_failed`, durable before the response leaves. Neither bodies nor error messages nor stacks
 * are recorded.
 */
export function audit(options: AuditOptions): MiddlewareHandler<AuditEnv> {
  refuseUnknown(Object.fromEntries(Object.entries(options).filter(([name]) => !known.has(name))))
  const { events, stream = 'audit', headers = ['user-agent', 'content-type'], onStoreError = 'fail' } = options
  if (onStoreError !== 'fail' && onStoreError !== 'pass')
    throw new EventError('invalid_option', `Expected \`onStoreError\` to be fail or pass, got \`${onStoreError}\``)
  if (typeof events?.appendBatch !== 'function')
    throw new EventError('invalid_option', `Expected \`events\` to be an EventStore, got \`${String(events)}\``)

  function aboutOf(c: Context): Omit<EventInput, 'type' | 'data'> {
    const actor = kept(options.actor?.(c))
    const subject = kept(options.subject?.(c))
    const requestId = kept(options.requestId?.(c)) ?? idOf(c) ?? crypto.randomUUID()
    const traceparent = c.req.header('traceparent')
    return {
      requestId,
      ...(actor === undefined ? {} : { actor }),
      ...(subject === undefined ? {} : { subject }),
      ...(traceparent !== undefined && traceparentForm.test(traceparent) ? { traceparent } : {}),
    }
  }

  function receivedOf(c: Context, operation: string): Record<string, unknown> {
    const address = options.address?.(c)
    const size = c.req.header('content-length')
    const recorded: Record<string, string> = {}
    for (const name of headers) {
      const value = c.req.header(name)
      if (value !== undefined) recorded[name.toLowerCase()] = value
    }
    return {
      operation,
      method: c.req.method,
      url: redactedUrl(c.req.url),
      headers: recorded,
      ...(address === undefined ? {} : { ip_address: address }),
      ...(size === undefined ? {} : { request_size: Number(size) }),
    }
  }

  return async function audit(c, next) {
    const operation = options.operation?.(c) ?? `${c.req.method} ${routePath(c, -1)}`
    const about = aboutOf(c)
    let detail: Record<string, unknown> = {}
    c.set('auditDetail', (more) => {
      detail = { ...detail, ...more }
    })
    try {
      await events.appendBatch(stream, [
        { type: 'request_received', data: receivedOf(c, operation), ...about },
        { type: 'operation_started', data: { operation }, ...about },
      ])
    } catch (error) {
      tell(options.onError, error)
      if (onStoreError === 'fail') return unaccounted(c, about.requestId)
      return next()
    }
    const began = performance.now()
    let thrown: unknown
    try {
      await next()
      thrown = c.error
    } catch (error) {
      thrown = error
    }
    const failed = thrown !== undefined || c.res.status >= 400
    const size = c.res.headers.get('content-length')
    const ended = {
      type: failed ? 'operation_failed' : 'operation_completed',
      data: {
        operation,
        status: thrown !== undefined && c.res.status < 400 ? 500 : c.res.status,
        execution_time_ms: Math.round((performance.now() - began) * 1_000) / 1_000,
        ...(size === null ? {} : { response_size: Number(size) }),
        ...(thrown === undefined ? {} : errorOf(thrown)),
        ...detail,
      },
      ...about,
    }
    try {
      await events.appendBatch(stream, [ended])
    } catch (error) {
      tell(options.onError, error)
      if (onStoreError === 'fail' && thrown === undefined) c.res = unaccounted(c, about.requestId)
    }
    if (thrown !== undefined && thrown !== c.error) throw thrown
  }
}

const traceparentForm = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
const idForm = /^[A-Za-z0-9._-]{1,128}$/

/** What an event can hold of a client's text, so that none of it keeps a request out of the trail. */
function kept(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text.slice(0, 512)
}

function idOf(c: Context): string | undefined {
  const given: unknown = c.get('requestId') ?? c.req.header('x-request-id')
  return typeof given === 'string' && idForm.test(given) ? given : undefined
}

/** The kind of an error. Its message may quote what the client sent, and stays out. */
function errorOf(error: unknown): { readonly error_type: string; readonly error_code?: string } {
  const code: unknown = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return {
    error_type: error instanceof Error ? error.name : typeof error,
    ...(typeof code === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(code) ? { error_code: code } : {}),
  }
}

function unaccounted(c: Context, requestId: string | undefined): Response {
  return c.body(
    JSON.stringify({
      type: 'urn:gw:problem:audit_unavailable',
      title: 'Audit trail unavailable',
      status: 503,
      detail: 'The request cannot be accounted for at present; try again later',
      instance: c.req.path,
      code: 'audit_unavailable',
      requestId,
    }),
    503,
    { 'content-type': 'application/problem+json', 'retry-after': '1' },
  )
}
