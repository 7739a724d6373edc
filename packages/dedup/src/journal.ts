import type { KeyLink, Settlement, StoredResponse } from './store.ts'
import type { Timers } from './timers.ts'

/** A settlement that the store could not take yet. */
export interface JournalEntry {
  readonly link: KeyLink
  /** The answer, sealed as the store would have it; absent where the key is to be freed. */
  readonly response?: StoredResponse
  readonly windowMs: number
  /** When it is given up, in milliseconds of this machine's own clock. */
  readonly until: number
}

/** Keeps what a store could not take while it was down. */
export interface CompletionJournal {
  add(entry: JournalEntry): void | Promise<void>
  /** Forgets the entry of a claim. */
  remove(link: KeyLink): void | Promise<void>
  entries(): readonly JournalEntry[] | Promise<readonly JournalEntry[]>
}

/**
 * Keeps entries in this process's memory, at most `maxEntries` of them: 10,000. A further one is refused, so that its claim is let
 * go; to drop an older one would leave that one's claim held by nobody who could settle it.
 */
export function memoryJournal({ maxEntries = 10_000 }: { readonly maxEntries?: number } = {}): CompletionJournal {
  const kept = new Map<string, JournalEntry>()
  return {
    add(entry) {
      const { token } = entry.link
      if (kept.size >= maxEntries && !kept.has(token))
        throw new Error(`The journal holds ${maxEntries} entries already`)
      kept.set(token, entry)
    },
    remove(link) {
      kept.delete(link.token)
    },
    entries: () => [...kept.values()],
  }
}

const firstDelayMs = 100
const lastDelayMs = 1_000

/** Offers journalled settlements to the store again until it takes them or their window is over; idle while there are none. */
export class LateSettlements {
  readonly #journal: CompletionJournal
  readonly #settle: (entry: JournalEntry) => Promise<Settlement>
  readonly #ended: (entry: JournalEntry, how: Settlement | 'given_up') => void
  readonly #now: () => number
  readonly #timers: Timers
  /** Entries that failed since all others were tried: none may keep those behind it waiting. */
  readonly #failed = new Set<string>()
  #timer: unknown
  #delayMs = firstDelayMs
  #stopped = false

  constructor(
    journal: CompletionJournal,
    now: () => number,
    settle: (entry: JournalEntry) => Promise<Settlement>,
    ended: (entry: JournalEntry, how: Settlement | 'given_up') => void,
    timers: Timers,
  ) {
    this.#timers = timers
    this.#journal = journal
    this.#now = now
    this.#settle = settle
    this.#ended = ended
  }

  async add(entry: JournalEntry): Promise<void> {
    await this.#journal.add(entry)
    this.#schedule()
  }

  /** Takes up what an earlier process left in the journal. */
  async resume(): Promise<void> {
    this.#stopped = false
    if ((await this.#journal.entries()).length > 0) this.#schedule()
  }

  stop(): void {
    this.#stopped = true
    this.#timers.clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#timer ??= this.#timers.setTimeout(() => {
      this.#timer = undefined
      this.#pass().then(
        (left) => {
          if (left) this.#schedule()
        },
        () => this.#schedule(),
      )
    }, this.#delayMs)
  }

  /** Whether anything is left. The first failure ends the pass: the store may still be down. */
  async #pass(): Promise<boolean> {
    const entries = await this.#journal.entries()
    const untried = entries.filter(({ link }) => !this.#failed.has(link.token))
    if (untried.length === 0) this.#failed.clear()
    for (const entry of untried.length === 0 ? entries : untried) {
      if (entry.until <= this.#now()) {
        await this.#journal.remove(entry.link)
        this.#ended(entry, 'given_up')
        continue
      }
      let how: Settlement
      try {
        how = await this.#settle(entry)
      } catch {
        this.#failed.add(entry.link.token)
        this.#delayMs = Math.min(lastDelayMs, this.#delayMs * 2)
        return true
      }
      await this.#journal.remove(entry.link)
      this.#ended(entry, how)
    }
    this.#delayMs = firstDelayMs
    return this.#failed.size > 0
  }
}
