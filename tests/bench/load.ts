/** A load generator in a process of its own: keep-alive connections over plain sockets, each request with a key of its own. */
import { connect } from 'node:net'

const [port, connections, seconds, prefix] = process.argv.slice(2) as [string, string, string, string]
const latencies: number[] = []
const until = performance.now() + Number(seconds) * 1_000
const body = '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}'
let failed = 0

function client(name: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), '127.0.0.1')
    socket.setNoDelay(true)
    let n = 0
    let began = 0
    let buffered = ''
    const send = () => {
      began = performance.now()
      socket.write(
        `POST /pay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: ${prefix}-${name}-${n++}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
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
      if (now < until) send()
      else socket.end(resolve)
    })
  })
}

await Promise.all(Array.from({ length: Number(connections) }, (_, name) => client(name)))
latencies.sort((a, b) => a - b)
const at = (ratio: number) => latencies[Math.floor(latencies.length * ratio)] ?? 0
const result = {
  requests: latencies.length,
  perSecond: latencies.length / Number(seconds),
  p50: at(0.5),
  p99: at(0.99),
  failed,
}
console.log(JSON.stringify(result))
