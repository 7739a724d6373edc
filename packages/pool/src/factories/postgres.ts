import { connect, type Socket } from 'node:net'
import postgres, { type Options, type PostgresType, type Sql } from 'postgres'
import type { ConnectionFactory } from '../factory.ts'
import { type ArrayType, arrayTypesOf, teachArrays } from './postgres-arrays.ts'

/** How connections to PostgreSQL are made. */
export interface PostgresFactoryOptions {
  /** Where the server is: `postgres://user:password@host:port/database`. */
  readonly url: string
  /** Options of postgres.js; `max`, the timeouts and lifetimes, `socket` and `onclose` are the pool's. */
  readonly client?: Omit<
    Options<Record<string, PostgresType>>,
    'max' | 'idle_timeout' | 'max_lifetime' | 'connect_timeout' | 'fetch_types' | 'socket' | 'onclose' | 'backoff'
  >
  /** What a connection is tested with. `SELECT 1` */
  readonly validationQuery?: string
}

interface ParsedOptions {
  readonly host: readonly string[]
  readonly port: readonly number[]
  readonly path?: string | boolean
}

/**
 * Makes postgres.js clients of one connection each. One that has died stays dead: postgres.js would connect it anew
 * behind the pool's back and lose what the session had. Closing one that does not answer destroys its socket.
 */
export function postgresFactory({
  url,
  client = {},
  validationQuery = 'SELECT 1',
}: PostgresFactoryOptions): Required<Pick<ConnectionFactory<Sql>, 'create' | 'validate' | 'destroy'>> {
  const sockets = new WeakMap<Sql, () => Promise<void>>()
  let types: readonly ArrayType[] | undefined
  return {
    async create({ signal, lost }) {
      let socket: Socket | undefined
      let used = false
      let closed: Promise<void> = Promise.resolve()
      let onClosed: (() => void) | undefined
      const ended = (): void => {
        onClosed?.()
        // Otherwise a query after this would wait for a connection that never comes.
        void sql.end({ timeout: 0 })
        lost(new Error('The connection was closed'))
      }
      const sql: Sql = postgres(url, {
        // A connection that dies while postgres.js reads the types is an unhandled rejection there.
        fetch_types: false,
        ...client,
        max: 1,
        idle_timeout: 0,
        max_lifetime: 0,
        connect_timeout: 0,
        // postgres.js takes any socket that is connected, and parsed options where its types say the given ones.
        socket: async (parsed: unknown) => {
          if (used) throw Object.assign(new Error('The connection has been closed'), { code: 'CONNECTION_CLOSED' })
          used = true
          const opened = await openSocket(parsed as ParsedOptions, signal)
          socket = opened
          closed = new Promise((resolve) => {
            onClosed = resolve
          })
          // For TLS postgres.js takes every listener off this socket: then it is `onclose` that tells.
          opened.once('close', ended)
          return opened
        },
        onclose: ended,
      } as Options<Record<string, PostgresType>>)
      const destroy = (): void => {
        socket?.destroy()
      }
      signal.addEventListener('abort', destroy)
      try {
        await sql.unsafe(validationQuery)
        types ??= await arrayTypesOf(sql)
        teachArrays(sql, types)
      } catch (error) {
        destroy()
        await sql.end({ timeout: 0 })
        throw error
      } finally {
        signal.removeEventListener('abort', destroy)
      }
      sockets.set(sql, async () => {
        // The server closes the socket when its backend has gone: only then is there room for another.
        await sql.end({ timeout: 1 })
        const timer = setTimeout(() => socket?.destroy(), 1_000)
        await closed
        clearTimeout(timer)
      })
      return sql
    },
    async validate(sql) {
      await sql.unsafe(validationQuery)
      return true
    },
    async destroy(sql) {
      await sockets.get(sql)?.()
    },
  }
}

/** Connects to the first of the hosts that answers. */
async function openSocket({ host, port, path }: ParsedOptions, signal: AbortSignal): Promise<Socket> {
  if (typeof path === 'string') return open(connect(path), signal)
  let failure: unknown
  for (const [at, name] of host.entries()) {
    if (signal.aborted) break
    try {
      const socket = await open(connect({ host: name, port: port[at] ?? 5432, noDelay: true }), signal)
      // postgres.js reads the name for TLS from here.
      return Object.assign(socket, { host: name, port: port[at] })
    } catch (error) {
      failure = error
    }
  }
  throw failure ?? signal.reason
}

function open(socket: Socket, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      socket.destroy(signal.reason)
    }
    signal.addEventListener('abort', abort)
    socket.once('error', reject)
    socket.once('connect', () => {
      signal.removeEventListener('abort', abort)
      socket.removeListener('error', reject)
      resolve(socket)
    })
  })
}
