import type { Chance } from './chance.ts'
import type { Faults } from './faults.ts'
import type { Journal, Reply } from './journal.ts'
import type { Loop } from './loop.ts'
import type { SimNode } from './node.ts'

/** A request of a client. */
export interface Sent {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly user: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** What the answer is compared by with others. */
  readonly key?: string
}

/** What a client hears: an answer, that nobody listens there, or nothing. */
export type Heard = Reply | 'refused' | 'nothing'

/** The way between clients and nodes: it drops, delays, doubles, and opens halves. */
export class Network {
  readonly #loop: Loop
  readonly #faults: Faults
  readonly #chance: Chance
  readonly #journal: Journal
  #requests = 0

  constructor(loop: Loop, faults: Faults, chance: Chance, journal: Journal) {
    this.#loop = loop
    this.#faults = faults
    this.#chance = chance
    this.#journal = journal
  }

  /** Sends a request to a node and waits no longer than `timeoutMs`. */
  send(node: SimNode, sent: Sent, timeoutMs: number): Promise<Heard> {
    const requestId = `r${++this.#requests}`
    const chance = this.#chance
    const what = `${sent.method} ${sent.path} ${sent.headers?.['idempotency-key'] ?? ''} as ${requestId}`
    return new Promise((resolve) => {
      const timeout = this.#loop.after(timeoutMs, undefined, `client gives up ${requestId}`, () => resolve('nothing'))
      const hear = (heard: Heard) => {
        timeout.cancel()
        resolve(heard)
      }
      if (this.#faults.happens('request_dropped', 0.04)) return
      const copies = this.#faults.happens('request_duplicated', 0.04) ? 2 : 1
      for (let copy = 0; copy < copies; copy++) {
        const delayMs = this.#faults.happens('network_delay', 0.05) ? chance.between(50, 5_000) : chance.between(0.2, 3)
        this.#loop.after(delayMs, undefined, `to ${node.name} ${what}`, () =>
          this.#arrive(node, sent, copy === 0 ? requestId : `${requestId}.again`, hear),
        )
      }
    })
  }

  #arrive(node: SimNode, sent: Sent, requestId: string, hear: (heard: Heard) => void): void {
    const { life } = node
    if (life === undefined) {
      this.#loop.after(1, undefined, `refused ${requestId}`, () => hear('refused'))
      return
    }
    const { host, app } = life
    this.#loop.after(0, host, `at ${node.name} ${requestId}`, () => {
      const body = sent.body === undefined ? {} : { body: sent.body }
      const request = new Request(`http://gateway${sent.path}`, {
        method: sent.method,
        headers: { ...sent.headers, 'x-user': sent.user, 'x-request-id': requestId },
        ...body,
      })
      Promise.resolve(app.fetch(request))
        .then(async (response) => {
          const reply: Reply = { status: response.status, headers: response.headers, body: await response.text() }
          if (!host.alive) return
          this.#journal.sent(reply, requestId, sent.key)
          const label = `${requestId} ${reply.status} ${reply.headers.get('gw-run') ?? ''}`
          if (this.#faults.happens('half_open', 0.04)) return
          const delayMs = this.#faults.happens('network_delay', 0.05)
            ? this.#chance.between(50, 5_000)
            : this.#chance.between(0.2, 3)
          this.#loop.after(delayMs, host, `answer ${label}`, () => hear(reply))
        })
        .catch((error: unknown) => this.#journal.crashed(error))
    })
  }
}
