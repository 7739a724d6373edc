import { type CloudEventJson, cloudEventOf } from './cloudevents.ts'
import { type Consumer, consume } from './consumer.ts'
import { EventError, refuseUnknown, requireWhole, tell } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { sortablePosition } from './parked.ts'
import type { EventRecord } from './query.ts'
import type { EventFilter } from './store.ts'

export { type RedisStreamClient, redisStreamPublisher, type WebhookOptions, webhookPublisher } from './publishers.ts'

/** Brings one event to somebody outside. Resolves once it was acknowledged; the event's id tells repetitions. */
export type Publish = (event: CloudEventJson) => Promise<void>

/** How the log is relayed. */
export interface RelayOptions {
  /** Instances share it; one of them works at a time. */
  readonly name: string
  readonly publish: Publish
  readonly filter?: Omit<EventFilter, 'from' | 'to'>
  /** Events with the same key are published in order, one after the other: those of a stream. */
  readonly keyOf?: (event: EventRecord) => string
  /** How often an event is tried before it is dead: 10. */
  readonly maxAttempts?: number
  /** The pause after the first failure; it doubles up to `maxBackoffMs`: 500, 60,000. */
  readonly backoffMs?: number
  readonly maxBackoffMs?: number
  readonly batch?: number
  readonly leaseMs?: number
  readonly pollMs?: number
  readonly onError?: (error: unknown) => void
}

/** An event that waits for another try, or that got none any more. */
export interface Unpublished {
  readonly position: string
  readonly key: string
  readonly attempts: number
  readonly reason: string
  /** Milliseconds since the epoch. */
  readonly retryAt: number
  /** Of its register. */
  readonly version: number
}

/** A relay that runs. */
export interface Relay {
  readonly consumer: Consumer
  pending(): Promise<Unpublished[]>
  deadLetters(): Promise<Unpublished[]>
  /** Gives a dead event new tries. */
  revive(position: string): Promise<boolean>
  stop(): Promise<void>
}

/**
 * Publishes the log: each event at least once, those of one key in order. An event is in the log in the transaction of what it
 * tells of, so nothing is published that did not happen, and nothing that happened is forgotten. While a key's event waits for
 * another try, only events of that key wait behind it. A place moves once everything before it is acknowledged or noted down.
 */
export function relay(events: EventStore, options: RelayOptions): Relay {
  const { name, publish, keyOf = ({ stream }) => stream, maxAttempts = 10, backoffMs = 500, ...more } = options
  const { maxBackoffMs = 60_000, filter, batch, leaseMs, pollMs, onError, ...unknown } = more
  refuseUnknown(unknown)
  requireWhole('maxAttempts', maxAttempts)
  requireWhole('backoffMs', backoffMs)
  requireWhole('maxBackoffMs', maxBackoffMs)
  const waiting = `relay/${name}/`
  const dead = `dead/${name}/`

  async function listed(prefix: string): Promise<Unpublished[]> {
    await events.start()
    const found: Unpublished[] = []
    for (let after: string | undefined; ; ) {
      const page = await events.store.registers(prefix, after)
      for (const { value, version } of page)
        found.push({ ...(JSON.parse(value) as Omit<Unpublished, 'version'>), version })
      if (page.length < 1_000) return found
      after = page.at(-1)!.name
    }
  }

  function noted({ version: _, ...unpublished }: Unpublished): string {
    return JSON.stringify(unpublished)
  }

  function failedOnce(position: string, key: string, attempts: number, error: unknown): Unpublished {
    const reason = error instanceof Error ? error.message.slice(0, 500) : 'unknown'
    const retryAt = events.now() + Math.min(maxBackoffMs, backoffMs * 2 ** (attempts - 1))
    return { position, key, attempts, reason, retryAt, version: 0 }
  }

  /** Publishes the events of one key in order, up to the first that fails; answers what has to wait. */
  async function publishKey(key: string, batch: readonly EventRecord[], blocked: boolean): Promise<Unpublished[]> {
    const left: Unpublished[] = []
    for (const event of batch) {
      if (blocked || left.length > 0) {
        left.push({ position: event.position, key, attempts: 0, reason: 'behind another', retryAt: 0, version: 0 })
        continue
      }
      try {
        await publish(cloudEventOf(events, event))
      } catch (error) {
        tell(onError, error)
        left.push(failedOnce(event.position, key, 1, error))
      }
    }
    return left
  }

  /** Tries again what is due: of each key the first that waits, and on while it goes. */
  async function retryDue(): Promise<void> {
    const blocked = new Set<string>()
    for (const each of await listed(waiting)) {
      if (blocked.has(each.key)) continue
      // A pause that is longer than any was set by a clock that has been put back since.
      const pauseMs = each.retryAt - events.now()
      if (pauseMs > 0 && pauseMs <= maxBackoffMs) {
        blocked.add(each.key)
        continue
      }
      const at = BigInt(each.position)
      const [stored] = await events.readStored({ after: at - 1n, asOf: at, limit: 1 })
      const unit = events.store.unit()
      const place = waiting + sortablePosition(each.position)
      try {
        if (stored === undefined) throw new EventError('not_supported', 'The event is no longer at hand')
        await publish(cloudEventOf(events, await events.recordOf(stored)))
        unit.add(events.store.setRegister(place, undefined, each.version))
      } catch (error) {
        tell(onError, error)
        const next = failedOnce(each.position, each.key, each.attempts + 1, error)
        if (next.attempts >= maxAttempts) {
          unit.add(events.store.setRegister(place, undefined, each.version))
          unit.add(events.store.setRegister(dead + sortablePosition(each.position), noted(next), 0))
        } else {
          unit.add(events.store.setRegister(place, noted(next), each.version))
          blocked.add(each.key)
        }
      }
      await unit.commit()
    }
  }

  const consumer = consume(events, {
    name: `relay.${name}`,
    ...(filter === undefined ? {} : { filter }),
    ...(batch === undefined ? {} : { batch }),
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(pollMs === undefined ? {} : { pollMs }),
    ...(onError === undefined ? {} : { onError }),
    async idle() {
      await retryDue()
    },
    async handle({ events: found }, commit) {
      await retryDue()
      const blocked = new Set((await listed(waiting)).map(({ key }) => key))
      const keys = new Map<string, EventRecord[]>()
      for (const event of found) {
        const key = keyOf(event)
        const same = keys.get(key)
        if (same === undefined) keys.set(key, [event])
        else same.push(event)
      }
      const left = await Promise.all([...keys].map(([key, batch]) => publishKey(key, batch, blocked.has(key))))
      await commit((unit) => {
        for (const each of left.flat()) {
          const place = each.attempts >= maxAttempts ? dead : waiting
          unit.add(events.store.setRegister(place + sortablePosition(each.position), noted(each), 0))
        }
      })
    },
  })

  return {
    consumer,
    pending: () => listed(waiting),
    deadLetters: () => listed(dead),
    async revive(position) {
      const found = (await listed(dead)).find((each) => each.position === position)
      if (found === undefined) return false
      const unit = events.store.unit()
      unit.add(events.store.setRegister(dead + sortablePosition(position), undefined, found.version))
      const again = noted({ ...found, attempts: 0, retryAt: 0 })
      unit.add(events.store.setRegister(waiting + sortablePosition(position), again, 0))
      await unit.commit()
      events.notify()
      return true
    },
    stop: () => consumer.stop(),
  }
}
