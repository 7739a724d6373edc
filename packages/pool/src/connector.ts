import { unref } from './clock.ts'
import { type ConnectBreaker, type ConnectionFactory, isBreakerOpen } from './factory.ts'
import type { ResolvedOptions } from './options.ts'

/** What the connector tells its pool. */
export interface ConnectorEvents {
  /** A connect failed, or a breaker let it not through; nothing is tried before `retryAfterMs()` has gone by. */
  failed(error: unknown, byBreaker: boolean): void
  /** Something may be connected that was not to be before. */
  ready(): void
  /** The first success after failures. */
  recovered(): void
  /** The connection says that it has died. */
  lost(connection: object, cause: unknown): void
}

interface Test {
  readonly deadlineMs: number
  readonly done: (passed: boolean) => void
}

/** The shortest pause after a half-open breaker is full. */
const refusedPauseMs = 50

/**
 * Decides when the factory is called. After a failure one connect at a time is tried, at most one in each step of a
 * pause that doubles up to `maxBackoffMs`; each success doubles how many may run at once. With a breaker that is not
 * closed, the breaker decides instead.
 */
export class Connector<Connection extends object> {
  readonly #factory: ConnectionFactory<Connection>
  readonly #options: ResolvedOptions
  readonly #events: ConnectorEvents
  /** Calls of the factory that the pool still waits for. */
  inFlight = 0
  /** Places taken by connections that are being closed, and by connects that were given up but may yet succeed. */
  limbo = 0
  lastError: unknown
  #failures = 0
  /** Connects that were under way together are of one round: they fail for one reason, and count once. */
  #round = 0
  #retryAtMs = 0
  #blockedByBreaker = false
  #limit: number
  #timer: unknown
  #stopped = false
  readonly #tests: Set<Test> = new Set()
  #testTimer: unknown
  readonly #aborts: Set<AbortController> = new Set()
  readonly #live: WeakSet<Connection> = new WeakSet()

  constructor(factory: ConnectionFactory<Connection>, options: ResolvedOptions, events: ConnectorEvents) {
    this.#factory = factory
    this.#options = options
    this.#events = events
    this.#limit = options.connectConcurrency
  }

  /** Whether the last connect failed, or a breaker is in the way. */
  get failing(): boolean {
    return this.#failures > 0 || this.#blocked
  }

  /** Whether what is in the way is the breaker. */
  get blockedByBreaker(): boolean {
    return this.#blocked
  }

  /** Whether another connect may start, the size of the pool apart. */
  get admits(): boolean {
    if (this.#stopped) return false
    const now = this.#options.clock.now()
    const breaker = this.#factory.breaker
    if (breaker !== undefined && breaker.state !== 'CLOSED') {
      if (this.#blockedByBreaker && now < this.#retryAtMs) return false
      return this.inFlight < this.#options.connectConcurrency
    }
    if (this.#blockedByBreaker) {
      this.#blockedByBreaker = false
      this.#retryAtMs = 0
    }
    return this.inFlight < this.#limit && now >= this.#retryAtMs
  }

  /** How long until the next connect may be tried; at least 1 while failing. */
  retryAfterMs(): number {
    return Math.max(1, Math.ceil(this.#retryAtMs - this.#options.clock.now()))
  }

  /** Calls the factory, under its timeout and its breaker. */
  async connect(): Promise<Connection> {
    const { breaker } = this.#factory
    const round = this.#round
    const controller = new AbortController()
    let made: Connection | undefined
    const create = async (): Promise<Connection> => {
      made = await this.#create(controller)
      return made
    }
    this.inFlight++
    try {
      const connection = await (breaker === undefined ? create() : breaker.run(create))
      this.inFlight--
      this.#succeeded()
      return connection
    } catch (error) {
      this.inFlight--
      // A breaker with a time limit of its own may give up first: what comes after all is still on the server.
      if (this.#aborts.has(controller)) controller.abort()
      else if (made !== undefined) void this.close(made)
      this.#fail(error, round, breaker)
      throw error
    }
  }

  /** Closes a connection. Never rejects; resolves when its place is free. */
  async close(connection: Connection): Promise<void> {
    this.#live.delete(connection)
    this.limbo++
    try {
      await this.#within(this.#options.destroyTimeoutMs, async () => this.#factory.destroy?.(connection))
    } catch {
      // A connection that cannot be closed is of no more use than one that is.
    }
    this.limbo--
    this.#events.ready()
  }

  /** Tests the connection and tells whether it has passed: in the same turn where `validate` knows at once, else within its timeout. */
  validate(connection: Connection, done: (passed: boolean) => void): void {
    let answer: Promise<boolean> | boolean | undefined
    try {
      answer = this.#factory.validate?.(connection)
    } catch {
      answer = false
    }
    if (typeof answer !== 'object' || answer === null) {
      done(answer !== false)
      return
    }
    const test: Test = { deadlineMs: this.#options.clock.now() + this.#options.validateTimeoutMs, done }
    this.#tests.add(test)
    if (this.#testTimer === undefined) this.#armTests(this.#options.validateTimeoutMs)
    answer.then(
      (passed) => this.#endTest(test, passed !== false),
      () => this.#endTest(test, false),
    )
  }

  get validates(): boolean {
    return this.#factory.validate !== undefined
  }

  /** Starts nothing more. */
  stop(): void {
    this.#stopped = true
    this.#options.clock.clearTimeout(this.#timer)
    this.#timer = undefined
    this.#options.clock.clearTimeout(this.#testTimer)
    this.#testTimer = undefined
    for (const test of this.#tests) this.#endTest(test, false)
  }

  /** Tells the connects under way that nobody waits for them. */
  abort(): void {
    for (const controller of this.#aborts) controller.abort()
  }

  get #blocked(): boolean {
    return this.#blockedByBreaker && this.#factory.breaker?.state !== 'CLOSED'
  }

  #endTest(test: Test, passed: boolean): void {
    if (this.#tests.delete(test)) test.done(passed)
  }

  /** One timer for all tests: they have the same timeout, so the first to begin is the first to end. */
  #armTests(delayMs: number): void {
    const { clock } = this.#options
    this.#testTimer = clock.setTimeout(() => {
      this.#testTimer = undefined
      const now = clock.now()
      for (const test of this.#tests) {
        if (test.deadlineMs > now) {
          if (this.#testTimer === undefined) this.#armTests(Math.max(1, Math.ceil(test.deadlineMs - now)))
          return
        }
        this.#endTest(test, false)
      }
    }, delayMs)
    unref(this.#testTimer)
  }

  #create(controller: AbortController): Promise<Connection> {
    const { clock, createTimeoutMs, destroyTimeoutMs } = this.#options
    this.#aborts.add(controller)
    return new Promise((resolve, reject) => {
      let made: Connection | undefined
      let lostEarly: { readonly cause: unknown } | undefined
      let givenUp = false
      const lost = (cause?: unknown): void => {
        if (made === undefined) lostEarly = { cause }
        else this.#events.lost(made, cause)
      }
      const giveUp = (error: Error): void => {
        if (givenUp) return
        givenUp = true
        clock.clearTimeout(timer)
        this.#aborts.delete(controller)
        this.limbo++
        let counted = true
        const free = (): void => {
          if (!counted) return
          counted = false
          clock.clearTimeout(grace)
          this.limbo--
          this.#events.ready()
        }
        const grace = clock.setTimeout(free, destroyTimeoutMs)
        unref(grace)
        settled.then((connection) => (isObject(connection) ? this.close(connection) : undefined), ignore).then(free)
        controller.abort(error)
        reject(error)
      }
      const timer = clock.setTimeout(() => giveUp(timeoutError(createTimeoutMs)), createTimeoutMs)
      controller.signal.addEventListener('abort', () => giveUp(new Error('The connect was given up')))
      const settled = (async () => this.#factory.create({ signal: controller.signal, lost }))()
      settled.then(
        (connection) => {
          if (givenUp) return
          clock.clearTimeout(timer)
          this.#aborts.delete(controller)
          if (!isObject(connection)) return reject(new TypeError('`create` gave no object'))
          if (this.#live.has(connection))
            return reject(new TypeError('`create` gave a connection that the pool has already'))
          if (lostEarly !== undefined) {
            this.close(connection)
            return reject(lostEarly.cause ?? new Error('The connection died before it was ready'))
          }
          made = connection
          this.#live.add(connection)
          resolve(connection)
        },
        (error) => {
          if (givenUp) return
          clock.clearTimeout(timer)
          this.#aborts.delete(controller)
          reject(error)
        },
      )
    })
  }

  #succeeded(): void {
    const failing = this.failing
    if (failing) this.#limit = 1
    this.#failures = 0
    this.#retryAtMs = 0
    this.#blockedByBreaker = false
    this.lastError = undefined
    this.#limit = Math.min(this.#limit * 2, this.#options.connectConcurrency)
    if (failing) this.#events.recovered()
  }

  #fail(error: unknown, round: number, breaker: ConnectBreaker | undefined): void {
    const { backoffMs, maxBackoffMs, random, clock } = this.#options
    const now = clock.now()
    this.lastError = error
    // Only from the breaker of this factory: one that `create` asks for itself keeps no connect back, so the pause has to.
    const byBreaker = isBreakerOpen(error) && breaker !== undefined && breaker.state !== 'CLOSED'
    if (byBreaker) {
      this.#blockedByBreaker = true
      this.#retryAtMs = now + Math.max(refusedPauseMs, error.retryAfterMs ?? 0)
    } else {
      if (round === this.#round) {
        this.#round++
        this.#failures++
      }
      this.#limit = 1
      this.#blockedByBreaker = false
      const step = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(this.#failures - 1, 40))
      this.#retryAtMs = now + step * (0.5 + random() / 2)
      if (breaker !== undefined && breaker.state !== 'CLOSED') this.#retryAtMs = now
    }
    this.#arm()
    this.#events.failed(error, byBreaker)
  }

  #arm(): void {
    const { clock } = this.#options
    clock.clearTimeout(this.#timer)
    if (this.#stopped) return
    this.#timer = clock.setTimeout(() => {
      this.#timer = undefined
      if (clock.now() < this.#retryAtMs) this.#arm()
      else this.#events.ready()
    }, this.retryAfterMs())
    unref(this.#timer)
  }

  #within<Result>(limitMs: number, run: () => Promise<Result>): Promise<Result> {
    const { clock } = this.#options
    return new Promise((resolve, reject) => {
      const timer = clock.setTimeout(() => reject(timeoutError(limitMs)), limitMs)
      run()
        .then(resolve, reject)
        .finally(() => clock.clearTimeout(timer))
    })
  }
}

function timeoutError(limitMs: number): Error {
  return Object.assign(new Error(`No answer within ${limitMs} ms`), { name: 'TimeoutError', code: 'ETIMEDOUT' })
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}

function ignore(): void {}
