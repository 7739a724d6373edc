import { watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { Gateway } from '../gateway.ts'
import { applyConfig } from './compose.ts'
import { type ConfigSources, type LoadedConfig, loadConfig } from './load.ts'
import type { RouteTable } from './route-table.ts'

const settleMs = 100

/** The configuration in force, and how the last attempt to change it went. */
export interface LiveConfig {
  readonly current: LoadedConfig
  /** Why the newest file is not in force; readiness shows it. */
  readonly refusal: string | undefined
  /** Reads the sources again. What is wrong with them is in `refusal`, and the last good configuration stays. */
  reload(): Promise<void>
  close(): void
}

/** Follows the file of a configuration, and takes over what may change without a restart. */
export function followConfig(
  gateway: Gateway,
  table: RouteTable,
  sources: ConfigSources,
  first: LoadedConfig,
): LiveConfig {
  let current = first
  let refusal: string | undefined
  let timer: NodeJS.Timeout | undefined
  let reading: Promise<void> = Promise.resolve()

  const reload = async (): Promise<void> => {
    try {
      const next = await loadConfig(sources)
      applyConfig(gateway, table, current.config, next.config)
      current = next
      refusal = undefined
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error)
    }
    gateway.configRefusal = refusal
    await gateway.events
      .append(refusal === undefined ? 'config.reloaded' : 'config.refused', {
        file: current.file ?? null,
        refusal: refusal ?? null,
      })
      .catch(() => {})
  }
  const follow = () => {
    clearTimeout(timer)
    // An editor writes a file in several steps.
    timer = setTimeout(() => {
      reading = reading.then(reload)
    }, settleMs)
  }
  const { file } = first
  // Of the folder: an editor puts a new file in the place of the old one.
  const watcher =
    file === undefined ? undefined : watch(dirname(file), (_, name) => (name === basename(file) ? follow() : undefined))
  return {
    get current() {
      return current
    },
    get refusal() {
      return refusal
    },
    reload() {
      reading = reading.then(reload)
      return reading
    },
    close() {
      clearTimeout(timer)
      watcher?.close()
    },
  }
}
