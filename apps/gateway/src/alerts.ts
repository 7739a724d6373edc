import { webhookPublisher } from '@gw/events/relay'
import type { Gateway } from './gateway.ts'

/** Who is told when something needs a person. */
export interface AlertOptions {
  /** Called by POST with a CloudEvent of type `gw.alert.firing` or `gw.alert.resolved`. */
  readonly webhook: string
  /** Signs each call (Standard Webhooks): base64 behind `whsec_`, or any text of at least 24 characters. */
  readonly secret?: string
  /** How often it is looked: 15 s. */
  readonly intervalMs?: number
  /** How many requests may wait for a handler: 1,000. */
  readonly backlog?: number
}

/** What may be wrong. */
export type AlertName =
  | 'storage_down'
  | 'requests_failed'
  | 'requests_parked'
  | 'backlog'
  | 'breaker_open'
  | 'pool_starved'
  | 'audit_damaged'

/** Something that is wrong now. */
export interface Alert {
  readonly alert: AlertName
  /** Which breaker or pool. */
  readonly subject?: string
  readonly summary: string
}

interface Notice extends Alert {
  readonly id: string
  readonly state: 'firing' | 'resolved'
  /** When it began, and when this was seen. */
  readonly since: number
  readonly at: number
}

const failedForMs = 600_000
const maxNotices = 1_000

/**
 * Looks at the gateway every few seconds, and tells a webhook what has gone wrong and what is well again, each once and in order. A call
 * that fails is made again at the next look. A new process tells anew what is still wrong.
 */
export class Alerts {
  readonly #gateway: Gateway
  readonly #options: AlertOptions
  readonly #publish: ReturnType<typeof webhookPublisher>
  readonly #firing = new Map<string, { readonly alert: Alert; readonly since: number }>()
  readonly #starved = new Set<string>()
  #notices: Notice[] = []
  #told = 0
  #failed: { readonly count: number; readonly grewAt: number | undefined } | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #look: Promise<void> = Promise.resolve()

  constructor(gateway: Gateway, options: AlertOptions) {
    const { webhook, secret } = options
    this.#gateway = gateway
    this.#options = options
    this.#publish = webhookPublisher({ url: webhook, ...(secret === undefined ? {} : { secret: bytesOf(secret) }) })
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), this.#options.intervalMs ?? 15_000)
    this.#timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#look
  }

  /** Looks once, and tells what is to be told. */
  look(now: number = Date.now()): Promise<void> {
    this.#look = this.#look.then(async () => {
      this.#compare(await this.#wrong(now), now)
      await this.#tell()
    })
    return this.#look
  }

  #compare(wrong: ReadonlyMap<string, Alert>, now: number): void {
    for (const [key, alert] of wrong) {
      if (this.#firing.has(key)) continue
      this.#firing.set(key, { alert, since: now })
      this.#note({ ...alert, id: crypto.randomUUID(), state: 'firing', since: now, at: now })
    }
    for (const [key, { alert, since }] of this.#firing) {
      if (wrong.has(key)) continue
      this.#firing.delete(key)
      this.#note({ ...alert, id: crypto.randomUUID(), state: 'resolved', since, at: now })
    }
  }

  #note(notice: Notice): void {
    if (this.#notices.length >= maxNotices) this.#notices.shift()
    this.#notices.push(notice)
  }

  async #tell(): Promise<void> {
    const { settings } = this.#gateway
    while (this.#notices.length > 0) {
      const { id, state, at, since, ...alert } = this.#notices[0]!
      try {
        await this.#publish({
          specversion: '1.0',
          id,
          source: `urn:gw:node:${settings.nodeId}`,
          type: `gw.alert.${state}`,
          time: new Date(at).toISOString(),
          datacontenttype: 'application/json',
          subject: alert.subject ?? alert.alert,
          sequence: String(this.#told + 1),
          streamversion: '1',
          data: { ...alert, state, node: settings.nodeId, since: new Date(since).toISOString() },
        })
      } catch (error) {
        this.#gateway.report(error)
        return
      }
      this.#notices.shift()
      this.#told++
    }
  }

  /** What is wrong now, by what tells it apart. What cannot be read is taken for what it was. */
  async #wrong(now: number): Promise<Map<string, Alert>> {
    const { engine, checkpoints, breakers, pools, keeping } = this.#gateway
    const wrong = new Map<string, Alert>()
    const add = (alert: Alert) => wrong.set(`${alert.alert} ${alert.subject ?? ''}`, alert)
    if (engine.health.state !== 'open')
      add({ alert: 'storage_down', summary: `The storage is ${engine.health.state}: durable requests are refused` })
    const counts = await checkpoints.counts().catch(() => undefined)
    if (counts === undefined) this.#keep(wrong, ['requests_failed', 'requests_parked', 'backlog'])
    else {
      const { backlog = 1_000 } = this.#options
      const failed = counts.failed + counts.dead
      const grew = this.#failed !== undefined && failed > this.#failed.count
      this.#failed = { count: failed, grewAt: grew ? now : this.#failed?.grewAt }
      if (this.#failed.grewAt !== undefined && now - this.#failed.grewAt < failedForMs)
        add({ alert: 'requests_failed', summary: 'Durable requests have failed: mend the cause, then retry them' })
      if (counts.parked > 0) add({ alert: 'requests_parked', summary: 'Durable requests wait for a person to decide' })
      if (counts.queued > backlog)
        add({ alert: 'backlog', summary: `More than ${backlog} durable requests wait for a handler` })
    }
    for (const [name, breaker] of breakers.all)
      if (breaker.state === 'OPEN')
        add({ alert: 'breaker_open', subject: name, summary: `The circuit breaker ${name} is open` })
    for (const [name, pool] of pools.all) {
      const { waitingRequests, activeConnections, maxConnections } = pool.metrics()
      const starved = waitingRequests > 0 && activeConnections >= maxConnections
      // One look is a busy moment.
      if (starved && this.#starved.has(name))
        add({
          alert: 'pool_starved',
          subject: name,
          summary: `Callers wait for a connection of ${name}, and all are lent`,
        })
      if (starved) this.#starved.add(name)
      else this.#starved.delete(name)
    }
    if (keeping.verified?.ok === false)
      add({ alert: 'audit_damaged', summary: 'The audit trail is not what was written: gw events verify says where' })
    return wrong
  }

  #keep(wrong: Map<string, Alert>, names: readonly AlertName[]): void {
    for (const [key, { alert }] of this.#firing) if (names.includes(alert.alert)) wrong.set(key, alert)
  }
}

function bytesOf(secret: string): Uint8Array {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice(6), 'base64') : Buffer.from(secret)
}
