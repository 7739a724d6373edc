import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { claimPort } from './ports.ts'

/**
 * What the proxy does with connections and bytes:
 *
 * - `pass`: forwards everything.
 * - `blackhole`: loses what either side sends, its closing too, and keeps both sockets open; a new connection is accepted and hears nothing.
 * - `half-open-c2s`, `half-open-s2c`: loses what goes from client to server, or from server to client; the other direction passes.
 * - `reset`: answers every connection, open or new, with a TCP reset.
 * - `refuse`: as if the server were gone: open connections are reset, and new ones are refused by the kernel.
 * - `{ delayMs }`: forwards everything, each byte `delayMs` late, in order.
 */
export type FaultMode =
  | 'pass'
  | 'blackhole'
  | 'half-open-c2s'
  | 'half-open-s2c'
  | 'reset'
  | 'refuse'
  | { readonly delayMs: number }

/** From client to server, or from server to client. */
export type Direction = 'c2s' | 's2c'

/** What happened so far, so that a test can prove that its fault fired. */
export interface FaultCounts {
  /** Accepted ones. Those that `refuse` turned away are not among them: the kernel answers these. */
  readonly connections: number
  readonly open: number
  readonly forwardedBytes: Readonly<Record<Direction, number>>
  readonly lostBytes: Readonly<Record<Direction, number>>
  /** Connections that were reset by `reset`, `refuse`, or `pass` after they had lost bytes. */
  readonly resets: number
  /** Pieces that were forwarded late. */
  readonly delayed: number
}

export interface FaultProxyOptions {
  /**
   * Is shown each piece of bytes before it is dealt with, and may call `set`, which then holds for this piece already. For faults at an exact point, such as
   * losing the answer to a COMMIT that the server has got.
   */
  readonly onBytes?: (direction: Direction, bytes: Buffer, set: (mode: FaultMode) => void) => void
}

export interface FaultProxy {
  /** The target's URL with the proxy's address in it; `tcp://…` where the target was given as host and port. */
  readonly url: string
  readonly host: string
  readonly port: number
  readonly mode: FaultMode
  readonly counts: FaultCounts
  /**
   * Changes the mode, for open connections too, at once; resolves when the port listens or refuses accordingly. Back in `pass` a connection that lost bytes
   * is reset, as a healed network does to one whose other end has given up: its stream cannot be continued.
   */
  set(mode: FaultMode): Promise<void>
  /** Resets all connections and stops listening. */
  close(): Promise<void>
}

/** Puts a TCP proxy with switchable faults in front of `target`, a URL with host and port or those two. */
export async function faultProxy(
  target: string | { readonly host?: string; readonly port: number },
  options: FaultProxyOptions = {},
): Promise<FaultProxy> {
  const upstream = address(target)
  const claim = await claimPort()
  const links = new Set<Link>()
  const state: State = {
    mode: 'pass',
    onBytes: options.onBytes,
    set: (mode) => void set(mode),
    counts: {
      connections: 0,
      open: 0,
      forwardedBytes: { c2s: 0, s2c: 0 },
      lostBytes: { c2s: 0, s2c: 0 },
      resets: 0,
      delayed: 0,
    },
  }
  let server: Server | undefined
  let changes = Promise.resolve()

  const listen = async () => {
    if (server) return
    server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      state.counts.connections++
      state.counts.open++
      const link = new Link(client, upstream, state, () => {
        state.counts.open--
        links.delete(link)
      })
      links.add(link)
      link.obey()
    }).listen({ host: '127.0.0.1', port: claim.port })
    await once(server, 'listening')
  }
  const refuse = async () => {
    const closing = server
    server = undefined
    if (closing) await new Promise((resolve) => closing.close(resolve))
  }
  const set = (mode: FaultMode): Promise<void> => {
    state.mode = mode
    for (const link of [...links]) link.obey()
    // One change of the port after the other, and only the last mode counts.
    changes = changes.then(() => (state.mode === 'refuse' ? refuse() : listen()))
    return changes
  }
  await listen()

  return {
    url: upstream.url(claim.port),
    host: '127.0.0.1',
    port: claim.port,
    get mode() {
      return state.mode
    },
    get counts() {
      return structuredClone(state.counts)
    },
    set,
    async close() {
      await set('refuse')
      claim.release()
    },
  }
}

interface Upstream {
  readonly host: string
  readonly port: number
  readonly url: (port: number) => string
}

function address(target: string | { readonly host?: string; readonly port: number }): Upstream {
  if (typeof target !== 'string') {
    const { host = '127.0.0.1', port } = target
    return { host, port, url: (own) => `tcp://127.0.0.1:${own}` }
  }
  const url = new URL(target)
  if (url.port === '') throw new Error(`Expected a URL with a port, got \`${target}\``)
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: Number(url.port),
    url(own) {
      // By text, because URL adds a path to one that has none, and keeps no host of a scheme it does not know.
      return target.replace(url.host, `127.0.0.1:${own}`)
    },
  }
}

interface State {
  mode: FaultMode
  readonly onBytes: FaultProxyOptions['onBytes']
  readonly set: (mode: FaultMode) => void
  readonly counts: {
    connections: number
    open: number
    forwardedBytes: Record<Direction, number>
    lostBytes: Record<Direction, number>
    resets: number
    delayed: number
  }
}

/** One connection through the proxy. */
class Link {
  readonly #client: Socket
  readonly #upstream: Upstream
  readonly #state: State
  readonly #onEnd: () => void
  #server: Socket | undefined
  #damaged = false
  #ended = false

  constructor(client: Socket, upstream: Upstream, state: State, onEnd: () => void) {
    this.#client = client
    this.#upstream = upstream
    this.#state = state
    this.#onEnd = onEnd
    client.pause()
    this.#attend(client)
  }

  /** Acts on the mode as it is now. */
  obey(): void {
    const { mode } = this.#state
    if (mode === 'reset' || mode === 'refuse' || (mode === 'pass' && this.#damaged)) {
      this.#state.counts.resets++
      this.#end()
      return
    }
    if (this.#server) return
    if (mode === 'blackhole' && !this.#damaged) {
      // Heard by no one: there is nothing that could be continued later.
      this.#damaged = true
      this.#client.on('data', (bytes) => {
        this.#state.counts.lostBytes.c2s += bytes.length
      })
      this.#client.resume()
      return
    }
    this.#join()
  }

  #join(): void {
    if (this.#damaged) return
    const server = connect({ host: this.#upstream.host, port: this.#upstream.port, allowHalfOpen: true, noDelay: true })
    this.#server = server
    this.#attend(server)
    this.#carry('c2s', this.#client, server)
    this.#carry('s2c', server, this.#client)
  }

  #carry(direction: Direction, from: Socket, to: Socket): void {
    const { counts } = this.#state
    const late: { readonly due: number; readonly deliver: () => void }[] = []
    let awaited = false
    const awake = (afterMs: number) => {
      if (!awaited) setTimeout(deliverDue, afterMs)
      awaited = true
    }
    const deliverDue = () => {
      awaited = false
      while (late[0] && late[0].due <= performance.now()) late.shift()?.deliver()
      if (late[0]) awake(late[0].due - performance.now())
    }
    // What is already late keeps its place before what comes after a change of the mode.
    const pass = (deliver: () => void) => {
      const { mode } = this.#state
      const delayMs = typeof mode === 'object' ? mode.delayMs : 0
      if (delayMs === 0 && late.length === 0) return deliver()
      counts.delayed++
      late.push({ due: performance.now() + delayMs, deliver })
      awake(delayMs)
    }

    from.on('data', (bytes) => {
      this.#state.onBytes?.(direction, bytes, this.#state.set)
      if (this.#ended) return
      if (this.#loses(direction)) {
        counts.lostBytes[direction] += bytes.length
        this.#damaged = true
        return
      }
      pass(() => {
        if (this.#ended) return
        counts.forwardedBytes[direction] += bytes.length
        if (to.write(bytes)) return
        from.pause()
        to.once('drain', () => from.resume())
      })
    })
    from.on('end', () => {
      if (this.#loses(direction)) this.#damaged = true
      else pass(() => to.end())
    })
    from.resume()
  }

  #loses(direction: Direction): boolean {
    const { mode } = this.#state
    return mode === 'blackhole' || mode === `half-open-${direction}`
  }

  #attend(socket: Socket): void {
    socket.on('error', () => {})
    socket.on('close', (failed) => {
      const direction = socket === this.#client ? 'c2s' : 's2c'
      // A reset by one side reaches the other only where its direction passes.
      if (failed && !this.#ended && this.#loses(direction)) {
        this.#damaged = true
        return
      }
      if (failed || (this.#client.destroyed && (!this.#server || this.#server.destroyed))) this.#end()
    })
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    for (const socket of [this.#client, this.#server]) {
      if (socket && !socket.destroyed) socket.resetAndDestroy()
    }
    this.#onEnd()
  }
}
