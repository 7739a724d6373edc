import type { ConnectBreaker, PoolError } from '@gw/pool'
import { describe, expect, test } from 'vitest'
import type { FakeClock } from './fake-clock.ts'
import { deferred, failure, settled } from './fake-server.ts'
import { make } from './making.ts'

const refused = () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })

describe('C5: a factory that fails', () => {
  test('C5: is tried at most once in each step of a pause that doubles from 50 ms to 5 s', async () => {
    const { server, clock, pool } = make({ min: 5, max: 5, random: () => 0.999 })
    const at: number[] = []
    server.onCreate = () => {
      at.push(clock.nowMs)
      return Promise.reject(refused())
    }
    pool.start().catch(() => {})
    await clock.advance(40_000)
    // The first ones went out together, before any had failed.
    const alone = at.slice(4)
    const pauses = alone.slice(1).map((ms, index) => ms - alone[index]!)
    expect(at.slice(0, 4).every((ms) => ms === at[0])).toBe(true)
    expect(pauses.slice(0, 7).map((ms) => Math.round(ms / 50))).toEqual([2, 4, 8, 16, 32, 64, 100])
    expect(pauses.every((ms) => ms <= 5_001)).toBe(true)
    await pool.drain()
  })

  test('C5: the pauses differ by chance, down to half', async () => {
    const first = async (random: number) => {
      const { server, clock, database } = make({ random: () => random })
      server.onCreate = () => Promise.reject(refused())
      const error = (await failure(database.acquire())) as PoolError
      expect(clock.timers.size).toBeGreaterThan(0)
      return error.retryAfterMs
    }
    expect(await first(0)).toBe(25)
    expect(await first(0.5)).toBe(38)
    expect(await first(1)).toBe(50)
  })

  test('C5: with no connection alive, those who wait get the cause at once, and so does whoever comes before the next try', async () => {
    const { server, database, clock } = make({ max: 10, random: () => 1 })
    server.onCreate = () => Promise.reject(refused())
    const all = await Promise.all(Array.from({ length: 100 }, () => failure(database.acquire())))
    for (const error of all) {
      expect(error).toMatchObject({ code: 'pool_factory_failed', cause: { code: 'ECONNREFUSED' } })
    }
    const attempts = server.attempts
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed', retryAfterMs: 50 })
    expect(server.attempts).toBe(attempts)
    await clock.advance(50)
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed', retryAfterMs: 100 })
    expect(server.attempts).toBe(attempts + 1)
  })

  test('C5: with a connection on loan, requests wait for it', async () => {
    const { server, database, clock } = make({ max: 2 })
    const lease = await database.acquire()
    server.onCreate = () => Promise.reject(refused())
    const waiting = database.acquire()
    await clock.advance(1_000)
    expect(await settled(waiting)).toBe(false)
    lease.release()
    expect((await waiting).connection.id).toBe(1)
  })

  test('C5: a request that times out while connects fail is told why', async () => {
    const { server, database, clock } = make({ max: 2, acquireTimeoutMs: 500 })
    await database.acquire()
    server.onCreate = () => Promise.reject(refused())
    const waiting = failure(database.acquire())
    await clock.advance(500)
    expect(await waiting).toMatchObject({ code: 'pool_exhausted', cause: { code: 'ECONNREFUSED' } })
  })

  test('C5: recovery is by one probe, and each success doubles how many connect at once', async () => {
    const { server, pool, clock, transitions } = make({ min: 16, max: 16, connectConcurrency: 8 })
    server.onCreate = () => Promise.reject(refused())
    const started = pool.start()
    await clock.advance(100)
    const gates: ReturnType<typeof deferred<void>>[] = []
    server.onCreate = () => {
      const gate = deferred()
      gates.push(gate)
      return gate.promise
    }
    await clock.advance(5_000)
    expect(gates).toHaveLength(1)
    const counts: number[] = []
    for (let round = 0; round < 4; round++) {
      const open = gates.splice(0)
      counts.push(open.length)
      for (const gate of open) gate.resolve()
      await clock.advance(0)
    }
    expect(counts).toEqual([1, 2, 8, 5])
    await started
    expect(transitions.map((event) => event.type)).toEqual(['failing', 'recovered', 'started'])
  })

  test('C5: while the probe is out only one request waits for it', async () => {
    const { server, database, clock } = make({ max: 5 })
    server.onCreate = () => Promise.reject(refused())
    await failure(database.acquire())
    await clock.advance(100)
    const gate = deferred()
    server.onCreate = () => gate.promise
    const first = database.acquire()
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
    gate.resolve()
    expect((await first).connection.id).toBe(1)
    expect((await database.acquire()).connection.id).toBe(2)
  })

  test('C5: a burst of short requests opens no more connections at once than `connectConcurrency`', async () => {
    const { server, database, clock, pool } = make({ max: 50, connectConcurrency: 2 })
    server.onCreate = () => new Promise((resolve) => clock.setTimeout(resolve, 5))
    const all = Array.from({ length: 50 }, () => database.acquire().then((lease) => lease.release()))
    await clock.advance(20)
    await Promise.all(all)
    expect(server.connectingPeak).toBe(2)
    expect(server.made).toBeLessThanOrEqual(4)
    expect(pool.metrics().waitingRequests).toBe(0)
  })
})

/** A breaker as a pool sees one: `threshold` failures open it for `openMs`, then `trials` may try. */
function breakerOf(clock: { nowMs: number }, { threshold = 2, openMs = 10_000, trials = 2 } = {}) {
  let failures = 0
  let successes = 0
  let admitted = 0
  let openUntilMs = 0
  const breaker = {
    state: 'CLOSED' as 'CLOSED' | 'OPEN' | 'HALF_OPEN',
    calls: 0,
    refusals: 0,
    async run<Connection>(connect: () => Promise<Connection>): Promise<Connection> {
      if (breaker.state === 'OPEN' && clock.nowMs >= openUntilMs) {
        breaker.state = 'HALF_OPEN'
        admitted = 0
        successes = 0
      }
      if (breaker.state === 'OPEN' || (breaker.state === 'HALF_OPEN' && admitted >= trials)) {
        breaker.refusals++
        throw Object.assign(new Error('open'), {
          code: 'breaker_open',
          retryAfterMs: Math.max(0, openUntilMs - clock.nowMs),
        })
      }
      admitted++
      breaker.calls++
      try {
        const connection = await connect()
        if (breaker.state === 'HALF_OPEN' && ++successes >= trials) breaker.state = 'CLOSED'
        return connection
      } catch (error) {
        if (breaker.state === 'HALF_OPEN' || ++failures >= threshold) {
          breaker.state = 'OPEN'
          failures = 0
          openUntilMs = clock.nowMs + openMs
        }
        throw error
      }
    },
  }
  return breaker satisfies ConnectBreaker
}

function guarded(trials = 2, threshold = 2) {
  let breaker!: ReturnType<typeof breakerOf>
  const made = make({ max: 20, connectConcurrency: 8 }, (clock) => {
    breaker = breakerOf(clock, { trials, threshold })
    return { breaker }
  })
  return { ...made, breaker }
}

describe('C3: with a breaker that has a time limit of its own', () => {
  /** Waits no longer than 100 ms for a connect, and counts nothing. */
  const impatient = (clock: FakeClock): ConnectBreaker => ({
    state: 'CLOSED',
    run: (connect) =>
      new Promise((resolve, reject) => {
        clock.setTimeout(() => reject(new Error('the breaker waits no longer')), 100)
        connect().then(resolve, reject)
      }),
  })

  test('C3: a connect that it gives up keeps its place until it has ended, and what it makes is closed', async () => {
    const { database, server, clock, pool } = make({ max: 1 }, (clock) => ({ breaker: impatient(clock) }))
    const gate = deferred()
    server.onCreate = (attempt) => (attempt === 1 ? gate.promise : undefined)
    const given = failure(database.acquire())
    await clock.advance(100)
    expect(await given).toMatchObject({ code: 'pool_factory_failed' })
    expect([server.contexts[0]!.signal.aborted, pool.metrics().closingConnections]).toEqual([true, 1])
    gate.resolve()
    await clock.advance(100)
    await database.acquire()
    expect(server).toMatchObject({ attempts: 2, destroyed: 1, peak: 1 })
  })

  test('C3: a connection that it has no use for is closed', async () => {
    const { database, server, clock } = make(
      { max: 1 },
      {
        breaker: {
          state: 'CLOSED',
          async run(connect) {
            await connect()
            throw new Error('no use for it')
          },
        },
      },
    )
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
    await clock.advance(0)
    expect(server).toMatchObject({ made: 1, destroyed: 1, open: 0 })
  })
})

describe('C5: with a breaker', () => {
  test.each([
    ['no breaker', undefined],
    ['a closed breaker', { state: 'CLOSED', run: (connect) => connect() } satisfies ConnectBreaker],
  ])(
    'C5: with %s, a `create` that says `breaker_open` is tried at most once in each step of the pause',
    async (_, breaker) => {
      const { database, server, clock } = make({ max: 2 }, { breaker })
      const lease = await database.acquire()
      server.onCreate = (attempt) => {
        // Without a pause the tries follow one another in one turn, and no timer would ever end them.
        if (attempt > 50) return new Promise(() => {})
        return Promise.reject(Object.assign(new Error('the breaker of somebody else'), { code: 'breaker_open' }))
      }
      const waiting = database.acquire()
      await clock.advance(0)
      expect(server.attempts).toBe(2)
      await clock.advance(50)
      expect(server.attempts).toBe(3)
      lease.release()
      expect((await waiting).connection.id).toBe(1)
    },
  )

  test('C5: failures of the factory open it, and then `acquire` fails at once with its retry time and its error as the cause', async () => {
    const { database, server, breaker, clock, pool } = guarded()
    server.onCreate = () => Promise.reject(refused())
    await failure(database.acquire())
    await clock.advance(100)
    await failure(database.acquire())
    expect(breaker.state).toBe('OPEN')
    const error = (await failure(database.acquire())) as PoolError
    expect(error).toMatchObject({ code: 'breaker_open', cause: { code: 'breaker_open' }, retryAfterMs: 10_000 })
    expect(error.getResponse().headers.get('retry-after')).toBe('10')
    await clock.advance(4_000)
    expect(await failure(database.acquire())).toMatchObject({ code: 'breaker_open', retryAfterMs: 6_000 })
    expect(server.attempts).toBe(2)
    expect(pool.metrics().connectionErrors).toBe(2)
  })

  test('C5: half-open, exactly as many connects as the breaker wants trials reach the factory; the other requests fail at once', async () => {
    const { database, server, breaker, clock } = guarded(2, 1)
    server.onCreate = () => Promise.reject(refused())
    await failure(database.acquire())
    expect(await failure(database.acquire())).toMatchObject({ code: 'breaker_open' })
    await clock.advance(10_000)
    const gate = deferred()
    server.onCreate = () => gate.promise
    const before = server.attempts
    const all = Array.from({ length: 20 }, () =>
      database.acquire().then(
        (lease) => lease.connection.id,
        (error) => error.code,
      ),
    )
    await clock.advance(0)
    expect(server.attempts - before).toBe(2)
    gate.resolve()
    const answers = await Promise.all(all)
    expect(answers.filter((answer) => answer === 'breaker_open')).toHaveLength(18)
    expect(answers.filter((answer) => typeof answer === 'number')).toHaveLength(2)
    expect(breaker.state).toBe('CLOSED')
  })

  test('C5: trials that fail open it again, and nothing more is tried', async () => {
    const { database, server, breaker, clock } = guarded(2, 1)
    server.onCreate = () => Promise.reject(refused())
    await failure(database.acquire())
    await failure(database.acquire())
    await clock.advance(10_000)
    const before = server.attempts
    await Promise.all(Array.from({ length: 20 }, () => failure(database.acquire())))
    expect(server.attempts - before).toBe(2)
    expect(breaker.state).toBe('OPEN')
    await clock.advance(9_000)
    expect(server.attempts - before).toBe(2)
  })

  test('C5: a breaker that somebody closes is noticed by the next request', async () => {
    const { database, server, breaker } = guarded(2, 1)
    server.onCreate = () => Promise.reject(refused())
    await failure(database.acquire())
    expect(await failure(database.acquire())).toMatchObject({ code: 'breaker_open' })
    server.onCreate = () => {}
    breaker.state = 'CLOSED'
    expect((await database.acquire()).connection.id).toBe(1)
  })

  test('C5: an open breaker keeps no idle connection back', async () => {
    const { database, server, breaker } = guarded(2, 1)
    const lease = await database.acquire()
    server.onCreate = () => Promise.reject(refused())
    const controller = new AbortController()
    const waiting = failure(database.acquire({ signal: controller.signal }))
    await new Promise((resolve) => setImmediate(resolve))
    controller.abort()
    await waiting
    expect(breaker.state).toBe('OPEN')
    lease.release()
    ;(await database.acquire()).release()
  })
})
