import { type FSWatcher, statSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import type { Gateway } from '../gateway.ts'
import { applyConfig } from './compose.ts'
import { type ConfigSources, type LoadedConfig, loadConfig } from './load.ts'
import type { RouteTable } from './route-table.ts'
import type { GatewayConfig, GatewayConfigInput } from './schema.ts'

const settleMs = 100
/** What takes effect while the gateway runs; the rest does with its next start. */
const reloaded: ReadonlySet<string> = new Set([
  'routes',
  'upstreams',
  'breakers',
  'maxConcurrentRequests',
  'trustedProxies',
  'viaName',
])

/** The configuration in force, and how the last attempt to change it went. */
export interface LiveConfig {
  readonly current: LoadedConfig
  /** What is in force of it, before durations and sizes were read: options that need a restart are those of the start. */
  readonly inForce: GatewayConfigInput
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
  // One that is gone is not a configuration without routes.
  const followed = first.file === undefined ? sources : { ...sources, file: first.file }

  const reload = async (): Promise<void> => {
    try {
      const next = await loadConfig(followed)
      applyConfig(gateway, table, current.config, next.config)
      current = next
      refusal = undefined
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error)
    }
    gateway.configRefusal = refusal
    gateway.configPending = pendingOf(first.config, current.config)
    await gateway.events
      .append(refusal === undefined ? 'config.reloaded' : 'config.refused', {
        file: current.file ?? null,
        refusal: refusal ?? null,
        afterRestart: gateway.configPending,
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
  const watcher = first.file === undefined ? undefined : watched(first.file, follow, gateway.report)
  return {
    get current() {
      return current
    },
    get inForce() {
      return Object.fromEntries([
        ...Object.entries(first.input).filter(([name]) => !reloaded.has(name)),
        ...Object.entries(current.input).filter(([name]) => reloaded.has(name)),
      ])
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

/**
 * Calls back when the file is another. It is looked for in its folder: an editor puts a new file in the place of the old one, and a
 * volume of Kubernetes a new folder behind a link. Where it cannot be watched, SIGHUP still reloads.
 */
function watched(file: string, changed: () => void, report: (error: unknown) => void): FSWatcher | undefined {
  const stampOf = () => {
    const stat = statSync(file, { throwIfNoEntry: false })
    return stat && `${stat.ino} ${stat.size} ${stat.mtimeMs}`
  }
  let seen = stampOf()
  try {
    return watch(dirname(file), () => {
      const stamp = stampOf()
      if (stamp === seen) return
      seen = stamp
      changed()
    }).on('error', report)
  } catch (error) {
    report(error)
    return undefined
  }
}

/** The options that differ, and that only a start puts in force. */
function pendingOf(started: GatewayConfig, current: GatewayConfig): string[] {
  const [before, now] = [started, current] as Readonly<Record<string, unknown>>[]
  return Object.keys({ ...before, ...now })
    .filter((name) => !reloaded.has(name) && JSON.stringify(before![name]) !== JSON.stringify(now![name]))
    .sort()
}
