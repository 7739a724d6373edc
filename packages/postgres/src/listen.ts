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
  #retry: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #closed = false

  constructor(options: NotificationsOptions) {
    this.#options = options
  }

  async listen(channel: string, listener: (payload: string) => void): Promise<() => Promise<void>> {
    const deadlineAt = performance.now() + this.#options.deadlineMs
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
      if (line !== undefined) await this.#send(line, `unlisten ${quoted(channel)}`).catch(() => {})
    }
    try {
      if (this.#line === undefined) await this.#connect()
      else await this.#send(await this.#line, `listen ${quoted(channel)}`, deadlineAt)
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
        if (this.#line !== opening) return
        this.#line = undefined
        this.#reconnect()
      },
    )
    return opening
  }

  async #open(): Promise<Line> {
    const deadlineAt = performance.now() + this.#options.deadlineMs
    const line = await this.#options.openLine((channel, payload) => {
      for (const listener of this.#channels.get(channel) ?? []) listener(payload)
    })
    line.onLost = () => {
      this.#line = undefined
      this.#reconnect()
    }
    try {
      await Promise.all(
        [...this.#channels.keys()].map((channel) => this.#send(line, `listen ${quoted(channel)}`, deadlineAt)),
      )
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
    const heartbeat = setInterval(() => {
      if (line.lost !== undefined) clearInterval(heartbeat)
      else this.#send(line, 'select 1').catch(() => {})
    }, this.#options.deadlineMs)
    heartbeat.unref?.()
  }

  /** Drops a connection that has not answered by then. */
  async #send(
    line: Line,
    text: string,
    deadlineAt: number = performance.now() + this.#options.deadlineMs,
  ): Promise<void> {
    const late = () => line.destroy('The server did not answer within the deadline')
    const timer = setTimeout(late, Math.max(1, deadlineAt - performance.now()))
    try {
      await line.send(text)
    } finally {
      clearTimeout(timer)
    }
  }

  #reconnect(): void {
    if (this.#closed || this.#channels.size === 0) return
    clearTimeout(this.#retry)
    this.#retry = setTimeout(
      () => {
        // A call of `listen` may be connecting already, or the last listener may have stopped.
        if (this.#line === undefined && this.#channels.size > 0) this.#connect().catch(() => {})
      },
      Math.min(500, 25 * 2 ** this.#failures++),
    )
  }
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}
