import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** Starts a program of `sides` on a port. */
export function startSide(
  side: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  nodeArgs: readonly string[] = [],
): ChildProcess {
  const program = fileURLToPath(new URL(`./sides/${side}.ts`, import.meta.url))
  return spawn(process.execPath, [...nodeArgs, program, ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: { ...process.env, ...env },
  })
}

/** Resolves when a server answers, whatever it says. Throws when its process ends first. */
export async function answers(child: ChildProcess, port: number): Promise<void> {
  for (;;) {
    const answered = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    )
    if (answered) return
    if (child.exitCode !== null) throw new Error(`The server ended with ${child.exitCode}`)
    await delay(2)
  }
}

/** How long a load of `seconds` is sent before the one that is measured: 3 s, in a short run as long as the load itself. */
export function warmUpSeconds(seconds: string): string {
  return String(Math.min(3, Number(seconds)))
}

/** Ends a process and waits until it is gone. */
export function ended(child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill(signal)
  })
}
