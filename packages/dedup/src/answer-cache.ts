import { Oldest } from './oldest.ts'
import type { KeyRecord, StoredResponse } from './store.ts'

/** A record whose answer is known. */
export interface CompletedRecord extends KeyRecord {
  readonly response: StoredResponse
}

interface Kept {
  readonly record: CompletedRecord
  readonly until: number
  readonly bytes: number
}

/** Holds completed answers in front of a store: they change no more until their window is over or they are erased. */
export class AnswerCache {
  readonly #maxEntries: number
  readonly #maxBytes: number
  readonly #maxAgeMs: number
  readonly #monotonic: () => number
  readonly #kept = new Map<string, Kept>()
  readonly #oldest = new Oldest(this.#kept)
  #bytes = 0
  #erasedAt = Number.NEGATIVE_INFINITY

  constructor(maxEntries: number, maxBytes: number, maxAgeMs: number, monotonic: () => number) {
    this.#maxEntries = maxEntries
    this.#maxBytes = maxBytes
    this.#maxAgeMs = maxAgeMs
    this.#monotonic = monotonic
  }

  get(key: string): CompletedRecord | undefined {
    const kept = this.#kept.get(key)
    if (kept === undefined) return undefined
    if (kept.until > this.#monotonic()) return kept.record
    this.delete(key)
    return undefined
  }

  /**
   * `asOf` is when the record was asked for: its window counts from then, so that it never ends later than the store's, and what was
   * asked for before something was erased may be just that.
   */
  put(record: CompletedRecord, asOf: number): void {
    const bytes = 600 + (record.response.body?.length ?? 0)
    this.delete(record.key)
    if (bytes > this.#maxBytes / 8 || asOf <= this.#erasedAt) return
    this.#kept.set(record.key, {
      record,
      until: asOf + Math.min(record.windowRemainingMs, this.#maxAgeMs),
      bytes,
    })
    this.#bytes += bytes
    while (this.#kept.size > this.#maxEntries || this.#bytes > this.#maxBytes) this.delete(this.#oldest.first()![0])
  }

  delete(key: string): void {
    const kept = this.#kept.get(key)
    if (kept === undefined) return
    this.#kept.delete(key)
    this.#bytes -= kept.bytes
  }

  deletePrincipal(principalHash: string): void {
    this.#erasedAt = this.#monotonic()
    for (const [key, { record }] of this.#kept) if (record.principalHash === principalHash) this.delete(key)
  }
}
