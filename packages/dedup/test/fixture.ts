import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, openDatabase } from '@gw/sqlite'
import { type Context, Hono } from 'hono'
import { afterEach } from 'vitest'
import {
  type DedupOptions,
  type DedupStore,
  type DedupTransition,
  dedup,
  RequestDeduplicator,
  type RequestDeduplicatorOptions,
  type Timers,
} from '../src/index.ts'
import { nodeCrypto } from '../src/node/crypto.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'
import { sqliteDedupStore } from '../src/stores/sqlite.ts'
import { runtimeTimers } from '../src/timers.ts'

const open: (() => Promise<unknown>)[] = []

/** Runs after the test, last in, first out. */
export function afterwards(close: () => Promise<unknown>): void {
  open.push(close)
}

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

export function freshDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'gw-dedup-'))
}

export async function database(directory: string = join(freshDirectory(), 'data')): Promise<Database> {
  const db = await openDatabase({ directory })
  afterwards(() => db.close())
  return db
}

export interface Clock {
  ms: number
}

export function deduplicatorOf(
  store: DedupStore,
  clock: Clock = { ms: 1 },
  options: Partial<RequestDeduplicatorOptions> = {},
): RequestDeduplicator {
  const deduplicator = new RequestDeduplicator({
    store,
    crypto: nodeCrypto,
    now: () => clock.ms,
    monotonic: () => clock.ms,
    ...options,
  })
  afterwards(() => deduplicator.stop())
  return deduplicator
}

export const sqliteOf = (db: Database, clock: Clock = { ms: 1 }): DedupStore =>
  sqliteDedupStore({ db, now: () => clock.ms, monotonic: () => clock.ms })

export const memoryOf = (clock: Clock = { ms: 1 }): DedupStore => memoryDedupStore({ monotonic: () => clock.ms })

type Handler = (c: Context) => Response | Promise<Response>

export function appOf(deduplicator: RequestDeduplicator, handler: Handler, options: Partial<DedupOptions> = {}): Hono {
  const app = new Hono()
  app.all('/pay/:id', dedup({ deduplicator, principal: (c) => c.req.header('x-user'), ...options }), handler)
  return app
}

export interface Sent {
  readonly body?: BodyInit
  readonly path?: string
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** Sends one request; without `key`, one that has none. */
export async function send(
  app: Hono,
  key: string | undefined,
  { body = '{"a":1,"b":2}', path = '/pay/1', method = 'POST', headers = {}, signal }: Sent = {},
): Promise<Response> {
  return app.request(path, {
    method,
    ...(method === 'GET' ? {} : { body }),
    ...(signal === undefined ? {} : { signal }),
    headers: {
      'content-type': 'application/json',
      'x-user': 'ann',
      ...(key === undefined ? {} : { 'idempotency-key': key }),
      ...headers,
    },
  })
}

/** An app on a memory store whose handler counts its calls. */
export function counting(
  options: Partial<DedupOptions> = {},
  respond: (n: number, c: Context) => Response | Promise<Response> = (n, c) => c.json({ n }, 201),
  more: Partial<RequestDeduplicatorOptions> = {},
) {
  const clock = { ms: 1_000 }
  const calls = { n: 0 }
  const transitions: DedupTransition[] = []
  const store = more.store ?? memoryOf(clock)
  const deduplicator = deduplicatorOf(store, clock, {
    onTransition: (transition) => transitions.push(transition),
    ...more,
  })
  const app = appOf(deduplicator, (c) => respond(++calls.n, c), options)
  const told = () => transitions.map(({ type }) => type.slice('dedup.'.length))
  return { app, calls, clock, store, deduplicator, transitions, told }
}

/** Lets many wait until it is opened. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open: () => open() }
}

/** Timers whose intervals come when they are told to. */
export function ticking() {
  const due = new Set<unknown>()
  const periods: number[] = []
  const timers: Timers = {
    ...runtimeTimers,
    setInterval(work, everyMs) {
      periods.push(everyMs)
      due.add(work)
      return work
    },
    clearInterval: (work) => void due.delete(work),
  }
  return {
    timers,
    due,
    periods,
    async tick() {
      for (const work of due) (work as () => void)()
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

export async function codeOfAnswer(response: Response): Promise<[number, string]> {
  return [response.status, ((await response.json()) as { code: string }).code]
}
