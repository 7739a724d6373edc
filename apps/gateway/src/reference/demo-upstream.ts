import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** How the upstream behaves: answers, fails with 500, or answers after five seconds. */
export type UpstreamMode = 'ok' | 'fail' | 'slow'

/** A small external service on loopback, which can be broken to watch its circuit breaker. */
export interface DemoUpstream {
  readonly url: string
  mode: UpstreamMode
  /** How many requests have reached it. */
  readonly calls: number
  close(): void
}

const slowMs = 5_000

/** Starts the service on a free port. `GET /enrichment/{user id}` is all that it knows. */
export async function startDemoUpstream(): Promise<DemoUpstream> {
  let mode: UpstreamMode = 'ok'
  let calls = 0
  const server = createServer((request, response) => {
    calls++
    const [, user] = /^\/enrichment\/([^/?]+)$/.exec(request.url ?? '') ?? []
    const answer = () => {
      if (mode === 'fail') response.writeHead(500).end()
      else if (user === undefined) response.writeHead(404).end()
      else {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ user_id: decodeURIComponent(user), segment: 'standard', score: user.length * 7 }))
      }
    }
    if (mode === 'slow') setTimeout(answer, slowMs).unref()
    else answer()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get mode() {
      return mode
    },
    set mode(next) {
      mode = next
    },
    get calls() {
      return calls
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
