import type { EventStore } from './event-store.ts'
import type { EventRecord } from './query.ts'
import type { Write } from './unit.ts'

/** An event that was put aside, and why. */
export interface Parked {
  readonly position: string
  readonly id: string
  readonly type: string
  readonly stream: string
  readonly reason: string
  readonly attempts: number
  /** Of its register. */
  readonly version: number
}

/** Positions of one length sort as texts as they do as numbers. */
export function sortablePosition(position: bigint | string): string {
  return position.toString().padStart(40, '0')
}

const prefixOf = (owner: string) => `parked/${owner}/`

/** Puts an event aside under its owner's name. The reason is an error's kind and message, cut short. */
export function parkWrite(
  events: EventStore,
  owner: string,
  event: EventRecord,
  error: unknown,
  attempts: number,
): Write {
  const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  const { position, id, type, stream } = event
  return events.store.setRegister(
    prefixOf(owner) + sortablePosition(position),
    JSON.stringify({ position, id, type, stream, reason: reason.slice(0, 500), attempts }),
    0,
  )
}

/** Takes a parked event off the list. */
export function unparkWrite(events: EventStore, owner: string, { position, version }: Parked): Write {
  return events.store.setRegister(prefixOf(owner) + sortablePosition(position), undefined, version)
}

/** The parked events of an owner, in order; 1,000 at most. */
export async function parkedEvents(events: EventStore, owner: string): Promise<Parked[]> {
  const registers = await events.store.registers(prefixOf(owner))
  return registers.map(({ value, version }) => ({ ...(JSON.parse(value) as Omit<Parked, 'version'>), version }))
}
