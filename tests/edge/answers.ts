/** One answer of a connection. */
export interface Answer {
  readonly status: number
  readonly body: string
}

/** The final answers among the bytes that came back, or where they are not HTTP. `methodOf` tells the method of the n-th request: HEAD has no body. */
export function answersOf(
  bytes: string,
  methodOf: (n: number) => string | undefined,
): readonly Answer[] | { readonly malformedAt: number } {
  const answers: Answer[] = []
  let at = 0
  while (at < bytes.length) {
    const headEnd = bytes.indexOf('\r\n\r\n', at)
    const head = headEnd < 0 ? '' : bytes.slice(at, headEnd)
    const [, code] =
      /^HTTP\/1\.1 (\d{3}) [^\r\n]*(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+: ?[\t\x20-\x7e\x80-\xff]*)*$/.exec(head) ?? []
    if (code === undefined) return { malformedAt: at }
    const status = Number(code)
    at = headEnd + 4
    if (status < 200) continue
    const length = /\r\ncontent-length: ?(\d+)/i.exec(head)?.[1]
    const chunked = /\r\ntransfer-encoding: ?chunked/i.test(head)
    // A message that was not understood is answered with a body whatever its method seems to be: the connection ends behind it.
    const bodiless = methodOf(answers.length) === 'HEAD' && at + Number(length) !== bytes.length
    if (bodiless || status === 204 || status === 304) {
      answers.push({ status, body: '' })
    } else if (chunked) {
      const end = bytes.indexOf('0\r\n\r\n', at)
      if (end < 0) return { malformedAt: at }
      const from = bytes.indexOf('\r\n', at) + 2
      answers.push({ status, body: end === at ? '' : bytes.slice(from, end - 2) })
      at = end + 5
    } else {
      const bodyEnd = at + Number(length ?? 0)
      if (bodyEnd > bytes.length) return { malformedAt: at }
      answers.push({ status, body: bytes.slice(at, bodyEnd) })
      at = bodyEnd
    }
  }
  return answers
}
