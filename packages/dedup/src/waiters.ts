import type { Timers } from './timers.ts'

/** Ports of {@link Waiters}. */
export interface WaitersOptions {
  /** Whether a claim still is under way; asked once for all who wait for its key. */
  readonly isUnderWay: (key: string, token: string) => Promise<boolean>
  readonly maxPerKey: number
  readonly random: () => number
  readonly timers: Timers
}

/** How waiting ended. */
export type WaitEnd = 'changed' | 'timeout' | 'aborted' | 'full'

interface Group {
  readonly token: string
  readonly wake: Set<() => void>
  timer: unknown
  delayMs: number
}

const firstDelayMs = 50
const lastDelayMs = 1_000

/** Lets any number of requests wait for a key behind one jittered poll, which a notification cuts short. */
export class Waiters {
  readonly #options: WaitersOptions
  readonly #groups = new Map<string, Group>()

  constructor(options: WaitersOptions) {
    this.#options = options
  }

  count(key: string): number {
    return this.#groups.get(key)?.wake.size ?? 0
  }

  /** Resolves when the claim is no longer under way, the time is over, or `signal` aborts; the owner notices nothing. */
  wait(key: string, token: string, waitMs: number, signal?: AbortSignal): Promise<WaitEnd> {
    let group = this.#groups.get(key)
    if (group !== undefined && group.token !== token) {
      this.notify(key)
      group = undefined
    }
    if (group !== undefined && group.wake.size >= this.#options.maxPerKey) return Promise.resolve('full')
    if (signal?.aborted === true) return Promise.resolve('aborted')
    if (group === undefined) {
      group = { token, wake: new Set(), timer: undefined, delayMs: firstDelayMs }
      this.#groups.set(key, group)
      void this.#poll(key, group)
    }
    const { wake } = group
    return new Promise((resolve) => {
      const end = (how: WaitEnd) => {
        wake.delete(woken)
        this.#options.timers.clearTimeout(timer)
        signal?.removeEventListener('abort', aborted)
        if (wake.size === 0 && this.#groups.get(key)?.wake === wake) this.#end(key)
        resolve(how)
      }
      const woken = () => end('changed')
      const aborted = () => end('aborted')
      const timer = this.#options.timers.setTimeout(() => end('timeout'), waitMs)
      signal?.addEventListener('abort', aborted, { once: true })
      wake.add(woken)
    })
  }

  /** Wakes everyone who waits for a key. */
  notify(key: string): void {
    const group = this.#groups.get(key)
    if (group === undefined) return
    this.#end(key)
    for (const woken of [...group.wake]) woken()
  }

  stop(): void {
    for (const key of [...this.#groups.keys()]) this.notify(key)
  }

  #end(key: string): void {
    this.#options.timers.clearTimeout(this.#groups.get(key)?.timer)
    this.#groups.delete(key)
  }

  async #poll(key: string, group: Group): Promise<void> {
    // While the store cannot be asked, the claim counts as under way: each waiter has its own deadline.
    const underWay = await this.#options.isUnderWay(key, group.token).catch(() => true)
    if (this.#groups.get(key) !== group) return
    if (!underWay) {
      this.notify(key)
      return
    }
    const jittered = group.delayMs * (0.75 + this.#options.random() / 2)
    group.delayMs = Math.min(lastDelayMs, group.delayMs * 1.5)
    group.timer = this.#options.timers.setTimeout(() => void this.#poll(key, group), jittered)
  }
}
