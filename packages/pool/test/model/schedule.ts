import type { ConnectionPool, Lease, PoolError } from '@gw/pool'
import fc from 'fast-check'
import { FakeClock, settle } from '../fake-clock.ts'
import { type FakeConnection, FakeServer } from '../fake-server.ts'

/** One thing that happens to a pool. */
type Happening =
  | { readonly kind: 'acquire'; readonly timeoutMs: number }
  | { readonly kind: 'release' | 'releaseTwice' | 'abort' | 'lose'; readonly which: number }
  | { readonly kind: 'advance'; readonly ms: number }
  | { readonly kind: 'server'; readonly mode: 'well' | 'refusing' | 'hanging' }
  | { readonly kind: 'resize'; readonly max: number }
  | { readonly kind: 'refresh' }

/** Happenings as they come in a life: mostly acquire and release, now and then a fault. */
const schedules: fc.Arbitrary<Happening[]> = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('acquire' as const), timeoutMs: fc.constantFrom(20, 100, 5_000) }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'release' as const,
          'release' as const,
          'releaseTwice' as const,
          'abort' as const,
          'lose' as const,
        ),
        which: fc.nat(7),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(1, 25, 120, 1_000) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('server' as const),
        mode: fc.constantFrom('well' as const, 'refusing' as const, 'hanging' as const),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('resize' as const), max: fc.integer({ min: 1, max: 4 }) }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'refresh' as const }) },
  ),
  { minLength: 4, maxLength: 24 },
)

interface Asked {
  readonly abort: AbortController
  readonly dueMs: number
  state: 'waiting' | 'served' | 'refused'
  settledMs: number
  lease: Lease<FakeConnection> | undefined
}

/** The source that is tried. */
export interface Machine {
  readonly ConnectionPool: typeof ConnectionPool
}

/** Plays schedules on a machine; rejects with the shortest one that breaks a law. */
export async function checkSchedules(machine: Machine, runs: number): Promise<void> {
  await fc.assert(
    fc.asyncProperty(schedules, (happenings) => play(machine, happenings)),
    { numRuns: runs },
  )
}

/** Runs a schedule and throws at the first law that does not hold. */
async function play({ ConnectionPool }: Machine, happenings: readonly Happening[]): Promise<void> {
  const clock = new FakeClock()
  const server = new FakeServer()
  let mode: 'well' | 'refusing' | 'hanging' = 'well'
  let hung: (() => void)[] = []
  server.onCreate = () => {
    if (mode === 'refusing') return Promise.reject(new Error('refused'))
    if (mode === 'well') return
    return new Promise((_, reject) => hung.push(() => reject(new Error('broken off'))))
  }
  const pool = new ConnectionPool({
    name: 'model',
    min: 0,
    max: 3,
    createTimeoutMs: 200,
    validateAfterIdleMs: 0,
    clock,
    now: () => clock.nowMs,
    random: () => 0.5,
  })
  const named = pool.register('c', server.factory())
  const asked: Asked[] = []
  let largestMax = 3
  /** Connections up to this one were there at the last refresh. */
  let refreshed = 0
  const held = () => asked.filter(({ lease }) => lease !== undefined && !lease.released)
  const law = (holds: boolean, what: string) => {
    if (!holds) throw new Error(what)
  }

  let broken: string | undefined
  const check = () => {
    law(broken === undefined, broken ?? '')
    const {
      activeConnections,
      idleConnections,
      pendingConnections,
      totalConnections,
      maxConnections,
      waitingRequests,
    } = pool.metrics()
    law(activeConnections + idleConnections + pendingConnections === totalConnections, 'C12: the figures do not add up')
    law(server.peak <= largestMax, `C3: ${server.peak} connections where ${largestMax} are allowed`)
    law(maxConnections <= largestMax, 'C12: max is not what was set')
    const lent = held().map(({ lease }) => lease!.connection.id)
    law(new Set(lent).size === lent.length, 'P8: two have one connection')
    law(activeConnections === lent.length, `C12: ${activeConnections} active, ${lent.length} lent`)
    law(
      waitingRequests <= asked.filter(({ state }) => state === 'waiting').length,
      'C2: somebody waits who was answered',
    )
    for (const one of asked) {
      law(one.state !== 'waiting' || clock.nowMs <= one.dueMs + 50, 'C2: a request waits past its time')
      law(one.settledMs <= one.dueMs + 50, 'C2: a request was answered past its time')
    }
  }

  for (const happening of happenings) {
    if (happening.kind === 'acquire') {
      const abort = new AbortController()
      const one: Asked = {
        abort,
        dueMs: clock.nowMs + happening.timeoutMs,
        state: 'waiting',
        settledMs: 0,
        lease: undefined,
      }
      asked.push(one)
      named.acquire({ signal: abort.signal, timeoutMs: happening.timeoutMs }).then(
        (lease) => {
          one.state = 'served'
          one.settledMs = clock.nowMs
          one.lease = lease
          if (lease.connection.id <= refreshed) broken = 'C8: a connection from before a refresh is lent'
        },
        (error: PoolError) => {
          one.state = 'refused'
          one.settledMs = clock.nowMs
          if (typeof error.code !== 'string') broken = 'an error without a code'
        },
      )
    } else if (happening.kind === 'release' || happening.kind === 'releaseTwice') {
      const lease = held()[happening.which]?.lease
      lease?.release()
      if (happening.kind === 'releaseTwice') lease?.release()
    } else if (happening.kind === 'abort') {
      asked.filter(({ state }) => state === 'waiting')[happening.which]?.abort.abort()
    } else if (happening.kind === 'lose') {
      const connection = server.connections[happening.which]
      if (connection !== undefined) {
        connection.alive = false
        connection.lost()
      }
    } else if (happening.kind === 'advance') await clock.advance(happening.ms)
    else if (happening.kind === 'server') {
      mode = happening.mode
      for (const end of hung.splice(0)) end()
    } else if (happening.kind === 'resize') {
      pool.resize({ min: 0, max: happening.max })
      largestMax = Math.max(largestMax, happening.max)
    } else {
      pool.refresh()
      refreshed = server.made
    }
    await settle()
    check()
  }

  // The quiet end: faults stop, everybody gives back, and within bounds everything is as new.
  mode = 'well'
  for (const end of hung.splice(0)) end()
  hung = []
  for (const { abort, state } of asked) if (state === 'waiting') abort.abort()
  await clock.advance(10)
  for (const { lease } of held()) lease!.release()
  await clock.advance(20_000)
  check()
  law(pool.metrics().waitingRequests === 0, 'C2: somebody waits though nobody asks')
  const { maxConnections } = pool.metrics()
  const last: Lease<FakeConnection>[] = []
  // After an outage one probe goes first, and the others follow.
  for (let tries = 0; tries < 10 && last.length < maxConnections; tries++) {
    for (let i = last.length; i < maxConnections; i++) {
      named.acquire({ timeoutMs: 1_000 }).then(
        (lease) => last.push(lease),
        () => {},
      )
    }
    await clock.advance(2_000)
  }
  law(last.length === maxConnections, `P8: of ${maxConnections} places ${maxConnections - last.length} are lost`)
  for (const lease of last) lease.release()
  const drained = pool.drain({ deadlineMs: 1_000 })
  await clock.advance(2_000)
  await drained
  law(server.open === 0, `C11: ${server.open} connections are left`)
}
