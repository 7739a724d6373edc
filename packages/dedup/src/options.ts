import type { Context } from 'hono'
import type { RequestDeduplicator } from './deduplicator.ts'
import { DedupError, onlyKnown, onlyPositive } from './errors.ts'
import type { BodyComparison } from './fingerprint.ts'
import { IdentityMemo } from './identity-memo.ts'
import { Latency } from './latency.ts'
import type { RecordPolicy, ServerErrorPolicy } from './policy.ts'
import type { SpillStore } from './spill.ts'
import type { KeyRecord, StoredResponse } from './store.ts'

/** The run behind a key, as whoever keeps runs knows it. */
export interface LinkedRun {
  readonly runId: string
  readonly status: string
  readonly outcome?: StoredResponse
}

/** How the run behind a key is found and waited for. `undefined` says that no such run was ever accepted: nothing ran. */
export interface LinkedRuns {
  lookup(link: string): Promise<LinkedRun | undefined>
  attach(c: Context, link: string): Promise<Response | undefined>
  /**
   * Sees to it that a run which is not there will not be accepted later either, by a write that is still on its way. Resolves to
   * `false` where it is there meanwhile. Needed where the keys' store is not the runs': without it a key whose claim has lapsed
   * may get a second run.
   */
  preclude?(link: string): Promise<boolean>
}

/**
 * What a claim means whose owner died without an answer. `resume` attaches to the run behind it, or rejects where there is none;
 * `execute` runs the handler again under a higher fence; `reject` answers 409; `park` answers 409 until somebody settles or
 * frees the key by hand.
 */
export type UnknownPolicy = 'resume' | 'execute' | 'reject' | 'park'

/** How one route takes keys. Periods are in milliseconds. */
export interface DedupOptions {
  readonly deduplicator: RequestDeduplicator
  /** A request without a key: `optional` passes (the default), `required` is 400, `fingerprint` is known by its content. */
  readonly missing?: 'optional' | 'required' | 'fingerprint'
  /** Who is asking; needed unless `scope` is `global`. Runs after your authentication. */
  readonly principal?: (c: Context) => string | undefined
  readonly tenant?: (c: Context) => string | undefined
  /** Every client shares one space of keys. Must be written out. */
  readonly scope?: 'global'
  /** `POST` and `PATCH`; `PUT` and `DELETE` may be added. */
  readonly methods?: readonly ('POST' | 'PATCH' | 'PUT' | 'DELETE')[]
  /** `strict` takes only the quoted form of the draft. */
  readonly keySyntax?: 'lenient' | 'strict'
  /** Where your clients read about keys; named in the answer to a missing one. */
  readonly documentation?: string
  /** How bodies are compared; by their media type unless given. */
  readonly compare?: BodyComparison
  /** Further request fields that make two requests different. */
  readonly vary?: readonly string[]
  /** A JSON body that nests deeper is 400: 64. */
  readonly maxJsonDepth?: number
  /** How long a repeat waits for the first when it does not say so itself: 0, it gets 409 at once. */
  readonly waitMs?: number
  /** The most that `Prefer: wait` is honoured for: 60 s. */
  readonly maxWaitMs?: number
  /** A claim whose owner died without a word: `resume`. A function decides for each. */
  readonly onUnknown?: UnknownPolicy | ((record: KeyRecord, c: Context) => UnknownPolicy | Promise<UnknownPolicy>)
  /**
   * Asked first about such a claim: what the other side knows. A response becomes the key's answer, `execute` says that nothing
   * happened, and `undefined` leaves it to `onUnknown`.
   */
  readonly reconcile?: (record: KeyRecord, c: Context) => Promise<Response | 'execute' | undefined>
  /** Which answers are kept: `deterministic`. */
  readonly record?: RecordPolicy
  /** What a 5xx does to its key: `marked`. */
  readonly onServerError?: ServerErrorPolicy
  /** A request with a key while the store is down: `refuse` with 503 (the default), or `pass` without protection. */
  readonly onStoreError?: 'refuse' | 'pass'
  readonly windowMs?: number
  /** How long a request without a key is known by its content: 10 s. */
  readonly fingerprintWindowMs?: number
  readonly leaseMs?: number
  /** 1 MiB. */
  readonly maxBodyBytes?: number
  /** A longer request body: `reject` with 413 (the default), or through `spill` when it is given. */
  readonly onLargeBody?: 'reject' | 'spill'
  /** A longer answer is passed on and not retained, or kept in `spill` when it is given: 1 MiB. */
  readonly maxResponseBytes?: number
  /** Where bodies go that are too long for memory. */
  readonly spill?: SpillStore
  /** The only fields that are kept with an answer; every field that may be unless given. */
  readonly replayHeaders?: readonly string[]
  /** The claim is not committed here but by whoever accepts the request, in one unit with what it keeps. */
  readonly join?: boolean
  readonly runs?: LinkedRuns
}

/** The options of a route with their defaults, and what it remembers. */
export interface Route extends DedupOptions {
  readonly missing: 'optional' | 'required' | 'fingerprint'
  readonly methods: readonly ('POST' | 'PATCH' | 'PUT' | 'DELETE')[]
  readonly keySyntax: 'lenient' | 'strict'
  readonly documentation: string
  readonly maxJsonDepth: number
  readonly waitMs: number
  readonly maxWaitMs: number
  readonly record: RecordPolicy
  readonly onServerError: ServerErrorPolicy
  readonly fingerprintWindowMs: number
  readonly maxBodyBytes: number
  readonly maxResponseBytes: number
  readonly latency: Latency
  readonly memo: IdentityMemo
}

const known: ReadonlySet<string> = new Set([
  'deduplicator',
  'missing',
  'principal',
  'tenant',
  'scope',
  'methods',
  'keySyntax',
  'documentation',
  'compare',
  'vary',
  'maxJsonDepth',
  'waitMs',
  'maxWaitMs',
  'onUnknown',
  'reconcile',
  'record',
  'onServerError',
  'onStoreError',
  'windowMs',
  'fingerprintWindowMs',
  'leaseMs',
  'maxBodyBytes',
  'onLargeBody',
  'maxResponseBytes',
  'spill',
  'replayHeaders',
  'join',
  'runs',
])

const choices: Readonly<Record<string, readonly unknown[]>> = {
  missing: ['optional', 'required', 'fingerprint'],
  keySyntax: ['lenient', 'strict'],
  record: ['deterministic', 'stripe', 'success'],
  onServerError: ['marked', 'release', 'store'],
  onStoreError: ['refuse', 'pass'],
  onLargeBody: ['reject', 'spill'],
}
const unknownPolicies: readonly unknown[] = ['resume', 'execute', 'reject', 'park']
const comparisons: readonly unknown[] = ['bytes', 'json', 'form', 'multipart', 'digest']
const deduplicable: readonly string[] = ['POST', 'PATCH', 'PUT', 'DELETE']

const draft = 'https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/'

/** Fills in the defaults; throws `invalid_option` for what cannot be right. */
export function routeOf(options: DedupOptions): Route {
  check(options)
  const { missing = 'optional', methods = ['POST', 'PATCH'], keySyntax = 'lenient', documentation = draft } = options
  const { maxJsonDepth = 64, waitMs = 0, maxWaitMs = 60_000, record = 'deterministic' } = options
  const { onServerError = 'marked', fingerprintWindowMs = 10_000 } = options
  const { maxBodyBytes = 1_048_576, maxResponseBytes = 1_048_576 } = options
  return {
    ...options,
    missing,
    methods,
    keySyntax,
    documentation,
    maxJsonDepth,
    waitMs,
    maxWaitMs,
    record,
    onServerError,
    fingerprintWindowMs,
    maxBodyBytes,
    maxResponseBytes,
    latency: new Latency(),
    memo: new IdentityMemo(),
  }
}

function check(options: DedupOptions): void {
  onlyKnown(options, known)
  const { scope, principal, vary, replayHeaders } = options
  if (scope !== undefined && scope !== 'global') throw invalid('scope', "'global' or absent", scope)
  if (principal === undefined && scope !== 'global') {
    throw new DedupError(
      'invalid_option',
      "Expected `principal` to be a function, or `scope` to be 'global' written out, got neither",
    )
  }
  if (typeof options.deduplicator?.acquire !== 'function')
    throw invalid('deduplicator', 'a RequestDeduplicator', options.deduplicator)
  for (const [name, allowed] of Object.entries(choices)) {
    const value: unknown = Reflect.get(options, name)
    if (value !== undefined && !allowed.includes(value)) throw invalid(name, allowed.join(', '), value)
  }
  const { onUnknown, compare, methods = [] } = options
  if (onUnknown !== undefined && typeof onUnknown !== 'function' && !unknownPolicies.includes(onUnknown))
    throw invalid('onUnknown', 'a function, or one of resume, execute, reject, park', onUnknown)
  if (compare !== undefined && typeof compare !== 'function' && !comparisons.includes(compare))
    throw invalid('compare', 'a function, or one of bytes, json, form, multipart, digest', compare)
  for (const method of methods)
    if (!deduplicable.includes(method)) throw invalid('methods', 'some of POST, PATCH, PUT, DELETE', method)
  for (const name of ['principal', 'tenant', 'reconcile'] as const)
    if (options[name] !== undefined && typeof options[name] !== 'function')
      throw invalid(name, 'a function', options[name])
  for (const [name, list] of Object.entries({ vary, replayHeaders }))
    if (list !== undefined && !Array.isArray(list)) throw invalid(name, 'a list of field names', list)
  const { windowMs, fingerprintWindowMs, leaseMs, maxBodyBytes, maxResponseBytes, maxWaitMs, maxJsonDepth } = options
  onlyPositive({ windowMs, fingerprintWindowMs, leaseMs, maxBodyBytes, maxResponseBytes, maxWaitMs, maxJsonDepth })
  const { waitMs = 0, onLargeBody, spill } = options
  if (!(Number.isFinite(waitMs) && waitMs >= 0)) throw invalid('waitMs', 'a finite number from 0', waitMs)
  if (onLargeBody === 'spill' && spill === undefined) throw invalid('spill', 'given with `onLargeBody: spill`', spill)
}

function invalid(name: string, expected: string, value: unknown): DedupError {
  return new DedupError('invalid_option', `Expected \`${name}\` to be ${expected}, got \`${String(value)}\``)
}
