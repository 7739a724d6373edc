import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import { findProgram, freshDatabase, redis } from '@gw/services'
import { afterEach, expect, test } from 'vitest'
import { startServer } from '../crash/server.ts'

const closers: (() => unknown)[] = []

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** One marker for each place in which a secret comes to a gateway. */
const places = [
  'authorization',
  'cookie',
  'proxy-authorization',
  'x-api-key',
  'query token',
  'query api key',
  'malformed body',
  'password of a proxied body',
  'error with a DSN',
  'error with a URL',
  'set-cookie of a kept answer',
  'pool that cannot connect',
  'operator’s token',
  'caller’s token',
  'wrong operator’s token',
  'DSN of an upstream',
  'DSN of a database',
] as const
type Place = (typeof places)[number]

const app = (marker: Record<Place, string>) => `
import { ConnectionPool } from ${JSON.stringify(import.meta.resolve('@gw/pool'))}
export function register(gateway) {
  const pool = new ConnectionPool({ name: 'broken', min: 1, max: 1, acquireTimeoutMs: 100, backoffMs: 50 })
  pool.register('broken', { create: async () => {
    throw new Error('cannot connect to postgres://gw:${marker['pool that cannot connect']}@db/gw')
  } })
  gateway.pools.add(pool)
  gateway.post('/api/plain', async (c) => c.json({ length: JSON.stringify(await c.req.json()).length }))
  gateway.post('/api/kept', gateway.durable({ operation: 'kept' }), (c) => {
    c.header('set-cookie', 'session=${marker['set-cookie of a kept answer']}')
    return c.json({ kept: true })
  })
  const failing = (secret) => () => {
    throw new Error(secret, { cause: new Error(secret) })
  }
  gateway.get('/api/fails', failing('no redis://:${marker['error with a DSN']}@cache/0'))
  gateway.post('/api/fails-kept', gateway.durable({ operation: 'fails-kept' }),
    failing('no postgres://gw:${marker['error with a DSN']}@db/gw'))
  gateway.post('/api/step-fails', gateway.durable({ operation: 'step-fails', retry: { maxAttempts: 2, initialMs: 10 } }), async (c) => {
    await c.var.run.step('call', failing('GET https://api/x?access_token=${marker['error with a URL']}&a=1 was 500'))
    return c.text('')
  })
}
`

/** The bytes, and what comes of each run of them that looks as if it were packed. */
function readings(bytes: Buffer): Buffer[] {
  const found = [bytes]
  const unpack: readonly [number[], (packed: Buffer) => Buffer][] = [
    [[0x1f, 0x8b], (packed) => gunzipSync(packed, { finishFlush: 2 })],
    [[0x78, 0x9c], (packed) => inflateSync(packed, { finishFlush: 2 })],
    [[0x28, 0xb5, 0x2f, 0xfd], (packed) => zstdDecompressSync(packed)],
  ]
  for (const [magic, how] of unpack)
    for (let at = bytes.indexOf(Buffer.from(magic)); at >= 0; at = bytes.indexOf(Buffer.from(magic), at + 1))
      try {
        found.push(how(bytes.subarray(at)))
      } catch {
        // It only began like it.
      }
  try {
    found.push(brotliDecompressSync(bytes))
  } catch {
    // Not the whole of it.
  }
  return found
}

/** A marker as it may be written. */
function spellings(marker: string): string[] {
  const bytes = Buffer.from(marker)
  // Base64 of it at each of three offsets, without what its neighbours share.
  const base64 = [0, 1, 2].map((offset) =>
    Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .slice(offset === 0 ? 0 : 4, -4),
  )
  return [marker, bytes.toString('hex'), bytes.toString('hex').toUpperCase(), ...base64]
}

/** What a server prints that does not start, for that reason. */
async function refused(folder: string, code: number, env: Readonly<Record<string, string>>): Promise<string> {
  const { exited, output, errors } = await startServer(join(folder, 'refused'), env)
  expect(await exited, errors()).toEqual({ code, signal: null })
  return output() + errors()
}

test('the search finds a marker in every form that it looks for', async () => {
  const marker = randomBytes(16).toString('hex')
  const { gzipSync, deflateSync, zstdCompressSync } = await import('node:zlib')
  const isIn = (bytes: Buffer) =>
    readings(bytes).some((reading) => spellings(marker).some((spelling) => reading.includes(spelling)))
  const text = Buffer.from(`{"a":"${marker}"}`)
  for (const bytes of [
    text,
    Buffer.concat([Buffer.from('front'), gzipSync(text)]),
    Buffer.concat([Buffer.from('front'), deflateSync(text)]),
    Buffer.concat([Buffer.from('front'), zstdCompressSync(text)]),
    Buffer.from(text.toString('base64')),
    Buffer.from(Buffer.concat([Buffer.from('.'), text]).toString('base64')),
    Buffer.from(text.toString('hex')),
  ])
    expect(isIn(bytes)).toBe(true)
  expect(isIn(Buffer.from('nothing'))).toBe(false)
})

test.each(process.env['GW_TEST_LONG'] === '1' ? ['SQLite', 'PostgreSQL and Redis'] : ['SQLite'])(
  'reliability P12: what is secret in fields, bodies, queries, errors and DSNs is in no file, row, log line, figure or answer, on %s',
  { timeout: 240_000 },
  async (engine) => {
    const marker = Object.fromEntries(places.map((place) => [place, randomBytes(16).toString('hex')])) as Record<
      Place,
      string
    >
    const folder = mkdtempSync(join(tmpdir(), 'gw-secrets-'))
    const dataDir = join(folder, 'data')
    let heard = 0
    const upstream = createServer((request, response) => {
      heard++
      request
        .resume()
        .on('end', () =>
          response.writeHead(201, { 'set-cookie': `a=${marker['set-cookie of a kept answer']}` }).end('{}'),
        )
    })
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
    closers.push(() => {
      upstream.closeAllConnections()
      upstream.close()
    })
    writeFileSync(join(folder, 'app.mjs'), app(marker))
    writeFileSync(
      join(folder, 'refused.config.json'),
      JSON.stringify({ upstreams: { away: { url: `http://gw:${marker['DSN of an upstream']}@127.0.0.1:9` } } }),
    )
    writeFileSync(
      join(folder, 'gateway.config.json'),
      JSON.stringify({
        app: './app.mjs',
        upstreams: {
          service: { url: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`, allowPrivate: true },
          away: { url: 'http://127.0.0.1:9', allowPrivate: true },
        },
        routes: [
          { path: '/api/proxied', upstream: 'service' },
          { path: '/api/proxied-kept', methods: ['POST'], upstream: 'service', durable: true },
          { path: '/api/away', upstream: 'away' },
        ],
      }),
    )
    const databaseUrl = engine === 'SQLite' ? undefined : await freshDatabase()
    const cache = engine === 'SQLite' ? undefined : await redis()
    if (cache !== undefined) closers.push(() => cache.stop())
    const refusals = [
      await refused(folder, 78, {
        GW_CONFIG: join(folder, 'refused.config.json'),
        DATABASE_URL: `postgres://gw:${marker['DSN of a database']}@127.0.0.1:1/gw`,
      }),
      await refused(folder, 69, { DATABASE_URL: `postgres://gw:${marker['DSN of a database']}@127.0.0.1:1/gw` }),
    ]
    const server = await startServer(dataDir, {
      GW_CONFIG: join(folder, 'gateway.config.json'),
      GW_LOG_LEVEL: 'debug',
      GW_ADMIN_TOKEN: marker['operator’s token'],
      GW_API_TOKENS: `ann:${marker['caller’s token']}`,
      GW_DRAIN_DELAY: '0s',
      ...(databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl }),
      ...(cache === undefined ? {} : { REDIS_URL: cache.url }),
    })
    closers.push(() => {
      server.process.kill('SIGKILL')
      return server.exited
    })
    expect(server.process.exitCode, server.errors()).toBe(null)
    const answers: string[] = []
    const ask = async (path: string, init: RequestInit = {}) => {
      const answer = await fetch(`${server.url}${path}`, {
        ...init,
        headers: {
          authorization: `Bearer ${marker['caller’s token']}`,
          cookie: `session=${marker['cookie']}`,
          'proxy-authorization': `Basic ${marker['proxy-authorization']}`,
          'x-api-key': marker['x-api-key'],
          'content-type': 'application/json',
          ...init.headers,
        },
      })
      const fields = [...answer.headers].filter(([name]) => name !== 'set-cookie')
      answers.push(`${answer.status} ${JSON.stringify(fields)} ${await answer.text()}`)
      return answer.status
    }
    const post = (path: string, body = '{"a":1}', key?: string) =>
      ask(path, { method: 'POST', body, headers: key === undefined ? {} : { 'idempotency-key': key } })
    const query = `token=${marker['query token']}&api_key=${marker['query api key']}&page=2`

    expect(await ask('/api/fails', { headers: { authorization: `Bearer ${marker['authorization']}` } })).toBe(401)
    for (const key of ['k1', 'k1', 'k2']) expect(await post(`/api/kept?${query}`, '{"a":1}', key)).toBe(200)
    expect(await post('/api/plain', `{"password":"${marker['malformed body']}`)).toBe(400)
    expect(await post('/api/plain', `{"password":"${marker['malformed body']}"}`)).toBe(200)
    expect(await post(`/api/proxied?${query}`, `{"password":"${marker['password of a proxied body']}"}`)).toBe(201)
    for (const key of ['k3', 'k3']) expect(await post(`/api/proxied-kept?${query}`, '{"a":1}', key)).toBe(201)
    expect(await ask(`/api/away?${query}`)).toBe(502)
    expect(await ask(`/api/fails?${query}`)).toBe(500)
    expect(await ask(`/api/nothing?${query}`)).toBe(404)
    for (const path of ['/api/fails-kept', '/api/step-fails'])
      expect(await post(`${path}?${query}`, '{}', path)).toBeGreaterThan(199)
    const asked = async (path: string, token = marker['operator’s token']) => {
      const answer = await fetch(`${server.adminUrl}${path}`, { headers: { authorization: `Bearer ${token}` } })
      const text = await answer.text()
      answers.push(`${answer.status} ${JSON.stringify([...answer.headers])} ${text}`)
      return { status: answer.status, text }
    }
    expect((await asked('/admin/requests', marker['wrong operator’s token'])).status).toBe(401)
    await expect
      .poll(async () => (await asked('/admin/requests?status=failed')).text.match(/"status":"failed"/g)?.length, {
        timeout: 60_000,
      })
      .toBe(2)
    const { requests } = JSON.parse((await asked('/admin/requests')).text) as { requests: { id: string }[] }
    expect(requests.length).toBeGreaterThan(4)
    for (const { id } of requests) expect((await asked(`/admin/requests/${id}`)).status).toBe(200)
    for (const path of [
      '/metrics',
      '/admin/audit-trail?limit=1000',
      '/admin/system',
      '/admin/storage',
      '/admin/connection-pools',
      '/admin/circuit-breakers',
      '/openapi.json',
      '/',
    ])
      await asked(path)
    for (const path of ['/health', '/health/ready', '/health/circuit-breakers', '/health/connection-pool'])
      await ask(path)
    expect(heard).toBeGreaterThan(1)
    // Everything as it is while it runs, and as it is left behind.
    const kept = async () => {
      const all: [string, Buffer][] = []
      for (const entry of readdirSync(dataDir, { recursive: true, withFileTypes: true }))
        if (entry.isFile())
          all.push([join(entry.parentPath, entry.name), readFileSync(join(entry.parentPath, entry.name))])
      if (databaseUrl !== undefined) {
        const dump = await promisify(execFile)(findProgram('pg_dump')!, ['--inserts', databaseUrl], { maxBuffer: 1e8 })
        expect(dump.stdout).toContain('INSERT INTO')
        all.push(['pg_dump', Buffer.from(dump.stdout)])
        const bytea = [...dump.stdout.matchAll(/'\\x([0-9a-f]{16,})'/g)].map(([, hex]) => Buffer.from(hex!, 'hex'))
        for (const each of bytea) all.push(['a bytea of pg_dump', each])
      }
      if (cache !== undefined) {
        const names = (await cache.command('KEYS', '*')) as unknown[]
        expect(names.length).toBeGreaterThan(0)
        for (const name of names.map(String))
          for (const how of [
            ['DUMP', name],
            ['HGETALL', name],
            ['GET', name],
          ] as const) {
            const value = await cache.command(...how).catch(() => undefined)
            all.push([`redis ${name}`, Buffer.from(`${name} ${JSON.stringify(value)}`)])
          }
      }
      return all
    }
    const running = await kept()
    server.process.kill('SIGTERM')
    expect(await server.exited).toEqual({ code: 0, signal: null })
    const left = await kept()
    const lines = server
      .output()
      .split('\n')
      .filter((line) => line.startsWith('{'))
    expect(lines.length).toBeGreaterThan(10)
    for (const line of lines) JSON.parse(line)

    const found: string[] = []
    const everything: [string, Buffer][] = [
      ...running,
      ...left,
      ...answers.map((answer): [string, Buffer] => ['an answer', Buffer.from(answer)]),
      ['stdout', Buffer.from(server.output())],
      ['stderr', Buffer.from(server.errors())],
      ['the end of a start', Buffer.from(refusals.join('\n'))],
    ]
    for (const [where, bytes] of everything)
      for (const reading of readings(bytes))
        for (const place of places)
          for (const spelling of spellings(marker[place])) {
            const at = reading.indexOf(spelling)
            if (at >= 0)
              found.push(`${place} in ${where}: …${reading.subarray(Math.max(0, at - 80), at + 50).toString('latin1')}`)
          }
    expect([...new Set(found)], [...new Set(found)].slice(0, 12).join('\n\n')).toEqual([])
  },
)
