import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync } from 'node:zlib'
import { afterEach, expect, test, vi } from 'vitest'
import { createGateway, type Gateway, type GatewayOptions, type ProxyRouteOptions } from '../src/index.ts'
import { ForbiddenAddressError, guardedLookup, isInside, namesPrivateAddress } from '../src/proxy/address-guard.ts'
import { exchange } from './exchange.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => server.close())
  return (server.address() as AddressInfo).port
}

/** An upstream that is asked over HTTP. */
function upstreamOf(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<number> {
  const server = createServer(handler)
  closers.push(() => server.closeAllConnections())
  return listening(server)
}

/** An upstream that says these bytes to whoever asks. */
function rawUpstream(bytes: string, then: 'end' | 'reset' | 'keep' = 'end'): Promise<number> {
  return listening(
    createTcpServer((socket) => {
      socket.on('error', () => {})
      closers.push(() => socket.destroy())
      socket.once('data', () => {
        socket.write(bytes, () => {
          if (then === 'end') socket.end()
          else if (then === 'reset') socket.resetAndDestroy()
        })
      })
    }),
  )
}

async function gatewayTo(
  url: string,
  {
    route = {},
    timeoutMs,
    connectTimeoutMs,
    breaker,
    ...options
  }: GatewayOptions & {
    route?: Partial<ProxyRouteOptions>
    timeoutMs?: number
    connectTimeoutMs?: number
    breaker?: { failureThreshold: number; openMs: number }
  } = {},
): Promise<{ url: string; port: number; gateway: Gateway }> {
  const gateway = await createGateway({
    dataDir: join(mkdtempSync(join(tmpdir(), 'gw-proxy-')), 'data'),
    admin: { enabled: false },
    drainDelayMs: 0,
    ...options,
  })
  gateway.upstream('service', {
    url,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(connectTimeoutMs === undefined ? {} : { connectTimeoutMs }),
    ...(breaker === undefined ? {} : { breaker }),
  })
  gateway.proxy('/p/*', { upstream: 'service', ...route })
  const running = await gateway.run({ port: 0 })
  closers.push(() => running.stop())
  return { url: running.url, port: Number(new URL(running.url).port), gateway }
}

const raw = (port: number, bytes: string) => exchange(port, bytes, 300)

test('X1, X2, X3: what concerns one connection stays here, Via is added, and a client may not say whom it comes from', async () => {
  let seen: readonly string[] = []
  const port = await upstreamOf((incoming, response) => {
    seen = incoming.rawHeaders
    response.writeHead(
      200,
      [
        ['Connection', 'x-private, keep-alive'],
        ['X-Private', 'secret'],
        ['Keep-Alive', 'timeout=5'],
        ['Proxy-Authenticate', 'Basic'],
        ['Proxy-Connection', 'keep-alive'],
        ['Trailer', 'X-Sum'],
        ['Upgrade', 'h2c'],
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
        ['X-Public', 'yes'],
      ].flat(),
    )
    response.end('ok')
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}/base`)
  const { text } = await raw(
    gateway.port,
    'GET /p/a%20b?x=1&y=%2F HTTP/1.1\r\nHost: client.example\r\nConnection: x-drop, close\r\nX-Drop: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nProxy-Authorization: Basic x\r\nTE: gzip, trailers\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Keep: 1\r\n\r\n',
  )
  const fields = Object.fromEntries(seen.flatMap((name, i) => (i % 2 === 0 ? [[name.toLowerCase(), seen[i + 1]]] : [])))
  expect(fields).toMatchObject({
    host: `127.0.0.1:${port}`,
    te: 'trailers',
    via: '1.1 gw',
    'x-keep': '1',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-host': 'client.example',
    'x-forwarded-proto': 'http',
    forwarded: 'for=127.0.0.1;host=client.example;proto=http',
  })
  for (const name of ['x-drop', 'proxy-connection', 'proxy-authorization', 'trailer', 'upgrade', 'x-real-ip'])
    expect(fields).not.toHaveProperty(name)
  expect(text).toMatch(/x-public: yes/i)
  expect(text.match(/set-cookie: [ab]=/gi)).toHaveLength(2)
  expect(text).toMatch(/via: 1\.1 gw/i)
  expect(text).not.toMatch(/x-private|keep-alive: timeout=5\r\nset|proxy-|trailer|upgrade/i)
})

test('X1: Connection may not take protected fields away', async () => {
  const gateway = await gatewayTo(`http://127.0.0.1:${await upstreamOf((_, response) => response.end())}`)
  for (const name of [
    'Host',
    'Content-Length',
    'Authorization',
    'Cookie',
    'Idempotency-Key',
    'Forwarded',
    'X-Forwarded-For',
    'X-Forwarded-Proto',
    'Via',
    'traceparent',
    'X-Request-ID',
    'close, x-a, AUTHORIZATION',
  ]) {
    const { text } = await raw(gateway.port, `GET /p/ HTTP/1.1\r\nHost: a\r\nConnection: ${name}\r\n\r\n`)
    expect(text).toContain('400 Bad Request')
    expect(text).toContain('connection_field_protected')
  }
})

test('X2: a request that has been here is a loop; Max-Forwards counts down on OPTIONS', async () => {
  const seen: (string | undefined)[] = []
  const port = await upstreamOf((incoming, response) => {
    seen.push(incoming.headers['max-forwards'] as string | undefined)
    response.end()
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const looped = await fetch(`${gateway.url}/p/`, { headers: { via: '1.1 other, 1.1 gw' } })
  expect([looped.status, (await looped.json()).code]).toEqual([508, 'loop_detected'])
  await fetch(`${gateway.url}/p/`, { method: 'OPTIONS', headers: { 'max-forwards': '3' } })
  const last = await fetch(`${gateway.url}/p/`, { method: 'OPTIONS', headers: { 'max-forwards': '0' } })
  expect([last.status, seen]).toEqual([204, ['2']])
})

test('X3: a trusted proxy is believed, and its word is added to', async () => {
  let seen: IncomingMessage['headers'] = {}
  const port = await upstreamOf((incoming, response) => {
    seen = incoming.headers
    response.end()
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, { trustedProxies: ['127.0.0.0/8'] })
  await fetch(`${gateway.url}/p/`, {
    headers: {
      'x-forwarded-for': '9.9.9.9',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'shop.example',
      forwarded: 'for=9.9.9.9',
    },
  })
  expect(seen['x-forwarded-for']).toBe('9.9.9.9, 127.0.0.1')
  expect([seen['x-forwarded-proto'], seen['x-forwarded-host']]).toEqual(['https', 'shop.example'])
  expect(seen['forwarded']).toMatch(/^for=9\.9\.9\.9, for=127\.0\.0\.1;/)
})

test('X4: a redirect is passed through and not followed', async () => {
  let asked = 0
  const port = await upstreamOf((_, response) => {
    asked++
    response.writeHead(302, { location: `http://127.0.0.1:${port}/internal` }).end()
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const response = await fetch(`${gateway.url}/p/`, { redirect: 'manual' })
  expect([response.status, response.headers.get('location'), asked]).toEqual([
    302,
    `http://127.0.0.1:${port}/internal`,
    1,
  ])
})

test('X5: an address inside is only for upstreams that spell it out plainly or are allowed to', async () => {
  for (const plain of ['http://127.0.0.1:9000', 'http://10.1.2.3/', 'https://192.168.0.9', 'http://[::1]:80'])
    expect(namesPrivateAddress(plain), plain).toBe(true)
  const port = await upstreamOf((_, response) => response.end('inside'))
  const spellings = [
    '127.1',
    '0x7f000001',
    '2130706433',
    '0177.0.0.1',
    '[::ffff:127.0.0.1]',
    'localhost',
    'localhost.',
    '１２７.0.0.1',
    '0',
    '[::]',
    '169.254.169.254',
    '[fd00::1]',
  ]
  for (const host of spellings) {
    expect(namesPrivateAddress(`http://${host}:${port}`), host).toBe(false)
    const gateway = await gatewayTo(`http://${host}:${port}`)
    const response = await fetch(`${gateway.url}/p/`)
    expect([response.status, (await response.json()).code], host).toEqual([502, 'upstream_forbidden'])
  }
  for (const outside of ['8.8.8.8', '2001:4860:4860::8888', '::ffff:8.8.8.8'])
    expect(isInside(outside), outside).toBe(false)
})

test('X5: a name is judged by the addresses that it has at the moment of connecting', async () => {
  const lookup = (all: boolean) =>
    new Promise((resolve) => guardedLookup('localhost', { all }, (error, address) => resolve(error ?? address)))
  expect(await lookup(true)).toBeInstanceOf(ForbiddenAddressError)
  expect(await lookup(false)).toBeInstanceOf(ForbiddenAddressError)
})

test('X6: an encoded body passes through undecoded', async () => {
  const bomb = brotliCompressSync(Buffer.alloc(50_000_000))
  const port = await upstreamOf((_, response) => {
    response.writeHead(200, { 'content-encoding': 'br', 'content-length': bomb.length }).end(bomb)
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const before = process.memoryUsage().rss
  const length = await new Promise<number>((resolve, reject) => {
    request(`${gateway.url}/p/`, (response) => {
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
      })
      response.on('end', () => resolve(bytes))
    })
      .on('error', reject)
      .end()
  })
  expect(length).toBe(bomb.length)
  expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1_048_576)
})

const broken: [name: string, bytes: string, then: 'end' | 'reset' | 'keep', status: number, code: string][] = [
  ['a reset before the head', '', 'reset', 502, 'upstream_unreachable'],
  ['something that is not HTTP', 'hello\r\n\r\n', 'end', 502, 'upstream_malformed'],
  [
    'two framings',
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'end',
    502,
    'upstream_malformed',
  ],
  ['a head over 16 KiB', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 'end', 502, 'upstream_malformed'],
  ['silence', '', 'keep', 504, 'upstream_timeout'],
]

test.each(broken)('X7: %s is told from other failures', async (_name, bytes, then, status, code) => {
  const gateway = await gatewayTo(`http://127.0.0.1:${await rawUpstream(bytes, then)}`, { timeoutMs: 400 })
  const response = await fetch(`${gateway.url}/p/`, { method: 'POST', body: 'x' })
  expect([response.status, (await response.json()).code]).toEqual([status, code])
})

test('X7: a name that does not resolve and a failed TLS handshake are 502, a handshake without an end 504', async () => {
  const plain = await upstreamOf((_, response) => response.end())
  const silent = await listening(
    createTcpServer((socket) => {
      socket.on('error', () => {})
      closers.push(() => socket.destroy())
    }),
  )
  const answers: unknown[] = []
  for (const url of ['http://nobody.invalid', `https://127.0.0.1:${plain}`, `https://127.0.0.1:${silent}`]) {
    const gateway = await gatewayTo(url, { connectTimeoutMs: 300 })
    const response = await fetch(`${gateway.url}/p/`, { method: 'POST' })
    const { code } = (await response.json()) as { code: string }
    answers.push([response.status, code, response.headers.get('retry-after')])
  }
  expect(answers).toEqual([
    [502, 'upstream_unreachable', '1'],
    [502, 'upstream_unreachable', '1'],
    [504, 'upstream_timeout', '1'],
  ])
})

test('X7: a body that breaks off in a chunk ends in a cut connection, not in a clean end', async () => {
  const gateway = await gatewayTo(
    `http://127.0.0.1:${await rawUpstream('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nab')}`,
  )
  const { text, closed } = await raw(gateway.port, 'GET /p/ HTTP/1.1\r\nHost: a\r\n\r\n')
  expect([closed, text.includes('abcde'), text.endsWith('0\r\n\r\n')]).toEqual([true, true, false])
})

test('X7: nobody there is 502; a body that is shorter than it said ends in a cut connection', async () => {
  const free = await listening(createTcpServer())
  await closers.pop()!()
  const absent = await gatewayTo(`http://127.0.0.1:${free}`)
  const response = await fetch(`${absent.url}/p/`)
  expect([response.status, (await response.json()).code]).toEqual([502, 'upstream_unreachable'])
  const short = await gatewayTo(
    `http://127.0.0.1:${await rawUpstream('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc')}`,
  )
  const cut = await fetch(`${short.url}/p/`)
  await expect(cut.text()).rejects.toThrow()
})

test('X8: a client that goes away ends the request at the upstream', async () => {
  const upstream = createServer()
  const port = await listening(upstream)
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const asked = once(upstream, 'request') as Promise<[IncomingMessage]>
  const socket = connect(gateway.port, '127.0.0.1', () => socket.write('GET /p/ HTTP/1.1\r\nHost: a\r\n\r\n'))
  const [incoming] = await asked
  incoming.on('error', () => {})
  const closed = new Promise((resolve) => incoming.on('close', resolve))
  const gone = performance.now()
  socket.destroy()
  await closed
  expect(performance.now() - gone).toBeLessThan(1_000)
})

test('X9: only what may be repeated is, twice at the most and within the budget', async () => {
  let asked = 0
  const port = await listening(
    createTcpServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        asked++
        socket.resetAndDestroy()
      })
    }),
  )
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const times = async (init: RequestInit) => {
    asked = 0
    await fetch(`${gateway.url}/p/`, init)
    return asked
  }
  expect(await times({ method: 'GET' })).toBe(3)
  expect(await times({ method: 'POST' })).toBe(1)
  expect(await times({ method: 'POST', headers: { 'idempotency-key': 'k' } })).toBe(3)
  asked = 0
  for (let i = 0; i < 40; i++) await fetch(`${gateway.url}/p/`)
  expect(asked).toBeLessThanOrEqual(40 + 10 + 4)
})

test('X7: an open breaker answers 503 with Retry-After, and the upstream hears nothing', async () => {
  let asked = 0
  const port = await upstreamOf((_, response) => {
    asked++
    response.writeHead(500).end()
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, { breaker: { failureThreshold: 3, openMs: 20_000 } })
  const statuses: number[] = []
  for (let i = 0; i < 5; i++) statuses.push((await fetch(`${gateway.url}/p/`)).status)
  const refused = await fetch(`${gateway.url}/p/`)
  expect([statuses, asked]).toEqual([[500, 500, 500, 503, 503], 3])
  expect([refused.status, refused.headers.get('retry-after'), (await refused.json()).code]).toEqual([
    503,
    '20',
    'breaker_open',
  ])
})

test('F17: a GET with a body is refused; a large body streams both ways', async () => {
  let received = 0
  const port = await upstreamOf((incoming, response) => {
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    incoming.on('end', () => response.end(Buffer.alloc(3_000_000, 'y')))
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, { route: { maxBodyBytes: 10_000_000 } })
  const { text } = await raw(gateway.port, 'GET /p/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx')
  expect(text).toContain('body_not_allowed')
  const response = await fetch(`${gateway.url}/p/`, { method: 'POST', body: Buffer.alloc(5_000_000, 'x') })
  expect([(await response.arrayBuffer()).byteLength, received]).toEqual([3_000_000, 5_000_000])
})

test('G5: a durable proxied route sends one key however often, and keeps the answer', async () => {
  const keys: (string | undefined)[] = []
  const port = await upstreamOf((incoming, response) => {
    keys.push(incoming.headers['idempotency-key'] as string | undefined)
    if (keys.length === 1) return void response.writeHead(503).end()
    response.writeHead(201, { 'x-charge': 'c1' }).end('{"charged":true}')
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, {
    route: { methods: ['POST'], durable: true, idempotency: 'required' },
  })
  const send = () =>
    fetch(`${gateway.url}/p/charge`, { method: 'POST', body: '{}', headers: { 'idempotency-key': 'order-1' } })
  const first = await send()
  const again = await send()
  expect([first.status, first.headers.get('x-charge'), await first.text()]).toEqual([201, 'c1', '{"charged":true}'])
  expect([again.status, again.headers.get('idempotent-replayed'), await again.text()]).toEqual([
    201,
    'true',
    '{"charged":true}',
  ])
  expect(keys).toEqual(['order-1', 'order-1'])
})

test('X7: a durable proxied route whose upstream stays away says so as any other does', async () => {
  const gateway = await gatewayTo('http://127.0.0.1:9', { route: { methods: ['POST'], durable: true } })
  const response = await fetch(`${gateway.url}/p/charge`, { method: 'POST', body: '{}' })
  expect([response.status, response.headers.get('retry-after'), await response.json()]).toEqual([
    502,
    '1',
    expect.objectContaining({ code: 'upstream_unreachable', retryable: true }),
  ])
})

test('G5: an answer that is too long to be kept is passed on whole, once', async () => {
  const bytes = Buffer.alloc(5_000_000, 'long ')
  let asked = 0
  const port = await upstreamOf((_, response) => {
    asked++
    response.writeHead(201, { 'x-report': 'r1' }).end(bytes)
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, {
    route: { methods: ['POST'], durable: true, idempotency: 'required' },
  })
  const send = () =>
    fetch(`${gateway.url}/p/report`, { method: 'POST', body: '{}', headers: { 'idempotency-key': 'report-1' } })
  const first = await send()
  expect([first.status, first.headers.get('x-report')]).toEqual([201, 'r1'])
  expect(bytes.equals(Buffer.from(await first.arrayBuffer()))).toBe(true)
  const again = await send()
  expect([again.status, ((await again.json()) as { code: string }).code, asked]).toEqual([
    409,
    'idempotency_response_unavailable',
    1,
  ])
})

test('G5: an answer that was too long to be kept, and whose process has ended, is said to be lost and not asked for again', async () => {
  let asked = 0
  const port = await upstreamOf((_, response) => {
    asked++
    response.writeHead(201).end(Buffer.alloc(2_000_000))
  })
  let broke = false
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, {
    route: { methods: ['POST'], durable: true },
    failpoint(name) {
      if (name !== 'outcome.before' || broke) return
      broke = true
      throw Object.assign(new Error('as if it had died here'), { code: 'unavailable' })
    },
  })
  const response = await fetch(`${gateway.url}/p/report`, { method: 'POST', body: '{}' })
  expect([broke, response.status]).toEqual([true, 503])
  const { checkpoints } = gateway.gateway
  const [run] = (await checkpoints.list({ limit: 1 })).runs
  await expect.poll(async () => (await checkpoints.outcome(run!.id))?.status, { timeout: 10_000 }).toBe(502)
  const { body } = (await checkpoints.outcome(run!.id))!
  expect([JSON.parse(Buffer.from(body).toString()), asked]).toEqual([
    expect.objectContaining({ code: 'upstream_answer_lost', retryable: false }),
    1,
  ])
})

test('G5: a long answer that breaks off is cut at the client as well, and counts against the breaker', async () => {
  const port = await upstreamOf((_, response) => {
    response.writeHead(200, { 'content-length': '9000000' }).write(Buffer.alloc(3_000_000), () => response.destroy())
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`, {
    route: { methods: ['POST'], durable: true },
    breaker: { failureThreshold: 1, openMs: 60_000 },
  })
  const response = await fetch(`${gateway.url}/p/report`, { method: 'POST', body: '{}' })
  expect(response.status).toBe(200)
  await expect(response.arrayBuffer()).rejects.toThrow()
  await expect.poll(() => gateway.gateway.breakers.get('service').state).toBe('OPEN')
})

test('X10: a replay is not a cache: no cookie, a new date and request id, never stored where the caller was authorised', async () => {
  let asked = 0
  const port = await upstreamOf((_, response) => {
    asked++
    response
      .writeHead(200, {
        'cache-control': 'public, max-age=600',
        'set-cookie': 'session=1',
        date: 'Thu, 01 Jan 1970 00:00:00 GMT',
        'x-request-id': 'upstream',
        connection: 'x-hop',
        'x-hop': '1',
        'x-kept': 'yes',
      })
      .end('paid')
  })
  for (const durable of [true, false]) {
    asked = 0
    const gateway = await gatewayTo(`http://127.0.0.1:${port}`, {
      route: { methods: ['POST'], durable, idempotency: 'required' },
    })
    const request =
      'POST /p/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\nIdempotency-Key: k\r\nCache-Control: no-cache\r\nContent-Length: 0\r\n\r\n'
    const first = await raw(gateway.port, request)
    const again = await raw(gateway.port, request)
    const idOf = (text: string) => /x-request-id: (\S+)/i.exec(text)?.[1]
    expect([first.statuses, again.statuses, asked]).toEqual([[200], [200], 1])
    expect(again.text).toMatch(/idempotent-replayed: true/i)
    expect(again.text).toMatch(/cache-control: no-store/i)
    expect(again.text).toMatch(/x-kept: yes/i)
    expect(again.text).not.toMatch(/set-cookie|x-hop|1970|max-age/i)
    expect(again.text.match(/x-request-id:/gi)).toHaveLength(1)
    expect([idOf(again.text) === idOf(first.text), idOf(again.text)]).not.toContain('upstream')
    expect(idOf(again.text)).not.toBe(idOf(first.text))
  }
})

test('F10: a body that cannot be read any further ends the request at the upstream', async () => {
  const upstream = createServer()
  const port = await listening(upstream)
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  for (const rest of ['x\r\n', `200000\r\n${'x'.repeat(2_097_152)}`]) {
    const asked = once(upstream, 'request') as Promise<[IncomingMessage]>
    const client = connect(gateway.port, '127.0.0.1')
    client.on('error', () => {})
    let answer = ''
    client.on('data', (chunk) => {
      answer += chunk.toString('latin1')
    })
    const answered = new Promise((resolve) => client.once('close', resolve))
    client.write('POST /p/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n')
    const [incoming] = await asked
    const ended = new Promise((resolve) => incoming.once('close', resolve))
    incoming.on('error', () => {}).resume()
    client.write(rest)
    await ended
    expect(incoming.complete).toBe(false)
    await answered
    // A reset may overtake the answer where the client was still sending.
    expect(answer === '' || /^HTTP\/1\.1 (?:400|413) /.test(answer), answer).toBe(true)
  }
})

test('F13: HEAD goes to the upstream as HEAD, and its answer has the length and no body', async () => {
  const methods: (string | undefined)[] = []
  const port = await upstreamOf((incoming, response) => {
    methods.push(incoming.method)
    response.writeHead(200, { 'content-length': 1_000, 'x-kept': 'yes' }).end()
  })
  const gateway = await gatewayTo(`http://127.0.0.1:${port}`)
  const printed = vi.spyOn(console, 'error')
  const { text } = await raw(gateway.port, 'HEAD /p/ HTTP/1.1\r\nHost: a\r\n\r\nHEAD /p/ HTTP/1.1\r\nHost: a\r\n\r\n')
  expect([text.match(/content-length: 1000/gi)?.length, text.match(/x-kept: yes/gi)?.length, methods]).toEqual([
    2,
    2,
    ['HEAD', 'HEAD'],
  ])
  expect(printed).not.toHaveBeenCalled()
  printed.mockRestore()
})
