import type { RequestIdentity } from './decision.ts'
import { Oldest } from './oldest.ts'

interface Known {
  readonly target: string
  readonly body: Uint8Array
  readonly identity: RequestIdentity
}

const maxEntries = 4_096
const maxBodyBytes = 2_048

/**
 * Remembers what the latest requests were known by, so that a repeat to the byte costs a comparison in place of its digests.
 * Holds at most 8 MiB of bodies.
 */
export class IdentityMemo {
  readonly #known = new Map<string, Known>()
  readonly #oldest = new Oldest(this.#known)

  get(name: string, target: string, body: Uint8Array): RequestIdentity | undefined {
    const known = this.#known.get(name)
    if (known === undefined || known.target !== target || known.body.length !== body.length) return undefined
    for (let i = 0; i < body.length; i++) if (known.body[i] !== body[i]) return undefined
    return known.identity
  }

  set(name: string, target: string, body: Uint8Array, identity: RequestIdentity): void {
    if (body.length > maxBodyBytes) return
    this.#known.delete(name)
    if (this.#known.size >= maxEntries) this.#known.delete(this.#oldest.first()![0])
    // The handler has the same bytes, and may write over them; they may be a small part of a large buffer, too.
    this.#known.set(name, { target, body: body.slice(), identity })
  }
}
