import type { NewEvent, StoredEvent } from './event.ts'
import type { Durability, Unit, Write } from './unit.ts'

/** Which version a stream must have: an exact one, none at all, any that exists, or whatever. */
export type Expected = number | 'none' | 'exists' | 'any'

/** Where an event ended up. */
export interface AppendResult {
  readonly position: bigint
  readonly version: number
  readonly time: number
}

/** Which events to show; ranges of time are half-open, in milliseconds since the epoch. */
export interface EventFilter {
  readonly from?: number
  readonly to?: number
  /** One type, or any of several. */
  readonly type?: string | readonly string[]
  readonly stream?: string
  readonly subject?: string
  readonly actor?: string
  readonly requestId?: string
}

/** Which events to read, in the order of their positions. */
export interface StoreQuery extends EventFilter {
  /** Only positions after this. */
  readonly after: bigint
  /** Only positions up to this. */
  readonly asOf: bigint
  readonly limit: number
}

/** The last event of a log, or the last one that retention has taken from its front. */
export interface Head {
  readonly position: bigint
  readonly time: number
  readonly hash: Uint8Array
}

/** A small named document beside the log: a consumer's place, a snapshot, a signed checkpoint. */
export interface Register {
  readonly name: string
  /** From 1, one more with every change. */
  readonly version: number
  readonly value: string
}

/**
 * Keeps events in one order. The laws, each checked by `testEventLog` from `@gw/events/testing`:
 *
 * 1. Positions increase in the order of commits; where `gapless`, they start at 1 and have no gaps. Versions start at 0 within each
 *    stream and have none.
 * 2. An append whose expectation does not hold is refused with `{ conflict: 'version', actual }` and leaves nothing. A stream whose
 *    events retention has taken still has its version.
 * 3. The same ids with the same content answer with the places of the first append; other content, some ids old and some new, or one id twice is
 *    refused with `{ conflict: 'id' }`.
 * 4. Times never decrease from one position to the next, where `gapless`.
 * 5. Where `gapless`, `hash` is the `chainHash` of the hash before and the event's frame, and `crc` is the CRC-32 of frame and hash.
 * 6. No read ever shows a position below one that an earlier read showed and skipped: what is not yet committed stays above `head`.
 * 7. `setRegister` changes a register only at the version it names (0: absent), else it is refused with `{ conflict: 'register' }`.
 * 8. The writes of a unit are applied together or not at all.
 * 9. `drop` takes exactly the events up to its base, and refuses a base that is not one of the log's own events.
 */
export interface EventLog {
  readonly durable: boolean
  /** Whether positions have no gaps and events are chained. */
  readonly gapless: boolean
  /** What it writes to: stores with the same `database` can share a unit. */
  readonly database: unknown
  open(): Promise<void>
  unit(options?: { readonly durability?: Durability }): Unit
  /**
   * The write's result is an {@link AppendResult} an event. With `onRepeat: 'refuse'` a repetition (law 3) is refused with
   * `{ conflict: 'repetition', places }`, so that what else is in the unit does not happen twice.
   */
  append(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    now: number,
    onRepeat?: 'answer' | 'refuse',
  ): Write
  read(query: StoreQuery): Promise<StoredEvent[]>
  /** How many events `read` would show, counted to `limit` at most. */
  count(query: StoreQuery): Promise<number>
  /** The last event that a read can show; of an empty log, its base. */
  head(): Promise<Head>
  /** The last event that retention has taken; position 0 while it has taken none. */
  base(): Promise<Head>
  /** Registers whose names begin with `prefix` and come after `after`, in the order of their names. */
  registers(prefix: string, after?: string, limit?: number): Promise<Register[]>
  /** `undefined` as value removes it. The write's result is the new version. */
  setRegister(name: string, value: string | undefined, version: number): Write
  /** Takes every event up to and including `base` from the front of the log. */
  drop(base: Head): Write
  /** Calls `listener` when another process may have appended; resolves to a function that ends it. */
  listen?(listener: () => void): Promise<() => Promise<void>>
}

/** One register by its name. */
export async function registerOf(log: EventLog, name: string): Promise<Register | undefined> {
  const [register] = await log.registers(name, undefined, 1)
  return register?.name === name ? register : undefined
}
