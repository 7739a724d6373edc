import { spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url))

/** What a command came to. */
export interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Nothing of the environment that a gateway would listen to. */
export const bareEnv: Readonly<Record<string, string>> = Object.fromEntries(
  ['PATH', 'HOME', 'TMPDIR'].flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
)

export function freshFolder(): string {
  return mkdtempSync(join(tmpdir(), 'gw-cli-'))
}

/** Runs the built `gw` in a process of its own, away from any configuration. */
export function gw(
  args: readonly string[],
  {
    env = {},
    cwd = freshFolder(),
    input,
  }: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string; readonly input?: string } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, [cli, ...args], {
    cwd,
    env: { ...bareEnv, GW_LOG_LEVEL: 'silent', ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout!.on('data', (chunk: Buffer) => {
    out += chunk.toString()
  })
  child.stderr!.on('data', (chunk: Buffer) => {
    err += chunk.toString()
  })
  child.stdin?.end(input)
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

/** A table without what differs from run to run: ids, hashes, sizes, times, widths. */
export function shapeOf(text: string): string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) =>
      line
        .replaceAll(/[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}/g, '<id>')
        .replaceAll(/\b[\da-f]{64}\b/g, '<hash>')
        .replaceAll(/\b(?:now|(?:in )?[\d.]+ (?:ms|s|min|h|d)(?: ago)?)(?= |$)/g, '<time>')
        .replaceAll(/\b[\d.]+ (?:B|KiB|MiB)\b/g, '<size>')
        .replaceAll(/ {2,}/g, '  ')
        .trim(),
    )
}
