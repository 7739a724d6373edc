import type { DedupCrypto } from './crypto.ts'
import { DedupError, onlyKnown, onlyPositive } from './errors.ts'
import type { CompletionJournal } from './journal.ts'
import type { EncryptionKeys } from './seal.ts'
import type { DedupStore } from './store.ts'
import type { Timers } from './timers.ts'

/** What happened to a key; `key` is the storage key, never the client's text. */
export interface DedupTransition {
  readonly type: `dedup.${TransitionName}`
  readonly key: string
  readonly fence?: number
}

/**
 * `superseded`: an owner's answer came after another claim had taken its key. `unstored`: an answer was given that the store did
 * not take; `stored_late`: it has taken it since. `fail_open`: a request ran without its key because the store was down.
 * `evicted_early`: an answer was dropped within its window.
 */
export type TransitionName =
  | 'claimed'
  | 'completed'
  | 'replayed'
  | 'released'
  | 'waited'
  | 'conflict'
  | 'mismatch'
  | 'takeover'
  | 'outcome_unknown'
  | 'superseded'
  | 'unstored'
  | 'stored_late'
  | 'fail_open'
  | 'evicted_early'
  | 'corrupt'
  | 'erased'

/** How keys are kept. Periods are in milliseconds. */
export interface RequestDeduplicatorOptions {
  readonly store: DedupStore
  /** How long an answer is replayed, counted from completion: 60 minutes. A day is usual for money. */
  readonly windowMs?: number
  /** How long an owner may be silent before its claim lapses: 30 s. It is renewed every third of it. */
  readonly leaseMs?: number
  /** What storage keys are made with; made and kept by the store unless given. Every node has the same. */
  readonly secret?: Uint8Array
  /** `webCrypto`; `nodeCrypto` from `@gw/dedup/node` where it runs. */
  readonly crypto?: DedupCrypto
  /**
   * What kept answers are sealed with: a key derived from the secret unless keys are given; `false` keeps them readable, and
   * answers that said `Cache-Control: no-store` without their body.
   */
  readonly encryption?: EncryptionKeys | false
  /** Answers held in this process in front of the store: 10,000 and 32 MiB; `false` asks the store each time. */
  readonly cache?: AnswerCacheOptions | false
  /** Where answers wait that the store could not take: in this process's memory. */
  readonly journal?: CompletionJournal
  /** Requests that may wait for one key in this process before further ones are told to come back: 100. */
  readonly maxWaitersPerKey?: number
  readonly now?: () => number
  /** A monotonic clock. */
  readonly monotonic?: () => number
  readonly random?: () => number
  /** What periods are waited for with; the runtime's timers unless given. */
  readonly timers?: Timers
  /** Observes; what it throws changes nothing. */
  readonly onTransition?: (transition: DedupTransition) => void
}

/** The bounds of the answers held in front of a store. */
export interface AnswerCacheOptions {
  readonly maxEntries?: number
  readonly maxBytes?: number
  /** How long an answer is replayed without asking a store that other processes share, which may have erased it: 10 s. */
  readonly maxAgeMs?: number
}

const known: ReadonlySet<string> = new Set([
  'store',
  'windowMs',
  'leaseMs',
  'secret',
  'crypto',
  'encryption',
  'cache',
  'journal',
  'maxWaitersPerKey',
  'now',
  'monotonic',
  'random',
  'timers',
  'onTransition',
])

/** Throws `invalid_option` for what cannot be right. */
export function checkOptions(options: RequestDeduplicatorOptions): void {
  onlyKnown(options, known)
  const { store, windowMs, leaseMs, maxWaitersPerKey, secret, cache } = options
  if (typeof store?.tryClaim !== 'function')
    throw new DedupError('invalid_option', `Expected \`store\` to be a DedupStore, got \`${String(store)}\``)
  onlyPositive({ windowMs, leaseMs, maxWaitersPerKey })
  if (typeof cache === 'object') {
    onlyKnown(cache, new Set(['maxEntries', 'maxBytes', 'maxAgeMs']))
    const { maxEntries, maxBytes, maxAgeMs } = cache
    onlyPositive({ 'cache.maxEntries': maxEntries, 'cache.maxBytes': maxBytes, 'cache.maxAgeMs': maxAgeMs })
  }
  if (secret !== undefined && !ArrayBuffer.isView(secret))
    throw new DedupError('invalid_option', `Expected \`secret\` to be bytes, got a ${typeof secret}`)
  if (secret !== undefined && secret.length < 32)
    throw new DedupError('invalid_option', `Expected \`secret\` to have at least 32 bytes, got ${secret.length}`)
}
