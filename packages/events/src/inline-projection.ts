import type { InlinePart } from './appender.ts'
import { EventError } from './errors.ts'
import type { NewEvent } from './event.ts'
import type { EventStore } from './event-store.ts'
import type { ProjectionContext, ProjectionState } from './projection.ts'
import type { ProjectionRegisters } from './projection-registers.ts'
import type { EventRecord } from './query.ts'
import type { Unit, Write } from './unit.ts'

/**
 * The part of an inline projection in an append: its next state, written at the version it was read at. Events have no position
 * or time yet; both are empty for the reducer.
 */
export function inlinePart<State>(
  events: EventStore,
  registers: ProjectionRegisters<State>,
  applied: (kept: ProjectionState<State>, event: EventRecord, context: ProjectionContext) => ProjectionState<State>,
): InlinePart & { ready(): Promise<void> } {
  let known:
    | { readonly kept: ProjectionState<State>; readonly version: number; readonly generation: number }
    | undefined
  let next: ProjectionState<State> | undefined

  async function load() {
    const generation = await registers.generation()
    const loaded = await registers.load(generation)
    if (loaded.version > 0) return { ...loaded, generation }
    return { ...(await fromLog(loaded.kept, generation)), version: 0, generation }
  }

  /** A projection that is new to a log begins with what is there. */
  async function fromLog(initial: ProjectionState<State>, generation: number) {
    let kept = initial
    let after = 0n
    const { position: asOf } = await events.store.head()
    for (;;) {
      const page = await events.readStored({ after, asOf, limit: 1_000 })
      for (const event of page) kept = step(kept, await events.recordOf(event, { sealed: true }), [], generation)
      const last = page.at(-1)
      if (last === undefined || page.length < 1_000) return { kept }
      after = last.position
    }
  }

  function step(kept: ProjectionState<State>, event: EventRecord, writes: Write[], generation: number) {
    const unit: Unit = {
      add: (write) => writes.push(write),
      commit: () => Promise.reject(new EventError('not_supported', 'The append commits this unit')),
    }
    return applied(
      kept,
      { ...event, position: '', time: '', hash: '', version: 0 },
      { unit, replaying: false, generation },
    )
  }

  return {
    async writes(batch: readonly NewEvent[], stream: string) {
      known ??= await load()
      const writes: Write[] = []
      let kept = known.kept
      try {
        for (const { fresh: _, data, ...event } of batch) {
          const record = { ...event, stream, data: JSON.parse(data), position: '', time: '', hash: '', version: 0 }
          kept = step(kept, record, writes, known.generation)
        }
      } catch (cause) {
        throw new EventError('projection_failed', 'An inline projection cannot apply the event', { cause })
      }
      next = kept
      writes.push(registers.write(known.generation, kept, known.version))
      return writes
    },
    settled(committed) {
      known =
        committed && known !== undefined && next !== undefined
          ? { ...known, kept: next, version: known.version + 1 }
          : undefined
      next = undefined
    },
    /** Stores the state of a log that was there before the projection. */
    async ready() {
      const loaded = await load()
      if (loaded.version > 0) return
      const unit = events.store.unit()
      unit.add(registers.write(loaded.generation, loaded.kept, 0))
      await unit.commit().catch(() => {})
    },
  }
}
