import { cursorOf, readCursor } from './cursor.ts'
import { EventError } from './errors.ts'
import type { EventAttributes, NewEvent, StoredEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import { defaultRedaction, type RedactionRules, redacted } from './redaction.ts'
import type { AppendResult, EventLog, Expected, StoreQuery } from './store.ts'
import type { Durability, Unit } from './unit.ts'
import { type Verification, type VerifyOptions, verifyLog } from './verify.ts'

/** How a log is kept. */
export interface EventStoreOptions {
  readonly store: EventLog
  readonly redact?: RedactionRules
  readonly now?: () => number
}

/** What one append says beside type and data. */
export interface AppendOptions extends EventAttributes {
  /** `audit` */
  readonly stream?: string
  /** `any` */
  readonly expected?: Expected
}

/** Where an event is. */
export interface Appended extends AppendResult {
  readonly id: string
  readonly stream: string
  readonly durability: Durability
}

/** An event as readers get it; `position` as text, since it may pass 2^53. */
export interface EventRecord extends Omit<StoredEvent, 'position' | 'data' | 'hash' | 'time'> {
  readonly position: string
  readonly time: string
  readonly data: unknown
  readonly hash: string
}

/** Which events to show. Times are milliseconds since the epoch, ranges half-open. */
export interface EventQuery extends Partial<Omit<StoreQuery, 'after' | 'asOf'>> {
  readonly cursor?: string
}

/** A page of events in the order of their positions, and where the next begins. */
export interface EventPage {
  readonly events: readonly EventRecord[]
  readonly cursor: string | undefined
  /** The last position that this listing will show, however much is appended meanwhile. */
  readonly asOf: string
}

const queryFields: ReadonlySet<string> = new Set([
  'from',
  'to',
  'type',
  'stream',
  'subject',
  'actor',
  'requestId',
  'limit',
  'cursor',
])
const typeForm = /^[A-Za-z][A-Za-z0-9_.:-]{0,127}$/

/** An append-only log with a hash chain. An append resolves when the event is durable, and not before. */
export class EventStore {
  readonly store: EventLog
  readonly #redact: RedactionRules
  readonly #now: () => number
  #secret: Uint8Array | undefined
  #started: Promise<void> | undefined

  constructor({ store, redact = defaultRedaction, now = () => Date.now(), ...unknown }: EventStoreOptions) {
    const [surplus] = Object.keys(unknown)
    if (surplus !== undefined) throw new EventError('invalid_option', `Unknown option \`${surplus}\``)
    if (typeof store?.append !== 'function')
      throw new EventError('invalid_option', `Expected \`store\` to be an event log, got \`${String(store)}\``)
    this.store = store
    this.#redact = redact
    this.#now = now
  }

  start(): Promise<void> {
    this.#started ??= this.store.open().then(
      async () => {
        this.#secret = await this.store.secret()
      },
      (error: unknown) => {
        this.#started = undefined
        throw error
      },
    )
    return this.#started
  }

  async stop(): Promise<void> {
    await this.#started
  }

  /** Appends one event. Throws `version_conflict` with the actual version, `id_conflict`. */
  async append(type: string, data: unknown, options: AppendOptions = {}): Promise<Appended> {
    const { stream = 'audit', expected = 'any', ...attributes } = options
    const [appended] = await this.appendBatch(stream, [{ type, data, ...attributes }], { expected })
    return appended!
  }

  /** Appends events to one stream, all or none. */
  async appendBatch(
    stream: string,
    events: readonly ({ readonly type: string; readonly data: unknown } & EventAttributes)[],
    { expected = 'any' }: { readonly expected?: Expected } = {},
  ): Promise<Appended[]> {
    if (events.length === 0) throw new EventError('empty_batch', 'Expected at least one event, got none')
    await this.start()
    const fresh = events.map((event) => this.#newEvent(event))
    const unit = this.store.unit()
    let places: readonly AppendResult[] = []
    unit.add(this.store.append(stream, fresh, expected, this.#now()), (result) => {
      places = result as readonly AppendResult[]
    })
    let durability: Durability
    try {
      durability = await unit.commit()
    } catch (error) {
      throw conflictOf(error, stream, expected) ?? error
    }
    return places.map((place, i) => ({ ...place, id: fresh[i]!.id, stream, durability }))
  }

  /** Adds an append to a unit of the same database; it is there when the unit is. `start` must have resolved. */
  appendIn(
    unit: Unit,
    type: string,
    data: unknown,
    { stream = 'audit', expected = 'any', ...attributes }: AppendOptions = {},
  ): void {
    unit.add(this.store.append(stream, [this.#newEvent({ type, data, ...attributes })], expected, this.#now()))
  }

  /** Reads a page. Throws `invalid_query` and `invalid_cursor`. */
  async query(query: EventQuery = {}): Promise<EventPage> {
    await this.start()
    const { cursor, limit = 100, ...filter } = query
    for (const name of Object.keys(query))
      if (!queryFields.has(name)) throw new EventError('invalid_query', `Unknown filter \`${name}\``)
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
      throw new EventError('invalid_query', `Expected \`limit\` to be a whole number from 1 to 1000, got \`${limit}\``)
    }
    for (const name of ['from', 'to'] as const) {
      const value = filter[name]
      if (value !== undefined && !Number.isFinite(value))
        throw new EventError('invalid_query', `Expected \`${name}\` to be milliseconds since 1970, got \`${value}\``)
    }
    const { after, asOf } =
      cursor === undefined
        ? { after: 0n, asOf: (await this.store.head()).position }
        : await readCursor(cursor, this.#secret!, filter)
    const events = await this.store.read({ ...filter, after, asOf, limit })
    const last = events.at(-1)
    const more = events.length === limit && last !== undefined && last.position < asOf
    return {
      events: events.map(recordOf),
      cursor: more ? await cursorOf({ after: last.position, asOf }, this.#secret!, filter) : undefined,
      asOf: asOf.toString(),
    }
  }

  /** Goes over the whole log and names what is wrong with it. */
  async verify(options: VerifyOptions = {}): Promise<Verification> {
    await this.start()
    return verifyLog(this.store, options)
  }

  #newEvent({
    type,
    data,
    id = newEventId(this.#now()),
    ...attributes
  }: { readonly type: string; readonly data: unknown } & EventAttributes): NewEvent {
    if (!typeForm.test(type)) {
      throw new EventError(
        'invalid_option',
        `Expected \`type\` to be 1 to 128 letters, digits and _ . : - beginning with a letter, got \`${type}\``,
      )
    }
    return {
      id,
      type,
      actor: attributes.actor ?? null,
      subject: attributes.subject ?? null,
      requestId: attributes.requestId ?? null,
      correlationId: attributes.correlationId ?? null,
      causationId: attributes.causationId ?? null,
      traceparent: attributes.traceparent ?? null,
      occurredAt: attributes.occurredAt ?? null,
      redaction: this.#redact.version,
      data: JSON.stringify(redacted(data, this.#redact)) ?? 'null',
    }
  }
}

function recordOf({ position, data, hash, time, ...event }: StoredEvent): EventRecord {
  return {
    ...event,
    position: position.toString(),
    time: new Date(time).toISOString(),
    data: JSON.parse(data),
    hash: hexOf(hash),
  }
}

/** Bytes in lower-case hex. */
export function hexOf(bytes: Uint8Array): string {
  let hex = ''
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0')
  return hex
}

function conflictOf(error: unknown, stream: string, expected: Expected): EventError | undefined {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'refused' || !('reason' in error))
    return undefined
  const { conflict, actual } = error.reason as { readonly conflict: 'version' | 'id'; readonly actual: number }
  if (conflict === 'id')
    return new EventError('id_conflict', 'An event with one of these ids exists and is another one', { cause: error })
  return new EventError('version_conflict', `Expected \`${stream}\` at ${expected}, it is at ${actual}`, {
    cause: error,
    actualVersion: actual,
  })
}
