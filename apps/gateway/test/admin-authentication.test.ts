import { connect } from 'node:net'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { Authentication, permission } from '../src/admin/authentication.ts'
import { LoginThrottle } from '../src/admin/login-throttle.ts'
import { Sessions } from '../src/admin/sessions.ts'
import type { AdminEnv } from '../src/admin/visitor.ts'
import { adminOf, operateToken, readToken } from './admin-listener.ts'

/** What comes back for bytes that are sent as they are. */
function raw(url: string, text: string): Promise<{ readonly status: number; readonly text: string }> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(text))
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk.toString()
    })
    socket.on('end', () => resolve({ status: Number(answer.slice(9, 12)), text: answer }))
    socket.on('error', reject)
  })
}

function head(url: string, method: string, path: string, fields: readonly string[]): string {
  return `${[`${method} ${path} HTTP/1.1`, `Host: ${new URL(url).host}`, 'Connection: close', ...fields].join('\r\n')}\r\n\r\n`
}

/** Every operation of the document, with its parameters filled in. */
async function operationsOf(ask: (path: string) => Promise<Response>): Promise<(readonly [string, string])[]> {
  const { paths } = (await (await ask('/openapi.json')).json()) as { paths: Record<string, Record<string, unknown>> }
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations)
      .filter((name) => name !== 'parameters')
      .map(
        (method) => [method.toUpperCase(), path.replaceAll('{action}', 'cancel').replaceAll(/\{\w+\}/g, 'x')] as const,
      ),
  )
}

test('gateway G10: each admin path with no, an empty, a wrong, a duplicate and an over-long token answers 400, 401, 403 or 404 only', async () => {
  const { url, ask, gateway } = await adminOf()
  const forms: Record<string, readonly string[]> = {
    none: [],
    empty: ['Authorization:'],
    'empty bearer': ['Authorization: Bearer '],
    wrong: [`Authorization: Bearer ${'x'.repeat(40)}`],
    'of another scheme': ['Authorization: Basic YWRtaW46YWRtaW4='],
    duplicate: [`Authorization: Bearer ${operateToken}`, `Authorization: Bearer ${operateToken}`],
    'over-long': [`Authorization: Bearer ${'y'.repeat(8_000)}`],
    'a wrong session': ['Cookie: gw_admin=nonsense'],
  }
  const before = (await gateway.events.query()).events.length
  const operations = [...(await operationsOf(ask)), ['GET', '/'], ['GET', '/admin/nothing']] as const
  expect(operations.length).toBeGreaterThan(35)
  for (const [form, fields] of Object.entries(forms)) {
    const answers = await Promise.all(
      operations.map(
        async ([method, path]) => [method, path, await raw(url, head(url, method, path, fields))] as const,
      ),
    )
    for (const [method, path, { status, text }] of answers) {
      expect([400, 401, 403, 404], `${form}: ${method} ${path}`).toContain(status)
      expect(text.toLowerCase(), `${form}: ${method} ${path}`).toContain('cache-control: no-store')
      if (status === 401) expect(text.toLowerCase()).toContain('www-authenticate: bearer')
    }
  }
  // The right token is still listened to, and nothing was done.
  expect((await ask('/admin/system')).status).toBe(200)
  expect((await gateway.events.query()).events.length).toBe(before)
})

test('gateway G10: the read token looks at everything and changes nothing', async () => {
  const { ask, gateway } = await adminOf()
  const before = (await gateway.events.query()).events.length
  for (const [method, path] of await operationsOf(ask)) {
    const response = await ask(path, { method, token: readToken, signal: AbortSignal.timeout(5_000) })
    const look = method === 'GET' || path === '/admin/events/verify'
    if (look) expect([200, 400, 403, 404], `${method} ${path}`).toContain(response.status)
    else expect([response.status, (await response.json()).code], `${method} ${path}`).toEqual([403, 'read_only'])
    await response.body?.cancel().catch(() => {})
  }
  expect((await gateway.events.query()).events.length).toBe(before)
})

test('gateway G10: ten wrong tokens in a minute, or one ten times, are 429 with Retry-After, for the right token too', async () => {
  const { ask } = await adminOf()
  const statuses: number[] = []
  for (let i = 0; i < 12; i++) statuses.push((await ask('/admin/system', { token: `wrong-${'x'.repeat(30)}` })).status)
  expect(statuses).toEqual([...new Array(10).fill(401), 429, 429])
  const refused = await ask('/admin/system')
  expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)])
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
})

test('gateway G10: the throttle forgets after a minute, keeps who is held, and neither grows nor frees anyone for more addresses', () => {
  let now = 0
  const throttle = new LoginThrottle(() => now)
  for (let i = 0; i < 10; i++) throttle.failed('10.0.0.1', '/a', `guess ${i}`)
  expect(throttle.waitMs('10.0.0.1')).toBe(60_000)
  expect(throttle.waitMs('10.0.0.2')).toBe(0)
  for (let i = 0; i < 30_000; i++) throttle.failed(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, '/a', 'one guess each')
  expect(throttle.size).toBeLessThanOrEqual(10_001)
  expect(throttle.waitMs('10.0.0.1')).toBe(60_000)
  // Further addresses share one count.
  expect(throttle.waitMs('192.0.2.77')).toBeGreaterThan(0)
  now = 60_000
  expect([throttle.waitMs('10.0.0.1'), throttle.waitMs('192.0.2.77')]).toEqual([0, 0])
})

test('gateway G10: one IPv6 network is one address, and IPv4 in IPv6 form is itself', () => {
  const throttle = new LoginThrottle(() => 0)
  for (let i = 0; i < 10; i++) throttle.failed(`2001:db8:0:1::${i}`, '/a', `guess ${i}`)
  expect(throttle.waitMs('2001:db8:0:1:ffff:ffff:ffff:ffff')).toBeGreaterThan(0)
  expect(throttle.waitMs('2001:db8:0:2::1')).toBe(0)
  for (let i = 0; i < 10; i++) throttle.failed('::ffff:10.0.0.9', '/a', `guess ${i}`)
  expect(throttle.waitMs('10.0.0.9')).toBeGreaterThan(0)
  expect(throttle.waitMs('::ffff:10.0.0.8')).toBe(0)
})

test('gateway G10: one wrong token at many paths is one guess, until there are two hundred of them', () => {
  const throttle = new LoginThrottle(() => 0)
  for (let i = 0; i < 199; i++) throttle.failed('10.0.0.1', `/path/${i}`, 'the same')
  expect(throttle.waitMs('10.0.0.1')).toBe(0)
  throttle.failed('10.0.0.1', '/path/200', 'the same')
  expect(throttle.waitMs('10.0.0.1')).toBeGreaterThan(0)
})

test('gateway G10: a session is made for a token, has its role, and ends by time, by log-out and with its place', async () => {
  let now = 0
  const sessions = new Sessions(() => now)
  const authentication = new Authentication(
    { token: operateToken, readToken, loopback: true },
    { sessions, throttle: new LoginThrottle(() => now) },
  )
  const app = new Hono<AdminEnv>()
  app.use(authentication.origin())
  app.post('/login', async (c) => {
    const began = authentication.logIn(c, await c.req.text())
    return c.json(began ?? { wrong: true })
  })
  app.use(authentication.visitor())
  app.use(permission())
  app.all('/do', (c) => c.json({ role: c.var.role, actor: c.var.actor }))
  const ask = (method: string, session: string, fields: Record<string, string> = {}) =>
    app.request('http://localhost/do', { method, headers: { cookie: `gw_admin=${session}`, ...fields } })
  const logIn = async (token: string) =>
    (await (await app.request('http://localhost/login', { method: 'POST', body: token })).json()) as {
      session: string
      wrong?: boolean
      wait?: number
    }

  const operator = await logIn(operateToken)
  const reader = await logIn(readToken)
  expect(operator.session).toMatch(/^[\w-]{43}$/)
  expect(await (await ask('GET', operator.session)).json()).toEqual({ role: 'operate', actor: 'admin@unknown' })
  expect(await (await ask('GET', reader.session)).json()).toMatchObject({ role: 'read' })
  const here = { origin: 'http://localhost' }
  expect((await ask('POST', reader.session, here)).status).toBe(403)
  expect((await ask('POST', operator.session, here)).status).toBe(200)
  expect((await ask('POST', operator.session, { 'sec-fetch-site': 'same-origin' })).status).toBe(200)
  for (const elsewhere of [
    {},
    { origin: 'http://evil.example' },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'same-site' },
    { origin: 'http://localhost', 'sec-fetch-site': 'cross-site' },
  ] as Record<string, string>[])
    expect([(await ask('POST', operator.session, elsewhere)).status, elsewhere]).toEqual([403, elsewhere])
  expect(await logIn('wrong')).toEqual({ wrong: true })
  for (let i = 0; i < 10; i++) await logIn('wrong')
  expect(await logIn(operateToken)).toEqual({ wait: 60_000 })

  sessions.end(reader.session)
  expect((await ask('GET', reader.session)).status).toBe(401)
  now = 12 * 3_600_000
  expect((await ask('GET', operator.session)).status).toBe(200)
  now += 12 * 3_600_000 + 1
  expect((await ask('GET', operator.session)).status).toBe(401)
  const first = sessions.begin('operate')
  for (let i = 0; i < 1_000; i++) sessions.begin('read')
  expect(sessions.find(first)).toBeUndefined()
})

test('gateway G10: a loopback listener is called by its own names only, and by those that the options allow', async () => {
  const { url } = await adminOf({ admin: { port: 0, token: operateToken, allowedHosts: ['admin.example'] } })
  const asked = async (host: string, fields: readonly string[] = []) =>
    (
      await raw(
        url,
        `${['GET /admin/system HTTP/1.1', `Host: ${host}`, 'Connection: close', `Authorization: Bearer ${operateToken}`, ...fields].join('\r\n')}\r\n\r\n`,
      )
    ).status
  const { port } = new URL(url)
  for (const host of [
    'localhost',
    `localhost:${port}`,
    `127.0.0.1:${port}`,
    '[::1]',
    'LOCALHOST',
    'admin.example',
    'admin.example:443',
  ])
    expect([host, await asked(host)]).toEqual([host, 200])
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'admin.example.evil',
  ])
    expect([host, await asked(host)]).toEqual([host, 403])
})

test('gateway G10: a change that another page sends is refused, though it brings the token', async () => {
  const { ask } = await adminOf()
  const path = '/admin/storage/collect'
  expect((await ask(path, { method: 'POST', headers: { origin: 'http://evil.example' } })).status).toBe(403)
  expect((await ask(path, { method: 'POST', headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403)
  expect((await ask(path, { method: 'POST' })).status).toBe(200)
})
