import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '@gw/services'
import { type Outcome, proof, same } from './proof.ts'
import type { Runtime } from './runtime.ts'

const cli = fileURLToPath(new URL('../../apps/gateway/dist/cli.js', import.meta.url))

/** Runs the reference server on a runtime, kills it and starts it again, and holds it to its answers; `env` says where its state lies. */
export async function proveGateway(runtime: Runtime, env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
  const { command } = runtime
  if (command === undefined) throw new Error(`${runtime.name} has no processes`)
  const directory = mkdtempSync(join(tmpdir(), 'gw-runtimes-'))
  let server: Server | undefined
  try {
    return await proof((test) => {
      const key = crypto.randomUUID()
      let answer = ''
      test('a payment is charged once, and its key gets the same bytes', async () => {
        server = await start(command, directory, env)
        const first = await pay(server, key)
        same(first.status, 201)
        answer = await first.text()
        const second = await pay(server, key)
        same([second.status, second.headers.get('idempotent-replayed')], [201, 'true'])
        same(await second.text(), answer)
      })
      test('after kill -9 and a start the key still has its answer, and the ledger one row', async () => {
        await server?.kill()
        server = await start(command, directory, env)
        const again = await pay(server, key)
        same([again.status, again.headers.get('idempotent-replayed')], [201, 'true'])
        same(await again.text(), answer)
        const ledger = await fetch(`${server.url}/api/payments?customer_id=ann`)
        same(((await ledger.json()) as { payments: unknown[] }).payments.length, 1)
      })
    }).run()
  } finally {
    await server?.kill()
    rmSync(directory, { recursive: true, force: true })
  }
}

interface Server {
  readonly url: string
  kill(): Promise<void>
}

const pay = ({ url }: Server, key: string): Promise<Response> =>
  fetch(`${url}/api/payment`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: '{"amount":25,"currency":"EUR","payment_method":"card","customer_id":"ann"}',
  })

async function start(
  [program, ...args]: NonNullable<Runtime['command']>,
  directory: string,
  settings: Readonly<Record<string, string>>,
): Promise<Server> {
  const [port, adminPort] = (await freePorts(2)) as [number, number]
  const child: ChildProcess = spawn(program, [...args, cli, 'start'], {
    cwd: directory,
    env: {
      ...process.env,
      PORT: String(port),
      GW_ADMIN_PORT: String(adminPort),
      GW_DATA_DIR: join(directory, 'data'),
      GW_LOG_LEVEL: 'error',
      ...settings,
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let errors = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const kill = async () => {
    child.kill('SIGKILL')
    await exited
  }
  const url = `http://127.0.0.1:${port}`
  const deadline = performance.now() + 30_000
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    const ready = await fetch(`${url}/health/ready`).then(
      ({ status }) => status === 200,
      () => false,
    )
    if (ready) return { url, kill }
    await delay(25)
  }
  await kill()
  throw new Error(`The server did not become ready: ${errors}`)
}
