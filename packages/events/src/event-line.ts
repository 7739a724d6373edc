import { fromHex, hexOf } from './bytes.ts'
import type { StoredEvent } from './event.ts'

/** One event as a line of a segment or a bundle: a JSON array of its columns, its data as the very text that was hashed. */
export function lineOf(e: StoredEvent): string {
  return JSON.stringify([e.position.toString(), ...contentsOf(e), hexOf(e.hash), e.crc])
}

/** All of an event between its position and its hash, in the order that lines and rows have. */
export function contentsOf(e: StoredEvent): readonly (string | number | null)[] {
  return [
    e.stream,
    e.version,
    e.time,
    e.id,
    e.type,
    e.actor,
    e.subject,
    e.requestId,
    e.correlationId,
    e.causationId,
    e.traceparent,
    e.occurredAt,
    e.schemaVersion,
    e.redaction,
    e.data,
  ]
}

/** The event of a line, or undefined when it is none. */
export function eventOfLine(line: string): StoredEvent | undefined {
  let c: unknown
  try {
    c = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!Array.isArray(c) || c.length !== 18) return undefined
  const texts = [0, 1, 4, 5, 15, 16].every((i) => typeof c[i] === 'string')
  const numbers = [2, 3, 13, 14, 17].every((i) => typeof c[i] === 'number')
  const optional = [6, 7, 8, 9, 10, 11].every((i) => c[i] === null || typeof c[i] === 'string')
  if (!texts || !numbers || !optional || !/^\d{1,40}$/.test(c[0]) || !(c[12] === null || typeof c[12] === 'number'))
    return undefined
  return {
    position: BigInt(c[0]),
    stream: c[1],
    version: c[2],
    time: c[3],
    id: c[4],
    type: c[5],
    actor: c[6],
    subject: c[7],
    requestId: c[8],
    correlationId: c[9],
    causationId: c[10],
    traceparent: c[11],
    occurredAt: c[12],
    schemaVersion: c[13],
    redaction: c[14],
    data: c[15],
    hash: fromHex(c[16]),
    crc: c[17],
  }
}
