import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '@gw/services'

export const operateToken = 'operate-token-for-the-browser-tests-0001'
export const readToken = 'read-token-for-the-browser-tests-00000002'

/** The gateway of `gateway.ts` as a process that can be killed and started again on the same ports and data. */
export interface TestServer {
  readonly url: string
  readonly adminUrl: string
  readonly dataDir: string
  readonly pid: number
  post(path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Response>
  admin(path: string, init?: RequestInit): Promise<Response>
  kill(signal?: NodeJS.Signals): Promise<void>
  start(): Promise<void>
}

/** Starts a gateway on free ports and an empty directory. */
export async function testServer(): Promise<TestServer> {
  const [port, adminPort] = (await freePorts(2)) as [number, number]
  const dataDir = join(mkdtempSync(join(tmpdir(), 'gw-browser-')), 'data')
  const url = `http://127.0.0.1:${port}`
  const adminUrl = `http://127.0.0.1:${adminPort}`
  let child: ChildProcess | undefined
  const server: TestServer = {
    url,
    adminUrl,
    dataDir,
    get pid() {
      return child!.pid!
    },
    post: (path, body = {}, headers = {}) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-user-id': 'ann', ...headers },
        body: JSON.stringify(body),
      }),
    admin: (path, init = {}) =>
      fetch(`${adminUrl}${path}`, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${operateToken}` },
      }),
    async kill(signal = 'SIGKILL') {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill(signal)
      await exited
    },
    async start() {
      let errors = ''
      child = spawn(process.execPath, [fileURLToPath(new URL('./gateway.ts', import.meta.url))], {
        env: {
          ...process.env,
          PORT: String(port),
          GW_ADMIN_PORT: String(adminPort),
          GW_ADMIN_TOKEN: operateToken,
          GW_ADMIN_READ_TOKEN: readToken,
          GW_DATA_DIR: dataDir,
        },
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      child.stderr!.on('data', (chunk: Buffer) => {
        errors += chunk.toString()
      })
      for (const began = performance.now(); ; ) {
        const ready = await fetch(`${url}/health/ready`).then(
          ({ status }) => status === 200,
          () => false,
        )
        if (ready) return
        if (child.exitCode !== null || performance.now() - began > 30_000)
          throw new Error(`The gateway was not ready within 30 s: ${errors}`)
        await delay(30)
      }
    },
  }
  await server.start()
  return server
}
