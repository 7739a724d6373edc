import { EventError, refusalOf } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { registerOf } from './store.ts'
import type { Wake } from './subscription.ts'
import type { Durability, Unit } from './unit.ts'

/** What a consumer's register holds. */
export interface ConsumerPlace {
  readonly position: string
  /** Who works, as long as its register keeps changing; absent when it has stopped. */
  readonly owner?: string
}

/** Names of the registers of consumers. */
export const consumerPrefix = 'consumer/'

/**
 * The right to be the one instance of a consumer that works. It lives in the register that holds the consumer's place, and every
 * use is a compare-and-set on it: who has lost the lease can change nothing. An owner is given up for dead when the register has
 * not changed for a lease by the watcher's own monotonic clock, so that no two machines' clocks are compared.
 */
export class Lease {
  readonly #events: EventStore
  readonly #name: string
  readonly #leaseMs: number
  readonly #owner: string = crypto.randomUUID()
  #version = 0
  #position = 0n
  #held = false
  #renewal: ReturnType<typeof setInterval> | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(events: EventStore, name: string, leaseMs: number) {
    this.#events = events
    this.#name = `${consumerPrefix}${name}`
    this.#leaseMs = leaseMs
  }

  get held(): boolean {
    return this.#held
  }

  get position(): bigint {
    return this.#position
  }

  /** Waits for the lease; false when `wake` ended first. `start` is where a consumer begins that has no place yet. */
  async acquire(start: () => Promise<bigint>, wake: Wake): Promise<boolean> {
    let seen = -1
    let since = 0
    while (!wake.ended) {
      const register = await registerOf(this.#events.store, this.#name)
      const place = register === undefined ? undefined : (JSON.parse(register.value) as ConsumerPlace)
      const version = register?.version ?? 0
      if (version !== seen) {
        seen = version
        since = performance.now()
      }
      if (place?.owner === undefined || performance.now() - since >= this.#leaseMs) {
        const position = place === undefined ? await start() : BigInt(place.position)
        if (await this.#take(version, position)) return true
      } else await wake.wait(Math.min(500, Math.max(1, this.#leaseMs / 5)))
    }
    return false
  }

  async #take(version: number, position: bigint): Promise<boolean> {
    const unit = this.#events.store.unit()
    this.#write(unit, position, version, this.#owner)
    try {
      await unit.commit()
    } catch (error) {
      if (refusalOf(error)?.conflict === 'register') return false
      throw error
    }
    this.#version = version + 1
    this.#position = position
    this.#held = true
    this.#renewal = setInterval(() => {
      this.advance(() => this.#position).catch(() => {})
    }, this.#leaseMs / 3)
    return true
  }

  /**
   * Moves the consumer's place to what `join` answers, together with the writes that it adds to the unit: all of it or nothing.
   * Throws `consumer_lost` when another instance has taken over, and whatever the unit is refused with.
   */
  advance(join: (unit: Unit) => bigint): Promise<Durability> {
    const turn = this.#turn.then(async () => {
      if (!this.#held) throw lost(this.#name)
      const unit = this.#events.store.unit()
      const position = join(unit)
      this.#write(unit, position, this.#version, this.#owner)
      try {
        const durability = await unit.commit()
        this.#version++
        this.#position = position
        return durability
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal?.conflict === 'register' && refusal.name === this.#name) {
          this.#drop()
          throw lost(this.#name, error)
        }
        throw error
      }
    })
    this.#turn = turn.catch(() => {})
    return turn
  }

  /** Gives the lease back, so that another instance need not wait it out. */
  async release(): Promise<void> {
    await this.#turn
    if (!this.#held) return
    this.#drop()
    const unit = this.#events.store.unit()
    this.#write(unit, this.#position, this.#version, undefined)
    await unit.commit().catch((error: unknown) => {
      if (refusalOf(error) === undefined) throw error
    })
  }

  /** Removes the consumer's place altogether. */
  async remove(): Promise<void> {
    await this.#turn
    this.#drop()
    const unit = this.#events.store.unit()
    unit.add(this.#events.store.setRegister(this.#name, undefined, this.#version))
    await unit.commit()
  }

  #drop(): void {
    this.#held = false
    clearInterval(this.#renewal)
  }

  #write(unit: Unit, position: bigint, version: number, owner: string | undefined): void {
    const place: ConsumerPlace = { position: position.toString(), ...(owner === undefined ? {} : { owner }) }
    unit.add(this.#events.store.setRegister(this.#name, JSON.stringify(place), version))
  }
}

function lost(name: string, cause?: unknown): EventError {
  return new EventError('consumer_lost', `Another instance works as \`${name}\``, cause === undefined ? {} : { cause })
}
