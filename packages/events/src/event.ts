/** What an append says of an event beside its type and data. */
export interface EventAttributes {
  /** Where a repeated append is known by; a fresh UUID unless given. */
  readonly id?: string
  readonly actor?: string
  readonly subject?: string
  readonly requestId?: string
  readonly correlationId?: string
  readonly causationId?: string
  readonly traceparent?: string
  /** When it happened, by whoever says so; milliseconds since the epoch. */
  readonly occurredAt?: number
}

/** An event as it goes to a store: redacted, its data as the bytes that will be hashed. */
export interface NewEvent {
  readonly id: string
  readonly type: string
  readonly actor: string | null
  readonly subject: string | null
  readonly requestId: string | null
  readonly correlationId: string | null
  readonly causationId: string | null
  readonly traceparent: string | null
  readonly occurredAt: number | null
  /** Which redaction rules it went through. */
  readonly redaction: number
  readonly data: string
}

/** An event as it is stored. */
export interface StoredEvent extends NewEvent {
  /** From 1, without gaps, in the order of commits. */
  readonly position: bigint
  readonly stream: string
  /** From 0 within its stream, without gaps. */
  readonly version: number
  /** By the store; never less than that of the position before. */
  readonly time: number
  readonly hash: Uint8Array
}

const encoder = new TextEncoder()

/**
 * The bytes that are hashed for an event: every column in a fixed order, each with its length, so that no two events run together
 * alike. The stored bytes themselves are hashed, never JSON that was parsed and written again.
 */
export function frameOf(event: Omit<StoredEvent, 'hash'>): Uint8Array {
  const fields = [
    String(event.position),
    event.stream,
    String(event.version),
    String(event.time),
    event.id,
    event.type,
    event.actor,
    event.subject,
    event.requestId,
    event.correlationId,
    event.causationId,
    event.traceparent,
    event.occurredAt === null ? null : String(event.occurredAt),
    String(event.redaction),
    event.data,
  ]
  let text = ''
  for (const field of fields) text += field === null ? '-;' : `${field.length}:${field};`
  return encoder.encode(text)
}

/** The hash before the first event. */
export const genesis: Uint8Array = new Uint8Array(32)
/** What leaf hashes begin with (RFC 6962 §2.1). */
export const leafPrefix: Uint8Array = Uint8Array.of(0)
