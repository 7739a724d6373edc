import type { Line } from './line.ts'

/** What listening needs. */
export interface NotificationsOptions {
  readonly deadlineMs: number
  openLine(onNotify: (channel: string, payload: string) => void): Promise<Line>
}

/** The listeners of all channels on one connection, which is made again when it breaks. */
export class Notifications {
  readonly #options: NotificationsOptions
  readonly #channels = new Map<string, Set<(payload: string) => void>>()
  #line: Promise<Line> | undefined
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #closed = false

  constructor(options: NotificationsOptions) {
    this.#options = options
  }

  async listen(channel: string, listener: (payload: string) => void): Promise<() => Promise<void>> {
    const listeners = this.#channels.get(channel) ?? new Set()
    this.#channels.set(channel, listeners)
    // One of its own for each call: the same function may listen twice.
    const own = (payload: string) => listener(payload)
    listeners.add(own)
    const stop = async () => {
      if (!listeners.delete(own) || listeners.size > 0) return
      this.#channels.delete(channel)
      if (this.#channels.size === 0) return this.#hangUp()
      const line = await this.#line?.catch(() => undefined)
      await line?.send(`unlisten ${quoted(channel)}`).catch(() => {})
    }
    try {
      if (this.#line === undefined) await this.#connect()
      else await (await this.#line).send(`listen ${quoted(channel)}`)
    } catch (error) {
      listeners.delete(own)
      if (listeners.size === 0) this.#channels.delete(channel)
      throw error
    }
    return stop
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#channels.clear()
    await this.#hangUp()
  }

  async #hangUp(): Promise<void> {
    clearInterval(this.#heartbeat)
    clearTimeout(this.#retry)
    const line = this.#line
    this.#line = undefined
    await (await line?.catch(() => undefined))?.end()
  }

  #connect(): Promise<Line> {
    const opening = this.#open()
    this.#line = opening
    opening.then(
      () => {
        this.#failures = 0
      },
      () => {
        if (this.#line === opening) this.#line = undefined
      },
    )
    return opening
  }

  async #open(): Promise<Line> {
    const line = await this.#options.openLine((channel, payload) => {
      for (const listener of this.#channels.get(channel) ?? []) listener(payload)
    })
    line.onLost = () => {
      clearInterval(this.#heartbeat)
      this.#line = undefined
      this.#reconnect()
    }
    try {
      await Promise.all([...this.#channels.keys()].map((channel) => line.send(`listen ${quoted(channel)}`)))
    } catch (error) {
      line.onLost = undefined
      line.destroy('The server refused to listen')
      throw error
    }
    this.#beat(line)
    return line
  }

  /** A half-open connection says nothing by itself: each `deadlineMs` it has to answer within `deadlineMs`. */
  #beat(line: Line): void {
    clearInterval(this.#heartbeat)
    let answered = true
    this.#heartbeat = setInterval(() => {
      if (!answered) return line.destroy('The server did not answer within the deadline')
      answered = false
      line.send('select 1').then(
        () => {
          answered = true
        },
        () => {},
      )
    }, this.#options.deadlineMs)
    this.#heartbeat.unref?.()
  }

  #reconnect(): void {
    if (this.#closed || this.#channels.size === 0) return
    this.#retry = setTimeout(
      () => {
        if (this.#line === undefined) this.#connect().catch(() => this.#reconnect())
      },
      Math.min(500, 25 * 2 ** this.#failures++),
    )
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
