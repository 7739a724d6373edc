import { type ChildProcess, execFile } from 'node:child_process'
import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findPostgresPrograms, findProgram } from './binaries.ts'
import { type Controls, controls } from './controls.ts'
import { makeHome, type User, untilReady } from './home.ts'
import { ensureInstalled } from './install.ts'
import { claimPort } from './ports.ts'

export interface PostgresOptions {
  /** Whether commits reach the disk. On unless a test does not care for durability. */
  readonly fsync?: boolean
  readonly maxConnections?: number
  /** Further lines of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
}

export interface Postgres extends Controls {
  /** Of the superuser's own database, `postgres`. */
  readonly url: string
  readonly port: number
  /** Runs SQL and gives the rows' text, fields separated by `|`, as `psql -At` prints them. */
  psql(sql: string, database?: string): Promise<string>
}

/** Starts a PostgreSQL of its own on a loopback port. */
export async function postgres(options: PostgresOptions = {}): Promise<Postgres> {
  const { fsync = true, maxConnections = 200, settings = {} } = options
  await ensureInstalled(['postgresql'])
  const programs = findPostgresPrograms() as string
  const home = makeHome('postgres', serverUser())
  const data = join(home.folder, 'data')
  const claim = await claimPort()
  const { port } = claim
  let server: ChildProcess | undefined

  const start = async () => {
    server = home.spawn('postgres', join(programs, 'postgres'), ['-D', data])
    const ready = ['-q', '-h', '127.0.0.1', '-p', String(port), '-U', 'postgres', '-d', 'postgres']
    await untilReady('PostgreSQL', () => home.run(join(programs, 'pg_isready'), ready).catch(() => undefined), {
      child: server,
      log: () => home.logTail('postgres'),
    })
  }

  try {
    const made = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync']
    await home.run(join(programs, 'initdb'), made)
    const configuration = {
      listen_addresses: '127.0.0.1',
      port,
      unix_socket_directories: '',
      max_connections: maxConnections,
      fsync,
      // In the data folder, so that nothing stays in /dev/shm after a kill.
      dynamic_shared_memory_type: 'mmap',
      ...settings,
    }
    const lines = Object.entries(configuration).map(([name, value]) => `${name} = '${String(value)}'\n`)
    appendFileSync(join(data, 'postgresql.conf'), lines.join(''))
    await start()
  } catch (error) {
    await home.remove()
    claim.release()
    throw error
  }

  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    port,
    psql: (sql, database = 'postgres') => psql(`postgres://postgres@127.0.0.1:${port}/${database}`, sql),
    ...controls({
      home,
      start,
      // SIGINT is the fast shutdown: sessions are ended, what was committed is kept.
      shutDown: () => home.shutDown(server ? [server] : [], 'SIGINT'),
      // SIGQUIT is the immediate one, which still gives back its shared memory.
      discard: () => home.shutDown(server ? [server] : [], 'SIGQUIT'),
      release: claim.release,
    }),
  }
}

/** Runs SQL through psql on any PostgreSQL. */
export async function psql(url: string, sql: string): Promise<string> {
  const programs = findPostgresPrograms()
  const program = programs ? join(programs, 'psql') : findProgram('psql')
  if (!program) throw new Error('psql is missing')
  return new Promise((resolve, reject) => {
    const args = ['-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', url, '-c', sql]
    execFile(program, args, { maxBuffer: 1 << 28 }, (error, output, complaint) => {
      if (error) reject(new Error(complaint.trim() || error.message))
      else resolve(output.trimEnd())
    })
  })
}

// PostgreSQL refuses to run as root.
function serverUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined
  const accounts = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  const account = ['postgres', 'nobody'].map((name) => accounts.find(([other]) => other === name)).find(Boolean)
  if (!account)
    throw new Error('PostgreSQL does not run as root, and there is no user `postgres` or `nobody` to run it as')
  return { uid: Number(account[2]), gid: Number(account[3]) }
}
