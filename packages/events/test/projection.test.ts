import { Hono } from 'hono'
import { afterEach, describe, expect, test } from 'vitest'
import {
  aggregate,
  audit,
  type EventLog,
  EventStore,
  memoryEventStore,
  performanceFigures,
  project,
  requestStates,
  stats,
} from '../src/index.ts'

const stores: EventStore[] = []
afterEach(async () => {
  for (const events of stores.splice(0)) await events.stop()
})

function memory(): EventStore {
  const events = new EventStore({ store: memoryEventStore() })
  stores.push(events)
  return events
}

const counter = {
  name: 'count',
  initial: 0,
  on: { added: (n: number, { data }: { data: unknown }) => n + (data as number) },
}

describe('P1', () => {
  test('P1: an inline projection is right at every append, without waiting', async () => {
    const events = memory()
    await events.append('added', 5)
    const projection = events.project({ ...counter, mode: 'inline' })
    for (let i = 1; i <= 5; i++) {
      await events.append('added', i)
      expect(await projection.state()).toBe(5 + (i * (i + 1)) / 2)
    }
  })

  test('P1: a failing inline projection fails the append, and nothing is left of either', async () => {
    const events = memory()
    const projection = project(events, {
      name: 'p',
      mode: 'inline',
      initial: 0,
      apply: (n: number, { type }) => {
        if (type === 'bad') throw new Error('no')
        return n + 1
      },
    })
    await events.append('good', {})
    await expect(events.append('bad', {})).rejects.toMatchObject({ code: 'projection_failed' })
    expect((await events.query()).events).toHaveLength(1)
    await events.append('good', {})
    expect(await projection.state()).toBe(2)
  })

  test('P1: fifty parallel appends under an inline projection in two processes are counted once each', async () => {
    const store = memoryEventStore()
    const [a, b] = [new EventStore({ store }), new EventStore({ store })]
    stores.push(a, b)
    const projection = a.project({ ...counter, mode: 'inline' })
    b.project({ ...counter, mode: 'inline' })
    await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? a : b).append('added', 1, { id: `e${i}` })))
    await Promise.all(Array.from({ length: 10 }, (_, i) => a.append('added', 1, { id: `e${i}` })))
    expect(await projection.state()).toBe(50)
  })

  test('P1: an async projection moves with its place in one unit: the counter is exact when the store fails between', async () => {
    const events = memory()
    const projection = events.project({ ...counter, batch: 3 })
    for (let i = 0; i < 20; i++) await events.append('added', 1)
    await projection.whenProcessed('20')
    expect(await projection.state()).toBe(20)
    expect((await projection.health()).position).toBe(20n)
  })
})

test('P2: one poison event is parked with its reason, the rest is processed, and it can be replayed', async () => {
  const events = memory()
  let mended = false
  const projection = events.project({
    name: 'p',
    initial: 0,
    apply: (n: number, { data }) => {
      if (data === 'poison' && !mended) throw new Error('cannot digest')
      return n + 1
    },
  })
  for (const data of ['a', 'poison', 'b', 'c']) await events.append('x', data)
  await projection.whenProcessed('4')
  expect(await projection.health()).toMatchObject({ state: 3, parked: 1, consumer: 'working' })
  expect(await projection.parked()).toMatchObject([{ position: '2', reason: 'Error: cannot digest', attempts: 3 }])
  expect(await projection.replayParked()).toBe(0)
  mended = true
  expect(await projection.replayParked()).toBe(1)
  expect(await projection.health()).toMatchObject({ state: 4, parked: 0 })
  expect(await projection.parked()).toEqual([])
})

test('P2: with `stop` the projection stops before the poison event and says so', async () => {
  const events = memory()
  const projection = events.project({
    name: 'p',
    initial: 0,
    onPoison: 'stop',
    maxAttempts: 2,
    apply: (n: number, { data }) => {
      if (data === 'poison') throw new Error('no')
      return n + 1
    },
  })
  for (const data of ['a', 'poison', 'b']) await events.append('x', data)
  await expect(projection.whenProcessed('3')).rejects.toMatchObject({ code: 'projection_stopped' })
  expect(await projection.health()).toMatchObject({ state: 1, parked: 0, consumer: 'failed', position: 1n })
})

test('P3: a rebuild makes no outbound call, equals live byte for byte, and is swapped in while events go on', async () => {
  const events = memory()
  const calls: string[] = []
  const replays: boolean[] = []
  const projection = events.project({
    name: 'p',
    initial: { n: 0 },
    apply: ({ n }: { n: number }, _, { replaying }) => {
      replays.push(replaying)
      return { n: n + 1 }
    },
    effect: async ({ position }) => {
      calls.push(position)
    },
  })
  for (let i = 0; i < 10; i++) await events.append('x', {})
  await projection.whenProcessed('10')
  const appending = (async () => {
    for (let i = 0; i < 30; i++) await events.append('x', {})
  })()
  const rebuilt = await projection.rebuild()
  await appending
  expect(rebuilt).toMatchObject({ generation: 2, equal: true })
  await projection.whenProcessed('40')
  expect(await projection.state()).toEqual({ n: 40 })
  expect(calls).toEqual(Array.from({ length: 40 }, (_, i) => String(i + 1)))
  expect(replays.filter(Boolean).length).toBeGreaterThanOrEqual(10)
  expect((await events.store.registers('consumer/')).map(({ name }) => name)).toEqual(['consumer/projection.p.2'])
})

test('P3: an instance in another process follows a rebuild that was swapped in here', async () => {
  const store = memoryEventStore()
  const [a, b] = [new EventStore({ store }), new EventStore({ store })]
  stores.push(a, b)
  const here = a.project({ ...counter, leaseMs: 60, pollMs: 10 })
  await a.append('added', 1)
  await here.whenProcessed('1')
  const there = b.project({ ...counter, leaseMs: 60, pollMs: 10 })
  expect(await there.rebuild()).toMatchObject({ equal: true, generation: 2 })
  await here.stop()
  await b.append('added', 1)
  await there.whenProcessed('2')
  expect(await there.state()).toBe(2)
})

test('P3: a rebuild of another reducer differs and says so; unknown types are skipped and counted', async () => {
  const events = memory()
  let factor = 1
  const projection = events.project({ name: 'p', initial: 0, on: { added: (n: number) => n + factor } })
  await events.append('added', {})
  await events.append('unknown', {})
  await events.append('toString', {})
  await projection.whenProcessed('3')
  expect(await projection.health()).toMatchObject({ state: 1, skipped: 2 })
  factor = 10
  expect(await projection.rebuild()).toMatchObject({ equal: false })
  expect(await projection.state()).toBe(10)
})

test('P3: an inline projection is rebuilt from the log and goes on', async () => {
  const events = memory()
  const projection = events.project({ ...counter, mode: 'inline' })
  for (let i = 0; i < 5; i++) await events.append('added', 1)
  expect(await projection.rebuild()).toMatchObject({ equal: true, generation: 2 })
  await events.append('added', 1)
  expect(await projection.state()).toBe(6)
})

test('N1: a snapshot shortens the next load; one of another reducer is ignored and replaced', async () => {
  const events = memory()
  for (let i = 0; i < 25; i++) await events.append('added', 1, { stream: 's' })
  const load = aggregate(events, {
    name: 'sum',
    initial: 0,
    apply: (n: number, e) => n + (e.data as number),
    snapshotEvery: 10,
  })
  expect(await load('s')).toEqual({ state: 25, version: 24, replayed: 25 })
  await events.append('added', 1, { stream: 's' })
  expect(await load('s')).toEqual({ state: 26, version: 25, replayed: 1 })
  const other = aggregate(events, {
    name: 'sum',
    initial: 0,
    apply: (n: number, e) => n + 2 * (e.data as number),
    snapshotEvery: 10,
  })
  expect(await other('s')).toEqual({ state: 52, version: 25, replayed: 26 })
  expect(await other('s')).toEqual({ state: 52, version: 25, replayed: 0 })
  expect(await load('s')).toMatchObject({ state: 26, replayed: 26 })
  expect(await load('none')).toEqual({ state: 0, version: -1, replayed: 0 })
})

test('the figures of an operation are its count, mean, extremes, and a bound below which 95 of 100 lie', async () => {
  const events = memory()
  const figures = events.project({ ...performanceFigures(), mode: 'inline' })
  for (const ms of [4, 1, 100]) await events.append('operation_completed', { operation: 'pay', execution_time_ms: ms })
  expect((await figures.state())['pay']).toMatchObject({
    requests: 3,
    successes: 3,
    totalMs: 105,
    averageMs: 35,
    minMs: 1,
    maxMs: 100,
    p95Ms: 128,
  })
})

test('the ready projections tell where each request is and how each operation does', async () => {
  const events = memory()
  const states = events.project(requestStates({ maxRequests: 2 }))
  const figures = events.project(performanceFigures())
  const app = new Hono()
  app.use(audit({ events, operation: (c) => c.req.path }))
  app.get('/ok', (c) => c.text('ok'))
  for (const id of ['r1', 'r2', 'r3'])
    await app.request(id === 'r2' ? '/missing' : '/ok', { headers: { 'x-request-id': id } })
  await states.whenProcessed('9')
  await figures.whenProcessed('9')
  expect(await states.state()).toMatchObject({
    r2: { state: 'failed', status: 404 },
    r3: { state: 'completed', operation: '/ok' },
  })
  expect(Object.keys(await states.state())).toEqual(['r2', 'r3'])
  expect(await figures.state()).toMatchObject({
    '/ok': { requests: 2, successes: 2, failures: 0, averageMs: expect.any(Number) },
    '/missing': { requests: 1, failures: 1 },
  })
})

test('P1: a repeated append changes no inline projection, whatever another process appends between', async () => {
  const store = memoryEventStore()
  const [here, there] = [new EventStore({ store }), new EventStore({ store })]
  stores.push(here, there)
  const projection = here.project({ ...counter, mode: 'inline' })
  there.project({ ...counter, mode: 'inline' })
  await here.append('added', 1, { id: 'one' })
  expect((await here.append('added', 1, { id: 'one' })).durability).toBe('memory')
  await there.append('added', 10)
  await here.append('added', 100)
  expect(await projection.state()).toBe(111)
})

test('P2: a store that cannot be opened, or whose queue is full, delays a projection and neither ends it nor parks an event', async () => {
  const store = memoryEventStore()
  await new EventStore({ store }).append('added', 1)
  let closed = true
  let full = 5
  const events = new EventStore({
    store: {
      ...eventLogOf(store),
      open: async () => {
        if (closed) throw new Error('not yet')
      },
      unit: () => {
        const unit = store.unit()
        const commit = () =>
          full-- > 0 ? Promise.reject(Object.assign(new Error('full'), { code: 'write_queue_full' })) : unit.commit()
        return { add: unit.add, commit }
      },
    },
  })
  stores.push(events)
  const told: unknown[] = []
  const projection = events.project({ ...counter, maxAttempts: 1, onError: (error) => told.push(error) })
  await expect(projection.state()).rejects.toThrow('not yet')
  closed = false
  await projection.whenProcessed('1')
  expect(await projection.health()).toMatchObject({ state: 1, parked: 0 })
  expect(told.length).toBeGreaterThan(0)
})

test('P2: of two who replay parked events at once, each ends, and each event is applied once', async () => {
  const events = memory()
  let broken = true
  const projection = events.project({
    name: 'p',
    initial: 0,
    maxAttempts: 1,
    apply: (n: number) => {
      if (broken) throw new Error('no')
      return n + 1
    },
  })
  for (let i = 0; i < 3; i++) await events.append('added', i)
  await projection.whenProcessed('3')
  broken = false
  const replayed = await Promise.all([projection.replayParked(), projection.replayParked()])
  expect(replayed[0]! + replayed[1]!).toBe(3)
  expect(await projection.health()).toMatchObject({ state: 3, parked: 0 })
})

test('P3: a rebuild that was given up after it parked an event can be begun again, and no parked event outlives its build', async () => {
  const events = memory()
  let stuck = false
  const projection = events.project({
    name: 'p',
    initial: 0,
    maxAttempts: 1,
    apply: (n: number, { type }) => {
      if (type === 'bad') throw new Error('no')
      return n + 1
    },
    onSwap: () => {
      if (stuck) throw new Error('given up')
    },
  })
  await events.append('bad', 0)
  await events.append('added', 1)
  await projection.whenProcessed('2')
  stuck = true
  await expect(projection.rebuild()).rejects.toThrow('given up')
  stuck = false
  expect(await projection.rebuild()).toMatchObject({ generation: 2, equal: true })
  expect((await projection.parked()).map(({ position }) => position)).toEqual(['1'])
  expect(await stats(events)).toMatchObject({ parked: 1 })
})

test('P3: after a rebuild one instance works, and `stop` ends it', async () => {
  const events = memory()
  const projection = events.project({ ...counter, leaseMs: 100, pollMs: 5 })
  await events.append('added', 1)
  for (let i = 0; i < 10; i++) {
    await projection.whenProcessed('1')
    await projection.rebuild()
  }
  await projection.stop()
  expect((await stats(events)).consumers.map(({ working }) => working)).toEqual([false])
  expect(projection.consumer?.state).toBe('stopped')
})

/** A log as an object whose members can be replaced. */
function eventLogOf(log: EventLog): EventLog {
  return {
    durable: log.durable,
    gapless: log.gapless,
    database: log.database,
    open: () => log.open(),
    unit: (options) => log.unit(options),
    append: (...args) => log.append(...args),
    read: (query) => log.read(query),
    count: (query) => log.count(query),
    head: () => log.head(),
    base: () => log.base(),
    registers: (...args) => log.registers(...args),
    setRegister: (...args) => log.setRegister(...args),
    drop: (base) => log.drop(base),
  }
}
