import type { Requeue, RunRecord, StepRecord } from '@gw/checkpoint'
import type { KeyRow, Note, SimDatabase } from './database.ts'
import type { Lives } from './lives.ts'
import { isSealed, openBody } from './sealing.ts'

/** What the model remembers of a run, also once it is collected. */
export interface KnownRun {
  record: RunRecord
  steps: readonly StepRecord[]
  outcome: { readonly status: number; readonly body: string } | undefined
  collected: boolean
  /** A person put it back into the queue. */
  reopened: number
}

export interface ModelOptions {
  readonly broken: (rule: string, what: string) => void
  /** The furthest that any node's clock may be ahead of true time, in epoch milliseconds. */
  readonly latestNow: () => number
  readonly lives: Lives
  readonly reopened: (run: string, dropped: Requeue['drop']) => void
  /** Whether payloads must not be readable where they lie. */
  readonly sealed: boolean
}

interface KnownKey {
  row: KeyRow | undefined
  fence: number
}

const ended: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'dead'])
const text = new TextDecoder()

/**
 * The sequential reference: after each thing that the database did, it says whether runs and keys may have changed so. It knows
 * the rules of the specifications and none of the code that keeps them.
 */
export class Model {
  readonly runs = new Map<string, KnownRun>()
  readonly #keys = new Map<string, KnownKey>()
  readonly #byRequest = new Map<string, string>()
  readonly #byKey = new Map<string, string>()
  readonly #broken: (rule: string, what: string) => void
  readonly #latestNow: () => number
  readonly #lives: Lives
  readonly #sealed: boolean
  readonly #reopened: (run: string, dropped: Requeue['drop']) => void

  constructor({ broken, latestNow, lives, reopened, sealed }: ModelOptions) {
    this.#broken = broken
    this.#lives = lives
    this.#reopened = reopened
    this.#latestNow = latestNow
    this.#sealed = sealed
  }

  /** The run that came of a request, if one did. */
  runOfRequest(requestId: string): string | undefined {
    return this.#byRequest.get(requestId)
  }

  /** Compares the database with what it was before the noted writes. */
  look({ tables, keys, clock }: SimDatabase, notes: readonly Note[]): void {
    for (const note of notes) if ('held' in note) this.#heldBy(note)
    for (const [id, record] of tables.runs) {
      const known = this.runs.get(id)
      const { steps, outcome, input } = tables.payloads.get(id)!
      if (known === undefined) {
        if (record.subject !== undefined) this.#hidden(id, 'the request', input.body)
        this.#accepted(record, steps)
        continue
      }
      if (known.record !== record) this.#changed(known, record, notes, tables.nodes, clock())
      if (known.steps.length !== steps.length || known.steps.at(-1) !== steps.at(-1)) this.#kept(known, steps, notes)
      this.#answered(known, outcome)
    }
    for (const known of this.runs.values())
      if (!known.collected && !tables.runs.has(known.record.id)) this.#collected(known, notes)
    for (const [key, row] of keys) this.#key(key, row, notes, clock())
    for (const [key, known] of this.#keys)
      if (known.row !== undefined && !keys.has(key)) this.#keyGone(key, known, notes, clock())
  }

  #heldBy(note: Extract<Note, { held: unknown }>): void {
    const { id, fence } = note.held
    const known = this.runs.get(id)
    if (known === undefined || known.record.fence !== fence)
      this.#broken('P3 fence', `${note.kind} of ${id} under fence ${fence} took effect at ${known?.record.fence}`)
    else if (known.record.status !== 'running')
      this.#broken('P3 fence', `${note.kind} of ${id} took effect while it was ${known.record.status}`)
  }

  #accepted(record: RunRecord, steps: readonly StepRecord[]): void {
    const { id, requestId, links } = record
    this.runs.set(id, { record, steps: [...steps], outcome: undefined, collected: false, reopened: 0 })
    const source = this.runs.get(String(links['forkedFrom']))
    if (source !== undefined) {
      this.#forked(id, steps, source)
      return
    }
    if (requestId !== undefined) this.#byRequest.set(requestId, id)
    const key = (links['key'] as { key: string } | undefined)?.key
    if (key === undefined) return
    const other = this.#byKey.get(key)
    if (other !== undefined) this.#broken('P2 one run a key', `${other} and ${id} have one key`)
    this.#byKey.set(key, id)
  }

  /** A fork goes on from what its source kept, and not from what that took back. */
  #forked(id: string, steps: readonly StepRecord[], source: KnownRun): void {
    const undone = new Set<string>()
    for (const step of source.steps) {
      if (step.state === 'undone') undone.add(nameOf(step))
      else if (step.state === 'kept') undone.delete(nameOf(step))
    }
    const wrong = steps.find((step) => step.state === 'kept' && undone.has(nameOf(step)))
    // One that was tried again since may have taken more back.
    if (wrong !== undefined && source.reopened === 0)
      this.#broken('C2 fork', `${id} believes in ${nameOf(wrong)}, which was taken back`)
  }

  #changed(
    known: KnownRun,
    after: RunRecord,
    notes: readonly Note[],
    nodes: ReadonlyMap<string, number>,
    now: number,
  ): void {
    const before = known.record
    known.record = after
    if (before.status === 'running' && after.status !== 'running') this.#lives.over(before)
    const { id } = after
    if (after.revision <= before.revision)
      this.#broken('P5 revision', `${id} went from revision ${before.revision} to ${after.revision}`)
    if (after.fence < before.fence) this.#broken('P3 fence', `${id} went from fence ${before.fence} to ${after.fence}`)
    const requeue = notes.find((note) => note.kind === 'requeue' && note.id === id)
    const reopened = requeue?.kind === 'requeue'
    if (reopened) {
      known.reopened++
      this.#reopened(id, requeue.requeue.drop)
      if (requeue.requeue.revision !== before.revision)
        this.#broken(
          'P5 update is CAS',
          `${id} was reopened at revision ${before.revision} by who saw ${requeue.requeue.revision}`,
        )
    }
    if (after.status === 'parked') this.#parked(after)
    if (ended.has(before.status) && after.status !== before.status && !reopened)
      this.#broken('P5 completed never re-opens', `${id} went from ${before.status} to ${after.status}`)
    if (after.status === 'completed' && before.cancelRequested)
      this.#broken('C1 cancelled is never completed', `${id} completed after its cancellation`)
    if (before.cancelRequested && !after.cancelRequested && !reopened)
      this.#broken('C1 a cancellation stays', `${id} lost its cancellation`)
    const taken = after.status === 'running' && (before.status !== 'running' || before.owner !== after.owner)
    if (taken || after.fence > before.fence) this.#taken(before, after, notes, nodes, now)
  }

  #parked({ id, reason, cancelRequested }: RunRecord): void {
    if (cancelRequested) this.#broken('C1 cancelled is not parked', `${id} was cancelled and waits for a person`)
    if (reason?.startsWith('the handler diverged')) this.#broken('D1 divergence', `${id}: ${reason}`)
  }

  #taken(
    before: RunRecord,
    after: RunRecord,
    notes: readonly Note[],
    nodes: ReadonlyMap<string, number>,
    now: number,
  ): void {
    const { id } = after
    if (after.fence <= before.fence)
      this.#broken('P3 fence', `${id} was taken by ${after.owner} under the fence ${after.fence} of ${before.owner}`)
    const claim = notes.find((note) => note.kind === 'claim')
    if (claim === undefined) this.#broken('R1 takeover', `${id} went to ${after.owner} without a claim`)
    else if (before.status === 'waiting' && !before.cancelRequested && !(before.wakeAt! <= claim.now))
      this.#broken('S6 sleep', `${id} was woken at ${claim.now}, due ${before.wakeAt}`)
    else if (before.status === 'parked') this.#broken('D1 parked', `${id} was parked and is run`)
    else if (before.status === 'running' && before.owner === after.owner) {
      if (this.#lives.goesOn(before))
        this.#broken(
          'R1 one life',
          `${id} was taken from a handler that goes on in ${before.owner} under ${before.fence}`,
        )
    } else if (before.status === 'running') {
      const until = nodes.get(before.owner ?? '')
      if (until !== undefined && until > now)
        this.#broken('R1 lease', `${id} was taken from ${before.owner}, whose lease runs for ${until - now} ms`)
    }
  }

  #kept(known: KnownRun, steps: readonly StepRecord[], notes: readonly Note[]): void {
    const { id } = known.record
    const reopened = notes.some((note) => note.kind === 'requeue' && note.id === id)
    if (!reopened && known.steps.some((step, i) => steps[i] !== step))
      this.#broken('S1 kept steps stay', `${id} lost or changed what it kept`)
    known.steps = [...steps]
    const names = new Set<string>()
    for (const { name, occurrence, state, value } of steps) {
      const all = `${state} ${name}#${occurrence}`
      if (value !== undefined && value !== '') this.#hidden(id, all, value)
      if (names.has(all) && state !== 'undone') this.#broken('S1 a step is kept once', `${id} has ${all} twice`)
      names.add(all)
    }
  }

  /** What a subject has is not readable in the database; how many rows a statement changed is written by that itself. */
  #hidden(id: string, what: string, value: string | Uint8Array): void {
    if (!this.#sealed || isSealed(value) || (typeof value === 'string' && /^\[[\d,]*\]$/.test(value))) return
    this.#broken('T5 sealed', `${what} of ${id} can be read where it lies`)
  }

  #answered(known: KnownRun, outcome: { readonly status: number; readonly body: Uint8Array } | undefined): void {
    const { id, status } = known.record
    if (outcome === undefined) {
      if (ended.has(status)) this.#broken('O1 outcome', `${id} is ${status} without an outcome`)
      if (known.outcome !== undefined && known.reopened === 0) this.#broken('O2 outcome once', `${id} lost its outcome`)
      known.outcome = undefined
      return
    }
    if (known.outcome !== undefined && known.outcome.status === outcome.status) return
    if (known.record.subject !== undefined) this.#hidden(id, 'the answer', outcome.body)
    const body = this.#sealed && known.record.subject !== undefined ? openBody(outcome.body) : outcome.body
    const answer = { status: outcome.status, body: text.decode(body) }
    if (known.outcome !== undefined) this.#broken('O2 outcome once', `${id} has another outcome`)
    if (!ended.has(status)) this.#broken('O1 outcome', `${id} has an outcome and is ${status}`)
    known.outcome = answer
  }

  #collected(known: KnownRun, notes: readonly Note[]): void {
    const { id, status, settled, expiresAt } = known.record
    known.collected = true
    const due = expiresAt !== undefined && expiresAt <= this.#latestNow()
    if (!ended.has(status) || !settled || !due || !notes.some(({ kind }) => kind === 'collect'))
      this.#broken('G1 a live run is never collected', `${id}, ${status}, due ${expiresAt}, is gone`)
  }

  #key(key: string, row: KeyRow, notes: readonly Note[], now: number): void {
    const known = this.#keys.get(key) ?? { row: undefined, fence: 0 }
    const before = known.row
    if (
      before !== undefined &&
      before.token === row.token &&
      before.response === row.response &&
      before.leaseUntil === row.leaseUntil
    )
      return
    this.#keys.set(key, known)
    known.row = { ...row }
    if (before === undefined || before.token !== row.token) {
      if (row.fence <= known.fence)
        this.#broken('dedup L4 fence', `key ${key.slice(0, 8)} has the fence ${row.fence} again`)
      known.fence = row.fence
      if (before !== undefined) this.#keyTaken(key, before, row, notes, now)
      return
    }
    if (before.response !== undefined && row.response !== before.response)
      this.#broken('P2 one result a key', `key ${key.slice(0, 8)} has another answer`)
    const own = notes.some((note) => 'link' in note && note.link.key === key && note.link.token === row.token)
    const renewed = notes.some((note) => note.kind === 'key_claim' && note.claim.token === row.token)
    if (!own && !renewed) this.#broken('dedup token', `key ${key.slice(0, 8)} was changed by another's claim`)
  }

  #keyTaken(key: string, before: KeyRow, row: KeyRow, notes: readonly Note[], now: number): void {
    const claim = notes.find((note) => note.kind === 'key_claim' && note.claim.token === row.token)
    const replaces = claim?.kind === 'key_claim' ? claim.claim.replaces : undefined
    if (before.response !== undefined) {
      if (before.expiresAt > now) this.#broken('dedup X2 window', `key ${key.slice(0, 8)} was taken in its window`)
    } else if (before.leaseUntil > now)
      this.#broken('dedup L1 lease', `key ${key.slice(0, 8)} was taken while its lease ran`)
    else if (replaces !== before.token && (before.link !== undefined || before.leaseUntil + before.windowMs > now))
      this.#broken('dedup L3 takeover', `key ${key.slice(0, 8)} was taken by a claim that did not know of it`)
  }

  #keyGone(key: string, known: KnownKey, notes: readonly Note[], now: number): void {
    const { row } = known
    known.row = undefined
    const { response, token, link, leaseUntil, windowMs, expiresAt } = row!
    if (notes.some((note) => note.kind === 'key_release' && note.link.key === key && note.link.token === token)) return
    const over = response === undefined ? link === undefined && leaseUntil + windowMs <= now : expiresAt <= now
    if (!over) this.#broken('dedup P2 reaper', `key ${key.slice(0, 8)} is gone before its time`)
  }
}

function nameOf({ name, occurrence }: Pick<StepRecord, 'name' | 'occurrence'>): string {
  return `${name}#${occurrence}`
}
