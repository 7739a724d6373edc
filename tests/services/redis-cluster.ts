import { untilReady } from './home.ts'
import { busOffset, type Redis, startRedis } from './redis.ts'
import type { Reply } from './resp.ts'

export interface RedisClusterOptions {
  readonly masters?: number
  /** How many replicas each master gets. */
  readonly replicas?: 0 | 1
  /** After how long without an answer a node counts as failed. */
  readonly nodeTimeoutMs?: number
}

export interface RedisCluster {
  /** Masters first, in the order of their slots; then the replicas in the order of their first masters. */
  readonly nodes: readonly Redis[]
  readonly urls: readonly string[]
  /** The running nodes that are masters now, in the order of their slots. */
  masters(): Promise<readonly Redis[]>
  /** Kills the master that serves the `index`-th part of the slots now, and gives it. */
  killMaster(index: number): Promise<Redis>
  /** Resolves when every running node says that all slots are served, and every running replica is attached. */
  settled(): Promise<void>
  stop(): Promise<void>
  /** Kills all nodes. */
  kill(): Promise<void>
  pause(): void
  resume(): void
  /** Starts all nodes again on their data. */
  restart(options?: { readonly downMs?: number }): Promise<void>
}

const slotCount = 16_384

/** Starts a Redis Cluster on loopback ports; resolves when every node serves and every replica is attached. */
export async function redisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicas = 0, nodeTimeoutMs = 2_000 } = options
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-node-timeout': nodeTimeoutMs,
    // A replica takes over however long it was cut off from its master.
    'cluster-replica-validity-factor': 0,
    // A replica is named in the slot map from the first byte of replication on, which without writes is this ping.
    'repl-ping-replica-period': 1,
  }
  const count = masters * (1 + replicas)
  const starts = await Promise.allSettled(
    Array.from({ length: count }, () => startRedis({ settings }, { inCluster: true })),
  )
  const nodes = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
  const all = async (act: (node: Redis) => Promise<unknown>) => {
    await Promise.all(nodes.map(act))
  }
  const settled = async (whole = false) => {
    await untilReady('Redis Cluster', async () => ((await serves(nodes, whole ? count : undefined)) ? true : undefined))
  }

  try {
    const failed = starts.find((start) => start.status === 'rejected')
    if (failed) throw failed.reason
    await join(nodes, masters)
    await settled(true)
  } catch (error) {
    await all((node) => node.stop())
    throw error
  }

  const mastersNow = async () => {
    const slots = (await firstAnswer(nodes, ['CLUSTER', 'SLOTS'])) as readonly (readonly Reply[])[]
    const ports = [...slots]
      .sort((a, b) => Number(a[0]) - Number(b[0]))
      .map((range) => Number((range[2] as readonly Reply[])[1]))
    return [...new Set(ports)].map((port) => nodes.find((node) => node.port === port) as Redis)
  }
  return {
    nodes,
    urls: nodes.map((node) => node.url),
    masters: mastersNow,
    async killMaster(index) {
      const master = (await mastersNow())[index]
      if (!master) throw new Error(`The cluster has no master ${index}`)
      await master.kill()
      return master
    },
    settled: () => settled(),
    stop: () => all((node) => node.stop()),
    kill: () => all((node) => node.kill()),
    pause() {
      for (const node of nodes) node.pause()
    },
    resume() {
      for (const node of nodes) node.resume()
    },
    async restart(restart = {}) {
      await all((node) => node.restart(restart))
      await settled(true)
    },
  }
}

async function join(nodes: readonly Redis[], masters: number): Promise<void> {
  await Promise.all(nodes.map((node, index) => node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)))
  await Promise.all(
    nodes.slice(0, masters).map((node, index) => {
      const from = Math.floor((index * slotCount) / masters)
      const to = Math.floor(((index + 1) * slotCount) / masters)
      return node.command('CLUSTER', 'ADDSLOTS', ...Array.from({ length: to - from }, (_, slot) => from + slot))
    }),
  )
  // Every pair meets: hearing of each other only through gossip would take ten seconds.
  await Promise.all(
    nodes.flatMap((node, index) =>
      nodes
        .slice(index + 1)
        .map((other) => node.command('CLUSTER', 'MEET', '127.0.0.1', other.port, other.port + busOffset)),
    ),
  )
  await Promise.all(
    nodes.slice(masters).map(async (replica, index) => {
      const id = String(await nodes[index % masters]?.command('CLUSTER', 'MYID'))
      const attach = () => replica.command('CLUSTER', 'REPLICATE', id)
      // Refused until word of that master has come round.
      await untilReady('A replica', () => attach().catch(() => undefined))
    }),
  )
}

interface View {
  readonly ok: boolean
  readonly replica: boolean
  readonly attached: boolean
  // Whether each of its replicas has acknowledged an offset: a master sends no stream before that, however up the link is.
  readonly streams: boolean
  readonly members: number
}

// `count` is how many nodes there must be; without it, those that do not answer are left out.
async function serves(nodes: readonly Redis[], count: number | undefined): Promise<boolean> {
  const views = (await Promise.all(nodes.map((node) => view(node).catch(() => undefined)))).filter(
    (each) => each !== undefined,
  )
  return (
    views.length > 0 &&
    (count === undefined || views.length === count) &&
    views.every(
      (each) =>
        each.ok && each.streams && (each.attached || !each.replica) && (count === undefined || each.members === count),
    )
  )
}

async function view(node: Redis): Promise<View> {
  const [cluster, replication, slots] = await Promise.all([
    node.command('CLUSTER', 'INFO').then(fields),
    node.command('INFO', 'replication').then(fields),
    node.command('CLUSTER', 'SLOTS'),
  ])
  return {
    ok: cluster['cluster_state'] === 'ok' && cluster['cluster_slots_ok'] === String(slotCount),
    replica: replication['role'] === 'slave',
    attached: replication['master_link_status'] === 'up',
    streams: Object.entries(replication).every(
      ([name, text]) => !/^slave\d+$/.test(name) || /,offset=[1-9]/.test(text),
    ),
    members: members(slots),
  }
}

// How many nodes the slot map names, replicas included: a client learns them from there.
function members(slots: Reply): number {
  const ranges = slots as readonly (readonly Reply[])[]
  return new Set(ranges.flatMap((range) => range.slice(2).map((node) => (node as readonly Reply[])[1]))).size
}

function fields(reply: Reply): Record<string, string> {
  const lines = String(reply).split('\r\n')
  return Object.fromEntries(lines.map((line) => line.split(':', 2)).filter((pair) => pair.length === 2))
}

async function firstAnswer(nodes: readonly Redis[], command: readonly string[]): Promise<Reply> {
  return Promise.any(nodes.map((node) => node.command(...command)))
}
