import { EventError, refusalOf } from './errors.ts'
import type { EventAttributes, NewEvent } from './event.ts'
import { EventBuffer } from './event-buffer.ts'
import type { EventPrivacy } from './event-store.ts'
import { checkText, type EventInput, type Intake, newEvent } from './new-event.ts'
import type { AppendResult, EventLog, Expected } from './store.ts'
import type { Durability, Unit, Write } from './unit.ts'

/** What one append says beside type and data. */
export interface AppendOptions extends EventAttributes {
  /** `audit` */
  readonly stream?: string
  /** `any` */
  readonly expected?: Expected
  /** What the answer waits for: the store's strongest. With `memory` it waits for nothing, and `flushIntervalMs` bounds the loss. */
  readonly durability?: Durability
}

/** Where an event is. */
export interface Appended {
  readonly id: string
  readonly stream: string
  /** Undefined while an event with `durability: 'memory'` has no place yet; so are `version` and `time`. */
  readonly position: bigint | undefined
  readonly version: number | undefined
  readonly time: number | undefined
  readonly durability: Durability
}

/** An event that has passed redaction and encryption and can join a unit at once. */
export interface PreparedEvent {
  readonly stream: string
  readonly expected: Expected
  readonly event: NewEvent
}

const levels: ReadonlySet<string> = new Set(['memory', 'os', 'fsync', 'replicated'] satisfies Durability[])

/** What stands in one critical section with an append: gives the writes that join it. */
export interface InlinePart {
  /** Throws to fail the append. */
  writes(events: readonly NewEvent[], stream: string): Promise<readonly Write[]>
  settled(committed: boolean): void
}

/** What an appender works on. */
export interface AppenderOptions {
  readonly store: EventLog
  readonly privacy: EventPrivacy | undefined
  readonly flushIntervalMs: number
  readonly maxPending: number
  readonly now: () => number
  /** Opens the store, so that `open` has been called when it resolves. */
  readonly start: () => Promise<void>
  /** Called when something has been appended. */
  readonly notify: () => void
}

/** The way of an event into the log: redaction and encryption, what joins it, the commit. */
export class Appender {
  readonly #store: EventLog
  readonly #privacy: EventPrivacy | undefined
  readonly #now: () => number
  readonly #start: () => Promise<void>
  readonly #notify: () => void
  readonly #buffer: EventBuffer
  readonly #inline: InlinePart[] = []
  #critical: Promise<unknown> = Promise.resolve()
  #intake: Intake | undefined
  #log = ''
  #stopped = false

  constructor({ store, privacy, flushIntervalMs, maxPending, now, start, notify }: AppenderOptions) {
    this.#store = store
    this.#privacy = privacy
    this.#now = now
    this.#start = start
    this.#notify = notify
    this.#buffer = new EventBuffer({
      flushIntervalMs,
      maxPending,
      write: async (stream, events) => {
        await this.#commit(stream, events, 'any')
      },
    })
  }

  /** Takes appends from now on, into the log of that id. */
  open(log: string, intake: Intake): void {
    this.#log = log
    this.#intake = intake
  }

  /** Events that wait for the store, and why the last try failed. */
  get buffered(): { readonly events: number; readonly failure: unknown } {
    return { events: this.#buffer.size, failure: this.#buffer.failure }
  }

  /** Every later append throws `stopped`. What is buffered is flushed once `opening` has ended. */
  async stop(opening: Promise<void> | undefined): Promise<void> {
    this.#stopped = true
    await opening?.catch(() => {})
    await this.#buffer.stop()
  }

  /** Has `part` join every append from now on. */
  addInline(part: InlinePart): void {
    this.#inline.push(part)
  }

  /** What events pass on their way in. The store must have been opened. */
  get ready(): Intake {
    if (this.#intake === undefined)
      throw new EventError('invalid_option', 'Expected `start` to have resolved before this call')
    return this.#intake
  }

  /** Appends events to one stream, all or none. */
  async append(
    stream: string,
    events: readonly EventInput[],
    { expected = 'any', durability }: { readonly expected?: Expected; readonly durability?: Durability } = {},
  ): Promise<Appended[]> {
    if (events.length === 0) throw new EventError('empty_batch', 'Expected at least one event, got none')
    checkText('stream', stream)
    checkExpected(expected)
    if (durability !== undefined && !levels.has(durability))
      throw new EventError(
        'invalid_option',
        `Expected \`durability\` to be ${[...levels].join(', ')}, got \`${durability}\``,
      )
    if (this.#intake === undefined) await this.#start()
    if (this.#stopped) throw new EventError('stopped', 'The event store has been stopped')
    const intake = this.ready
    let fresh = events.map((event) => newEvent(event, intake))
    if (this.#privacy !== undefined) fresh = await this.#sealed(fresh, stream)
    if (durability === 'memory' && this.#store.durable) {
      if (expected !== 'any')
        throw new EventError('invalid_option', "Expected `expected` to be any with durability 'memory'")
      await this.#buffer.add(stream, fresh)
      return fresh.map(({ id }) => ({
        id,
        stream,
        position: undefined,
        version: undefined,
        time: undefined,
        durability: 'memory',
      }))
    }
    return this.#commit(stream, fresh, expected, durability)
  }

  async #commit(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    durability?: Durability,
  ): Promise<Appended[]> {
    if (this.#inline.length === 0) return this.#commitWith(stream, events, expected, durability, [])
    const turn = this.#critical.then(() => this.#commitInline(stream, events, expected, durability))
    this.#critical = turn.catch(() => {})
    return turn
  }

  /** One append at a time, with what stands in its critical section; again where another process was faster. */
  async #commitInline(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    durability: Durability | undefined,
  ): Promise<Appended[]> {
    for (let attempt = 1; ; attempt++) {
      let committed = false
      try {
        const writes = (await Promise.all(this.#inline.map((part) => part.writes(events, stream)))).flat()
        const appended = await this.#commitWith(stream, events, expected, durability, writes)
        committed = true
        return appended
      } catch (error) {
        const refusal = refusalOf(error instanceof EventError ? error.cause : error)
        // Nothing was written: what the parts made ready for this append is not what the store has.
        if (refusal?.conflict === 'repetition')
          return appendedAt(refusal.places!, stream, events, this.#store.durable ? (durability ?? 'fsync') : 'memory')
        if (refusal?.conflict !== 'register' || attempt === maxInlineAttempts) throw error
      } finally {
        for (const part of this.#inline) part.settled(committed)
      }
    }
  }

  async #commitWith(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    durability: Durability | undefined,
    writes: readonly Write[],
  ): Promise<Appended[]> {
    const onRepeat = writes.length === 0 ? 'answer' : 'refuse'
    for (;;) {
      const unit = this.#store.unit(durability === undefined ? {} : { durability })
      let places: readonly AppendResult[] = []
      unit.add(this.#store.append(stream, events, expected, this.#now(), onRepeat), (result) => {
        places = result as readonly AppendResult[]
      })
      for (const write of writes) unit.add(write)
      try {
        const reached = await unit.commit()
        this.#notify()
        return appendedAt(places, stream, events, reached)
      } catch (error) {
        const refusal = refusalOf(error)
        // A transaction that got its number before the stream's last event cannot go behind it; a new one can.
        if (refusal?.conflict === 'order') continue
        throw conflictError(error, stream, expected)
      }
    }
  }

  /** Adds an append to a unit of the same database; it is there when the unit is. `start` must have resolved. */
  appendIn(unit: Unit, what: string | PreparedEvent, data: unknown, options: AppendOptions = {}): void {
    if (this.#inline.length > 0)
      throw new EventError('not_supported', 'An inline projection on this log takes appends of its own only')
    const prepared = typeof what === 'string' ? this.#prepared(what, data, options) : what
    if (typeof what === 'string' && this.#privacy?.covers(what) === true)
      throw new EventError('invalid_option', `Events of type \`${what}\` are encrypted: give what \`prepare\` answered`)
    const { stream, event, expected } = prepared
    unit.add(this.#store.append(stream, [event], expected, this.#now()), this.#notify)
  }

  /** Redacts and encrypts an event ahead of `appendIn`, which cannot wait. */
  async prepare(type: string, data: unknown, options: AppendOptions = {}): Promise<PreparedEvent> {
    if (this.#intake === undefined) await this.#start()
    const prepared = this.#prepared(type, data, options)
    const [event] = await this.#sealed([prepared.event], prepared.stream)
    return { ...prepared, event: event! }
  }

  #prepared(type: string, data: unknown, options: AppendOptions): PreparedEvent {
    const { stream = 'audit', expected = 'any', durability: _, ...attributes } = options
    checkText('stream', stream)
    checkExpected(expected)
    return { stream, expected, event: newEvent({ type, data, ...attributes }, this.ready) }
  }

  async #sealed(events: readonly NewEvent[], stream: string): Promise<NewEvent[]> {
    const privacy = this.#privacy
    if (privacy === undefined) return [...events]
    return Promise.all(
      events.map((event) => (privacy.covers(event.type) ? privacy.seal(event, { log: this.#log, stream }) : event)),
    )
  }
}

function appendedAt(
  places: readonly AppendResult[],
  stream: string,
  events: readonly NewEvent[],
  durability: Durability,
): Appended[] {
  return places.map(({ position, version, time }, i) => ({
    id: events[i]!.id,
    stream,
    position,
    version,
    time,
    durability,
  }))
}

function checkExpected(expected: Expected): void {
  const known = expected === 'any' || expected === 'none' || expected === 'exists'
  if (!known && !(Number.isSafeInteger(expected) && expected >= 0))
    throw new EventError(
      'invalid_option',
      `Expected \`expected\` to be a version, none, exists or any, got \`${String(expected)}\``,
    )
}

const maxInlineAttempts = 20

/** An error of the store in this package's codes. */
function conflictError(error: unknown, stream: string, expected: Expected): unknown {
  const refusal = refusalOf(error)
  if (refusal?.conflict === 'id')
    return new EventError('id_conflict', 'An event with one of these ids exists and is another one', { cause: error })
  if (refusal?.conflict === 'version')
    return new EventError('version_conflict', `Expected \`${stream}\` at ${expected}, it is at ${refusal.actual}`, {
      cause: error,
      actualVersion: refusal.actual ?? -1,
    })
  if (refusal?.conflict === 'register')
    return new EventError('register_conflict', `\`${refusal.name}\` has been changed by another process`, {
      cause: error,
    })
  return error
}
