import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '@gw/services'

const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))

/** The real server in a process of its own. */
export interface ServerProcess {
  readonly url: string
  readonly process: ChildProcess
  readonly adminUrl: string
  /** Asks its admin listener, with its token. */
  readonly admin: (path: string, init?: RequestInit) => Promise<Response>
  /** What it printed to standard output. */
  readonly output: () => string
  /** What it printed to standard error. */
  readonly errors: () => string
  /** From the start of the process to readiness. */
  readonly startMs: number
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/** Starts the reference gateway on a data directory, `under` another program if one is given, and waits until it is ready, has ended, or is `over` otherwise. */
export async function startServer(
  dataDir: string,
  env: Readonly<Record<string, string>> = {},
  under: readonly string[] = [],
  over: () => boolean = () => false,
): Promise<ServerProcess> {
  const [adminPort, freePort] = await freePorts(2)
  const port = env['PORT'] ?? freePort
  const began = performance.now()
  const [program = process.execPath, ...args] = [...under, process.execPath, cli, 'start']
  const child = spawn(program, args, {
    env: {
      ...process.env,
      PORT: String(port),
      GW_ADMIN_PORT: String(adminPort),
      GW_DATA_DIR: dataDir,
      GW_LOG_LEVEL: 'error',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
  })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
  const url = `http://127.0.0.1:${port}`
  for (;;) {
    const ready = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(5_000) }).then(
      ({ status }) => status === 200,
      () => false,
    )
    if (ready || child.exitCode !== null || child.signalCode !== null || over()) break
    if (performance.now() - began > 120_000) throw new Error(`The server was not ready within 120 s: ${errors}`)
    await delay(20)
  }
  const adminUrl = `http://127.0.0.1:${adminPort}`
  const admin = (path: string, init: RequestInit = {}) =>
    fetch(`${adminUrl}${path}`, {
      ...init,
      headers: { authorization: `Bearer ${readFileSync(join(dataDir, 'admin-token'), 'utf8').trim()}` },
    })
  return {
    url,
    process: child,
    adminUrl,
    admin,
    output: () => output,
    errors: () => errors,
    startMs: performance.now() - began,
    exited,
  }
}
