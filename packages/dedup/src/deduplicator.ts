import { type DedupCrypto, hexOf, lengthPrefixed, webCrypto } from './crypto.ts'
import { DedupError } from './errors.ts'
import { replayable } from './replay.ts'
import type { DedupStore, KeyLink, KeyRecord, NewClaim, StoredResponse } from './store.ts'
import { refusalOf, type Unit } from './unit.ts'

/** How keys are kept. Periods are in milliseconds. */
export interface RequestDeduplicatorOptions {
  readonly store: DedupStore
  /** How long an answer is replayed, counted from completion: 60 minutes. */
  readonly windowMs?: number
  /** How long an owner may be silent before its claim lapses: 30 s. It is renewed every third of it. */
  readonly leaseMs?: number
  /** What storage keys are made with; made and kept by the store unless given. */
  readonly secret?: Uint8Array
  readonly crypto?: DedupCrypto
  readonly now?: () => number
  /** Observes; what it throws changes nothing. */
  readonly onTransition?: (transition: {
    readonly type: `dedup.${'claimed' | 'replayed' | 'conflict' | 'mismatch' | 'released' | 'completed' | 'takeover'}`
    readonly key: string
  }) => void
}

/** Whose key it is. Keys of other scopes never meet. */
export interface KeyScope {
  readonly tenant?: string
  readonly principal: string
  readonly method?: string
  /** The route's pattern. */
  readonly path?: string
}

/** A claim that is ready to be committed, in a unit of its own or in another's. */
export interface PendingClaim extends KeyLink {
  /** Whether it has been committed. */
  readonly committed: boolean
  /** Whether whoever took it into a unit settles it. */
  readonly joined: boolean
}

/** What a key's record says to a request that brings the key. */
export type Decision =
  | { readonly kind: 'free'; readonly claim: PendingClaim }
  | { readonly kind: 'completed'; readonly record: KeyRecord & { readonly response: StoredResponse } }
  | { readonly kind: 'in_flight'; readonly record: KeyRecord }
  | { readonly kind: 'lapsed'; readonly record: KeyRecord; takeOver(): PendingClaim }
  | { readonly kind: 'mismatch'; readonly record: KeyRecord }

/** What a request is known by. */
export interface RequestIdentity {
  readonly key: string
  readonly fingerprint: string
  readonly principalHash: string
  readonly windowMs?: number
  readonly leaseMs?: number
}

class Claim implements PendingClaim {
  readonly key: string
  readonly token: number
  readonly wanted: NewClaim
  committed = false
  joined = false
  constructor(wanted: NewClaim) {
    this.key = wanted.key
    this.token = wanted.token
    this.wanted = wanted
  }
}

const known: ReadonlySet<string> = new Set(['store', 'windowMs', 'leaseMs', 'secret', 'crypto', 'now', 'onTransition'])

/** Remembers which keys are in flight and what was answered to them. */
export class RequestDeduplicator {
  readonly store: DedupStore
  readonly windowMs: number
  readonly leaseMs: number
  readonly crypto: DedupCrypto
  readonly #options: RequestDeduplicatorOptions
  readonly #now: () => number
  #secret: Uint8Array | undefined
  #started: Promise<void> | undefined
  #sweeper: ReturnType<typeof setInterval> | undefined
  #lastToken = 0

  constructor(options: RequestDeduplicatorOptions) {
    for (const name of Object.keys(options))
      if (!known.has(name)) throw new DedupError('invalid_option', `Unknown option \`${name}\``)
    const { store, windowMs = 3_600_000, leaseMs = 30_000, crypto = webCrypto, now = () => Date.now() } = options
    for (const [name, value] of Object.entries({ windowMs, leaseMs })) {
      if (!(Number.isFinite(value) && value > 0))
        throw new DedupError('invalid_option', `Expected \`${name}\` to be a finite number above 0, got \`${value}\``)
    }
    this.#options = options
    this.store = store
    this.windowMs = windowMs
    this.leaseMs = leaseMs
    this.crypto = crypto
    this.#now = now
  }

  /** Opens the store, and sweeps what is over once a minute. Called by the first use as well. */
  start(): Promise<void> {
    this.#started ??= (async () => {
      await this.store.open()
      this.#secret = await this.store.secret(this.#options.secret)
      this.#sweeper = setInterval(() => void this.store.sweep(1_000).catch(() => {}), 60_000)
    })().catch((error: unknown) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  async stop(): Promise<void> {
    await this.#started?.catch(() => {})
    clearInterval(this.#sweeper)
  }

  /** The name under which a key is stored: an HMAC over the whole scope, each part with its length. */
  async storageKey({ tenant = '', principal, method = '', path = '' }: KeyScope, key: string): Promise<string> {
    await this.start()
    return hexOf(await this.crypto.hmacSha256(this.#secret!, lengthPrefixed([tenant, principal, method, path, key])))
  }

  /** An HMAC under the same secret, for what must not be guessed from the store. */
  async digest(...chunks: readonly Uint8Array[]): Promise<string> {
    await this.start()
    return hexOf(await this.crypto.hmacSha256(this.#secret!, ...chunks))
  }

  /** Reads a key's record and says what it means for this request. Nothing is written. */
  async decide(identity: RequestIdentity): Promise<Decision> {
    await this.start()
    const record = await this.store.get(identity.key)
    if (record === undefined || (record.state === 'completed' && record.windowRemainingMs <= 0)) {
      return { kind: 'free', claim: this.#newClaim(identity, record, undefined) }
    }
    if (record.fingerprint !== identity.fingerprint || record.principalHash !== identity.principalHash) {
      this.#tell('dedup.mismatch', identity.key)
      return { kind: 'mismatch', record }
    }
    if (record.response !== undefined) return { kind: 'completed', record: { ...record, response: record.response } }
    if (record.leaseRemainingMs > 0 && record.link === undefined) return { kind: 'in_flight', record }
    const takeOver = () => this.#newClaim(identity, record, record.token)
    return record.link === undefined ? { kind: 'lapsed', record, takeOver } : { kind: 'in_flight', record }
  }

  /** A claim that takes over a record whose run turned out never to have been accepted. */
  replace(identity: RequestIdentity, record: KeyRecord): PendingClaim {
    return this.#newClaim(identity, record, record.token)
  }

  /** Commits a claim by itself; `false` when somebody else was first. */
  async claim(claim: PendingClaim): Promise<boolean> {
    const unit = this.store.unit()
    this.#add(unit, claim as Claim, undefined)
    try {
      await unit.commit()
      return true
    } catch (error) {
      if (refusalOf(error) === undefined) throw error
      return false
    }
  }

  /** Adds a claim to a unit of the same database, which is refused when somebody else was first. The unit's owner settles it. */
  claimIn(unit: Unit, claim: PendingClaim, { link }: { readonly link: string }): void {
    const own = claim as Claim
    own.joined = true
    this.#add(unit, own, link)
  }

  /** Settles a key in a unit of the same database. A stale link changes nothing. */
  completeIn(unit: Unit, link: KeyLink, response: StoredResponse): void {
    unit.add(this.store.complete(link, { ...response, headers: response.headers.filter(([name]) => replayable(name)) }))
  }

  /** Settles a key. Resolves to `false` when the claim is no longer its own, or was settled before. */
  async complete(link: KeyLink, response: StoredResponse): Promise<boolean> {
    const unit = this.store.unit()
    let settled = false
    unit.add(
      this.store.complete(link, { ...response, headers: response.headers.filter(([name]) => replayable(name)) }),
      (result) => {
        settled = result as boolean
      },
    )
    await unit.commit()
    if (settled) this.#tell('dedup.completed', link.key)
    return settled
  }

  /** Frees a key that is not completed, if the claim still is its own. */
  async release(link: KeyLink): Promise<boolean> {
    const released = await this.#change(this.store.release(link))
    if (released) this.#tell('dedup.released', link.key)
    return released
  }

  /** Renews a claim's lease; `false` when it is no longer its own. */
  extend(link: KeyLink): Promise<boolean> {
    return this.#change(this.store.extend(link, this.leaseMs))
  }

  /** The answer that is kept for a key, by hand. */
  async get(scope: KeyScope, key: string): Promise<StoredResponse | undefined> {
    const record = await this.store.get(await this.storageKey(scope, key))
    return record !== undefined && record.windowRemainingMs > 0 ? record.response : undefined
  }

  /** Keeps an answer for a key, by hand, unless the key is in use. */
  async keep(
    scope: KeyScope,
    key: string,
    response: StoredResponse,
    { windowMs = this.windowMs }: { readonly windowMs?: number } = {},
  ): Promise<boolean> {
    const storageKey = await this.storageKey(scope, key)
    const decision = await this.decide({ key: storageKey, fingerprint: '', principalHash: '', windowMs })
    if (decision.kind !== 'free' || !(await this.claim(decision.claim))) return false
    return this.complete(decision.claim, response)
  }

  #newClaim(
    { key, fingerprint, principalHash, windowMs = this.windowMs, leaseMs = this.leaseMs }: RequestIdentity,
    record: KeyRecord | undefined,
    replaces: number | undefined,
  ): Claim {
    this.#lastToken = Math.max(this.#now() * 1_000, this.#lastToken + 1, (record?.token ?? 0) + 1)
    return new Claim({
      key,
      fingerprint,
      principalHash,
      windowMs,
      leaseMs,
      link: undefined,
      replaces,
      token: this.#lastToken,
    })
  }

  #add(unit: Unit, claim: Claim, link: string | undefined): void {
    unit.add(this.store.claim({ ...claim.wanted, link }), () => {
      claim.committed = true
      this.#tell(claim.wanted.replaces === undefined ? 'dedup.claimed' : 'dedup.takeover', claim.key)
    })
  }

  async #change(write: Parameters<Unit['add']>[0]): Promise<boolean> {
    const unit = this.store.unit()
    let changed = false
    unit.add(write, (result) => {
      changed = result as boolean
    })
    await unit.commit()
    return changed
  }

  #tell(type: Parameters<NonNullable<RequestDeduplicatorOptions['onTransition']>>[0]['type'], key: string): void {
    try {
      this.#options.onTransition?.({ type, key })
    } catch {
      // An observer's failure changes nothing.
    }
  }
}
