import type { Ambient } from './ambient.ts'
import { Appetite } from './appetite.ts'
import { Chance } from './chance.ts'
import { Chaos } from './chaos.ts'
import { Client } from './client.ts'
import { SimDatabase } from './database.ts'
import { Faults } from './faults.ts'
import { Journal } from './journal.ts'
import { Lives } from './lives.ts'
import { Loop } from './loop.ts'
import { Model } from './model.ts'
import { Network } from './network.ts'
import { type NodeOptions, SimNode } from './node.ts'
import { Operator } from './operator.ts'
import type { StoreLink } from './store-client.ts'
import { Trace } from './trace.ts'

/** A planted bug that lies in the database and not in a package. */
export type DatabaseBug = 'acks-early' | 'keeps-torn' | 'wall-clock'

export interface SeedOptions {
  readonly ambient: Ambient
  readonly traced: boolean
  readonly bug?: DatabaseBug | undefined
}

/** What became of a seed. */
export interface SeedResult {
  readonly seed: number
  readonly hash: string
  readonly events: number
  readonly broken: readonly string[]
  /** How often each fault fired, and what the clients did. */
  readonly counts: Readonly<Record<string, number>>
  readonly lines: readonly string[] | undefined
}

const epochMs = 1_750_000_000_000
const live: ReadonlySet<string> = new Set(['queued', 'running', 'waiting', 'parked'])

/** Lives through one seed: a cluster, its clients and what goes wrong, and then a quiet end in which everything must finish. */
export async function runSeed(seed: number, { ambient, traced, bug }: SeedOptions): Promise<SeedResult> {
  const chance = new Chance(seed)
  ambient.chance = chance.part()
  const trace = new Trace(traced)
  const loop = new Loop(trace)
  const faults = new Faults(chance.part())
  const counts: Record<string, number> = {}
  const count = (what: string) => {
    counts[what] = (counts[what] ?? 0) + 1
  }
  const broken: string[] = []
  const breaks = (rule: string, what: string) => {
    trace.add(loop.now, 'BROKEN', `${rule}: ${what}`)
    if (broken.length < 20) broken.push(`${rule}: ${what} (at ${loop.now.toFixed(0)} ms)`)
  }

  const nodes: SimNode[] = []
  const leaseMs = chance.pick([1_500, 3_000, 6_000])
  const chaos = new Chaos(loop, faults, chance.part(), nodes, leaseMs)
  const latestNow = () =>
    epochMs + loop.now + 1 + Math.max(...nodes.map(({ wallOffsetMs }) => wallOffsetMs), 0) + 30_000
  const lives = new Lives()
  const model = new Model(breaks, latestNow, lives, (run, dropped) => journal.reopened(run, dropped))
  const database: SimDatabase = new SimDatabase({
    clock: () => loop.now + (bug === 'wall-clock' ? chaos.storeWallMs : 0),
    watched(notes) {
      model.look(database, notes)
      if (notes.some(({ kind }) => kind === 'claim')) operator.sawClaim()
    },
    keepsTorn: bug === 'keeps-torn',
  })
  const link: StoreLink = {
    loop,
    faults,
    database,
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
  }
  const frequency: NodeOptions['frequency'] = chance.odds(0.8) ? 'every-step' : { everySteps: 2 }
  const journal = new Journal(model, breaks, frequency === 'every-step')
  const options = {
    loop,
    link,
    journal,
    lives,
    dependency: chaos,
    leaseMs,
    retentionMs: chance.pick([leaseMs, 10 * leaseMs, 1_000 * leaseMs]),
    onUnknown: chance.odds(0.7) ? ('execute' as const) : ('reject' as const),
    frequency,
    onError: (error: unknown) => journal.reported(error),
  }
  const appetite = new Appetite(chance.part())
  const pace = { leaseMs, longRatio: chance.pick([0.1, 0.1, 0.4]), longestLeases: chance.pick([1.5, 1.5, 4]) }
  const size = 1 + chance.below(4)
  for (let i = 0; i < size; i++) nodes.push(new SimNode(`n${i + 1}`, chance.part(), options))
  const network = new Network(loop, faults, chance.part(), journal)
  const clients: Client[] = []
  for (let i = 0; i < 1 + chance.below(3); i++) {
    const client = new Client(`u${i + 1}`, chance.part(), {
      loop,
      network,
      nodes,
      leaseMs,
      appetite,
      pace,
      crashes: () => chaos.crashes,
      count,
      broken: breaks,
    })
    clients.push(client)
  }

  for (const node of nodes) node.start()
  for (const client of clients) void client.live(3 + chance.below(9))
  const operator = new Operator(chance.part(), { loop, faults, nodes, model, journal, appetite, count })
  void chaos.live()
  void operator.live()
  await loop.run(chance.between(5_000, 30_000), () => broken.length > 0 || clients.every(({ done }) => done))
  chaos.quiet()
  trace.add(loop.now, '', 'quiet')
  void signalWaiting(loop, network, nodes, database)
  const unfinished = () => [...database.tables.runs.values()].filter(({ status }) => live.has(status))
  const over = () => clients.every(({ done }) => done) && unfinished().length === 0
  await loop.run(loop.now + 60 * leaseMs + 30_000, () => broken.length > 0 || over())

  if (broken.length === 0) {
    for (const run of unfinished())
      breaks('R2 liveness', `${run.id} is ${run.status} (${run.reason}), owner ${run.owner}`)
    for (const client of clients)
      if (!client.done) breaks('P2 liveness', `${client.user} has requests without an answer`)
    journal.end(database.rows)
  }
  for (const use of ambient.uses.splice(0)) breaks('ambient', use)
  for (const [kind, times] of Object.entries(faults.fired)) counts[`fault ${kind}`] = times
  counts['run'] = model.runs.size
  counts['run_returned'] = lives.returned
  counts['run_recovered'] = [...model.runs.values()].filter(({ record }) => record.recoveries > 0).length
  counts['run_collected'] = [...model.runs.values()].filter(({ collected }) => collected).length
  for (const { record } of model.runs.values())
    counts[`run_${record.status}`] = (counts[`run_${record.status}`] ?? 0) + 1
  for (const node of nodes) node.crash()
  return { seed, hash: trace.hash, events: trace.events, broken, counts, lines: trace.lines }
}

/** In the quiet end, somebody sends the signals that runs still wait for. */
async function signalWaiting(
  loop: Loop,
  network: Network,
  nodes: readonly SimNode[],
  { tables }: SimDatabase,
): Promise<void> {
  for (;;) {
    await loop.sleep(2_000)
    for (const { id, status, wakeAt, principal } of tables.runs.values()) {
      if (status !== 'waiting' || wakeAt !== undefined) continue
      const path = `/requests/${id}/signals/go`
      await network.send(nodes[0]!, { method: 'POST', path, user: principal!, body: '{}' }, 5_000)
    }
  }
}
