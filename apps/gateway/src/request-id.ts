const accepted = /^[A-Za-z0-9._:-]{1,128}$/

/** The client's `X-Request-ID` where it is 1 to 128 characters of `[A-Za-z0-9._:-]`, else a fresh UUIDv7 (RFC 9562 §5.7). */
export function requestIdOf(header: string | undefined): string {
  return header !== undefined && accepted.test(header) ? header : freshRequestId(Date.now())
}

function freshRequestId(nowMs: number): string {
  const time = nowMs.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`
}
