import { type Context, Hono } from 'hono'
import { expect, test } from 'vitest'
import { type DurableOptions, durable } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { sqliteCheckpointStore } from '../src/stores/sqlite.ts'
import { gate, processOn, sqlite } from './fixture.ts'

test('checkpoint A1: a principal, subject, stage or progress of another type is refused by name, and no row is damaged', async () => {
  const store = sqliteCheckpointStore({ db: await sqlite() })
  for (const field of ['principal', 'subject']) {
    const { checkpoints, app } = processOn(store, () => 1, {}, { [field]: () => 42 })
    let thrown: unknown
    app.onError((error) => {
      thrown = error
      return new Response(null, { status: 500 })
    })
    const response = await app.request('/jobs/a', { method: 'POST', body: '{}' })
    expect(response.status).toBe(500)
    expect(thrown).toMatchObject({ code: 'invalid_option', message: expect.stringContaining(`\`${field}\``) })
    expect((await checkpoints.list()).runs).toEqual([])
  }
  for (const patch of [{ stage: 5 }, { progress: '0.5' }] as unknown as { stage: string }[]) {
    const { checkpoints, post } = processOn(store, (run) => run.update(patch))
    const id = (await post()).headers.get('gw-run')!
    expect(await checkpoints.get(id)).toMatchObject({ status: 'failed', reason: expect.stringContaining('Expected') })
  }
})

test('checkpoint A1: a start that the store is away for is 503, and the next request starts', async () => {
  const store = memoryCheckpointStore()
  const { open } = store
  store.open = () => Promise.reject(Object.assign(new Error('away'), { code: 'unavailable' }))
  const { post } = processOn(store)
  const response = await post()
  expect([response.status, await response.json()]).toMatchObject([503, { code: 'storage_unavailable' }])
  expect(response.headers.get('retry-after')).toBe('1')
  store.open = open
  expect((await post()).status).toBe(201)
})

test('checkpoint R3: a resumed request has the method and the request id that it came with, whatever they were', async () => {
  const left = memoryCheckpointStore()
  const appOn = (handler: () => Promise<void>) => {
    const { checkpoints } = processOn(left)
    const app = new Hono()
    app.all('/any', durable({ checkpoints, operation: 'any' }), async (c) => {
      await handler()
      return c.text(`${c.req.method} ${(c as Context).get('requestId')}`)
    })
    checkpoints.serve(app)
    return { checkpoints, app }
  }
  const first = appOn(() => new Promise(() => {}))
  const ids: string[] = []
  for (const method of ['PURGE', 'OPTIONS', 'GET']) {
    const response = await first.app.request('/any', {
      method,
      headers: { prefer: 'wait=0', 'x-request-id': `id-${method}` },
    })
    ids.push(response.headers.get('gw-run')!)
  }
  const second = appOn(async () => {})
  await second.checkpoints.start()
  const outcomes = await Promise.all(ids.map((id) => second.checkpoints.wait(id, { timeoutMs: 5_000 })))
  expect(outcomes.map((outcome) => new TextDecoder().decode(outcome?.body))).toEqual([
    'PURGE id-PURGE',
    'OPTIONS id-OPTIONS',
    'GET id-GET',
  ])
})

test('checkpoint R3: a durable route that nothing follows is refused by `serve`, before a resumed run is answered 404', () => {
  const { checkpoints } = processOn()
  const app = new Hono()
  app.use('/all/*', durable({ checkpoints, operation: 'all' }))
  app.post('/all/a', (c) => c.text('a'))
  expect(() => checkpoints.serve(app)).toThrow(/`all`/)
})

test('checkpoint R3: a header that is kept anyway and named too comes back once', async () => {
  const store = memoryCheckpointStore()
  const left = processOn(store, () => new Promise(() => {}), {}, { headers: ['Content-Type', 'X-A', 'x-a'] })
  const id = (await left.post({}, { 'x-a': 'a', prefer: 'wait=0' })).headers.get('gw-run')!
  const headers = (await store.input(id))!.headers
  expect(headers.filter(([name]) => /^(content-type|x-a)$/i.test(name))).toEqual([
    ['content-type', 'application/json'],
    ['x-a', 'a'],
  ])
})

test('checkpoint R5: a request whose body is still on its way when the process stops is refused', async () => {
  let entries = 0
  const { checkpoints, app } = processOn(undefined, () => entries++)
  await checkpoints.start()
  const reads = gate()
  const rest = gate()
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      reads.open()
      await rest.passed
      controller.enqueue(new TextEncoder().encode('{}'))
      controller.close()
    },
  })
  const answer = app.request(new Request('http://h/jobs/a', { method: 'POST', body, duplex: 'half' } as RequestInit))
  await reads.passed
  await checkpoints.stop()
  rest.open()
  expect([(await answer).status, entries]).toEqual([503, 0])
})

test('checkpoint R5: a process that stops while it starts leaves no lease', async () => {
  const store = memoryCheckpointStore({ shared: true })
  const opening = gate()
  store.open = () => opening.passed
  const { checkpoints } = processOn(store)
  const started = checkpoints.start()
  const stopped = checkpoints.stop()
  await new Promise((resolve) => setTimeout(resolve, 0))
  opening.open()
  await Promise.all([started, stopped])
  expect(await store.owners!()).toEqual([])
})

test('checkpoint A1: options of a route that cannot be right are refused by name when it is made', () => {
  const wrong: readonly object[] = [
    { operation: 'a b' },
    { version: 2 },
    { onVersion: 'parked' },
    { persist: 'userId' },
    { headers: 'x-a' },
    { query: [1] },
    { principal: 'ann' },
    { subject: 'ann' },
    { strategy: 'toString' },
    { frequency: { everySteps: 1.5 } },
    { retentionMs: '1' },
    { around: {} },
    { maxBodyBytes: Number.NaN },
    { retry: 3 },
    { onDisconnect: 'abort' },
    { unknown: 1 },
  ]
  for (const options of wrong) {
    const [name] = Object.keys(options)
    expect(() => processOn(undefined, () => 1, {}, options)).toThrow(new RegExp(`\`${name}\``))
  }
  for (const [name, value] of Object.entries({ maxAttempts: Number.NaN, initialMs: '1', retryable: true, attempts: 3 }))
    expect(() => processOn(undefined, () => 1, {}, { retry: { [name]: value } })).toThrow(new RegExp(`\`${name}\``))
  const { checkpoints } = processOn()
  for (const options of [{ checkpoints }, { operation: 'x' }, { checkpoints: {}, operation: 'x' }])
    expect(() => durable(options as DurableOptions)).toThrow(/`(?:operation|checkpoints)`/)
})
