import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { dirname, relative, resolve } from 'node:path'
import { type ConfiguredStores, configuredStores } from './configured.ts'
import type { StartFlags } from './start.ts'
import { paintAside } from './terminal.ts'
import { watchSources } from './watch-sources.ts'

const killAfterMs = 10_000

/** `gw dev`: `gw start`, again after each change of the configuration or of the sources beside it. */
export async function dev(flags: StartFlags): Promise<void> {
  const stores = await configuredStores(flags).catch(() => undefined)
  const root = stores?.loaded.file === undefined ? process.cwd() : dirname(stores.loaded.file)
  const say = (text: string) => console.error(paintAside.cyan(`[gw dev] ${text}`))
  const env = devEnvironment(stores)
  let child: ChildProcess | undefined
  let restarting: Promise<void> | undefined
  let again = false
  let ending = false

  const begin = () => {
    child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, 'start', ...argumentsOf(flags)], {
      env,
      stdio: 'inherit',
    })
    child.once('exit', (code) => {
      child = undefined
      if (ending) process.exit(code ?? 0)
      if (restarting === undefined) say(`the gateway ended with ${code ?? 'a signal'}; waiting for a change`)
    })
  }
  const restart = async () => {
    if (child !== undefined) await stop(child)
    begin()
  }
  const sources = watchSources(root, stores === undefined ? [] : [resolve(stores.dataDir)], (file) => {
    say(`${relative(root, file)} changed`)
    again = true
    restarting ??= (async () => {
      while (again) {
        again = false
        await restart()
      }
      restarting = undefined
    })()
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      sources.close()
      if (child === undefined || ending) process.exit(0)
      ending = true
      child.kill(signal)
    })
  say(`watching ${root}`)
  begin()
}

/** A restart is to be quick, and the token of the dashboard the same after it. */
function devEnvironment(stores: ConfiguredStores | undefined): NodeJS.ProcessEnv {
  const { env } = process
  const own =
    stores?.loaded.config.admin?.token === undefined ? { GW_ADMIN_TOKEN: randomBytes(24).toString('base64url') } : {}
  return { GW_DRAIN_DELAY: '0s', GW_GRACEFUL_SHUTDOWN: '5s', ...own, ...env }
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs)
  await ended
  clearTimeout(timer)
}

function argumentsOf({ host, port, adminPort, dataDir, config }: StartFlags): string[] {
  const given = { '--host': host, '--port': port, '--admin-port': adminPort, '--data-dir': dataDir, '--config': config }
  return Object.entries(given).flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]))
}
