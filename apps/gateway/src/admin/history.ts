import type { EventRecord, EventStore } from '@gw/events'

const kept = 100
const pages = 20

/** The newest events about a thing whose types begin with one of the prefixes, oldest first. Looks through the last 20,000 about it. */
export async function historyOf(events: EventStore, subject: string, ...prefixes: string[]): Promise<EventRecord[]> {
  const found: EventRecord[] = []
  let cursor: string | undefined
  for (let page = 0; page < pages; page++) {
    const next = await events.query({ subject, limit: 1_000, ...(cursor === undefined ? {} : { cursor }) })
    found.push(...next.events.filter(({ type }) => prefixes.some((prefix) => type.startsWith(prefix))))
    if (found.length > kept) found.splice(0, found.length - kept)
    cursor = next.cursor
    if (cursor === undefined) break
  }
  return found
}
