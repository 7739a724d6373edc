import { bytesOf } from './bytes.ts'
import { sha256 } from './sha256.ts'

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
  /** Which shape `data` has, for upcasters: 1. */
  readonly schemaVersion?: number
}

/** An event as it goes to a store: redacted, its data as the text that will be hashed. */
export interface NewEvent {
  readonly id: string
  /** Whether the id was drawn for this event, so that it cannot be a repetition. */
  readonly fresh: boolean
  readonly type: string
  readonly actor: string | null
  readonly subject: string | null
  readonly requestId: string | null
  readonly correlationId: string | null
  readonly causationId: string | null
  readonly traceparent: string | null
  readonly occurredAt: number | null
  readonly schemaVersion: number
  /** Which redaction rules it went through. */
  readonly redaction: number
  readonly data: string
}

/** An event as it is stored. */
export interface StoredEvent extends Omit<NewEvent, 'fresh'> {
  /** From 1, without gaps, in the order of commits, where the store is `gapless`; else only increasing. */
  readonly position: bigint
  readonly stream: string
  /** From 0 within its stream, without gaps. */
  readonly version: number
  /** By the store; never less than that of the position before. */
  readonly time: number
  /** Ties the event to the one before; empty in a store that is not `gapless`. */
  readonly hash: Uint8Array
  /** CRC-32 of frame and hash: tells a decayed row from an edited one. */
  readonly crc: number
}

/** What of an event is hashed. */
export type Framed = Omit<StoredEvent, 'hash' | 'crc'>

/**
 * The bytes that are hashed for an event: every column in a fixed order, each with its length in bytes, so that no two events run
 * together alike. The stored bytes themselves are hashed, never JSON that was parsed and written again.
 */
export function frameOf(event: Framed): Uint8Array<ArrayBuffer> {
  const fields = fieldsOf(event)
  const text = framed(fields, lengthOf)
  const bytes = bytesOf(text)
  return bytes.length === text.length ? bytes : bytesOf(framed(fields, (field) => bytesOf(field).length))
}

type Fields = readonly (string | null)[]

function fieldsOf(event: Framed): Fields {
  return [
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
    String(event.schemaVersion),
    String(event.redaction),
    event.data,
  ]
}

function lengthOf(text: string): number {
  return text.length
}

function framed(fields: Fields, sizeOf: (field: string) => number): string {
  let text = 'gw1;'
  for (const field of fields) text += field === null ? '-;' : `${sizeOf(field)}:${field};`
  return text
}

/** The hash before the first event. */
export const genesis: Uint8Array = new Uint8Array(32)
const leafPrefix = Uint8Array.of(0)

/**
 * The hash of an event in its chain: SHA-256 of 0x00, the hash before, and the frame. The same value is the leaf hash of RFC 6962
 * §2.1 for the entry "hash before, frame", so that one hash serves the chain and the tree.
 */
export function chainHash(before: Uint8Array, frame: Uint8Array): Uint8Array {
  return sha256(leafPrefix, before, frame)
}

const encoder = new TextEncoder()
const room = new Uint8Array(16_384)

/**
 * What ties an event to the one before: its {@link chainHash}, and the CRC-32 of frame and hash. Both are taken over one stretch of
 * memory that all events share, as arrays made for each event cost more than the digests; a long event has arrays of its own.
 */
export function linkOf(event: Framed, before: Uint8Array): { readonly hash: Uint8Array; readonly crc: number } {
  const text = framed(fieldsOf(event), lengthOf)
  const begin = leafPrefix.length + before.length
  if (begin + 3 * text.length + 32 <= room.length) {
    room.set(leafPrefix)
    room.set(before, leafPrefix.length)
    const { written } = encoder.encodeInto(text, room.subarray(begin))
    if (written === text.length) {
      const end = begin + written
      const hash = sha256(room.subarray(0, end))
      room.set(hash, end)
      return { hash, crc: crc32(room.subarray(begin, end + hash.length)) }
    }
  }
  const frame = frameOf(event)
  const hash = chainHash(before, frame)
  return { hash, crc: crc32(frame, hash) }
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1
  return c
})

type NativeCrc = (data: Uint8Array, before: number) => number
let native: NativeCrc | false | undefined

/** CRC-32 (ISO 3309) over the chunks: the runtime's own where it has one, else {@link portableCrc32}. */
export function crc32(...chunks: readonly Uint8Array[]): number {
  native ??= nativeCrc32() ?? false
  if (native === false) return portableCrc32(...chunks)
  let crc = 0
  for (const chunk of chunks) crc = native(chunk, crc)
  return crc
}

function nativeCrc32(): NativeCrc | undefined {
  const { process } = globalThis as {
    readonly process?: { getBuiltinModule?(name: string): { readonly crc32?: NativeCrc } | undefined }
  }
  return process?.getBuiltinModule?.('node:zlib')?.crc32
}

/** CRC-32 in plain arithmetic. */
export function portableCrc32(...chunks: readonly Uint8Array[]): number {
  let crc = 0xffffffff
  for (const chunk of chunks)
    for (let i = 0; i < chunk.length; i++) crc = crcTable[(crc ^ chunk[i]!) & 0xff]! ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}

/** The columns in which a repeated append must agree with the first. */
export function sameContent(stored: StoredEvent, event: NewEvent, stream: string): boolean {
  return (
    stored.stream === stream &&
    stored.type === event.type &&
    stored.data === event.data &&
    stored.actor === event.actor &&
    stored.subject === event.subject &&
    stored.correlationId === event.correlationId &&
    stored.causationId === event.causationId &&
    stored.schemaVersion === event.schemaVersion
  )
}
