import { type KeptSegment, type Segment, type SegmentArchive, segmentsOf } from './archive.ts'
import { EventError, refuseUnknown, requireWhole } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { type ConsumerPlace, consumerPrefix } from './lease.ts'
import { holds } from './legal-hold.ts'

/** What may leave the store. Any bound that is passed makes a segment leave. */
export interface RetainOptions {
  readonly archive: SegmentArchive
  readonly retentionMs?: number
  readonly maxEvents?: number
  readonly maxBytes?: number
  /** Whether to go past consumers that have not read so far. Legal holds hold all the same. */
  readonly force?: boolean
}

/** What left the store, and what would have. */
export interface Retained {
  readonly sealed: number
  readonly archived: number
  readonly dropped: number
  /** The first segment that is due and held back: alarm on it. */
  readonly blocked: { readonly first: string; readonly last: string; readonly by: string } | undefined
}

/**
 * Seals what fills a segment, archives whole segments that are due, and takes from the store what is safely outside, from the front.
 * Safe to run again after a crash at any point.
 */
export async function retain(events: EventStore, options: RetainOptions): Promise<Retained> {
  const { archive, retentionMs, maxEvents, maxBytes, force = false, ...unknown } = options
  refuseUnknown(unknown)
  for (const [name, value] of Object.entries({ retentionMs, maxEvents, maxBytes }))
    if (value !== undefined) requireWhole(name, value, 0)
  if (!events.store.gapless) throw new EventError('not_supported', 'Retention needs a log in strict mode')
  await events.start()
  const sealed = await archive.seal(events)
  const { store } = events
  const base = await store.base()
  const head = await store.head()
  const segments = (await segmentsOf(store)).filter(({ segment }) => BigInt(segment.last) > base.position)
  let bytes = segments.reduce((sum, { segment }) => sum + segment.bytes, 0)
  const due = (segment: Segment) =>
    (retentionMs !== undefined && segment.lastTime < events.now() - retentionMs) ||
    (maxEvents !== undefined && head.position - BigInt(segment.last) >= BigInt(maxEvents)) ||
    (maxBytes !== undefined && bytes > maxBytes)
  let archived = 0
  let dropped = 0
  for (const kept of segments) {
    if (!due(kept.segment)) break
    const by = await blockedBy(events, kept, force)
    if (by !== undefined)
      return { sealed, archived, dropped, blocked: { first: kept.segment.first, last: kept.segment.last, by } }
    const outside = kept.segment.stored === undefined ? await archive.upload(events, kept) : kept
    if (outside !== kept) archived++
    await archive.drop(events, outside)
    dropped++
    bytes -= kept.segment.bytes
  }
  return { sealed, archived, dropped, blocked: undefined }
}

async function blockedBy(events: EventStore, { segment }: KeptSegment, force: boolean): Promise<string | undefined> {
  const { first, last } = segment
  for (const { name, filter = {} } of await holds(events)) {
    const bounds = { after: BigInt(first) - 1n, asOf: BigInt(last), limit: 1 }
    if ((await events.store.count({ ...filter, ...bounds })) > 0) return `hold ${name}`
  }
  if (force) return undefined
  for (const { name, value } of await events.store.registers(consumerPrefix))
    if (BigInt((JSON.parse(value) as ConsumerPlace).position) < BigInt(last))
      return `consumer ${name.slice(consumerPrefix.length)}`
  return undefined
}
