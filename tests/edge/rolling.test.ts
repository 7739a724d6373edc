import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { claimPort, freshDatabase, haproxy } from '@gw/services'
import { afterEach, expect, test } from 'vitest'
import { type ServerProcess, startServer } from '../crash/server.ts'

const long = process.env['GW_TEST_LONG'] === '1'
const rounds = long ? 20 : 2
const perSecond = long ? 500 : 100
const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

const app = `export function register(gateway) {
  gateway.get('/plain', (c) => c.text('plain'))
  gateway.post('/once', gateway.durable({ operation: 'once', idempotency: 'required' }), async (c) => {
    const value = await c.var.run.step('work', () => 'done')
    return c.json({ value }, 201)
  })
  gateway.post('/waits', gateway.durable({ operation: 'waits' }), async (c) => {
    await c.var.run.waitFor('go')
    return c.text('went')
  })
}
`

interface Failure {
  readonly what: string
  readonly retryAfter: string | undefined
}

/** Sends requests at a rate that does not depend on the answers, and keeps what was not as it should be. */
function load(port: number, rate: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 200 })
  const failures: Failure[] = []
  let sent = 0
  let answered = 0
  let refused = 0
  const pending = new Map<number, string>()
  const send = (n: number) => {
    const keyed = n % 5 === 0
    const outgoing = request({
      port,
      host: '127.0.0.1',
      agent,
      method: keyed ? 'POST' : 'GET',
      path: keyed ? '/once' : '/plain',
      headers: keyed ? { 'idempotency-key': `key-${n}`, 'content-length': 0 } : {},
    })
    outgoing.on('response', (response) => {
      const { statusCode, headers } = response
      let body = ''
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString()
      })
      response.on('error', (error) => failures.push({ what: `an answer broke off: ${error.message}`, retryAfter: '' }))
      response.on('end', () => {
        answered++
        if (statusCode === (keyed ? 201 : 200)) return
        if (statusCode === 503 && headers['retry-after'] !== undefined) refused++
        else failures.push({ what: `${statusCode} ${body}`, retryAfter: headers['retry-after'] })
      })
    })
    outgoing.on('error', (error) => {
      answered++
      failures.push({ what: error.message, retryAfter: undefined })
    })
    outgoing.end()
    pending.set(n, `${n} ${keyed ? 'POST' : 'GET'}, sent after ${Math.round(performance.now() - began)} ms`)
    outgoing.on('close', () => pending.delete(n))
  }
  const began = performance.now()
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - began) / 1_000) * rate)
    // What this process was too busy to send in its time is not made up for in one go.
    for (let i = Math.max(sent, due - 50); i < due; i++) send(i)
    sent = due
  })
  return {
    failures,
    figures: () => ({ sent, answered, refused }),
    async stop() {
      clearInterval(timer)
      await expect.poll(() => [...pending.values()], { timeout: 150_000 }).toEqual([])
      agent.destroy()
    },
  }
}

test(`G14: ${rounds} rolling restarts of two nodes behind haproxy under ${perSecond} requests a second: no error but 503 with Retry-After, and an open stream holds nobody up`, {
  timeout: 1_200_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gw-rolling-'))
  writeFileSync(join(folder, 'app.mjs'), app)
  writeFileSync(join(folder, 'gateway.config.json'), JSON.stringify({ app: './app.mjs' }))
  const databaseUrl = await freshDatabase()
  const claims = [await claimPort(), await claimPort()]
  for (const claim of claims) closers.push(() => claim.release())
  const start = (i: number) =>
    startServer(join(folder, `node-${i}`), {
      PORT: String(claims[i]!.port),
      DATABASE_URL: databaseUrl,
      GW_CONFIG: join(folder, 'gateway.config.json'),
      GW_NODE_ID: `node-${i}`,
      GW_DRAIN_DELAY: '2s',
      GW_GRACEFUL_SHUTDOWN: '600s',
    })
  const nodes: ServerProcess[] = [await start(0), await start(1)]
  closers.push(async () => {
    for (const { process: child, exited } of nodes) {
      child.kill('SIGKILL')
      await exited
    }
  })
  const ports = claims.map(({ port }) => port)
  const balancer = await haproxy({ ports, checkPath: '/health/ready' })
  closers.push(balancer.stop)
  const areUp = (...wanted: readonly number[]) =>
    expect
      .poll(async () => (await balancer.up()).sort(), { timeout: 300_000, interval: 20 })
      .toEqual([...wanted].sort())
  await areUp(...ports)

  const accepted = await fetch(`${balancer.url}/waits`, { method: 'POST', headers: { prefer: 'respond-async' } })
  const run = accepted.headers.get('gw-run')!
  const traffic = load(balancer.port, perSecond)
  const stops: number[] = []
  for (let round = 0; round < rounds; round++) {
    const i = round % 2
    const node = nodes[i]!
    const stream = request(`${node.url}/requests/${run}/events`, { agent: false }).end()
    stream.on('error', () => {})
    const [events] = await once(stream, 'response')
    expect(events.statusCode).toBe(200)
    const ended = new Promise<void>((resolve) =>
      events
        .resume()
        .on('error', () => {})
        .on('close', resolve),
    )
    const began = performance.now()
    node.process.kill('SIGTERM')
    await areUp(ports[1 - i]!)
    expect(await node.exited).toEqual({ code: 0, signal: null })
    await ended
    stops.push(performance.now() - began)
    nodes[i] = await start(i)
    await areUp(...ports)
  }
  await traffic.stop()
  const { sent, answered, refused } = traffic.figures()
  console.info(
    `${sent} requests, ${answered} answered, ${refused} of them 503 with Retry-After; the longest stop took ${Math.round(Math.max(...stops))} ms`,
  )
  expect(traffic.failures.slice(0, 5), balancer.printed()).toEqual([])
  expect(refused).toBeLessThan(answered / 20)
  expect(answered).toBeGreaterThan(50)
  // Two seconds are the drain's; the stream would last for the ten minutes of the grace.
  expect(Math.max(...stops)).toBeLessThan(300_000)
})
