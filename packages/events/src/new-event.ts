import { EventError } from './errors.ts'
import type { EventAttributes, NewEvent } from './event.ts'
import { newEventId } from './event-id.ts'
import { type RedactionRules, redacted } from './redaction.ts'

/** An event as its author states it. */
export interface EventInput extends EventAttributes {
  readonly type: string
  readonly data: unknown
}

/** What an event goes through on its way to the store. */
export interface Intake {
  readonly rules: RedactionRules
  /** The key of keyed hashes. */
  readonly key: Uint8Array
  readonly maxDataBytes: number
  readonly now: () => number
}

const typeForm = /^[A-Za-z][A-Za-z0-9_.:-]{0,127}$/
const names = ['id', 'actor', 'subject', 'requestId', 'correlationId', 'causationId', 'traceparent'] as const
const known: ReadonlySet<string> = new Set(['type', 'data', 'occurredAt', 'schemaVersion', ...names])

/** The event as it goes to the store: redacted, its data as text. Throws `invalid_option` and `event_too_large`. */
export function newEvent(input: EventInput, { rules, key, maxDataBytes, now }: Intake): NewEvent {
  const { type, data, occurredAt, schemaVersion = 1 } = input
  for (const name in input)
    if (!known.has(name)) throw new EventError('invalid_option', `Unknown option \`${name}\` of an event`)
  if (!typeForm.test(type)) {
    throw new EventError(
      'invalid_option',
      `Expected \`type\` to be 1 to 128 letters, digits and _ . : - beginning with a letter, got \`${type}\``,
    )
  }
  for (const name of names) checkText(name, input[name])
  if (occurredAt !== undefined && !Number.isSafeInteger(occurredAt))
    throw new EventError('invalid_option', `Expected \`occurredAt\` to be whole milliseconds, got \`${occurredAt}\``)
  if (!Number.isSafeInteger(schemaVersion) || schemaVersion < 1)
    throw new EventError('invalid_option', `Expected \`schemaVersion\` to be 1 or more, got \`${schemaVersion}\``)
  const text = JSON.stringify(redacted(data, rules, key)) ?? 'null'
  if (text.length > maxDataBytes)
    throw new EventError('event_too_large', `Expected at most ${maxDataBytes} bytes of data, got ${text.length}`)
  return {
    id: input.id ?? newEventId(now()),
    fresh: input.id === undefined,
    type,
    actor: input.actor ?? null,
    subject: input.subject ?? null,
    requestId: input.requestId ?? null,
    correlationId: input.correlationId ?? null,
    causationId: input.causationId ?? null,
    traceparent: input.traceparent ?? null,
    occurredAt: occurredAt ?? null,
    schemaVersion,
    redaction: rules.version,
    data: text,
  }
}

/** Refuses what not every store gives back as it was: NUL, half a surrogate pair, and more than an index takes. */
export function checkText(name: string, text: string | undefined): void {
  if (text === undefined) return
  const sound = typeof text === 'string' && text !== '' && text.length <= 512 && !text.includes('\0')
  if (!sound || loneSurrogate.test(text))
    throw new EventError(
      'invalid_option',
      `Expected \`${name}\` to be a text of 1 to 512 characters without NUL, got \`${String(text).slice(0, 80)}\``,
    )
}

const loneSurrogate = /\p{Surrogate}/u
