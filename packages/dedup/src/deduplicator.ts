import { AnswerCache, type CompletedRecord } from './answer-cache.ts'
import { Claim, Flight, type PendingClaim } from './claim.ts'
import { type DedupCrypto, hexOf, lengthPrefixed, webCrypto } from './crypto.ts'
import type { Decision, RequestIdentity } from './decision.ts'
import { checkOptions, type RequestDeduplicatorOptions, type TransitionName } from './deduplicator-options.ts'
import { codeOf, DedupError } from './errors.ts'
import { Heartbeats } from './heartbeat.ts'
import { type JournalEntry, LateSettlements, memoryJournal } from './journal.ts'
import { KeyNames, type KeyScope } from './key-names.ts'
import { isInRun, isNoStore, isStored, storedOf, withoutUnreplayable } from './replay.ts'
import { type Seal, sealWith } from './seal.ts'
import type { ClaimAnswer, DedupStore, KeyLink, KeyRecord, Settlement, StoredResponse } from './store.ts'
import { runtimeTimers, type Timers } from './timers.ts'
import type { Unit, Write } from './unit.ts'
import { type WaitEnd, Waiters } from './waiters.ts'

/** What became of an answer: kept, come too late, or given without being kept yet. */
export type Kept = 'stored' | 'superseded' | 'unstored'

/** A call that failed sooner than this is worth another at once. */
const soonMs = 500
/** Keys that are swept in one go. */
const sweepLimit = 1_000

/** Remembers which keys are in flight and what was answered to them. */
export class RequestDeduplicator {
  readonly keyStore: DedupStore
  readonly windowMs: number
  readonly leaseMs: number
  readonly crypto: DedupCrypto
  readonly timers: Timers
  readonly #options: RequestDeduplicatorOptions
  readonly #now: () => number
  readonly #monotonic: () => number
  readonly #cache: AnswerCache | undefined
  readonly #flights = new Map<string, Flight>()
  readonly #heartbeats: Heartbeats
  readonly #waiters: Waiters
  readonly #late: LateSettlements
  #names: KeyNames | undefined
  #seal: Seal | undefined
  #started: Promise<void> | undefined
  #sweeper: unknown
  #sweeping: Promise<void> | undefined
  #unwatch: (() => Promise<void>) | undefined
  #tokenPrefix = ''
  #lastToken = 0

  constructor(options: RequestDeduplicatorOptions) {
    checkOptions(options)
    const { store, windowMs = 3_600_000, leaseMs = 30_000, crypto = webCrypto, cache = {} } = options
    const { now = () => Date.now(), monotonic = () => performance.now(), random = () => Math.random() } = options
    const { journal = memoryJournal(), maxWaitersPerKey = 100, timers = runtimeTimers } = options
    this.#options = options
    this.keyStore = store
    this.windowMs = windowMs
    this.leaseMs = leaseMs
    this.crypto = crypto
    this.#now = now
    this.#monotonic = monotonic
    this.timers = timers
    if (cache !== false) {
      const { maxEntries = 10_000, maxBytes = 33_554_432, maxAgeMs = 10_000 } = cache
      const ageMs = store.shared ? maxAgeMs : Number.POSITIVE_INFINITY
      this.#cache = new AnswerCache(maxEntries, maxBytes, ageMs, monotonic)
    }
    this.#heartbeats = new Heartbeats(monotonic, timers)
    this.#waiters = new Waiters({
      isUnderWay: (key, token) => this.#isUnderWay(key, token),
      maxPerKey: maxWaitersPerKey,
      random,
      timers,
    })
    this.#late = new LateSettlements(
      journal,
      now,
      (entry) => this.#settleLate(entry),
      (entry, how) => this.#settledLate(entry, how),
      timers,
    )
  }

  /** Opens the store, and sweeps what is over once a minute. Called by the first use as well; a failure may be tried again. */
  start(): Promise<void> {
    this.#started ??= this.#start().catch((error: unknown) => {
      this.#started = undefined
      throw error
    })
    return this.#started
  }

  async #start(): Promise<void> {
    await this.keyStore.open()
    const secret = await this.keyStore.secret(this.#options.secret)
    const { encryption } = this.#options
    if (encryption !== false) {
      const keys = encryption ?? {
        current: 'secret',
        keys: { secret: await this.crypto.hmacSha256(secret, lengthPrefixed(['answers'])) },
      }
      this.#seal = sealWith(this.crypto, keys)
    }
    this.#tokenPrefix = hexOf(crypto.getRandomValues(new Uint8Array(12)))
    this.#unwatch = await this.keyStore.watch?.({
      settled: (key) => this.#waiters.notify(key),
      erased: (principalHash) => this.#cache?.deletePrincipal(principalHash),
      evicted: (key) => {
        this.#cache?.delete(key)
        this.tell('evicted_early', key)
      },
    })
    await this.#late.resume()
    this.#sweeper = this.timers.setInterval(() => {
      this.#sweeping ??= this.#sweep().finally(() => {
        this.#sweeping = undefined
      })
    }, 60_000)
    letExit(this.#sweeper)
    this.#names = new KeyNames(this.crypto, secret)
  }

  /** Until little is left: what is swept more slowly than it ends would fill the store. */
  async #sweep(): Promise<void> {
    try {
      while ((await this.keyStore.sweep(sweepLimit)) === sweepLimit && this.#sweeper !== undefined);
    } catch {
      // It is tried again in a minute.
    }
  }

  /** Whether it has started. */
  get ready(): boolean {
    return this.#names !== undefined
  }

  /** Ends timers and subscriptions. What is under way can still be settled. */
  async stop(): Promise<void> {
    await this.#started?.catch(() => {})
    this.timers.clearInterval(this.#sweeper)
    this.#sweeper = undefined
    this.#heartbeats.stop()
    this.#late.stop()
    this.#waiters.stop()
    await this.#unwatch?.().catch(() => {})
    this.#unwatch = undefined
  }

  /** The monotonic clock that periods are measured on. */
  monotonic(): number {
    return this.#monotonic()
  }

  /** Claims that this process holds. */
  get held(): number {
    return this.#heartbeats.size
  }

  /** The name under which a key is stored: an HMAC over the whole scope, each part with its length. */
  storageKey(scope: KeyScope, key: string): string | Promise<string> {
    return this.#names?.keyOf(scope, key) ?? this.start().then(() => this.#names!.keyOf(scope, key))
  }

  /** An HMAC under the secret, for what must not be guessed from the store. */
  digest(...chunks: readonly Uint8Array[]): string | Promise<string> {
    return this.#names?.digest(...chunks) ?? this.start().then(() => this.#names!.digest(...chunks))
  }

  /** What a principal's records are marked with. */
  principalHash(scope: KeyScope): string | Promise<string> {
    return this.#names?.principalOf(scope) ?? this.start().then(() => this.#names!.principalOf(scope))
  }

  /** The answer to a request, if it is held in front of the store. */
  cached(identity: RequestIdentity): Decision | undefined {
    const record = this.#cache?.get(identity.key)
    return record === undefined ? undefined : this.#judge(identity, record)
  }

  /** Reads a key's record and says what it means for this request. Nothing is written. */
  async decide(identity: RequestIdentity): Promise<Decision> {
    await this.start()
    const cached = this.cached(identity)
    if (cached !== undefined) return cached
    const asOf = this.#monotonic()
    const record = await this.keyStore.get(identity.key)
    if (record === undefined) return { kind: 'free', claim: this.newClaim(identity, undefined) }
    return this.#judgeStored(identity, record, asOf)
  }

  /**
   * Claims a key, or says why it is not to be had, in one round trip at most. `replaces` names a record that may be taken over
   * once its lease has lapsed.
   */
  async acquire(identity: RequestIdentity, replaces?: KeyRecord): Promise<Decision> {
    if (this.#names === undefined) await this.start()
    for (;;) {
      const cached = this.cached(identity)
      if (cached !== undefined) return cached
      const flight = this.#flights.get(identity.key)
      if (flight === undefined) break
      if (flight.held) {
        if (replaces === undefined || flight.claim.token !== replaces.token)
          return this.#judge(identity, this.#recordOf(flight.claim))
        break
      }
      await flight.known()
    }
    const claim = this.newClaim(identity, replaces)
    const flight = new Flight(claim)
    this.#flights.set(identity.key, flight)
    try {
      const asOf = this.#monotonic()
      const answer = await this.#tryClaim(claim)
      if (answer.kind === 'held') return await this.#judgeStored(identity, answer.record, asOf)
      this.#hold(claim, answer.fence, asOf)
      flight.held = true
      this.tell(replaces === undefined ? 'claimed' : 'takeover', claim.key, claim.fence)
      return { kind: 'claimed', claim }
    } finally {
      if (!flight.held && this.#flights.get(identity.key) === flight) this.#flights.delete(identity.key)
      flight.tell()
    }
  }

  /** A claim that is not made yet. */
  newClaim(
    { key, fingerprint, principalHash, windowMs = this.windowMs, leaseMs = this.leaseMs }: RequestIdentity,
    replaces: KeyRecord | undefined,
  ): Claim {
    const token = `${this.#tokenPrefix}${(++this.#lastToken).toString(36)}`
    const wanted = { key, token, fingerprint, principalHash, windowMs, leaseMs, link: undefined }
    return new Claim({ ...wanted, replaces: replaces?.token })
  }

  /**
   * Adds a claim to a unit of the same database, which is refused when somebody else was first. From then on the unit's owner
   * settles it.
   */
  claimIn(unit: Unit, claim: PendingClaim, { link }: { readonly link: string }): void {
    const own = claim as Claim
    own.settled = true
    unit.add(this.keyStore.claim({ ...own.wanted, link }), (fence) => {
      own.committed = true
      own.fence = fence as number
      this.tell(own.wanted.replaces === undefined ? 'claimed' : 'takeover', own.key, own.fence)
    })
  }

  /** Hands a claim over to a run whose records lie elsewhere; the run settles it by its link. */
  async handOver(claim: PendingClaim, { link }: { readonly link: string }): Promise<Settlement> {
    const own = claim as Claim
    own.settled = true
    return this.#change(this.keyStore.attach(linkOf(own), link))
  }

  /**
   * Settles a key in a unit of the same database. A stale link changes nothing. Needs synchronous `crypto` unless answers are not
   * sealed.
   */
  completeIn(
    unit: Unit,
    link: KeyLink,
    response: StoredResponse,
    { windowMs }: { readonly windowMs?: number } = {},
  ): void {
    const sealed = this.#sealed(link.key, response)
    if (sealed instanceof Promise) {
      sealed.catch(() => {})
      throw new DedupError('invalid_option', 'Expected `crypto` to be synchronous, as `nodeCrypto` is, for completeIn')
    }
    unit.add(this.keyStore.complete(linkOf(link), sealed, windowMs), (result) => {
      if (result === 'ok') this.tell('completed', link.key)
      this.#waiters.notify(link.key)
    })
  }

  /** Adds the answer of a held claim to a unit of somebody's own, who commits it: with other rows in one transaction, say. */
  async answerIn(unit: Unit, claim: Claim, response: Response | StoredResponse): Promise<void> {
    const stored = isStored(response) ? response : await storedOf(response)
    const sealed = await this.#sealed(claim.key, stored)
    unit.add(this.keyStore.complete(linkOf(claim), sealed, undefined), (settlement) => {
      if (settlement === 'stale') claim.lose()
      this.tell(settlement === 'ok' ? 'completed' : 'superseded', claim.key, claim.fence)
    })
    claim.answered = true
  }

  /** Settles a key. Resolves to `stale` when the claim is no longer its own. Rejects when the store cannot say. */
  async complete(
    link: KeyLink,
    response: StoredResponse,
    { windowMs }: { readonly windowMs?: number } = {},
  ): Promise<Settlement> {
    await this.start()
    const sealed = await this.#sealed(link.key, response)
    const settlement = await this.#change(this.keyStore.complete(linkOf(link), sealed, windowMs))
    if (settlement === 'ok') this.tell('completed', link.key)
    this.#waiters.notify(link.key)
    return settlement
  }

  /**
   * Settles a held claim with the answer its handler gave. Where the store cannot take it, the claim stays held and the answer is
   * offered again until its window is over: it is never dropped for a second execution.
   */
  async settle(claim: Claim, response: StoredResponse): Promise<Kept> {
    const { key } = claim
    const asOf = this.#monotonic()
    const sealed = await this.#sealed(key, response)
    try {
      const settlement = await this.#change(this.keyStore.complete(linkOf(claim), sealed, undefined))
      this.#letGo(claim)
      if (settlement === 'stale') {
        claim.lose()
        this.tell('superseded', key, claim.fence)
        return 'superseded'
      }
      this.#remember(claim, this.#replayable(response), asOf)
      this.tell('completed', key, claim.fence)
      this.#waiters.notify(key)
      return 'stored'
    } catch {
      if (!(await this.#putOff(claim, claim.wanted.windowMs, sealed))) this.#letGo(claim)
      this.tell('unstored', key, claim.fence)
      return 'unstored'
    }
  }

  /** Settles a lapsed claim with what was found out about it, now or when the store can be reached, and gives the answer to pass on. */
  async settleFor(record: KeyRecord, response: Response): Promise<Response> {
    const { key, fence } = record
    const stored = await storedOf(response.clone())
    try {
      if ((await this.complete(record, stored)) === 'ok') this.tell('takeover', key, fence)
    } catch {
      await this.#putOff(record, record.windowRemainingMs, await this.#sealed(key, stored))
      this.tell('unstored', key, fence)
    }
    return response
  }

  /** Frees a key that is not completed, if the claim still is its own. */
  async release(link: KeyLink): Promise<Settlement> {
    await this.start()
    const settlement = await this.#change(this.keyStore.release(linkOf(link)))
    if (settlement === 'ok') this.tell('released', link.key)
    this.#waiters.notify(link.key)
    return settlement
  }

  /**
   * Frees a held claim under which nothing happened. A store that is down is told when it is back, and then this resolves to
   * `undefined`.
   */
  async letGo(claim: Claim): Promise<Settlement | undefined> {
    this.#letGo(claim)
    try {
      return await this.release(claim)
    } catch {
      await this.#putOff(claim, claim.wanted.windowMs)
      return undefined
    }
  }

  /** Leaves a held claim to itself: its outcome is not known, or somebody else settles it. */
  abandon(claim: Claim): void {
    this.#letGo(claim)
  }

  /** Renews a claim's lease. */
  extend(link: KeyLink, leaseMs: number = this.leaseMs): Promise<Settlement> {
    return this.#change(this.keyStore.extend(linkOf(link), leaseMs))
  }

  /** Resolves when the claim behind a record is no longer under way. */
  wait(record: KeyRecord, waitMs: number, signal?: AbortSignal): Promise<WaitEnd> {
    return this.#waiters.wait(record.key, record.token, waitMs, signal)
  }

  /** The answer that is kept for a key, by hand. */
  async get(scope: KeyScope, key: string): Promise<StoredResponse | undefined> {
    const storageKey = await this.storageKey(scope, key)
    const record = await this.keyStore.get(storageKey)
    return record?.response === undefined
      ? undefined
      : this.#seal === undefined
        ? record.response
        : this.#seal.open(storageKey, record.response)
  }

  /**
   * Keeps an answer for a key, by hand, unless the key is in use: then it resolves to `false`. Any request that brings the key in
   * this scope is answered with it.
   */
  async store(
    scope: KeyScope,
    key: string,
    response: Response | StoredResponse,
    { windowMs = this.windowMs }: { readonly windowMs?: number } = {},
  ): Promise<boolean> {
    const [storageKey, principalHash, kept] = await Promise.all([
      this.storageKey(scope, key),
      this.principalHash(scope),
      isStored(response) ? response : storedOf(response),
    ])
    const decision = await this.acquire({ key: storageKey, fingerprint: '', principalHash, windowMs })
    if (decision.kind !== 'claimed') return false
    return (await this.settle(decision.claim, kept)) === 'stored'
  }

  /** Removes every kept answer of a principal; claims under way stay. Resolves to how many records went. */
  async erase(scope: KeyScope): Promise<number> {
    const principalHash = await this.principalHash(scope)
    this.#cache?.deletePrincipal(principalHash)
    const erased = await this.keyStore.erase(principalHash)
    this.#cache?.deletePrincipal(principalHash)
    this.tell('erased', principalHash)
    return erased
  }

  /** Tells the observer. */
  tell(type: TransitionName, key: string, fence?: number): void {
    try {
      this.#options.onTransition?.({ type: `dedup.${type}`, key, ...(fence === undefined ? {} : { fence }) })
    } catch {
      // An observer's failure changes nothing.
    }
  }

  /** A claim whose answer was lost is asked for once more with its own token, which the store knows if it was made. */
  async #tryClaim(claim: Claim): Promise<ClaimAnswer> {
    const began = this.#monotonic()
    try {
      return await this.keyStore.tryClaim(claim.wanted)
    } catch (error) {
      if (codeOf(error) !== 'unknown') throw error
      try {
        // A store that let a call wait until its deadline would do so again.
        if (this.#monotonic() - began < soonMs) return await this.keyStore.tryClaim(claim.wanted)
      } catch {
        // The first failure is the one to tell.
      }
      // Nothing runs under this claim, whether it was made or not: it is taken back when the store can be reached.
      await this.#putOff(claim, claim.wanted.windowMs)
      throw error
    }
  }

  /** Whether the journal took it. One that fails costs what it was to keep, and not the answer that is about to be given. */
  async #putOff(link: KeyLink, windowMs: number, response?: StoredResponse): Promise<boolean> {
    const entry = { link: linkOf(link), windowMs, until: this.#now() + windowMs }
    try {
      await this.#late.add(response === undefined ? entry : { ...entry, response })
      return true
    } catch {
      return false
    }
  }

  #hold(claim: Claim, fence: number, asOf: number): void {
    claim.committed = true
    claim.fence = fence
    claim.renewedAt = asOf
    claim.renew = () => {
      this.extend(claim, claim.leaseMs).then(
        (settlement) => {
          if (settlement === 'ok' || !this.#flights.has(claim.key)) return
          claim.lose()
          this.#letGo(claim)
        },
        () => {},
      )
    }
    this.#heartbeats.add(claim)
  }

  #letGo(claim: Claim): void {
    this.#heartbeats.delete(claim)
    if (this.#flights.get(claim.key)?.claim === claim) this.#flights.delete(claim.key)
  }

  #recordOf({ wanted, fence, renewedAt }: Claim): KeyRecord {
    const { key, token, fingerprint, principalHash, windowMs, leaseMs } = wanted
    return {
      key,
      token,
      fence,
      state: 'in_flight',
      fingerprint,
      principalHash,
      link: undefined,
      response: undefined,
      leaseRemainingMs: Math.max(1, renewedAt + leaseMs - this.#monotonic()),
      windowRemainingMs: windowMs,
    }
  }

  async #judgeStored(identity: RequestIdentity, record: KeyRecord, asOf: number): Promise<Decision> {
    if (record.state !== 'completed' || record.response === undefined) return this.#judge(identity, record)
    let opened: CompletedRecord
    try {
      const response = this.#seal === undefined ? record.response : await this.#seal.open(record.key, record.response)
      opened = { ...record, response }
    } catch {
      return this.#judge(identity, { ...record, state: 'corrupt', response: undefined })
    }
    this.#cache?.put(opened, asOf)
    return this.#judge(identity, opened)
  }

  /** The principal is compared again although it is part of the key: a body goes to nobody else, whatever went wrong before. */
  #judge(identity: RequestIdentity, record: KeyRecord): Decision {
    const another = record.fingerprint !== '' && record.fingerprint !== identity.fingerprint
    if (another || record.principalHash !== identity.principalHash) {
      this.tell('mismatch', record.key)
      return { kind: 'mismatch', record }
    }
    if (record.response !== undefined) return { kind: 'completed', record: record as CompletedRecord }
    if (record.state !== 'in_flight') {
      this.tell('corrupt', record.key)
      return { kind: 'corrupt', record }
    }
    if (record.leaseRemainingMs > 0 || record.link !== undefined) return { kind: 'in_flight', record }
    return { kind: 'lapsed', record }
  }

  async #isUnderWay(key: string, token: string): Promise<boolean> {
    if (this.#flights.get(key)?.claim.token === token) return true
    const asOf = this.#monotonic()
    const record = await this.keyStore.get(key, { awaited: true })
    if (record === undefined || record.token !== token || record.state === 'corrupt') return false
    if (record.response === undefined) return record.leaseRemainingMs > 0
    // Everyone who is woken finds the answer here.
    const { fingerprint, principalHash } = record
    await this.#judgeStored({ key, fingerprint, principalHash }, record, asOf)
    return false
  }

  #remember({ wanted, fence }: Claim, response: StoredResponse, asOf: number): void {
    const { key, token, fingerprint, principalHash, windowMs } = wanted
    const record: CompletedRecord = {
      key,
      token,
      fence,
      state: 'completed',
      fingerprint,
      principalHash,
      link: undefined,
      response,
      leaseRemainingMs: 0,
      windowRemainingMs: windowMs,
    }
    this.#cache?.put(record, asOf)
  }

  /** What of an answer is kept: no field that belongs to one exchange, and no readable body that said it must not be stored. */
  #replayable(response: StoredResponse): StoredResponse {
    const kept = withoutUnreplayable(response)
    return this.#options.encryption === false && isNoStore(kept) ? { ...kept, body: undefined } : kept
  }

  #sealed(key: string, response: StoredResponse): StoredResponse | Promise<StoredResponse> {
    if (isInRun(response)) return response
    const kept = this.#replayable(response)
    return this.#seal === undefined ? kept : this.#seal.seal(key, kept)
  }

  #settleLate({ link, response, windowMs }: JournalEntry): Promise<Settlement> {
    return this.#change(
      response === undefined ? this.keyStore.release(link) : this.keyStore.complete(link, response, windowMs),
    )
  }

  #settledLate({ link, response }: JournalEntry, how: Settlement | 'given_up'): void {
    const flight = this.#flights.get(link.key)
    if (flight?.claim.token === link.token) this.#letGo(flight.claim)
    if (response !== undefined && how !== 'given_up') this.tell(how === 'ok' ? 'stored_late' : 'superseded', link.key)
    this.#waiters.notify(link.key)
  }

  async #change(write: Write): Promise<Settlement> {
    const unit = this.keyStore.unit()
    let settlement: Settlement = 'stale'
    unit.add(write, (result) => {
      settlement = result as Settlement
    })
    await unit.commit()
    return settlement
  }
}

/** A claim as stores take it: plain, whatever else it carries here. */
function linkOf({ key, token }: KeyLink): KeyLink {
  return { key, token }
}

/** Timers that only tidy up do not keep a process alive. */
function letExit(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer && typeof timer.unref === 'function')
    timer.unref()
}
