import { get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { type GatewayProcess, startGateway } from './child.ts'

const long = process.env['GW_TEST_LONG'] === '1'
const kinds = ['head', 'body', 'reader'] as const
type Kind = (typeof kinds)[number]
const sockets = long ? 2_000 : 600
/** Who is waited for: the others take longer than a short run has. */
const awaited: readonly Kind[] = long ? kinds : ['head']
/** What the listener allows; it looks every second. */
const limits = { head: 10_000, body: 30_000, reader: 30_000 }
const slackMs = 30_000
/** What is promised to others. */
const canaryMs = 200

let gateway: GatewayProcess | undefined

afterEach(() => gateway?.stop())

/** How long plain requests take, each on a connection of its own, while `work` goes on. */
async function canary(port: number, work: Promise<unknown>): Promise<number[]> {
  const times: number[] = []
  let running = true
  void work.finally(() => {
    running = false
  })
  while (running) {
    const began = performance.now()
    const status = await new Promise<number>((resolve, reject) => {
      get({ host: '127.0.0.1', port, path: '/canary', agent: false }, (response) =>
        response.resume().on('end', () => resolve(response.statusCode ?? 0)),
      ).on('error', reject)
    })
    expect(status).toBe(200)
    times.push(performance.now() - began)
    await delay(20)
  }
  return times.sort((a, b) => a - b)
}

const p99 = (times: readonly number[]) => times[Math.floor(times.length * 0.99)]!

test(`H3: ${sockets} slow sockets: others are served as before, and each is closed in its time`, {
  timeout: 600_000,
}, async () => {
  gateway = await startGateway()
  const { port } = gateway
  const calm = p99(await canary(port, delay(1_000)))
  const open = new Map<Kind, number>(kinds.map((kind) => [kind, 0]))
  const lifetimes = new Map<Kind, number>(kinds.map((kind) => [kind, 0]))
  const all: Socket[] = []
  let over = false
  let stillServed = 0
  const slow = async (i: number): Promise<void> => {
    const kind = kinds[i % kinds.length]!
    const socket = connect(port, '127.0.0.1')
    all.push(socket)
    open.set(kind, open.get(kind)! + 1)
    let opened = performance.now()
    let closed = false
    socket.on('error', () => {})
    socket.on('close', () => {
      closed = true
      open.set(kind, open.get(kind)! - 1)
      lifetimes.set(kind, Math.max(lifetimes.get(kind)!, performance.now() - opened))
    })
    await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))
    opened = performance.now()
    if (kind === 'head') socket.write('GET /canary HTTP/1.1\r\nHost: a\r\n')
    else if (kind === 'body') socket.write('POST /h/slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n')
    else socket.write('GET /long HTTP/1.1\r\nHost: a\r\n\r\n')
    if (kind === 'reader') socket.pause()
    else socket.resume()
    while (!closed && !over) {
      await delay(1_000)
      if (kind === 'head') socket.write('X')
      if (kind === 'body') socket.write('x')
      // Whoever does not read learns of the end by reading; what lies in buffers comes before it.
      if (kind === 'reader' && performance.now() - opened > limits.reader + slackMs / 2) {
        socket.resume()
        if (socket.bytesRead > 64 * 1_048_576) {
          stillServed++
          socket.destroy()
        }
      }
    }
  }
  const attack = (async () => {
    const attackers: Promise<void>[] = []
    for (let i = 0; i < sockets; i++) {
      attackers.push(slow(i))
      if (i % 50 === 49) await delay(20)
    }
    const left = () => awaited.reduce((sum, kind) => sum + open.get(kind)!, 0)
    await expect.poll(left, { timeout: 400_000, interval: 100 }).toBe(0)
    over = true
    await Promise.all(attackers)
  })()
  const times = await canary(port, attack)
  await attack
  for (const socket of all) socket.destroy()
  console.info(
    `canary p99 ${p99(times).toFixed(0)} ms, at rest ${calm.toFixed(0)} ms; the longest were open ${awaited.map((kind) => `${kind} ${Math.round(lifetimes.get(kind)!)} ms`).join(', ')}`,
  )
  expect(stillServed).toBe(0)
  // In time by the clock of a machine that does nothing else.
  if (!long) return
  for (const kind of awaited) expect(lifetimes.get(kind), kind).toBeLessThan(limits[kind] + slackMs)
  // What this machine takes at rest is not the gateway's doing.
  expect(p99(times), `at rest ${calm}`).toBeLessThan(canaryMs + calm)
})
