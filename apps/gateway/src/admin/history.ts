import type { EventRecord, EventStore } from '@gw/events'
import { newestEvents } from '../newest-events.ts'

const kept = 100
const pages = 20

/** The newest events about a thing whose types begin with the prefix, oldest first; the last 20,000 about it are looked through. */
export async function historyOf(events: EventStore, subject: string, prefix: string): Promise<EventRecord[]> {
  const found: EventRecord[] = []
  let before: bigint | undefined
  for (let page = 0; page < pages && found.length < kept; page++) {
    const next = await newestEvents(events, { subject }, { before, limit: 1_000 })
    found.push(...next.events.filter(({ type }) => type.startsWith(prefix)))
    if (next.before === undefined) break
    before = BigInt(next.before)
  }
  return found.slice(0, kept).reverse()
}
