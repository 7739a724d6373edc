/** Somebody who waits for a connection. */
export interface Waiter {
  /** Smaller is served sooner. It holds the arrival and the priority at once, which is why nobody starves. */
  readonly key: number
  readonly deadlineMs: number
  readonly arrivedAtMs: number
  waiting: boolean
  previous: Waiter | undefined
  next: Waiter | undefined
}

/** What generic-pool gives a connection to. */
export interface Taker<Kept> {
  readonly state: 'PENDING'
  resolve(kept: Kept): void
}

/**
 * Those who wait, in order of arrival moved by priority. It stands in for generic-pool's `PriorityQueue`: somebody who
 * gives up is gone at once, and those for whom a connection is being tested do not ask for another.
 */
export class WaitQueue<Kept, Who extends Waiter> {
  #first: Who | undefined
  #last: Who | undefined
  #size = 0
  #testing = 0
  #direct: Taker<Kept> | undefined
  readonly #taker: Taker<Kept>

  constructor(onKept: (kept: Kept) => void) {
    this.#taker = { state: 'PENDING', resolve: onKept }
  }

  /** How many wait. */
  get size(): number {
    return this.#size
  }

  get first(): Who | undefined {
    return this.#first
  }

  /** How many still need a connection, in generic-pool's eyes. */
  get length(): number {
    return Math.max(0, this.#size - this.#testing)
  }

  /** A connection is being tested for whoever is first when it has passed. */
  beginTest(): void {
    this.#testing++
  }

  endTest(): void {
    this.#testing--
  }

  /** Gives the next connection that generic-pool hands out to `taker`, past those who wait. */
  direct(taker: Taker<Kept> | undefined): void {
    this.#direct = taker
  }

  dequeue(): Taker<Kept> | undefined {
    return this.#direct ?? (this.#size > this.#testing ? this.#taker : undefined)
  }

  insert(waiter: Who): void {
    let before = this.#last
    while (before !== undefined && before.key > waiter.key) before = before.previous as Who | undefined
    const after = (before === undefined ? this.#first : before.next) as Who | undefined
    waiter.previous = before
    waiter.next = after
    if (before === undefined) this.#first = waiter
    else before.next = waiter
    if (after === undefined) this.#last = waiter
    else after.previous = waiter
    waiter.waiting = true
    this.#size++
  }

  /** Answers `false` when it no longer waits. */
  remove(waiter: Who): boolean {
    if (!waiter.waiting) return false
    waiter.waiting = false
    if (waiter.previous === undefined) this.#first = waiter.next as Who | undefined
    else waiter.previous.next = waiter.next
    if (waiter.next === undefined) this.#last = waiter.previous as Who | undefined
    else waiter.next.previous = waiter.previous
    waiter.previous = undefined
    waiter.next = undefined
    this.#size--
    return true
  }

  /** Takes the first. */
  shift(): Who | undefined {
    const first = this.#first
    if (first !== undefined) this.remove(first)
    return first
  }

  /** Takes the last. */
  pop(): Who | undefined {
    const last = this.#last
    if (last !== undefined) this.remove(last)
    return last
  }
}
