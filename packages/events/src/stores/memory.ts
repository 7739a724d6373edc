import { sameBytes } from '../bytes.ts'
import type { Refusal } from '../errors.ts'
import { genesis, type NewEvent, type StoredEvent } from '../event.ts'
import { expectationHolds, matches, placed, repetitionOf } from '../placement.ts'
import type { AppendResult, EventLog, Expected, Head, Register, StoreQuery } from '../store.ts'
import type { Durability, Unit, Write } from '../unit.ts'

/** A write of the memory store: applies itself and answers how to take it back. */
type Applied = { readonly result: unknown; undo(): void }

class Refused extends Error {
  override readonly name = 'Refused'
  readonly code = 'refused'
  readonly reason: Refusal
  constructor(reason: Refusal) {
    super('A write refused the unit')
    this.reason = reason
  }
}

/** Keeps events in this process and loses them with it: for tests and for what need not last. */
export function memoryEventStore(): EventLog {
  return new MemoryEventLog()
}

class MemoryEventLog implements EventLog {
  readonly durable = false
  readonly gapless = true
  readonly database: unknown = this
  readonly #events: StoredEvent[] = []
  readonly #byId = new Map<string, StoredEvent>()
  readonly #versions = new Map<string, number>()
  readonly #registers = new Map<string, Register>()
  #base: Head = { position: 0n, time: 0, hash: genesis }

  async open(): Promise<void> {}

  unit(): Unit {
    const writes: { readonly write: Write; readonly onCommitted: ((result: unknown) => void) | undefined }[] = []
    return {
      add: (write, onCommitted) => {
        writes.push({ write, onCommitted })
      },
      commit: async (): Promise<Durability> => {
        const applied: Applied[] = []
        try {
          for (const { write } of writes) applied.push((write.args as () => Applied)())
        } catch (error) {
          for (const { undo } of applied.reverse()) undo()
          throw error
        }
        applied.forEach(({ result }, i) => {
          writes[i]!.onCommitted?.(result)
        })
        return 'memory'
      },
    }
  }

  append(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    now: number,
    onRepeat: 'answer' | 'refuse' = 'answer',
  ): Write {
    return { procedure: 'append', args: () => this.#append(stream, events, expected, now, onRepeat) }
  }

  #append(
    stream: string,
    events: readonly NewEvent[],
    expected: Expected,
    now: number,
    onRepeat: 'answer' | 'refuse',
  ): Applied {
    const repeated = repetitionOf(
      events.map(({ id }) => this.#byId.get(id)),
      events,
      stream,
      onRepeat,
    )
    if (repeated !== undefined) {
      if ('conflict' in repeated) throw new Refused(repeated)
      return { result: repeated, undo: () => {} }
    }
    const actual = this.#versions.get(stream) ?? -1
    if (!expectationHolds(expected, actual)) throw new Refused({ conflict: 'version', actual })
    let version = actual
    const places: AppendResult[] = []
    for (const event of events) {
      version++
      const stored = placed(event, { stream, version, now }, this.#head())
      this.#events.push(stored)
      this.#byId.set(stored.id, stored)
      places.push({ position: stored.position, version, time: stored.time })
    }
    this.#versions.set(stream, version)
    return {
      result: places,
      undo: () => {
        for (const { id } of this.#events.splice(this.#events.length - events.length)) this.#byId.delete(id)
        if (actual === -1) this.#versions.delete(stream)
        else this.#versions.set(stream, actual)
      },
    }
  }

  async read(query: StoreQuery): Promise<StoredEvent[]> {
    const found: StoredEvent[] = []
    for (let i = this.#indexAfter(query.after); i < this.#events.length && found.length < query.limit; i++) {
      const event = this.#events[i]!
      if (event.position > query.asOf) break
      if (matches(event, query)) found.push(event)
    }
    return found
  }

  async count(query: StoreQuery): Promise<number> {
    return (await this.read(query)).length
  }

  async head(): Promise<Head> {
    return this.#head()
  }

  async base(): Promise<Head> {
    return this.#base
  }

  async registers(prefix: string, after = '', limit = 1_000): Promise<Register[]> {
    return [...this.#registers.values()]
      .filter(({ name }) => name.startsWith(prefix) && name > after)
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .slice(0, limit)
  }

  setRegister(name: string, value: string | undefined, version: number): Write {
    return {
      procedure: 'setRegister',
      args: (): Applied => {
        const old = this.#registers.get(name)
        const actual = old?.version ?? 0
        if (actual !== version) throw new Refused({ conflict: 'register', name, actual })
        if (value === undefined) this.#registers.delete(name)
        else this.#registers.set(name, { name, version: version + 1, value })
        const undo = () => {
          if (old === undefined) this.#registers.delete(name)
          else this.#registers.set(name, old)
        }
        return { result: version + 1, undo }
      },
    }
  }

  drop(base: Head): Write {
    return {
      procedure: 'drop',
      args: (): Applied => {
        const count = this.#indexAfter(base.position)
        const last = this.#events[count - 1]
        if (last?.position !== base.position || !sameBytes(last.hash, base.hash))
          throw new Refused({ conflict: 'base' })
        const before = this.#base
        const dropped = this.#events.splice(0, count)
        for (const { id } of dropped) this.#byId.delete(id)
        this.#base = { position: base.position, time: last.time, hash: last.hash }
        const undo = () => {
          this.#events.unshift(...dropped)
          for (const event of dropped) this.#byId.set(event.id, event)
          this.#base = before
        }
        return { result: count, undo }
      },
    }
  }

  #head(): Head {
    return this.#events.at(-1) ?? this.#base
  }

  #indexAfter(position: bigint): number {
    const index = position - this.#base.position
    return index <= 0n ? 0 : index >= BigInt(this.#events.length) ? this.#events.length : Number(index)
  }
}
