// What workerd runs: everything is made at module scope, where a Worker may do no I/O, start no timer and draw no random number.

import type { R2Bucket } from '@gw/checkpoint/r2'
import type { Proof } from './proof.ts'
import * as breaker from './proofs/breaker.ts'
import * as checkpoint from './proofs/checkpoint.ts'
import * as dedup from './proofs/dedup.ts'
import { durableObjectProofs, type EmptiableStorage } from './proofs/durable-object.ts'
import * as events from './proofs/events.ts'
import { r2Proofs } from './proofs/r2.ts'
import { s3Proofs } from './proofs/s3.ts'

const proofs: Record<string, Proof> = {
  'breaker.middleware': breaker.middleware,
  'checkpoint.memory': checkpoint.memory,
  'checkpoint.middleware': checkpoint.middleware,
  'checkpoint.sealed': checkpoint.sealed,
  'dedup.memory': dedup.memory,
  'dedup.middleware': dedup.middleware,
  'events.memory': events.memory,
  'events.middleware': events.middleware,
}

interface Environment {
  readonly BUCKET: R2Bucket
  readonly BUCKET_URL: string
  readonly STORES: { idFromName(name: string): object; get(id: object): { fetch(request: Request): Promise<Response> } }
}

const answered = async (proof: Proof | undefined): Promise<Response> =>
  proof === undefined ? new Response(null, { status: 404 }) : Response.json(await proof.run())

/** The Durable Object in whose SQLite the stores are proved. */
export class Stores {
  readonly #proofs: Record<string, Proof>

  constructor({ storage }: { readonly storage: EmptiableStorage }) {
    this.#proofs = durableObjectProofs(storage)
  }

  fetch(request: Request): Promise<Response> {
    return answered(this.#proofs[new URL(request.url).pathname.slice('/durable-object.'.length)])
  }
}

const worker: { fetch(request: Request, environment: Environment): Promise<Response> } = {
  fetch(request, { BUCKET, BUCKET_URL, STORES }) {
    const name = new URL(request.url).pathname.slice(1)
    if (name.startsWith('durable-object.')) return STORES.get(STORES.idFromName(name)).fetch(request)
    if (name.startsWith('r2.')) return answered(r2Proofs(BUCKET)[name.slice('r2.'.length)])
    if (name.startsWith('s3.')) return answered(s3Proofs(BUCKET_URL)[name.slice('s3.'.length)])
    return answered(proofs[name])
  },
}

// biome-ignore lint/style/noDefaultExport: a Worker is found by it
export default worker
