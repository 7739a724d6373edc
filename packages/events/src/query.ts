import { EventError } from './errors.ts'
import type { StoredEvent } from './event.ts'
import type { EventFilter } from './store.ts'

/** An event as readers get it; `position` as text, since it may pass 2^53. */
export interface EventRecord extends Omit<StoredEvent, 'position' | 'data' | 'hash' | 'time' | 'crc'> {
  readonly position: string
  readonly time: string
  readonly data: unknown
  /** In hex. */
  readonly hash: string
}

/** Which events to show. Times are milliseconds since the epoch, ranges half-open. */
export interface EventQuery extends EventFilter {
  /** Where an earlier page ended. */
  readonly cursor?: string
  /** 1 to 1,000: 100. */
  readonly limit?: number
}

/** A page of events in the order of their positions, and where the next begins. */
export interface EventPage {
  readonly events: readonly EventRecord[]
  readonly cursor: string | undefined
  /** The last position that this listing will show, however much is appended meanwhile. */
  readonly asOf: string
}

const filterFields: ReadonlySet<string> = new Set(['from', 'to', 'type', 'stream', 'subject', 'actor', 'requestId'])

/** Throws `invalid_query` for an unknown member and for a bound that is no time. */
export function checkFilter(filter: EventFilter): void {
  for (const [name, value] of Object.entries(filter)) {
    if (!filterFields.has(name)) throw new EventError('invalid_query', `Unknown filter \`${name}\``)
    if (value === undefined) continue
    if (name === 'from' || name === 'to') {
      if (!Number.isSafeInteger(value))
        throw new EventError(
          'invalid_query',
          `Expected \`${name}\` to be whole milliseconds since 1970, got \`${value}\``,
        )
    } else if (name === 'type' && Array.isArray(value)) {
      if (value.length === 0 || value.length > 100 || value.some((type) => typeof type !== 'string'))
        throw new EventError('invalid_query', 'Expected `type` to be one name, or 1 to 100 of them')
    } else if (typeof value !== 'string' || value.includes('\0'))
      throw new EventError('invalid_query', `Expected \`${name}\` to be a text, got \`${String(value).slice(0, 80)}\``)
  }
}

/** Throws `invalid_query` unless `limit` is 1 to 1,000. */
export function checkLimit(limit: number): void {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000)
    throw new EventError('invalid_query', `Expected \`limit\` to be a whole number from 1 to 1000, got \`${limit}\``)
}
