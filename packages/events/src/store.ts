import type { NewEvent, StoredEvent } from './event.ts'
import type { Unit, Write } from './unit.ts'

/** Which version a stream must have: an exact one, none at all, any that exists, or whatever. */
export type Expected = number | 'none' | 'exists' | 'any'

/** Where a batch ended up. */
export interface AppendResult {
  readonly position: bigint
  readonly version: number
  readonly time: number
}

/** Which events to read, newest last; ranges of time are half-open, in milliseconds. */
export interface StoreQuery {
  readonly from?: number
  readonly to?: number
  readonly type?: string
  readonly stream?: string
  readonly subject?: string
  readonly actor?: string
  readonly requestId?: string
  /** Only positions after this. */
  readonly after: bigint
  /** Only positions up to this. */
  readonly asOf: bigint
  readonly limit: number
}

/**
 * Keeps events in one order. The laws:
 *
 * 1. Positions start at 1, have no gaps and are the order of commits; versions start at 0 within each stream.
 * 2. An append whose expectation does not hold is refused with `{ conflict: 'version', actual }` and leaves nothing.
 * 3. The same ids with the same content answer with the places of the first append; other content, or some ids old and some new, is
 *    refused with `{ conflict: 'id' }`.
 * 4. Times never decrease from one position to the next.
 * 5. `hash` is SHA-256 of 0x00, the hash before, and the event's frame.
 */
export interface EventLog {
  readonly durable: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  open(): Promise<void>
  unit(): Unit
  /** The write's result is an {@link AppendResult} an event. */
  append(stream: string, events: readonly NewEvent[], expected: Expected, now: number): Write
  read(query: StoreQuery): Promise<StoredEvent[]>
  head(): Promise<{ readonly position: bigint; readonly hash: Uint8Array }>
  /** A secret of this log's own, made at the first `open`. */
  secret(): Promise<Uint8Array>
}
