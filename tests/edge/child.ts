import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A gateway in a process of its own, as `server.ts` makes it. */
export interface GatewayProcess {
  readonly port: number
  readonly process: ChildProcess
  /** All that it printed. */
  readonly printed: () => string
  /** Its resident memory in bytes, garbage collected before. */
  readonly rss: () => Promise<number>
  readonly stop: () => Promise<void>
}

const program = fileURLToPath(new URL('./server.ts', import.meta.url))

/** Starts it in front of an upstream. `bare` is without the edge guard. */
export async function startGateway({
  upstream = 'http://127.0.0.1:9',
  kind = 'guarded',
  options = {},
}: {
  readonly upstream?: string
  readonly kind?: 'guarded' | 'bare'
  readonly options?: object
} = {}): Promise<GatewayProcess> {
  const directory = mkdtempSync(join(tmpdir(), 'gw-edge-'))
  const child = fork(program, [kind, upstream, directory, JSON.stringify(options)], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  let printed = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      printed += chunk.toString()
    })
  const exited = once(child, 'exit')
  const [first] = (await Promise.race([
    once(child, 'message'),
    exited.then(() => {
      throw new Error(`The gateway did not start: ${printed}`)
    }),
  ])) as [{ port: number }]
  return {
    port: first.port,
    process: child,
    printed: () => printed,
    async rss() {
      child.send('memory')
      const [{ rss }] = (await once(child, 'message')) as [{ rss: number }]
      return rss
    },
    async stop() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
