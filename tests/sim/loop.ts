import type { Chance } from './chance.ts'
import type { Trace } from './trace.ts'

interface Event {
  at: number
  readonly order: number
  readonly host: Host | undefined
  readonly label: string
  work: (() => void) | undefined
}

const turn: () => Promise<void> = (
  (immediate) => () =>
    new Promise<void>((resolve) => immediate(resolve))
)(setImmediate)
const epochMs = 1_750_000_000_000

/** Simulated time: what is due runs in order, and each thing that happens is followed to its end before the next. */
export class Loop {
  /** Milliseconds since the beginning. */
  now = 0
  readonly #trace: Trace
  readonly #heap: Event[] = []
  #order = 0

  constructor(trace: Trace) {
    this.#trace = trace
  }

  /** Calls `work` after `afterMs`; on a host that is paused then, when it goes on, and on a dead one never. */
  after(afterMs: number, host: Host | undefined, label: string, work: () => void): { cancel(): void } {
    const event: Event = { at: this.now + Math.max(0, afterMs), order: this.#order++, host, label, work }
    this.#push(event)
    return {
      cancel() {
        event.work = undefined
      },
    }
  }

  /** Remembers in the trace what is no event of its own. */
  note(who: string, what: string): void {
    this.#trace.add(this.now, who, what)
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, undefined, 'sleep', resolve))
  }

  /** Runs until `done`, or until nothing is left, or until `untilMs`. */
  async run(untilMs: number, done: () => boolean): Promise<void> {
    await turn()
    for (;;) {
      if (done()) return
      if (this.#heap.length === 0 || this.#heap[0]!.at > untilMs) return
      const event = this.#pop()!
      const { host, work, label } = event
      if (work === undefined || host?.alive === false) continue
      this.now = Math.max(this.now, event.at)
      if (host !== undefined && host.pausedUntil > this.now) {
        event.at = host.pausedUntil + host.chance.next() * 5
        this.#push(event)
        continue
      }
      this.#trace.add(this.now, host?.name ?? '', label)
      work()
      await turn()
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let i = heap.push(event) - 1
    while (i > 0) {
      const up = (i - 1) >> 1
      if (!before(event, heap[up]!)) break
      heap[i] = heap[up]!
      i = up
    }
    heap[i] = event
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || heap.length === 0) return first
    let i = 0
    for (;;) {
      let down = 2 * i + 1
      if (down >= heap.length) break
      if (down + 1 < heap.length && before(heap[down + 1]!, heap[down]!)) down++
      if (!before(heap[down]!, last!)) break
      heap[i] = heap[down]!
      i = down
    }
    heap[i] = last!
    return first
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/** One life of a process: its clock, its chance and its timers, which end with it. */
export class Host {
  readonly name: string
  readonly chance: Chance
  readonly #loop: Loop
  alive = true
  pausedUntil = 0
  /** How far its wall clock is off. */
  wallOffsetMs: number

  constructor(loop: Loop, name: string, chance: Chance, wallOffsetMs: number) {
    this.#loop = loop
    this.name = name
    this.chance = chance
    this.wallOffsetMs = wallOffsetMs
  }

  readonly now = (): number => Math.floor(epochMs + this.#loop.now + this.wallOffsetMs)
  readonly random = (): number => this.chance.next()
  readonly monotonic = (): number => this.#loop.now

  readonly timers = {
    setTimeout: (work: () => void, afterMs: number): unknown =>
      this.alive ? this.#loop.after(afterMs, this, 'timer', work) : undefined,
    clearTimeout: (timer: unknown): void => (timer as { cancel(): void } | undefined)?.cancel(),
    setInterval: (work: () => void, everyMs: number): unknown => {
      let timer: unknown
      const again = () => {
        timer = this.timers.setTimeout(() => {
          again()
          work()
        }, everyMs)
      }
      again()
      return { cancel: () => this.timers.clearTimeout(timer) }
    },
    clearInterval: (timer: unknown): void => (timer as { cancel(): void } | undefined)?.cancel(),
    monotonic: (): number => this.#loop.now,
  }

  /** Does what a handler does outside of steps: takes time. */
  work(ms: number): Promise<void> {
    return new Promise((resolve) => void this.timers.setTimeout(resolve, ms))
  }
}
