import { redisDedupStore } from '@gw/dedup/redis'
import { createClient, createCluster } from 'redis'
import { CommandError, exit, messageOf } from '../failure.ts'

/** What was found in a Redis or a Redis Cluster. */
export interface RedisReport {
  readonly kind: 'redis'
  readonly place: string
  readonly version: string
  readonly nodes: number
  readonly keys: number
  readonly breakers: number
  readonly bytes: number
  /** The server's clock, in milliseconds. */
  readonly now: number
  /** What of its settings puts keys at risk, and what to set. */
  readonly risks: readonly string[]
}

const connectTimeout = 3_000

/** Looks into the Redis of a URL; several nodes separated by commas, or `?cluster`, are a Cluster. */
export async function lookIntoRedis(urls: string): Promise<RedisReport> {
  const [first = '', ...more] = urls.split(',')
  const clustered = more.length > 0 || /[?&]cluster\b/.test(first)
  const bare = (url: string) => (/^rediss?:\/\//.test(url) ? url : `redis://${url}`).replace(/\?.*$/, '')
  const place = bare(first).replace(/(:\/\/[^:@/]*):[^@/]*@/, '$1:••••••••@')
  const socket = { connectTimeout, reconnectStrategy: false as const }
  const client = clustered
    ? createCluster({ rootNodes: [first, ...more].map((url) => ({ url: bare(url) })), defaults: { socket } })
    : createClient({ url: bare(first), socket })
  client.on('error', () => {})
  try {
    await client.connect()
    const nodes =
      'masters' in client ? await Promise.all(client.masters.map((node) => client.nodeClient(node))) : [client]
    const risks: string[] = []
    const onRisk = (found: readonly { readonly message: string }[]) => {
      risks.push(...found.map(({ message }) => message))
    }
    await redisDedupStore({ client, onRisk })
      .open()
      .catch((error: unknown) => risks.push(messageOf(error)))
    let [keys, breakers, bytes, now] = [0, 0, 0, 0]
    let version = ''
    for (const node of nodes) {
      const server = await node.info('server')
      version = /redis_version:(\S+)/.exec(server)?.[1] ?? version
      bytes += Number(/used_memory:(\d+)/.exec(await node.info('memory'))?.[1] ?? 0)
      const [seconds, micros] = (await node.sendCommand(['TIME'])) as unknown as [string, string]
      now = Number(seconds) * 1_000 + Number(micros) / 1_000
      for await (const found of node.scanIterator({ MATCH: 'gw:*', COUNT: 1_000 })) {
        const names = (Array.isArray(found) ? found : [found]) as string[]
        keys += names.filter((name) => name.startsWith('gw:dd:{')).length
        breakers += names.filter((name) => /^gw:breaker/.test(name)).length
      }
    }
    return { kind: 'redis', place, version, nodes: nodes.length, keys, breakers, bytes, now, risks }
  } catch (error) {
    throw new CommandError(`${place} does not answer: ${messageOf(error)}`, exit.unavailable, { cause: error })
  } finally {
    client.destroy()
  }
}
