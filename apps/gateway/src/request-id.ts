const accepted = /^[A-Za-z0-9._:-]{1,128}$/

/** The client's `X-Request-ID` where it is 1 to 128 characters of `[A-Za-z0-9._:-]`, else a fresh UUID. */
export function requestIdOf(header: string | undefined): string {
  return header !== undefined && accepted.test(header) ? header : crypto.randomUUID()
}
