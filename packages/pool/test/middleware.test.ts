import { ConnectionPool, type PoolEnv, pool } from '@gw/pool'
import { Hono } from 'hono'
import { stream } from 'hono/streaming'
import { expect, test } from 'vitest'
import { deferred } from './fake-server.ts'
import { make } from './making.ts'

const routed = (options: Parameters<typeof make>[0] = {}) => {
  const made = make({ max: 1, ...options })
  const app = new Hono<PoolEnv<{ id: number }>>()
  app.use(pool({ pool: made.pool, factory: 'database' }))
  app.get('/id', (c) => c.json({ id: c.var.lease.connection.id }))
  return { ...made, app, active: () => made.pool.metrics().activeConnections }
}

test('C10: a request gets a connection in `c.var.lease`, which is back when the body has been read', async () => {
  const { app, active } = routed()
  const response = await app.request('/id')
  expect(active()).toBe(1)
  expect(await response.json()).toEqual({ id: 1 })
  expect(active()).toBe(0)
})

test('C10: a body that is streamed keeps the connection until its end', async () => {
  const { app, active } = routed()
  const gate = deferred()
  app.get('/stream', (c) =>
    stream(c, async (out) => {
      await out.write(`one ${c.var.lease.connection.id}\n`)
      await gate.promise
      await out.write(`two ${c.var.lease.connection.id}\n`)
    }),
  )
  const response = await app.request('/stream')
  const reader = response.body!.getReader()
  await reader.read()
  expect(active()).toBe(1)
  gate.resolve()
  const rest = await reader.read()
  expect(new TextDecoder().decode(rest.value)).toBe('two 1\n')
  expect((await reader.read()).done).toBe(true)
  expect(active()).toBe(0)
})

test('C10: a body that is given up, fails, or whose client leaves gives the connection back', async () => {
  const { app, active } = routed()
  app.get(
    '/endless',
    () => new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(8)) })),
  )
  app.get('/broken', () => new Response(new ReadableStream({ pull: () => Promise.reject(new Error('broken')) })))
  await (await app.request('/endless')).body!.cancel()
  expect(active()).toBe(0)
  await expect((await app.request('/broken')).text()).rejects.toThrow('broken')
  expect(active()).toBe(0)
  const client = new AbortController()
  await app.request('/endless', { signal: client.signal })
  expect(active()).toBe(1)
  client.abort()
  expect(active()).toBe(0)
})

test('C10: a client that has left before there is a body, or a body that cannot be held, keeps no connection', async () => {
  const { app, active } = routed()
  const client = new AbortController()
  app.get('/late', (c) => {
    client.abort()
    return c.text('nobody reads this')
  })
  app.get('/locked', () => {
    const response = new Response('text')
    response.body!.getReader()
    return response
  })
  app.onError((_, c) => c.body(null, 500))
  await app.request('/late', { signal: client.signal })
  expect(active()).toBe(0)
  await app.request('/locked')
  expect(active()).toBe(0)
})

test('C10: no body, HEAD, an error and an early release give it back with the handler', async () => {
  const { app, active } = routed()
  app.get('/empty', (c) => c.body(null, 204))
  app.get('/error', () => {
    throw new Error('in the handler')
  })
  app.get('/early', (c) => {
    c.var.lease.release()
    return c.text('done')
  })
  app.onError((_, c) => c.body(null, 500))
  for (const [path, method] of [
    ['/empty', 'GET'],
    ['/id', 'HEAD'],
    ['/error', 'GET'],
    ['/early', 'GET'],
  ] as const) {
    await app.request(path, { method })
    expect([path, active()]).toEqual([path, 0])
  }
})

test('C10: `hold: handler` gives it back with the handler and leaves the response alone', async () => {
  const { pool: connections } = make({ max: 1 })
  const app = new Hono()
  let made: Response | undefined
  app.use(pool({ pool: connections, factory: 'database', as: 'db', hold: 'handler' }))
  app.get('/', () => {
    made = new Response('text')
    return made
  })
  expect(await app.request('/')).toBe(made)
  expect(connections.metrics().activeConnections).toBe(0)
})

test('C2: without a connection the answer is 503 with Retry-After, and a client that leaves gives its place up', async () => {
  const { app, database, clock, pool: connections } = routed({ acquireTimeoutMs: 200 })
  const lease = await database.acquire()
  const answer = app.request('/id')
  await clock.advance(200)
  const response = await answer
  expect(response.status).toBe(503)
  expect(response.headers.get('retry-after')).toBe('1')
  expect(await response.json()).toMatchObject({ code: 'pool_exhausted', type: 'urn:gw:problem:pool_exhausted' })
  const client = new AbortController()
  const left = app.request('/id', { signal: client.signal })
  await clock.advance(1)
  expect(connections.metrics().waitingRequests).toBe(1)
  client.abort()
  expect(connections.metrics().waitingRequests).toBe(0)
  expect((await left).status).toBe(503)
  lease.release()
})

test('C2: options of the middleware that mean nothing are refused', () => {
  const connections = new ConnectionPool({ name: 'x' })
  expect(() => pool({ pool: connections, factory: 'database', holdd: 1 } as never)).toThrow('`holdd`')
  expect(() => pool({ pool: connections, factory: 'database', hold: 'never' as never })).toThrow('Expected `hold`')
  expect(() => pool({ pool: connections, factory: undefined as never })).toThrow('Expected `factory`')
  expect(() => pool({ pool: undefined as never, factory: 'database' })).toThrow('Expected `pool`')
  expect(() => pool({ pool: connections, factory: 'database', timeoutMs: NaN })).toThrow('Expected `timeoutMs`')
  expect(() => pool({ pool: connections, factory: 'database', priority: 1 as never })).toThrow('Expected `priority`')
})
