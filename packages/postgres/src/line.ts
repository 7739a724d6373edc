import { connect, type Socket } from 'node:net'
import postgres, { type Options, type PostgresType, type Sql } from 'postgres'
import { fetchArrayTypes } from './array-types.ts'
import { closedError, PostgresError, textOf } from './errors.ts'
import { gatherWrites } from './gather-writes.ts'
import type { Durability } from './unit.ts'

/** A postgres.js client, whatever types it was made with. */
export type Client = Sql<Record<string, unknown>>

/** The options that a postgres.js client keeps, as its `socket` factory gets them. */
export type ParsedOptions = Client['options'] & {
  readonly path?: string | undefined
  readonly socket?: ((options: ParsedOptions) => Promise<Socket>) | undefined
}

/** What postgres.js gives for one statement. */
export interface Rows extends Array<Record<string, unknown>> {
  readonly command: string
}

/** How values of each type are written and read, by the type's number. */
export interface TypeTables {
  readonly parsers: Record<number, (text: string) => unknown>
  readonly serializers: Record<number, (value: unknown) => unknown>
}

/** What a line is for. */
export interface LineOptions {
  readonly types: TypeTables
  readonly deadlineMs: number
  /** Whether the server ends statements, and sessions idle in a transaction, at the deadline: not for migrations. */
  readonly limited: boolean
  /**
   * Whether rows are only ever looked up by key here. A plan that PostgreSQL keeps from when a table was small may go over all of
   * it, long after it has grown; on these connections it looks into the index from the start.
   */
  readonly byKey?: boolean
  readonly onNotify?: (channel: string, payload: string) => void
}

/**
 * One connection, for as long as it lasts: made from the options of a client, never made again, so that a transaction
 * cannot be continued on another one without notice.
 */
export class Line {
  readonly #client: Client
  readonly #deadlineMs: number
  #socket: Socket | undefined
  #lost: PostgresError | undefined
  #level: Durability = 'memory'
  #levelReadAt = 0
  #warned = false
  /** Statements sent and not answered. */
  pending = 0
  /** Called once, when the connection is gone. */
  onLost: ((error: PostgresError) => void) | undefined

  /** Rejects with `unavailable` when there is no connection, to a server that takes writes, within the deadline. */
  static async open(template: ParsedOptions, options: LineOptions): Promise<Line> {
    const line = new Line(template, options)
    const timer = setTimeout(() => line.destroy('The server did not let us in within the deadline'), options.deadlineMs)
    try {
      await line.#greet(options)
      return line
    } catch (cause) {
      line.destroy('The connection was refused')
      throw new PostgresError('unavailable', `PostgreSQL is not available: ${textOf(cause)}`, { cause })
    } finally {
      clearTimeout(timer)
    }
  }

  private constructor(template: ParsedOptions, { types, deadlineMs, onNotify }: LineOptions) {
    this.#deadlineMs = deadlineMs
    let opened = false
    const options = {
      ...template,
      ...types,
      // postgres.js gives up without a word when a socket fails and there is another host.
      host: template.host.slice(0, 1),
      port: template.port.slice(0, 1),
      max: 1,
      fetch_types: false,
      idle_timeout: null,
      max_lifetime: null,
      connect_timeout: 0,
      target_session_attrs: null,
      no_subscribe: true,
      shared: { retries: 0, typeArrayMap: {} },
      parameters: {},
      onnotice: () => {
        this.#warned = true
      },
      onnotify: onNotify,
      onclose: () => this.#close('The connection was lost'),
      socket: async () => {
        if (opened || this.#lost !== undefined) throw this.#lost ?? lostError('The connection was lost')
        opened = true
        const socket = await (template.socket ?? openSocket)(template)
        if (this.#lost !== undefined) {
          socket.destroy()
          throw this.#lost
        }
        gatherWrites(socket)
        this.#socket = socket
        return socket
      },
    }
    // Parsed options are taken as they are: https://github.com/porsager/postgres/blob/v3.4.9/src/index.js, `parseOptions`.
    this.#client = postgres(options as unknown as Options<Record<string, PostgresType>>) as unknown as Client
  }

  get lost(): PostgresError | undefined {
    return this.#lost
  }

  /** How durable a commit on this line is, as the server said lately. */
  get level(): Durability {
    return this.#level
  }

  /** Sends a statement behind what was sent before. Rejects at once when the connection is gone. */
  send(text: string, parameters: readonly unknown[] = [], prepare = false): Promise<Rows> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost)
    this.pending++
    const answered = () => {
      this.pending--
    }
    const rows = this.statement(text, parameters, prepare).execute() as unknown as Promise<Rows>
    rows.then(answered, answered)
    return rows
  }

  /** A statement in the form that drizzle takes, sent when it is awaited. */
  statement(text: string, parameters: readonly unknown[], prepare: boolean): ReturnType<Client['unsafe']> {
    if (this.#lost !== undefined) throw this.#lost
    return this.#client.unsafe(text, parameters as never[], { prepare })
  }

  /** Asks again, behind what was sent, when the last answer is older than a second: settings change under a running server. */
  refreshLevel(): void {
    if (performance.now() - this.#levelReadAt < 1_000) return
    this.#levelReadAt = performance.now()
    this.send(settings).then(
      ([row]) => {
        this.#level = levelOf(row ?? {})
      },
      () => {},
    )
  }

  /** Forgets the warnings so far; `committedLevel` then tells whether the commit came without one. */
  beginCommit(): void {
    this.#warned = false
  }

  /** A commit whose wait for the standbys was cancelled is on this machine only, and comes with a warning. */
  committedLevel(): Durability {
    return this.#warned && this.#level === 'replicated' ? 'fsync' : this.#level
  }

  /** Drops the connection at once; what was sent and not answered rejects. */
  destroy(reason: string): void {
    this.#close(reason)
  }

  /** Ends the connection after what was sent has been answered, or at the deadline. */
  async end(): Promise<void> {
    if (this.#lost !== undefined) return
    this.onLost = undefined
    this.#lost = closedError()
    await this.#client.end({ timeout: this.#deadlineMs / 1_000 })
    this.#socket?.destroy()
  }

  async #greet({ types, deadlineMs, limited, byKey = false }: LineOptions): Promise<void> {
    const limit = limited ? `${deadlineMs}` : '0'
    const [row] = await this.send(
      `select set_config('statement_timeout', '${limit}', false),
        set_config('idle_in_transaction_session_timeout', '${limit}', false), ${byKey ? planByKey : ''}${settings.slice('select '.length)},
        current_setting('transaction_read_only') as read_only`,
    )
    if (row?.['read_only'] === 'on') throw new Error('The server takes no writes (it is a standby, or read-only)')
    this.#level = levelOf(row ?? {})
    this.#levelReadAt = performance.now()
    if (types.serializers[textArray] === undefined) await fetchArrayTypes(this, types)
  }

  #close(reason: string): void {
    if (this.#lost !== undefined) return
    this.#lost = lostError(reason)
    this.#socket?.destroy()
    this.#client.end({ timeout: 0 }).catch(() => {})
    this.onLost?.(this.#lost)
  }
}

/** The number of the type `text[]`. */
const textArray = 1009

const planByKey = ['enable_seqscan', 'enable_mergejoin', 'enable_hashjoin', 'jit']
  .map((name) => `set_config('${name}', 'off', false), `)
  .join('')

/** Asks what `levelOf` needs to know. */
export const settings = `select current_setting('synchronous_commit') as synchronous_commit,
  current_setting('synchronous_standby_names') as standbys, current_setting('fsync') as fsync`

/**
 * What the server does before it answers a COMMIT. With `synchronous_commit=off` the record is still in the server's own
 * memory; with `fsync=off` it is in the operating system's.
 */
export function levelOf(row: Readonly<Record<string, unknown>>): Durability {
  if (row['synchronous_commit'] === 'off') return 'memory'
  if (row['fsync'] === 'off') return 'os'
  return row['synchronous_commit'] === 'local' || row['standbys'] === '' ? 'fsync' : 'replicated'
}

function lostError(message: string): PostgresError {
  return new PostgresError('unavailable', message)
}

/** A connected socket to the first host of the client, for postgres.js to speak (and to encrypt) on. */
function openSocket({ path, host, port }: ParsedOptions): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = path ? connect(path) : connect(port[0] as number, host[0] as string)
    socket.setNoDelay(true)
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.removeListener('error', reject)
      resolve(Object.assign(socket, { host: host[0] }))
    })
  })
}
