import { fromHex, hexOf } from './bytes.ts'
import { cursorOf, readCursor } from './cursor.ts'
import { EventError, refusalOf, refuseUnknown, requireWhole } from './errors.ts'
import type { EventAttributes, NewEvent, StoredEvent } from './event.ts'
import { EventBuffer } from './event-buffer.ts'
import { newEventId } from './event-id.ts'
import { checkText, type EventInput, type Intake, newEvent } from './new-event.ts'
import { smaller } from './positions.ts'
import { type Projection, type ProjectionOptions, project } from './projection.ts'
import { checkFilter, checkLimit, type EventPage, type EventQuery, type EventRecord } from './query.ts'
import { defaultRedaction, type RedactionRules } from './redaction.ts'
import {
  type AppendResult,
  type EventFilter,
  type EventLog,
  type Expected,
  registerOf,
  type StoreQuery,
} from './store.ts'
import { type EventBatch, type SubscribeOptions, subscribe } from './subscription.ts'
import type { Durability, Unit, Write } from './unit.ts'
import { type Verification, type VerifyOptions, verifyLog } from './verify.ts'

/** How a log is kept. */
export interface EventStoreOptions {
  readonly store: EventLog
  /** What never enters the log: `defaultRedaction`. */
  readonly redact?: RedactionRules
  /** Encrypts what is personal before it is stored, and reads it back; see `@gw/events/privacy`. */
  readonly privacy?: EventPrivacy
  /** Reads what retention has moved out of the store; see `@gw/events/archive`. */
  readonly archive?: ColdTier
  /** Bring old shapes of data to the newest, for readers; the stored bytes stay. */
  readonly upcasters?: readonly Upcaster[]
  /** The longest an event appended with `durability: 'memory'` waits for the store: 1,000. */
  readonly flushIntervalMs?: number
  /** How many events appended with `durability: 'memory'` may wait; beyond it an append waits: 10,000. */
  readonly maxPending?: number
  /** The most characters an event's data may have as JSON: 1,048,576. */
  readonly maxDataBytes?: number
  readonly now?: () => number
}

/** Protects members of an event's data on their way in, and opens them on their way out. */
export interface EventPrivacy {
  /** Whether events of this type have something to protect. */
  covers(type: string): boolean
  seal(event: NewEvent, place: { readonly log: string; readonly stream: string }): Promise<NewEvent>
  open(event: StoredEvent, log: string): Promise<string>
}

/** Where events lie that retention has taken from the store. */
export interface ColdTier {
  /** Events with positions up to `query.asOf` and the store's base, in order; like a store's `read`. */
  read(log: EventLog, query: StoreQuery): Promise<StoredEvent[]>
}

/** One step from a shape of data to the next. */
export interface Upcaster {
  readonly type: string
  /** The `schemaVersion` it takes; it gives the next. */
  readonly from: number
  upcast(data: unknown): unknown
}

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

/** What stands in one critical section with an append: gives the writes that join it. */
export interface InlinePart {
  /** Throws to fail the append. */
  writes(events: readonly NewEvent[], stream: string): Promise<readonly Write[]>
  settled(committed: boolean): void
}

/** An append-only log with a hash chain. An append resolves when the event is durable, and not before. */
export class EventStore {
  readonly store: EventLog
  readonly now: () => number
  readonly #redact: RedactionRules
  readonly #privacy: EventPrivacy | undefined
  readonly #archive: ColdTier | undefined
  readonly #upcasters: ReadonlyMap<string, Upcaster>
  readonly #maxDataBytes: number
  readonly #buffer: EventBuffer
  readonly #listeners = new Set<() => void>()
  readonly #closers = new Set<() => Promise<void> | void>()
  readonly #inline: InlinePart[] = []
  #critical: Promise<unknown> = Promise.resolve()
  #intake: Intake | undefined
  #id = ''
  #started: Promise<void> | undefined
  #stopped = false
  #unlisten: Promise<() => Promise<void>> | undefined

  constructor(options: EventStoreOptions) {
    const {
      store,
      redact = defaultRedaction,
      privacy,
      archive,
      upcasters = [],
      now = () => Date.now(),
      ...more
    } = options
    const { flushIntervalMs = 1_000, maxPending = 10_000, maxDataBytes = 1_048_576, ...unknown } = more
    refuseUnknown(unknown)
    if (typeof store?.append !== 'function')
      throw new EventError('invalid_option', `Expected \`store\` to be an event log, got \`${String(store)}\``)
    requireWhole('flushIntervalMs', flushIntervalMs)
    requireWhole('maxPending', maxPending)
    requireWhole('maxDataBytes', maxDataBytes)
    this.store = store
    this.now = now
    this.#redact = redact
    this.#privacy = privacy
    this.#archive = archive
    this.#upcasters = new Map(upcasters.map((upcaster) => [`${upcaster.from} ${upcaster.type}`, upcaster]))
    this.#maxDataBytes = maxDataBytes
    this.#buffer = new EventBuffer({
      flushIntervalMs,
      maxPending,
      write: async (stream, events) => {
        await this.#commit(stream, events, 'any')
      },
    })
  }

  /** The log's own name, drawn when it was made. `start` must have resolved. */
  get id(): string {
    return this.#id
  }

  /** A secret of this log's own. `start` must have resolved. */
  get secret(): Uint8Array {
    return this.#ready().key
  }

  /** Events appended with `durability: 'memory'` that are not in the store yet, and why the last try failed. */
  get buffered(): { readonly events: number; readonly failure: unknown } {
    return { events: this.#buffer.size, failure: this.#buffer.failure }
  }

  /** Opens the store. Everything but `appendIn` does this itself. */
  start(): Promise<void> {
    this.#started ??= this.#open().catch((error: unknown) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  async #open(): Promise<void> {
    await this.store.open()
    const drawn = crypto.getRandomValues(new Uint8Array(32))
    const { id, secret } = JSON.parse(
      await this.#once('log/identity', JSON.stringify({ id: crypto.randomUUID(), secret: hexOf(drawn) })),
    ) as { readonly id: string; readonly secret: string }
    this.#id = id
    this.#intake = { rules: this.#redact, key: fromHex(secret), maxDataBytes: this.#maxDataBytes, now: this.now }
  }

  /** What a register has, after setting it where it has nothing. */
  async #once(name: string, value: string): Promise<string> {
    const register = await registerOf(this.store, name)
    if (register !== undefined) return register.value
    const unit = this.store.unit()
    unit.add(this.store.setRegister(name, value, 0))
    try {
      await unit.commit()
      return value
    } catch (error) {
      if (refusalOf(error)?.conflict !== 'register') throw error
      return this.#once(name, value)
    }
  }

  /** Flushes what is buffered and ends what was started on this log: consumers, projections, relays. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#started?.catch(() => {})
    await this.#buffer.stop()
    await Promise.all([...this.#closers].map((close) => close()))
    this.#closers.clear()
    await (await this.#unlisten)?.()
    this.#unlisten = undefined
  }

  /** Appends one event. Throws `version_conflict` with the actual version, `id_conflict`. */
  async append(type: string, data: unknown, options: AppendOptions = {}): Promise<Appended> {
    const { stream, expected, durability, ...attributes } = options
    const [appended] = await this.appendBatch(stream ?? 'audit', [{ type, data, ...attributes }], {
      ...(expected === undefined ? {} : { expected }),
      ...(durability === undefined ? {} : { durability }),
    })
    return appended!
  }

  /** Appends events to one stream, all or none. */
  async appendBatch(
    stream: string,
    events: readonly EventInput[],
    { expected = 'any', durability }: { readonly expected?: Expected; readonly durability?: Durability } = {},
  ): Promise<Appended[]> {
    if (events.length === 0) throw new EventError('empty_batch', 'Expected at least one event, got none')
    checkText('stream', stream)
    checkExpected(expected)
    if (this.#intake === undefined) await this.start()
    if (this.#stopped) throw new EventError('stopped', 'The event store has been stopped')
    const intake = this.#ready()
    let fresh = events.map((event) => newEvent(event, intake))
    if (this.#privacy !== undefined) fresh = await this.#sealed(fresh, stream)
    if (durability === 'memory' && this.store.durable) {
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
        const cause = error instanceof EventError ? error.cause : error
        if (refusalOf(cause)?.conflict !== 'register' || attempt === maxInlineAttempts) throw error
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
    const appendedAt = (places: readonly AppendResult[], reached: Durability) =>
      places.map(({ position, version, time }, i) => ({
        id: events[i]!.id,
        stream,
        position,
        version,
        time,
        durability: reached,
      }))
    const onRepeat = writes.length === 0 ? 'answer' : 'refuse'
    for (;;) {
      const unit = this.store.unit(durability === undefined ? {} : { durability })
      let places: readonly AppendResult[] = []
      unit.add(this.store.append(stream, events, expected, this.now(), onRepeat), (result) => {
        places = result as readonly AppendResult[]
      })
      for (const write of writes) unit.add(write)
      try {
        const reached = await unit.commit()
        this.notify()
        return appendedAt(places, reached)
      } catch (error) {
        const refusal = refusalOf(error)
        // A transaction that got its number before the stream's last event cannot go behind it; a new one can.
        if (refusal?.conflict === 'order') continue
        if (refusal?.conflict === 'repetition') return appendedAt(refusal.places!, durability ?? 'fsync')
        throw conflictError(error, stream, expected)
      }
    }
  }

  /** Adds an append to a unit of the same database; it is there when the unit is. `start` must have resolved. */
  appendIn(unit: Unit, prepared: PreparedEvent): void
  appendIn(unit: Unit, type: string, data: unknown, options?: AppendOptions): void
  appendIn(unit: Unit, what: string | PreparedEvent, data?: unknown, options: AppendOptions = {}): void {
    if (this.#inline.length > 0)
      throw new EventError('not_supported', 'An inline projection on this log takes appends of its own only')
    const prepared = typeof what === 'string' ? this.#prepared(what, data, options) : what
    if (typeof what === 'string' && this.#privacy?.covers(what) === true)
      throw new EventError('invalid_option', `Events of type \`${what}\` are encrypted: give what \`prepare\` answered`)
    const { stream, event, expected } = prepared
    unit.add(this.store.append(stream, [event], expected, this.now()), this.#committed)
  }

  readonly #committed = () => this.notify()

  /** Redacts and encrypts an event ahead of `appendIn`, which cannot wait. */
  async prepare(type: string, data: unknown, options: AppendOptions = {}): Promise<PreparedEvent> {
    await this.start()
    const prepared = this.#prepared(type, data, options)
    const [event] = await this.#sealed([prepared.event], prepared.stream)
    return { ...prepared, event: event! }
  }

  #prepared(type: string, data: unknown, options: AppendOptions): PreparedEvent {
    const { stream = 'audit', expected = 'any', durability: _, ...attributes } = options
    checkText('stream', stream)
    checkExpected(expected)
    return { stream, expected, event: newEvent({ type, data, ...attributes }, this.#ready()) }
  }

  async #sealed(events: readonly NewEvent[], stream: string): Promise<NewEvent[]> {
    const privacy = this.#privacy
    if (privacy === undefined) return [...events]
    return Promise.all(
      events.map((event) => (privacy.covers(event.type) ? privacy.seal(event, { log: this.#id, stream }) : event)),
    )
  }

  #ready(): Intake {
    if (this.#intake === undefined)
      throw new EventError('invalid_option', 'Expected `start` to have resolved before this call')
    return this.#intake
  }

  /** Reads a page. Throws `invalid_query` and `invalid_cursor`. */
  async query(query: EventQuery = {}): Promise<EventPage> {
    const { cursor, limit = 100, ...filter } = query
    checkFilter(filter)
    checkLimit(limit)
    await this.start()
    const { after, asOf } =
      cursor === undefined
        ? { after: 0n, asOf: (await this.store.head()).position }
        : readCursor(cursor, this.secret, filter)
    const events = await this.readStored({ ...filter, after, asOf, limit })
    const last = events.at(-1)
    const more = events.length === limit && last !== undefined && last.position < asOf
    return {
      events: await Promise.all(events.map((event) => this.recordOf(event))),
      cursor: more ? cursorOf({ after: last.position, asOf }, this.secret, filter) : undefined,
      asOf: asOf.toString(),
    }
  }

  /** How many events in the store a filter shows, counted to `max` at most; `exact` says whether that was all. */
  async count(
    filter: EventFilter = {},
    { max = 10_000 }: { readonly max?: number } = {},
  ): Promise<{ readonly count: number; readonly exact: boolean }> {
    checkFilter(filter)
    requireWhole('max', max)
    await this.start()
    const { position: asOf } = await this.store.head()
    const found = await this.store.count({ ...filter, after: 0n, asOf, limit: max + 1 })
    return { count: Math.min(found, max), exact: found <= max }
  }

  /** Reads stored events across the tiers: first what retention has moved out, then the store. */
  async readStored(query: StoreQuery): Promise<StoredEvent[]> {
    if (this.#archive === undefined) return this.store.read(query)
    const base = await this.store.base()
    if (query.after >= base.position) return this.store.read(query)
    const cold = await this.#archive.read(this.store, {
      ...query,
      asOf: smaller(query.asOf, base.position),
    })
    if (cold.length >= query.limit || query.asOf <= base.position) return cold
    return [...cold, ...(await this.store.read({ ...query, after: base.position, limit: query.limit - cold.length }))]
  }

  /** Whether events of a type hold something that is stored encrypted. */
  isPersonal(type: string): boolean {
    return this.#privacy?.covers(type) === true
  }

  /**
   * A stored event as readers get it, its data in the newest shape: decrypted where its subject's key still exists, or, with
   * `sealed`, as it is stored, for what is kept where an erasure does not reach.
   */
  async recordOf(event: StoredEvent, { sealed = false }: { readonly sealed?: boolean } = {}): Promise<EventRecord> {
    const { position, data, hash, time, crc: _, ...same } = event
    const text = !sealed && this.isPersonal(event.type) ? await this.#privacy!.open(event, this.#id) : data
    let current: unknown = JSON.parse(text)
    let { schemaVersion } = same
    for (;;) {
      const upcaster = this.#upcasters.get(`${schemaVersion} ${event.type}`)
      if (upcaster === undefined) break
      current = upcaster.upcast(current)
      schemaVersion++
    }
    return {
      ...same,
      schemaVersion,
      position: position.toString(),
      time: new Date(time).toISOString(),
      data: current,
      hash: hexOf(hash),
    }
  }

  /** Goes over the whole log and names what is wrong with it. */
  async verify(options: VerifyOptions = {}): Promise<Verification> {
    await this.start()
    return verifyLog(this, options)
  }

  /** Follows the log; see {@link subscribe}. */
  subscribe(options: SubscribeOptions = {}): AsyncIterableIterator<EventBatch> {
    return subscribe(this, options)
  }

  /** Starts a projection; see {@link project}. */
  project<State>(options: ProjectionOptions<State>): Projection<State> {
    return project(this, options)
  }

  /** Calls `listener` when something may have been appended, here or by another process. Answers how to end it. */
  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener)
    this.#unlisten ??= this.store.listen?.(() => this.notify())
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Wakes whoever waits for new events. */
  notify(): void {
    for (const listener of this.#listeners) listener()
  }

  /** Has `close` run by `stop`. Answers how to take it back. */
  onStop(close: () => Promise<void> | void): () => void {
    this.#closers.add(close)
    return () => {
      this.#closers.delete(close)
    }
  }

  /** Has `part` join every append from now on. */
  addInline(part: InlinePart): void {
    this.#inline.push(part)
  }

  /** A fresh id as events have them. */
  newId(): string {
    return newEventId(this.now())
  }
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
