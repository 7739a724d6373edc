/** A UUIDv7 (RFC 9562 §5.7): ids of later runs sort after those of earlier ones. */
export function newRunId(nowMs: number): string {
  const time = Math.floor(nowMs).toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`
}
