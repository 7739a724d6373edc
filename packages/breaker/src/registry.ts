import { CircuitBreaker } from './circuit-breaker.ts'
import { BreakerError } from './errors.ts'
import type { BreakerJson } from './figures.ts'
import { type CircuitBreakerOptions, callable, checkOptions, count, period, type Rule, rule } from './options.ts'

/** How breakers that are made on demand are made and kept. */
export interface CircuitBreakerRegistryOptions {
  /** The options of a breaker for a key, its name apart. */
  readonly keyed?: Omit<CircuitBreakerOptions, 'name'> | ((key: string) => Omit<CircuitBreakerOptions, 'name'>)
  /** Keyed breakers kept at most: keys come from outside. */
  readonly maxKeys?: number
  /** A keyed breaker that was not asked for so long is forgotten, unless it is open. */
  readonly idleMs?: number
  /** A monotonic clock in milliseconds. */
  readonly now?: () => number
}

const rules: Readonly<Record<keyof CircuitBreakerRegistryOptions, Rule>> = {
  keyed: rule(
    'an object or a function',
    (value) => (typeof value === 'object' && value !== null) || typeof value === 'function',
  ),
  maxKeys: count,
  idleMs: period,
  now: callable,
}

interface Kept {
  readonly breaker: CircuitBreaker
  usedAt: number
}

// How many kept breakers are looked at to make room for one: the work for a new key is bounded whatever the others do.
const looks = 16

/** Breakers by name, which stay, and by key (a host, a tenant), which come and go. */
export class CircuitBreakerRegistry {
  readonly #named = new Map<string, CircuitBreaker>()
  /** Least recently used first. */
  readonly #keyed = new Map<string, Kept>()
  readonly #options: CircuitBreakerRegistryOptions
  readonly #maxKeys: number
  readonly #idleMs: number
  readonly #now: () => number
  #overflow = 0
  #evicted = 0

  constructor(options: CircuitBreakerRegistryOptions = {}) {
    checkOptions(options, rules, [])
    this.#options = options
    this.#maxKeys = options.maxKeys ?? 1_000
    this.#idleMs = options.idleMs ?? 600_000
    this.#now = options.now ?? (() => performance.now())
  }

  /** Keeps `breaker` under `name`. Throws `duplicate_breaker` when another has it. */
  add(name: string, breaker: CircuitBreaker): this {
    const other = this.#named.get(name)
    if (other !== undefined && other !== breaker)
      throw new BreakerError('duplicate_breaker', `A circuit breaker \`${name}\` is there already`)
    this.#named.set(name, breaker)
    return this
  }

  /** Forgets the breaker of that name; calls that it has let through go on. `false` when there was none. */
  remove(name: string): boolean {
    return this.#named.delete(name)
  }

  /** The breaker of that name. Throws `unknown_breaker`. */
  get(name: string): CircuitBreaker {
    const breaker = this.#named.get(name)
    if (breaker !== undefined) return breaker
    const names = [...this.#named.keys()].map((known) => `\`${known}\``).join(', ')
    throw new BreakerError('unknown_breaker', `No circuit breaker \`${name}\`; there are: ${names || 'none'}`)
  }

  /** The breaker of that name, named or by key, if there is one. */
  find(name: string): CircuitBreaker | undefined {
    return this.#named.get(name) ?? this.#keyed.get(name)?.breaker
  }

  /** The breaker for `key`, made when it is new. When there is no room for it, it is used once and not kept. */
  for(key: string): CircuitBreaker {
    const now = this.#now()
    const kept = this.#keyed.get(key)
    if (kept !== undefined) {
      this.#keyed.delete(key)
      if (this.#idle(kept, now)) this.#evicted++
      else {
        kept.usedAt = now
        this.#keyed.set(key, kept)
        return kept.breaker
      }
    }
    const { keyed = {} } = this.#options
    const breaker = new CircuitBreaker({ ...(typeof keyed === 'function' ? keyed(key) : keyed), name: key })
    if (this.#makeRoom(now)) this.#keyed.set(key, { breaker, usedAt: now })
    else this.#overflow++
    return breaker
  }

  /** The named breakers. */
  get all(): ReadonlyMap<string, CircuitBreaker> {
    return this.#named
  }

  /** The breakers by key, least recently used first. */
  *keyed(): IterableIterator<[string, CircuitBreaker]> {
    for (const [key, { breaker }] of this.#keyed) yield [key, breaker]
  }

  /** `overflow`: keys that found no room. `evicted`: breakers that were forgotten. */
  get figures(): {
    readonly named: number
    readonly keyed: number
    readonly overflow: number
    readonly evicted: number
  } {
    return { named: this.#named.size, keyed: this.#keyed.size, overflow: this.#overflow, evicted: this.#evicted }
  }

  /** The body of `GET /health/circuit-breakers`. */
  toJSON(): { circuit_breakers: Record<string, BreakerJson> } {
    const breakers: [string, BreakerJson][] = []
    for (const [name, breaker] of this.#named) breakers.push([name, breaker.toJSON()])
    return { circuit_breakers: Object.fromEntries(breakers) }
  }

  #makeRoom(now: number): boolean {
    let looked = 0
    for (const [key, kept] of this.#keyed) {
      const full = this.#keyed.size >= this.#maxKeys
      if (looked++ === looks || (!full && !this.#idle(kept, now))) break
      this.#keyed.delete(key)
      if (evictable(kept.breaker)) this.#evicted++
      // Whoever may not go is asked last next time, so that a row of them does not hide the rest.
      else this.#keyed.set(key, kept)
    }
    return this.#keyed.size < this.#maxKeys
  }

  #idle({ breaker, usedAt }: Kept, now: number): boolean {
    return now - usedAt >= this.#idleMs && evictable(breaker)
  }
}

/** A breaker that refuses, or that an operator has decided about, holds what must not be forgotten. */
function evictable(breaker: CircuitBreaker): boolean {
  if (breaker.forced !== undefined) return false
  return breaker.state === 'CLOSED' || breaker.ready
}
