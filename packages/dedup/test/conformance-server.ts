import { createAdaptorServer } from '@hono/node-server'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { parseKey } from '../src/idempotency-key.ts'
import { type DedupOptions, type DedupStore, dedup, RequestDeduplicator } from '../src/index.ts'
import { nodeCrypto } from '../src/node/crypto.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'

/** How a server is broken on purpose. */
export interface PlantedBug {
  readonly options?: Partial<DedupOptions>
  store?(store: DedupStore): DedupStore
  /** Changes the request before it is deduplicated. */
  request?(request: Request): Request
  /** Changes what is answered. */
  around?: MiddlewareHandler
  /** Stands between the keys and the operation. */
  within?: MiddlewareHandler
  /** How many processes there seem to be, on one store. */
  readonly nodes?: number
}

export interface ConformanceServer {
  readonly url: string
  stop(): Promise<void>
}

/** A bare Hono app on loopback, with keys or without, and with a bug or without. */
export async function conformanceServer(bug: PlantedBug | 'no keys' = {}): Promise<ConformanceServer> {
  const { options = {}, around, within, nodes = 1, ...changes }: PlantedBug = bug === 'no keys' ? {} : bug
  const { store = (plain: DedupStore) => plain, request = (plain: Request) => plain } = changes
  const keys = store(memoryDedupStore())
  const deduplicators = Array.from(
    { length: nodes },
    () => new RequestDeduplicator({ store: keys, crypto: nodeCrypto, cache: nodes === 1 ? {} : false }),
  )
  const app = new Hono()
  if (around !== undefined) app.use(around)
  const keyed = (missing: 'optional' | 'required'): MiddlewareHandler => {
    if (bug === 'no keys') return (_, next) => next()
    const all = deduplicators.map(
      (deduplicator) =>
        dedup({ deduplicator, missing, principal: (c) => c.req.header('x-user'), ...options }) as MiddlewareHandler,
    )
    let turn = 0
    return (c, next) =>
      all[turn++ % nodes]!(c, () => (within === undefined ? next() : (within(c, next) as Promise<void>)))
  }
  let count = 0
  const pay = (c: Context) => {
    c.header('set-cookie', `session=${count}`)
    c.header('x-request-id', crypto.randomUUID())
    return c.json({ payment: ++count }, 201)
  }
  app.get('/payments', keyed('optional'), (c) => c.json({ count: ++count }))
  app.post('/pay', keyed('optional'), pay)
  app.post('/order', keyed('required'), pay)
  app.post('/slow', keyed('optional'), async (c) => {
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    return pay(c)
  })
  const server = createAdaptorServer({ fetch: (raw: Request) => app.fetch(request(raw)) })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      for (const deduplicator of deduplicators) await deduplicator.stop()
      if ('closeAllConnections' in server) server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The same request with other fields, or at another address. */
function changed(
  request: Request,
  { url = request.url, key }: { readonly url?: string; readonly key?: string },
): Request {
  const headers = new Headers(request.headers)
  if (key !== undefined) headers.set('idempotency-key', key)
  const init = { method: request.method, headers, body: request.body, duplex: 'half', signal: request.signal }
  return new Request(url, init as RequestInit)
}

const keyOf = (request: Request) => request.headers.get('idempotency-key')
const hexOf = (text: string) => Buffer.from(text).toString('hex')

function replaced(c: Context, status: number, change: (headers: Headers) => void = () => {}): void {
  const { res } = c
  const headers = new Headers(res.headers)
  change(headers)
  c.res = undefined
  c.res = new Response(res.body, { status, headers })
}

const answered =
  (act: (c: Context) => void | Promise<void>): MiddlewareHandler =>
  async (c, next) => {
    await next()
    await act(c)
  }

/** Each with the case that finds it. */
export const plantedBugs: Readonly<Record<string, { readonly found: string; readonly bug: PlantedBug }>> = {
  'a claim that looks first and writes then': {
    found: 'I1 once',
    bug: {
      store: (store) => ({
        ...store,
        async tryClaim(claim) {
          const record = await store.get(claim.key)
          await new Promise((resolve) => setTimeout(resolve, 5))
          if (record !== undefined) return { kind: 'held', record }
          const unit = store.unit()
          const now = await store.get(claim.key)
          if (now !== undefined) {
            unit.add(store.release(now))
            await unit.commit()
          }
          const answer = await store.tryClaim(claim)
          return answer.kind === 'claimed' ? answer : { kind: 'claimed', fence: 1 }
        },
      }),
      // Within one process repeats wait for the claim of the first.
      nodes: 4,
    },
  },
  'the query is ignored': {
    found: 'F1 query',
    bug: { request: (request) => changed(request, { url: request.url.split('?')[0]! }) },
  },
  'the body is ignored': { found: 'F4', bug: { options: { compare: () => new Uint8Array() } } },
  'JSON is compared byte by byte': { found: 'F3 order', bug: { options: { compare: 'bytes' } } },
  'JSON is compared as it is parsed': {
    found: 'F3 numbers',
    bug: {
      options: {
        compare: (body) => {
          const value = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>
          return new TextEncoder().encode(JSON.stringify(Object.entries(value).sort()))
        },
      },
    },
  },
  'every principal has the same keys': {
    found: 'S1',
    bug: { options: { principal: () => 'everybody' } },
  },
  'a quoted key is another key': {
    found: 'K1',
    bug: {
      request: (request) =>
        keyOf(request)?.startsWith('"') === true && 'key' in parseKey(keyOf(request)!)
          ? changed(request, { key: hexOf(keyOf(request)!) })
          : request,
    },
  },
  'any text is a key': {
    found: 'K2',
    bug: {
      request(request) {
        const key = keyOf(request)
        if (key === null || 'key' in parseKey(key)) return request
        return changed(request, { key: hexOf(key).slice(0, 200) || 'empty' })
      },
    },
  },
  'of two keys the first is taken': {
    found: 'K3',
    bug: {
      request(request) {
        const key = keyOf(request)
        return key?.includes(',') === true ? changed(request, { key: key.split(',')[0]!.trim() }) : request
      },
    },
  },
  'cookies are replayed': {
    found: 'R2',
    bug: {
      around: answered((c) => {
        if (c.res.headers.get('idempotent-replayed') === 'true') c.res.headers.append('set-cookie', 'session=0')
      }),
    },
  },
  'a replay is always 200': {
    found: 'R1',
    bug: {
      around: answered((c) => {
        if (c.res.headers.get('idempotent-replayed') === 'true') replaced(c, 200)
      }),
    },
  },
  'a replay is not marked': {
    found: 'R1',
    bug: { around: answered((c) => replaced(c, c.res.status, (headers) => headers.delete('idempotent-replayed'))) },
  },
  'a conflict does not say when to come back': {
    found: 'I1 409',
    bug: { around: answered((c) => replaced(c, c.res.status, (headers) => headers.delete('retry-after'))) },
  },
  'a missing key is 400 without a link': {
    found: 'K4',
    bug: { around: answered((c) => replaced(c, c.res.status, (headers) => headers.delete('link'))) },
  },
  'a client that goes away takes its answer with it': {
    found: 'B4',
    bug: {
      async within(c, next) {
        const { signal } = c.req.raw
        const gone = new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(new Error('the client is gone')))
        })
        await Promise.race([next(), gone])
      },
    },
  },
}
