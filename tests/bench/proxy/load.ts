/** The load, in a process of its own: keep-alive connections, each sending one request after the other. Says when it is warm, then what it saw. */
import { Agent, request } from 'undici'

const [port = '', method = 'GET', path = '/', bytes = '0', seconds = '1', prefix = ''] = process.argv.slice(2)
const connections = 32
const dispatcher = new Agent({ connections, pipelining: 1 })
const body = method === 'POST' ? Buffer.alloc(Number(bytes), 'x') : null
const latencies: number[] = []
let failed = 0
let sent = 0

async function once(): Promise<void> {
  const began = performance.now()
  const answer = await request(`http://127.0.0.1:${port}${path}`, {
    method: method as 'GET' | 'POST',
    dispatcher,
    body,
    headers:
      method === 'POST' ? { 'content-type': 'application/octet-stream', 'idempotency-key': `${prefix}-${sent++}` } : {},
  })
  let length = 0
  for await (const chunk of answer.body) length += (chunk as Buffer).length
  if (answer.statusCode !== 200 || length < 1_000) failed++
  latencies.push(performance.now() - began)
}

async function during(ms: number): Promise<void> {
  const until = performance.now() + ms
  await Promise.all(
    Array.from({ length: connections }, async () => {
      while (performance.now() < until) await once()
    }),
  )
}

await during(Math.min(1_000, Number(seconds) * 1_000))
latencies.length = 0
console.log('warm')
const began = performance.now()
await during(Number(seconds) * 1_000)
const took = performance.now() - began
latencies.sort((a, b) => a - b)
const at = (ratio: number) => latencies[Math.floor(latencies.length * ratio)] ?? 0
console.log(
  JSON.stringify({
    requests: latencies.length,
    perSecond: (latencies.length * 1_000) / took,
    p50: at(0.5),
    p99: at(0.99),
    failed,
  }),
)
process.exit()
