import { checkName } from './consumer.ts'
import type { EventStore } from './event-store.ts'
import { type EventFilter, registerOf } from './store.ts'

/** What must not leave the store. Without any member, nothing may. */
export interface LegalHold {
  readonly name: string
  readonly reason: string
  readonly filter?: Pick<EventFilter, 'stream' | 'subject' | 'actor'>
}

const prefix = 'hold/'

/** Holds events back from retention until it is lifted. That it was placed, and by whom, is an event. */
export async function placeHold(events: EventStore, hold: LegalHold, actor: string): Promise<void> {
  checkName(hold.name)
  await events.append('log.hold_placed', hold, { actor, stream: 'log' })
  const kept = await registerOf(events.store, prefix + hold.name)
  const unit = events.store.unit()
  unit.add(events.store.setRegister(prefix + hold.name, JSON.stringify(hold), kept?.version ?? 0))
  await unit.commit()
}

/** Lifts a hold; answers whether there was one. */
export async function liftHold(events: EventStore, name: string, actor: string): Promise<boolean> {
  await events.start()
  const kept = await registerOf(events.store, prefix + name)
  if (kept === undefined) return false
  await events.append('log.hold_lifted', { name }, { actor, stream: 'log' })
  const unit = events.store.unit()
  unit.add(events.store.setRegister(prefix + name, undefined, kept.version))
  await unit.commit()
  return true
}

/** The holds that stand. */
export async function holds(events: EventStore): Promise<LegalHold[]> {
  await events.start()
  return (await events.store.registers(prefix)).map(({ value }) => JSON.parse(value) as LegalHold)
}
