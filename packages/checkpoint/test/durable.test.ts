import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Database, openDatabase } from '@gw/sqlite'
import { Hono } from 'hono'
import { afterEach, expect, test } from 'vitest'
import {
  CheckpointManager,
  type CheckpointManagerOptions,
  type DurableOptions,
  durable,
  ParkError,
  type Run,
} from '../src/index.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'

const open: { close(): Promise<unknown> }[] = []

afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close()
})

async function database(directory = join(mkdtempSync(join(tmpdir(), 'gw-checkpoint-')), 'data')): Promise<Database> {
  const db = await openDatabase({ directory })
  open.push(db)
  return db
}

function manager(db: Database, options: Partial<CheckpointManagerOptions> = {}): CheckpointManager {
  const checkpoints = new CheckpointManager({ store: sqliteCheckpointStore({ db }), settleMs: 50, ...options })
  open.push({ close: () => checkpoints.stop({ gracefulShutdownMs: 0 }) })
  return checkpoints
}

type Handler = (run: Run, body: unknown) => unknown

/** An app with one durable route, as a process would make it. */
function appOf(checkpoints: CheckpointManager, handler: Handler, options: Partial<DurableOptions> = {}) {
  const app = new Hono()
  app.onError((error, c) => c.json({ error: error.message }, 500))
  app.post('/jobs/:kind', durable({ checkpoints, operation: 'job', ...options }), async (c) => {
    const result = await handler(c.var.run, await c.req.json())
    return result instanceof Response ? result : c.json({ kind: c.req.param('kind'), result }, 201)
  })
  checkpoints.serve(app)
  return app
}

const post = (app: Hono, body: unknown = {}, headers: Record<string, string> = {}) =>
  app.request('/jobs/a', {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })

async function outcomeText(checkpoints: CheckpointManager, id: string): Promise<string> {
  const outcome = await checkpoints.wait(id, { timeoutMs: 5_000 })
  return `${outcome?.status} ${new TextDecoder().decode(outcome?.body)}`
}

test('checkpoint A1, O1: the run, its steps and its outcome are kept, and the caller gets the outcome', async () => {
  const checkpoints = manager(await database())
  const app = appOf(checkpoints, async (run, body) => [
    await run.step('one', () => 1),
    await run.step('two', () => body),
  ])
  const response = await post(app, { x: 1 }, { authorization: 'Bearer secret', 'x-request-id': 'r-1' })
  expect(response.status).toBe(201)
  expect(response.headers.get('gw-durability')).toBe('fsync')
  const id = response.headers.get('gw-run')!
  expect(await response.json()).toEqual({ kind: 'a', result: [1, { x: 1 }] })
  expect(await checkpoints.get(id)).toMatchObject({
    status: 'completed',
    requestId: 'r-1',
    route: '/jobs/:kind',
    fence: 1,
  })
  expect((await checkpoints.steps(id)).map(({ name, occurrence }) => `${name}#${occurrence}`)).toEqual([
    'one#1',
    'two#1',
  ])
  expect(JSON.stringify(await checkpoints.store.input(id))).not.toContain('secret')
})

test('checkpoint A3: a body over the limit is 413 before anything is stored, with or without its length declared', async () => {
  const checkpoints = manager(await database(), { maxBodyBytes: 100 })
  const app = appOf(checkpoints, () => 1)
  expect((await post(app, 'x'.repeat(200))).status).toBe(413)
  const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(64)) })
  const response = await app.request('/jobs/a', { method: 'POST', body: endless, duplex: 'half' } as RequestInit)
  expect(response.status).toBe(413)
  expect((await checkpoints.list()).runs).toEqual([])
})

test('checkpoint R1, S1: a run left by a dead process goes on from its last kept step, with the same steps and a higher fence', async () => {
  const directory = join(mkdtempSync(join(tmpdir(), 'gw-checkpoint-')), 'data')
  const db = await database(directory)
  const calls: string[] = []
  let reached = () => {}
  const second = new Promise<void>((resolve) => {
    reached = resolve
  })
  const first = manager(db)
  const dying = appOf(first, async (run) => {
    await run.step('one', () => calls.push('one'))
    await run.step('two', () => {
      reached()
      return new Promise(() => {})
    })
  })
  void post(dying)
  await second
  const [left] = (await first.list()).runs
  const next = manager(db)
  appOf(next, async (run) => [
    await run.step('one', () => calls.push('again')),
    await run.step('two', () => 'done'),
    run.fence,
  ])
  await next.start()
  expect(await outcomeText(next, left!.id)).toBe('201 {"kind":"a","result":[1,"done",2]}')
  expect(calls).toEqual(['one'])
})

test('checkpoint O2, R4: the former owner can neither write nor end a run that was taken', async () => {
  const db = await database()
  const first = manager(db)
  let release = (_: unknown) => {}
  let reached = () => {}
  const entered = new Promise<void>((resolve) => {
    reached = resolve
  })
  const dying = appOf(first, async (run) => {
    await run.step('one', () => {
      reached()
      return new Promise((resolve) => {
        release = resolve
      })
    })
  })
  const answered = post(dying)
  await entered
  const [left] = (await first.list()).runs
  const next = manager(db)
  appOf(next, (run) => run.step('one', () => 'mine'))
  await next.start()
  expect(await outcomeText(next, left!.id)).toBe('201 {"kind":"a","result":"mine"}')
  release('late')
  const late = await answered
  expect([late.status, late.headers.get('retry-after'), late.headers.get('gw-run')]).toEqual([503, '1', left!.id])
  expect(await outcomeText(next, left!.id)).toBe('201 {"kind":"a","result":"mine"}')
})

test('checkpoint D1: a handler that asks for other steps than were kept parks the run and names the first difference', async () => {
  const db = await database()
  const failing = appOf(manager(db), async (run) => {
    await run.step('charge', () => 1)
    throw new ParkError('later', Date.now() + 3_600_000)
  })
  const accepted = await post(failing)
  const id = accepted.headers.get('gw-run')!
  const next = manager(db)
  appOf(next, (run) => run.step('refund', () => 1))
  await next.retry(id, { actor: 'me' })
  await expect.poll(async () => (await next.get(id))?.status).toBe('parked')
  expect((await next.get(id))?.reason).toContain('kept charge#1, got refund#1')
})

test('checkpoint O3: a retryable error is tried again up to three times, then fails as a problem without a stack', async () => {
  const checkpoints = manager(await database(), { random: () => 0.5 })
  let entered = 0
  const app = appOf(
    checkpoints,
    () => {
      entered++
      throw Object.assign(new Error('upstream'), { retryable: true })
    },
    { retry: { initialMs: 5 } },
  )
  const response = await post(app)
  expect([response.status, entered]).toEqual([500, 3])
  expect(await response.text()).not.toContain('at ')
  expect(await checkpoints.get(response.headers.get('gw-run')!)).toMatchObject({ status: 'failed', attempt: 3 })
})

test('checkpoint S1: steps under Promise.all replay by name and occurrence, whatever the order of their ends', async () => {
  const db = await database()
  let attempt = 0
  const checkpoints = manager(db)
  const app = appOf(checkpoints, async (run) => {
    const values = await Promise.all(
      [3, 1, 2].map((n) => run.step('n', () => new Promise((resolve) => setTimeout(() => resolve(n), n)))),
    )
    if (attempt++ === 0) throw new ParkError('once more', 0)
    return values
  })
  expect(await (await post(app)).json()).toEqual({ kind: 'a', result: [3, 1, 2] })
  expect(attempt).toBe(2)
})

test('checkpoint S2: a result that does not serialise names its path', async () => {
  const app = appOf(manager(await database()), (run) => run.step('bad', () => ({ list: [1, { f: () => 1 }] })))
  expect(await (await post(app)).json()).toEqual({
    error: 'Expected `list[1].f` to be a value that can be kept, got a function',
  })
})

test('checkpoint S3: kept steps are compensated last first when the run fails', async () => {
  const undone: number[] = []
  const app = appOf(manager(await database()), async (run) => {
    for (const n of [1, 2]) await run.step('book', () => n, { compensate: (value) => undone.push(value) })
    throw new Error('no')
  })
  expect((await post(app)).status).toBe(500)
  expect(undone).toEqual([2, 1])
})

test('checkpoint S3: a step marked onCrash park is not run again blindly after a crash', async () => {
  const db = await database()
  let calls = 0
  let reached = () => {}
  const entered = new Promise<void>((resolve) => {
    reached = resolve
  })
  const handler: Handler = (run) =>
    run.step(
      'pay',
      () => {
        calls++
        reached()
        return new Promise(() => {})
      },
      { onCrash: 'park' },
    )
  void post(appOf(manager(db), handler))
  await entered
  const next = manager(db)
  appOf(next, handler)
  await next.start()
  const [run] = (await next.list()).runs
  await expect.poll(async () => (await next.get(run!.id))?.status).toBe('parked')
  expect(calls).toBe(1)
})

test('checkpoint S4: the key given to a provider is the same in every life of the run, and another for every step', async () => {
  const db = await database()
  const keys: string[] = []
  let lives = 0
  const app = appOf(manager(db), async (run) => {
    await run.step('a', ({ idempotencyKey }) => keys.push(idempotencyKey))
    if (lives++ === 0) {
      await run.step('b', ({ idempotencyKey }) => {
        keys.push(idempotencyKey)
        throw new ParkError('again', 0)
      })
    }
    await run.step('b', ({ idempotencyKey }) => keys.push(idempotencyKey))
  })
  expect((await post(app)).status).toBe(201)
  expect(keys).toHaveLength(3)
  expect(keys[1]).toBe(keys[2])
  expect(keys[0]).not.toBe(keys[1])
  expect(keys[0]).toMatch(/^[0-9a-f]{64}$/)
})

test("checkpoint S5: the user's row and the step are there together or not at all", async () => {
  const db = await database()
  await db.migrate('user', ['CREATE TABLE ledger (id TEXT)'])
  const checkpoints = manager(db)
  const app = appOf(checkpoints, async (run) => {
    await expect(
      run.transaction('bad', [
        ['INSERT INTO ledger VALUES (?)', ['x']],
        ['INSERT INTO absent VALUES (1)', []],
      ]),
    ).rejects.toThrow()
    await expect(run.transaction('own', [['DELETE FROM gw_run', []]])).rejects.toMatchObject({ code: 'internal_table' })
    return run.transaction('good', [['INSERT INTO ledger VALUES (?)', [run.id]]])
  })
  const response = await post(app)
  const id = response.headers.get('gw-run')!
  expect(db.reader.all('SELECT id FROM ledger')).toEqual([{ id }])
  expect((await checkpoints.steps(id)).map(({ name }) => name)).toEqual(['good'])
})

test('checkpoint O1: two hundred and fifty-six byte values and repeated headers come back as they were; a stream flows and is not kept', async () => {
  const checkpoints = manager(await database(), { maxResponseBytes: 1_000 })
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i)
  const whole = await post(
    appOf(
      checkpoints,
      () =>
        new Response(bytes, {
          headers: [
            ['link', '<a>'],
            ['link', '<b>'],
            ['set-cookie', 'a=b'],
          ],
        }),
    ),
  )
  expect(new Uint8Array(await whole.arrayBuffer())).toEqual(bytes)
  expect([whole.headers.get('link'), whole.headers.get('set-cookie')]).toEqual(['<a>, <b>', null])
  const other = manager(await database(), { maxResponseBytes: 1_000 })
  const long = await post(appOf(other, () => new Response('x'.repeat(5_000))))
  expect((await long.text()).length).toBe(5_000)
  expect(await other.outcome(long.headers.get('gw-run')!)).toMatchObject({ retained: false })
})

test('checkpoint W1: respond-async gives 202 and the place of the answer; a wait that is too short does too', async () => {
  const checkpoints = manager(await database())
  const begun: ((value: string) => void)[] = []
  const app = appOf(checkpoints, (run) => run.step('slow', () => new Promise((resolve) => begun.push(resolve))))
  const asynchronous = await post(app, {}, { prefer: 'respond-async' })
  expect([asynchronous.status, asynchronous.headers.get('preference-applied')]).toEqual([202, 'respond-async'])
  const id = asynchronous.headers.get('gw-run')!
  expect(asynchronous.headers.get('location')).toBe(`/requests/${id}`)
  await expect.poll(() => begun.length).toBe(1)
  begun[0]!('done')
  expect(await outcomeText(checkpoints, id)).toBe('201 {"kind":"a","result":"done"}')
  const waited = await post(app, {}, { prefer: 'wait=0' })
  expect([waited.status, waited.headers.get('preference-applied')]).toEqual([202, 'wait=0'])
  await expect.poll(() => begun.length).toBe(2)
  begun[1]!('later')
  expect(await outcomeText(checkpoints, waited.headers.get('gw-run')!)).toBe('201 {"kind":"a","result":"later"}')
  expect(begun).toHaveLength(2)
})

test('checkpoint C1: cancelling a running run aborts it, and a handler that would answer 201 does not', async () => {
  const checkpoints = manager(await database())
  let reached = () => {}
  const entered = new Promise<void>((resolve) => {
    reached = resolve
  })
  const app = appOf(checkpoints, async (run) => {
    reached()
    await new Promise((resolve) => run.signal.addEventListener('abort', resolve))
    return 'created'
  })
  const answer = post(app)
  await entered
  const [run] = (await checkpoints.list()).runs
  await checkpoints.cancel(run!.id, { actor: 'me' })
  expect((await answer).status).toBe(409)
  expect(await checkpoints.get(run!.id)).toMatchObject({ status: 'cancelled' })
  await expect(checkpoints.cancel(run!.id, { actor: 'me' })).rejects.toMatchObject({ code: 'already_finished' })
})

test('checkpoint C1: cancelling a run that waits ends it at once', async () => {
  const checkpoints = manager(await database())
  const app = appOf(checkpoints, () => {
    throw new ParkError('breaker', Date.now() + 3_600_000)
  })
  const id = (await post(app)).headers.get('gw-run')!
  expect((await checkpoints.get(id))?.status).toBe('waiting')
  await checkpoints.cancel(id, { actor: 'me' })
  expect((await checkpoints.get(id))?.status).toBe('cancelled')
})

test('checkpoint R5: a stopping process hands its runs over, and the next one takes them without waiting for a lease', async () => {
  const db = await database()
  const first = manager(db)
  void post(appOf(first, (run) => run.step('s', () => new Promise(() => {}))))
  await expect.poll(() => first.live).toBe(1)
  const [run] = (await first.list()).runs
  await first.stop({ gracefulShutdownMs: 0 })
  expect((await first.get(run!.id))?.status).toBe('queued')
  const next = manager(db)
  appOf(next, () => 'finished')
  await next.start()
  expect(await outcomeText(next, run!.id)).toBe('201 {"kind":"a","result":"finished"}')
})

test('checkpoint R2: a run taken over too often is dead, visible and resumable', async () => {
  const db = await database()
  const first = manager(db)
  void post(appOf(first, () => new Promise(() => {})))
  await expect.poll(() => first.live).toBe(1)
  let id = ''
  for (let life = 0; life < 3; life++) {
    const next = manager(db, { maxRecoveries: 2 })
    if (life < 2) appOf(next, () => new Promise(() => {}))
    else appOf(next, () => 'never')
    await next.start()
    id = (await next.list()).runs[0]!.id
  }
  const last = manager(db)
  expect((await last.get(id))?.status).toBe('dead')
  appOf(last, () => 'after all')
  await last.retry(id, { actor: 'me' })
  expect(await outcomeText(last, id)).toBe('201 {"kind":"a","result":"after all"}')
})

test('checkpoint R3: the middleware in front does not run again, and stored variables are there', async () => {
  const db = await database()
  let checks = 0
  let lives = 0
  const checkpoints = manager(db)
  const app = new Hono<{ Variables: { user: string } }>()
  app.post(
    '/x',
    async (c, next) => {
      checks++
      c.set('user', 'ann')
      await next()
    },
    durable({ checkpoints, operation: 'x', persist: ['user'] }),
    (c) => {
      if (lives++ === 0) throw new ParkError('again', 0)
      return c.text(`${c.var.user} ${c.req.path}`)
    },
  )
  checkpoints.serve(app as never)
  const response = await app.request('/x', { method: 'POST' })
  expect([await response.text(), checks, lives]).toEqual(['ann /x', 1, 2])
  expect(() => durable({ checkpoints, operation: 'x' })).toThrow(/unique/)
})

test('checkpoint L1: pages neither repeat nor skip, and counts are those of a full list', async () => {
  const checkpoints = manager(await database())
  const app = appOf(checkpoints, () => 1)
  for (let i = 0; i < 7; i++) await post(app)
  const seen: string[] = []
  let cursor: string | undefined
  do {
    const page = await checkpoints.list({ limit: 3, operation: 'job', ...(cursor === undefined ? {} : { cursor }) })
    seen.push(...page.runs.map(({ id }) => id))
    cursor = page.cursor
  } while (cursor !== undefined)
  expect(seen).toHaveLength(7)
  expect(seen).toEqual([...seen].sort().reverse())
  expect((await checkpoints.counts()).completed).toBe(7)
})

test('checkpoint M1: checkpoints by hand merge, check progress, survive their process and are given to onResume with their stage', async () => {
  const db = await database()
  const first = manager(db)
  const id = await first.create({ requestId: 'r', operation: 'by-hand', data: { user: 1 } })
  await first.update(id, { stage: 'processing', progress: 0.5, summary: 'x' })
  await expect(first.update(id, { progress: 2 })).rejects.toMatchObject({ code: 'invalid_progress' })
  const next = manager(db)
  const resumed = new Promise((resolve) => next.onResume('by-hand', resolve))
  await next.start()
  expect(await resumed).toMatchObject({ id, stage: 'processing', data: { user: 1, summary: 'x' } })
  await next.complete(id, { result: 1 })
  expect(await next.get(id)).toMatchObject({ status: 'completed', progress: 1 })
  expect(await next.listIncomplete()).toEqual([])
  await expect(first.update(id, {})).rejects.toMatchObject({ code: 'already_finished' })
})

test('checkpoint O4: settle is repeated until it resolves, also by a later process', async () => {
  const db = await database()
  const app = appOf(
    manager(db, {
      settle: async () => {
        throw new Error('elsewhere is down')
      },
    }),
    () => 1,
  )
  const id = (await post(app)).headers.get('gw-run')!
  const settled: string[] = []
  const next = manager(db, {
    settle: async (run) => {
      settled.push(run.id)
    },
  })
  await next.start()
  await next.sweep()
  expect(settled).toEqual([id])
})

test('checkpoint R5: a stopping process lets go who waits in it for a run that goes on elsewhere', async () => {
  const checkpoints = manager(await database())
  const app = appOf(checkpoints, (run) => run.waitFor('go'))
  const id = (await post(app)).headers.get('gw-run')!
  expect((await checkpoints.get(id))?.status).toBe('waiting')
  const waiting = checkpoints.wait(id, { timeoutMs: 3_600_000 })
  await checkpoints.stop()
  expect(await waiting).toBeUndefined()
})
