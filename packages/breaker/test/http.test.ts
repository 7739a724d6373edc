import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Hono } from 'hono'
import { proxy } from 'hono/proxy'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CircuitBreakerRegistry, customFetch, fetchWithBreaker } from '../src/index.ts'
import { bench, codeOf, deferred } from './fake-clock.ts'

let upstream: Server
let origin: string
let calls: string[]
let answer: (incoming: IncomingMessage, response: ServerResponse) => void

beforeEach(async () => {
  calls = []
  answer = (_incoming, response) => response.end('ok')
  upstream = createServer((incoming, response) => {
    calls.push(incoming.url!)
    answer(incoming, response)
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  origin = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
})
afterEach(async () => {
  upstream.closeAllConnections()
  upstream.close()
  await once(upstream, 'close')
})

describe('fetch', () => {
  test('B5: 429 and 5xx and network failures count, 4xx do not, and each answer arrives', async () => {
    const { breaker } = bench({ failureThreshold: 100 })
    const get = fetchWithBreaker({ breaker })
    for (const [status, failures] of [
      [200, 0],
      [404, 0],
      [422, 0],
      [429, 1],
      [500, 2],
      [503, 3],
    ]) {
      answer = (_incoming, response) => response.writeHead(status!).end('body')
      const response = await get(`${origin}/`)
      expect([response.status, await response.text(), breaker.failureCount]).toEqual([status, 'body', failures])
    }
    answer = (incoming) => incoming.socket.destroy()
    await expect(get(`${origin}/`)).rejects.toThrow('fetch failed')
    expect(breaker.failureCount).toBe(4)
  })

  test('B5: a request that its caller aborts is neutral', async () => {
    const { breaker } = bench({ failureThreshold: 1 })
    const get = fetchWithBreaker({ breaker })
    for (const make of [
      (signal: AbortSignal) => get(`${origin}/`, { signal }),
      (signal: AbortSignal) => get(new Request(`${origin}/`, { signal })),
    ]) {
      const controller = new AbortController()
      answer = () => controller.abort()
      await expect(make(controller.signal)).rejects.toThrow('aborted')
    }
    expect([breaker.state, breaker.figures.neutral, calls.length]).toEqual(['CLOSED', 2, 2])
  })

  test('B5: the time limit ends the request itself and counts', async () => {
    const { breaker } = bench({ callTimeoutMs: 50, failureThreshold: 1 })
    const closed = deferred<void>()
    answer = (incoming) => incoming.socket.once('close', () => closed.resolve())
    expect(await codeOf(fetchWithBreaker({ breaker })(`${origin}/`))).toBe('call_timeout')
    await closed.promise
    expect(breaker.state).toBe('OPEN')
  })

  test('B11: each host has a breaker of its own', async () => {
    const registry = new CircuitBreakerRegistry({ keyed: { failureThreshold: 1 } })
    const get = fetchWithBreaker({ registry })
    answer = (_incoming, response) => response.writeHead(500).end()
    await get(`${origin}/`)
    expect(await codeOf(get(`${origin}/`))).toBe('breaker_open')
    await get(origin.replace('127.0.0.1', 'localhost')).catch(() => {})
    expect([...registry.keyed()].map(([key]) => key)).toEqual([
      new URL(origin).host,
      new URL(origin).host.replace('127.0.0.1', 'localhost'),
    ])
    const byTenant = fetchWithBreaker({ registry, key: ({ url }) => url.pathname })
    await byTenant(`${origin}/tenant`)
    expect(registry.find('/tenant')!.state).toBe('OPEN')
  })

  test('B5: a body that dies is a success, and a failure with `countBody`', async () => {
    answer = (incoming, response) => {
      response.writeHead(200, { 'content-length': 100 })
      response.write('half')
      setImmediate(() => incoming.socket.destroy())
    }
    for (const countBody of [false, true]) {
      const { breaker } = bench({ failureThreshold: 1 })
      const response = await fetchWithBreaker({ breaker, countBody })(`${origin}/`)
      await expect(response.text()).rejects.toThrow()
      expect(breaker.state).toBe(countBody ? 'OPEN' : 'CLOSED')
    }
  })

  test('B5: with `countBody` a body read to the end is a success, one left alone is neutral, a bad status is a failure', async () => {
    const { breaker } = bench()
    const get = fetchWithBreaker({ breaker, countBody: true })
    const response = await get(`${origin}/path`)
    expect(breaker.figures.successes).toBe(0)
    expect([await response.text(), response.url, response.status]).toEqual(['ok', `${origin}/path`, 200])
    expect(breaker.figures.successes).toBe(1)
    await (await get(`${origin}/`)).body!.cancel()
    expect(breaker.figures.neutral).toBe(1)
    answer = (_incoming, response) => response.writeHead(500).end('no')
    expect(await (await get(`${origin}/`)).text()).toBe('no')
    answer = (_incoming, response) => response.writeHead(204).end()
    expect((await get(`${origin}/`)).status).toBe(204)
    answer = (incoming) => incoming.socket.destroy()
    await expect(get(`${origin}/`)).rejects.toThrow('fetch failed')
    const controller = new AbortController()
    answer = () => controller.abort()
    await expect(get(`${origin}/`, { signal: controller.signal })).rejects.toThrow('aborted')
    expect(breaker.figures).toMatchObject({ successes: 2, failures: 2, neutral: 2 })
  })

  test('refuses options that cannot be right', () => {
    const { breaker } = bench()
    expect(() => fetchWithBreaker({})).toThrow('Expected either `breaker` or `registry`')
    expect(() => fetchWithBreaker({ breaker, registry: new CircuitBreakerRegistry() })).toThrow('Expected either')
    expect(() => fetchWithBreaker({ breaker, countBody: 1 } as object)).toThrow('Expected `countBody` to be a boolean')
  })
})

describe("Hono's proxy", () => {
  test('B3: of 20 at once at half-open, exactly the 2 trials reach the upstream, 18 get a 503 with Retry-After', async () => {
    const { breaker, clock } = bench()
    const app = new Hono()
    const guarded = customFetch({ breaker })
    app.get('/:path', (c) => proxy(`${origin}/${c.req.param('path')}`, { customFetch: guarded }))

    answer = (_incoming, response) => response.writeHead(500).end()
    for (let n = 1; n <= 5; n++) {
      expect(breaker.state).toBe('CLOSED')
      expect((await app.request('/failing')).status).toBe(500)
    }
    expect(breaker.state).toBe('OPEN')
    const refused = await app.request('/open')
    expect([refused.status, refused.headers.get('retry-after'), calls.length]).toEqual([503, '60', 5])

    clock.advance(60_000)
    const held: ServerResponse[] = []
    const arrived = deferred<void>()
    answer = (_incoming, response) => {
      held.push(response)
      if (held.length === 2) arrived.resolve()
    }
    const requests = Array.from({ length: 20 }, async () => app.request('/trial'))
    const others = await Promise.all(requests.slice(2))
    await arrived.promise
    expect(calls.filter((path) => path === '/trial').length).toBe(2)
    for (const response of others) {
      expect(response.status).toBe(503)
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      expect(response.headers.get('retry-after')).toMatch(/^\d+$/)
      expect(await response.json()).toMatchObject({ circuit_breaker_open: true, state: 'HALF_OPEN' })
    }
    for (const response of held) response.end('well again')
    expect(await Promise.all(requests.slice(0, 2).map(async (request) => (await request).text()))).toEqual([
      'well again',
      'well again',
    ])
    expect([breaker.state, calls.filter((path) => path === '/trial').length]).toEqual(['CLOSED', 2])
  })

  test('B5: an error that is no refusal goes through `customFetch`', async () => {
    const { breaker } = bench()
    answer = (incoming) => incoming.socket.destroy()
    await expect(customFetch({ breaker })(new Request(`${origin}/`))).rejects.toThrow('fetch failed')
  })
})
