import { connect, isIP, Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import postgres, { type Options, type PostgresType, type Sql } from 'postgres'
import { guardAnswers } from './answer-guard.ts'
import { checkDeadline, invalid, PostgresError } from './errors.ts'
import type { ParsedOptions } from './line.ts'

/** How a client connects. */
export interface ConnectOptions {
  /** After how long without an answer a connection is dropped, and how long connecting may take: 5,000. */
  readonly deadlineMs?: number
  /** Connections at most: 10. */
  readonly maxConnections?: number
  /** What the server calls us in `pg_stat_activity`: `durable-gateway`. */
  readonly applicationName?: string
}

/**
 * Makes a postgres.js client for `drizzle(client)` that drops a connection when the server owes an answer for longer than
 * `deadlineMs`, and connects again with a back-off of at most a second. It connects when it is first used; who calls closes
 * it, with `client.end()`. Several hosts in the URL are tried in turn. Notices of the server are dropped.
 *
 * Throws `PostgresError` code `invalid_option`.
 */
export function connectPostgres(url: string, options: ConnectOptions = {}): Sql {
  const { deadlineMs = 5_000, maxConnections = 10, applicationName = 'durable-gateway', ...unknown } = options
  const [surplus] = Object.keys(unknown)
  if (surplus !== undefined) throw invalid(surplus, 'no such option', Reflect.get(unknown, surplus))
  // The URL has a password: it is not shown.
  if (typeof url !== 'string' || !/^postgres(ql)?:\/\//.test(url)) {
    throw invalid('url', 'postgres://…', typeof url)
  }
  checkDeadline(deadlineMs)
  if (!Number.isInteger(maxConnections) || maxConnections < 1) {
    throw invalid('maxConnections', 'a whole number above 0', maxConnections)
  }
  const parsed = postgres(url, {
    max: maxConnections,
    connect_timeout: deadlineMs / 1000,
    backoff: (attempt) => (0.5 + Math.random() / 2) * Math.min(3 ** attempt / 100, 1),
    onnotice: () => {},
    connection: { application_name: applicationName },
  }).options as unknown as ParsedOptions
  let attempt = 0
  // One host and no TLS as far as postgres.js knows: it gives up silently when a socket of several hosts fails, and it would
  // hide what is said from the guard. Parsed options are taken as they are.
  const own = {
    ...parsed,
    ssl: false,
    host: parsed.host.slice(0, 1),
    port: parsed.port.slice(0, 1),
    socket: () => openSocket(parsed, attempt++ % parsed.host.length, deadlineMs).catch(failing),
  }
  return postgres(own as unknown as Options<Record<string, PostgresType>>) as unknown as Sql
}

async function openSocket(options: ParsedOptions, index: number, deadlineMs: number): Promise<Socket> {
  const { path } = options
  const host = options.host[index]!
  const socket = path ? connect(path) : connect(options.port[index]!, host)
  socket.setNoDelay(true)
  const timer = setTimeout(
    () => socket.destroy(new PostgresError('unavailable', `No connection to ${path || host} within the deadline`)),
    deadlineMs,
  )
  try {
    await happens(socket, 'connect')
    const speaking = options.ssl ? await secure(socket, options, host) : socket
    guardAnswers(speaking, deadlineMs)
    return speaking
  } catch (error) {
    socket.destroy()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/**
 * A socket that fails at the first write. postgres.js loses a connection for good whose `socket` rejects, and does not clear what
 * it was about to write when the socket closes before that.
 */
function failing(error: Error): Socket {
  const socket = new Socket()
  socket.write = () => {
    process.nextTick(() => socket.destroy(error))
    return true
  }
  return socket
}

const sslRequest = Uint8Array.of(0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f)

/** TLS with the meanings that postgres.js gives to `ssl`: `require`, `allow` and `prefer` do not check the certificate. */
async function secure(socket: Socket, options: ParsedOptions, host: string): Promise<Socket> {
  const { ssl } = options
  const direct = Reflect.get(options, 'sslnegotiation') === 'direct'
  if (!direct) {
    socket.write(sslRequest)
    const [answer] = await happens<[Buffer]>(socket, 'data')
    if (answer[0] !== 0x53) {
      if (ssl === 'prefer') return socket
      throw new PostgresError('unavailable', `${host} does not speak TLS`)
    }
  }
  const unchecked = ssl === 'require' || ssl === 'allow' || ssl === 'prefer'
  const tls: ConnectionOptions = {
    socket,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(direct ? { ALPNProtocols: ['postgresql'] } : {}),
    ...(unchecked ? { rejectUnauthorized: false } : {}),
    ...(typeof ssl === 'object' ? ssl : {}),
  }
  const secured: TLSSocket = connectTls(tls)
  // From here on errors are the secured socket's.
  socket.on('error', () => {})
  await happens(secured, 'secureConnect')
  return secured
}

/** The first `event`; rejects when the socket fails or closes before. */
function happens<Args extends readonly unknown[]>(socket: Socket, event: string): Promise<Args> {
  return new Promise((resolve, reject) => {
    const done = (settle: () => void) => {
      socket.removeListener(event, happened)
      socket.removeListener('error', failed)
      socket.removeListener('close', closed)
      settle()
    }
    const happened = (...args: unknown[]) => done(() => resolve(args as unknown as Args))
    const failed = (error: Error) => done(() => reject(error))
    const closed = () => done(() => reject(new PostgresError('unavailable', 'The connection was closed')))
    socket.on(event, happened)
    socket.on('error', failed)
    socket.on('close', closed)
  })
}
