import { type ChildProcess, spawn } from 'node:child_process'
import { chownSync, closeSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ended, exterminate, inhabitants, signalAll, suspend } from './inhabitants.ts'

/** The user a server runs as. */
export interface User {
  readonly uid: number
  readonly gid: number
}

/** A temporary folder with the processes that run in it. Both go when `remove` is called or this process ends, even by SIGKILL. */
export interface Home {
  readonly folder: string
  /** Starts a process that lives here, its output in `<name>.log`. */
  spawn(name: string, command: string, args: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess
  /** Runs a command here to its end and gives its output; a failure carries what it wrote. */
  run(command: string, args: readonly string[], env?: Readonly<Record<string, string>>): Promise<string>
  /** The end of what `<name>.log` holds. */
  logTail(name: string): string
  pause(): void
  resume(): void
  /** SIGKILL to all; resolves when they are gone. */
  kill(): Promise<void>
  /** Sends `signal` to each, the next when the one before has ended, and kills what then still runs here, or runs after `graceMs`. */
  shutDown(children: readonly ChildProcess[], signal: NodeJS.Signals, graceMs?: number): Promise<void>
  /** Kills what still runs here and removes the folder. */
  remove(): Promise<void>
}

/** Makes a home in the system's temporary folder, owned by `user`. */
export function makeHome(name: string, user?: User): Home {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), `gw-${name}-`)))
  tellReaper(`+${folder}`)
  if (user) chownSync(folder, user.uid, user.gid)
  const living = new Set<ChildProcess>()

  const launch = (
    command: string,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    output: number | 'pipe',
  ) => {
    const child = spawn(command, args, {
      cwd: folder,
      // A session of its own: Ctrl-C in a terminal is for the tests, which then stop their servers.
      detached: true,
      stdio: ['ignore', output, output],
      env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', HOME: folder, TMPDIR: folder, ...env },
      ...user,
    })
    living.add(child)
    child.once('exit', () => living.delete(child))
    child.once('error', () => living.delete(child))
    return child
  }
  const settle = async () => {
    while (living.size > 0) await sleep(5)
  }

  const home: Home = {
    folder,
    spawn(label, command, args, env = {}) {
      const log = openSync(join(folder, `${label}.log`), 'a', 0o644)
      try {
        const child = launch(command, args, env, log)
        child.unref()
        return child
      } finally {
        closeSync(log)
      }
    },
    run(command, args, env = {}) {
      return new Promise((resolve, reject) => {
        const child = launch(command, args, env, 'pipe')
        let output = ''
        let complaint = ''
        child.stdout?.setEncoding('utf8').on('data', (text: string) => {
          output += text
        })
        child.stderr?.setEncoding('utf8').on('data', (text: string) => {
          complaint += text
        })
        child.once('error', reject)
        child.once('close', (code, signal) => {
          if (code === 0) resolve(output)
          else reject(new Error(`${command} ended with ${signal ?? code}: ${(complaint || output).trim()}`))
        })
      })
    },
    logTail(label) {
      try {
        return readFileSync(join(folder, `${label}.log`), 'utf8')
          .trimEnd()
          .split('\n')
          .slice(-15)
          .join('\n')
      } catch {
        return ''
      }
    },
    pause() {
      suspend(folder)
    },
    resume() {
      signalAll(inhabitants(folder), 'SIGCONT')
    },
    async kill() {
      await exterminate(folder)
      await settle()
    },
    async shutDown(children, signal, graceMs = 10_000) {
      home.resume()
      const inTurn = async () => {
        for (const { pid } of children.filter((child) => living.has(child))) {
          if (pid === undefined) continue
          signalAll([pid], signal)
          await ended([pid])
        }
      }
      await Promise.race([inTurn(), sleep(graceMs, undefined, { ref: false })])
      await home.kill()
    },
    async remove() {
      await home.kill()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
      tellReaper(`-${folder}`)
    },
  }
  return home
}

let reaper: ChildProcess | undefined

function tellReaper(line: string): void {
  if (!reaper) {
    reaper = spawn(process.execPath, [fileURLToPath(new URL('reaper.ts', import.meta.url))], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
      env: { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1' },
    })
    reaper.unref()
    ;(reaper.stdin as Socket).unref()
  }
  reaper.stdin?.write(`${line}\n`)
}

/** Asks `check` again and again until it gives something; fails with the server's log when it ends first or `withinMs` passes. */
export async function untilReady<Answer>(
  what: string,
  check: () => Promise<Answer | undefined>,
  options: {
    readonly child?: ChildProcess
    readonly log?: () => string
    readonly withinMs?: number
    readonly everyMs?: number
  } = {},
): Promise<Answer> {
  const { child, log = () => '', withinMs = 60_000, everyMs = 20 } = options
  const deadline = performance.now() + withinMs
  let failure: unknown
  child?.once('error', (error) => {
    failure = error
  })
  for (;;) {
    const answer = await check()
    if (answer !== undefined) return answer
    if (failure) throw new Error(`${what} could not be started`, { cause: failure })
    if (child && (child.exitCode !== null || child.signalCode !== null)) {
      throw new Error(`${what} ended while it started (${child.signalCode ?? child.exitCode}):\n${log()}`)
    }
    if (performance.now() > deadline) throw new Error(`${what} did not become ready in ${withinMs} ms:\n${log()}`)
    await sleep(everyMs)
  }
}
