import type { ConnectionFactory, CreateContext } from '@gw/pool'

/** A connection to nothing. */
export interface FakeConnection {
  readonly id: number
  alive: boolean
  lost: (cause?: unknown) => void
}

/** Makes connections to nothing, and does what a test says with them. */
export class FakeServer {
  attempts = 0
  made = 0
  destroyed = 0
  validated: number[] = []
  /** Open, or on the way to be. */
  open = 0
  peak = 0
  connecting = 0
  connectingPeak = 0
  readonly contexts: CreateContext[] = []
  readonly connections: FakeConnection[] = []
  onCreate: (attempt: number) => Promise<void> | void = () => {}
  onValidate: (connection: FakeConnection) => Promise<boolean> | boolean = (connection) => connection.alive
  onDestroy: (connection: FakeConnection) => Promise<void> | void = () => {}

  factory(extra: Partial<ConnectionFactory<FakeConnection>> = {}): ConnectionFactory<FakeConnection> {
    return {
      create: async (context) => {
        const attempt = ++this.attempts
        this.contexts.push(context)
        this.open++
        this.peak = Math.max(this.peak, this.open)
        this.connectingPeak = Math.max(this.connectingPeak, ++this.connecting)
        try {
          await this.onCreate(attempt)
        } catch (error) {
          this.open--
          throw error
        } finally {
          this.connecting--
        }
        const connection: FakeConnection = { id: ++this.made, alive: true, lost: context.lost }
        this.connections.push(connection)
        return connection
      },
      validate: (connection) => {
        this.validated.push(connection.id)
        return this.onValidate(connection)
      },
      destroy: async (connection) => {
        this.destroyed++
        try {
          await this.onDestroy(connection)
        } finally {
          this.open--
        }
      },
      ...extra,
    }
  }
}

/** A promise that is settled from outside. */
export function deferred<Value = void>(): {
  readonly promise: Promise<Value>
  resolve(value: Value): void
  reject(error: unknown): void
} {
  let resolve!: (value: Value) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<Value>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}

/** What a promise rejects with. */
export async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('Expected a rejection')
}

/** Whether a promise has settled. */
export async function settled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol()
  return (
    (await Promise.race([promise.catch(() => {}), new Promise((resolve) => setImmediate(resolve, pending))])) !==
    pending
  )
}
