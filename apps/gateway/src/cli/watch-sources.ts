import { type FSWatcher, readdirSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'

/** Watches a project. */
export interface SourceWatcher {
  close(): void
}

const sources = /\.(?:[cm]?[jt]sx?|json|ya?ml)$/
const settleMs = 150

/**
 * Calls `onChange` once things have settled after a change of a source file below `root`. Each folder is watched by itself: what is
 * installed is not, nor are hidden folders and the `ignored` ones.
 */
export function watchSources(
  root: string,
  ignored: readonly string[],
  onChange: (file: string) => void,
): SourceWatcher {
  const watchers = new Map<string, FSWatcher>()
  let timer: NodeJS.Timeout | undefined

  const follow = (folder: string): void => {
    if (watchers.has(folder) || ignored.includes(folder)) return
    try {
      const watcher = watch(folder, (_, name) => name !== null && changed(folder, name))
      watcher.on('error', () => leave(folder))
      watchers.set(folder, watcher)
      for (const entry of readdirSync(folder, { withFileTypes: true }))
        if (entry.isDirectory() && isOurs(entry.name)) follow(join(folder, entry.name))
    } catch {
      // It is gone already.
      leave(folder)
    }
  }
  const leave = (folder: string): void => {
    watchers.get(folder)?.close()
    watchers.delete(folder)
  }
  const changed = (folder: string, name: string): void => {
    const path = join(folder, name)
    if (!isOurs(name)) return
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) follow(path)
    if (!sources.test(name)) return
    clearTimeout(timer)
    timer = setTimeout(onChange, settleMs, path)
  }

  follow(root)
  return {
    close() {
      clearTimeout(timer)
      for (const folder of [...watchers.keys()]) leave(folder)
    },
  }
}

function isOurs(name: string): boolean {
  return !name.startsWith('.') && name !== 'node_modules'
}
