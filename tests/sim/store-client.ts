import type { CheckpointStore, Durability, Held, Unit, Write } from '@gw/checkpoint'
import type { DedupStore } from '@gw/dedup'
import type { Note, Noted, SimDatabase } from './database.ts'
import type { Faults } from './faults.ts'
import type { Host, Loop } from './loop.ts'

/**
 * What becomes of a write: its answer is `lost`, its process ends once it is applied (`crash_unheard`), or before it is made
 * (`crash_before`); or nothing is wrong.
 */
export type Fate = 'lost' | 'crash_unheard' | 'crash_before'

/** Decides on each write in turn. */
export type Script = (label: string) => Fate | undefined

/** How the way between nodes and their database is at the moment. */
export interface StoreLink {
  readonly loop: Loop
  readonly faults: Faults
  readonly database: SimDatabase
  /** Until when the server is down. */
  readonly downUntil: number
  readonly deadlineMs: number
  readonly leaseMs: number
  /** Takes the server down for a while. */
  crashStore(): void
  /** Ends a node's process. */
  crashNode(host: Host): void
  isCut(host: Host): 'both' | 'replies' | undefined
  isSilent(host: Host): boolean
  /** A write under a fence did not get its answer: the life of the run behind it may end. */
  disturbed(held: Held): void
  /** For a planted bug: acknowledges before it has written. */
  readonly acksEarly: boolean
  readonly script: Script | undefined
}

class StoreError extends Error {
  readonly code: string
  readonly reason: string | undefined

  constructor(code: string, reason?: string) {
    super(reason === undefined ? `The store answered ${code}` : `The unit was refused: ${reason}`)
    this.code = code
    this.reason = reason
  }
}

const never = new Promise<never>(() => {})

/** A node's side of the database: both stores at their ports, behind a link that loses, delays and cuts. */
export class StoreClient {
  readonly #host: Host
  readonly #link: StoreLink

  constructor(host: Host, link: StoreLink) {
    this.#host = host
    this.#link = link
  }

  checkpointStore(): CheckpointStore {
    const { database } = this.#link
    const { runStore } = database
    const read = <Value>(label: string, work: () => Promise<Value>) => this.#call(label, work)
    return {
      durable: true,
      shared: true,
      transactional: true,
      database,
      open: () => read('open', () => runStore.open()),
      unit: () => this.#unit(),
      accept: (run, input, past) => noted(runStore.accept(run, input, past), { kind: 'accept', run }),
      keep: (held, steps, statements = []) =>
        statements.length > 0
          ? database.keepWithRows(held, steps, statements)
          : noted(runStore.keep(held, steps), { kind: 'keep', held }),
      patch: (held, patch) => noted(runStore.patch(held, patch), { kind: 'patch', held }),
      suspend: (held, suspension) => noted(runStore.suspend(held, suspension), { kind: 'suspend', held }),
      finish: (held, ending) => noted(runStore.finish(held, ending), { kind: 'finish', held }),
      beat: (owner, leaseMs) => noted(runStore.beat(owner, leaseMs), { kind: 'beat' }),
      leave: (owner) => noted(runStore.leave(owner), { kind: 'leave' }),
      claim: (claim) => noted(runStore.claim(claim), { kind: 'claim', owner: claim.owner, now: claim.now }),
      cancel: (id, at) => noted(runStore.cancel(id, at), { kind: 'cancel', id }),
      signal: (id, name, value, at) => noted(runStore.signal(id, name, value, at), { kind: 'signal', id }),
      requeue: (requeue) => noted(runStore.requeue(requeue), { kind: 'requeue', id: requeue.id, requeue }),
      settle: (id) => noted(runStore.settle(id), { kind: 'settle' }),
      collect: (now, limit) => noted(runStore.collect(now, limit), { kind: 'collect', now }),
      remove: (runs) => noted(runStore.remove(runs), { kind: 'other' }),
      get: (id) => read(`get ${short(id)}`, () => runStore.get(id)),
      input: (id) => read(`input ${short(id)}`, () => runStore.input(id)),
      steps: (id) => read(`steps ${short(id)}`, () => runStore.steps(id)),
      outcome: (id) => read(`outcome ${short(id)}`, () => runStore.outcome(id)),
      list: (query) => read('list', () => runStore.list(query)),
      counts: () => read('counts', () => runStore.counts()),
      held: (owner) => read('held', () => runStore.held(owner)),
      unsettled: (limit) => read('unsettled', () => runStore.unsettled(limit)),
      listen: (listener) => runStore.listen!((news) => this.#tell(() => listener(news))),
    }
  }

  dedupStore(): DedupStore {
    const { database } = this.#link
    const { keyStore } = database
    return {
      durable: true,
      shared: true,
      joinable: true,
      database,
      open: () => this.#call('open', () => keyStore.open()),
      secret: async (given) => given!,
      tryClaim: (claim) =>
        this.#call(
          'key_claim',
          async () => {
            const answer = keyStore.tryClaim(claim)
            database.noteKeys({ kind: 'key_claim', claim })
            return answer
          },
          true,
        ),
      get: (key) => this.#call('key_get', () => keyStore.get(key)),
      unit: () => this.#unit(),
      claim: (claim) => noted(keyStore.claim(claim), { kind: 'key_claim', claim }),
      complete: (link, response, windowMs) =>
        noted(keyStore.complete(link, response, windowMs), { kind: 'key_complete', link }),
      extend: (link, leaseMs) => noted(keyStore.extend(link, leaseMs), { kind: 'key_extend', link }),
      attach: (link, run) => noted(keyStore.attach(link, run), { kind: 'key_extend', link }),
      release: (link) => noted(keyStore.release(link), { kind: 'key_release', link }),
      erase: (principalHash) => this.#call('erase', () => keyStore.erase(principalHash)),
      sweep: (limit) =>
        this.#call('key_sweep', async () => {
          const swept = keyStore.sweep(limit)
          database.noteKeys({ kind: 'other' })
          return swept
        }),
      watch: (listener) => keyStore.watch!({ settled: (key) => this.#tell(() => listener.settled?.(key)) }),
    }
  }

  #unit(): Unit {
    const writes: Noted[] = []
    const heard: (((result: unknown) => void) | undefined)[] = []
    return {
      add(write, onCommitted) {
        writes.push(write as Noted)
        heard.push(onCommitted)
      },
      commit: async (): Promise<Durability> => {
        const { database, faults, acksEarly } = this.#link
        const label = writes.map(({ note }) => labelOf(note)).join(' + ')
        const work = (torn: number | undefined): readonly unknown[] => {
          const applied = database.apply(writes, torn)
          if ('results' in applied) return applied.results
          if ('torn' in applied) throw new StoreError('unknown')
          if ('failed' in applied) throw applied.failed
          throw new StoreError('refused', applied.refused)
        }
        const tears = (): number | undefined => {
          if (!faults.happens('torn_commit', 0.01)) return undefined
          this.#link.crashStore()
          return writes.length - 1
        }
        if (acksEarly && writes.some(({ note }) => note.kind === 'finish')) {
          void this.#call(label, async () => work(undefined), true).catch(() => {})
          return 'fsync'
        }
        const held = writes.flatMap(({ note }) => ('held' in note ? [note.held] : []))
        const results = await this.#call(label, async () => work(tears()), true, isBeat(writes)).catch((error) => {
          for (const each of held) this.#link.disturbed(each)
          throw error
        })
        for (const [i, result] of results.entries()) heard[i]?.(result)
        return 'fsync'
      },
    }
  }

  /** News reach a node a little later, or never. */
  #tell(work: () => void): void {
    const { loop, faults } = this.#link
    if (!this.#host.alive || faults.happens('news_lost', 0.2)) return
    if (this.#link.isCut(this.#host) !== undefined) return
    loop.after(this.#host.chance.between(0.2, 5), this.#host, 'news', work)
  }

  /** One call to the server: there, applied at one moment, and back; or what the faults make of it. */
  #call<Value>(label: string, work: () => Promise<Value>, writes = false, beat = false): Promise<Value> {
    const host = this.#host
    const { loop, faults, deadlineMs, leaseMs } = this.#link
    if (!host.alive) return never
    const fate = writes ? this.#link.script?.(label) : undefined
    if (fate === 'crash_before' || faults.happens('crash_before_call', 0.002)) {
      this.#link.crashNode(host)
      return never
    }
    return new Promise((resolve, reject) => {
      const { chance } = host
      const unknown = (afterMs: number) =>
        loop.after(afterMs, host, `${label} unknown`, () => reject(new StoreError('unknown')))
      const apply = (afterMs: number, replies: boolean) => {
        loop.after(afterMs, undefined, `store ${label}`, () => {
          if (loop.now < this.#link.downUntil) {
            if (replies) unknown(chance.between(0.2, 3))
            return
          }
          work().then(
            (value) => {
              if (fate === 'crash_unheard') this.#link.crashNode(host)
              if (replies && this.#link.isCut(host) === undefined)
                loop.after(chance.between(0.2, 3), host, `${label} ok`, () => resolve(value))
              else if (replies) unknown(deadlineMs)
            },
            (error: unknown) => {
              const code = (error as { code?: string; reason?: string }).reason ?? (error as { code?: string }).code
              if (replies) loop.after(chance.between(0.2, 3), host, `${label} ${code}`, () => reject(error))
            },
          )
        })
      }
      const cut = this.#link.isCut(host)
      if (fate === 'lost') {
        apply(1, false)
        unknown(deadlineMs)
      } else if (loop.now < this.#link.downUntil) {
        loop.after(chance.between(0.2, 20), host, `${label} unavailable`, () => reject(new StoreError('unavailable')))
      } else if (cut !== undefined) {
        if (cut === 'replies') apply(chance.between(0.2, 3), false)
        unknown(deadlineMs)
      } else if (faults.happens('refused', 0.01)) {
        loop.after(chance.between(0.2, 20), host, `${label} unavailable`, () => reject(new StoreError('unavailable')))
      } else if ((beat && this.#link.isSilent(host)) || faults.happens('not_sent', 0.01)) unknown(deadlineMs)
      else if (faults.happens('reply_lost', writes ? 0.03 : 0.01)) {
        apply(chance.between(0.2, 3), false)
        unknown(chance.odds(0.5) ? chance.between(4, 40) : deadlineMs)
      } else if (writes && faults.happens('late_commit', 0.02)) {
        apply(deadlineMs + chance.between(1, 2 * leaseMs), false)
        unknown(deadlineMs)
      } else if (faults.happens('slow', 0.03)) apply(chance.between(10, deadlineMs * 0.9), true)
      else apply(chance.between(0.2, 3), true)
      if (faults.happens('crash_after_call', 0.002)) this.#link.crashNode(host)
    })
  }
}

function noted(write: Write, note: Note): Noted {
  return { ...write, note }
}

function isBeat(writes: readonly Noted[]): boolean {
  return writes.some(({ note }) => note.kind === 'beat')
}

/** The end of a run's id, which tells it from others of its seed. */
export function short(id: string): string {
  return id.slice(-6)
}

function labelOf(note: Note): string {
  if ('held' in note) return `${note.kind} ${short(note.held.id)}@${note.held.fence}`
  if ('run' in note) return `accept ${short(note.run.id)} ${note.run.status}`
  if ('id' in note) return `${note.kind} ${short(note.id)}`
  if (note.kind === 'key_claim') return `key_claim ${note.claim.key.slice(0, 6)}`
  return 'link' in note ? `${note.kind} ${note.link.key.slice(0, 6)}` : note.kind
}
