import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ConnectionPool } from '@gw/pool'
import { describe, expect, test } from 'vitest'
import { deferred, failure, settled } from './fake-server.ts'
import { make } from './making.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

describe('C6: lifetimes', () => {
  test('C6: an idle connection is replaced between 90 and 100 % of its lifetime', async () => {
    const ages: number[] = []
    for (const random of [0, 0.5, 1]) {
      const { server, clock, pool } = make({
        min: 1,
        max: 1,
        maxLifetimeMs: 100_000,
        healthCheckIntervalMs: 0,
        random: () => random,
      })
      await pool.start()
      while (server.destroyed === 0) await clock.advance(500)
      ages.push(pool.metrics().avgConnectionLifetimeSeconds)
      await pool.drain()
    }
    expect(ages).toEqual([100, 95, 90])
  })

  test('C6: what is too old is not lent, and what is on loan is replaced when it comes back', async () => {
    const { database, server, clock, pool } = make({ max: 1, maxLifetimeMs: 10_000, sweepIntervalMs: 1_000_000 })
    const lease = await database.acquire()
    await clock.advance(60_000)
    expect(lease.connection.id).toBe(1)
    expect(server.destroyed).toBe(0)
    lease.release()
    await clock.advance(1)
    expect(server.destroyed).toBe(1)
    const second = await database.acquire()
    second.release()
    await clock.advance(10_000)
    expect((await database.acquire()).connection.id).toBe(3)
    expect(pool.metrics().totalConnections).toBe(1)
  })

  test('C6: one sweep replaces at most a fifth, the oldest first', async () => {
    const { server, clock, pool } = make({
      min: 10,
      max: 10,
      maxLifetimeMs: 10_000,
      healthCheckIntervalMs: 0,
      sweepIntervalMs: 500,
    })
    await pool.start()
    await clock.advance(9_000)
    const destroyed: number[] = []
    for (let sweep = 0; sweep < 6; sweep++) {
      await clock.advance(500)
      destroyed.push(server.destroyed)
    }
    expect(destroyed).toEqual([2, 4, 6, 8, 10, 10])
    expect(pool.metrics().idleConnections).toBe(10)
  })

  test('C6: the replacement comes first where there is room for it', async () => {
    const { server, clock, pool } = make({ min: 2, max: 3, maxLifetimeMs: 10_000, healthCheckIntervalMs: 0 })
    await pool.start()
    const gate = deferred()
    server.onCreate = () => gate.promise
    await clock.advance(9_600)
    expect(pool.metrics()).toMatchObject({ idleConnections: 2, pendingConnections: 1 })
    expect(server.destroyed).toBe(0)
    gate.resolve()
    await clock.advance(0)
    expect(server.destroyed).toBe(1)
    expect(server.peak).toBeLessThanOrEqual(3)
  })

  test('C6: without a replacement an old connection stays until its whole lifetime is over', async () => {
    const { database, server, clock, pool } = make({ min: 1, max: 2, maxLifetimeMs: 100_000, healthCheckIntervalMs: 0 })
    await pool.start()
    server.onCreate = () => Promise.reject(new Error('down'))
    await clock.advance(99_000)
    const lease = await database.acquire()
    expect(lease.connection.id).toBe(1)
    lease.release()
    await clock.advance(2_000)
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_factory_failed' })
  })
})

describe('C9: hours of the day', () => {
  const at = (text: string) => Date.parse(text)

  async function kept(
    preWarm: ConstructorParameters<typeof ConnectionPool>[0]['preWarm'],
    wall: string,
    preWarmLeadMs = 0,
  ) {
    const { pool, clock } = make({
      min: 2,
      max: 30,
      connectConcurrency: 30,
      preWarm: preWarm!,
      preWarmLeadMs,
      now: () => at(wall),
    })
    await pool.start()
    await clock.advance(1)
    const { keptConnections, totalConnections } = pool.metrics()
    expect(totalConnections).toBe(keptConnections)
    await pool.drain()
    return keptConnections
  }

  test('C9: inside the hours the target is kept, outside the minimum; the first hour counts, the second does not', async () => {
    const windows = [{ hours: [8, 18], target: 20 }] as const
    expect(await kept(windows, '2026-03-02T07:59:59Z')).toBe(2)
    expect(await kept(windows, '2026-03-02T08:00:00Z')).toBe(20)
    expect(await kept(windows, '2026-03-02T17:59:59Z')).toBe(20)
    expect(await kept(windows, '2026-03-02T18:00:00Z')).toBe(2)
  })

  test('C9: hours pass midnight, equal hours are the whole day, and the larger of two wins', async () => {
    const night = [{ hours: [18, 8], target: 10 }] as const
    expect(await kept(night, '2026-03-02T00:00:00Z')).toBe(10)
    expect(await kept(night, '2026-03-02T23:59:00Z')).toBe(10)
    expect(await kept(night, '2026-03-02T12:00:00Z')).toBe(2)
    expect(await kept([{ hours: [5, 5], target: 7 }], '2026-03-02T12:00:00Z')).toBe(7)
    expect(
      await kept(
        [
          { hours: [0, 24], target: 5 },
          { hours: [8, 18], target: 9 },
        ],
        '2026-03-02T12:00:00Z',
      ),
    ).toBe(9)
  })

  test('C9: the target stays between `min` and `max`', async () => {
    expect(await kept([{ hours: [0, 24], target: 900 }], '2026-03-02T12:00:00Z')).toBe(30)
    expect(await kept([{ hours: [0, 24], target: 0 }], '2026-03-02T12:00:00Z')).toBe(2)
  })

  test('C9: the hours are those of the zone, also across a change of the clocks', async () => {
    const berlin = [{ hours: [8, 18], target: 20, timeZone: 'Europe/Berlin' }] as const
    expect(await kept(berlin, '2026-01-15T07:00:00Z')).toBe(20)
    expect(await kept(berlin, '2026-01-15T06:59:59Z')).toBe(2)
    expect(await kept(berlin, '2026-07-15T06:00:00Z')).toBe(20)
    expect(await kept(berlin, '2026-07-15T05:59:59Z')).toBe(2)
    // On 29 March 2026 the hour from 2 to 3 is missing; on 25 October it comes twice.
    expect(await kept([{ hours: [2, 3], target: 9, timeZone: 'Europe/Berlin' }], '2026-03-29T01:00:00Z')).toBe(2)
    const second = [{ hours: [2, 3], target: 9, timeZone: 'Europe/Berlin' }] as const
    expect(await kept(second, '2026-10-25T00:30:00Z')).toBe(9)
    expect(await kept(second, '2026-10-25T01:30:00Z')).toBe(9)
    expect(await kept(second, '2026-10-25T02:00:00Z')).toBe(2)
    expect(await kept([{ hours: [0, 1], target: 9, timeZone: 'Asia/Kolkata' }], '2026-03-02T18:30:00Z')).toBe(9)
  })

  test('C9: connections are opened before the hours begin, spread over the lead', async () => {
    const windows = [{ hours: [8, 18], target: 22 }] as const
    const lead = 10 * 60_000
    expect(await kept(windows, '2026-03-02T07:49:59Z', lead)).toBe(2)
    const counts = await Promise.all(
      ['07:50:30', '07:55:00', '07:59:40'].map((time) => kept(windows, `2026-03-02T${time}Z`, lead)),
    )
    expect(counts[0]).toBeGreaterThan(2)
    expect(counts[0]).toBeLessThan(counts[1]!)
    expect(counts[1]).toBeLessThan(counts[2]!)
    expect(counts[2]).toBe(22)
  })

  test('C9: after the hours the extra connections go by idleness alone, and the hours are read again every 30 s', async () => {
    let wallMs = at('2026-03-02T07:59:50Z')
    const { pool, clock, server } = make({
      min: 1,
      max: 10,
      connectConcurrency: 10,
      idleTimeoutMs: 60_000,
      healthCheckIntervalMs: 0,
      preWarm: [{ hours: [8, 9], target: 6 }],
      preWarmLeadMs: 0,
      now: () => wallMs,
    })
    await pool.start()
    expect(pool.metrics().totalConnections).toBe(1)
    wallMs += 30_000
    await clock.advance(31_000)
    expect(pool.metrics().totalConnections).toBe(6)
    await clock.advance(90_000)
    expect(server.destroyed).toBe(0)
    wallMs += 3_600_000
    await clock.advance(31_000)
    expect(pool.metrics().totalConnections).toBe(1)
  })

  test('C9: hours, targets and zones that mean nothing are refused', () => {
    const refuse = (window: object) => expect(() => new ConnectionPool({ name: 'x', preWarm: [window as never] }))
    refuse({ hours: [8, 25], target: 1 }).toThrow('Expected `hours`')
    refuse({ hours: [8], target: 1 }).toThrow('Expected `hours`')
    refuse({ hours: ['8', '18'], target: 1 }).toThrow('Expected `hours`')
    refuse({ hours: [8, 18], target: 1, timezone: 'Europe/Berlin' }).toThrow('Unknown option `timezone` of `preWarm`')
    refuse({ hours: [8, 9], target: 1.5 }).toThrow('Expected `target`')
    refuse({ hours: [8, 9], target: 1, timeZone: 'Mars/Olympus' }).toThrow('Expected `timeZone`')
  })

  test('C9: with `adaptive` as many are kept as the measured demand needs, between the bounds', async () => {
    const { database, pool, clock } = make({
      min: 1,
      max: 20,
      adaptive: true,
      idleTimeoutMs: 10_000,
      healthCheckIntervalMs: 0,
      connectConcurrency: 20,
    })
    await pool.start()
    for (let round = 0; round < 300; round++) {
      const leases = await Promise.all([1, 2, 3, 4].map(() => database.acquire()))
      await clock.advance(500)
      for (const lease of leases) lease.release()
    }
    // Four in use on average, and two square roots of that.
    expect(pool.metrics().keptConnections).toBe(8)
    expect(pool.metrics().totalConnections).toBe(8)
    await clock.advance(600_000)
    expect(pool.metrics().totalConnections).toBe(1)
  })
})

describe('C10: leaks', () => {
  test('C10: a loan longer than the threshold is reported once, with the stack that took it', async () => {
    const { database, clock, leaks, pool } = make({ leakThresholdMs: 5_000 })
    const lease = await database.acquire()
    await clock.advance(4_900)
    expect(leaks).toEqual([])
    await clock.advance(10_000)
    expect(leaks).toHaveLength(1)
    expect(leaks[0]).toMatchObject({ pool: 'main', factory: 'database', reclaimed: false })
    expect(leaks[0]!.stack).toContain('keeping.test.ts')
    expect(pool.metrics().leaksTotal).toBe(1)
    lease.release()
    await database.acquire()
    await clock.advance(6_000)
    expect(leaks).toHaveLength(2)
  })

  test('C10: a lease that nobody has any more is taken back by the garbage collector, its connection closed', async () => {
    const { database, clock, leaks, pool, server } = make({ max: 1, leakThresholdMs: 60_000 })
    await (async () => {
      await database.acquire()
    })()
    await clock.advance(2_000)
    for (let turn = 0; turn < 100 && leaks.length === 0; turn++) {
      collectGarbage()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    expect(leaks).toMatchObject([{ reclaimed: true }])
    expect(server.destroyed).toBe(1)
    expect(pool.metrics()).toMatchObject({ activeConnections: 0, reclaimedTotal: 1 })
    expect((await database.acquire()).connection.id).toBe(2)
  })

  test('C10: a lease that is still held is left alone, however long', async () => {
    const { database, clock, leaks } = make({ max: 1 })
    const lease = await database.acquire()
    await clock.advance(600_000)
    for (let turn = 0; turn < 5; turn++) {
      collectGarbage()
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    expect(lease.released).toBe(false)
    expect(leaks).toEqual([])
    lease.release()
  })
})

describe('C11: drain', () => {
  test('C11: refuses new requests, serves those that wait, waits for loans and closes everything', async () => {
    const { database, pool, server, clock, transitions } = make({ max: 1 })
    const lease = await database.acquire()
    const waiting = database.acquire()
    const drained = pool.drain()
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_draining' })
    expect(await settled(drained)).toBe(false)
    lease.release()
    const last = await waiting
    expect(await settled(drained)).toBe(false)
    last.release()
    expect(await drained).toEqual({ forced: 0 })
    expect(server.open).toBe(0)
    expect(pool.metrics().totalConnections).toBe(0)
    expect(clock.timers.size).toBe(0)
    expect(transitions.map((event) => event.type)).toEqual(['draining', 'drained'])
  })

  test('C11: at the deadline those who wait are refused and connections on loan are closed', async () => {
    const { database, pool, server, clock } = make({ max: 1 })
    const lease = await database.acquire()
    const waiting = failure(database.acquire())
    const drained = pool.drain({ deadlineMs: 1_000 })
    await clock.advance(999)
    expect(await settled(drained)).toBe(false)
    await clock.advance(1)
    expect(await waiting).toMatchObject({ code: 'pool_draining' })
    expect(await drained).toEqual({ forced: 1 })
    expect(server.open).toBe(0)
    expect(() => lease.connection).toThrow(expect.objectContaining({ code: 'lease_released' }))
    lease.release()
  })

  test('C11: a second drain answers the same, and a request after it is refused', async () => {
    const { pool, database } = make({ min: 1 })
    await pool.start()
    const [first, second] = await Promise.all([pool.drain(), pool.drain()])
    expect(first).toBe(second)
    expect(await failure(database.acquire())).toMatchObject({ code: 'pool_draining' })
    expect(database.tryAcquire()).toBeUndefined()
  })

  test('C11: a connect that is under way is given up, and what it makes is closed', async () => {
    const { pool, server, clock, transitions } = make({ min: 1, max: 1 })
    const gate = deferred()
    server.onCreate = () => gate.promise
    pool.start().catch(() => {})
    const drained = pool.drain()
    await clock.advance(0)
    expect(server.contexts[0]!.signal.aborted).toBe(true)
    gate.resolve()
    await drained
    expect(server.open).toBe(0)
    expect(transitions.map((event) => event.type)).toEqual(['draining', 'drained'])
    expect(pool.metrics().connectionErrors).toBe(0)
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
    'C11: a `deadlineMs` of %s is refused and ends nothing',
    async (deadlineMs) => {
      const { pool, database } = make()
      const lease = await database.acquire()
      expect(await failure(pool.drain({ deadlineMs }))).toMatchObject({ code: 'invalid_option' })
      expect(lease.released).toBe(false)
      lease.release()
      ;(await database.acquire()).release()
    },
  )

  test('C11: a connection that cannot be closed holds the drain no longer than `destroyTimeoutMs`', async () => {
    const { pool, server, clock } = make({ min: 1, destroyTimeoutMs: 300 })
    await pool.start()
    server.onDestroy = () => new Promise(() => {})
    const drained = pool.drain()
    await clock.advance(299)
    expect(await settled(drained)).toBe(false)
    await clock.advance(1)
    await drained
  })
})
