/** A load generator in a process of its own: keep-alive connections over plain sockets, each request a repeat of one of a few keys. */
import { connect } from 'node:net'

const [port, connections, seconds, keys] = process.argv.slice(2).map(Number) as [number, number, number, number]
const body = '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'
const requests = Array.from({ length: keys }, (_, n) =>
  Buffer.from(
    `POST /pay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nX-User: ann\r\nIdempotency-Key: key-${n}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  ),
)
const latencies: number[] = []
let failed = 0
let next = 0

/** One connection until the time is over, or until it has sent `most` requests. */
function client(until: number, most: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    let sent = 0
    let began = 0
    let buffered = ''
    const send = () => {
      began = performance.now()
      sent++
      socket.write(requests[next++ % keys]!)
    }
    socket.on('connect', send)
    socket.on('error', reject)
    socket.on('data', (chunk) => {
      buffered += chunk.toString('latin1')
      const head = buffered.indexOf('\r\n\r\n')
      if (head < 0) return
      const length = Number(/content-length: (\d+)/i.exec(buffered.slice(0, head))?.[1] ?? 0)
      if (buffered.length < head + 4 + length) return
      if (!buffered.startsWith('HTTP/1.1 201')) failed++
      buffered = ''
      const now = performance.now()
      latencies.push(now - began)
      if (now < until && sent < most) send()
      else socket.end(resolve)
    })
  })
}

const never = Number.POSITIVE_INFINITY
await client(never, keys)
const warm = performance.now() + Math.min(1_500, seconds * 1_000)
await Promise.all(Array.from({ length: connections }, () => client(warm, never)))
console.log('warm')
await new Promise((resolve) => setTimeout(resolve, 100))
const before = next
latencies.length = 0
failed = 0
const until = performance.now() + seconds * 1_000
await Promise.all(Array.from({ length: connections }, () => client(until, never)))
latencies.sort((a, b) => a - b)
const at = (ratio: number) => latencies[Math.floor(latencies.length * ratio)] ?? 0
console.log(
  JSON.stringify({
    requests: next - before,
    perSecond: latencies.length / seconds,
    p50: at(0.5),
    p99: at(0.99),
    failed,
  }),
)
