import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** The repository's root. */
export const root = fileURLToPath(new URL('..', import.meta.url))

const [major] = process.versions.node.split('.')
if (Number(major) < 20) {
  console.error(
    `Node 20 or newer is needed to start; this is ${process.versions.node}. The repository brings its own Node after that.`,
  )
  process.exit(1)
}

const { packageManager } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

const command = (args) => ['npx', ['--yes', packageManager, ...args]]
const options = {
  cwd: root,
  shell: process.platform === 'win32',
  env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
}

/** Runs the pinned pnpm through npx; ends this process with pnpm's exit code where it is not 0. */
export function pnpm(...args) {
  const status = statusOf(args)
  if (status !== 0) process.exit(status)
}

/** The same; `false` where what is run says by 69 (EX_UNAVAILABLE) that this machine may not do it. */
export function pnpmWhereItMay(...args) {
  const status = statusOf(args)
  if (status !== 0 && status !== 69) process.exit(status)
  return status === 0
}

function statusOf(args) {
  const { status, signal, error } = spawnSync(...command(args), { ...options, stdio: 'inherit' })
  if (error) throw error
  if (signal) process.kill(process.pid, signal)
  return status ?? 1
}

/** Runs the pinned pnpm, shows each line of its output and gives it to `line`; resolves with the exit code. */
export async function pnpmByLine(args, line) {
  const running = spawn(...command(args), { ...options, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(running, 'exit')
  for await (const text of createInterface({ input: running.stdout })) {
    console.log(text)
    line(text)
  }
  const [code] = await ended
  return code ?? 1
}

/** Installs exactly what the lock file names. */
export function install() {
  pnpm('install', '--frozen-lockfile', '--prefer-offline')
}
