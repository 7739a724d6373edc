/**
 * A UUIDv7 (RFC 9562 §5.7). Ids that begin with the time keep the index on them in the pages that are being written anyway.
 */
export function newEventId(nowMs: number): string {
  const time = Math.floor(nowMs).toString(16).padStart(12, '0')
  const random = crypto.randomUUID()
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-7${random.slice(15)}`
}
