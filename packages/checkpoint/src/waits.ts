import type { Timers } from './timers.ts'

/** Why a run waits in the store, and until when. */
export interface Wait {
  readonly reason: string
  /** `undefined`: until a signal. */
  readonly wakeAt: number | undefined
}

/**
 * Notices when a run does nothing but wait. Steps under way are counted; when none is left and something waits, the run is
 * suspended: its waits never resolve in this process, and another life of the run goes on from what was kept.
 */
export class Waits {
  #active = 0
  readonly #waits = new Set<Wait>()
  readonly #signals = new Map<string, string[]>()
  readonly #expected = new Map<string, { readonly index: number; arrive(value: string): void }[]>()
  readonly #timers: Timers
  readonly #blocked = new Set<(reason: Error) => void>()
  #scheduled: unknown
  /** Called once, when only waits are left. */
  onIdle: ((wait: Wait) => void) | undefined
  signalsSeen = 0

  constructor(timers: Timers) {
    this.#timers = timers
  }

  begin(): void {
    this.#active++
  }

  end(): void {
    this.#active--
    if (this.#waits.size > 0) this.#watch()
  }

  /** Never resolves: the run is suspended once nothing else is under way. Rejects where the run is stopped before. */
  until(wait: Wait): Promise<never> {
    this.#waits.add(wait)
    this.#active--
    this.#watch()
    return new Promise((_, reject) => {
      this.#blocked.add(reject)
    })
  }

  /** The n-th signal of the name, from 1, if it is there. */
  signal(name: string, n: number): string | undefined {
    return this.#signals.get(name)?.[n - 1]
  }

  /** Resolves with the n-th signal of the name if it comes while the run is here. */
  untilSignal(name: string, n: number, wait: Wait): Promise<string> {
    this.#waits.add(wait)
    this.#active--
    this.#watch()
    return new Promise((resolve, reject) => {
      this.#blocked.add(reject)
      const expected = this.#expected.get(name) ?? []
      this.#expected.set(name, expected)
      expected.push({
        index: n - 1,
        arrive: (value) => {
          this.#waits.delete(wait)
          this.#blocked.delete(reject)
          this.#active++
          resolve(value)
        },
      })
    })
  }

  /** Takes a signal in, as often as it is told of it. */
  deliver(name: string, occurrence: number, value: string): void {
    const all = this.#signals.get(name) ?? []
    this.#signals.set(name, all)
    if (all[occurrence - 1] !== undefined) return
    all[occurrence - 1] = value
    this.signalsSeen++
    const expected = this.#expected.get(name)
    const at = expected?.findIndex(({ index }) => index === occurrence - 1) ?? -1
    if (at >= 0) expected!.splice(at, 1)[0]!.arrive(value)
  }

  /** What waits here rejects with `reason`; unless the run was suspended, whose waits go on in another life of it. */
  stop(reason: Error): void {
    this.#timers.clearTimeout(this.#scheduled)
    this.onIdle = undefined
    for (const reject of this.#blocked) reject(reason)
    this.#blocked.clear()
  }

  #watch(): void {
    this.#timers.clearTimeout(this.#scheduled)
    this.#scheduled = this.#timers.setTimeout(() => {
      if (this.#active > 0 || this.#waits.size === 0) return
      let first: Wait | undefined
      for (const wait of this.#waits)
        if (
          first === undefined ||
          (wait.wakeAt ?? Number.POSITIVE_INFINITY) < (first.wakeAt ?? Number.POSITIVE_INFINITY)
        )
          first = wait
      const { onIdle } = this
      if (onIdle !== undefined) this.#blocked.clear()
      this.onIdle = undefined
      onIdle?.(first!)
    }, 0)
  }
}
