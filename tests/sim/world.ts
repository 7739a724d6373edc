import type { Ambient } from './ambient.ts'
import { Chance } from './chance.ts'
import { Cluster, type DatabaseBug } from './cluster.ts'

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

/** Lives through one seed: a cluster, its clients and what goes wrong, and then a quiet end in which everything must finish. */
export async function runSeed(seed: number, { ambient, traced, bug }: SeedOptions): Promise<SeedResult> {
  const chance = new Chance(seed)
  const leaseMs = chance.pick([1_500, 3_000, 6_000])
  const sealed = chance.odds(0.25)
  const apart = chance.odds(0.3)
  const cluster = new Cluster({
    ambient,
    traced,
    bug,
    chance,
    leaseMs,
    nodes: 1 + chance.below(4),
    retentionMs: chance.pick([leaseMs, 10 * leaseMs, 1_000 * leaseMs]),
    onUnknown: chance.odds(0.7) ? 'execute' : 'reject',
    frequency: chance.odds(0.8) ? 'every-step' : { everySteps: 2 },
    sealed,
    apart,
    pace: { longRatio: chance.pick([0.1, 0.1, 0.4]), longestLeases: chance.pick([1.5, 1.5, 4]) },
  })
  const { loop, faults, clients, broken, counts, model, trace } = cluster
  for (let i = 0; i < 1 + chance.below(3); i++) cluster.addClient()
  cluster.start()
  for (const client of clients) void client.live(3 + chance.below(9))
  void cluster.chaos.live()
  void cluster.operator.live()
  await loop.run(chance.between(5_000, 30_000), () => broken.length > 0 || clients.every(({ done }) => done))
  await cluster.settle(ambient)

  for (const [kind, times] of Object.entries(faults.fired)) counts[`fault ${kind}`] = times
  counts['seed'] = 1
  if (sealed) counts['seed_sealed'] = 1
  if (apart) counts['seed_apart'] = 1
  counts['run'] = model.runs.size
  counts['run_returned'] = cluster.lives.returned
  counts['run_recovered'] = [...model.runs.values()].filter(({ record }) => record.recoveries > 0).length
  counts['run_collected'] = [...model.runs.values()].filter(({ collected }) => collected).length
  for (const { record } of model.runs.values()) cluster.count(`run_${record.status}`)
  return { seed, hash: trace.hash, events: trace.events, broken, counts, lines: trace.lines }
}
