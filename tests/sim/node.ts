import { CheckpointManager, durable, runRoutes } from '@gw/checkpoint'
import { sealedCheckpointStore } from '@gw/checkpoint/sealed'
import { type DedupEnv, dedup, RequestDeduplicator } from '@gw/dedup'
import { nodeCrypto } from '@gw/dedup/node'
import { commitHooks } from '@gw/gateway/commit-hooks'
import { type Context, Hono } from 'hono'
import type { Chance } from './chance.ts'
import type { Journal } from './journal.ts'
import type { Lives } from './lives.ts'
import { Host, type Loop } from './loop.ts'
import { carryOut, type Dependency, type Instruction } from './program.ts'
import { simKeyring } from './sealing.ts'
import { StoreClient, type StoreLink } from './store-client.ts'

/** What the nodes of a seed have in common. */
export interface NodeOptions {
  readonly loop: Loop
  readonly link: StoreLink
  readonly journal: Journal
  readonly lives: Lives
  readonly dependency: Dependency
  readonly leaseMs: number
  readonly retentionMs: number
  readonly onUnknown: 'execute' | 'reject'
  readonly frequency: 'every-step' | { readonly everySteps: number }
  readonly sealed: boolean
  readonly apart: boolean
  readonly onError: (error: unknown) => void
}

interface Life {
  readonly host: Host
  readonly app: Hono
  readonly checkpoints: CheckpointManager
  readonly idempotency: RequestDeduplicator
}

const secret = new Uint8Array(32).fill(7)

/** A gateway process that comes and goes: real managers and middlewares on a simulated host. */
export class SimNode {
  readonly name: string
  readonly #chance: Chance
  readonly #options: NodeOptions
  life: Life | undefined
  /** How far the machine's wall clock is off; it outlives processes. */
  wallOffsetMs: number
  #lives = 0

  constructor(name: string, chance: Chance, options: NodeOptions) {
    this.name = name
    this.#chance = chance
    this.#options = options
    this.wallOffsetMs = chance.between(-300, 300)
  }

  start(): void {
    const { loop, link } = this.#options
    const host = new Host(loop, `${this.name}.${++this.#lives}`, this.#chance.part(), this.wallOffsetMs)
    this.life = lifeOf(host, this.name, new StoreClient(host, link), this.#options)
    const { checkpoints } = this.life
    const begin = (): void => {
      checkpoints.start().catch(() => void host.timers.setTimeout(begin, 500))
    }
    begin()
  }

  /** The process is gone; what it was about to do it never does. */
  crash(): void {
    if (this.life === undefined) return
    this.life.host.alive = false
    this.life = undefined
  }

  pause(ms: number): void {
    if (this.life !== undefined) this.life.host.pausedUntil = this.#options.loop.now + ms
  }

  jump(ms: number): void {
    this.wallOffsetMs += ms
    if (this.life !== undefined) this.life.host.wallOffsetMs += ms
  }

  /** Ends the process as SIGTERM does; resolves when it is gone. */
  async handOver(gracefulShutdownMs: number): Promise<void> {
    const { life } = this
    if (life === undefined) return
    await life.checkpoints.stop({ gracefulShutdownMs })
    if (this.life === life) this.crash()
  }
}

function lifeOf(host: Host, nodeId: string, client: StoreClient, options: NodeOptions): Life {
  const { journal, lives, dependency, leaseMs, retentionMs, onUnknown, frequency, sealed, apart, onError } = options
  const { now, random, timers, monotonic } = host
  const checkpoints = new CheckpointManager({
    store: sealed
      ? sealedCheckpointStore({ store: client.checkpointStore(), keyring: simKeyring })
      : client.checkpointStore(),
    nodeId,
    leaseMs,
    now,
    random,
    timers,
    onError,
    inlineWaitMs: leaseMs,
    requestTimeoutMs: 2 * leaseMs,
    settleMs: leaseMs,
    maxRecoveries: 40,
    retentionMs,
    gcIntervalMs: leaseMs,
  })
  const idempotency = new RequestDeduplicator({
    store: client.dedupStore(),
    secret,
    crypto: nodeCrypto,
    encryption: false,
    leaseMs,
    now,
    monotonic,
    random,
    timers,
  })
  checkpoints.join(commitHooks({ idempotency, events: undefined, keysShareRuns: !apart, eventsShareRuns: false }))
  const app = new Hono<DedupEnv>()
  const principal = (c: Context) => c.req.header('x-user')
  const runs = {
    lookup: async (runId: string) => {
      const run = await checkpoints.get(runId)
      return run === undefined ? undefined : { runId, status: run.status }
    },
    attach: (c: Context, runId: string) => checkpoints.attach(c, runId),
    preclude: (runId: string) => checkpoints.preclude(runId),
  }
  app.post(
    '/jobs/:kind',
    durable({
      checkpoints,
      operation: 'job',
      principal,
      ...(sealed ? { subject: principal } : {}),
      frequency,
      around: dedup({ deduplicator: idempotency, principal, join: !apart, runs }),
    }),
    async (c) => {
      const { program } = await c.req.json<{ program: Instruction[] }>()
      const { run } = c.var
      const end = lives.begin(host, run)
      journal.entered(run.id, program)
      try {
        const values = await carryOut(run, program, host, journal, dependency)
        return c.json({ run: run.id, values, entry: ++journal.entries }, 201)
      } finally {
        end()
      }
    },
  )
  app.post('/plain/:kind', dedup({ deduplicator: idempotency, principal, onUnknown }), async (c) => {
    const { ms, answer } = await c.req.json<{ ms: number; answer: number }>()
    const { idempotency: hold } = c.var
    if (host.alive && hold !== undefined)
      journal.plainEntered(`${c.req.header('x-user')} ${c.req.header('idempotency-key')}`, hold.fence)
    await host.work(ms)
    c.header('x-entry', String(++journal.entries))
    // Every other entry says at first that nothing happened, which frees the key.
    if (answer === 503 && journal.failuresOf(c.req.header('idempotency-key')!) === 0) return c.text('not now', 503)
    return c.text(`entered as ${journal.entries}`, 201)
  })
  app.route('/requests', runRoutes({ checkpoints, principal }))
  app.onError((error, c) => {
    // Whatever carries a code is said on purpose.
    if (!('code' in error || 'retryable' in error)) onError(error)
    return c.json({ code: (error as { code?: string }).code ?? 'internal', message: error.message }, 500)
  })
  checkpoints.serve(app)
  return { host, app: app as unknown as Hono, checkpoints, idempotency }
}
