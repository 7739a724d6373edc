import type { ChildProcess } from 'node:child_process'
import { findProgram } from './binaries.ts'
import { type Controls, controls } from './controls.ts'
import { makeHome, untilReady } from './home.ts'
import { ensureInstalled } from './install.ts'
import { claimPort } from './ports.ts'
import { type Reply, redisCommand } from './resp.ts'

export interface RedisOptions {
  /** When the append-only file reaches the disk. `everysec` unless told, as Redis itself has it. */
  readonly appendfsync?: 'always' | 'everysec' | 'no'
  readonly maxmemoryPolicy?: string
  readonly maxmemoryBytes?: number
  /** The server this one copies. */
  readonly replicaOf?: { readonly port: number }
  /** Further settings of redis.conf, by their names there. */
  readonly settings?: Readonly<Record<string, string | number>>
}

export interface Redis extends Controls {
  readonly url: string
  readonly port: number
  /** Sends one command on a connection of its own. */
  command(...args: readonly (string | number)[]): Promise<Reply>
}

/** Starts a Redis with an append-only file on a loopback port. */
export function redis(options: RedisOptions = {}): Promise<Redis> {
  return startRedis(options, {})
}

/** How far the port of a cluster's bus is above that of its node. */
export const busOffset = 10_000

/** As `redis`, for a node of a cluster too. */
export async function startRedis(options: RedisOptions, place: { readonly inCluster?: boolean }): Promise<Redis> {
  const {
    appendfsync = 'everysec',
    maxmemoryPolicy = 'noeviction',
    maxmemoryBytes = 0,
    replicaOf,
    settings = {},
  } = options
  await ensureInstalled(['redis'])
  const home = makeHome('redis')
  const claim = await claimPort(place.inCluster ? { busOffset } : {})
  const { port } = claim
  const configuration = {
    port,
    bind: '127.0.0.1',
    dir: home.folder,
    save: '',
    appendonly: 'yes',
    appendfsync,
    'maxmemory-policy': maxmemoryPolicy,
    maxmemory: maxmemoryBytes,
    // A replica attaches without waiting for others that may come.
    'repl-diskless-sync-delay': 0,
    ...settings,
  }
  const args = Object.entries(configuration).flatMap(([name, value]) => [`--${name}`, String(value)])
  if (replicaOf) args.push('--replicaof', '127.0.0.1', String(replicaOf.port))
  let server: ChildProcess | undefined

  const start = async () => {
    server = home.spawn('redis', findProgram('redis-server') as string, args)
    // A server that still reads its file answers PING with an error.
    await untilReady('Redis', () => redisCommand(port, ['PING']).catch(() => undefined), {
      child: server,
      log: () => home.logTail('redis'),
    })
  }

  try {
    await start()
  } catch (error) {
    await home.remove()
    claim.release()
    throw error
  }

  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    command: (...words) => redisCommand(port, words),
    ...controls({
      home,
      start,
      shutDown: () => home.shutDown(server ? [server] : [], 'SIGTERM'),
      discard: home.kill,
      release: claim.release,
    }),
  }
}
