import { request } from 'node:http'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import { afterEach, expect, test } from 'vitest'
import { type GatewayProcess, startGateway } from './child.ts'
import { startUpstream } from './upstream.ts'

const megabyte = 1_048_576
/** What a process that streams may have in memory that is not collected yet. The bodies below are 190 MiB and more. */
const uncollected = 128 * megabyte
const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function gatewayTo(...[handler]: Parameters<typeof startUpstream>): Promise<GatewayProcess> {
  const upstream = await startUpstream(handler)
  closers.push(upstream.close)
  const gateway = await startGateway({ upstream: upstream.url })
  closers.push(gateway.stop)
  return gateway
}

interface Sent {
  readonly status: number
  readonly bytes: number
}

/** Sends a body of so many bytes, or these, and counts what comes back. */
function send(port: number, path: string, headers: Record<string, string>, body: Buffer | number = 0): Promise<Sent> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', port, path, method: 'POST', headers, agent: false }, (response) => {
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, bytes }))
      response.on('error', reject)
    })
    outgoing.on('error', reject)
    if (typeof body !== 'number') {
      outgoing.end(body)
      return
    }
    const piece = Buffer.alloc(65_536, 'x')
    let left = body
    const more = () => {
      while (left > 0) {
        const chunk = left < piece.length ? piece.subarray(0, left) : piece
        left -= chunk.length
        if (!outgoing.write(chunk)) return outgoing.once('drain', more)
      }
      return outgoing.end()
    }
    more()
  })
}

/** How far the resident memory of the gateway rises above where it is now while `work` goes on. */
async function risesBy(gateway: GatewayProcess, work: () => Promise<void>): Promise<number> {
  const before = await gateway.rss()
  let peak = before
  let watching = true
  const watch = (async () => {
    while (watching) {
      peak = Math.max(peak, await gateway.rss())
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  await work()
  watching = false
  await watch
  const risen = Math.max(peak, await gateway.rss()) - before
  console.info(`resident memory rose by ${(risen / megabyte).toFixed(1)} MiB`)
  return risen
}

test('G5: 200 MB stream through the proxy each way in constant memory', { timeout: 180_000 }, async () => {
  const total = 200 * megabyte
  const gateway = await gatewayTo((incoming, response) => {
    let received = 0
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    incoming.on('end', () => {
      if (incoming.url === '/p/up') return void response.end(String(received))
      const piece = Buffer.alloc(65_536, 'y')
      let left = total / piece.length
      const more = () => {
        while (left > 0) {
          left--
          if (!response.write(piece)) return void response.once('drain', more)
        }
        response.end()
      }
      more()
    })
  })
  await send(gateway.port, '/p/up', { 'transfer-encoding': 'chunked' }, megabyte)
  const risen = await risesBy(gateway, async () => {
    expect(await send(gateway.port, '/p/up', { 'content-length': String(total) }, total)).toEqual({
      status: 200,
      bytes: 9,
    })
    expect(await send(gateway.port, '/p/down', {})).toEqual({ status: 200, bytes: total })
  })
  expect(risen).toBeLessThan(uncollected)
})

const unpacked = Buffer.alloc(200 * 1_000_000)
const bombs = {
  br: brotliCompressSync(unpacked, {
    params: { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_QUALITY]: 9 },
  }),
  gzip: gzipSync(unpacked),
}

test.each(Object.entries(bombs))(
  '3.4: a %s bomb as a request is 415 on every route, and is not unpacked',
  async (coding, bomb) => {
    const gateway = await gatewayTo((_, response) => response.end())
    await send(gateway.port, '/json', {}, Buffer.from('{}'))
    const risen = await risesBy(gateway, async () => {
      for (const path of ['/json', '/durable', '/p/x', '/kept/x']) {
        const headers = {
          'content-encoding': coding,
          'content-type': 'application/json',
          'content-length': String(bomb.length),
        }
        expect([path, (await send(gateway.port, path, headers, bomb)).status]).toEqual([path, 415])
      }
    })
    expect(risen).toBeLessThan(uncollected)
  },
)

test.each(Object.entries(bombs))(
  'X6: a %s bomb as an answer passes as it is, is kept as it is, and is replayed in constant memory to who does not take it',
  { timeout: 180_000 },
  async (coding, bomb) => {
    const gateway = await gatewayTo((incoming, response) => {
      incoming.resume()
      response.writeHead(200, { 'content-encoding': coding, 'content-type': 'text/plain' }).end(bomb)
    })
    const key = { 'idempotency-key': 'bomb' }
    const taking = { 'accept-encoding': coding }
    const risen = await risesBy(gateway, async () => {
      for (const [path, headers] of [
        ['/p/x', {}],
        ['/kept/x', { ...key, ...taking }],
        ['/kept/x', { ...key, ...taking }],
      ] as const)
        expect(await send(gateway.port, path, headers)).toEqual({ status: 200, bytes: bomb.length })
      const other = await send(gateway.port, '/kept/x', key)
      expect(other.status === 409 || other.bytes === unpacked.length, JSON.stringify(other)).toBe(true)
    })
    expect(risen).toBeLessThan(uncollected)
  },
)
