import { bytesOf, hexOf } from './bytes.ts'
import { checkName } from './consumer.ts'
import { refusalOf, refuseUnknown, requireWhole } from './errors.ts'
import type { EventStore } from './event-store.ts'
import type { EventRecord } from './query.ts'
import { sha256 } from './sha256.ts'
import { registerOf } from './store.ts'

/** How a stream's state is folded from its events. */
export interface AggregateOptions<State> {
  readonly name: string
  readonly initial: State
  readonly apply: (state: State, event: EventRecord) => State
  /** Changes whenever `apply` means something else; its own text is taken into account by itself. */
  readonly revision?: string
  /** After how many events a new snapshot is stored: 100. */
  readonly snapshotEvery?: number
}

/** A stream's state and the version to name when appending to it. */
export interface Loaded<State> {
  readonly state: State
  /** -1 for a stream without events. */
  readonly version: number
  /** How many events were folded on top of the snapshot. */
  readonly replayed: number
}

interface Snapshot<State> {
  readonly version: number
  readonly position: string
  readonly reducer: string
  readonly state: State
}

/** Answers a function that gives a stream's state, from a snapshot where there is one that this very reducer made. */
export function aggregate<State>(
  events: EventStore,
  options: AggregateOptions<State>,
): (stream: string) => Promise<Loaded<State>> {
  const { name, initial, apply, revision = '', snapshotEvery = 100, ...unknown } = options
  refuseUnknown(unknown)
  checkName(name)
  requireWhole('snapshotEvery', snapshotEvery)
  const reducer = hexOf(sha256(bytesOf(JSON.stringify([revision, apply.toString(), initial]))))

  return async function load(stream) {
    await events.start()
    const place = `snapshot/${name}/${hexOf(sha256(bytesOf(stream)))}`
    const register = await registerOf(events.store, place)
    const found = register === undefined ? undefined : (JSON.parse(register.value) as Snapshot<State>)
    const usable = found?.reducer === reducer ? found : undefined
    let state = usable?.state ?? initial
    let version = usable?.version ?? -1
    let after = BigInt(usable?.position ?? 0)
    let replayed = 0
    // Plain text must not lie where the loss of a key does not reach it.
    let personal = false
    const { position: asOf } = await events.store.head()
    for (;;) {
      const page = await events.readStored({ stream, after, asOf, limit: 1_000 })
      for (const event of page) {
        state = apply(state, await events.recordOf(event))
        personal ||= events.isPersonal(event.type)
        version = event.version
        after = event.position
        replayed++
      }
      if (page.length < 1_000) break
    }
    if (replayed >= snapshotEvery && !personal) {
      const snapshot: Snapshot<State> = { version, position: after.toString(), reducer, state }
      const unit = events.store.unit()
      unit.add(events.store.setRegister(place, JSON.stringify(snapshot), register?.version ?? 0))
      await unit.commit().catch((error: unknown) => {
        if (refusalOf(error)?.conflict !== 'register') throw error
      })
    }
    return { state, version, replayed }
  }
}
