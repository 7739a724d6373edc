import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Stands where Stripe stands: it knows keys as Stripe does, and its network is as bad as it is told to be. */
export interface Bank {
  readonly url: string
  readonly charges: readonly string[]
  readonly calls: number
  close(): void
}

/** What happens to the n-th call, from 1. `charged and reset`: the money has moved, and the answer is lost. */
export type Weather = 'fine' | 'unavailable' | 'reset' | 'charged and reset'

/** Starts the bank on a free port. Calls beyond the list find fine weather. */
export async function startBank(weather: readonly Weather[]): Promise<Bank> {
  const answers = new Map<string, string>()
  const charges: string[] = []
  let calls = 0

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = new URLSearchParams(Buffer.concat(await request.toArray()).toString())
    const today = weather[calls++] ?? 'fine'
    if (today === 'reset') return void request.socket.destroy()
    if (today === 'unavailable') return void response.writeHead(503).end()
    const key = String(request.headers['idempotency-key'])
    let answer = answers.get(key)
    if (answer === undefined) {
      const id = `pi_${charges.length + 1}`
      answer = JSON.stringify({ id, object: 'payment_intent', amount: Number(body.get('amount')), status: 'succeeded' })
      answers.set(key, answer)
      charges.push(id)
    }
    if (today === 'charged and reset') return void request.socket.destroy()
    response.writeHead(200, { 'content-type': 'application/json' }).end(answer)
  }

  const server = createServer((request, response) => void serve(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    charges,
    get calls() {
      return calls
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
