import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, openDatabase } from '@gw/sqlite'
import { Hono } from 'hono'
import { afterEach } from 'vitest'
import {
  CheckpointManager,
  type CheckpointManagerOptions,
  type CheckpointStore,
  type DurableOptions,
  durable,
  type Run,
} from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'

const open: (() => Promise<unknown>)[] = []

afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close()
})

/** Closes what a test opened, last opened first. */
export function atEnd(close: () => Promise<unknown>): void {
  open.push(close)
}

export async function sqlite(
  directory = join(mkdtempSync(join(tmpdir(), 'gw-checkpoint-')), 'data'),
): Promise<Database> {
  const db = await openDatabase({ directory })
  atEnd(() => db.close())
  return db
}

export type Handler = (run: Run, body: unknown) => unknown

/** A process of its own: a manager and an app with one durable route. */
export interface Process {
  readonly checkpoints: CheckpointManager
  readonly app: Hono
  post(body?: unknown, headers?: Record<string, string>): Promise<Response>
  /** Sends a request that is answered 202 at once and gives its run's id. */
  send(body?: unknown): Promise<string>
  outcome(id: string): Promise<string>
}

export function processOn(
  store: CheckpointStore = memoryCheckpointStore(),
  handler: Handler = () => 1,
  options: Partial<CheckpointManagerOptions> = {},
  route: Partial<DurableOptions> = {},
): Process {
  const checkpoints = new CheckpointManager({ store, settleMs: 50, random: () => 0.5, ...options })
  atEnd(() => checkpoints.stop({ gracefulShutdownMs: 0 }))
  const app = new Hono()
  app.onError((error, c) => c.json({ error: error.message }, 500))
  app.post('/jobs/:kind', durable({ checkpoints, operation: 'job', ...route }), async (c) => {
    const result = await handler(c.var.run, await c.req.json())
    return result instanceof Response ? result : c.json({ result: result ?? null }, 201)
  })
  checkpoints.serve(app)
  const post = async (body: unknown = {}, headers: Record<string, string> = {}) =>
    app.request('/jobs/a', {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json', ...headers },
    })
  return {
    checkpoints,
    app,
    post,
    async send(body) {
      return (await post(body, { prefer: 'respond-async' })).headers.get('gw-run')!
    },
    async outcome(id) {
      const outcome = await checkpoints.wait(id, { timeoutMs: 60_000 })
      return `${outcome?.status} ${new TextDecoder().decode(outcome?.body)}`
    },
  }
}

/** A promise, and what settles it. */
export function gate<Value = void>(): { readonly passed: Promise<Value>; open(value: Value): void } {
  let open = (_: Value) => {}
  const passed = new Promise<Value>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
