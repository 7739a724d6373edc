import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** The process that has a data directory, where one has; found without touching its lock. */
export function holderOf(directory: string): number | undefined {
  const lock = statSync(join(directory, 'lock'), { throwIfNoEntry: false })
  if (lock === undefined) return undefined
  const locks = read('/proc/locks')
  if (locks !== undefined) {
    for (const line of locks.split('\n')) {
      const [, pid, inode] = /POSIX\s+ADVISORY\s+WRITE\s+(\d+)\s+[\da-f]+:[\da-f]+:(\d+)\s/.exec(line) ?? []
      if (Number(inode) === lock.ino) return Number(pid)
    }
    return undefined
  }
  const pid = Number.parseInt(read(join(directory, 'lock-holder')) ?? '', 10)
  return pid > 0 && isAlive(pid) ? pid : undefined
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
