import type { CircuitBreaker } from './circuit-breaker.ts'
import { callable, checkOptions, count, period, type Rule, rule, timer } from './options.ts'
import type { BreakerStore, ClusterState, SettledProbe } from './store.ts'
import type { BreakerTransition, BreakerWarning } from './transition.ts'
import type { Verdict } from './verdict.ts'

export type { BreakerStore, ClusterRequest, ClusterState, SettledProbe } from './store.ts'

/** One of the cluster's trials, which this node may make. */
export interface Probe {
  settle(verdict: Verdict): void
}

/** A cluster's part in one breaker. */
export interface BreakerLink {
  /** A trial to make, `none` at the moment, or `alone` when the cluster has no say. Never waits. */
  probe(): Probe | 'none' | 'alone'
  moved(transition: BreakerTransition): void
}

/** How this node shares its breakers with others. */
export interface ShareBreakersOptions {
  readonly store: BreakerStore
  /** The breakers by the names that all nodes use, e.g. `registry.all`; gone through at each poll, since they may change. */
  readonly breakers: Iterable<readonly [string, CircuitBreaker]>
  /** Distinct nodes whose breakers must have opened before it opens on the others. */
  readonly quorum?: number
  /** How often the node asks without being told of a change. */
  readonly pollMs?: number
  /** How long the place of a trial is kept for a node that is not heard of; above the longest call. */
  readonly leaseMs?: number
  /** How long one exchange may take before the node is on its own. */
  readonly deadlineMs?: number
  /** This node's name; by default a random one. */
  readonly node?: string
  readonly onWarning?: (warning: BreakerWarning) => unknown
  readonly now?: () => number
  readonly random?: () => number
  readonly delay?: (task: () => void, delayMs: number) => () => void
}

/** How sharing goes. `local`: the store cannot be asked, and each breaker decides alone. */
export interface SharingHealth {
  readonly state: 'idle' | 'shared' | 'local'
  readonly reason?: string
  readonly exchanges: number
  readonly failedExchanges: number
  readonly breakers: Readonly<Record<string, Omit<ClusterState, 'granted' | 'contended'>>>
}

/** Breakers that are shared. Nothing happens before `start`. */
export interface BreakerSharing {
  readonly health: SharingHealth
  start(): Promise<void>
  /** Ends it; the breakers decide alone from then on. */
  stop(): Promise<void>
}

const rules: Readonly<Record<keyof ShareBreakersOptions, Rule>> = {
  store: rule('a store', (value) => typeof (value as { exchange?: unknown } | null)?.exchange === 'function'),
  breakers: rule(
    'an iterable',
    (value) => typeof (value as Iterable<unknown> | null)?.[Symbol.iterator] === 'function',
  ),
  quorum: count,
  pollMs: timer,
  leaseMs: period,
  deadlineMs: timer,
  node: rule('a string that is not empty', (value) => typeof value === 'string' && value !== ''),
  onWarning: callable,
  now: callable,
  random: callable,
  delay: callable,
}

/** What the breakers of one sharing have in common. */
interface Terms {
  readonly store: BreakerStore
  readonly node: string
  readonly quorum: number
  readonly leaseMs: number
  readonly deadlineMs: number
  readonly now: () => number
  readonly delay: (task: () => void, delayMs: number) => () => void
  exchanged(failure?: { readonly name: string; readonly error: unknown }): void
}

/**
 * Lets nodes open together and try together: a breaker that opened on `quorum` nodes opens on all, half-open makes its
 * trials once in the cluster, and one close closes all. Every breaker still decides by itself, calls never wait for the
 * store, and without the store each node is on its own.
 */
export function shareBreakers(options: ShareBreakersOptions): BreakerSharing {
  checkOptions(options, rules, ['store', 'breakers'])
  const { store, pollMs = 1_000, deadlineMs = 1_000, random = Math.random, onWarning } = options
  const delay = options.delay ?? background
  const shared = new Map<string, SharedBreaker>()
  let unwatch: (() => Promise<void>) | undefined
  let cancel: (() => void) | undefined
  let started = false
  let exchanges = 0
  let failedExchanges = 0
  let reason: string | undefined
  const terms = (): Terms => ({
    store,
    node: options.node ?? Math.floor(random() * 2 ** 48).toString(36),
    quorum: options.quorum ?? 2,
    leaseMs: options.leaseMs ?? 30_000,
    deadlineMs,
    now: options.now ?? (() => performance.now()),
    delay,
    exchanged(failure) {
      exchanges++
      if (failure === undefined) {
        reason = undefined
        return
      }
      failedExchanges++
      const first = reason === undefined
      reason = failure.error instanceof Error ? failure.error.message : String(failure.error)
      if (!first || onWarning === undefined) return
      try {
        const message = 'The store of shared breakers cannot be reached; each breaker decides alone'
        onWarning({ name: failure.name, code: 'store_unavailable', message, cause: failure.error })
      } catch {
        // A hook never changes what happens.
      }
    },
  })
  const watch = async (): Promise<void> => {
    const end = await store.watch?.((name) => shared.get(name)?.exchange())
    // One that was late may have been tried again meanwhile.
    if (started && unwatch === undefined) unwatch = end
    else await end?.()
  }
  const iterator: unknown = options.breakers[Symbol.iterator]()
  // What can be gone through once only does not change.
  const breakers = iterator === options.breakers ? [...options.breakers] : options.breakers
  let common: Terms | undefined
  const takeOver = (): void => {
    common ??= terms()
    const present = new Map(breakers)
    for (const [name, breaker] of shared) {
      if (breaker.isOf(present.get(name))) continue
      breaker.end()
      shared.delete(name)
    }
    for (const [name, breaker] of present)
      if (!shared.has(name)) shared.set(name, new SharedBreaker(name, breaker, common))
  }
  const poll = (): void => {
    takeOver()
    for (const breaker of shared.values()) breaker.exchange()
    if (started && unwatch === undefined && reason === undefined && store.watch !== undefined) watch().catch(() => {})
    cancel = delay(poll, pollMs)
  }
  return {
    get health() {
      const breakers: Record<string, Omit<ClusterState, 'granted' | 'contended'>> = {}
      for (const [name, { known }] of shared) {
        const { generation, state, remainingMs, votes, calls, failures } = known
        breakers[name] = { generation, state, remainingMs, votes, calls, failures }
      }
      const state: SharingHealth['state'] =
        !started || exchanges === 0 ? 'idle' : reason === undefined ? 'shared' : 'local'
      return { state, ...(reason === undefined ? {} : { reason }), exchanges, failedExchanges, breakers }
    },
    async start() {
      if (started) return
      started = true
      takeOver()
      await Promise.all([
        ...[...shared.values()].map((breaker) => breaker.exchange()),
        // A subscription that fails, or never answers, is tried again by the poll.
        Promise.race([watch().catch(() => {}), new Promise<void>((done) => delay(done, deadlineMs))]),
      ])
      if (started && cancel === undefined) cancel = delay(poll, pollMs)
    },
    async stop() {
      started = false
      cancel?.()
      cancel = undefined
      for (const breaker of shared.values()) breaker.end()
      shared.clear()
      const end = unwatch
      unwatch = undefined
      await end?.().catch(() => {})
    },
  }
}

// How often refused callers may make the node ask for a place.
const askEveryMs = 100

/** A place for a trial, from the time it is given until the cluster has heard what became of it. */
interface Place {
  readonly token: string
  readonly generation: number
  /** By this node's clock, from before it was asked for, so never later than the store's. */
  lapsesAt: number
  running: boolean
}

class SharedBreaker implements BreakerLink {
  known: ClusterState = {
    generation: 0,
    state: 'closed',
    remainingMs: 0,
    votes: [],
    granted: [],
    contended: false,
    calls: 0,
    failures: 0,
  }
  readonly #name: string
  readonly #breaker: CircuitBreaker
  readonly #terms: Terms
  #places: Place[] = []
  #settled: SettledProbe[] = []
  #wanted = 0
  #askedAt = Number.NEGATIVE_INFINITY
  #voteUntil: number | undefined
  #withdraw = false
  #close = false
  #alone = true
  #ended = false
  #again = false
  #exchanging: Promise<void> | undefined
  #told: { calls: number; failures: number }

  constructor(name: string, breaker: CircuitBreaker, terms: Terms) {
    this.#name = name
    this.#breaker = breaker
    this.#terms = terms
    this.#told = totals(breaker)
    breaker.link(this)
  }

  isOf(breaker: CircuitBreaker | undefined): boolean {
    return this.#breaker === breaker
  }

  probe(): Probe | 'none' | 'alone' {
    if (this.#alone || this.known.state === 'closed') return 'alone'
    const now = this.#terms.now()
    const place = this.#places.find(({ running, lapsesAt }) => !running && now < lapsesAt)
    if (place === undefined) {
      this.#wanted++
      // Asked behind the caller's back: it is refused at once, and a later one finds the place.
      if (now - this.#askedAt >= askEveryMs) {
        this.#askedAt = now
        void this.exchange()
      }
      return 'none'
    }
    place.running = true
    return {
      settle: (verdict) => {
        this.#giveBack(place, verdict)
        void this.exchange()
      },
    }
  }

  moved({ type, to, reason, openForMs }: BreakerTransition): void {
    if (reason === 'cluster') return
    if (to === 'CLOSED') {
      this.#voteUntil = undefined
      this.#withdraw = true
      this.#close ||= type === 'breaker.reset'
    } else if (type === 'breaker.opened' && openForMs !== undefined && reason !== 'trials_missing') {
      this.#voteUntil = this.#terms.now() + openForMs
      if (reason === 'trial_hung') {
        for (const place of this.#places.filter(({ running }) => running)) this.#giveBack(place, 'failure')
      }
    } else return
    void this.exchange()
  }

  /** Tells and asks once. While one is under way, one more follows it, however often it is called. */
  exchange(): Promise<void> {
    // Reading the state is what notices a hung trial, and that asks for an exchange itself: first, so that two never run at once.
    void this.#breaker.state
    if (this.#exchanging !== undefined) {
      this.#again = true
      return this.#exchanging
    }
    this.#exchanging = this.#exchange().finally(() => {
      this.#exchanging = undefined
      if (!this.#again || this.#ended) return
      this.#again = false
      void this.exchange()
    })
    return this.#exchanging
  }

  end(): void {
    this.#ended = true
    this.#breaker.link(undefined)
  }

  async #exchange(): Promise<void> {
    const { store, node, quorum, leaseMs, now } = this.#terms
    const startedAt = now()
    if (this.known.contended) {
      for (const place of this.#places.filter(({ running }) => !running)) this.#giveBack(place, 'neutral')
    }
    const settled = this.#settled
    const held = this.#places.map(({ token }) => token)
    const close = this.#close
    const withdraw = this.#withdraw
    // What comes while this is being told is told by the next.
    this.#close = false
    this.#withdraw = false
    const { generation } = this.known
    const voteUntil = this.#voteUntil
    const voteOpenMs = voteUntil === undefined ? 0 : voteUntil - startedAt
    const { openMs, halfOpenMaxCalls, rollingWindowMs } = this.#breaker.terms
    const current = totals(this.#breaker)
    const calls = Math.max(0, current.calls - this.#told.calls)
    const failures = Math.max(0, current.failures - this.#told.failures)
    this.#told = current
    let state: ClusterState
    try {
      state = await this.#withinDeadline(
        store.exchange(this.#name, {
          node,
          generation,
          ...(voteOpenMs > 0 ? { voteOpenMs } : {}),
          withdraw,
          quorum,
          voteMs: rollingWindowMs,
          openMs,
          trials: halfOpenMaxCalls,
          leaseMs,
          wanted: Math.min(this.#wanted, halfOpenMaxCalls),
          held,
          settled,
          calls,
          failures,
          close,
        }),
      )
    } catch (error) {
      this.#alone = true
      this.#wanted = 0
      this.#close ||= close
      this.#withdraw ||= withdraw
      this.#terms.exchanged({ name: this.#name, error })
      return
    }
    if (this.#ended) return
    this.#alone = false
    this.#wanted = 0
    if (state.generation === generation && this.#voteUntil === voteUntil) this.#voteUntil = undefined
    this.#settled = this.#settled.filter((probe) => !settled.includes(probe))
    const lapsesAt = startedAt + leaseMs
    for (const place of this.#places) if (held.includes(place.token)) place.lapsesAt = lapsesAt
    for (const token of state.granted)
      this.#places.push({ token, generation: state.generation, lapsesAt, running: false })
    this.#learn(state)
    this.#terms.exchanged()
  }

  #learn(state: ClusterState): void {
    const before = this.known
    this.known = state
    if (state.generation === before.generation) return
    this.#places = this.#places.filter((place) => place.generation === state.generation || place.running)
    if (state.state === 'open') {
      this.#voteUntil = undefined
      this.#breaker.openByCluster(state.remainingMs)
    } else if (state.state === 'half_open') {
      // Opened while this node did not hear of it: its calls would be trials that the cluster has not given out.
      if (this.#breaker.state === 'CLOSED') this.#breaker.openByCluster(0)
    } else if (state.state === 'closed' && before.state !== 'closed' && state.generation > before.generation) {
      // A smaller generation is a store that was emptied: it has closed nothing.
      this.#voteUntil = undefined
      this.#breaker.closeByCluster()
    }
  }

  #giveBack(place: Place, verdict: Verdict): void {
    const index = this.#places.indexOf(place)
    if (index < 0) return
    this.#places.splice(index, 1)
    this.#settled.push({ token: place.token, generation: place.generation, verdict })
  }

  #withinDeadline<Value>(work: Promise<Value>): Promise<Value> {
    const { deadlineMs, delay } = this.#terms
    return new Promise((resolve, reject) => {
      const cancel = delay(() => reject(new Error(`No answer within ${deadlineMs} ms`)), deadlineMs)
      work.then(resolve, reject).finally(cancel)
    })
  }
}

function totals({ figures }: CircuitBreaker): { calls: number; failures: number } {
  return { calls: figures.successes + figures.failures, failures: figures.failures }
}

/** Does not keep a process alive, where the runtime knows of such a thing. */
function background(task: () => void, delayMs: number): () => void {
  const timer: unknown = setTimeout(task, delayMs)
  ;(timer as { unref?: () => void }).unref?.()
  return () => clearTimeout(timer as number)
}
