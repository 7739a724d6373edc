import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * The processes whose working directory is `folder` or below it. That is how these services know what belongs to a server: it holds for children
 * that made a session of their own (PostgreSQL's backends) and for those that outlived their parent.
 */
export function inhabitants(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => livesIn(pid, folder))
}

function livesIn(pid: number, folder: string): boolean {
  try {
    const directory = readlinkSync(`/proc/${pid}/cwd`).replace(/ \(deleted\)$/, '')
    return directory === folder || directory.startsWith(`${folder}/`)
  } catch {
    return false
  }
}

/** Whether the process has ended; one that only waits to be reaped has. */
export function hasEnded(pid: number): boolean {
  try {
    // The name, in parentheses, may hold anything, so the state is looked for behind the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return /^ [ZX]/.test(stat.slice(stat.lastIndexOf(')') + 1))
  } catch {
    return true
  }
}

/** Sends `signal` to each; one that has ended meanwhile is no error. */
export function signalAll(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/** Stops every process in `folder`; again until none is new, because a parent may have forked in between. */
export function suspend(folder: string): void {
  const stopped = new Set<number>()
  for (;;) {
    const fresh = inhabitants(folder).filter((pid) => !stopped.has(pid))
    if (fresh.length === 0) return
    signalAll(fresh, 'SIGSTOP')
    for (const pid of fresh) stopped.add(pid)
  }
}

/** Kills every process in `folder` with SIGKILL and resolves when all are gone. */
export async function exterminate(folder: string): Promise<void> {
  // Stopped first, so that none of them sees another one die and acts on it.
  suspend(folder)
  for (;;) {
    const pids = inhabitants(folder)
    if (pids.length === 0) return
    signalAll(pids, 'SIGKILL')
    await ended(pids)
  }
}

/** Resolves when all have ended. */
export async function ended(pids: readonly number[]): Promise<void> {
  while (pids.some((pid) => !hasEnded(pid))) await sleep(5)
}
