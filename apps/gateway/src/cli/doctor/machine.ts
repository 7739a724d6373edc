import { existsSync, lstatSync, readdirSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { holderOf } from '../offline/holder.ts'
import { size } from '../terminal.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

/** The runtime that the package asks for. */
export function checkRuntime(): Finding {
  const { engines } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    readonly engines: { readonly node: string }
  }
  const wanted = engines.node.replace('>=', '')
  const running = process.versions.node
  const newer = compare(running, wanted) >= 0
  return newer
    ? ok('node', `Node ${running}`)
    : failed('node', `Node ${running}, and ${wanted} or later is needed`, 'Install a newer Node: https://nodejs.org')
}

function compare(a: string, b: string): number {
  const [first, second] = [a, b].map((version) => version.split('.').map(Number))
  for (let i = 0; i < 3; i++) {
    const difference = (first![i] ?? 0) - (second![i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** Files that only their owner may read. */
const secret = /^(?:gateway\.db(?:-wal|-shm)?|keys\.db|admin-token|signing-key\.pem|lock|lock-holder)$/
const tightBytes = 67_108_864
const lowBytes = 1_073_741_824

/** The data directory: who may read it, who uses it, and how much room it has. */
export function checkDataDirectory(path: string): readonly Finding[] {
  const directory = resolve(path)
  const stat = lstatSync(directory, { throwIfNoEntry: false })
  if (stat === undefined)
    return [ok('data directory', `${directory} will be made by the first start`), ...space(nearest(directory), 0)]
  if (stat.isSymbolicLink())
    return [
      failed(
        'data directory',
        `${directory} is a symbolic link`,
        'Give the directory itself as dataDir or GW_DATA_DIR',
      ),
    ]
  if (!stat.isDirectory())
    return [failed('data directory', `${directory} is not a directory`, 'Choose another dataDir or GW_DATA_DIR')]
  const own = process.getuid?.()
  const findings: Finding[] = []
  if (own !== undefined && stat.uid !== own && own !== 0)
    findings.push(
      failed(
        'data directory',
        `${directory} belongs to user ${stat.uid}, and this is ${own}`,
        `Run: chown -R ${own} ${directory}`,
      ),
    )
  if ((stat.mode & 0o022) !== 0)
    findings.push(failed('data directory', `${directory} can be written by others`, `Run: chmod 700 ${directory}`))
  else if ((stat.mode & 0o055) !== 0)
    findings.push(warning('data directory', `${directory} can be listed by others`, `Run: chmod 700 ${directory}`))
  for (const name of readdirSync(directory).filter((each) => secret.test(each))) {
    const file = join(directory, name)
    const { mode } = statSync(file)
    if ((mode & 0o077) !== 0)
      findings.push(
        (mode & 0o044) !== 0 && name === 'admin-token'
          ? failed(
              'permissions',
              `${file} can be read by others`,
              `Run: chmod 600 ${file}, and set another GW_ADMIN_TOKEN`,
            )
          : failed('permissions', `${file} is open to others`, `Run: chmod 600 ${file}`),
      )
  }
  const holder = holderOf(directory)
  if (findings.length === 0)
    findings.push(
      ok(
        'data directory',
        holder === undefined ? `${directory}, in use by nobody` : `${directory}, in use by process ${holder}`,
      ),
    )
  const database = statSync(join(directory, 'gateway.db'), { throwIfNoEntry: false })?.size ?? 0
  return [...findings, ...space(directory, database)]
}

function nearest(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearest(dirname(path))
}

function space(directory: string, database: number): readonly Finding[] {
  const { bavail, bsize } = statfsSync(directory)
  const free = bavail * bsize
  const mend = `Free some room on the disk of ${directory}, or move dataDir to a larger one`
  if (free < tightBytes) return [failed('disk space', `${size(free)} are left: writes will be refused soon`, mend)]
  if (free < Math.max(lowBytes, database))
    return [warning('disk space', `${size(free)} are left, and the database takes ${size(database)}`, mend)]
  return [ok('disk space', `${size(free)} are left`)]
}
