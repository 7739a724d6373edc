// node tests/services/run.ts [--s3] -- <command…>: starts the test servers, runs the command with their addresses in GW_TEST_*, ends with its exit code.
// A server whose address is set already is taken as it is.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants } from 'node:os'
import { ensureInstalled, type Installable, seconds } from './install.ts'
import { postgres } from './postgres.ts'
import { redis } from './redis.ts'
import { redisCluster } from './redis-cluster.ts'
import { s3 } from './s3.ts'

interface Kind {
  readonly name: string
  readonly variable: string
  readonly needs: Installable
  start(): Promise<{ readonly address: string; stop(): Promise<void> }>
}

const kinds: readonly Kind[] = [
  {
    name: 'PostgreSQL',
    variable: 'GW_TEST_POSTGRES_URL',
    needs: 'postgresql',
    async start() {
      const server = await postgres({ maxConnections: 300 })
      return { address: server.url, stop: server.stop }
    },
  },
  {
    name: 'Redis',
    variable: 'GW_TEST_REDIS_URL',
    needs: 'redis',
    async start() {
      const server = await redis()
      return { address: server.url, stop: server.stop }
    },
  },
  {
    name: 'Redis Cluster',
    variable: 'GW_TEST_REDIS_CLUSTER_URL',
    needs: 'redis',
    async start() {
      const cluster = await redisCluster({ masters: 3, replicas: 1 })
      return { address: cluster.urls.join(','), stop: cluster.stop }
    },
  },
  {
    name: 'S3',
    variable: 'GW_TEST_S3_URL',
    needs: 's3',
    async start() {
      const server = await s3()
      const address = server.url.replace('://', `://${server.accessKeyId}:${server.secretAccessKey}@`)
      return { address, stop: server.stop }
    },
  },
]

const separator = process.argv.indexOf('--')
const flags = process.argv.slice(2, separator)
const [command, ...args] = process.argv.slice(separator + 1)
if (separator === -1 || command === undefined || flags.some((flag) => flag !== '--s3')) {
  console.error('Usage: node tests/services/run.ts [--s3] -- <command…>')
  process.exit(2)
}

const wanted = kinds.filter(
  ({ needs, variable }) => (needs !== 's3' || flags.includes('--s3')) && !process.env[variable],
)
const stops: (() => Promise<void>)[] = []
let interrupted: NodeJS.Signals | undefined
let forward = (_signal: NodeJS.Signals) => {}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    interrupted = signal
    forward(signal)
  })
}

let exitCode = 1
try {
  await ensureInstalled(wanted.map(({ needs }) => needs))
  const started = await Promise.allSettled(wanted.map(start))
  const failed = started.find((each) => each.status === 'rejected')
  if (failed) throw failed.reason
  exitCode = interrupted ? 128 + constants.signals[interrupted] : await run(command, args)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
} finally {
  await Promise.allSettled(stops.map((stop) => stop()))
}
process.exit(exitCode)

async function start({ name, variable, start }: Kind): Promise<void> {
  const began = performance.now()
  console.error(`services: starting ${name}`)
  const { address, stop } = await start()
  stops.push(stop)
  process.env[variable] = address
  console.error(`services: ${name} in ${seconds(began)} at ${address}`)
}

async function run(command: string, args: readonly string[]): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit' })
  forward = (signal) => {
    // A terminal gives Ctrl-C to the command itself; twice would make it give up its own cleaning.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  }
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]
  return code ?? 128 + constants.signals[signal as NodeJS.Signals]
}
