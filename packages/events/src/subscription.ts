import { EventError, refuseUnknown, requireTimer, requireWhole } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { larger } from './positions.ts'
import { checkFilter, type EventRecord } from './query.ts'
import type { EventFilter } from './store.ts'

/** Which events to follow, and how. */
export interface SubscribeOptions {
  /** Where to begin: at the first event (the default), after the last one there is now, or after a position. */
  readonly from?: 'start' | 'end' | { readonly after: bigint | string }
  readonly filter?: Omit<EventFilter, 'from' | 'to'>
  /** The most events that one batch brings: 100. */
  readonly batch?: number
  /** How often to look when nobody says that something was appended: 1,000. */
  readonly pollMs?: number
  /** Whether to wait for new events (the default) or to end when caught up. */
  readonly live?: boolean
  readonly signal?: AbortSignal
  /** Whether personal members stay encrypted: false. */
  readonly sealed?: boolean
  /** Called when caught up, each time before waiting. */
  readonly idle?: () => Promise<void>
}

/** What a subscriber pulls. */
export interface EventBatch {
  readonly events: readonly EventRecord[]
  /** Everything up to here was looked at: go on after this position. Never beyond what was really scanned. */
  readonly scannedTo: string
  /** Whether that was all there was. */
  readonly caughtUp: boolean
}

/**
 * Follows a log: what is there, and then what comes, in order, each event at least once, without a seam between the two. The
 * next batch is read when the subscriber asks for it, so that a slow one holds back nobody.
 */
export function subscribe(events: EventStore, options: SubscribeOptions = {}): AsyncIterableIterator<EventBatch> {
  const {
    from = 'start',
    filter = {},
    batch = 100,
    pollMs = 1_000,
    live = true,
    signal,
    idle,
    sealed = false,
    ...unknown
  } = options
  refuseUnknown(unknown)
  checkReading({ from, filter, batch, pollMs })
  const begin = beginning(events, from)
  begin.catch(() => {})
  return follow()

  async function* follow(): AsyncGenerator<EventBatch> {
    let after = await begin
    let told = false
    const wake = new Wake(signal)
    const unlisten = live ? events.onAppended(() => wake.ring()) : undefined
    const unstop = events.onStop(() => wake.end())
    try {
      while (!wake.ended) {
        wake.rest()
        const head = (await events.store.head()).position
        const found = head > after ? await events.readStored({ ...filter, after, asOf: head, limit: batch }) : []
        const scannedTo = found.length === batch ? found.at(-1)!.position : larger(head, after)
        const caughtUp = scannedTo >= head
        const moved = scannedTo > after
        after = scannedTo
        if (found.length > 0 || moved || (caughtUp && !told)) {
          told = caughtUp
          const records = await Promise.all(found.map((event) => events.recordOf(event, { sealed })))
          yield { events: records, scannedTo: scannedTo.toString(), caughtUp }
        }
        if (caughtUp && !live) return
        if (!caughtUp) continue
        await idle?.()
        await wake.wait(pollMs)
      }
    } finally {
      unlisten?.()
      unstop()
      wake.end()
    }
  }
}

async function beginning(events: EventStore, from: NonNullable<SubscribeOptions['from']>): Promise<bigint> {
  await events.start()
  if (from === 'start') return 0n
  if (from === 'end') return (await events.store.head()).position
  return positionOf(from.after)
}

/** What every way of following a log has in common. */
export interface Reading {
  readonly from?: SubscribeOptions['from'] | undefined
  readonly filter?: Omit<EventFilter, 'from' | 'to'> | undefined
  readonly batch?: number | undefined
  readonly pollMs?: number | undefined
}

/** Throws `invalid_option` and `invalid_query` for what no log can be followed with. */
export function checkReading({ from = 'start', filter = {}, batch = 100, pollMs = 1_000 }: Reading): void {
  requireWhole('batch', batch)
  if (batch > 1_000) throw new EventError('invalid_option', `Expected \`batch\` to be at most 1000, got \`${batch}\``)
  requireTimer('pollMs', pollMs)
  checkFilter(filter)
  checkFrom(from)
}

/** Throws `invalid_option` for what is no place to begin at. */
function checkFrom(from: NonNullable<SubscribeOptions['from']>): void {
  if (from === 'start' || from === 'end') return
  if (typeof from !== 'object' || from === null)
    throw new EventError('invalid_option', `Expected \`from\` to be start, end or { after }, got \`${String(from)}\``)
  positionOf(from.after)
}

/** A position from text. Throws `invalid_option` for anything else. */
export function positionOf(position: bigint | string): bigint {
  if (typeof position === 'bigint' && position >= 0n) return position
  if (typeof position === 'string' && /^\d{1,40}$/.test(position)) return BigInt(position)
  throw new EventError('invalid_option', `Expected a position, got \`${String(position).slice(0, 80)}\``)
}

/** A wait that a ring, a timeout or an end cuts short. A ring between two waits is not lost. */
export class Wake {
  readonly #signal: AbortSignal | undefined
  #rung = false
  #ended = false
  #resolve: (() => void) | undefined

  constructor(signal?: AbortSignal) {
    this.#signal = signal
    signal?.addEventListener('abort', this.#abort)
  }

  get ended(): boolean {
    return this.#ended || this.#signal?.aborted === true
  }

  ring(): void {
    this.#rung = true
    this.#resolve?.()
  }

  rest(): void {
    this.#rung = false
  }

  end(): void {
    this.#ended = true
    this.#signal?.removeEventListener('abort', this.#abort)
    this.#resolve?.()
  }

  async wait(ms: number): Promise<void> {
    if (this.#rung || this.ended) return
    let timer: ReturnType<typeof setTimeout> | undefined
    await new Promise<void>((resolve) => {
      this.#resolve = resolve
      timer = setTimeout(resolve, ms)
    })
    clearTimeout(timer)
    this.#resolve = undefined
  }

  readonly #abort = () => this.#resolve?.()
}
