import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { type Answer, answersOf } from './answers.ts'
import { startGateway } from './child.ts'
import { messageOf } from './messages.ts'
import { type Reading, type ReadRequest, read } from './reference.ts'

/** What a run came to. */
export interface FuzzResult {
  readonly messages: number
  readonly connections: number
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>
  /** What broke a rule, with the bytes that did it. */
  readonly violations: readonly string[]
  readonly canaries: number
  readonly slowestCanaryMs: number
  readonly grownBytes: number
  readonly printed: string
  readonly seconds: number
}

export interface FuzzOptions {
  readonly seed: number
  readonly messages: number
  readonly kind?: 'guarded' | 'bare'
  /** Ends at the first violation. */
  readonly untilViolation?: boolean
  /** Connections at once. */
  readonly lanes?: number
}

const batch = 6
/** A connection whose bytes are all sent ends at once; so long, where this machine is busy. */
const patienceMs = 120_000
const unfinished = '(the connection was not ended)'
const allowed = (status: number) =>
  (status >= 200 && status < 500) || status === 501 || status === 505 || status === 508

/**
 * Sends the messages of a seed, a few on each connection, and holds every answer to what a strict reader sees in the same bytes. What the
 * upstream heard must be among what that reader saw.
 */
export async function fuzz({
  seed,
  messages,
  kind = 'guarded',
  untilViolation = false,
  lanes = 24,
}: FuzzOptions): Promise<FuzzResult> {
  const heard: string[] = []
  const upstream = createServer((request, response) => {
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    request.on('end', () => {
      heard.push(`${request.method} ${request.url} ${bytes}`)
      response.end(JSON.stringify([request.method, request.url, bytes]))
    })
  })
  upstream.listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const gateway = await startGateway({
    upstream: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`,
    kind,
  })
  const statuses = new Map<number, number>()
  const violations: string[] = []
  const seen = new Set<string>()
  let connections = 0
  let next = 0
  let taken = 0
  const began = performance.now()
  const canary = watch(gateway.port, violations)

  const done = () => gateway.process.exitCode !== null || (untilViolation && violations.length > 0)
  const lane = async (): Promise<void> => {
    let queue: number[] = []
    while (!done()) {
      while (queue.length < batch && next < messages) queue.push(next++)
      if (queue.length === 0) return
      const texts = queue.map((n) => messageOf(seed, n))
      const sent = texts.join('')
      const reading = read(sent)
      for (const request of reading.requests) seen.add(asHeard(request).join(' '))
      connections++
      const quiet = gateway.printed().length
      const received = await exchange(gateway.port, sent)
      const answers = answersOf(
        received,
        (n) => reading.requests[n]?.method ?? sent.slice(reading.stopped).trimStart().split(' ', 1)[0],
      )
      const tell = (what: string) =>
        violations.push(
          `${what}\nseed ${seed}, messages ${queue.join(', ')}\nsent ${JSON.stringify(sent)}\nreceived ${JSON.stringify(received.slice(0, 2_000))}`,
        )
      if ('malformedAt' in answers) {
        tell('an answer that is not HTTP')
        queue = []
        continue
      }
      for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
      const wrong =
        gateway.printed().length > quiet
          ? `the gateway printed ${gateway.printed().slice(quiet)}`
          : judge(answers, reading)
      if (wrong !== undefined) tell(wrong)
      // What came behind the message that ended the connection was not looked at, and comes again.
      const last = reading.requests[Math.min(answers.length, reading.requests.length) - 1]
      const looked = answers.length > reading.requests.length ? reading.stopped : (last?.end ?? 0)
      const cutOff = answers.length <= reading.requests.length ? looked : reading.stopped + 1
      let offset = 0
      const rest: number[] = []
      for (const [i, n] of queue.entries()) {
        if (offset >= cutOff && i > 0) rest.push(n)
        offset += texts[i]!.length
      }
      taken += queue.length - rest.length
      queue = rest
    }
  }
  const warmUp = Math.min(messages / 3, 70_000)
  const total = messages
  messages = warmUp
  await Promise.all(Array.from({ length: lanes }, lane))
  const before = done() ? 0 : await gateway.rss()
  messages = total
  await Promise.all(Array.from({ length: lanes }, lane))
  const grownBytes = done() ? 0 : (await gateway.rss()) - before
  const { canaries, slowestCanaryMs } = await canary.stop()
  for (const request of heard)
    if (!seen.has(request)) violations.push(`the upstream heard what nobody had asked: ${request}`)
  if (gateway.process.exitCode !== null) violations.push(`the gateway ended with ${gateway.process.exitCode}`)
  await gateway.stop()
  upstream.closeAllConnections()
  upstream.close()
  return {
    messages: taken,
    connections,
    statuses,
    violations,
    canaries,
    slowestCanaryMs,
    grownBytes,
    printed: gateway.printed(),
    seconds: (performance.now() - began) / 1_000,
  }
}

function judge(answers: readonly Answer[], reading: Reading): string | undefined {
  const { requests, begun } = reading
  if (answers.length > requests.length + 1) return 'more answers than requests'
  for (const [i, { status, body }] of answers.entries()) {
    if (!allowed(status)) return `status ${status}`
    const request = requests[i]
    if (request === undefined) {
      if (status < 400 && !begun) return `${status} for what is not a request`
      continue
    }
    if (status !== 200 || request.method === 'HEAD') continue
    const [method, target, bytes] = JSON.parse(body) as [string, string, number]
    const right = asHeard(request)
    if (method !== right[0] || target !== right[1] || bytes !== right[2])
      return `heard ${method} ${target} with ${bytes} bytes instead of ${right.join(' ')}`
  }
  return undefined
}

/** Who hears an absolute target hears its path, and GET and HEAD have no body. */
function asHeard({ method, target, bodyBytes }: ReadRequest): [method: string, path: string, bytes: number] {
  return [
    method,
    target.replace(/^https?:\/\/[^/?]*(?=\/)/i, ''),
    method === 'GET' || method === 'HEAD' ? 0 : bodyBytes,
  ]
}

/** Sends all bytes, says that no more will come, and reads until the other side closes. */
function exchange(port: number, sent: string): Promise<string> {
  return new Promise((resolve) => {
    let received = ''
    const late = setTimeout(() => {
      received += unfinished
      socket.destroy()
    }, patienceMs)
    const socket = connect(port, '127.0.0.1', () => socket.end(sent, 'latin1'))
    socket.setEncoding('latin1')
    socket.on('data', (text) => {
      received += text
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(late)
      resolve(received)
    })
  })
}

/** Asks for a plain page all the while. */
function watch(port: number, violations: string[]) {
  let running = true
  let canaries = 0
  let slowestCanaryMs = 0
  const ask = () =>
    new Promise<void>((resolve) => {
      const began = performance.now()
      get({ port, host: '127.0.0.1', path: '/canary', agent: false }, (response) => {
        if (response.statusCode !== 200) violations.push(`the canary got ${response.statusCode}`)
        response.resume().on('end', () => {
          canaries++
          slowestCanaryMs = Math.max(slowestCanaryMs, performance.now() - began)
          setTimeout(resolve, 50)
        })
      }).on('error', (error) => {
        if (running) violations.push(`the canary got no answer: ${error.message}`)
        resolve()
      })
    })
  const asking = (async () => {
    while (running) await ask()
  })()
  return {
    async stop() {
      running = false
      await asking
      return { canaries, slowestCanaryMs }
    },
  }
}
