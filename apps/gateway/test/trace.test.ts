import { mkdtempSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createGateway, type GatewayOptions } from '../src/index.ts'
import { forPeople } from '../src/log.ts'
import { traceInside, traceparentOf } from '../src/trace.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const traceId = '0af7651916cd43dd8448eb211c80319c'
const sent = `00-${traceId}-b7ad6b7169203331-01`

async function gatewayOf(options: GatewayOptions = {}) {
  const gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-')), 'data'),
    drainDelayMs: 0,
    admin: { enabled: false },
    ...options,
  })
  closers.push(() => gateway.close())
  return gateway
}

/** A collector that keeps what it is sent, and answers with these statuses first. */
async function collector(...statuses: number[]) {
  const calls: { path: string; headers: IncomingMessage['headers']; body: unknown }[] = []
  const server = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk) => {
      text += chunk
    })
    request.on('end', () => {
      const status = statuses.shift() ?? 200
      if (status === 200) calls.push({ path: request.url!, headers: request.headers, body: JSON.parse(text) })
      response.writeHead(status).end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () => server.close(),
    () => server.closeAllConnections(),
  )
  const spans = () =>
    calls
      .filter(({ path }) => path === '/v1/traces')
      .flatMap(({ body }) => (body as { resourceSpans: { scopeSpans: { spans: unknown[] }[] }[] }).resourceSpans)
      .flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)) as {
      traceId: string
      spanId: string
      parentSpanId?: string
      name: string
      kind: number
      startTimeUnixNano: string
      endTimeUnixNano: string
      attributes: { key: string; value: object }[]
      status: { code?: number }
    }[]
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, calls, spans }
}

test.each([
  [sent, true, true],
  [sent.replace(/01$/, '00'), true, false],
  [`${sent}-more`, false, true],
  [`cc${sent.slice(2)}-more`, true, true],
  [`ff${sent.slice(2)}`, false, true],
  [sent.toUpperCase(), false, true],
  [`00-${'0'.repeat(32)}-b7ad6b7169203331-01`, false, true],
  [`00-${traceId}-${'0'.repeat(16)}-01`, false, true],
  [undefined, false, true],
])('G8: traceparent %s goes on: %s, sampled: %s', (text, goesOn, sampled) => {
  const trace = traceInside(text)
  expect([trace.traceId === traceId, trace.parentId === 'b7ad6b7169203331', trace.sampled]).toEqual([
    goesOn,
    goesOn,
    sampled,
  ])
  expect(traceparentOf(trace)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/)
  expect(trace.spanId).not.toBe('b7ad6b7169203331')
})

test('G14: a collector that takes what it is sent and never answers does not hold up a stop', async () => {
  let asked = 0
  const server = createServer(() => asked++)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(
    () => server.close(),
    () => server.closeAllConnections(),
  )
  const { port } = server.address() as AddressInfo
  const gateway = await gatewayOf({ telemetry: { otlp: `http://127.0.0.1:${port}` } })
  gateway.get('/', (c) => c.text('there'))
  await gateway.start()
  expect((await gateway.request('/', { headers: { traceparent: sent } })).status).toBe(200)
  const began = performance.now()
  await gateway.close()
  // One call alone may take ten seconds while the gateway serves.
  expect(performance.now() - began).toBeLessThan(8_000)
  expect(asked).toBeGreaterThan(0)
})

test('G8: requests and runs are spans of the client’s trace in a collector, which may be away for a while; figures go there, too', async () => {
  const { url, spans, calls } = await collector(503, 500)
  const gateway = await gatewayOf({ telemetry: { otlp: url, headers: { authorization: 'Bearer collector' } } })
  gateway.post('/orders/:id', gateway.durable({ operation: 'order' }), async (c) => {
    await c.var.run.sleep('pause', 1)
    return c.text(gateway.traceparentOf(c))
  })
  gateway.get('/broken', () => {
    throw new Error('broken')
  })
  await gateway.start()
  const answer = await gateway.request('/orders/7', { method: 'POST', headers: { traceparent: sent } })
  const told = (await answer.text()).split('-')
  await gateway.request('/broken')
  await gateway.request('/broken', { headers: { traceparent: sent.replace(/01$/, '00') } })
  for (let i = 0; i < 4; i++) await gateway.traces!.flush()
  const [server] = spans().filter(({ name }) => name === 'POST /orders/:id')
  const runs = spans().filter(({ name }) => name === 'run order')
  expect(server).toMatchObject({ traceId, parentSpanId: 'b7ad6b7169203331', kind: 2, status: {} })
  expect(runs.map((span) => [span.traceId, span.parentSpanId])).toEqual(runs.map(() => [traceId, server!.spanId]))
  expect(runs.length).toBeGreaterThan(0)
  expect(told[1]).toBe(traceId)
  for (const { startTimeUnixNano, endTimeUnixNano } of spans())
    expect(BigInt(endTimeUnixNano) >= BigInt(startTimeUnixNano) && startTimeUnixNano.length === 19).toBe(true)
  const broken = spans().filter(({ name }) => name === 'GET /broken')
  expect(broken.map(({ status, parentSpanId }) => [status.code, parentSpanId])).toEqual([[2, undefined]])
  await gateway.traces!.sendMetrics()
  const figures = calls.find(({ path }) => path === '/v1/metrics')!
  expect(figures.headers['authorization']).toBe('Bearer collector')
  const [{ scopeMetrics }] = (figures.body as { resourceMetrics: { scopeMetrics: { metrics: object[] }[] }[] })
    .resourceMetrics as [{ scopeMetrics: { metrics: { name: string; histogram?: { dataPoints: object[] } }[] }[] }]
  const durations = scopeMetrics[0]!.metrics.find(({ name }) => name === 'gw_http_server_request_duration_seconds')
  const point = durations!.histogram!.dataPoints[0] as {
    count: string
    bucketCounts: string[]
    explicitBounds: number[]
  }
  expect(point.bucketCounts.length).toBe(point.explicitBounds.length + 1)
  expect(point.bucketCounts.reduce((sum, each) => sum + Number(each), 0)).toBe(Number(point.count))
})

test('G8: a proxied request stays in its trace: as it came, or under the gateway’s span where spans are kept', async () => {
  const heard: (string | undefined)[] = []
  const upstream = createServer((request, response) => {
    heard.push(request.headers['traceparent'] as string | undefined)
    response.end()
  })
  await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  closers.push(
    () => upstream.close(),
    () => upstream.closeAllConnections(),
  )
  const { url, spans } = await collector()
  for (const options of [{}, { telemetry: { otlp: url } }]) {
    const gateway = await gatewayOf(options)
    gateway.upstream('service', { url: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}` })
    gateway.proxy('/live', { upstream: 'service' })
    gateway.proxy('/kept', { upstream: 'service', methods: ['POST'], durable: true })
    await gateway.start()
    await gateway.request('/live', { headers: { traceparent: sent } })
    await gateway.request('/kept', { method: 'POST', headers: { traceparent: sent } })
    await gateway.request('/live')
    await gateway.traces?.flush()
  }
  expect(heard.slice(0, 3)).toEqual([sent, sent, undefined])
  const ids = spans()
    .filter(({ kind }) => kind === 2)
    .map((span) => `00-${span.traceId}-${span.spanId}-01`)
  expect(heard.slice(3)).toEqual(ids)
  expect(ids.slice(0, 2).map((id) => id.split('-')[1])).toEqual([traceId, traceId])
})

test('G9: one line of JSON a request with its ids, an error in that line, and no password or token of a URL', async () => {
  const lines: string[] = []
  const gateway = await gatewayOf({
    logger: pino({ level: 'info' }, { write: (line: string) => void lines.push(line) }),
  })
  gateway.get('/fails', () => {
    throw new Error('connect postgres://gw:hunter2@db/gw?sslpassword=hunter3 failed', {
      cause: new Error('redis://:hunter4@cache'),
    })
  })
  gateway.post('/durable', gateway.durable({ operation: 'durable' }), () => {
    throw new Error('at https://user:hunter5@service')
  })
  await gateway.start()
  const headers = { traceparent: sent, 'x-request-id': 'my-request', 'user-agent': 'a"b' }
  await gateway.request('/health/live', { headers })
  await gateway.request('/nothing%0d%0a{"level":60}?token=hunter6', { headers })
  await gateway.request('/fails', { headers })
  await gateway.request('/durable', { headers, method: 'POST' })
  expect(lines.join('')).not.toMatch(/hunter/)
  const read = lines.map((line) => JSON.parse(line))
  expect(lines.every((line) => line.indexOf('\n') === line.length - 1)).toBe(true)
  expect(
    read.map(({ level, method, status, requestId, traceId: id }) => [level, method, status, requestId, id]),
  ).toEqual([
    [30, 'GET', 200, 'my-request', traceId],
    [30, 'GET', 404, 'my-request', traceId],
    [50, 'GET', 500, 'my-request', traceId],
    [50, 'POST', 500, 'my-request', traceId],
  ])
  expect(read[2].err).toMatchObject({ name: 'Error', stack: expect.stringContaining('caused by: Error: redis://') })
})

test('G9: on a terminal a line is for people, and nothing in it speaks to the terminal', () => {
  const line = { level: 30, time: 0, method: 'GET', path: '/a', status: 200, durationMs: 1.5, requestId: 'r' }
  expect(forPeople(JSON.stringify(line))).toMatch(/^00:00:00\.000 INFO {2}GET \/a 200 1\.5 ms .*r/)
  const failed = forPeople(
    JSON.stringify({ level: 50, time: 0, err: { message: 'no\u001b[2Jt', stack: 'Error: x\u0007\n    at y' } }),
  )
  expect(failed).toContain('not')
  expect(failed.split('\n').length).toBe(4)
  expect([failed.includes('[2J'), failed.includes('\u0007')]).toEqual([false, false])
})
