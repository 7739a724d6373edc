import { mkdirSync, readdirSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Hono } from 'hono'
import { hc } from 'hono/client'
import { expect, expectTypeOf, test } from 'vitest'
import { type DedupEnv, type DedupStore, dedup } from '../src/index.ts'
import { fileSpill } from '../src/node/file-spill.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'
import { runtimeTimers } from '../src/timers.ts'
import {
  appOf,
  codeOfAnswer,
  counting,
  deduplicatorOf,
  freshDirectory,
  gate,
  memoryOf,
  send,
  ticking,
} from './fixture.ts'

test('P1: twenty in flight at a cap of ten: none is dropped, and the excess gets 503', async () => {
  const { opened, open } = gate()
  const store = memoryDedupStore({ maxEntries: 10 })
  const { app, calls } = counting(
    {},
    async (n, c) => {
      await opened
      return c.json({ n })
    },
    { store },
  )
  const answers = Array.from({ length: 20 }, (_, i) => send(app, `k${i}`))
  await expect.poll(() => calls.n).toBe(10)
  open()
  const statuses = (await Promise.all(answers)).map(({ status }) => status)
  expect(statuses.filter((status) => status === 200)).toHaveLength(10)
  expect(statuses.filter((status) => status === 503)).toHaveLength(10)
})

test('P1: a thousand answers of 1 MiB stay under the byte cap, the oldest go first, and each loss is told', async () => {
  const store = memoryDedupStore({ maxBytes: 20_000_000 })
  const body = new Uint8Array(1_048_576)
  const { app, told, calls } = counting({}, () => new Response(body), { store, encryption: false, cache: false })
  for (let i = 0; i < 1_000; i++) await (await send(app, `k${i}`)).arrayBuffer()
  const evicted = told().filter((type) => type === 'evicted_early').length
  expect(evicted).toBeGreaterThan(970)
  expect((await send(app, 'k999')).headers.get('idempotent-replayed')).toBe('true')
  expect((await send(app, 'k0')).headers.get('idempotent-replayed')).toBeNull()
  expect(calls.n).toBe(1_001)
})

test('P1: a full store may refuse instead of dropping; an answer without room is kept without its body', async () => {
  const rejecting = memoryDedupStore({ maxEntries: 2, onFull: 'reject' })
  const { app, told } = counting({}, undefined, { store: rejecting })
  for (const key of ['a', 'b']) await send(app, key)
  expect(await codeOfAnswer(await send(app, 'c'))).toEqual([503, 'idempotency_store_unavailable'])
  expect((await send(app, 'a')).headers.get('idempotent-replayed')).toBe('true')
  expect(told()).not.toContain('evicted_early')
  const small = memoryDedupStore({ maxBytes: 1_000, onFull: 'reject' })
  const large = counting({}, () => new Response('x'.repeat(2_000)), { store: small, cache: false })
  await send(large.app, 'k')
  expect((await send(large.app, 'k')).status).toBe(409)
  expect(large.calls.n).toBe(1)
})

test('P1: an answer that is larger than the store is kept without its body, and drops nobody else', async () => {
  const store = memoryDedupStore({ maxBytes: 10_000 })
  const respond = (n: number) => new Response('x'.repeat(n === 4 ? 20_000 : 10))
  const { app, calls, told } = counting({}, respond, { store, cache: false })
  for (const key of ['a', 'b', 'c', 'large']) await send(app, key)
  expect(told()).not.toContain('evicted_early')
  for (const key of ['a', 'b', 'c']) expect((await send(app, key)).headers.get('idempotent-replayed')).toBe('true')
  expect(await codeOfAnswer(await send(app, 'large'))).toEqual([409, 'idempotency_response_unavailable'])
  expect(calls.n).toBe(4)
})

test('P2: a sweep goes on until nothing that is over is left, however much that is', async () => {
  const clock = { ms: 1 }
  const store = memoryOf(clock)
  let sweep = () => {}
  const timers = {
    ...runtimeTimers,
    setInterval(work: () => void, everyMs: number) {
      if (everyMs === 60_000) sweep = work
      return everyMs === 60_000 ? {} : runtimeTimers.setInterval(work, everyMs)
    },
  }
  await deduplicatorOf(store, clock, { timers }).start()
  for (let i = 0; i < 2_500; i++) {
    const claim = { key: `k${i}`, token: 't', fingerprint: '', principalHash: '', link: undefined, replaces: undefined }
    await store.tryClaim({ ...claim, leaseMs: 1, windowMs: 1 })
  }
  clock.ms += 10
  sweep()
  await expect.poll(() => (store.database as Map<string, unknown>).size).toBe(0)
})

test('P1: the answers in front of a store are bounded too', async () => {
  const { app, calls } = counting({}, undefined, { cache: { maxEntries: 2, maxBytes: 10_000 } })
  for (let i = 0; i < 50; i++) await send(app, `k${i}`)
  for (let i = 0; i < 50; i++) expect((await send(app, `k${i}`)).headers.get('idempotent-replayed')).toBe('true')
  expect(calls.n).toBe(50)
})

test('O1: each turn of a key is told once, with the storage key and never the client text', async () => {
  const { app, told, transitions } = counting()
  await send(app, 'recognisable')
  await send(app, 'recognisable')
  await send(app, 'recognisable', { body: '{}' })
  expect(told()).toEqual(['claimed', 'completed', 'replayed', 'mismatch'])
  expect(new Set(transitions.map(({ key }) => key)).size).toBe(1)
  expect(transitions.every(({ key }) => /^[0-9a-f]{64}$/.test(key))).toBe(true)
})

test('O1: an observer that throws changes nothing', async () => {
  const { app } = counting({}, undefined, {
    onTransition() {
      throw new Error('observer')
    },
  })
  expect((await send(app, 'k')).status).toBe(201)
  expect((await send(app, 'k')).headers.get('idempotent-replayed')).toBe('true')
})

test('making a middleware and a store does nothing: no timer, no secret, no token', () => {
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  appOf(deduplicatorOf(memoryOf()), (c) => c.text('x'))
  expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).toHaveLength(before)
})

test('stop ends every timer and subscription', async () => {
  const { timers, due } = ticking()
  const watching = new Set<unknown>()
  const store: DedupStore = {
    ...memoryOf(),
    async watch(listener) {
      watching.add(listener)
      return async () => void watching.delete(listener)
    },
  }
  const deduplicator = deduplicatorOf(store, { ms: 1 }, { timers })
  await deduplicator.start()
  await deduplicator.acquire({ key: 'k', fingerprint: '', principalHash: '' })
  expect([due.size, watching.size]).toEqual([2, 1])
  await deduplicator.stop()
  expect([due.size, watching.size]).toEqual([0, 0])
})

test('B2: files keep long bodies, private and whole; old ones are swept', async () => {
  const directory = join(freshDirectory(), 'spill')
  const spill = fileSpill({ directory })
  const { app } = counting({ maxResponseBytes: 100, spill }, () => new Response('z'.repeat(100_000)))
  await (await send(app, 'k')).text()
  expect(await (await send(app, 'k')).text()).toBe('z'.repeat(100_000))
  const [name] = await import('node:fs/promises').then(({ readdir }) => readdir(directory))
  expect([statSync(directory).mode & 0o777, statSync(join(directory, name!)).mode & 0o777]).toEqual([0o700, 0o600])
  expect(await spill.sweep(60_000)).toBe(0)
  utimesSync(join(directory, name!), 0, 0)
  expect(await spill.sweep(60_000)).toBe(1)
  await expect(spill.write('../../etc/x')).rejects.toMatchObject({ code: 'invalid_option' })
})

test('B2: a sweep of files leaves what is not a body alone, and goes past what was deleted meanwhile', async () => {
  const directory = freshDirectory()
  const spill = fileSpill({ directory })
  const old = ['0'.repeat(32), `${'1'.repeat(32)}.partial`]
  for (const name of [...old, 'notes.txt', 'f'.repeat(32)]) writeFileSync(join(directory, name), 'x')
  mkdirSync(join(directory, 'folder'))
  for (const name of [...old, 'notes.txt', 'folder']) utimesSync(join(directory, name), 0, 0)
  symlinkSync(join(directory, 'gone'), join(directory, '2'.repeat(32)))
  expect(await spill.sweep(60_000)).toBe(2)
  expect(readdirSync(directory).sort()).toEqual(['2'.repeat(32), 'f'.repeat(32), 'folder', 'notes.txt'])
})

test('typed clients see what handlers answer and every problem that a key can meet', async () => {
  const deduplicator = deduplicatorOf(memoryOf())
  const app = new Hono<DedupEnv>().post('/pay', dedup({ deduplicator, scope: 'global', missing: 'required' }), (c) => {
    expectTypeOf(c.var.idempotency!.fence).toEqualTypeOf<number>()
    return c.json({ paid: true }, 201)
  })
  const client = hc<typeof app>('http://localhost', { fetch: app.request as typeof fetch })
  const response = await client.pay.$post()
  expectTypeOf(response.status).toEqualTypeOf<201 | 400 | 409 | 413 | 422 | 503>()
  if (response.status === 400) {
    const body = await response.json()
    expectTypeOf(body.code).toEqualTypeOf<
      'idempotency_key_missing' | 'idempotency_key_invalid' | 'content_digest_invalid' | 'json_too_deep'
    >()
    expect(body.code).toBe('idempotency_key_missing')
  }
  expect(response.status).toBe(400)
})

test('3.5: hostile keys either are 400 or work and stay distinct', async () => {
  const { app, calls } = counting()
  const hostile = [
    '__proto__',
    'constructor',
    'toString',
    '../../etc/x',
    '/abs',
    'a\\b',
    '.',
    '..',
    'CON',
    'A',
    'a',
    '%00',
    '*',
    '{x}',
  ]
  for (const key of hostile) {
    const first = await send(app, key)
    expect(first.status).toBe(201)
    expect(await (await send(app, key)).text()).toBe(await first.text())
  }
  expect(calls.n).toBe(hostile.length)
})
