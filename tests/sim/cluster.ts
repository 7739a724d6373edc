import type { Ambient } from './ambient.ts'
import { Appetite } from './appetite.ts'
import type { Chance } from './chance.ts'
import { Chaos } from './chaos.ts'
import { Client } from './client.ts'
import { SimDatabase } from './database.ts'
import { Faults } from './faults.ts'
import { Journal } from './journal.ts'
import { Lives } from './lives.ts'
import { Loop } from './loop.ts'
import { Model, type ModelOptions } from './model.ts'
import { Network } from './network.ts'
import { type NodeOptions, SimNode } from './node.ts'
import { Operator } from './operator.ts'
import type { Pace } from './program.ts'
import type { Script, StoreLink } from './store-client.ts'
import { Trace } from './trace.ts'

/** A planted bug that lies in the database and not in a package. */
export type DatabaseBug = 'acks-early' | 'keeps-torn' | 'wall-clock'

export interface ClusterOptions {
  readonly ambient: Ambient
  readonly traced: boolean
  readonly bug?: DatabaseBug | undefined
  readonly chance: Chance
  readonly leaseMs: number
  readonly nodes: number
  readonly retentionMs: number
  readonly onUnknown: NodeOptions['onUnknown']
  readonly frequency: NodeOptions['frequency']
  /** Whether keys lie in a store of their own, which no unit can share with the runs. */
  readonly apart: boolean
  /** Whether payloads are sealed with their subjects' keys. */
  readonly sealed: boolean
  readonly pace: Omit<Pace, 'leaseMs'>
  /** Decides what becomes of each write; without it faults come by chance. */
  readonly script?: Script
}

const epochMs = 1_750_000_000_000
const live: ReadonlySet<string> = new Set(['queued', 'running', 'waiting', 'parked'])

/** Nodes, their database, the network, and those who watch whether what happens is allowed. */
export class Cluster {
  readonly chance: Chance
  readonly trace: Trace
  readonly loop: Loop
  readonly faults: Faults
  readonly chaos: Chaos
  readonly appetite: Appetite
  readonly lives = new Lives()
  readonly model: Model
  readonly journal: Journal
  readonly database: SimDatabase
  readonly network: Network
  readonly nodes: SimNode[] = []
  readonly clients: Client[] = []
  readonly operator: Operator
  readonly counts: Record<string, number> = {}
  readonly broken: string[] = []
  readonly #leaseMs: number
  readonly #pace: Pace

  constructor({ ambient, traced, bug, chance, script, ...options }: ClusterOptions) {
    const { leaseMs } = options
    this.chance = chance
    ambient.chance = chance.part()
    this.#leaseMs = leaseMs
    this.#pace = { leaseMs, ...options.pace }
    this.trace = new Trace(traced)
    this.loop = new Loop(this.trace)
    this.faults = new Faults(chance.part())
    if (script !== undefined) this.faults.quiet = true
    this.chaos = new Chaos(this.loop, this.faults, chance.part(), this.nodes, leaseMs)
    this.appetite = new Appetite(chance.part())
    const { loop, faults, chaos, appetite, nodes, lives } = this
    const latestNow = () =>
      epochMs + loop.now + 1 + Math.max(...nodes.map(({ wallOffsetMs }) => wallOffsetMs), 0) + 30_000
    const reopened: ModelOptions['reopened'] = (run, dropped) => this.journal.reopened(run, dropped)
    this.model = new Model({ broken: this.breaks, latestNow, lives, reopened, sealed: options.sealed })
    this.journal = new Journal(this.model, this.breaks, options.frequency === 'every-step')
    const { model, journal } = this
    this.operator = new Operator(chance.part(), { loop, faults, nodes, model, journal, appetite, count: this.count })
    this.database = new SimDatabase({
      clock: () => loop.now + (bug === 'wall-clock' ? chaos.storeWallMs : 0),
      watched: (notes) => {
        model.look(this.database, notes)
        if (notes.some(({ kind }) => kind === 'claim')) this.operator.sawClaim()
      },
      keepsTorn: bug === 'keeps-torn',
    })
    const link: StoreLink = {
      loop,
      faults,
      database: this.database,
      get downUntil() {
        return chaos.storeDownUntil
      },
      deadlineMs: leaseMs / 3,
      leaseMs,
      crashStore: () => chaos.crashStore(),
      crashNode: (host) => chaos.crashNode(host),
      isCut: (host) => chaos.isCut(host),
      isSilent: (host) => chaos.isSilent(host),
      disturbed: (held) => lives.disturb(held),
      acksEarly: bug === 'acks-early',
      script,
    }
    const { retentionMs, onUnknown, frequency, sealed, apart } = options
    for (let i = 0; i < options.nodes; i++)
      nodes.push(
        new SimNode(`n${i + 1}`, chance.part(), {
          loop,
          link,
          journal,
          lives,
          dependency: chaos,
          leaseMs,
          retentionMs,
          onUnknown,
          frequency,
          sealed,
          apart,
          onError: (error) => journal.reported(error),
        }),
      )
    this.network = new Network(loop, faults, chance.part(), journal)
  }

  readonly count = (what: string): void => {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }

  readonly breaks = (rule: string, what: string): void => {
    this.trace.add(this.loop.now, 'BROKEN', `${rule}: ${what}`)
    if (this.broken.length < 20) this.broken.push(`${rule}: ${what} (at ${this.loop.now.toFixed(0)} ms)`)
  }

  start(): void {
    for (const node of this.nodes) node.start()
  }

  addClient(): Client {
    const { loop, network, nodes, appetite, chaos, count } = this
    const client = new Client(`u${this.clients.length + 1}`, this.chance.part(), {
      loop,
      network,
      nodes,
      leaseMs: this.#leaseMs,
      appetite,
      pace: this.#pace,
      crashes: () => chaos.crashes,
      count,
      broken: this.breaks,
    })
    this.clients.push(client)
    return client
  }

  /** Ends what goes wrong, and waits until everything is finished or has had its time; then it says what is not as it should be. */
  async settle(ambient: Ambient): Promise<void> {
    const { loop, broken, chaos, clients, journal } = this
    chaos.quiet()
    this.trace.add(loop.now, '', 'quiet')
    void this.#signalWaiting()
    const over = () => clients.every(({ done }) => done) && this.#unfinished().length === 0
    await loop.run(loop.now + 60 * this.#leaseMs + 30_000, () => broken.length > 0 || over())
    if (broken.length === 0) {
      for (const run of this.#unfinished())
        this.breaks('R2 liveness', `${run.id} is ${run.status} (${run.reason}), owner ${run.owner}`)
      for (const client of clients)
        if (!client.done) this.breaks('P2 liveness', `${client.user} has requests without an answer`)
      this.#keysHeard()
      journal.end(this.database.rows)
    }
    for (const use of ambient.uses.splice(0)) this.breaks('ambient', use)
    for (const node of this.nodes) node.crash()
  }

  /** Whoever counts as settled has told its key. */
  #keysHeard(): void {
    const { tables, keys } = this.database
    for (const { id, settled, status, links } of tables.runs.values()) {
      const link = links['key'] as { readonly key: string; readonly token: string } | undefined
      if (live.has(status) || !settled || link === undefined) continue
      const row = keys.get(link.key)
      if (row?.token === link.token && row.response === undefined)
        this.breaks('O4 keys are driven from the outcome', `${id} is ${status} and settled, and its key has no answer`)
    }
  }

  #unfinished() {
    return [...this.database.tables.runs.values()].filter(({ status }) => live.has(status))
  }

  /** In the quiet end, somebody sends the signals that runs still wait for. */
  async #signalWaiting(): Promise<void> {
    for (;;) {
      await this.loop.sleep(2_000)
      for (const { id, status, wakeAt, principal } of this.database.tables.runs.values()) {
        if (status !== 'waiting' || wakeAt !== undefined) continue
        const path = `/requests/${id}/signals/go`
        await this.network.send(this.nodes[0]!, { method: 'POST', path, user: principal!, body: '{}' }, 5_000)
      }
    }
  }
}
