import type { RunTransition } from '@gw/checkpoint'
import type { EventStore } from '@gw/events'

/** Steps in a run's life that are events of their own; what people do to a run is one before it is done. */
const noted: ReadonlySet<string> = new Set([
  'checkpoint.resumed',
  'checkpoint.waiting',
  'checkpoint.parked',
  'checkpoint.lease_lost',
  'checkpoint.interrupted',
])
const maxBufferedEvents = 5_000

/** Reasons in this project's own words; what a handler threw may hold anything, and the trail keeps it for good. */
const words =
  /^(?:sleeps in |waits for the signal |breaker_open|pool_exhausted|pool_factory_failed|unavailable|unknown|write_queue_full|accepted by version |the handler diverged|\S+ was under way |attempt \d+ failed)/

/**
 * Appends to the trail what happens to a run between its acceptance and its outcome: within a second, and never waited for. Where more
 * waits than 5,000 events, what comes is counted and dropped.
 */
export function transitionNotes(
  events: EventStore,
  { onDropped, onError }: { readonly onDropped: () => void; readonly onError: (error: unknown) => void },
): (transition: RunTransition) => void {
  return ({ type, run: { id, owner, attempt, recoveries, reason, wakeAt } }) => {
    if (!noted.has(type)) return
    if (events.buffered.events >= maxBufferedEvents) return onDropped()
    const data = { run: id, owner, attempt, recoveries, reason: ownWords(reason), wakeAt }
    events.append(type, data, { subject: id, occurredAt: Date.now(), durability: 'memory' }).catch(onError)
  }
}

function ownWords(reason: string | undefined): string | undefined {
  const known = reason === undefined ? null : words.exec(reason)
  if (reason === undefined || known === null) return undefined
  return /^(?:sleeps|waits|accepted|\S+ was under way)/.test(reason) ? reason.slice(0, 200) : known[0]
}
