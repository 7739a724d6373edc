import { type Consumer, checkFollowing, StopConsumer, startConsumer } from './consumer.ts'
import { EventError, refusalOf, refuseUnknown, requireWhole, tell } from './errors.ts'
import type { StoredEvent } from './event.ts'
import type { EventStore } from './event-store.ts'
import { inlinePart } from './inline-projection.ts'
import { type Parked, parkedEvents, parkWrite, unparkWrite } from './parked.ts'
import { deleteWrite, ProjectionRegisters } from './projection-registers.ts'
import type { EventRecord } from './query.ts'
import { Wake } from './subscription.ts'
import type { Unit } from './unit.ts'

/** What a projection is told beside the event. */
export interface ProjectionContext {
  /** The transaction that carries the projection's new place: writes to a read model in the same database belong here. */
  readonly unit: Unit
  /** Whether this is a rebuild that lies behind what was once processed: no mail is sent twice. */
  readonly replaying: boolean
  /** Which build of the read model is written, from 1. */
  readonly generation: number
}

/** A read model that follows the log. */
export interface ProjectionOptions<State> {
  readonly name: string
  readonly initial: State
  /** What to do with each type of event; others are skipped and counted. State must be JSON, and is replaced, never changed. */
  readonly on?: Readonly<Record<string, (state: State, event: EventRecord, context: ProjectionContext) => State>>
  /** The same for all types, instead of `on`. */
  readonly apply?: (state: State, event: EventRecord, context: ProjectionContext) => State
  /** `async` (the default) follows the log; `inline` commits with each append, and its failure fails the append. */
  readonly mode?: 'async' | 'inline'
  /** An outbound call for each event before the state holds it, at least once, never while replaying; while it fails, its batch is tried again. */
  readonly effect?: (event: EventRecord) => Promise<void>
  /** How often an event is tried before it is parked: 3. */
  readonly maxAttempts?: number
  /** What happens behind an event that cannot be applied: `continue` (the default) with it parked, or `stop`. */
  readonly onPoison?: 'continue' | 'stop'
  /** Makes the new build of a read model the one that is read, in the transaction that swaps a rebuild in. */
  readonly onSwap?: (unit: Unit, generation: number) => void
  /**
   * Whether personal members are decrypted for the read model: false. A read model with them in plain has to be rebuilt when a
   * subject is erased, and backups of it keep them.
   */
  readonly personal?: boolean
  readonly batch?: number
  readonly leaseMs?: number
  readonly pollMs?: number
  readonly onError?: (error: unknown) => void
}

/** What is kept of a projection beside its place. */
export interface ProjectionState<State> {
  readonly state: State
  /** Events of types that it does not know. */
  readonly skipped: number
  readonly parked: number
}

/** How a rebuild ended. */
export interface Rebuilt {
  readonly generation: number
  readonly position: string
  /** Whether the new state is, byte for byte, the old one at the same position. */
  readonly equal: boolean
}

/** A projection that runs. */
export interface Projection<State> {
  readonly name: string
  /** `inline` has no consumer. */
  readonly consumer: Consumer | undefined
  state(): Promise<State>
  /** State, counts and whether it works: a number of parked events above 0 needs somebody. */
  health(): Promise<
    ProjectionState<State> & { readonly position: bigint; readonly consumer: Consumer['state'] | 'inline' }
  >
  /** Resolves when the event at `position` is in the read model. */
  whenProcessed(position: bigint | string, options?: { readonly timeoutMs?: number }): Promise<void>
  parked(): Promise<Parked[]>
  /** Tries parked events again, in order; answers how many were applied. */
  replayParked(): Promise<number>
  /** Builds the read model anew beside the old one and swaps it in. */
  rebuild(): Promise<Rebuilt>
  stop(): Promise<void>
}

/** Starts a projection. */
export function project<State>(events: EventStore, options: ProjectionOptions<State>): Projection<State> {
  const { name, initial, on, apply, mode = 'async', effect, maxAttempts = 3, onPoison = 'continue', ...more } = options
  const { onSwap, personal = false, batch, leaseMs, pollMs, onError, ...unknown } = more
  refuseUnknown(unknown)
  checkFollowing({ name, leaseMs, batch, pollMs })
  for (const [option, value, known] of [
    ['mode', mode, ['async', 'inline']],
    ['onPoison', onPoison, ['continue', 'stop']],
  ] as const)
    if (!(known as readonly string[]).includes(value))
      throw new EventError('invalid_option', `Expected \`${option}\` to be ${known.join(' or ')}, got \`${value}\``)
  requireWhole('maxAttempts', maxAttempts)
  if ((on === undefined) === (apply === undefined))
    throw new EventError('invalid_option', 'Expected one of `on` and `apply`')
  if (mode === 'inline' && (effect !== undefined || personal || !events.store.gapless))
    throw new EventError(
      'invalid_option',
      'An inline projection has no `effect` and no `personal`, and needs a strict log',
    )
  const registers = new ProjectionRegisters<State>(events, name, { state: initial, skipped: 0, parked: 0 })

  /** Throws what the author's function throws. */
  function applied(
    kept: ProjectionState<State>,
    event: EventRecord,
    context: ProjectionContext,
  ): ProjectionState<State> {
    const step = apply ?? (on !== undefined && Object.hasOwn(on, event.type) ? on[event.type] : undefined)
    if (step === undefined) return { ...kept, skipped: kept.skipped + 1 }
    return { ...kept, state: step(kept.state, event, context) }
  }

  /** Applies a batch and commits it with the new place; event by event where the batch as a whole does not go. */
  async function process(
    batch: readonly EventRecord[],
    generation: number,
    replaying: boolean,
    commit: (join: (unit: Unit) => void, upTo: string) => Promise<void>,
    scannedTo: string,
  ): Promise<void> {
    if (!replaying && effect !== undefined) for (const event of batch) await effect(event)
    const before = await registers.load(generation)
    try {
      await commit((unit) => {
        let kept = before.kept
        for (const event of batch) kept = applied(kept, event, { unit, replaying, generation })
        unit.add(registers.write(generation, kept, before.version))
      }, scannedTo)
    } catch (error) {
      if (error instanceof EventError && error.code === 'consumer_lost') throw error
      for (const event of batch) await processOne(event, generation, replaying, commit)
    }
  }

  async function processOne(
    event: EventRecord,
    generation: number,
    replaying: boolean,
    commit: (join: (unit: Unit) => void, upTo: string) => Promise<void>,
  ): Promise<void> {
    for (let attempt = 1; ; ) {
      const { kept, version } = await registers.load(generation)
      try {
        return await commit((unit) => {
          const next = applied(kept, event, { unit, replaying, generation })
          unit.add(registers.write(generation, next, version))
        }, event.position)
      } catch (error) {
        if (error instanceof EventError && error.code === 'consumer_lost') throw error
        if (isStorage(error)) throw error
        // Its own state was changed beside it: nothing is wrong with the event.
        if (isStateConflict(error, registers.stateName(generation))) continue
        if (attempt < maxAttempts) {
          attempt++
          await new Wake().wait(Math.min(1_000, 10 * 2 ** attempt))
          continue
        }
        if (onPoison === 'stop') throw new StopConsumer(`Event ${event.position} cannot be applied`, { cause: error })
        return commit((unit) => {
          unit.add(parkWrite(events, registers.parkedOwner(generation), event, error, attempt))
          unit.add(registers.write(generation, { ...kept, parked: kept.parked + 1 }, version))
        }, event.position)
      }
    }
  }

  let consumer: Consumer | undefined
  let starting: Promise<void> | undefined
  const ending = new Wake()
  const inline = mode === 'inline' ? inlinePart(events, registers, applied) : undefined
  if (inline !== undefined) events.addInline(inline)
  else starting = follow()
  const forget = events.onStop(stop)

  async function follow(): Promise<void> {
    let generation: number | undefined
    for (let pauseMs = 50; generation === undefined && !ending.ended; pauseMs = Math.min(30_000, pauseMs * 2)) {
      try {
        generation = await registers.generation()
      } catch (error) {
        tell(onError, error)
        await ending.wait(pauseMs)
      }
    }
    if (generation === undefined || ending.ended) return
    followBuild(generation)
  }

  function followBuild(generation: number): void {
    consumer = startConsumer(
      events,
      {
        name: registers.consumerName(generation),
        sealed: !personal,
        ...(batch === undefined ? {} : { batch }),
        ...(leaseMs === undefined ? {} : { leaseMs }),
        ...(pollMs === undefined ? {} : { pollMs }),
        ...(onError === undefined ? {} : { onError }),
        handle: ({ events: batch, scannedTo }, commit) => process(batch, generation, false, commit, scannedTo),
      },
      async () => {
        if ((await registers.generation()) === generation) return true
        // A rebuild has been swapped in, here or by another process: follow that one.
        starting = follow()
        return false
      },
    )
  }

  async function health() {
    await ready()
    const generation = await registers.generation()
    const { kept } = await registers.load(generation)
    const position = inline === undefined ? await registers.position(generation) : (await events.store.head()).position
    return { ...kept, position, consumer: consumer?.state ?? ('inline' as const) }
  }

  async function ready(): Promise<void> {
    await events.start()
    await starting
    await inline?.ready()
  }

  async function rebuild(): Promise<Rebuilt> {
    await ready()
    const old = await registers.generation()
    const generation = old + 1
    await registers.clear(generation)
    for (let attempt = 1; ; attempt++) {
      if (attempt > 3) await consumer?.stop()
      // State first: what is appended after it makes the swap fail, and is in the next try.
      const before = await registers.load(old)
      const place = await registers.place(old)
      const target = inline === undefined ? place.position : (await events.store.head()).position
      await replay(generation, target)
      const built = await registers.load(generation)
      const equal = JSON.stringify(built.kept.state) === JSON.stringify(before.kept.state)
      const unit = events.store.unit()
      unit.add(registers.swap(old, generation))
      unit.add(deleteWrite(events, registers.stateName(old), before.version))
      if (place.version > 0) unit.add(deleteWrite(events, registers.placeName(old), place.version))
      for (const each of await parkedEvents(events, registers.parkedOwner(old)))
        unit.add(unparkWrite(events, registers.parkedOwner(old), each))
      unit.add(registers.writePlace(generation, target, await registers.placeVersion(generation)))
      onSwap?.(unit, generation)
      try {
        await unit.commit()
      } catch (error) {
        // The old one went on meanwhile: follow it once more.
        if (refusalOf(error)?.conflict !== 'register') throw error
        continue
      }
      inline?.settled(false)
      if (inline === undefined) {
        const before = consumer
        await before?.stop()
        // It may have begun to follow the new build by itself.
        await starting
        if (consumer === before) await follow()
      }
      return { generation, position: target.toString(), equal }
    }
  }

  /** Applies the log up to `target` to a build that nobody reads yet. */
  async function replay(generation: number, target: bigint): Promise<void> {
    let after = await registers.position(generation)
    while (after < target) {
      const found: StoredEvent[] = await events.readStored({ after, asOf: target, limit: 1_000 })
      const scannedTo = found.length === 1_000 ? found.at(-1)!.position : target
      const records = await Promise.all(found.map((event) => events.recordOf(event, { sealed: !personal })))
      let version = await registers.placeVersion(generation)
      const commit = async (join: (unit: Unit) => void, upTo: string) => {
        const unit = events.store.unit()
        join(unit)
        unit.add(registers.writePlace(generation, BigInt(upTo), version))
        await unit.commit()
        version++
      }
      await process(records, generation, true, commit, scannedTo.toString())
      after = scannedTo
    }
  }

  return {
    name,
    get consumer() {
      return consumer
    },
    async state() {
      await ready()
      return (await registers.load(await registers.generation())).kept.state
    },
    health,
    async whenProcessed(position, timeout) {
      await ready()
      if (inline === undefined) await consumer!.whenProcessed(position, timeout)
    },
    async parked() {
      await ready()
      return parkedEvents(events, registers.parkedOwner(await registers.generation()))
    },
    async replayParked() {
      await ready()
      const generation = await registers.generation()
      let replayed = 0
      for (const parked of await parkedEvents(events, registers.parkedOwner(generation))) {
        const [event] = await events.readStored({
          after: BigInt(parked.position) - 1n,
          asOf: BigInt(parked.position),
          limit: 1,
        })
        if (event === undefined) continue
        const record = await events.recordOf(event, { sealed: !personal })
        if (
          await registers.update(generation, (kept, unit) => {
            const next = applied(kept, record, { unit, replaying: false, generation })
            unit.add(unparkWrite(events, registers.parkedOwner(generation), parked))
            return { ...next, parked: next.parked - 1 }
          })
        )
          replayed++
      }
      return replayed
    },
    rebuild,
    stop,
  }

  async function stop(): Promise<void> {
    ending.end()
    await starting
    await consumer?.stop()
    forget()
  }
}

/** Whether an error speaks of the store and not of the event. */
function isStorage(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return (
    code === 'unavailable' ||
    code === 'unknown' ||
    code === 'storage_failed' ||
    code === 'storage_full' ||
    code === 'write_queue_full' ||
    code === 'closed'
  )
}

function isStateConflict(error: unknown, name: string): boolean {
  const refusal = refusalOf(error)
  return refusal?.conflict === 'register' && refusal.name === name
}
