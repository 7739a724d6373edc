import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { parseKey } from '../src/idempotency-key.ts'
import { dedup } from '../src/index.ts'
import { codeOfAnswer, counting, database, deduplicatorOf, memoryOf, send, sqliteOf } from './fixture.ts'

test('K1: the quoted form with parameters, and the bare form, are one key', async () => {
  const { app, calls } = counting()
  for (const key of ['"k"', 'k', '"k";x=1', ' k ', '"k"; x="a,b"'])
    expect(await (await send(app, key)).json()).toEqual({ n: 1 })
  expect(calls.n).toBe(1)
  expect(parseKey('"a\\"b\\\\c"')).toEqual({ key: 'a"b\\c' })
})

test('K1: strict syntax takes the quoted form only', async () => {
  const { app } = counting({ keySyntax: 'strict' })
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([400, 'idempotency_key_invalid'])
  expect((await send(app, '"k"')).status).toBe(201)
})

test('K2: empty, spaced, unended, too long and non-ASCII keys are 400', async () => {
  const { app, calls } = counting()
  for (const key of ['""', '"a b"', '"open', 'x'.repeat(256), '"\\n"', '"é"', 'a b', '"a"b', `"${'x'.repeat(256)}"`])
    expect([key, ...(await codeOfAnswer(await send(app, key)))]).toEqual([key, 400, 'idempotency_key_invalid'])
  expect(calls.n).toBe(0)
  expect((await send(app, 'x'.repeat(255))).status).toBe(201)
})

test('K3: more than one key is 400, however they were joined; a comma within quotes is part of the key', async () => {
  const { app } = counting()
  for (const key of ['a, b', '"a", "b"', 'a,b', '"a",b'])
    expect(await codeOfAnswer(await send(app, key))).toEqual([400, 'idempotency_key_invalid'])
  expect((await send(app, '"a,b"')).status).toBe(201)
})

test('K4: a missing key is 400 with a link where it is required', async () => {
  const { app, calls } = counting({ missing: 'required', documentation: 'https://example.test/keys' })
  const response = await send(app, undefined)
  expect(response.headers.get('link')).toBe('<https://example.test/keys>; rel="describedby"')
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  expect(await codeOfAnswer(response)).toEqual([400, 'idempotency_key_missing'])
  expect(calls.n).toBe(0)
})

test('K5: a missing key passes where it is optional, and the store is not touched', async () => {
  const store = memoryOf()
  const touched: string[] = []
  const watched = new Proxy(store, {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, receiver)
      return typeof value === 'function'
        ? (...args: unknown[]) => {
            touched.push(String(name))
            return value.apply(target, args)
          }
        : value
    },
  })
  const { app, calls } = counting({}, undefined, { store: watched })
  await send(app, undefined)
  await send(app, undefined)
  expect([calls.n, touched]).toEqual([2, []])
})

test('K6: in fingerprint mode an authenticated repeat is known by its content for its window; anonymous ones never', async () => {
  const { app, calls, clock } = counting({ missing: 'fingerprint' })
  expect((await send(app, undefined)).headers.get('idempotency-status')).toBe('fingerprint')
  expect((await send(app, undefined)).headers.get('idempotent-replayed')).toBe('true')
  expect(calls.n).toBe(1)
  clock.ms += 10_001
  await send(app, undefined)
  expect(calls.n).toBe(2)
  for (let i = 0; i < 2; i++) await app.request('/pay/1', { method: 'POST', body: 'x' })
  expect(calls.n).toBe(4)
  for (let i = 0; i < 2; i++) await send(app, undefined, { headers: { 'x-user': '' } })
  expect(calls.n).toBe(6)
})

test('K6: two intended equal purchases are possible: distinct keys win over equal content', async () => {
  const { app, calls } = counting({ missing: 'fingerprint' })
  for (const key of [undefined, 'one', 'two', undefined, 'one', 'two']) await send(app, key)
  expect(calls.n).toBe(3)
})

test('M1: GET is never deduplicated and says that it ignored the key', async () => {
  const { app, calls } = counting()
  for (let i = 0; i < 2; i++)
    expect((await send(app, 'k', { method: 'GET' })).headers.get('idempotency-status')).toBe('ignored')
  expect(calls.n).toBe(2)
})

test('M2: PUT and DELETE are deduplicated where the route says so, PATCH by default; GET cannot be chosen', async () => {
  const byDefault = counting()
  for (const method of ['PATCH', 'PATCH', 'PUT', 'PUT', 'DELETE', 'DELETE'])
    await send(byDefault.app, method, { method })
  expect(byDefault.calls.n).toBe(5)
  const chosen = counting({ methods: ['PUT', 'DELETE'] })
  for (const method of ['PUT', 'PUT', 'DELETE', 'DELETE']) await send(chosen.app, method, { method })
  expect(chosen.calls.n).toBe(2)
  expect(() => counting({ methods: ['GET' as 'PUT'] })).toThrow('`methods`')
})

test('S1: crafted scopes do not collide, and neither users nor tenants share keys', async () => {
  const { app, calls } = counting({ tenant: (c) => c.req.header('x-tenant') })
  await send(app, 'c', { headers: { 'x-user': 'a:b' } })
  await send(app, 'b:c', { headers: { 'x-user': 'a' } })
  await send(app, 'c', { headers: { 'x-user': 'b', 'x-tenant': 'a' } })
  await send(app, 'c', { headers: { 'x-user': '', 'x-tenant': 'ab' } })
  expect(calls.n).toBe(4)
})

test('S1: no principal is a construction error unless the scope is global, which is written out', () => {
  const deduplicator = deduplicatorOf(memoryOf())
  expect(() => dedup({ deduplicator })).toThrow('`principal`')
  expect(() => dedup({ deduplicator, scope: 'global' })).not.toThrow()
  expect(() => dedup({ deduplicator, principal: 'ann' as never })).toThrow('`principal`')
  expect(() => dedup({ deduplicator, principal: () => 'ann', scope: 'tenant' as never })).toThrow('`scope`')
})

test('S1: in global scope every client shares one space of keys', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono()
  let calls = 0
  app.post('/pay/:id', dedup({ deduplicator, scope: 'global' }), (c) => c.json({ n: ++calls }))
  await send(app, 'k')
  expect((await send(app, 'k', { headers: { 'x-user': 'bob' } })).headers.get('idempotent-replayed')).toBe('true')
})

test('S1: one key on two routes is two keys, also under a middleware for all of them', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono()
  app.use('*', dedup({ deduplicator, principal: () => 'ann' }))
  app.post('/a', (c) => c.text('a'))
  app.post('/b', (c) => c.text('b'))
  expect(await (await send(app, 'k', { path: '/a' })).text()).toBe('a')
  expect(await (await send(app, 'k', { path: '/b' })).text()).toBe('b')
  expect((await send(app, 'k', { path: '/b' })).headers.get('idempotent-replayed')).toBe('true')
})

test('S1: another secret than the stored keys were made with is refused', async () => {
  const db = await database()
  const { app } = counting({}, undefined, { store: sqliteOf(db) })
  await send(app, 'k')
  const other = deduplicatorOf(sqliteOf(db), { ms: 1 }, { secret: new Uint8Array(32) })
  await expect(other.start()).rejects.toMatchObject({ code: 'secret_mismatch' })
})

test('S1: keys are stored under an HMAC with the secret, never as they came', async () => {
  const db = await database()
  const { app } = counting({}, undefined, { store: sqliteOf(db) })
  await send(app, 'very-recognisable', { body: '{"card":"4242424242424242"}' })
  const row = JSON.stringify(db.reader.all('SELECT * FROM gw_key'))
  expect(row).not.toContain('very-recognisable')
  expect(row).not.toContain('4242')
  expect(row).not.toContain('ann')
})

test('S2: authentication before dedup is asked on every replay: a revoked token gets 401 and no body', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const valid = new Set(['ann'])
  const app = new Hono()
  let calls = 0
  app.post(
    '/pay/:id',
    async (c, next) => (valid.has(c.req.header('x-user') ?? '') ? next() : c.text('no', 401)),
    dedup({ deduplicator, principal: (c) => c.req.header('x-user') }),
    (c) => c.json({ secret: ++calls }),
  )
  await send(app, 'k')
  valid.clear()
  const response = await send(app, 'k')
  expect([response.status, await response.text(), calls]).toEqual([401, 'no', 1])
})

test('S2: a replay is answered before what follows dedup, such as a rate limit', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono()
  let quota = 1
  app.post(
    '/pay/:id',
    dedup({ deduplicator, principal: () => 'ann' }),
    async (c, next) => (quota-- > 0 ? next() : c.text('slow down', 429)),
    (c) => c.json({ ok: true }),
  )
  for (let i = 0; i < 3; i++) expect((await send(app, 'k')).status).toBe(200)
})

test('S3: a record of another principal is never replayed, even under the very key', async () => {
  const { app, deduplicator, store } = counting()
  await send(app, 'k')
  const scope = { principal: 'ann', method: 'POST', path: '/pay/:id' }
  const key = await deduplicator.storageKey(scope, 'k')
  const record = (await store.get(key))!
  const decision = await deduplicator.decide({ key, fingerprint: record.fingerprint, principalHash: 'another' })
  expect(decision.kind).toBe('mismatch')
})
