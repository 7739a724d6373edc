import { setTimeout as delay } from 'node:timers/promises'
import { type ConnectionFactory, ConnectionPool, type PoolOptions } from '@gw/pool'
import { createPool, type Factory, type Options } from 'generic-pool'

/** One thing that goes wrong, tried on generic-pool alone and on this package. Each side says what came of it. */
export interface Scenario {
  bare(): Promise<unknown>
  ours(): Promise<unknown>
}

interface Connection {
  readonly id: number
  alive: boolean
}

let made = 0
const connection = (): Connection => ({ id: ++made, alive: true })

function bare(factory: Partial<Factory<Connection>>, options: Options = {}) {
  const pool = createPool<Connection>(
    { create: async () => connection(), destroy: async () => {}, ...factory },
    { max: 3, ...options },
  )
  pool.on('factoryCreateError', () => {})
  pool.on('factoryDestroyError', () => {})
  return pool
}

function ours(factory: Partial<ConnectionFactory<Connection>>, options: Partial<PoolOptions> = {}) {
  const pool = new ConnectionPool({
    name: 'p',
    min: 0,
    max: 3,
    sweepIntervalMs: 20,
    validateAfterIdleMs: 0,
    ...options,
  })
  const named = pool.register('c', { create: async () => connection(), destroy: async () => {}, ...factory })
  return { pool, ...named }
}

/** How a promise ended within `ms`: what `read` makes of its value, the error's name or code, or `pending`. */
async function within<Value>(
  promise: PromiseLike<Value>,
  ms: number,
  read: (value: Value) => unknown = () => 'value',
): Promise<unknown> {
  const pending = Symbol()
  try {
    const value = await Promise.race([Promise.resolve(promise), delay(ms, pending, { ref: false })])
    return value === pending ? 'pending' : read(value as Value)
  } catch (error) {
    return codeOf(error)
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error ? String(error.code) : error.name
}

const refused = () => Promise.reject(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }))

/** What the process is told of promises and exceptions that nobody caught. */
async function uncaught(run: () => Promise<unknown>): Promise<string[]> {
  const heard: string[] = []
  const hear = (error: unknown) => heard.push(error instanceof Error ? error.message : String(error))
  process.on('unhandledRejection', hear)
  process.on('uncaughtException', hear)
  await run().catch(() => {})
  await delay(80)
  process.off('unhandledRejection', hear)
  process.off('uncaughtException', hear)
  return heard
}

/** Each by the row of the spec's table. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  'G1: a create that rejects at once spins, and the acquire timeout never comes': {
    bare: () => within(bare({ create: refused }, { acquireTimeoutMillis: 200 }).acquire(), 1_000),
    ours: () => within(ours({ create: refused }, { acquireTimeoutMs: 200 }).acquire(), 1_000),
  },
  'G2: a server that refuses is asked thousands of times a second': {
    async bare() {
      let attempts = 0
      const pool = bare(
        {
          create: async () => {
            attempts++
            await delay(1)
            return refused()
          },
        },
        { max: 10, acquireTimeoutMillis: 400 },
      )
      await Promise.allSettled(Array.from({ length: 100 }, () => pool.acquire()))
      return attempts > 100
    },
    async ours() {
      let attempts = 0
      const pool = ours(
        {
          create: async () => {
            attempts++
            await delay(1)
            return refused()
          },
        },
        { max: 10, acquireTimeoutMs: 400 },
      )
      await Promise.allSettled(Array.from({ length: 100 }, () => pool.acquire()))
      await delay(400)
      return attempts > 100
    },
  },
  'whoever waits is not told why no connection comes': {
    async bare() {
      const pool = bare({ create: async () => delay(5).then(refused) }, { acquireTimeoutMillis: 100 })
      const error = (await pool.acquire().then(undefined, (each: Error) => each)) as Error
      return [error.name, error.cause !== undefined]
    },
    async ours() {
      const pool = ours({ create: async () => delay(5).then(refused) }, { acquireTimeoutMs: 100 })
      const error = (await pool.acquire().then(undefined, (each: Error) => each)) as Error
      return [codeOf(error), codeOf(error.cause)]
    },
  },
  'G3: emptying a live pool hands out connections that are closed': {
    async bare() {
      const closed = new Set<number>()
      const pool = bare({
        destroy: async ({ id }) => {
          closed.add(id)
        },
      })
      await pool.release(await pool.acquire())
      await pool.clear()
      return closed.has((await pool.acquire()).id)
    },
    async ours() {
      const closed = new Set<number>()
      const { pool, acquire } = ours({
        destroy: async ({ id }) => {
          closed.add(id)
        },
      })
      ;(await acquire()).release()
      pool.refresh()
      await delay(30)
      return closed.has((await acquire()).connection.id)
    },
  },
  'G4: a test that rejects loses its place for ever': {
    bare: () =>
      uncaught(async () => {
        const pool = bare({ validate: () => Promise.reject(new Error('test')) }, { max: 1, testOnBorrow: true })
        await within(pool.acquire(), 50)
      }),
    async ours() {
      let first = true
      const { acquire } = ours(
        {
          validate: () => {
            if (!first) return Promise.resolve(true)
            first = false
            return Promise.reject(new Error('test'))
          },
        },
        { max: 1 },
      )
      ;(await acquire()).release()
      return within(acquire(), 1_000, () => 'served')
    },
  },
  'G4b: a test that never ends loses its place for ever': {
    async bare() {
      const pool = bare({ validate: () => new Promise(() => {}) }, { max: 1, testOnBorrow: true })
      return within(pool.acquire(), 300, () => 'served')
    },
    async ours() {
      let first = true
      const { acquire } = ours(
        {
          validate: () => {
            if (!first) return true
            first = false
            return new Promise(() => {})
          },
        },
        { max: 1, validateTimeoutMs: 50 },
      )
      ;(await acquire()).release()
      return within(acquire({ timeoutMs: 1_000 }), 1_500, () => 'served')
    },
  },
  'G5: use with a function that is not async loses the connection': {
    async bare() {
      const pool = bare({}, { max: 1 })
      await within(
        pool.use(() => 42 as never),
        100,
      )
      return pool.borrowed
    },
    async ours() {
      const { pool, use } = ours({}, { max: 1 })
      const value = await use(() => 42)
      return [value, pool.metrics().activeConnections]
    },
  },
  'G6: a minimum that could not be made is never made': {
    async bare() {
      let down = true
      const pool = bare({ create: async () => (down ? delay(1).then(refused) : connection()) }, { min: 3 })
      await delay(20)
      down = false
      await delay(300)
      const { size } = pool
      await pool.clear()
      return size >= 3 ? 'made' : size
    },
    async ours() {
      let down = true
      const { pool } = ours({ create: async () => (down ? delay(1).then(refused) : connection()) }, { min: 3 })
      pool.start().catch(() => {})
      await delay(20)
      down = false
      await delay(600)
      const { totalConnections } = pool.metrics()
      await pool.drain()
      return totalConnections
    },
  },
  'G7: idleness closes connections below the minimum, to make them again': {
    async bare() {
      let destroyed = 0
      const pool = bare(
        {
          destroy: async () => {
            destroyed++
          },
        },
        { min: 2, evictionRunIntervalMillis: 20, idleTimeoutMillis: 10 },
      )
      await delay(300)
      const count = destroyed
      return count > 5
    },
    async ours() {
      let destroyed = 0
      const { pool } = ours(
        {
          destroy: async () => {
            destroyed++
          },
        },
        { min: 2, idleTimeoutMs: 10 },
      )
      await pool.start()
      await delay(300)
      const count = destroyed
      await pool.drain()
      return count > 5
    },
  },
  'G8: nothing that idles is ever closed': {
    async bare() {
      const pool = bare({}, { idleTimeoutMillis: 10 })
      await pool.release(await pool.acquire())
      await delay(100)
      return pool.available
    },
    async ours() {
      const { pool, acquire } = ours({}, { idleTimeoutMs: 10 })
      ;(await acquire()).release()
      await delay(100)
      return pool.metrics().idleConnections
    },
  },
  'G9: giving a connection back twice ends the process': {
    bare: () =>
      uncaught(async () => {
        const pool = bare({})
        const borrowed = await pool.acquire()
        void pool.release(borrowed)
        void pool.release(borrowed)
      }),
    ours: () =>
      uncaught(async () => {
        const { acquire } = ours({})
        const lease = await acquire()
        lease.release()
        lease.release()
      }),
  },
  'G10: a request that is given up takes the next one’s connection with it': {
    async bare() {
      const pool = bare({}, { max: 1 })
      const first = await pool.acquire()
      const givenUp = pool.acquire()
      Promise.resolve(givenUp).catch(() => {})
      const queue = Reflect.get(pool, '_waitingClientsQueue') as { tail: { reject(error: Error): void } }
      queue.tail.reject(new Error('given up'))
      const next = pool.acquire()
      await pool.release(first)
      return within(next, 200, () => 'served')
    },
    async ours() {
      const { acquire } = ours({}, { max: 1 })
      const first = await acquire()
      const abort = new AbortController()
      const givenUp = acquire({ signal: abort.signal })
      givenUp.catch(() => {})
      abort.abort()
      const next = acquire()
      first.release()
      return within(next, 200, () => 'served')
    },
  },
  'G11: a create that throws at once throws out of acquire and leaves somebody waiting': {
    async bare() {
      const pool = bare({
        create: () => {
          throw new Error('at once')
        },
      })
      try {
        await within(pool.acquire(), 50)
        return 'rejected'
      } catch {
        return ['threw', pool.pending]
      }
    },
    async ours() {
      const { pool, acquire } = ours({
        create: () => {
          throw new Error('at once')
        },
      })
      try {
        const promise = acquire({ timeoutMs: 50 })
        await promise.catch(() => {})
        return ['rejected', pool.metrics().waitingRequests]
      } catch {
        return 'threw'
      }
    },
  },
  'G12: a destroy that throws at once during a sweep is an uncaught exception': {
    bare: () =>
      uncaught(async () => {
        const pool = bare(
          {
            destroy: () => {
              throw new Error('at once')
            },
          },
          { evictionRunIntervalMillis: 20, idleTimeoutMillis: 5 },
        )
        await pool.release(await pool.acquire())
        await delay(60)
      }),
    ours: () =>
      uncaught(async () => {
        const { acquire } = ours(
          {
            destroy: () => {
              throw new Error('at once')
            },
          },
          { idleTimeoutMs: 5 },
        )
        ;(await acquire()).release()
        await delay(60)
      }),
  },
  'G13: a drain waits for ever for a loan that does not come back': {
    async bare() {
      const pool = bare({})
      await pool.acquire()
      return within(pool.drain(), 300, () => 'drained')
    },
    async ours() {
      const { pool, acquire } = ours({})
      await acquire()
      return within(pool.drain({ deadlineMs: 100 }), 1_000, ({ forced }) => ['drained', forced])
    },
  },
  'G16: connections that nobody needs are kept busy in turn': {
    async bare() {
      const pool = bare(
        {},
        { max: 10, evictionRunIntervalMillis: 20, idleTimeoutMillis: 60, numTestsPerEvictionRun: 100 },
      )
      const all = await Promise.all(Array.from({ length: 10 }, () => pool.acquire()))
      for (const each of all) await pool.release(each)
      for (let i = 0; i < 60; i++) {
        const one = await pool.acquire()
        await pool.release(one)
        await delay(4)
      }
      return pool.size > 5
    },
    async ours() {
      const { pool, acquire } = ours({}, { max: 10, idleTimeoutMs: 60, connectConcurrency: 10 })
      const all = await Promise.all(Array.from({ length: 10 }, () => acquire()))
      for (const each of all) each.release()
      for (let i = 0; i < 60; i++) {
        const one = await acquire()
        one.release()
        await delay(4)
      }
      return pool.metrics().totalConnections > 5
    },
  },
  'G19: a create that never ends takes its place for ever': {
    async bare() {
      let first = true
      const pool = bare(
        {
          create: () => {
            if (!first) return Promise.resolve(connection())
            first = false
            return new Promise(() => {})
          },
        },
        { max: 1, acquireTimeoutMillis: 100 },
      )
      await within(pool.acquire(), 200)
      return within(pool.acquire(), 300, () => 'served')
    },
    async ours() {
      let first = true
      const { acquire } = ours(
        {
          create: ({ signal }) => {
            if (!first) return connection()
            first = false
            return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up'))))
          },
        },
        { max: 1, createTimeoutMs: 50 },
      )
      await within(acquire(), 200)
      await delay(100)
      return within(acquire({ timeoutMs: 1_000 }), 1_500, () => 'served')
    },
  },
  'G21: a connection that dies while it idles cannot be taken out': {
    async bare() {
      const pool = bare({})
      const borrowed = await pool.acquire()
      await pool.release(borrowed)
      const taken = await within(pool.destroy(borrowed), 100, () => 'taken out')
      return [taken, (await pool.acquire()) === borrowed]
    },
    async ours() {
      let lost: (() => void) | undefined
      const { acquire } = ours({
        create: (context) => {
          lost ??= context.lost
          return connection()
        },
      })
      const lease = await acquire()
      const { id } = lease.connection
      lease.release()
      lost!()
      return (await acquire()).connection.id === id
    },
  },
  'G22: a lower priority waits until no higher one is there': {
    async bare() {
      const pool = bare({}, { max: 1, priorityRange: 2 })
      const order: number[] = []
      const first = await pool.acquire()
      const ask = (priority: number) =>
        Promise.resolve(pool.acquire(priority)).then(async (each) => {
          order.push(priority)
          await delay(2)
          await pool.release(each)
        })
      const low = ask(1)
      await delay(60)
      const high = Array.from({ length: 20 }, () => ask(0))
      await pool.release(first)
      await Promise.all([low, ...high])
      return order.indexOf(1)
    },
    async ours() {
      const { acquire } = ours({}, { max: 1, agingMs: 50 })
      const order: number[] = []
      const first = await acquire()
      const ask = (priority: number) =>
        acquire({ priority }).then(async (each) => {
          order.push(priority)
          await delay(2)
          each.release()
        })
      const low = ask(1)
      await delay(60)
      const high = Array.from({ length: 20 }, () => ask(0))
      first.release()
      await Promise.all([low, ...high])
      return order.indexOf(1)
    },
  },
  'G25: a burst of short requests connects as often as there are requests': {
    async bare() {
      let attempts = 0
      const pool = bare(
        {
          create: async () => {
            attempts++
            await delay(20)
            return connection()
          },
        },
        { max: 50 },
      )
      await Promise.all(Array.from({ length: 50 }, async () => pool.release(await pool.acquire())))
      return attempts
    },
    async ours() {
      let attempts = 0
      const { acquire } = ours(
        {
          create: async () => {
            attempts++
            await delay(20)
            return connection()
          },
        },
        { max: 50 },
      )
      await Promise.all(Array.from({ length: 50 }, async () => (await acquire()).release()))
      return attempts <= 8
    },
  },
  'G26: being ready is waited for for ever': {
    bare: () => within(bare({ create: async () => delay(1).then(refused) }, { min: 1 }).ready(), 300),
    ours: () =>
      within(ours({ create: async () => delay(1).then(refused) }, { min: 1 }).pool.start({ timeoutMs: 100 }), 1_000),
  },
}
