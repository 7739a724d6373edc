import { Hono } from 'hono'
import { validator } from 'hono/validator'
import { expect, test } from 'vitest'
import { CheckpointManager, durable, ParkError } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { atEnd, gate, processOn } from './fixture.ts'

test('checkpoint A1: nothing is kept of a request that authentication refused, and no credential of one that it let in', async () => {
  const checkpoints = new CheckpointManager({ store: memoryCheckpointStore() })
  atEnd(() => checkpoints.stop({ gracefulShutdownMs: 0 }))
  const app = new Hono()
  app.use(async (c, next) => {
    if (c.req.header('authorization') !== 'Bearer good') return c.text('who?', 401)
    await next()
  })
  app.post('/x/:id', durable({ checkpoints, operation: 'x', headers: ['x-tenant'], principal: () => 'ann' }), (c) =>
    c.text('done'),
  )
  const post = (headers: Record<string, string>) => app.request('/x/7?a=b', { method: 'POST', body: 'body', headers })
  expect((await post({ authorization: 'Bearer bad' })).status).toBe(401)
  expect((await checkpoints.list()).runs).toEqual([])
  const fields = { cookie: 'c=1', 'proxy-authorization': 'p', 'x-api-key': 'k', 'x-tenant': 't', 'user-agent': 'u' }
  const id = (await post({ authorization: 'Bearer good', ...fields })).headers.get('gw-run')!
  expect(await checkpoints.get(id)).toMatchObject({ method: 'POST', route: '/x/:id', principal: 'ann', version: '1' })
  const input = (await checkpoints.store.input(id))!
  expect(Object.fromEntries(input.headers)).toEqual({
    'content-type': 'text/plain;charset=UTF-8',
    'x-tenant': 't',
    'user-agent': 'u',
  })
  expect([input.url, new TextDecoder().decode(input.body)]).toEqual(['http://localhost/x/7?a=b', 'body'])
})

test('checkpoint A1: a store that cannot take the request is answered 503 and its handler does not begin; where nobody knows, that is said', async () => {
  for (const [failure, code] of [
    ['unavailable', 'storage_unavailable'],
    ['unknown', 'outcome_unknown'],
  ] as const) {
    const memory = memoryCheckpointStore()
    const unit = () => ({
      add: () => {},
      commit: () => Promise.reject(Object.assign(new Error(failure), { code: failure })),
    })
    let began = false
    const { checkpoints, post } = processOn(memory, () => {
      began = true
    })
    await checkpoints.start()
    const working = memory.unit
    memory.unit = unit
    const response = await post()
    memory.unit = working
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '1'])
    expect(await response.json()).toMatchObject({ code })
    expect(response.headers.has('location')).toBe(failure === 'unknown')
    expect(began).toBe(false)
  }
})

test('checkpoint R3: a resumed handler has its parameters and validators, and an unknown operation stays queued and visible', async () => {
  const store = memoryCheckpointStore()
  const mount = (checkpoints: CheckpointManager, parks: boolean) => {
    const app = new Hono().basePath('/v1')
    app.post(
      '/users/:user/orders/:order{[0-9]+}',
      durable({ checkpoints, operation: 'order' }),
      validator('json', (value: { n: number }) => ({ n: value.n * 2 })),
      (c) => {
        if (parks) throw new ParkError('later', 0)
        const { user, order } = c.req.param()
        return c.json({ user, order, n: c.req.valid('json').n, query: c.req.query('q') })
      },
    )
    return app
  }
  const first = new CheckpointManager({ store, now: () => 1_000 })
  const app = mount(first, true)
  const sent = await app.request('/v1/users/ann/orders/7?q=1', {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer: 'wait=0' },
    body: '{"n":21}',
  })
  const id = sent.headers.get('gw-run')!
  await first.stop({ gracefulShutdownMs: 0 })
  const stranger = new CheckpointManager({ store })
  await stranger.sweep()
  expect(['queued', 'waiting']).toContain((await stranger.get(id))?.status)
  await stranger.stop()
  const next = new CheckpointManager({ store })
  atEnd(() => next.stop({ gracefulShutdownMs: 0 }))
  next.serve(mount(next, false))
  await next.start()
  const outcome = await next.wait(id, { timeoutMs: 60_000 })
  expect(JSON.parse(new TextDecoder().decode(outcome?.body))).toEqual({ user: 'ann', order: '7', n: 42, query: '1' })
})

test('checkpoint W1: a run that takes longer than its caller may wait goes on, and its answer is kept', async () => {
  const go = gate()
  const { post, outcome } = processOn(undefined, (run) => run.step('slow', () => go.passed.then(() => 'done')), {
    requestTimeoutMs: 20,
  })
  const response = await post()
  const id = response.headers.get('gw-run')!
  expect([response.status, response.headers.get('location')]).toEqual([202, `/requests/${id}`])
  go.open()
  expect(await outcome(id)).toBe('201 {"result":"done"}')
})

test('checkpoint W1: a run that waits longer than `inlineWaitMs` gives its caller 202 at once', async () => {
  const { post, checkpoints } = processOn(undefined, (run) => run.sleep('night', 3_600_000), { inlineWaitMs: 600_000 })
  const response = await post()
  expect(response.status).toBe(202)
  expect((await checkpoints.get(response.headers.get('gw-run')!))?.status).toBe('waiting')
})

test('checkpoint W1: a duplicate is answered from its run as it prefers: 409 while it is under way, 202 if asked, the outcome when it is there', async () => {
  const { passed, open } = gate()
  const { checkpoints, send, outcome } = processOn(undefined, () => passed)
  const id = await send()
  const app = new Hono().get('/again', async (c) => (await checkpoints.attach(c, id)) ?? c.notFound())
  const again = async (headers: Record<string, string> = {}) => app.request('/again', { headers })
  const conflict = await again()
  expect([conflict.status, conflict.headers.get('location')]).toEqual([409, `/requests/${id}`])
  const accepted = await again({ prefer: 'respond-async' })
  expect([accepted.status, accepted.headers.get('preference-applied')]).toEqual([202, 'respond-async'])
  open()
  await outcome(id)
  const replay = await again()
  expect([replay.status, replay.headers.get('idempotent-replayed')]).toEqual([201, 'true'])
  expect(await replay.json()).toEqual({ result: null })
})

test('checkpoint O3: the plain text that Hono makes of an error is kept as a problem', async () => {
  const { post, outcome, app } = processOn(undefined, () => {
    throw new Error('secret')
  })
  app.onError((_, c) => c.text('Internal Server Error', 500))
  const answer = await post()
  expect([answer.status, answer.headers.get('content-type')]).toEqual([500, 'application/problem+json'])
  expect(await outcome(answer.headers.get('gw-run')!)).not.toMatch(/secret|Internal Server Error/)
})

test('checkpoint O1: what belongs to one exchange or one client is not kept with the answer', async () => {
  const fields = {
    date: 'now',
    'set-cookie': 'a=b',
    'x-request-id': 'r',
    'ratelimit-remaining': '1',
    connection: 'close',
  }
  const { post, checkpoints } = processOn(undefined, () => new Response('x', { headers: { ...fields, etag: '"1"' } }))
  const id = (await post()).headers.get('gw-run')!
  expect((await checkpoints.outcome(id))?.headers.map(([name]) => name)).toEqual(['content-type', 'etag'])
})

test('checkpoint D1: a handler that returns before it asked for everything that was kept parks the run', async () => {
  let entries = 0
  const { checkpoints, send } = processOn(undefined, async (run) => {
    if (++entries > 1) return 'early'
    await run.step('charge', () => 1)
    throw new ParkError('again', 0)
  })
  const id = await send()
  await expect.poll(async () => (await checkpoints.get(id))?.status).toBe('parked')
  expect((await checkpoints.get(id))?.reason).toContain('kept charge#1, got the end of the handler')
})
