import { DedupError, onlyKnown, onlyPositive } from '../errors.ts'
import { Oldest } from '../oldest.ts'
import { type KeptSecret, newSecret, secretFrom } from '../secret.ts'
import type { ClaimAnswer, DedupStore, KeyLink, KeyListener, KeyRecord, NewClaim, StoredResponse } from '../store.ts'
import type { Durability, Unit, Write } from '../unit.ts'

/** How much a memory store holds, and what it drops. */
export interface MemoryDedupStoreOptions {
  /** Keys at most: 10,000. */
  readonly maxEntries?: number
  /** Bytes of answers at most: 64 MiB. */
  readonly maxBytes?: number
  /**
   * What a full store does: `evict` the oldest answers (the default; each one is told as a lost guarantee), or `reject` new claims
   * with `store_full`. Keys under way are never dropped.
   */
  readonly onFull?: 'evict' | 'reject'
  /** A monotonic clock. */
  readonly monotonic?: () => number
}

interface Entry {
  readonly key: string
  token: string
  fence: number
  fingerprint: string
  principalHash: string
  link: string | undefined
  leaseUntil: number
  windowMs: number
  response: StoredResponse | undefined
  expiresAt: number
  bytes: number
}

/** What each entry costs beside its answer: the record, its hashes, and its place in the map. */
const entryBytes = 600

/** A procedure applies itself, tells how to take itself back, and answers; or refuses. */
type Procedure = (args: never) => { readonly result: unknown; undo(): void } | { readonly refused: unknown }

/** Keeps keys in this process's memory: single process, gone with it, bounded by entries and bytes. */
export function memoryDedupStore(options: MemoryDedupStoreOptions = {}): DedupStore {
  onlyKnown(options, new Set(['maxEntries', 'maxBytes', 'onFull', 'monotonic']))
  const { maxEntries = 10_000, maxBytes = 67_108_864, onFull = 'evict', monotonic = () => performance.now() } = options
  onlyPositive({ maxEntries, maxBytes })
  if (onFull !== 'evict' && onFull !== 'reject')
    throw new DedupError('invalid_option', `Expected \`onFull\` to be evict or reject, got \`${String(onFull)}\``)

  /** Every key. */
  const entries = new Map<string, Entry>()
  /** The completed ones, oldest first: what may be evicted. */
  const completed = new Map<string, Entry>()
  const completedFirst = new Oldest(completed)
  const listeners = new Set<KeyListener>()
  let bytes = 0
  let lastFence = 0
  let secret: Promise<KeptSecret> | undefined

  const isOver = (entry: Entry, at: number) =>
    entry.response === undefined
      ? entry.link === undefined && entry.leaseUntil + entry.windowMs <= at
      : entry.expiresAt <= at

  function put(entry: Entry): void {
    entries.set(entry.key, entry)
    if (entry.response !== undefined) completed.set(entry.key, entry)
    bytes += entry.bytes
  }

  function drop(entry: Entry): void {
    entries.delete(entry.key)
    completed.delete(entry.key)
    bytes -= entry.bytes
  }

  function makeRoom(needed: number, entriesNeeded: number): boolean {
    const underWay = entries.size - completed.size
    // What is under way stays: where that leaves no room, dropping every answer would make none.
    if (underWay * entryBytes + needed > maxBytes || underWay + entriesNeeded > maxEntries) return false
    const at = monotonic()
    while (bytes + needed > maxBytes || entries.size + entriesNeeded > maxEntries) {
      const oldest = completedFirst.first()?.[1]
      if (oldest === undefined) return false
      const over = isOver(oldest, at)
      if (!over && onFull === 'reject') return false
      drop(oldest)
      if (!over) for (const listener of listeners) listener.evicted?.(oldest.key)
    }
    return true
  }

  function recordOf(entry: Entry, at: number): KeyRecord {
    const { key, token, fence, fingerprint, principalHash, link, response } = entry
    return {
      key,
      token,
      fence,
      state: response === undefined ? 'in_flight' : 'completed',
      fingerprint,
      principalHash,
      link,
      response,
      leaseRemainingMs: response === undefined ? Math.max(0, entry.leaseUntil - at) : 0,
      windowRemainingMs: response === undefined ? entry.windowMs : Math.max(0, entry.expiresAt - at),
    }
  }

  function claimNow(claim: NewClaim): ClaimAnswer & { undo?: () => void } {
    const at = monotonic()
    const held = entries.get(claim.key)
    if (held !== undefined && !isOver(held, at)) {
      if (held.response === undefined && held.token === claim.token) return { kind: 'claimed', fence: held.fence }
      const lapsed = held.response === undefined && held.leaseUntil <= at && held.token === claim.replaces
      if (!lapsed) return { kind: 'held', record: recordOf(held, at) }
    }
    if (held !== undefined) drop(held)
    if (!makeRoom(entryBytes, 1)) {
      if (held !== undefined) put(held)
      throw new DedupError('store_full', 'Every key that this store can hold is under way or still in its window')
    }
    const { key, token, fingerprint, principalHash, link, windowMs } = claim
    const entry: Entry = {
      key,
      token,
      fence: ++lastFence,
      fingerprint,
      principalHash,
      link,
      leaseUntil: at + claim.leaseMs,
      windowMs,
      response: undefined,
      expiresAt: 0,
      bytes: entryBytes,
    }
    put(entry)
    return {
      kind: 'claimed',
      fence: entry.fence,
      undo() {
        drop(entry)
        if (held !== undefined) put(held)
      },
    }
  }

  /** Changes a claim that still is its owner's. */
  function change(link: KeyLink, act: (entry: Entry) => void) {
    const entry = entries.get(link.key)
    if (entry === undefined || entry.token !== link.token || entry.response !== undefined)
      return { result: 'stale', undo() {} }
    const before = { ...entry }
    act(entry)
    return {
      result: 'ok',
      undo() {
        if (entries.get(entry.key) === entry) drop(entry)
        put(before)
      },
    }
  }

  function tellSettled(key: string): void {
    for (const listener of listeners) listener.settled?.(key)
  }

  const procedures: Readonly<Record<string, Procedure>> = {
    claim(claim: NewClaim) {
      const answer = claimNow(claim)
      return answer.kind === 'held' ? { refused: 'held' } : { result: answer.fence, undo: answer.undo ?? (() => {}) }
    },
    complete({ link, response, windowMs }: { link: KeyLink; response: StoredResponse; windowMs: number | undefined }) {
      const entry = entries.get(link.key)
      if (entry?.response !== undefined && entry.token === link.token) return { result: 'ok', undo() {} }
      const size = response.body?.length ?? 0
      const changed = change(link, (held) => {
        // A body for which there is no room is not retained: the key stays answered, and only its replay is lost.
        const fits = makeRoom(size, 0)
        held.response = fits ? response : { ...response, body: undefined }
        held.expiresAt = monotonic() + (windowMs ?? held.windowMs)
        held.bytes = entryBytes + (fits ? size : 0)
        bytes += held.bytes - entryBytes
        completed.set(held.key, held)
      })
      if (changed.result === 'ok') tellSettled(link.key)
      return changed
    },
    extend: ({ link, leaseMs }: { link: KeyLink; leaseMs: number }) =>
      change(link, (entry) => {
        entry.leaseUntil = monotonic() + leaseMs
      }),
    attach: ({ link, run }: { link: KeyLink; run: string }) =>
      change(link, (entry) => {
        entry.link = run
      }),
    release({ link }: { link: KeyLink }) {
      const changed = change(link, drop)
      if (changed.result === 'ok') tellSettled(link.key)
      return changed
    },
  }

  const store: DedupStore = {
    durable: false,
    shared: false,
    joinable: true,
    database: entries,
    async open() {},
    async secret(given) {
      secret ??= newSecret(given)
      return secretFrom(await secret, given)
    },
    async tryClaim(claim) {
      const answer = claimNow(claim)
      return answer.kind === 'held' ? answer : { kind: 'claimed', fence: answer.fence }
    },
    async get(key) {
      const entry = entries.get(key)
      const at = monotonic()
      return entry === undefined || isOver(entry, at) ? undefined : recordOf(entry, at)
    },
    unit: () => new MemoryUnit(procedures),
    claim: (claim) => ({ procedure: 'claim', args: claim }),
    complete: (link, response, windowMs) => ({ procedure: 'complete', args: { link, response, windowMs } }),
    extend: (link, leaseMs) => ({ procedure: 'extend', args: { link, leaseMs } }),
    attach: (link, run) => ({ procedure: 'attach', args: { link, run } }),
    release: (link) => ({ procedure: 'release', args: { link } }),
    async erase(principalHash) {
      const at = monotonic()
      let erased = 0
      for (const entry of entries.values()) {
        if (entry.principalHash !== principalHash) continue
        if (entry.response === undefined && (entry.link !== undefined || entry.leaseUntil > at)) continue
        drop(entry)
        erased++
      }
      for (const listener of listeners) listener.erased?.(principalHash)
      return erased
    },
    async sweep(limit) {
      const at = monotonic()
      let swept = 0
      for (const entry of entries.values()) {
        if (swept === limit) break
        if (!isOver(entry, at)) continue
        drop(entry)
        swept++
      }
      return swept
    },
    async watch(listener) {
      listeners.add(listener)
      return async () => {
        listeners.delete(listener)
      }
    },
  }
  return store
}

class MemoryUnit implements Unit {
  readonly #procedures: Readonly<Record<string, Procedure>>
  readonly #writes: (readonly [Write, ((result: unknown) => void) | undefined])[] = []

  constructor(procedures: Readonly<Record<string, Procedure>>) {
    this.#procedures = procedures
  }

  add(write: Write, onCommitted?: (result: unknown) => void): void {
    this.#writes.push([write, onCommitted])
  }

  async commit(): Promise<Durability> {
    const undos: (() => void)[] = []
    const results: unknown[] = []
    try {
      for (const [{ procedure, args }] of this.#writes) {
        const answer = this.#procedures[procedure]!(args as never)
        if ('refused' in answer)
          throw new DedupError('refused', 'A write of the unit was refused', { reason: answer.refused })
        undos.push(answer.undo)
        results.push(answer.result)
      }
    } catch (error) {
      for (const undo of undos.reverse()) undo()
      throw error
    }
    for (let i = 0; i < results.length; i++) this.#writes[i]![1]?.(results[i])
    return 'memory'
  }
}
