import { hostname } from 'node:os'
import { CircuitBreaker, type CircuitBreakerOptions, loadCockatiel } from '@gw/breaker'
import { type BreakerSharing, shareBreakers } from '@gw/breaker/sharing'
import { CheckpointManager } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { type DedupOptions, dedup, type LinkedRuns, RequestDeduplicator } from '@gw/dedup'
import { nodeCrypto } from '@gw/dedup/node'
import { EventStore } from '@gw/events'
import type { Database } from '@gw/sqlite'
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { Admission, defaultMaxConcurrentRequests } from './admission.ts'
import { Alerts } from './alerts.ts'
import { AuditQueue } from './audit-queue.ts'
import { type BreakerSnapshots, breakerSnapshots } from './breaker-snapshots.ts'
import { GatewayBreakers } from './breakers.ts'
import { answerOf, commitHooks } from './commit-hooks.ts'
import { RecentFigures } from './dashboard/recent-figures.ts'
import { type EmbeddedEngine, type Engine, openEngine } from './engine.ts'
import { errorResponse } from './error-response.ts'
import { GatewayError } from './errors.ts'
import { EventKeeping } from './event-keeping.ts'
import type { DurableEnv, DurableRouteOptions, GatewayEnv } from './gateway-env.ts'
import { registerGauges } from './gauges.ts'
import { healthOf, healthRoutes } from './health.ts'
import { loggedError } from './logged-error.ts'
import { Metrics } from './metrics.ts'
import { notFound } from './not-found.ts'
import { checkOptions, type GatewayOptions } from './options.ts'
import { OtlpExporter } from './otlp.ts'
import { parkWhenAway } from './park.ts'
import { durableWay, requestWay } from './pipeline.ts'
import { GatewayPools } from './pools.ts'
import { eventPrivacyOf, type GatewayKeyring, keyringOf, withSubjectsSealed } from './privacy.ts'
import { type ProxyRouteOptions, proxyRoute, Upstreams } from './proxy/routes.ts'
import type { UpstreamOptions } from './proxy/upstream.ts'
import { requestRoutes } from './request-routes.ts'
import { runSpans } from './run-spans.ts'
import { transitionNotes } from './run-transitions.ts'
import { type RunningGateway, serve } from './serve.ts'
import { shownOptions } from './shown-options.ts'
import { StorageUpkeep } from './storage-upkeep.ts'
import { traceOf, traceparentOf } from './trace.ts'
import { versionOf } from './version.ts'

/** What the gateway decided from its options, for the parts that ask. */
export interface GatewaySettings {
  /** Whether routes take idempotency keys where they do not say. */
  readonly deduplicate: boolean
  /** Whether key, run and event commit in one transaction. */
  readonly sharedCommit: boolean
  readonly dataDir: string
  readonly nodeId: string
  readonly gracefulShutdownMs: number
  readonly drainDelayMs: number
}

type Hook = () => void | Promise<void>

/** A Hono app with durability: durable routes, idempotency keys, an audit trail, breakers and pools. */
export class Gateway extends Hono<GatewayEnv> {
  readonly title: string
  readonly description: string
  readonly settings: GatewaySettings
  /** Where runs, keys and events are kept. */
  readonly engine: Engine
  readonly checkpoints: CheckpointManager
  readonly idempotency: RequestDeduplicator
  readonly events: EventStore
  readonly breakers: GatewayBreakers
  readonly pools: GatewayPools
  /** Appends to the audit trail what no request waits for. */
  readonly audit: AuditQueue
  readonly metrics: Metrics | undefined
  /** Sends spans and figures to a collector, where there is one. */
  readonly traces: OtlpExporter | undefined
  /** Tells a webhook what goes wrong, where there is one. */
  readonly alerts: Alerts | undefined
  /** The last hour of this process, for the dashboard. */
  readonly figures: RecentFigures = new RecentFigures()
  readonly admission: Admission
  readonly upstreams: Upstreams
  /** How dedup finds the run behind a key. */
  readonly linkedRuns: LinkedRuns
  /** Notes an error that nobody is answered with. */
  readonly report: (error: unknown) => void
  /** Turns what a handler threw into an answer. */
  readonly errorAnswer: (error: Error, c: Context) => Promise<Response>
  /** The audit trail's archive, signed checkpoints and projections. */
  readonly keeping: EventKeeping
  /** Holds the keys of subjects, where there is one. */
  readonly keyring: GatewayKeyring | undefined
  readonly storage: StorageUpkeep
  /** The configuration in force, secrets and all. */
  configuration: () => unknown
  /** Why the newest configuration file is not in force, where it is not. */
  configRefusal: string | undefined
  /** The options that the newest file changes and that take effect with the next start only. */
  configPending: readonly string[] = []
  readonly #options: GatewayOptions
  readonly #startup: Hook[] = []
  readonly #shutdown: Hook[] = []
  #started: Promise<void> | undefined
  #running = false
  #snapshotDue = false
  #drain: (() => void) | undefined
  readonly #closing = new AbortController()
  readonly #snapshots: BreakerSnapshots
  /** How the nodes share their breakers; only where the engine has a store for it. */
  readonly breakerSharing: BreakerSharing | undefined
  /** The longest body that any route takes: what the listener lets in. */
  #maxBodyBytes: number

  constructor(options: GatewayOptions, engine: Engine) {
    super()
    const {
      title = 'Durable Gateway',
      description = '',
      dataDir = './data',
      nodeId = hostname().replaceAll(/[^A-Za-z0-9._:-]/g, '-') || 'node',
      serverType = 'durable',
      persistRequests = true,
      deduplicate = serverType === 'durable',
      idempotencyWindowMs = 3_600_000,
      maxWorkers = 1_000,
      maxConcurrentRequests = defaultMaxConcurrentRequests,
      maxBodyBytes = 1_048_576,
      requestTimeoutMs = 300_000,
      gracefulShutdownMs = 30_000,
      drainDelayMs = 5_000,
      leaseMs = 15_000,
      trustedProxies,
      viaName,
      metrics: { enabled = true, namespace = 'gw' } = {},
      telemetry,
      logger,
      secret,
      failpoint,
    } = options
    this.#options = options
    this.title = title
    this.description = description
    this.engine = engine
    this.#snapshots = breakerSnapshots(engine.directory)
    this.admission = new Admission(maxConcurrentRequests)
    this.upstreams = new Upstreams({
      ...(trustedProxies === undefined ? {} : { trustedProxies }),
      ...(viaName === undefined ? {} : { viaName }),
    })
    this.metrics = enabled ? new Metrics(namespace) : undefined
    this.traces =
      telemetry &&
      new OtlpExporter(telemetry, {
        nodeId,
        version: versionOf(),
        registry: this.metrics?.registry,
        onDropped: () => this.metrics?.count('telemetry.dropped'),
      })
    const count = ({ type }: { readonly type: string }) => {
      this.figures.count(type)
      this.metrics?.count(type)
    }

    this.configuration = () => shownOptions(options)
    this.report = (error) => logger?.error({ err: loggedError(error) })
    this.keyring = keyringOf(options.privacy ?? {}, engine)
    const privacy = eventPrivacyOf(options.privacy ?? {}, this.keyring)
    this.keeping = new EventKeeping(options.audit ?? {}, engine.directory, this.report)
    this.events =
      options.events ??
      new EventStore({
        store: engine.eventLog(),
        ...(this.keeping.segments === undefined ? {} : { archive: this.keeping.segments }),
        ...(privacy === undefined ? {} : { privacy }),
      })
    this.audit = new AuditQueue(this.events, (error) =>
      logger?.error({ err: loggedError(error) }, 'an audit event was lost'),
    )
    this.breakers = new GatewayBreakers(({ type, name, actor, at, ...transition }) => {
      this.metrics?.count(type)
      this.audit.append(
        type,
        { ...transition, at: at.toISOString() },
        { subject: name, ...(actor === undefined ? {} : { actor }) },
      )
      // A restart is seldom in the same millisecond: one write for what happened in this turn.
      if (this.#snapshotDue || !this.#running) return
      this.#snapshotDue = true
      setImmediate(() => this.#saveBreakers())
    })
    this.pools = new GatewayPools(({ pool, factory, type, cause }) => {
      this.metrics?.count(`pool.${type}`)
      const reason = cause instanceof Error ? { reason: loggedError(cause).message } : {}
      this.audit.append(`pool.${type}`, { pool, factory, ...reason }, { subject: pool })
    })
    for (const [name, breaker] of Object.entries(options.breakers ?? {})) this.breakers.add(name, breaker)
    for (const pool of options.pools ?? []) this.pools.add(pool)
    this.breakerSharing =
      engine.breakerStore &&
      shareBreakers({
        store: engine.breakerStore,
        breakers: this.breakers.all,
        node: nodeId,
        onWarning: ({ message, cause }) => logger?.warn({ err: loggedError(cause) }, message),
      })
    this.idempotency =
      options.deduplicator ??
      new RequestDeduplicator({
        store: engine.dedupStore(),
        windowMs: idempotencyWindowMs,
        crypto: nodeCrypto,
        onTransition: count,
        ...(secret === undefined ? {} : { secret }),
      })
    this.checkpoints =
      options.checkpoints ??
      new CheckpointManager({
        store: withSubjectsSealed(persistRequests ? engine.checkpointStore() : memoryCheckpointStore(), this.keyring),
        nodeId,
        leaseMs,
        maxBodyBytes,
        requestTimeoutMs,
        maxConcurrentRuns: maxWorkers,
        ...(failpoint === undefined ? {} : { failpoint }),
      })
    const runs = this.checkpoints.store.database
    const keysShareRuns = this.idempotency.keyStore.database === runs
    const eventsShareRuns = this.events.store.database === runs
    const note = transitionNotes(this.events, {
      onDropped: () => this.metrics?.count('audit.dropped'),
      onError: this.report,
    })
    const spans = this.traces && runSpans(this.traces)
    this.checkpoints.join({
      ...commitHooks({
        idempotency: this.idempotency,
        events: serverType === 'durable' ? this.events : undefined,
        keysShareRuns,
        eventsShareRuns,
        subjectsSealed: this.keyring !== undefined && options.checkpoints === undefined,
        traceparentOf: (c) => this.traceparentOf(c),
      }),
      translateError: parkWhenAway,
      onTransition: (transition) => {
        count(transition)
        spans?.(transition)
        if (serverType === 'durable') note(transition)
      },
    })
    this.settings = {
      deduplicate,
      sharedCommit: keysShareRuns,
      dataDir,
      nodeId,
      gracefulShutdownMs,
      drainDelayMs,
    }
    this.storage = new StorageUpkeep(engine, this.checkpoints.store)
    this.#maxBodyBytes = maxBodyBytes
    this.linkedRuns = {
      lookup: async (runId) => {
        const run = await this.checkpoints.get(runId)
        if (run === undefined) return undefined
        const outcome = await this.checkpoints.outcome(runId)
        return { runId, status: run.status, ...(outcome === undefined ? {} : { outcome: answerOf(run, outcome) }) }
      },
      attach: (c, runId) => this.checkpoints.attach(c, runId),
      preclude: (runId) => this.checkpoints.preclude(runId),
    }
    this.use(
      requestWay({
        admission: this.admission,
        metrics: this.metrics,
        figures: this.figures,
        log:
          logger &&
          ((c, durationMs) => {
            const failure = c.get('failure') as Error | undefined
            logger[failure === undefined ? 'info' : 'error']({
              requestId: c.get('requestId'),
              traceId: traceOf(c).traceId,
              method: c.req.method,
              path: c.req.path,
              status: c.get('sentStatus') ?? c.res.status,
              durationMs: Math.round(durationMs * 10) / 10,
              ...(failure === undefined ? {} : { err: loggedError(failure) }),
            })
          }),
        traces: this.traces,
      }),
    )
    this.errorAnswer = (error, c) =>
      errorResponse(error, c, (cause) => {
        // A request says it with its own line; a resumed one has none.
        if (c.get('inRequest') === true) c.set('failure', cause)
        else logger?.error({ requestId: c.get('requestId'), traceId: traceOf(c).traceId, err: loggedError(cause) })
      })
    this.onError(this.errorAnswer)
    this.notFound(notFound(this))
    this.get('/health', (c) => c.json(healthOf(this), healthOf(this).status === 'ok' ? 200 : 503))
    this.route('/health', healthRoutes(this))
    this.route('/requests', requestRoutes(this))
    if (this.metrics !== undefined) registerGauges(this.metrics, this)
    this.alerts = options.alerts && new Alerts(this, options.alerts)
  }

  /** The embedded database, for tables of your own. Throws `no_embedded_database` where the gateway runs on another engine. */
  get database(): Database {
    if (this.engine.kind === 'sqlite') return (this.engine as EmbeddedEngine).database
    throw new GatewayError(
      'no_embedded_database',
      'This gateway keeps its state in PostgreSQL and has no embedded database',
    )
  }

  /** Who is asking, as the `principal` option says; `anonymous` where it says nothing. Read once a request. */
  principalOf(c: Context): string {
    const known: unknown = c.get('principal')
    if (typeof known === 'string') return known
    const principal = this.#options.principal?.(c) || 'anonymous'
    c.set('principal', principal)
    return principal
  }

  /** The `traceparent` for a call that a handler makes: the trace of its request, also where that is resumed after a crash. */
  traceparentOf(c: Context): string {
    return traceparentOf(traceOf(c))
  }

  /** Makes a route durable: its request is recorded before the handler runs, and it finishes after a crash. */
  durable(options: DurableRouteOptions): MiddlewareHandler<DurableEnv> {
    this.admitBodies(options.maxBodyBytes)
    return durableWay(this, options)
  }

  /** Names a service behind the gateway, for `proxy` routes. */
  upstream(
    name: string,
    {
      breaker,
      ...options
    }: UpstreamOptions & {
      /** Guards every call to it by a circuit breaker of the same name. */
      readonly breaker?: Omit<CircuitBreakerOptions, 'name'>
    },
  ): this {
    this.upstreams.add(name, options)
    if (breaker !== undefined) this.breakers.add(name, new CircuitBreaker({ ...breaker, name }))
    return this
  }

  /** Passes requests for `path` on to an upstream. */
  proxy(path: string, options: ProxyRouteOptions): this {
    proxyRoute(this, path, options)
    return this
  }

  /** Lets the listener take bodies of that length, for a route that does. */
  admitBodies(maxBytes = 0): void {
    this.#maxBodyBytes = Math.max(this.#maxBodyBytes, maxBytes)
  }

  /** Gives a route that is not durable idempotency keys. */
  deduplicated(options: Partial<Omit<DedupOptions, 'deduplicator' | 'principal'>> = {}): MiddlewareHandler {
    return dedup({ ...options, deduplicator: this.idempotency, principal: (c) => this.principalOf(c) })
  }

  /** Runs `hook` before the gateway is ready; a failure stops the start. */
  onStartup(hook: Hook): this {
    this.#startup.push(hook)
    return this
  }

  /** Runs `hook` after the last request, before the stores close; last registered, first run. */
  onShutdown(hook: Hook): this {
    this.#shutdown.unshift(hook)
    return this
  }

  /** Adds a middleware for every path. */
  addMiddleware(middleware: MiddlewareHandler): this {
    this.use(middleware)
    return this
  }

  /** Adds a middleware for every path under a name that stack traces and profiles show. */
  middleware(name: string, middleware: MiddlewareHandler): this {
    Object.defineProperty(middleware, 'name', { value: name })
    return this.addMiddleware(middleware)
  }

  /** Records one value under the application's own metric name. Nothing happens where metrics are off. */
  recordMetric(name: string, value: number, labels: Readonly<Record<string, string | number | boolean>> = {}): void {
    this.metrics?.record(name, value, labels)
  }

  /** Opens the stores, resumes what a crash left, and runs the start-up hooks. `run` does this itself. */
  start(): Promise<void> {
    this.#started ??= (async () => {
      await this.events.start()
      await this.idempotency.start()
      await this.keeping.start(this.events)
      for (const hook of this.#startup) await hook()
      this.traces?.start()
      this.pools.start()
      if (this.breakers.all.size > 0) {
        await loadCockatiel()
        this.#snapshots.restore(this.breakers.all)
      }
      // Without a breaker, too: a reload may bring one.
      await this.breakerSharing?.start()
      this.#running = true
      this.checkpoints.serve(this)
      await this.checkpoints.start()
      this.alerts?.start()
      this.admission.phase = 'ready'
    })()
    return this.#started
  }

  /** Starts and serves on `host` and `port`, with the admin API on its own listener. */
  async run({
    host = '127.0.0.1',
    port = 8000,
  }: {
    readonly host?: string
    readonly port?: number
  } = {}): Promise<RunningGateway> {
    const running = await serve(this, {
      host,
      port,
      admin: this.#options.admin,
      maxBodyBytes: () => this.#maxBodyBytes,
      onStop: () => this.#closing.abort(),
      close: () => this.#closeParts(),
    })
    this.#drain = () => {
      void running.stop().catch(this.report)
    }
    return running
  }

  /** Aborts when the gateway begins to stop: what has no end of its own ends then. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Begins to stop a running gateway, as SIGTERM does; nothing happens to one that does not run. */
  drain(): void {
    this.#drain?.()
  }

  /** Closes what `createGateway` opened, for a gateway that was used without `run`. */
  async close(): Promise<void> {
    this.admission.phase = 'stopped'
    await this.checkpoints.stop({ gracefulShutdownMs: 0 })
    await this.#closeParts()
  }

  #saveBreakers(): void {
    this.#snapshotDue = false
    try {
      this.#snapshots.save(this.breakers.all)
    } catch (error) {
      this.#options.logger?.error({ err: loggedError(error) }, 'the state of the circuit breakers was not kept')
    }
  }

  async #closeParts(): Promise<void> {
    if (this.#running && this.breakers.all.size > 0) this.#saveBreakers()
    this.#running = false
    for (const hook of this.#shutdown) await hook()
    await this.breakerSharing?.stop()
    await this.alerts?.stop()
    await this.pools.drain(1_000)
    await this.audit.settled().catch(() => {})
    await this.keeping.stop()
    await this.idempotency.stop()
    await this.events.stop()
    this.keyring?.close()
    await this.traces?.stop()
    await this.upstreams.destroy()
    await this.engine.close()
  }
}

/**
 * Makes a gateway on the embedded database in `dataDir`, or on what the options bring. Throws `GatewayError` with every
 * wrong option at once, and `SqliteError` `data_dir_locked` where another process has the directory.
 */
export async function createGateway(options: GatewayOptions = {}): Promise<Gateway> {
  checkOptions(options)
  const engine = await openEngine(options)
  try {
    return new Gateway(options, engine)
  } catch (error) {
    await engine.close()
    throw error
  }
}
