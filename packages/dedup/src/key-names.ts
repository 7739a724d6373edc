import { type DedupCrypto, hexOf, lengthPrefixed } from './crypto.ts'

/** Whose key it is. Keys of other scopes never meet. */
export interface KeyScope {
  readonly tenant?: string
  readonly principal: string
  readonly method?: string
  /** The route's pattern. */
  readonly path?: string
}

const principalsRemembered = 1_000

/** Names keys and principals so that neither can be guessed from a store: HMACs under one secret. */
export class KeyNames {
  readonly #crypto: DedupCrypto
  readonly #secret: Uint8Array
  readonly #principals = new Map<string, string>()

  constructor(crypto: DedupCrypto, secret: Uint8Array) {
    this.#crypto = crypto
    this.#secret = secret
  }

  /** The name under which a key is stored: over the whole scope, each part with its length. */
  keyOf(scope: KeyScope, key: string): string | Promise<string> {
    const { tenant = '', principal, method = '', path = '' } = scope
    return this.digest(lengthPrefixed([tenant, principal, method, path, key]))
  }

  digest(...chunks: readonly Uint8Array[]): string | Promise<string> {
    const hmac = this.#crypto.hmacSha256(this.#secret, ...chunks)
    return hmac instanceof Promise ? hmac.then(hexOf) : hexOf(hmac)
  }

  principalOf({ tenant = '', principal }: KeyScope): string | Promise<string> {
    const name = `${tenant.length}:${tenant}${principal}`
    const remembered = this.#principals.get(name)
    if (remembered !== undefined) return remembered
    const remember = (hash: string): string => {
      if (this.#principals.size >= principalsRemembered) this.#principals.clear()
      this.#principals.set(name, hash)
      return hash
    }
    const hash = this.digest(lengthPrefixed(['principal', tenant, principal]))
    return typeof hash === 'string' ? remember(hash) : hash.then(remember)
  }
}
