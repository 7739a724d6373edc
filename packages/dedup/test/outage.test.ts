import { describe, expect, test } from 'vitest'
import { DedupError, type DedupStore, memoryJournal } from '../src/index.ts'
import { memoryDedupStore } from '../src/stores/memory.ts'
import { sqliteCompletionJournal } from '../src/stores/sqlite.ts'
import { faulty } from './faulty-store.ts'
import {
  appOf,
  codeOfAnswer,
  counting,
  database,
  deduplicatorOf,
  gate,
  memoryOf,
  send,
  sqliteOf,
  ticking,
} from './fixture.ts'

function failing(options: Parameters<typeof counting>[0] = {}, more: Parameters<typeof counting>[2] = {}) {
  const { store, plan } = faulty(memoryOf())
  return { ...counting(options, undefined, { store, monotonic: () => performance.now(), ...more }), plan }
}

test('E1, P10: with the store down a keyed request is 503 and does not run; a keyless one passes', async () => {
  const { app, calls, plan } = failing()
  plan.fault = () => 'unavailable'
  const response = await send(app, 'k')
  expect(response.headers.get('retry-after')).toBe('1')
  expect(await codeOfAnswer(response)).toEqual([503, 'idempotency_store_unavailable'])
  expect(calls.n).toBe(0)
  expect((await send(app, undefined)).status).toBe(201)
  plan.fault = () => undefined
  expect((await send(app, 'k')).status).toBe(201)
  expect(calls.n).toBe(2)
})

test('E1: where the route lets requests pass, they run unprotected and each is told', async () => {
  const { app, calls, plan, told } = failing({ onStoreError: 'pass' })
  await send(app, 'warm')
  plan.fault = () => 'unavailable'
  for (let i = 0; i < 2; i++) expect((await send(app, 'k')).headers.get('idempotency-status')).toBe('bypassed')
  expect([calls.n, told().filter((type) => type === 'fail_open').length]).toEqual([3, 2])
})

test('E1: what a principal resolver or a comparison throws is not an outage: it is told, and runs nothing', async () => {
  const broken = () => {
    throw new Error('not signed in')
  }
  for (const own of [{ principal: broken }, { tenant: broken }, { compare: broken }]) {
    const { app, calls, told } = failing({ ...own, onStoreError: 'pass' })
    app.onError((error, c) => c.text(error.message, 401))
    const answer = await send(app, 'k')
    expect([answer.status, await answer.text(), calls.n, told()]).toEqual([401, 'not signed in', 0, []])
  }
})

test('E1: a store that could not be opened is opened by the next request', async () => {
  const { app, plan } = failing()
  plan.fault = (call) => (call === 'open' ? 'unavailable' : undefined)
  expect((await send(app, 'k')).status).toBe(503)
  plan.fault = () => undefined
  expect((await send(app, 'k')).status).toBe(201)
})

test('E2: a claim whose answer was lost is asked for again with its own token, and is held', async () => {
  const { app, calls, plan } = failing()
  let lost = 0
  plan.fault = (call) => (call === 'tryClaim' && lost++ === 0 ? 'lost_answer' : undefined)
  expect((await send(app, 'k')).status).toBe(201)
  expect((await send(app, 'k')).headers.get('idempotent-replayed')).toBe('true')
  expect([calls.n, plan.fired]).toEqual([1, 1])
})

test('E2: a claim that stays ambiguous runs nothing, and its key is freed when the store is back', async () => {
  const { app, calls, plan } = failing()
  plan.fault = (call) => (call === 'tryClaim' ? 'lost_answer' : call === 'release' ? 'unavailable' : undefined)
  expect((await send(app, 'k')).status).toBe(503)
  expect(calls.n).toBe(0)
  plan.fault = () => undefined
  await expect.poll(async () => (await send(app, 'k')).status, { timeout: 3_000 }).toBe(201)
  expect(calls.n).toBe(1)
})

test('E2: a claim that was not answered until the deadline is not asked for again while its client waits', async () => {
  const clock = { ms: 1 }
  let asked = 0
  const store: DedupStore = {
    ...memoryOf(clock),
    async tryClaim() {
      asked++
      clock.ms += 5_000
      throw new DedupError('unknown', 'no answer')
    },
  }
  const app = appOf(deduplicatorOf(store, clock), (c) => c.text('x'))
  expect((await send(app, 'k')).status).toBe(503)
  expect(asked).toBe(1)
})

test("E1: a full store, and a secret that is not the stored keys', are told also where requests pass without the store", async () => {
  const { opened, open } = gate()
  const full = memoryDedupStore({ maxEntries: 1 })
  const { app, calls } = counting(
    { onStoreError: 'pass' },
    async (_, c) => {
      await opened
      return c.text('x')
    },
    { store: full },
  )
  const first = send(app, 'k')
  await expect.poll(() => calls.n).toBe(1)
  expect(await codeOfAnswer(await send(app, 'l'))).toEqual([503, 'idempotency_store_unavailable'])
  open()
  await first
  const other = counting({ onStoreError: 'pass' }, undefined, { store: full, secret: new Uint8Array(32) })
  other.app.onError((error, c) => c.text((error as { code?: string }).code ?? '', 500))
  expect(await (await send(other.app, 'm')).text()).toBe('secret_mismatch')
  expect([calls.n, other.calls.n]).toEqual([1, 0])
})

test('C1: a key that could not be freed is freed when the store is back', async () => {
  const { store, plan } = faulty(memoryOf())
  const { app, calls } = counting({}, (n, c) => c.json({ n }, n === 1 ? 503 : 201), { store })
  plan.fault = (call) => (call === 'release' ? 'unavailable' : undefined)
  expect((await send(app, 'k')).status).toBe(503)
  plan.fault = () => undefined
  await expect.poll(async () => (await send(app, 'k')).status, { timeout: 3_000 }).toBe(201)
  expect(calls.n).toBe(2)
})

describe('E3: a store that fails at the end', () => {
  test('the client gets the real answer, the key is never freed, and the answer is kept when the store is back', async () => {
    const { app, calls, plan, told } = failing()
    await send(app, 'warm')
    plan.fault = (call) => (call === 'complete' || call === 'extend' ? 'unavailable' : undefined)
    const first = await send(app, 'k')
    expect([first.status, first.headers.get('idempotency-status'), await first.json()]).toEqual([
      201,
      'unstored',
      { n: 2 },
    ])
    expect((await send(app, 'k')).status).toBe(409)
    plan.fault = () => undefined
    await expect.poll(() => told(), { timeout: 3_000 }).toContain('stored_late')
    const replay = await send(app, 'k')
    expect([replay.headers.get('idempotent-replayed'), await replay.json()]).toEqual(['true', { n: 2 }])
    expect(calls.n).toBe(2)
  })

  test('its key stays held by its owner, however long that takes', async () => {
    const clock = { ms: 1 }
    const { store, plan } = faulty(memoryOf(clock))
    const { timers, tick } = ticking()
    let calls = 0
    const respond = (c: Parameters<Parameters<typeof appOf>[1]>[0]) => c.json({ calls: ++calls })
    const [one, two] = [deduplicatorOf(store, clock, { timers }), deduplicatorOf(store, clock)]
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    expect((await send(appOf(one, respond), 'k')).headers.get('idempotency-status')).toBe('unstored')
    for (let i = 0; i < 10; i++) {
      clock.ms += 10_000
      await tick()
    }
    expect((await send(appOf(two, respond, { onUnknown: 'execute' }), 'k')).status).toBe(409)
    expect(calls).toBe(1)
  })

  test('an answer that was kept although its acknowledgement was lost is replayed', async () => {
    const { app, calls, plan, told } = failing()
    plan.fault = (call) => (call === 'complete' && plan.fired === 0 ? 'lost_answer' : undefined)
    expect((await send(app, 'k')).headers.get('idempotency-status')).toBe('unstored')
    await expect.poll(() => told(), { timeout: 3_000 }).toContain('stored_late')
    expect((await send(app, 'k')).headers.get('idempotent-replayed')).toBe('true')
    expect(calls.n).toBe(1)
  })

  test('a journal that fails as well costs the answer its keeping, not its client: the claim is let go, and lapses', async () => {
    const clock = { ms: 1 }
    const { store, plan } = faulty(memoryOf(clock))
    const journal = { ...memoryJournal(), add: () => Promise.reject(new Error('no space left')) }
    const deduplicator = deduplicatorOf(store, clock, { journal })
    let calls = 0
    const app = appOf(deduplicator, (c) => c.json({ calls: ++calls }))
    await send(app, 'warm')
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    const first = await send(app, 'k')
    expect([first.status, first.headers.get('idempotency-status')]).toEqual([200, 'unstored'])
    expect(deduplicator.held).toBe(0)
    clock.ms += 30_001
    expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
    expect(calls).toBe(2)
  })

  test('a full journal refuses what is new: no claim is held that nobody will settle', async () => {
    const { store, plan } = faulty(memoryOf())
    const journal = memoryJournal({ maxEntries: 1 })
    const deduplicator = deduplicatorOf(store, { ms: 1 }, { journal })
    const app = appOf(deduplicator, (c) => c.text('x'))
    await send(app, 'warm')
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    for (const key of ['first', 'second'])
      expect((await send(app, key)).headers.get('idempotency-status')).toBe('unstored')
    expect([journal.entries(), deduplicator.held]).toMatchObject([{ length: 1 }, 1])
  })

  test('an answer that the store never takes does not keep those behind it waiting', async () => {
    const { store, plan } = faulty(memoryOf())
    const journal = memoryJournal()
    let refused = ''
    const picky: DedupStore = {
      ...store,
      complete(link, ...rest) {
        if (link.key === refused) throw new Error('too large')
        return store.complete(link, ...rest)
      },
    }
    const app = appOf(deduplicatorOf(picky, undefined, { journal }), (c) => c.text('x'))
    await send(app, 'warm')
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    await send(app, 'first')
    await send(app, 'second')
    const [first] = (await journal.entries()) as readonly { readonly link: { readonly key: string } }[]
    refused = first!.link.key
    plan.fault = () => undefined
    await expect.poll(() => journal.entries(), { timeout: 3_000 }).toHaveLength(1)
    expect((await send(app, 'second')).headers.get('idempotent-replayed')).toBe('true')
    refused = ''
    await expect.poll(() => journal.entries(), { timeout: 3_000 }).toHaveLength(0)
  })

  test('after its window it is given up', async () => {
    const clock = { ms: 0 }
    const journal = memoryJournal()
    const { store, plan } = faulty(memoryOf(clock))
    const deduplicator = deduplicatorOf(store, clock, { journal, windowMs: 60_000 })
    const app = appOf(deduplicator, (c) => c.text('x'))
    await send(app, 'warm')
    plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    await send(app, 'k')
    expect(journal.entries()).toHaveLength(1)
    clock.ms += 60_000
    await expect.poll(() => journal.entries(), { timeout: 3_000 }).toHaveLength(0)
  })

  test('a journal on disk carries the answer over a restart of the process', async () => {
    const db = await database()
    const shared = memoryOf()
    const journal = sqliteCompletionJournal({ db })
    const first = faulty(shared)
    const one = deduplicatorOf(first.store, undefined, { journal })
    let calls = 0
    const respond = (c: Parameters<Parameters<typeof appOf>[1]>[0]) => c.json({ calls: ++calls }, 200, { etag: '"1"' })
    await send(appOf(one, respond), 'warm')
    first.plan.fault = (call) => (call === 'complete' ? 'unavailable' : undefined)
    await send(appOf(one, respond), 'k')
    await one.stop()
    const two = deduplicatorOf(shared, undefined, { journal: sqliteCompletionJournal({ db }) })
    await two.start()
    const app = appOf(two, respond)
    await expect
      .poll(async () => (await send(app, 'k')).headers.get('idempotent-replayed'), { timeout: 3_000 })
      .toBe('true')
    expect((await send(app, 'k')).headers.get('etag')).toBe('"1"')
    await expect.poll(() => journal.entries()).toEqual([])
    expect(calls).toBe(2)
  })
})

test('E4: a corrupt record is an alarm and counts as unknown, never as absent; nothing runs', async () => {
  const db = await database()
  const store = sqliteOf(db)
  const { app, calls, told } = counting({ onUnknown: 'execute' }, undefined, { store, cache: false })
  await send(app, 'k')
  const corrupting = { procedure: new URL('./corrupt.ts#headers', import.meta.url).href, args: {} }
  await db.write(corrupting)
  expect(await codeOfAnswer(await send(app, 'k'))).toEqual([409, 'idempotency_outcome_unknown'])
  expect([calls.n, told().at(-2)]).toEqual([1, 'corrupt'])
})

test('the n-th call to the store fails, for each n: nobody runs twice, and the key is settled in the end', async () => {
  for (const fault of ['unavailable', 'lost_answer'] as const) {
    for (let n = 1; n <= 8; n++) {
      const { app, calls, plan, told } = failing()
      await send(app, 'warm')
      let seen = 0
      plan.fault = () => (++seen === n ? fault : undefined)
      const statuses: number[] = []
      for (let i = 0; i < 4; i++) statuses.push((await send(app, 'k')).status)
      await expect.poll(async () => (await send(app, 'k')).status, { timeout: 3_000 }).toBe(201)
      expect(statuses.every((status) => [201, 409, 503].includes(status))).toBe(true)
      expect([fault, n, calls.n, told().filter((type) => type === 'claimed').length]).toEqual([fault, n, 2, 2])
    }
  }
})
