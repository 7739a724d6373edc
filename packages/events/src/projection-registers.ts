import { refusalOf } from './errors.ts'
import type { EventStore } from './event-store.ts'
import { type ConsumerPlace, consumerPrefix } from './lease.ts'
import { parkedEvents, unparkWrite } from './parked.ts'
import type { ProjectionState } from './projection.ts'
import { registerOf } from './store.ts'
import type { Unit, Write } from './unit.ts'

/** Removes a register at a version. */
export function deleteWrite(events: EventStore, name: string, version: number): Write {
  return events.store.setRegister(name, undefined, version)
}

/** What a projection keeps in the log's registers: which build is read, and state and place of each build. */
export class ProjectionRegisters<State> {
  readonly #events: EventStore
  readonly #name: string
  readonly #initial: ProjectionState<State>

  constructor(events: EventStore, name: string, initial: ProjectionState<State>) {
    this.#events = events
    this.#name = name
    this.#initial = initial
  }

  consumerName(generation: number): string {
    return `projection.${this.#name}.${generation}`
  }

  placeName(generation: number): string {
    return `${consumerPrefix}${this.consumerName(generation)}`
  }

  stateName(generation: number): string {
    return `projection-state/${this.#name}/${generation}`
  }

  parkedOwner(generation: number): string {
    return `${this.#name}.${generation}`
  }

  async generation(): Promise<number> {
    await this.#events.start()
    return Number((await registerOf(this.#events.store, `projection/${this.#name}`))?.value ?? 1)
  }

  /** From generation 1 the register may be absent. */
  swap(from: number, to: number): Write {
    return this.#events.store.setRegister(`projection/${this.#name}`, String(to), from - 1)
  }

  async load(generation: number): Promise<{ readonly kept: ProjectionState<State>; readonly version: number }> {
    const register = await registerOf(this.#events.store, this.stateName(generation))
    if (register === undefined) return { kept: this.#initial, version: 0 }
    return { kept: JSON.parse(register.value) as ProjectionState<State>, version: register.version }
  }

  write(generation: number, kept: ProjectionState<State>, version: number): Write {
    return this.#events.store.setRegister(this.stateName(generation), JSON.stringify(kept), version)
  }

  async place(generation: number): Promise<{ readonly position: bigint; readonly version: number }> {
    const register = await registerOf(this.#events.store, this.placeName(generation))
    if (register === undefined) return { position: 0n, version: 0 }
    return { position: BigInt((JSON.parse(register.value) as ConsumerPlace).position), version: register.version }
  }

  async position(generation: number): Promise<bigint> {
    return (await this.place(generation)).position
  }

  async placeVersion(generation: number): Promise<number> {
    return (await this.place(generation)).version
  }

  writePlace(generation: number, position: bigint, version: number): Write {
    const place: ConsumerPlace = { position: position.toString() }
    return this.#events.store.setRegister(this.placeName(generation), JSON.stringify(place), version)
  }

  /** Removes what an abandoned rebuild left. */
  async clear(generation: number): Promise<void> {
    const unit = this.#events.store.unit()
    const { version } = await this.load(generation)
    const { version: placeVersion } = await this.place(generation)
    const owner = this.parkedOwner(generation)
    const parked = await parkedEvents(this.#events, owner)
    for (const each of parked) unit.add(unparkWrite(this.#events, owner, each))
    if (version > 0) unit.add(deleteWrite(this.#events, this.stateName(generation), version))
    if (placeVersion > 0) unit.add(deleteWrite(this.#events, this.placeName(generation), placeVersion))
    await unit.commit()
    if (parked.length === 1_000) await this.clear(generation)
  }

  /** Changes the state beside the consumer; again when it went on meanwhile. False when `change` throws. */
  async update(
    generation: number,
    change: (kept: ProjectionState<State>, unit: Unit) => ProjectionState<State>,
  ): Promise<boolean> {
    for (;;) {
      const { kept, version } = await this.load(generation)
      const unit = this.#events.store.unit()
      try {
        unit.add(this.write(generation, change(kept, unit), version))
      } catch {
        return false
      }
      try {
        await unit.commit()
        return true
      } catch (error) {
        if (refusalOf(error)?.name !== this.stateName(generation)) return false
      }
    }
  }
}
