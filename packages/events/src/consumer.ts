import { EventError, refuseUnknown, requireTimer, tell } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { type ConsumerPlace, consumerPrefix, Lease } from './lease.ts'
import { type EventFilter, registerOf } from './store.ts'
import {
  checkReading,
  type EventBatch,
  positionOf,
  type Reading,
  type SubscribeOptions,
  subscribe,
  Wake,
} from './subscription.ts'
import type { Unit } from './unit.ts'

/** A named reader whose place outlives it. */
export interface ConsumerOptions {
  /** Its instances share this name, and one of them works at a time. */
  readonly name: string
  /** Where it begins when it has never run: `start`. */
  readonly from?: SubscribeOptions['from']
  readonly filter?: Omit<EventFilter, 'from' | 'to'>
  /** The most events a batch brings: 100. */
  readonly batch?: number
  /** How long a silent instance keeps its place: 15,000. */
  readonly leaseMs?: number
  readonly pollMs?: number
  /** Whether personal members stay encrypted: false. */
  readonly sealed?: boolean
  /**
   * Handles a batch. What it adds to `commit`'s unit is applied together with the new place, or not at all; a batch that it
   * did not commit is committed when it returns. When it throws, the batch comes again after a pause.
   */
  handle(batch: EventBatch, commit: (join?: (unit: Unit) => void, upTo?: string) => Promise<void>): Promise<void>
  /** Called each time the consumer has caught up and nothing is new: every `pollMs`. */
  idle?(): Promise<void>
  /** Called with every error of `handle` and of the store. */
  readonly onError?: (error: unknown) => void
}

/** A running consumer. */
export interface Consumer {
  readonly name: string
  /** `waiting` while another instance works; `failed` when it stopped by itself. */
  readonly state: 'waiting' | 'working' | 'stopped' | 'failed'
  readonly failure: unknown
  /** The last position that is done, here or by the instance that works. */
  position(): Promise<bigint>
  /** Resolves when everything up to `position` is done. Throws `consumer_lost` after `timeoutMs` (30,000). */
  whenProcessed(position: bigint | string, options?: { readonly timeoutMs?: number }): Promise<void>
  /** Ends after the batch under way and gives the lease back. */
  stop(): Promise<void>
}

/** Ends a consumer from within `handle`. */
export class StopConsumer extends Error {
  override readonly name = 'StopConsumer'
}

const longestPauseMs = 30_000
const defaultLeaseMs = 15_000

/** Starts an instance of a named consumer. */
export function consume(events: EventStore, options: ConsumerOptions): Consumer {
  return startConsumer(events, options, async () => true)
}

/** The same, for a consumer that ends, and takes its place with it, once `current` answers false. */
export function startConsumer(events: EventStore, options: ConsumerOptions, current: () => Promise<boolean>): Consumer {
  const {
    name,
    from = 'start',
    filter,
    batch,
    leaseMs = defaultLeaseMs,
    pollMs,
    sealed = false,
    handle,
    idle,
    onError,
    ...unknown
  } = options
  refuseUnknown(unknown)
  checkFollowing({ name, leaseMs, from, filter, batch, pollMs })
  const wake = new Wake()
  const listeners = new Set<() => void>()
  let state: Consumer['state'] = 'waiting'
  let failure: unknown
  const running = run()
  const forget = events.onStop(stop)

  async function run(): Promise<void> {
    let pauseMs = 50
    while (!wake.ended) {
      const lease = new Lease(events, name, leaseMs)
      try {
        if (!(await current()) || !(await lease.acquire(begin, wake))) break
        if (!(await current())) {
          await lease.remove()
          break
        }
        state = 'working'
        await work(lease, () => {
          pauseMs = 50
        })
      } catch (error) {
        if (error instanceof StopConsumer) {
          failure = error.cause
          state = 'failed'
          wake.end()
        } else if (!(error instanceof EventError && error.code === 'consumer_lost')) {
          tell(onError, error)
          wake.rest()
          await wake.wait(pauseMs)
          pauseMs = Math.min(longestPauseMs, pauseMs * 2)
        }
      } finally {
        await lease.release().catch((error: unknown) => tell(onError, error))
      }
      if (state === 'working') state = 'waiting'
    }
    if (state !== 'failed') state = 'stopped'
  }

  async function begin(): Promise<bigint> {
    await events.start()
    if (from === 'start') return 0n
    return from === 'end' ? (await events.store.head()).position : positionOf(from.after)
  }

  async function work(lease: Lease, progressed: () => void): Promise<void> {
    const abort = new AbortController()
    const unstop = onWakeEnd(() => abort.abort())
    try {
      const batches = subscribe(events, {
        from: { after: lease.position },
        signal: abort.signal,
        sealed,
        ...(filter === undefined ? {} : { filter }),
        ...(batch === undefined ? {} : { batch }),
        ...(pollMs === undefined ? {} : { pollMs }),
        ...(idle === undefined ? {} : { idle }),
      })
      for await (const next of batches) {
        const end = BigInt(next.scannedTo)
        const commit = async (join?: (unit: Unit) => void, upTo: string = next.scannedTo) => {
          await lease.advance((unit) => {
            join?.(unit)
            return BigInt(upTo)
          })
        }
        if (next.events.length > 0) await handle(next, commit)
        if (lease.position < end) await commit()
        progressed()
        for (const listener of listeners) listener()
        if (wake.ended || !lease.held) return
      }
    } finally {
      unstop()
    }
  }

  const endListeners = new Set<() => void>()
  function onWakeEnd(listener: () => void): () => void {
    endListeners.add(listener)
    return () => endListeners.delete(listener)
  }

  async function stop(): Promise<void> {
    wake.end()
    for (const listener of endListeners) listener()
    for (const listener of listeners) listener()
    await running
    forget()
  }

  async function position(): Promise<bigint> {
    await events.start()
    const register = await registerOf(events.store, `${consumerPrefix}${name}`)
    return register === undefined ? 0n : BigInt((JSON.parse(register.value) as ConsumerPlace).position)
  }

  return {
    name,
    get state() {
      return state
    },
    get failure() {
      return failure
    },
    position,
    async whenProcessed(target, { timeoutMs = 30_000 } = {}) {
      const wanted = positionOf(target)
      const deadline = performance.now() + timeoutMs
      const waiting = new Wake()
      const ring = () => waiting.ring()
      listeners.add(ring)
      try {
        for (;;) {
          waiting.rest()
          if ((await position()) >= wanted) return
          if (state === 'failed')
            throw new EventError('projection_stopped', `\`${name}\` has stopped`, { cause: failure })
          if (performance.now() >= deadline)
            throw new EventError('consumer_lost', `\`${name}\` has not reached ${wanted} within ${timeoutMs} ms`)
          await waiting.wait(Math.min(100, deadline - performance.now()))
        }
      } finally {
        listeners.delete(ring)
      }
    },
    stop,
  }
}

/** Throws `invalid_option` and `invalid_query` for what no consumer can run with. */
export function checkFollowing({
  name,
  leaseMs = defaultLeaseMs,
  ...reading
}: Reading & { readonly name: string; readonly leaseMs?: number | undefined }): void {
  checkName(name)
  requireTimer('leaseMs', leaseMs)
  checkReading(reading)
}

/** Throws `invalid_option` for a name that could be another register's. */
export function checkName(name: string): void {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name))
    throw new EventError('invalid_option', `Expected \`name\` to be letters, digits and . _ -, got \`${String(name)}\``)
}
