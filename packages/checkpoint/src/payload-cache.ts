import type { Outcome, RunInput, StepRecord } from './run-record.ts'

/** What of a run's payloads is in memory. */
export interface CachedPayloads {
  readonly input?: RunInput
  readonly steps?: readonly StepRecord[]
  readonly outcome?: Outcome
}

/** The figures of a cache. */
export interface CacheFigures {
  readonly entries: number
  readonly bytes: number
  readonly hits: number
  readonly misses: number
}

/** Payloads of finished runs in memory, the least recently used leaving first. */
export interface PayloadCache {
  readonly figures: CacheFigures
  get<Part extends keyof CachedPayloads>(id: string, part: Part): CachedPayloads[Part]
  /** Adds to what is there of the run. An entry that is larger than the whole cache is not kept. */
  put(id: string, payloads: CachedPayloads): void
  drop(id: string): void
  clear(): void
}

interface Entry {
  readonly payloads: CachedPayloads
  readonly bytes: number
}

/** A cache of at most `maxBytes`, with 0 one that keeps nothing. */
export function payloadCache(maxBytes: number): PayloadCache {
  const entries = new Map<string, Entry>()
  let bytes = 0
  let hits = 0
  let misses = 0

  function drop(id: string): void {
    bytes -= entries.get(id)?.bytes ?? 0
    entries.delete(id)
  }

  return {
    get figures() {
      return { entries: entries.size, bytes, hits, misses }
    },
    get(id, part) {
      const entry = entries.get(id)
      const found = entry?.payloads[part]
      if (entry === undefined || found === undefined) {
        misses++
        return undefined as CachedPayloads[typeof part]
      }
      hits++
      entries.delete(id)
      entries.set(id, entry)
      return found
    },
    put(id, added) {
      const payloads = { ...entries.get(id)?.payloads, ...added }
      drop(id)
      const entry = { payloads, bytes: sizeOf(id, payloads) }
      if (entry.bytes > maxBytes) return
      entries.set(id, entry)
      bytes += entry.bytes
      for (const oldest of entries.keys()) {
        if (bytes <= maxBytes) break
        drop(oldest)
      }
    },
    drop,
    clear() {
      entries.clear()
      bytes = 0
    },
  }
}

/** What an entry takes, with 2 bytes a character and a flat sum for each object. */
function sizeOf(id: string, { input, steps = [], outcome }: CachedPayloads): number {
  const object = 100
  let bytes = object + 2 * id.length
  const headers = (list: Outcome['headers']) =>
    list.reduce((sum, [name, value]) => sum + object + 2 * (name.length + value.length), 0)
  if (input !== undefined)
    bytes += object + input.body.length + 2 * (input.url.length + input.variables.length) + headers(input.headers)
  if (outcome !== undefined) bytes += object + outcome.body.length + headers(outcome.headers)
  for (const { name, value = '' } of steps)
    bytes += object + 2 * name.length + (typeof value === 'string' ? 2 * value.length : value.length)
  return bytes
}
