import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const sbin = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** The path of a program, looked for in PATH and where Debian puts the ones for administrators. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter).filter(Boolean), ...sbin]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

/** The path of a shared library that Debian's packages installed for this machine. */
export function findLibrary(name: string): string | undefined {
  const machines = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' } as Readonly<Record<string, string>>
  const path = join('/usr/lib', machines[process.arch] ?? '', name)
  return existsSync(path) ? path : undefined
}

/** The folder of PostgreSQL's programs: the newest that Debian's packages installed, else the one PATH leads to. */
export function findPostgresPrograms(): string | undefined {
  const newest = versions('/usr/lib/postgresql')
    .map((version) => `/usr/lib/postgresql/${version}/bin`)
    .find((folder) => isExecutable(join(folder, 'initdb')))
  return newest ?? findProgram('initdb')?.replace(/\/initdb$/, '')
}

function versions(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .sort((a, b) => Number(b) - Number(a))
  } catch {
    return []
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
