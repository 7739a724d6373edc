import { expect, test } from 'vitest'
import { CircuitBreaker } from '../src/circuit-breaker.ts'
import {
  type BreakerSharing,
  type BreakerStore,
  type ClusterRequest,
  type ClusterState,
  type ShareBreakersOptions,
  shareBreakers,
} from '../src/sharing.ts'
import { bench, codeOf, type Deferred, deferred } from './fake-clock.ts'

const closed: ClusterState = {
  generation: 0,
  state: 'closed',
  remainingMs: 0,
  votes: [],
  granted: [],
  contended: false,
  calls: 0,
  failures: 0,
}
const opened: ClusterState = { ...closed, generation: 1, state: 'open', remainingMs: 60_000 }
const operator = { actor: 'test' }

/** Lets everything run that waits for nothing but its turn. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** One node of a cluster whose store says what a test wants, on clocks and timers that only move when told. */
function node(options: Partial<ShareBreakersOptions> = {}, watch?: BreakerStore['watch']) {
  const made = bench({ failureThreshold: 2 })
  const requests: ClusterRequest[] = []
  const timers = new Set<{ readonly task: () => void; readonly delayMs: number }>()
  const store = {
    answer: closed as ClusterState | Error | (() => Promise<ClusterState>),
    async exchange(_name: string, request: ClusterRequest): Promise<ClusterState> {
      requests.push(request)
      const { answer } = store
      if (answer instanceof Error) throw answer
      return typeof answer === 'function' ? answer() : answer
    },
    ...(watch === undefined ? {} : { watch }),
  }
  const sharing: BreakerSharing = shareBreakers({
    store,
    breakers: [['x', made.breaker]],
    node: 'a',
    pollMs: 777,
    now: made.clock.now,
    delay(task, delayMs) {
      const timer = { task, delayMs }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    ...options,
  })
  const due = (delayMs: number) => [...timers].filter((timer) => timer.delayMs === delayMs)
  /** Runs the timers of so many milliseconds. */
  const fire = async (delayMs: number): Promise<void> => {
    for (const timer of due(delayMs)) {
      timers.delete(timer)
      timer.task()
    }
    await settle()
  }
  return {
    ...made,
    store,
    sharing,
    requests,
    fire,
    polls: () => due(777).length,
    /** One poll; answers what it told. */
    async poll(): Promise<ClusterRequest> {
      await fire(777)
      return requests.at(-1)!
    },
    /** Holds exchanges back until they are told to answer. */
    hold(): Deferred<ClusterState> {
      const held = deferred<ClusterState>()
      store.answer = () => held.promise
      return held
    },
  }
}

const failing = (run: (call: () => Promise<never>) => Promise<unknown>) =>
  codeOf(run(() => Promise.reject(Object.assign(new Error('down'), { code: 'down' }))))

test('B14: a node that comes while the cluster is half-open opens, and calls nothing without a place', async () => {
  const { breaker, store, sharing, requests } = node()
  store.answer = { ...closed, generation: 2, state: 'half_open' }
  await sharing.start()
  expect([breaker.state, breaker.ready]).toEqual(['OPEN', true])
  expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
  store.answer = { ...closed, generation: 2, state: 'half_open', granted: ['a:1'] }
  await settle()
  expect(requests.at(-1)).toMatchObject({ wanted: 1 })
})

test('B14: a node that the cluster has closed does not vote for what it had found before', async () => {
  const { breaker, store, sharing, clock, poll } = node()
  store.answer = opened
  await sharing.start()
  store.answer = new Error('no Redis')
  await poll()
  clock.advance(60_000)
  expect(await failing((call) => breaker.run(call))).toBe('down')
  expect([breaker.state, breaker.ready]).toEqual(['OPEN', false])
  store.answer = { ...closed, generation: 2 }
  await poll()
  expect(breaker.state).toBe('CLOSED')
  expect(await poll()).not.toHaveProperty('voteOpenMs')
})

test('B14: a reset is told, also one that comes while an earlier one is being told', async () => {
  const { breaker, sharing, requests, hold, store } = node()
  await sharing.start()
  const held = hold()
  breaker.reset(operator)
  breaker.trip()
  breaker.reset(operator)
  expect(requests.at(-1)).toMatchObject({ withdraw: true, close: true })
  store.answer = closed
  held.resolve(closed)
  await settle()
  expect(requests.at(-1)).toMatchObject({ withdraw: true, close: true })
  breaker.trip()
  await settle()
  expect(requests.at(-1)).toMatchObject({ withdraw: false, close: false, voteOpenMs: 60_000 })
})

test('B14: a vote that comes while an earlier one is being told is told too', async () => {
  const { breaker, sharing, requests, hold, store } = node()
  await sharing.start()
  const held = hold()
  breaker.trip()
  expect(requests.at(-1)).toMatchObject({ voteOpenMs: 60_000 })
  breaker.reset(operator)
  breaker.trip({ openMs: 5_000 })
  store.answer = closed
  held.resolve(closed)
  await settle()
  expect(requests.at(-1)).toMatchObject({ withdraw: true, voteOpenMs: 5_000 })
})

test('B14: a trial that hangs on a node of a closed cluster is a vote', async () => {
  const { breaker, sharing, requests, clock, open, poll } = node()
  await sharing.start()
  await open()
  await settle()
  clock.advance(60_000)
  void breaker.run(() => new Promise(() => {}))
  clock.advance(60_000)
  await poll()
  expect(breaker.figures.hung).toBe(1)
  expect(requests.flatMap(({ voteOpenMs = [] }) => voteOpenMs)).toEqual([60_000, 60_000])
})

test('B14: of subscriptions that come late one is kept, and none after `stop`', async () => {
  const come: (() => void)[] = []
  let held = 0
  const { sharing, fire, poll } = node({}, () => {
    return new Promise((resolve) => {
      come.push(() => {
        held++
        resolve(async () => {
          held--
        })
      })
    })
  })
  const started = sharing.start()
  await fire(1_000)
  await started
  await poll()
  await poll()
  for (const arrive of come.splice(0)) arrive()
  await settle()
  expect(held).toBe(1)
  await sharing.stop()
  expect(held).toBe(0)
})

test('B14: sharing that is started again polls once', async () => {
  const { sharing, polls } = node()
  const first = sharing.start()
  await sharing.stop()
  await Promise.all([first, sharing.start()])
  expect(polls()).toBe(1)
  await sharing.stop()
  expect(polls()).toBe(0)
})

test('B14: `stop` ends the subscription, the poll and the link, also while an exchange is under way', async () => {
  let held = 0
  const { breaker, sharing, requests, hold, poll, polls } = node({}, async () => {
    held++
    return async () => {
      held--
    }
  })
  await sharing.start()
  expect([held, polls()]).toEqual([1, 1])
  const late = hold()
  await poll()
  await sharing.stop()
  late.resolve(opened)
  await settle()
  expect([held, polls(), breaker.state, sharing.health.state]).toEqual([0, 0, 'CLOSED', 'idle'])
  const told = requests.length
  breaker.trip()
  await settle()
  expect(requests.length).toBe(told)
})

test('B14: a node that knew of an open cluster makes its own trials while the store is away', async () => {
  const { breaker, store, sharing, clock, pass, poll } = node()
  store.answer = opened
  await sharing.start()
  clock.advance(60_000)
  expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
  store.answer = new Error('no Redis')
  await poll()
  expect([await pass(), await pass(), breaker.state]).toEqual(['ok', 'ok', 'CLOSED'])
})

/** A node with one trial to make in a half-open cluster. */
async function withPlace(options: Partial<ShareBreakersOptions> = {}) {
  const made = node(options)
  const halfOpen = { ...opened, generation: 2, state: 'half_open', remainingMs: 0 } as const
  made.store.answer = opened
  await made.sharing.start()
  made.clock.advance(60_000)
  made.store.answer = { ...halfOpen, granted: ['a:1'] }
  await codeOf(made.breaker.run(() => 'x'))
  await settle()
  made.store.answer = halfOpen
  return { ...made, halfOpen }
}

test('B14: what became of a trial is told until the store has heard it', async () => {
  const { breaker, store, halfOpen, requests, pass, poll } = await withPlace()
  store.answer = new Error('no Redis')
  expect(await pass()).toBe('ok')
  await settle()
  const settled = [{ token: 'a:1', generation: 2, verdict: 'ok' }]
  expect(requests.at(-1)).toMatchObject({ settled, held: [] })
  store.answer = halfOpen
  expect(await poll()).toMatchObject({ settled })
  expect(await poll()).toMatchObject({ settled: [] })
  expect(breaker.figures.trials).toBe(1)
})

test('B14: a trial that hangs is told as a failure', async () => {
  const { breaker, clock, requests, poll } = await withPlace()
  void breaker.run(() => new Promise(() => {}))
  expect(await poll()).toMatchObject({ held: ['a:1'], settled: [] })
  clock.advance(60_000)
  await poll()
  expect([breaker.state, breaker.figures.hung]).toEqual(['OPEN', 1])
  expect(requests.flatMap(({ settled }) => settled)).toEqual([{ token: 'a:1', generation: 2, verdict: 'failure' }])
})

test('B14: a place is used while its lease runs, which an exchange renews', async () => {
  const { breaker, clock, poll, pass } = await withPlace({ leaseMs: 10_000 })
  clock.advance(9_999)
  await poll()
  clock.advance(9_999)
  expect(await pass()).toBe('ok')
  const late = await withPlace({ leaseMs: 10_000 })
  late.clock.advance(10_000)
  expect(await codeOf(late.breaker.run(() => 'x'))).toBe('breaker_open')
  expect([breaker.figures.trials, late.breaker.figures.trials]).toEqual([1, 0])
})

test('B14: a place of an earlier half-open time is not used', async () => {
  const { breaker, store, clock, poll } = await withPlace()
  store.answer = { ...opened, generation: 3, remainingMs: 5_000 }
  await poll()
  clock.advance(5_000)
  store.answer = { ...opened, generation: 4, state: 'half_open' }
  await poll()
  expect(await codeOf(breaker.run(() => 'x'))).toBe('breaker_open')
  expect(breaker.figures.trials).toBe(0)
})

test('B14: trials that close the breaker of one node do not close the cluster', async () => {
  const { breaker, sharing, requests, clock, open, pass } = node()
  await sharing.start()
  await open()
  clock.advance(60_000)
  await pass()
  await pass()
  await settle()
  expect(breaker.state).toBe('CLOSED')
  expect(requests.at(-1)).toMatchObject({ withdraw: true, close: false })
})

test('B14: neither an operator, nor a snapshot, nor trials that do not come are a vote', async () => {
  const { breaker, sharing, requests, clock, open, pass } = node()
  await open()
  const snapshot = breaker.snapshot()
  breaker.reset(operator)
  await sharing.start()
  breaker.forceOpen(operator)
  breaker.reset(operator)
  breaker.hydrate(snapshot)
  await settle()
  clock.advance(60_000)
  await pass()
  clock.advance(60_000)
  expect([breaker.state, breaker.ready]).toEqual(['OPEN', true])
  await settle()
  expect(requests.filter((request) => 'voteOpenMs' in request)).toEqual([])
})

test('B14: a vote for a generation that is over is given again', async () => {
  const { breaker, store, sharing, requests, poll } = node()
  await sharing.start()
  store.answer = { ...closed, generation: 2 }
  breaker.trip()
  await settle()
  expect(requests.at(-1)).toMatchObject({ generation: 0, voteOpenMs: 60_000 })
  expect(await poll()).toMatchObject({ generation: 2, voteOpenMs: 60_000 })
  expect(await poll()).not.toHaveProperty('voteOpenMs')
})

test('B14: a store that was emptied closes nobody', async () => {
  const { breaker, store, sharing, poll } = node()
  store.answer = opened
  await sharing.start()
  store.answer = closed
  await poll()
  expect(breaker.state).toBe('OPEN')
})

test('B14: each call is told once', async () => {
  const { sharing, pass, fail, poll } = node()
  await sharing.start()
  await pass()
  await fail()
  expect(await poll()).toMatchObject({ calls: 2, failures: 1 })
  expect(await poll()).toMatchObject({ calls: 0, failures: 0 })
})

test('B14: a subscription that fails is tried again by the poll, and one that never answers holds `start` no longer than the deadline', async () => {
  let asked = 0
  const failed = node({}, async () => {
    if (++asked === 1) throw new Error('not yet')
    return async () => {}
  })
  await failed.sharing.start()
  await failed.poll()
  await failed.poll()
  expect(asked).toBe(2)
  const mute = node({ deadlineMs: 50 }, () => new Promise(() => {}))
  const started = mute.sharing.start()
  await mute.fire(50)
  await started
  expect(mute.polls()).toBe(1)
})

test('B14: a warning that throws changes nothing, and nodes without names differ', async () => {
  const warned = node({
    onWarning() {
      throw new Error('in the hook')
    },
  })
  warned.store.answer = new Error('no Redis')
  await warned.sharing.start()
  expect(warned.sharing.health).toMatchObject({ state: 'local', reason: 'no Redis' })
  const names = await Promise.all(
    [0.25, 0.75].map(async (chance) => {
      const unnamed = node({ node: undefined as never, random: () => chance })
      await unnamed.sharing.start()
      return unnamed.requests[0]!.node
    }),
  )
  expect(new Set(names).size).toBe(2)
})

test('B14: a reset is told until the store has heard it', async () => {
  const { breaker, store, sharing, poll } = node()
  await sharing.start()
  store.answer = new Error('no Redis')
  breaker.reset(operator)
  await settle()
  store.answer = closed
  expect(await poll()).toMatchObject({ withdraw: true, close: true })
  expect(await poll()).toMatchObject({ withdraw: false, close: false })
})

test('B14: a half-open cluster changes neither the wait nor the trials of a node that is not closed', async () => {
  const { breaker, store, sharing, clock, poll } = node()
  store.answer = new Error('no Redis')
  await sharing.start()
  breaker.trip()
  store.answer = { ...opened, generation: 2, state: 'half_open' }
  await poll()
  expect([breaker.state, breaker.ready]).toEqual(['OPEN', false])
  store.answer = new Error('no Redis')
  await poll()
  clock.advance(60_000)
  void breaker.run(() => new Promise(() => {}))
  store.answer = { ...opened, generation: 4, state: 'half_open' }
  await poll()
  expect(breaker.state).toBe('HALF_OPEN')
})

test('B14: refused callers make the node ask once in 100 ms', async () => {
  const { breaker, store, sharing, clock, requests } = node()
  store.answer = opened
  await sharing.start()
  clock.advance(60_000)
  const told = requests.length
  for (let ms = 0; ms < 200; ms += 50) {
    for (let call = 0; call < 10; call++) await codeOf(breaker.run(() => 'x'))
    await settle()
    clock.advance(50)
  }
  expect(requests.length - told).toBe(2)
})

test.each(['pollMs', 'deadlineMs'])('B14: a `%s` that no timer can keep is refused', (name) => {
  expect(() => node({ [name]: 2 ** 31 })).toThrow(`Expected \`${name}\` to be a number above 0 and up to`)
})

test('B14: a breaker that is added, replaced or taken away is shared, shared anew or left alone from the next poll on', async () => {
  const breakers = new Map<string, CircuitBreaker>()
  const { store, sharing, poll } = node({ breakers })
  await sharing.start()
  expect(Object.keys(sharing.health.breakers)).toEqual([])
  const [first, second] = [new CircuitBreaker({ name: 'y' }), new CircuitBreaker({ name: 'y' })]
  breakers.set('y', first)
  store.answer = opened
  await poll()
  expect([Object.keys(sharing.health.breakers), first.state]).toEqual([['y'], 'OPEN'])
  breakers.set('y', second)
  await poll()
  expect(second.state).toBe('OPEN')
  first.reset(operator)
  store.answer = { ...opened, generation: 2 }
  await poll()
  expect(first.state).toBe('CLOSED')
  breakers.delete('y')
  second.reset(operator)
  await poll()
  store.answer = { ...opened, generation: 3 }
  await poll()
  expect([Object.keys(sharing.health.breakers), second.state]).toEqual([[], 'CLOSED'])
})

test('B14: breakers that can be gone through once only stay shared', async () => {
  const breaker = new CircuitBreaker({ name: 'y' })
  const { store, sharing, poll } = node({ breakers: new Map([['y', breaker]]).entries() })
  await sharing.start()
  store.answer = opened
  await poll()
  expect(breaker.state).toBe('OPEN')
})
