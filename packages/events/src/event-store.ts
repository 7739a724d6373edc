import { type Appended, Appender, type AppendOptions, type InlinePart, type PreparedEvent } from './appender.ts'
import { fromHex, hexOf } from './bytes.ts'
import { cursorOf, readCursor } from './cursor.ts'
import { EventError, refusalOf, refuseUnknown, requireTimer, requireWhole } from './errors.ts'
import type { NewEvent, StoredEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import type { EventInput } from './new-event.ts'
import { smaller } from './positions.ts'
import { type Projection, type ProjectionOptions, project } from './projection.ts'
import { checkFilter, checkLimit, type EventPage, type EventQuery, type EventRecord } from './query.ts'
import { defaultRedaction, type RedactionRules } from './redaction.ts'
import { type EventFilter, type EventLog, type Expected, registerOf, type StoreQuery } from './store.ts'
import { type EventBatch, type SubscribeOptions, subscribe } from './subscription.ts'
import type { Durability, Unit } from './unit.ts'
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

/** An append-only log with a hash chain. An append resolves when the event is durable, and not before. */
export class EventStore {
  readonly store: EventLog
  readonly now: () => number
  readonly #redact: RedactionRules
  readonly #privacy: EventPrivacy | undefined
  readonly #archive: ColdTier | undefined
  readonly #upcasters: ReadonlyMap<string, Upcaster>
  readonly #maxDataBytes: number
  readonly #appender: Appender
  readonly #listeners = new Set<() => void>()
  readonly #closers = new Set<() => Promise<void> | void>()
  #id = ''
  #started: Promise<void> | undefined
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
    requireTimer('flushIntervalMs', flushIntervalMs)
    requireWhole('maxPending', maxPending)
    requireWhole('maxDataBytes', maxDataBytes)
    this.store = store
    this.now = now
    this.#redact = redact
    this.#privacy = privacy
    this.#archive = archive
    this.#upcasters = new Map(upcasters.map((upcaster) => [`${upcaster.from} ${upcaster.type}`, upcaster]))
    this.#maxDataBytes = maxDataBytes
    this.#appender = new Appender({
      store,
      privacy,
      flushIntervalMs,
      maxPending,
      now,
      start: () => this.start(),
      notify: () => this.notify(),
    })
  }

  /** The log's own name, drawn when it was made. `start` must have resolved. */
  get id(): string {
    return this.#id
  }

  /** A secret of this log's own. `start` must have resolved. */
  get secret(): Uint8Array {
    return this.#appender.ready.key
  }

  /** Events appended with `durability: 'memory'` that are not in the store yet, and why the last try failed. */
  get buffered(): { readonly events: number; readonly failure: unknown } {
    return this.#appender.buffered
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
    const intake = { rules: this.#redact, key: fromHex(secret), maxDataBytes: this.#maxDataBytes, now: this.now }
    this.#appender.open(id, intake)
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
    try {
      await this.#appender.stop(this.#started)
    } finally {
      await Promise.all([...this.#closers].map((close) => close()))
      this.#closers.clear()
      await (await this.#unlisten)?.()
      this.#unlisten = undefined
    }
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
  appendBatch(
    stream: string,
    events: readonly EventInput[],
    options: { readonly expected?: Expected; readonly durability?: Durability } = {},
  ): Promise<Appended[]> {
    return this.#appender.append(stream, events, options)
  }

  /** Adds an append to a unit of the same database; it is there when the unit is. `start` must have resolved. */
  appendIn(unit: Unit, prepared: PreparedEvent): void
  appendIn(unit: Unit, type: string, data: unknown, options?: AppendOptions): void
  appendIn(unit: Unit, what: string | PreparedEvent, data?: unknown, options?: AppendOptions): void {
    this.#appender.appendIn(unit, what, data, options)
  }

  /** Redacts and encrypts an event ahead of `appendIn`, which cannot wait. */
  prepare(type: string, data: unknown, options: AppendOptions = {}): Promise<PreparedEvent> {
    return this.#appender.prepare(type, data, options)
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
    let found = await this.store.read(query)
    if (this.#archive === undefined) return found
    // Retention may move events out at any time, and the base with them: what was read from a place that the base had not passed
    // by the end of the read is whole.
    for (let { after } = query; ; ) {
      const { position: base } = await this.store.base()
      if (base <= after) return found
      const cold = await this.#archive.read(this.store, { ...query, asOf: smaller(query.asOf, base) })
      if (cold.length >= query.limit || query.asOf <= base) return cold
      after = base
      found = [...cold, ...(await this.store.read({ ...query, after, limit: query.limit - cold.length }))]
    }
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
    // Who cannot be told polls.
    this.#unlisten ??= this.store
      .listen?.(() => this.notify())
      .catch(() => {
        this.#unlisten = undefined
        return async () => {}
      })
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** Wakes whoever waits for new events. */
  notify(): void {
    for (const listener of this.#listeners) {
      try {
        listener()
      } catch {
        // What was appended stays so, whatever a listener makes of it.
      }
    }
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
    this.#appender.addInline(part)
  }

  /** A fresh id as events have them. */
  newId(): string {
    return newEventId(this.now())
  }
}
