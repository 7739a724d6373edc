import { CircuitBreaker, type CircuitBreakerOptions } from '../src/index.ts'

/** A monotonic clock and a wall clock that only move when told. */
export interface FakeClock {
  readonly now: () => number
  readonly wallNow: () => number
  advance(ms: number): void
  stepWall(ms: number): void
}

export function fakeClock(startMs = 1_000): FakeClock {
  let mono = startMs
  let wall = Date.UTC(2026, 0, 1)
  return {
    now: () => mono,
    wallNow: () => wall,
    advance(ms) {
      mono += ms
      wall += ms
    },
    stepWall(ms) {
      wall += ms
    },
  }
}

export interface Bench {
  readonly clock: FakeClock
  readonly breaker: CircuitBreaker
  /** One call that fails. */
  fail(error?: unknown): Promise<unknown>
  /** One call that is good. */
  pass(): Promise<unknown>
  /** Opens it by as many failures as it takes. */
  open(): Promise<void>
}

/** A breaker of 5 failures in 10 s that stays open 60 s and tries 2, on a clock of its own. */
export function bench(options: Partial<CircuitBreakerOptions> = {}): Bench {
  const clock = fakeClock()
  const breaker = new CircuitBreaker({
    name: 'billing',
    failureThreshold: 5,
    rollingWindowMs: 10_000,
    openMs: 60_000,
    halfOpenMaxCalls: 2,
    now: clock.now,
    wallNow: clock.wallNow,
    ...options,
  })
  return {
    clock,
    breaker,
    fail: (error = new Error('down')) =>
      breaker
        .run(() => {
          throw error
        })
        .then(undefined, (thrown: unknown) => thrown),
    pass: () => breaker.run(() => 'ok').then(undefined, (thrown: unknown) => thrown),
    async open() {
      while (breaker.state === 'CLOSED') {
        await breaker.run(() => Promise.reject(new Error('down'))).then(undefined, () => {})
      }
    },
  }
}

/** A promise and what settles it. */
export interface Deferred<Value> {
  readonly promise: Promise<Value>
  resolve(value: Value): void
  reject(error: unknown): void
}

export function deferred<Value = string>(): Deferred<Value> {
  let resolve!: (value: Value) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<Value>((ok, failed) => {
    resolve = ok
    reject = failed
  })
  return { promise, resolve, reject }
}

/** The code of what a promise rejects with; `undefined` when it resolves. */
export function codeOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: { code?: unknown }) => error.code ?? error,
  )
}
