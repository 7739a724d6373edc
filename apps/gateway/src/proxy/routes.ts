import { BlockList, isIP } from 'node:net'
import type { Run } from '@gw/checkpoint'
import type { Context, MiddlewareHandler } from 'hono'
import { GatewayError } from '../errors.ts'
import type { Gateway } from '../gateway.ts'
import type { DurableRouteOptions } from '../gateway-env.ts'
import { problem } from '../problem.ts'
import { traceOf, traceparentOf } from '../trace.ts'
import { forward, forwardKept, type KeptAnswer, type ProxyParts } from './proxy.ts'
import { Upstream, UpstreamError, type UpstreamOptions } from './upstream.ts'

/** One route that is passed on to an upstream. */
export interface ProxyRouteOptions {
  /** The name of an upstream that `gateway.upstream` has made. */
  readonly upstream: string
  /** All methods, unless given. */
  readonly methods?: readonly string[]
  /** The request is recorded, finishes after a crash, and the upstream's answer is kept. */
  readonly durable?: boolean
  /** The name under which its runs are kept: method and path, unless given. */
  readonly operation?: string
  readonly idempotency?: DurableRouteOptions['idempotency']
  /** How often a durable request is sent where the upstream fails: 3 times. */
  readonly retry?: { readonly maxAttempts?: number }
  /**
   * A durable request that was on its way when the process died: it is sent again with the same `Idempotency-Key` (`execute`, the
   * default), or waits for a person (`park`).
   */
  readonly onUnknown?: 'execute' | 'park'
  /** Request fields that a durable request keeps, so that it can be sent again after a crash. Credentials only when named. */
  readonly headers?: readonly string[]
  /** The longest body; above 1 MiB only where the route says so. A durable route keeps it in memory, any other streams. */
  readonly maxBodyBytes?: number
}

/** The upstreams of a gateway, and what all of its proxied routes share. */
export class Upstreams {
  readonly #upstreams = new Map<string, Upstream>()
  readonly #trusted = new BlockList()
  readonly viaName: string

  constructor({
    trustedProxies = [],
    viaName = 'gw',
  }: { readonly trustedProxies?: readonly string[]; readonly viaName?: string }) {
    this.viaName = viaName
    for (const network of trustedProxies) trust(this.#trusted, network)
  }

  add(name: string, options: UpstreamOptions): void {
    if (this.#upstreams.has(name))
      throw new GatewayError('invalid_option', `Expected \`upstreams.${name}\` to be new, got it twice`)
    this.#upstreams.set(name, new Upstream(name, options))
  }

  get trusted(): BlockList {
    return this.#trusted
  }

  find(name: string): Upstream | undefined {
    return this.#upstreams.get(name)
  }

  get(name: string): Upstream {
    const upstream = this.find(name)
    if (upstream === undefined) {
      const known = [...this.#upstreams.keys()].join(', ') || 'none'
      throw new GatewayError('invalid_option', `Expected \`upstream\` to be one of ${known}, got \`${name}\``)
    }
    return upstream
  }

  /** Ends each connection when what is under way on it is done. */
  async close(): Promise<void> {
    await Promise.all([...this.#upstreams.values()].map((upstream) => upstream.close()))
  }

  /** Cuts every connection. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#upstreams.values()].map((upstream) => upstream.destroy()))
  }
}

/** Registers a proxied route: a stream straight through, or a durable request whose one step is the call to the upstream. */
export function proxyRoute(gateway: Gateway, path: string, options: ProxyRouteOptions): void {
  const { upstreams } = gateway
  upstreams.get(options.upstream)
  for (const method of options.methods ?? ['ALL'])
    gateway.on(method, [path], ...proxyHandlers(gateway, () => upstreams, method, path, options))
}

/** The operation under which a durable route keeps the runs of a method. */
export function operationOf(method: string, path: string, { operation }: ProxyRouteOptions): string {
  return operation ?? `${method} ${path}`.replaceAll(' ', '_')
}

/** What a proxied route passes, for one of its methods. `upstreams` are asked for with each call: they may have been replaced. */
export function proxyHandlers(
  gateway: Gateway,
  upstreams: () => Upstreams,
  method: string,
  path: string,
  options: ProxyRouteOptions,
): readonly MiddlewareHandler[] {
  const { upstream: name, durable = false, idempotency } = options
  gateway.admitBodies(options.maxBodyBytes)
  const keyed = idempotency !== undefined && idempotency !== 'off'
  const parts: ProxyParts = {
    get upstream() {
      const upstream = upstreams().find(name)
      if (upstream !== undefined) return upstream
      throw new UpstreamError('upstream_unreachable', `${name} is no longer configured`, false, undefined)
    },
    get breaker() {
      return gateway.breakers.find(name)
    },
    get trustedProxies() {
      return upstreams().trusted
    },
    get viaName() {
      return upstreams().viaName
    },
    requestIdOf: (c) => c.get('requestId') as string,
    traceparentOf: (c) => (gateway.traces === undefined ? undefined : traceparentOf(traceOf(c))),
    captured: keyed,
  }
  if (durable) {
    return [
      gateway.durable({
        operation: operationOf(method, path, options),
        ...(idempotency === undefined ? {} : { idempotency }),
        ...(options.headers === undefined ? {} : { headers: options.headers }),
        ...(options.maxBodyBytes === undefined ? {} : { maxBodyBytes: options.maxBodyBytes }),
      }) as MiddlewareHandler,
      ((c: Context) => forwardDurably(c, parts, options)) as MiddlewareHandler,
    ]
  }
  const straight = ((c: Context) => forward(c, parts)) as MiddlewareHandler
  return keyed ? [gateway.deduplicated({ missing: idempotency }), straight] : [straight]
}

const retriedStatuses: ReadonlySet<number> = new Set([502, 503, 504])
const keptBytes = 1_048_576

/** What an upstream answers that cannot be kept, and an address that is not for upstreams, stay as they are. */
function mayComeRight(error: unknown): boolean {
  return error instanceof UpstreamError && error.code !== 'upstream_malformed' && error.code !== 'upstream_forbidden'
}

/** The upstream's answer to a request that is recorded; sent again with one and the same key until it is one. */
async function forwardDurably(
  c: Context,
  parts: ProxyParts,
  { retry, onUnknown }: ProxyRouteOptions,
): Promise<Response> {
  const body = new Uint8Array(await c.req.arrayBuffer())
  const maxAttempts = retry?.maxAttempts ?? 3
  const run = (c.var as { readonly run: Run }).run
  let long: ReadableStream<Uint8Array> | undefined
  const kept = await run.step(
    'forward',
    async ({ attempt, idempotencyKey, signal }): Promise<Omit<KeptAnswer, 'body'> & { body: Uint8Array | null }> => {
      const answer = await forwardKept(c, parts, { body, idempotencyKey, signal, maxBytes: keptBytes })
      if (answer instanceof Response) {
        return {
          status: answer.status,
          fields: [...answer.headers],
          body: new Uint8Array(await answer.arrayBuffer()),
        }
      }
      const streamed = answer.body instanceof ReadableStream ? answer.body : undefined
      if (retriedStatuses.has(answer.status) && attempt < maxAttempts) {
        await streamed?.cancel()
        throw new UpstreamError(
          'upstream_unreachable',
          `${parts.upstream.name} answered ${answer.status}`,
          true,
          undefined,
        )
      }
      long = streamed
      return {
        status: answer.status,
        // A cookie is for one client, and is not in what is given again.
        fields: answer.fields.filter(([field]) => !/^set-cookie$/i.test(field)),
        body: answer.body instanceof ReadableStream ? null : answer.body,
      }
    },
    {
      retry: { maxAttempts, initialMs: 200, retryable: mayComeRight },
      ...(onUnknown === 'park' ? { onCrash: 'park' as const } : {}),
    },
  )
  if (kept.body === null && long === undefined)
    return problem(c, 502, 'upstream_answer_lost', `${parts.upstream.name} has answered, and too long to be kept`, {
      detail: `Its status was ${kept.status}; the process that passed the answer on has ended`,
      members: { retryable: false },
    })
  const empty = kept.status === 204 || kept.status === 304
  const response = new Response(empty ? null : (long ?? (kept.body as Uint8Array<ArrayBuffer>)), {
    status: kept.status,
  })
  for (const [field, value] of kept.fields) if (!/^content-length$/i.test(field)) response.headers.append(field, value)
  return response
}

function trust(list: BlockList, network: string): void {
  const [address = '', prefix] = network.split('/')
  const family = isIP(address)
  const bits = prefix === undefined ? (family === 6 ? 128 : 32) : Number(prefix)
  if (family === 0 || !Number.isInteger(bits) || bits < 0 || bits > (family === 6 ? 128 : 32)) {
    throw new GatewayError(
      'invalid_option',
      `Expected \`trustedProxies\` to be addresses or networks like 10.0.0.0/8, got \`${network}\``,
    )
  }
  list.addSubnet(address, bits, family === 6 ? 'ipv6' : 'ipv4')
}
