import {
  CircuitState,
  ConsecutiveBreaker,
  CountBreaker,
  circuitBreaker,
  handleAll,
  handleWhen,
  type IBreaker,
} from 'cockatiel'
import { CircuitBreaker } from '../../src/index.ts'

/** The same thing done on bare cockatiel and here. */
export interface Scenario {
  bare(): unknown
  ours(): unknown
}

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const down = (): Promise<never> => Promise.reject(new Error('down'))
const quietly = (call: Promise<unknown>): Promise<unknown> => call.catch((error: Error) => error)
const actor = 'test'

/** A bare policy that has opened and whose wait is over. */
async function openedBare(calls: number, breaker: IBreaker = new ConsecutiveBreaker(1)) {
  const policy = circuitBreaker(handleAll, { halfOpenAfter: 0, breaker, halfOpenSampling: { calls, threshold: 0 } })
  await quietly(policy.execute(down))
  return policy
}

async function openedOurs(halfOpenMaxCalls: number, more: object = {}) {
  let nowMs = 0
  const breaker = new CircuitBreaker({
    name: 'x',
    failureThreshold: 1,
    openMs: 1_000,
    halfOpenMaxCalls,
    now: () => nowMs,
    ...more,
  })
  await quietly(breaker.run(down))
  nowMs += 1_000
  return {
    breaker,
    advance(ms: number) {
      nowMs += ms
    },
  }
}

/** Ten callers at half-open; how many ran while the trials were out, and how many at once after them. */
async function queue(run: (fn: () => Promise<string>) => Promise<unknown>): Promise<unknown> {
  let running = 0
  let most = 0
  const gates: (() => void)[] = []
  const calls = Array.from({ length: 10 }, () =>
    quietly(
      run(() => {
        most = Math.max(most, ++running)
        return new Promise((resolve) => {
          gates.push(() => {
            running--
            resolve('ok')
          })
        })
      }),
    ),
  )
  await tick()
  const trials = most
  for (const open of gates.splice(0)) open()
  await tick()
  const afterwards = most
  for (const open of gates.splice(0)) open()
  await Promise.all(calls)
  return { trials, afterwards }
}

const wallClock = Date.now
function stepped<Result>(ms: number, work: () => Result): Result {
  Date.now = () => wallClock() + ms
  try {
    return work()
  } finally {
    Date.now = wallClock
  }
}

export const scenarios: Readonly<Record<string, Scenario>> = {
  'half-open queues callers and lets them loose at once': {
    bare: async () => {
      const policy = await openedBare(3)
      return queue((fn) => policy.execute(fn))
    },
    ours: async () => {
      const { breaker } = await openedOurs(3)
      return queue((fn) => breaker.run(fn))
    },
  },
  'a caller that waits for a hung trial waits for ever': {
    bare: async () => {
      const policy = await openedBare(1)
      void policy.execute(() => new Promise(() => {}))
      return quietly(policy.execute(() => 'second'))
    },
    ours: async () => {
      const { breaker, advance } = await openedOurs(1)
      void breaker.run(() => new Promise(() => {}))
      const second = await breaker.run(() => 'second').catch((error: { code: string }) => error.code)
      advance(2_000)
      return [second, await breaker.run(() => 'third'), breaker.state]
    },
  },
  'a caller that waits cannot be aborted': {
    bare: async () => {
      const policy = await openedBare(1)
      void policy.execute(() => new Promise(() => {}))
      const controller = new AbortController()
      const call = quietly(policy.execute(() => 'second', controller.signal))
      controller.abort()
      return call
    },
    ours: async () => {
      const { breaker } = await openedOurs(1)
      void breaker.run(() => new Promise(() => {}))
      const controller = new AbortController()
      const call = breaker
        .run(() => 'second', { signal: controller.signal })
        .catch((error: { code: string }) => error.code)
      controller.abort()
      return call
    },
  },
  'an IBreaker that throws at the close leaves half-open full': {
    bare: async () => {
      const breaker: IBreaker = {
        state: undefined,
        success() {
          throw new Error('broken')
        },
        failure: () => true,
      }
      const policy = await openedBare(1, breaker)
      await quietly(policy.execute(() => 'trial'))
      return policy.execute(() => 'next')
    },
    ours: async () => {
      const { breaker } = await openedOurs(1, {
        onTransition() {
          throw new Error('broken')
        },
      })
      return [await breaker.run(() => 'trial'), await breaker.run(() => 'next')]
    },
  },
  'half-open lasts for ever when its trials do not come': {
    bare: async () => {
      const policy = await openedBare(3)
      await policy.execute(() => 'one of three')
      await new Promise((resolve) => setTimeout(resolve, 50))
      return CircuitState[policy.state]
    },
    ours: async () => {
      const { breaker, advance } = await openedOurs(3)
      await breaker.run(() => 'one of three')
      advance(1_000)
      return [breaker.state, breaker.ready]
    },
  },
  'an error that does not count closes half-open, also the abort of a caller': {
    bare: async () => {
      const policy = circuitBreaker(
        handleWhen((error) => (error as Error).message === 'down'),
        { halfOpenAfter: 0, breaker: new ConsecutiveBreaker(1) },
      )
      await quietly(policy.execute(down))
      const controller = new AbortController()
      controller.abort(new Error('gone'))
      await quietly(policy.execute(() => Promise.reject(controller.signal.reason), controller.signal))
      return CircuitState[policy.state]
    },
    ours: async () => {
      const { breaker } = await openedOurs(1, {
        expectedErrors: [(error: unknown) => (error as Error).message === 'down'],
      })
      const controller = new AbortController()
      await quietly(
        breaker.run(
          () => {
            controller.abort(new Error('gone'))
            return Promise.reject(controller.signal.reason)
          },
          { signal: controller.signal },
        ),
      )
      return breaker.state
    },
  },
  'the wall clock set back keeps it open': {
    bare: async () => {
      const policy = await openedBare(1)
      return stepped(-3_600_000, () => policy.execute(() => 'called').catch((error: Error) => error.constructor.name))
    },
    ours: async () => {
      const { breaker } = await openedOurs(1)
      return stepped(-3_600_000, () => breaker.run(() => 'called'))
    },
  },
  'the wall clock set forward ends the wait': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(1) })
      await quietly(policy.execute(down))
      return stepped(3_600_000, () => policy.execute(() => 'called'))
    },
    ours: async () => {
      const { breaker } = await openedOurs(1)
      breaker.reset({ actor })
      await quietly(breaker.run(down))
      return stepped(3_600_000, () => breaker.run(() => 'called').catch((error: { code: string }) => error.code))
    },
  },
  'a throwing listener replaces the error of the caller': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(1) })
      policy.onBreak(() => {
        throw new Error('listener')
      })
      return policy.execute(down).catch((error: Error) => error.message)
    },
    ours: async () => {
      const breaker = new CircuitBreaker({
        name: 'x',
        failureThreshold: 1,
        onTransition() {
          throw new Error('listener')
        },
      })
      return breaker.run(down).catch((error: Error) => error.message)
    },
  },
  'late failures of the closed time open it out of half-open': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, {
        halfOpenAfter: 0,
        breaker: new CountBreaker({ threshold: 0.5, size: 2 }),
        halfOpenSampling: { calls: 2, threshold: 0 },
      })
      let failLate = (): void => {}
      const late = quietly(
        policy.execute(
          () =>
            new Promise((_, reject) => {
              failLate = () => reject(new Error('late'))
            }),
        ),
      )
      await quietly(policy.execute(down))
      await quietly(policy.execute(down))
      await policy.execute(() => 'trial')
      failLate()
      await late
      return CircuitState[policy.state]
    },
    ours: async () => {
      let nowMs = 0
      const breaker = new CircuitBreaker({
        name: 'x',
        failureThreshold: 1,
        openMs: 1_000,
        halfOpenMaxCalls: 2,
        now: () => nowMs,
      })
      await breaker.run(() => 'load')
      let failLate = (): void => {}
      const late = quietly(
        breaker.run(
          () =>
            new Promise((_, reject) => {
              failLate = () => reject(new Error('late'))
            }),
        ),
      )
      await quietly(breaker.run(down))
      nowMs += 1_000
      await breaker.run(() => 'trial')
      failLate()
      await late
      return breaker.state
    },
  },
  'state from outside overrides the configuration': {
    bare: () => {
      const breaker = new CountBreaker({ threshold: 0.5, size: 4 })
      circuitBreaker(handleAll, {
        halfOpenAfter: 0,
        breaker,
        initialState: { ownState: { value: CircuitState.Closed }, breakerState: { threshold: 0 } },
      })
      return (breaker as unknown as { threshold: number }).threshold
    },
    ours: () => {
      const breaker = new CircuitBreaker({ name: 'x' })
      const { failureThreshold, ...snapshot } = { ...breaker.snapshot(), failureThreshold: 0 }
      void failureThreshold
      return [breaker.hydrate({ ...snapshot, failureThreshold: 0 }), breaker.state]
    },
  },
  'an opening in the future is open for as long': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, {
        halfOpenAfter: 1,
        breaker: new ConsecutiveBreaker(1),
        initialState: {
          ownState: { value: CircuitState.Open, openedAt: Date.now() + 1e12, attemptNo: 1 },
          breakerState: 0,
        } as never,
      })
      await new Promise((resolve) => setTimeout(resolve, 20))
      return policy.execute(() => 'called').catch((error: Error) => error.constructor.name)
    },
    ours: () => {
      const breaker = new CircuitBreaker({ name: 'x', openMs: 1 })
      return [breaker.hydrate({ ...breaker.snapshot(), state: 'OPEN', openRemainingMs: 1e12 }), breaker.state]
    },
  },
  'isolation that is restored can never be released': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 1, breaker: new ConsecutiveBreaker(1) })
      const handle = policy.isolate()
      const restored = circuitBreaker(handleAll, {
        halfOpenAfter: 1,
        breaker: new ConsecutiveBreaker(1),
        initialState: JSON.parse(JSON.stringify(policy.toJSON())),
      })
      handle.dispose()
      restored.isolate().dispose()
      return restored.execute(() => 'called').catch((error: Error) => error.constructor.name)
    },
    ours: async () => {
      const breaker = new CircuitBreaker({ name: 'x' })
      breaker.forceOpen({ actor })
      const restored = new CircuitBreaker({ name: 'x' })
      restored.hydrate(JSON.parse(JSON.stringify(breaker.snapshot())))
      const forced = restored.forced
      restored.reset({ actor })
      return [forced, await restored.run(() => 'called')]
    },
  },
  'there is no way to reset it and clear its window': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(3) })
      for (let n = 0; n < 3; n++) await quietly(policy.execute(down))
      policy.isolate().dispose()
      const closed = CircuitState[policy.state]
      await quietly(policy.execute(down))
      return [closed, 'reset' in policy, CircuitState[policy.state]]
    },
    ours: async () => {
      const breaker = new CircuitBreaker({ name: 'x', failureThreshold: 3 })
      for (let n = 0; n < 3; n++) await quietly(breaker.run(down))
      breaker.reset({ actor })
      await quietly(breaker.run(down))
      return [breaker.state, breaker.failureCount]
    },
  },
  'a refusal names nothing and does not say when': {
    bare: async () => {
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(1) })
      await quietly(policy.execute(down))
      return Object.keys((await quietly(policy.execute(down))) as object)
    },
    ours: async () => {
      const { breaker } = await openedOurs(1)
      breaker.reset({ actor })
      await quietly(breaker.run(down))
      const error = (await quietly(breaker.run(down))) as Error & { circuitBreakerName: string; retryAfterMs: number }
      return [error.circuitBreakerName, error.retryAfterMs]
    },
  },
  'its window of failures does not run while nobody calls': {
    bare: async () => {
      const breaker = new CountBreaker({ threshold: 0.5, size: 4 })
      const policy = circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker })
      await quietly(policy.execute(down))
      await stepped(86_400_000, () => quietly(policy.execute(down)))
      await stepped(2 * 86_400_000, () => quietly(policy.execute(down)))
      await stepped(3 * 86_400_000, () => quietly(policy.execute(down)))
      return CircuitState[policy.state]
    },
    ours: async () => {
      let nowMs = 0
      const breaker = new CircuitBreaker({ name: 'x', failureThreshold: 3, now: () => nowMs })
      for (let day = 0; day < 4; day++) {
        await quietly(breaker.run(down))
        nowMs += 86_400_000
      }
      return [breaker.state, breaker.failureCount]
    },
  },
}
