import type { Refusal } from './errors.ts'
import type { NewEvent, StoredEvent } from './event.ts'
import { linkOf, sameContent } from './event.ts'
import type { AppendResult, EventFilter, Expected, Head } from './store.ts'

/** Whether a stream at `actual` (-1: never had an event) is where an append expects it. */
export function expectationHolds(expected: Expected, actual: number): boolean {
  if (expected === 'any') return true
  if (expected === 'none') return actual === -1
  return expected === 'exists' ? actual >= 0 : actual === expected
}

/** The places that events known by their ids had, or why they cannot be appended; undefined when none of them is known. */
export function repetitionOf(
  known: readonly (StoredEvent | undefined)[],
  events: readonly NewEvent[],
  stream: string,
  onRepeat: 'answer' | 'refuse',
): readonly AppendResult[] | Refusal | undefined {
  if (events.length > 1 && new Set(events.map(({ id }) => id)).size < events.length) return { conflict: 'id' }
  if (known.every((event) => event === undefined)) return undefined
  const places: AppendResult[] = []
  for (let i = 0; i < events.length; i++) {
    const stored = known[i]
    if (stored === undefined || !sameContent(stored, events[i]!, stream)) return { conflict: 'id' }
    places.push({ position: stored.position, version: stored.version, time: stored.time })
  }
  return onRepeat === 'answer' ? places : { conflict: 'repetition', places }
}

/** The event at the place after `head`, chained to it. */
export function placed(
  event: NewEvent,
  { stream, version, now }: { readonly stream: string; readonly version: number; readonly now: number },
  head: Head,
): StoredEvent {
  const { fresh: _, ...kept } = event
  const framed = { ...kept, position: head.position + 1n, stream, version, time: Math.max(head.time, now) }
  return { ...framed, ...linkOf(framed, head.hash) }
}

/** Whether an event is one that the filter shows. */
export function matches(event: StoredEvent, filter: EventFilter): boolean {
  const { from, to, type, stream, subject, actor, requestId } = filter
  return (
    (from === undefined || event.time >= from) &&
    (to === undefined || event.time < to) &&
    (type === undefined || (typeof type === 'string' ? event.type === type : type.includes(event.type))) &&
    (stream === undefined || event.stream === stream) &&
    (subject === undefined || event.subject === subject) &&
    (actor === undefined || event.actor === actor) &&
    (requestId === undefined || event.requestId === requestId)
  )
}
