// What workerd runs: everything is made at module scope, where a Worker may do no I/O, start no timer and draw no random number.

import type { Proof } from './proof.ts'
import * as breaker from './proofs/breaker.ts'
import * as checkpoint from './proofs/checkpoint.ts'
import * as dedup from './proofs/dedup.ts'
import * as events from './proofs/events.ts'

const proofs: Record<string, Proof> = {
  'breaker.middleware': breaker.middleware,
  'checkpoint.memory': checkpoint.memory,
  'checkpoint.middleware': checkpoint.middleware,
  'dedup.memory': dedup.memory,
  'dedup.middleware': dedup.middleware,
  'events.memory': events.memory,
  'events.middleware': events.middleware,
}

const worker: { fetch(request: Request): Promise<Response> } = {
  async fetch(request) {
    const proof = proofs[new URL(request.url).pathname.slice(1)]
    return proof === undefined ? new Response(null, { status: 404 }) : Response.json(await proof.run())
  },
}

// biome-ignore lint/style/noDefaultExport: a Worker is found by it
export default worker
