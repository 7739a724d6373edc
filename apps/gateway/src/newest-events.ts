import type { EventFilter, EventRecord, EventStore, StoredEvent } from '@gw/events'

/** A page of the log from its end. */
export interface NewestEvents {
  /** Newest first. */
  readonly events: readonly EventRecord[]
  /** Where to go on with older ones; absent at the beginning of the log. */
  readonly before: string | undefined
}

const firstWindow = 512n
const mostRead = 1_000
const mostLooked = 4_000_000n

/**
 * Reads the log backwards, which its store reads forwards only: stretches before the place where the page ends, each twice as long as the
 * one after it, until the page is full. A stretch that holds more than can be read at once is halved.
 */
export async function newestEvents(
  events: EventStore,
  filter: EventFilter,
  { before, limit }: { readonly before?: bigint | undefined; readonly limit: number },
): Promise<NewestEvents> {
  await events.start()
  const end = before === undefined ? (await events.store.head()).position : before - 1n
  const found: StoredEvent[] = []
  let high = end
  let size = firstWindow
  while (high > 0n && found.length < limit && end - high < mostLooked) {
    const low = high > size ? high - size : 0n
    const part = await events.readStored({ ...filter, after: low, asOf: high, limit: mostRead })
    if (part.length === mostRead && high - low > BigInt(mostRead)) {
      size /= 2n
      continue
    }
    found.push(...part.reverse())
    high = low
    size *= 2n
  }
  const page = found.slice(0, limit)
  const oldest = found.length > limit ? page.at(-1)!.position : high + 1n
  return {
    events: await Promise.all(page.map((event) => events.recordOf(event))),
    before: oldest > 1n ? oldest.toString() : undefined,
  }
}
