import type { Ambient } from './ambient.ts'
import { Chance } from './chance.ts'
import type { Client } from './client.ts'
import { Cluster, type DatabaseBug } from './cluster.ts'
import type { Fate } from './store-client.ts'

/** What a short history is made of. */
export const operations = ['claim', 'complete', 'fail', 'append', 'cas', 'gc'] as const
export type Operation = (typeof operations)[number]

/** What may become of one write: each is tried at each write of each history. */
export const fates = ['lost', 'crash_unheard', 'crash_before'] as const satisfies readonly Fate[]

export interface Case {
  readonly history: readonly Operation[]
  /** The write, from 1, that `fate` befalls. */
  readonly at: number
  readonly fate: Fate
}

export interface CaseResult {
  /** Whether there were so many writes. */
  readonly fired: boolean
  readonly broken: readonly string[]
  readonly lines: readonly string[] | undefined
}

export interface CaseOptions {
  readonly ambient: Ambient
  readonly traced: boolean
  readonly nodes: number
  readonly bug?: DatabaseBug | undefined
}

const leaseMs = 1_500

/** Every history of up to `length` operations. */
export function historiesOf(length: number): Operation[][] {
  const all: Operation[][] = [[]]
  for (let i = 0; i < all.length; i++)
    if (all[i]!.length < length) for (const operation of operations) all.push([...all[i]!, operation])
  return all.slice(1)
}

/** Lives through one history with one fault at one write; then everything must be finished, and nothing that was answered lost. */
export async function runCase(
  { history, at, fate }: Case,
  { ambient, traced, nodes, bug }: CaseOptions,
): Promise<CaseResult> {
  let writes = 0
  const cluster = new Cluster({
    ambient,
    traced,
    bug,
    chance: new Chance(1),
    leaseMs,
    nodes,
    retentionMs: 2 * leaseMs,
    onUnknown: 'execute',
    frequency: 'every-step',
    sealed: false,
    apart: false,
    pace: { longRatio: 0, longestLeases: 1 },
    script: (label) => (label === 'beat' || ++writes !== at ? undefined : fate),
  })
  const { loop, broken, trace } = cluster
  const client = cluster.addClient()
  cluster.start()
  let done = false
  const live = async () => {
    for (const operation of history) await operate(cluster, client, operation)
    done = true
    await client.finish()
  }
  void live()
  await loop.run(60 * leaseMs, () => done || broken.length > 0)
  await cluster.settle(ambient)
  return { fired: writes >= at, broken, lines: trace.lines }
}

/** Does one thing and waits for its answer, or until there will be none. */
async function operate(cluster: Cluster, client: Client, operation: Operation): Promise<void> {
  switch (operation) {
    case 'claim':
      return client.submit([{ do: 'wait', name: 'go', ms: undefined }])
    case 'complete':
      return client.submit([
        { do: 'step', name: 'a', ms: 0 },
        { do: 'row', name: 'row-a', ms: 0 },
      ])
    case 'fail':
      return client.submit([
        { do: 'undoable', name: 'undo-a', ms: 0 },
        { do: 'step', name: 'a', ms: 0 },
        { do: 'fail' },
      ])
    case 'append':
      await client.submit([
        { do: 'wait', name: 'go', ms: undefined },
        { do: 'guarded', name: 'once-a', ms: 0 },
      ])
      return client.toLast('signal')
    case 'cas':
      await client.submit([
        { do: 'undoable', name: 'undo-a', ms: 0 },
        { do: 'sleep', name: 'nap', ms: leaseMs },
      ])
      return client.toLast('cancel')
    case 'gc':
      await cluster.loop.sleep(2.5 * leaseMs)
      await new Promise<void>((resolve) => {
        const life = cluster.nodes.at(-1)!.life
        cluster.loop.after(leaseMs, undefined, 'given up', resolve)
        life?.checkpoints.collect().then(
          () => resolve(),
          () => resolve(),
        )
      })
  }
}
