import { DedupError } from './errors.ts'

const encoder = new TextEncoder()

/** What a store keeps of the secret: one that it made itself, or a trace by which one that was given is known again. */
export interface KeptSecret {
  readonly made: boolean
  readonly bytes: Uint8Array
}

/** What a store is to keep when it has nothing yet. */
export async function newSecret(given: Uint8Array | undefined): Promise<KeptSecret> {
  return given === undefined
    ? { made: true, bytes: crypto.getRandomValues(new Uint8Array(32)) }
    : { made: false, bytes: await traceOf(given) }
}

/** The secret to use, from what is kept; throws `secret_mismatch` where `given` is not the one that keys were made with. */
export async function secretFrom(kept: KeptSecret, given: Uint8Array | undefined): Promise<Uint8Array> {
  if (given === undefined) {
    if (kept.made) return kept.bytes
    throw new DedupError('secret_mismatch', 'The stored keys were made with a secret that has to be given')
  }
  const same = kept.made ? given : await traceOf(given)
  if (same.length === kept.bytes.length && same.every((byte, i) => byte === kept.bytes[i])) return given
  throw new DedupError('secret_mismatch', 'The secret given is not the one that the stored keys were made with')
}

async function traceOf(secret: Uint8Array): Promise<Uint8Array> {
  const prefix = encoder.encode('gw secret:')
  const bytes = new Uint8Array(prefix.length + secret.length)
  bytes.set(prefix)
  bytes.set(secret, prefix.length)
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}
