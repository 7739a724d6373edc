import { Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test } from 'vitest'
import { breaker, CircuitBreaker, CircuitBreakerRegistry } from '../src/index.ts'
import { bench } from './fake-clock.ts'

describe('middleware', () => {
  test('answers of 429 and from 500 on count, others do not; all are passed on', async () => {
    const { breaker: circuit } = bench({ failureThreshold: 3 })
    const app = new Hono()
    app.get('/:status', breaker({ breaker: circuit }), (c) => c.text('x', Number(c.req.param('status')) as 200))
    for (const status of [200, 301, 400, 401, 404, 409, 422]) {
      expect((await app.request(`/${status}`)).status).toBe(status)
    }
    expect(circuit.failureCount).toBe(0)
    for (const status of [429, 500, 503]) expect((await app.request(`/${status}`)).status).toBe(status)
    expect(circuit.state).toBe('OPEN')
    const refused = await app.request('/200')
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '60'])
    expect(await refused.json()).toMatchObject({ circuit_breaker_open: true, service: 'billing', state: 'OPEN' })
  })

  test('thrown errors count by what they become: a network failure does, an HTTPException of 404 does not', async () => {
    const { breaker: circuit } = bench()
    const app = new Hono()
    app.onError((error, c) => (error instanceof HTTPException ? error.getResponse() : c.text('failed', 502)))
    app.get('/missing', breaker({ breaker: circuit }), () => {
      throw new HTTPException(404)
    })
    app.get('/refused', breaker({ breaker: circuit }), () => {
      throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
    })
    expect((await app.request('/missing')).status).toBe(404)
    expect(circuit.failureCount).toBe(0)
    expect((await app.request('/refused')).status).toBe(502)
    expect(circuit.failureCount).toBe(1)
  })

  test("the breaker's own lists judge thrown errors", async () => {
    const { breaker: circuit } = bench({ expectedErrors: ['ECONNREFUSED'] })
    const app = new Hono()
    app.onError((_error, c) => c.text('failed', 500))
    app.get('/:code', breaker({ breaker: circuit }), (c) => {
      throw Object.assign(new Error('x'), { code: c.req.param('code') })
    })
    await app.request('/EBUG')
    expect(circuit.failureCount).toBe(0)
    await app.request('/ECONNREFUSED')
    expect(circuit.failureCount).toBe(1)
  })

  test('`failureStatus` decides which answers count', async () => {
    const { breaker: circuit } = bench()
    const app = new Hono()
    app.use(breaker({ breaker: circuit, failureStatus: (status) => status === 404 }))
    app.get('/500', (c) => c.text('no', 500))
    await app.request('/500')
    expect(circuit.figures).toMatchObject({ successes: 1, failures: 0 })
    await app.request('/404')
    expect(circuit.figures).toMatchObject({ successes: 1, failures: 1 })
  })

  test('a client that goes away is neutral', async () => {
    const { breaker: circuit } = bench({ failureThreshold: 1 })
    const app = new Hono()
    app.get('/', breaker({ breaker: circuit }), async (c) => {
      controller.abort()
      c.req.raw.signal.throwIfAborted()
      return c.text('x')
    })
    app.onError((_error, c) => c.text('failed', 500))
    const controller = new AbortController()
    await app.request('/', { signal: controller.signal })
    expect([circuit.state, circuit.figures.neutral]).toEqual(['CLOSED', 1])
  })

  test('named and keyed breakers come from a registry', async () => {
    const registry = new CircuitBreakerRegistry({ keyed: { failureThreshold: 1 } })
    registry.add('api', new CircuitBreaker({ name: 'external_api', failureThreshold: 1 }))
    const app = new Hono()
    app.get('/named', breaker({ registry, name: 'api' }), (c) => c.text('x', 500))
    app.get('/tenant/:tenant', breaker({ registry, key: (c) => c.req.param('tenant') ?? '' }), (c) => c.text('x', 500))
    await app.request('/named')
    expect(registry.get('api').state).toBe('OPEN')
    await app.request('/tenant/a')
    expect((await app.request('/tenant/a')).status).toBe(503)
    expect((await app.request('/tenant/b')).status).toBe(500)
  })

  test('a fallback answers in place of the 503', async () => {
    const { breaker: circuit, open } = bench()
    await open()
    const app = new Hono()
    app.get(
      '/',
      breaker({
        breaker: circuit,
        fallback: (c, error) => c.json({ cached: true, service: error.circuitBreakerName }),
      }),
      (c) => c.text('live'),
    )
    expect(await (await app.request('/')).json()).toEqual({ cached: true, service: 'billing' })
  })

  test('the function is called `breaker`, and making it does nothing', () => {
    const { breaker: circuit } = bench()
    expect(breaker({ breaker: circuit }).name).toBe('breaker')
  })

  test.each([
    [{}, 'Expected `breaker`, or `registry` with either `name` or `key`'],
    [{ registry: new CircuitBreakerRegistry() }, 'Expected `breaker`, or `registry` with either `name` or `key`'],
    [{ breaker: 5 }, 'Expected `breaker` to be an object, got `5`'],
    [{ breakers: 5 }, 'Unknown option `breakers`'],
  ])('refuses %j', (options, message) => {
    expect(() => breaker(options as object)).toThrow(message)
  })
})
