import { closedError, PostgresError } from './errors.ts'
import type { Line } from './line.ts'

/** Lines for reads: any number of statements at a time, one behind the other on each. */
export class SharedLines {
  readonly #max: number
  readonly #openLine: () => Promise<Line>
  readonly #lines = new Set<Line>()
  #opening: Promise<Line> | undefined
  #closed = false

  constructor(max: number, openLine: () => Promise<Line>) {
    this.#max = max
    this.#openLine = openLine
  }

  /** The least busy line; while all are busy another one is opened, up to the maximum. */
  async share(): Promise<Line> {
    if (this.#closed) throw closedError()
    let best: Line | undefined
    for (const line of this.#lines) if (best === undefined || line.pending < best.pending) best = line
    if (best !== undefined && (best.pending === 0 || this.#lines.size >= this.#max)) return best
    this.#opening ??= this.#open()
    if (best === undefined) return this.#opening
    this.#opening.catch(() => {})
    return best
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#opening?.catch(() => {})
    await Promise.all([...this.#lines].map((line) => line.end()))
  }

  async #open(): Promise<Line> {
    try {
      const line = await this.#openLine()
      if (line.lost !== undefined) throw line.lost
      line.onLost = () => this.#lines.delete(line)
      this.#lines.add(line)
      return line
    } finally {
      this.#opening = undefined
    }
  }
}

interface Waiter {
  resolve(line: Line): void
  reject(error: unknown): void
  readonly timer: ReturnType<typeof setTimeout>
}

/** Lines for transactions: each is one's alone until it is given back; who waits gets one in turn. */
export class OwnLines {
  readonly #max: number
  readonly #openLine: () => Promise<Line>
  readonly #idle: Line[] = []
  readonly #waiting: Waiter[] = []
  #size = 0
  #closed = false
  #emptied: (() => void) | undefined

  constructor(max: number, openLine: () => Promise<Line>) {
    this.#max = max
    this.#openLine = openLine
  }

  /** Rejects with `unavailable` when there is none within `waitMs`. */
  take(waitMs: number): Promise<Line> {
    if (this.#closed) return Promise.reject(closedError())
    const line = this.#idle.pop()
    if (line !== undefined) return Promise.resolve(line)
    if (this.#size < this.#max) return this.#open()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.splice(this.#waiting.indexOf(waiter), 1)
        reject(new PostgresError('unavailable', `All ${this.#max} connections for transactions are in use`))
      }, waitMs)
      const waiter: Waiter = { resolve, reject, timer }
      this.#waiting.push(waiter)
    })
  }

  give(line: Line): void {
    // Its place is free since it was lost, whatever its transaction still waits for.
    if (line.lost !== undefined) return
    const waiter = this.#next()
    if (waiter === undefined) this.#idle.push(line)
    else waiter.resolve(line)
    this.#settle()
  }

  /** Waits for the transactions that run. */
  async close(): Promise<void> {
    this.#closed = true
    for (let waiter = this.#next(); waiter !== undefined; waiter = this.#next()) waiter.reject(closedError())
    if (this.#size > this.#idle.length) {
      await new Promise<void>((resolve) => {
        this.#emptied = resolve
      })
    }
    await Promise.all(this.#idle.map((line) => line.end()))
  }

  #next(): Waiter | undefined {
    const waiter = this.#waiting.shift()
    clearTimeout(waiter?.timer)
    return waiter
  }

  #gone(): void {
    this.#size--
    if (this.#waiting.length > 0) {
      this.#open().then(
        (line) => this.give(line),
        (error) => this.#next()?.reject(error),
      )
    }
    this.#settle()
  }

  #settle(): void {
    if (this.#size === this.#idle.length) this.#emptied?.()
  }

  async #open(): Promise<Line> {
    this.#size++
    try {
      const line = await this.#openLine()
      if (line.lost !== undefined) throw line.lost
      line.onLost = () => {
        const at = this.#idle.indexOf(line)
        if (at !== -1) this.#idle.splice(at, 1)
        this.#gone()
      }
      return line
    } catch (error) {
      this.#gone()
      throw error
    }
  }
}
