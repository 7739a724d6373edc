import type { Hono } from 'hono'
import { CheckpointManager, type CheckpointManagerOptions, type CheckpointStore, type Unit } from './index.ts'
import { memoryCheckpointStore } from './stores/memory.ts'
import { runtimeTimers, type Timers } from './timers.ts'

/** How a process dies at a write: before it is made, after it, or after it without having heard of it. */
export type Death = 'before' | 'after' | 'reply lost'

/** A life of the application under test, as `crashEverywhere` starts it. */
export interface Life {
  /** Give it to `durable()`. */
  readonly checkpoints: CheckpointManager
  /**
   * Wrap each effect of your handler: `effect('charge', () => charge())`. It is counted, and nothing of a process that has died
   * happens any more.
   */
  effect<Value>(name: string, work: () => Value | Promise<Value>): Promise<Value>
}

/** What is tried. */
export interface CrashOptions {
  /** Makes the app with its durable routes; called once for each life. */
  readonly app: (life: Life) => Hono
  /** Sends the request; called once for each trial, in its first life. */
  readonly request: (app: Hono) => Response | Promise<Response>
  readonly manager?: Omit<CheckpointManagerOptions, 'store'>
  /** How long a run may take after its last crash: 10 s. */
  readonly timeoutMs?: number
}

/** What one crash led to. */
export interface Trial {
  /** Which durable write the process died at, from 1, and how. */
  readonly write: number
  readonly death: Death
  /** Whether the request was accepted: what died before that may be gone, and its client was told nothing. */
  readonly accepted: boolean
  /** How often each effect happened, over all lives. */
  readonly effects: Readonly<Record<string, number>>
  readonly status: number | undefined
  readonly body: string | undefined
}

const deaths: readonly Death[] = ['before', 'after', 'reply lost']

/**
 * Runs a request again and again, each time killing its process at another durable write, and lets a second life finish it. Ends
 * when a request comes through without a crash. Assert on the trials: every accepted one has an answer, and no effect happened more
 * often than you can bear.
 */
export async function crashEverywhere(options: CrashOptions): Promise<Trial[]> {
  const trials: Trial[] = []
  for (const death of deaths) {
    for (let write = 1; ; write++) {
      const trial = await crashAt(options, write, death)
      if (trial === undefined) break
      trials.push(trial)
    }
  }
  return trials
}

async function crashAt({ app, request, manager = {}, timeoutMs = 10_000 }: CrashOptions, write: number, death: Death) {
  const store = memoryCheckpointStore()
  const effects: Record<string, number> = {}
  let writes = 0
  // What starting writes is no part of the request.
  let armed = false
  let died = () => {}
  const dead = new Promise<void>((resolve) => {
    died = resolve
  })
  let alive = true
  const timers = mortalTimers(manager.timers ?? runtimeTimers)
  const die = () => {
    alive = false
    timers.end()
    died()
    return new Promise<never>(() => {})
  }
  const dying = dyingStore(store, async (commit) => {
    if (!alive) return new Promise<never>(() => {})
    if (!armed) return commit()
    writes++
    if (writes < write) return commit()
    if (death === 'before') return die()
    const level = await commit()
    return death === 'after' ? dieAfter(level, die) : die()
  })
  const first = lifeOn(dying, { ...manager, timers }, effects, () => alive)
  await first.checkpoints.start()
  armed = true
  const served = app(first)
  first.checkpoints.serve(served)
  const answered = Promise.resolve(request(served)).then(() => 'answered' as const)
  const ended = await Promise.race([answered, dead.then(() => 'dead' as const)])
  if (ended === 'answered') {
    await first.checkpoints.stop({ gracefulShutdownMs: 0 })
    return undefined
  }
  // The last write's caller may go on for a turn before the process is gone.
  await new Promise((resolve) => setTimeout(resolve, 0))
  const second = lifeOn(store, manager, effects, () => true)
  const again = app(second)
  second.checkpoints.serve(again)
  await second.checkpoints.start()
  const [run] = await store.list({ limit: 1 })
  const outcome = run === undefined ? undefined : await second.checkpoints.wait(run.id, { timeoutMs })
  await second.checkpoints.stop({ gracefulShutdownMs: 0 })
  return {
    write,
    death,
    accepted: run !== undefined,
    effects,
    status: outcome?.status,
    body: outcome === undefined ? undefined : new TextDecoder().decode(outcome.body),
  } satisfies Trial
}

/** The caller hears of its write, and the process dies at the next thing it does. */
function dieAfter<Level>(level: Level, die: () => Promise<never>): Level {
  void die()
  return level
}

/** Timers that end with their process: what a dead life still waited for does not keep the living one running. */
function mortalTimers(timers: Timers): Timers & { end(): void } {
  const armed = new Set<unknown>()
  let alive = true
  return {
    setTimeout(work, afterMs) {
      if (!alive) return undefined
      const timer = timers.setTimeout(() => {
        armed.delete(timer)
        work()
      }, afterMs)
      armed.add(timer)
      return timer
    },
    clearTimeout(timer) {
      armed.delete(timer)
      timers.clearTimeout(timer)
    },
    monotonic: () => timers.monotonic(),
    end() {
      alive = false
      for (const timer of armed) timers.clearTimeout(timer)
      armed.clear()
    },
  }
}

function dyingStore(
  store: CheckpointStore,
  around: (commit: () => ReturnType<Unit['commit']>) => ReturnType<Unit['commit']>,
): CheckpointStore {
  return {
    ...store,
    unit() {
      const unit = store.unit()
      return { add: unit.add.bind(unit), commit: () => around(() => unit.commit()) }
    },
  }
}

function lifeOn(
  store: CheckpointStore,
  manager: Omit<CheckpointManagerOptions, 'store'>,
  effects: Record<string, number>,
  alive: () => boolean,
): Life {
  return {
    checkpoints: new CheckpointManager({ ...manager, store }),
    async effect(name, work) {
      if (!alive()) return new Promise<never>(() => {})
      effects[name] = (effects[name] ?? 0) + 1
      return work()
    },
  }
}
