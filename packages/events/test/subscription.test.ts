import { afterEach, expect, test, vi } from 'vitest'
import { consume, EventStore, eventStream, memoryEventStore, subscribe } from '../src/index.ts'
import { sqliteEventStore } from '../src/stores/sqlite.ts'
import { closeDatabases, openTestDatabase } from './test-database.ts'

const stores: EventStore[] = []
afterEach(async () => {
  for (const events of stores.splice(0)) await events.stop()
  await closeDatabases()
})

function memory(): EventStore {
  const events = new EventStore({ store: memoryEventStore() })
  stores.push(events)
  return events
}

async function take(events: EventStore, count: number, options = {}): Promise<string[]> {
  const seen: string[] = []
  for await (const batch of subscribe(events, options)) {
    seen.push(...batch.events.map(({ position }) => position))
    if (seen.length >= count) return seen
  }
  return seen
}

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => String(from + i))

test('S1: from the start, from the end and after a position, with a signal when it has caught up', async () => {
  const events = memory()
  for (let i = 0; i < 5; i++) await events.append('a', { i })
  const batches = subscribe(events, { from: { after: '3' }, batch: 1 })
  const first = await batches.next()
  expect(first.value).toMatchObject({ scannedTo: '4', caughtUp: false })
  expect((await batches.next()).value).toMatchObject({ scannedTo: '5', caughtUp: true })
  await batches.return?.()
  expect(await take(events, 5)).toEqual(range(1, 6))
  const end = subscribe(events, { from: 'end' })
  expect((await end.next()).value).toMatchObject({ events: [], scannedTo: '5', caughtUp: true })
  await events.append('b', {})
  expect((await end.next()).value.events).toHaveLength(1)
  await end.return?.()
})

test('S1: "end" is where the log ended when the subscription was made, however late it is read', async () => {
  const events = memory()
  await events.append('a', {})
  const batches = subscribe(events, { from: 'end' })
  await new Promise((resolve) => setImmediate(resolve))
  await events.append('b', {})
  expect((await batches.next()).value.events.map(({ type }: { type: string }) => type)).toEqual(['b'])
  await batches.return?.()
})

test('S1: 1,000 joins while events are appended: no gap, no repeat, no reorder at the seam', async () => {
  const events = memory()
  let appending = true
  const writer = (async () => {
    while (appending) {
      await events.append('a', {})
      await new Promise((resolve) => setImmediate(resolve))
    }
  })()
  for (let join = 0; join < 1_000; join++) {
    const head = Number((await events.store.head()).position)
    const after = Math.max(0, head - 3)
    const seen = await take(events, 5, { from: { after: BigInt(after) }, batch: 1 + (join % 4) })
    expect(seen).toEqual(range(after + 1, after + 1 + seen.length))
  }
  appending = false
  await writer
})

test('S1: a sparse filter never moves past what was scanned, and what was scanned is not scanned again', async () => {
  const events = memory()
  for (let i = 0; i < 250; i++) await events.append(i % 100 === 0 ? 'rare' : 'common', {})
  const scans: [string, number][] = []
  for await (const batch of subscribe(events, { filter: { type: 'rare' }, batch: 2, live: false }))
    scans.push([batch.scannedTo, batch.events.length])
  expect(scans).toEqual([
    ['101', 2],
    ['250', 1],
  ])
})

test('S1: a subscriber that does not pull holds back no append, and nothing is read for it', async () => {
  const events = memory()
  const batches = subscribe(events, { batch: 10 })
  for (let i = 0; i < 500; i++) await events.append('a', {})
  expect((await batches.next()).value.events).toHaveLength(10)
  await batches.return?.()
})

test('S2: of two instances of one consumer, one works; when it stops, the other goes on where it was', async () => {
  const events = memory()
  const seen: string[] = []
  const start = (instance: string) =>
    consume(events, {
      name: 'mail',
      leaseMs: 60_000,
      handle: async ({ events: batch }) => {
        for (const { position } of batch) seen.push(`${instance}${position}`)
      },
    })
  const a = start('a')
  await events.append('x', {})
  await a.whenProcessed(1n)
  const b = start('b')
  await events.append('x', {})
  await a.whenProcessed(2n)
  expect([a.state, b.state]).toEqual(['working', 'waiting'])
  await a.stop()
  await events.append('x', {})
  await b.whenProcessed(3n)
  expect(seen).toEqual(['a1', 'a2', 'b3'])
  expect([a.state, b.state]).toEqual(['stopped', 'working'])
})

test('S2: an instance that lost its lease commits nothing more', async () => {
  const store = memoryEventStore()
  const slow = new EventStore({ store })
  const quick = new EventStore({ store })
  stores.push(slow, quick)
  let release: () => void = () => {}
  const blocked = new Promise<void>((resolve) => {
    release = resolve
  })
  let entered: () => void = () => {}
  const inside = new Promise<void>((resolve) => {
    entered = resolve
  })
  const effects: string[] = []
  const a = consume(slow, {
    name: 'n',
    leaseMs: 60_000,
    handle: async (_, commit) => {
      entered()
      await blocked
      await commit(() => {
        effects.push('a')
      })
    },
  })
  await slow.append('x', {})
  await inside
  const { value, version } = (await store.registers('consumer/n'))[0]!
  const unit = store.unit()
  unit.add(
    store.setRegister('consumer/n', JSON.stringify({ position: JSON.parse(value).position, owner: 'b' }), version),
  )
  await unit.commit()
  release()
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(JSON.parse((await store.registers('consumer/n'))[0]!.value)).toEqual({ position: '0', owner: 'b' })
  expect(a.state).toBe('waiting')
  expect(effects).toEqual(['a'])
})

test('S2: a dead instance is taken over when its register has not changed for a lease', async () => {
  const store = memoryEventStore()
  const events = new EventStore({ store })
  stores.push(events)
  await events.append('x', {})
  const unit = store.unit()
  unit.add(store.setRegister('consumer/n', JSON.stringify({ position: '0', owner: 'dead' }), 0))
  await unit.commit()
  const consumer = consume(events, { name: 'n', leaseMs: 50, handle: async () => {} })
  await consumer.whenProcessed(1n)
})

test('S2: a handler that throws gets its batch again; the error is told', async () => {
  const events = memory()
  let tries = 0
  const errors: unknown[] = []
  const consumer = consume(events, {
    name: 'n',
    onError: (error) => errors.push(error),
    handle: async () => {
      if (++tries < 3) throw new Error('not yet')
    },
  })
  await events.append('x', {})
  await consumer.whenProcessed('1')
  expect([tries, errors.length]).toEqual([3, 2])
})

test('S2: what a handler adds to its commit and the store refuses is told as that, and the batch comes again', async () => {
  const store = memoryEventStore()
  const events = new EventStore({ store })
  stores.push(events)
  const errors: unknown[] = []
  let tries = 0
  const consumer = consume(events, {
    name: 'n',
    onError: (error) => errors.push(error),
    handle: async (_, commit) => {
      const expected = tries++ === 0 ? 7 : 0
      await commit((unit) => unit.add(store.setRegister('mine', 'x', expected)))
    },
  })
  await events.append('x', {})
  await consumer.whenProcessed('1')
  expect(errors).toMatchObject([{ code: 'refused', reason: { conflict: 'register', name: 'mine' } }])
  expect(tries).toBe(2)
})

test('S1: options that cannot be right are refused by name', () => {
  const events = memory()
  for (const [name, value] of [
    ['batch', 0],
    ['batch', 1_001],
    ['pollMs', 0.5],
    ['from', 'middle'],
    ['since', 1],
  ] as const)
    expect(() => events.subscribe({ [name]: value } as never), name).toThrow(
      expect.objectContaining({ code: 'invalid_option', message: expect.stringContaining(name) }),
    )
  const [handle, apply] = [async () => {}, (n: number) => n]
  for (const wrong of [{ batch: 0 }, { pollMs: 2 ** 31 }, { leaseMs: 2 ** 31 }, { leaseMs: Number.NaN }]) {
    const refused = expect.objectContaining({ code: 'invalid_option', message: expect.stringContaining('Ms') })
    const reason = 'batch' in wrong ? expect.objectContaining({ code: 'invalid_option' }) : refused
    expect(() => consume(events, { name: 'n', handle, ...wrong })).toThrow(reason)
    expect(() => events.project({ name: 'n', initial: 0, apply, ...wrong })).toThrow(reason)
  }
  expect(() => consume(events, { name: 'n', handle, filter: { kind: 'a' } as never })).toThrow('kind')
  for (const wrong of [{ mode: 'sync' }, { onPoison: 'skip' }])
    expect(() => events.project({ name: 'n', initial: 0, apply, ...wrong } as never)).toThrow(Object.keys(wrong)[0])
  expect(() => eventStream(events, new Request('http://x'), { heartbeatMs: 2 ** 31 })).toThrow('heartbeatMs')
  expect(() => new EventStore({ store: memoryEventStore(), flushIntervalMs: 2 ** 31 })).toThrow('flushIntervalMs')
  for (const from of ['middle', { after: 'x' }, { before: '1' }, null] as never[])
    expect(() => consume(events, { name: 'n', from, handle: async () => {} })).toThrow(
      expect.objectContaining({ code: 'invalid_option' }),
    )
})

test('S2: a handler that keeps throwing is left alone for 50 ms, then for twice as long each time', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
  try {
    const events = memory()
    await events.append('x', {})
    let tries = 0
    const consumer = consume(events, {
      name: 'n',
      handle: async () => {
        tries++
        throw new Error('never')
      },
    })
    const triesAfter = async (ms: number) => {
      await vi.advanceTimersByTimeAsync(ms)
      return tries
    }
    expect(await triesAfter(0)).toBe(1)
    for (const [n, pauseMs] of [50, 100, 200, 400].entries())
      expect([await triesAfter(pauseMs - 1), await triesAfter(1)]).toEqual([n + 1, n + 2])
    await consumer.stop()
  } finally {
    vi.useRealTimers()
  }
})

test('S1: server-sent events carry position, type and data, and Last-Event-ID goes on exactly after it', async () => {
  const events = memory()
  for (let i = 0; i < 4; i++) await events.append(i % 2 === 0 ? 'even' : 'odd', { i })
  const request = new Request('http://x/events', { headers: { 'last-event-id': '2' } })
  const response = eventStream(events, request, { filter: { type: 'even' } })
  expect(response.headers.get('content-type')).toBe('text/event-stream')
  const reader = response.body!.getReader()
  const text = new TextDecoder().decode((await reader.read()).value)
  await reader.cancel()
  expect(text).toMatch(/^id: 3\nevent: even\ndata: \{.*"i":2.*\}\n\nid: 4\n\n: caught up\n\n$/)
  const wrong = new Request('http://x/', { headers: { 'last-event-id': 'x' } })
  expect(() => eventStream(events, wrong)).toThrow(expect.objectContaining({ code: 'invalid_option' }))
})

test('S1: the place of a consumer outlives the process, on SQLite', async () => {
  const db = await openTestDatabase()
  const positions: string[] = []
  const run = async () => {
    const events = new EventStore({ store: sqliteEventStore({ db }) })
    const consumer = consume(events, {
      name: 'n',
      handle: async ({ events: batch }) => {
        positions.push(...batch.map(({ position }) => position))
      },
    })
    const { position } = await events.append('x', {})
    await consumer.whenProcessed(position!)
    await events.stop()
  }
  await run()
  await run()
  expect(positions).toEqual(['1', '2'])
})

test('S1: a listener that throws fails no append and holds back no other listener', async () => {
  const events = memory()
  let woken = 0
  events.onAppended(() => {
    throw new Error('mine')
  })
  events.onAppended(() => woken++)
  expect(await events.append('a', {})).toMatchObject({ position: 1n })
  expect(woken).toBe(1)
})

test('S1: where notifications cannot be had, a subscriber polls, and the next one asks for them again', async () => {
  const store = memoryEventStore()
  let asked = 0
  store.listen = () => {
    asked++
    return asked === 1 ? Promise.reject(new Error('too many connections')) : Promise.resolve(async () => {})
  }
  const events = new EventStore({ store })
  await events.append('a', {})
  expect(await take(events, 1, { pollMs: 1 })).toEqual(['1'])
  expect(await take(events, 1, { pollMs: 1 })).toEqual(['1'])
  expect(asked).toBe(2)
  await events.stop()
})

test('S2: `stop` ends consumers although what is buffered cannot be written, and says so', async () => {
  const store = sqliteEventStore({ db: await openTestDatabase() })
  let broken = false
  const failing = { add: () => {}, commit: () => Promise.reject(new Error('down')) }
  const events = new EventStore({ store: { ...store, unit: () => (broken ? failing : store.unit()) } })
  const consumer = consume(events, { name: 'c', handle: async () => {} })
  await events.append('a', {})
  await consumer.whenProcessed('1')
  broken = true
  await events.append('b', {}, { durability: 'memory' })
  await expect(events.stop()).rejects.toThrow('down')
  expect(consumer.state).toBe('stopped')
})

test('S2: an instance that waits takes nothing from one that lives, however long it has waited', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] })
  try {
    const store = memoryEventStore()
    const [first, second] = [new EventStore({ store }), new EventStore({ store })]
    stores.push(first, second)
    const works = consume(first, { name: 'c', leaseMs: 90, handle: async () => {} })
    await vi.advanceTimersByTimeAsync(10)
    const waits = consume(second, { name: 'c', leaseMs: 90, handle: async () => {} })
    for (let i = 0; i < 100; i++) {
      await vi.advanceTimersByTimeAsync(10)
      expect([works.state, waits.state]).toEqual(['working', 'waiting'])
    }
    await works.stop()
    await vi.advanceTimersByTimeAsync(100)
    expect(waits.state).toBe('working')
    await waits.stop()
  } finally {
    vi.useRealTimers()
  }
})

test('S1: a consumer whose filter leaves everything out moves its place all the same', async () => {
  const events = memory()
  for (let i = 0; i < 5; i++) await events.append('other', i)
  const consumer = consume(events, { name: 'c', filter: { type: 'mine' }, handle: async () => {} })
  await consumer.whenProcessed('5', { timeoutMs: 1_000 })
  expect(await consumer.position()).toBe(5n)
})
