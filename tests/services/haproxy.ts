import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { findProgram } from './binaries.ts'
import { makeHome, untilReady } from './home.ts'
import { ensureInstalled } from './install.ts'
import { claimPort } from './ports.ts'

export interface HaproxyOptions {
  /** The loopback ports of the servers behind it. */
  readonly ports: readonly number[]
  /** A server is sent requests as long as this path answers 200. */
  readonly checkPath: string
  /** How often it is asked: 200. */
  readonly checkIntervalMs?: number
}

export interface Haproxy {
  readonly url: string
  readonly port: number
  /** Which servers it takes for up, by their ports. */
  up(): Promise<number[]>
  /** The end of what it printed: when it took a server for up or down, and why. */
  printed(): string
  stop(): Promise<void>
}

/** Starts a haproxy on a loopback port, in turn to each server that its check finds up. */
export async function haproxy({ ports, checkPath, checkIntervalMs = 200 }: HaproxyOptions): Promise<Haproxy> {
  await ensureInstalled(['haproxy'])
  const home = makeHome('haproxy')
  const claim = await claimPort()
  const statistics = join(home.folder, 'statistics')
  const file = join(home.folder, 'haproxy.cfg')
  writeFileSync(
    file,
    `
global
  maxconn 400
  stats socket ${statistics} mode 600
defaults
  mode http
  timeout connect 60s
  timeout client 120s
  timeout server 120s
  timeout check 60s
frontend front
  bind 127.0.0.1:${claim.port}
  default_backend gateways
backend gateways
  balance roundrobin
  option httpchk GET ${checkPath}
  http-check expect status 200
  default-server check inter ${checkIntervalMs}ms fall 1 rise 1 pool-purge-delay 2s
${ports.map((port) => `  server s${port} 127.0.0.1:${port}`).join('\n')}
`,
  )
  const child = home.spawn('haproxy', findProgram('haproxy') as string, ['-db', '-f', file])
  const stop = async () => {
    await home.shutDown([child], 'SIGTERM')
    await home.remove()
    claim.release()
  }
  const up = async () => {
    const lines = (await ask(statistics, 'show stat')).split('\n')
    const servers = lines.map((line) => line.split(',')).filter(([, name]) => name?.startsWith('s'))
    return servers.flatMap(([, name, ...rest]) => (rest[15]?.startsWith('UP') ? [Number(name!.slice(1))] : []))
  }
  try {
    await untilReady('haproxy', () => up().catch(() => undefined), { child, log: () => home.logTail('haproxy') })
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${claim.port}`, port: claim.port, up, printed: () => home.logTail('haproxy'), stop }
}

function ask(path: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect({ path }, () => socket.write(`${command}\n`))
    socket.on('data', (chunk) => {
      text += chunk.toString()
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
  })
}
