import { EventError } from './errors.ts'
import type { NewEvent } from './event.ts'

/** How buffered events reach the store. */
export interface EventBufferOptions {
  readonly flushIntervalMs: number
  readonly maxPending: number
  write(stream: string, events: readonly NewEvent[]): Promise<void>
}

interface Waiting {
  readonly stream: string
  readonly event: NewEvent
}

const batchSize = 1_000

/**
 * Holds events whose authors wait for nothing, and writes them soon after. What the store refuses to take stays and is tried
 * again; a full buffer makes authors wait. Nothing is dropped while the process lives, but an event whose id another one has.
 */
export class EventBuffer {
  readonly #options: EventBufferOptions
  readonly #waiting: Waiting[] = []
  readonly #room: (() => void)[] = []
  #timer: ReturnType<typeof setTimeout> | undefined
  #flushing: Promise<void> | undefined
  failure: unknown

  constructor(options: EventBufferOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#waiting.length
  }

  async add(stream: string, events: readonly NewEvent[]): Promise<void> {
    while (this.#waiting.length > 0 && this.#waiting.length + events.length > this.#options.maxPending) {
      this.#flush()
      await new Promise<void>((resolve) => this.#room.push(resolve))
    }
    for (const event of events) this.#waiting.push({ stream, event: { ...event, fresh: false } })
    if (this.#waiting.length >= batchSize) this.#flush()
    else this.#schedule()
  }

  /** Writes what waits; rejects with the store's error when it does not take it. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#waiting.length > 0) {
      this.#flush()
      await this.#flushing
      if (this.failure !== undefined && this.#waiting.length > 0) throw this.failure
    }
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#flush()
    }, this.#options.flushIntervalMs)
  }

  #flush(): void {
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined
      if (this.#waiting.length > 0) this.#schedule()
    })
  }

  /** One stream at a time, in the order in which the events came; their ids make a repeated write harmless. */
  async #write(): Promise<void> {
    let oneByOne = 0
    while (this.#waiting.length > 0) {
      const { stream } = this.#waiting[0]!
      let count = 1
      while (count < batchSize && this.#waiting[count]?.stream === stream) count++
      if (oneByOne > 0) count = 1
      const batch = this.#waiting.slice(0, count)
      try {
        await this.#options.write(
          stream,
          batch.map(({ event }) => event),
        )
        if (oneByOne === 0) this.failure = undefined
      } catch (error) {
        const known = error instanceof EventError && error.code === 'id_conflict'
        // Some are there already, by a try that was not answered or an author who tried again: each by itself shows which.
        if (known && count > 1) {
          oneByOne = count
          this.failure = undefined
          continue
        }
        this.failure = error
        if (!known) return
      }
      oneByOne = Math.max(0, oneByOne - 1)
      this.#waiting.splice(0, count)
      for (const resolve of this.#room.splice(0)) resolve()
    }
  }
}
