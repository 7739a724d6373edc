import type { CircuitBreaker } from './circuit-breaker.ts'
import { BreakerError, type CircuitBreakerOpenError } from './errors.ts'
import { failureByStatus } from './middleware.ts'
import { callable, checkOptions, object, type Rule, rule } from './options.ts'
import type { Permit } from './permit.ts'
import type { CircuitBreakerRegistry } from './registry.ts'

/** `fetch`, or what is called like it. */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

/** Which breaker guards a request, and what its answer means. */
export interface FetchWithBreakerOptions {
  /** One breaker for all requests. Give this or `registry`. */
  readonly breaker?: CircuitBreaker
  /** Where breakers by key come from. */
  readonly registry?: CircuitBreakerRegistry
  /** The key of a request in `registry`: its host by default. */
  readonly key?: (request: { readonly url: URL }) => string
  readonly fetch?: Fetch
  /** The statuses that count as failures: by default 429 and all from 500. */
  readonly failureStatus?: (status: number) => boolean
  /** A good answer counts when its body has been read to the end, and one whose body fails is a failure. */
  readonly countBody?: boolean
}

const rules: Readonly<Record<keyof FetchWithBreakerOptions, Rule>> = {
  breaker: object,
  registry: object,
  key: callable,
  fetch: callable,
  failureStatus: callable,
  countBody: rule('a boolean', (value) => typeof value === 'boolean'),
}

/**
 * Guards `fetch` with a breaker for each host, or with the one given. Network failures count, and answers of 429 and from
 * 500 on; whoever aborts says nothing. While open it rejects with `CircuitBreakerOpenError` and sends nothing.
 */
export function fetchWithBreaker(options: FetchWithBreakerOptions): Fetch {
  checkOptions(options, rules, [])
  const { breaker, registry, key = hostOf, failureStatus = failureByStatus, countBody = false } = options
  if ((breaker === undefined) === (registry === undefined))
    throw new BreakerError('invalid_option', 'Expected either `breaker` or `registry`')
  const send: Fetch = options.fetch ?? ((input, init) => fetch(input, init))
  const judge = ({ status }: Response): 'ok' | 'failure' => (failureStatus(status) ? 'failure' : 'ok')
  return async function fetchWithBreaker(input, init) {
    const url = isRequest(input) ? input.url : input
    const circuit = breaker ?? registry!.for(key({ url: new URL(url) }))
    const signal = init?.signal ?? (isRequest(input) ? input.signal : undefined)
    if (countBody) return fetchAndCount(circuit, signal, failureStatus, () => send(input, init))
    return circuit.run(
      (context) => send(input, circuit.timesCalls ? { ...init, signal: ending(signal, context.signal) } : init),
      signal === undefined ? { judge } : { signal, judge },
    )
  }
}

/** `fetchWithBreaker` for `customFetch` of Hono's `proxy`: a refusal is its 503 instead of an error. */
export function customFetch(options: FetchWithBreakerOptions): (request: Request) => Promise<Response> {
  const guarded = fetchWithBreaker(options)
  return async function customFetch(request) {
    try {
      return await guarded(request)
    } catch (error) {
      if ((error as { code?: unknown } | undefined)?.code !== 'breaker_open') throw error
      return (error as CircuitBreakerOpenError).getResponse()
    }
  }
}

/** Told by its fields: a server may have put a `Request` of its own in place of the platform's. */
function isRequest(input: string | URL | Request): input is Request {
  return typeof input === 'object' && 'url' in input
}

/** The breaker's timeout ends a request until its head has come; its caller may also end the body. */
function ending(caller: AbortSignal | undefined, call: AbortSignal): AbortSignal {
  return caller === undefined ? call : AbortSignal.any([caller, call])
}

function hostOf({ url }: { readonly url: URL }): string {
  return url.host
}

async function fetchAndCount(
  circuit: CircuitBreaker,
  signal: AbortSignal | undefined,
  failureStatus: (status: number) => boolean,
  send: () => Promise<Response>,
): Promise<Response> {
  signal?.throwIfAborted()
  const permit = await circuit.permit()
  let response: Response
  let failed: boolean
  try {
    response = await send()
    failed = failureStatus(response.status)
  } catch (error) {
    await (signal?.aborted === true ? permit.release() : permit.fail(error))
    throw error
  }
  if (failed) {
    await permit.fail()
    return response
  }
  if (response.body === null) {
    await permit.succeed()
    return response
  }
  const counted = new Response(countedBody(response.body, permit, signal), response)
  // A response made from another has no URL of its own.
  Object.defineProperty(counted, 'url', { value: response.url })
  return counted
}

function countedBody(
  body: ReadableStream<Uint8Array>,
  permit: Permit,
  signal: AbortSignal | undefined,
): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) return controller.enqueue(value)
          await permit.succeed()
          controller.close()
        } catch (error) {
          await (signal?.aborted === true ? permit.release() : permit.fail(error))
          controller.error(error)
        }
      },
      async cancel(reason) {
        await permit.release()
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}
