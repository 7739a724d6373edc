import { joined } from './pieces.ts'
import type { Outcome } from './run-record.ts'

/** Fields that belong to one exchange, not to the answer (RFC 9110 §7.6.1), or to one client. */
const left: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'set-cookie',
  'authorization',
  'content-length',
  'date',
  'server-timing',
  'x-request-id',
  'traceparent',
  'tracestate',
  'ratelimit',
  'ratelimit-policy',
  'ratelimit-limit',
  'ratelimit-remaining',
  'ratelimit-reset',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
])
const nullBody: ReadonlySet<number> = new Set([101, 204, 205, 304])

/** An answer as it is kept, with the response to give where the body cannot be kept and must flow. */
export interface Captured {
  readonly outcome: Outcome
  readonly streaming?: Response
}

/** Takes an answer's head and bytes. A stream, or a body longer than `maxBytes`, is kept as its head and flows on untouched. */
export async function capture(response: Response, maxBytes: number): Promise<Captured> {
  const headers: [string, string][] = []
  for (const [name, value] of response.headers) if (!left.has(name)) headers.push([name, value])
  const head = { status: response.status, headers }
  if (response.body === null || nullBody.has(response.status))
    return { outcome: { ...head, body: new Uint8Array(), retained: true } }
  const declared = Number(response.headers.get('content-length') ?? 0)
  const stream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
  if (stream || declared > maxBytes)
    return { outcome: { ...head, body: new Uint8Array(), retained: false }, streaming: response }
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = response.body.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value)
    length += value.length
    if (length > maxBytes) {
      const flowing = resumed(chunks, reader)
      return {
        outcome: { ...head, body: new Uint8Array(), retained: false },
        streaming: new Response(flowing, response),
      }
    }
  }
  return { outcome: { ...head, body: chunks.length === 1 ? chunks[0]! : joined(chunks), retained: true } }
}

/** The answer that everyone gets, from what is kept. */
export function responseOf(outcome: Outcome, runId: string): Response {
  const headers = new Headers(outcome.headers as [string, string][])
  headers.set('gw-run', runId)
  if (!outcome.retained) {
    return new Response(
      JSON.stringify({
        type: 'urn:gw:problem:response_unavailable',
        title: 'The answer was too long to keep',
        status: 409,
        code: 'response_unavailable',
        originalStatus: outcome.status,
      }),
      { status: 409, headers: { 'content-type': 'application/problem+json', 'gw-run': runId } },
    )
  }
  const empty = nullBody.has(outcome.status) || outcome.body.length === 0
  return new Response(empty ? null : (outcome.body as Uint8Array<ArrayBuffer>), { status: outcome.status, headers })
}

/** A problem+json answer as an outcome. */
export function problemOutcome(
  status: number,
  code: string,
  title: string,
  members: Readonly<Record<string, unknown>> = {},
): Outcome {
  const body = new TextEncoder().encode(
    JSON.stringify({ type: `urn:gw:problem:${code}`, title, status, code, ...members }),
  )
  return { status, headers: [['content-type', 'application/problem+json']], body, retained: true }
}

function resumed(
  chunks: readonly Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array>,
): ReadableStream<Uint8Array> {
  const first = [...chunks]
  return new ReadableStream({
    async pull(controller) {
      const chunk = first.shift()
      if (chunk !== undefined) return controller.enqueue(chunk)
      const { done, value } = await reader.read()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
