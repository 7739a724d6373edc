import type { EventStore } from './event-store.ts'
import { type ConsumerPlace, consumerPrefix } from './lease.ts'

/** What there is to say of a log at a glance. */
export interface LogStats {
  readonly id: string
  readonly gapless: boolean
  /** The last position, and the last one that retention took. */
  readonly head: string
  readonly base: string
  readonly lastTime: string | undefined
  /** Events that wait in this process, with `durability: 'memory'`. */
  readonly buffered: number
  readonly consumers: readonly { readonly name: string; readonly position: string; readonly working: boolean }[]
  /** Events that were put aside by projections, and by relays for good. */
  readonly parked: number
  readonly dead: number
}

/** Gathers the figures of a log; counts stop at 1,000. */
export async function stats(events: EventStore): Promise<LogStats> {
  await events.start()
  const { store } = events
  const [head, base, consumers, parked, dead] = await Promise.all([
    store.head(),
    store.base(),
    store.registers(consumerPrefix),
    store.registers('parked/'),
    store.registers('dead/'),
  ])
  return {
    id: events.id,
    gapless: store.gapless,
    head: head.position.toString(),
    base: base.position.toString(),
    lastTime: head.position === 0n ? undefined : new Date(head.time).toISOString(),
    buffered: events.buffered.events,
    consumers: consumers.map(({ name, value }) => {
      const { position, owner } = JSON.parse(value) as ConsumerPlace
      return { name: name.slice(consumerPrefix.length), position, working: owner !== undefined }
    }),
    parked: parked.length,
    dead: dead.length,
  }
}
