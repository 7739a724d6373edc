import type { MetricObjectWithValues, MetricValue, Registry } from 'prom-client'

/** Where figures and spans go beside `/metrics`: a collector that speaks OTLP over HTTP. */
export interface TelemetryOptions {
  /** The collector, as `http://127.0.0.1:4318`; `/v1/traces` and `/v1/metrics` are put behind it. */
  readonly otlp: string
  /** Fields of each call, such as the collector's credentials. */
  readonly headers?: Readonly<Record<string, string>>
  /** `service.name` of what is sent: `durable-gateway`. */
  readonly serviceName?: string
  /** How often figures are sent: 60 s. */
  readonly metricsIntervalMs?: number
}

/** One piece of work of a trace. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentId: string | undefined
  readonly name: string
  readonly kind: 'internal' | 'server'
  readonly startMs: number
  readonly endMs: number
  readonly failed: boolean
  readonly attributes: Readonly<Record<string, string | number>>
}

const maxQueued = 4_096
const maxBatch = 512
const flushMs = 2_000
const timeoutMs = 10_000
/** How long a stop waits for a collector: what it still has is worth less than a shutdown in time. */
const stopMs = 1_000

/** Sends spans and figures in batches. A collector that is away costs what does not fit into the queue, and no request. */
export class OtlpExporter {
  readonly #base: string
  readonly #headers: Readonly<Record<string, string>>
  readonly #resource: object
  readonly #registry: Registry | undefined
  readonly #onDropped: () => void
  readonly #startedMs = Date.now()
  readonly #stopping = new AbortController()
  readonly #timers: ReturnType<typeof setInterval>[] = []
  readonly #metricsIntervalMs: number
  #spans: object[] = []
  #sending: Promise<void> = Promise.resolve()

  constructor(
    { otlp, headers = {}, serviceName = 'durable-gateway', metricsIntervalMs = 60_000 }: TelemetryOptions,
    {
      nodeId,
      version,
      registry,
      onDropped,
    }: {
      readonly nodeId: string
      readonly version: string
      readonly registry: Registry | undefined
      readonly onDropped: () => void
    },
  ) {
    this.#base = otlp.replace(/\/+$/, '')
    this.#headers = headers
    this.#metricsIntervalMs = metricsIntervalMs
    this.#registry = registry
    this.#onDropped = onDropped
    const named = { 'service.name': serviceName, 'service.instance.id': nodeId, 'service.version': version }
    this.#resource = { attributes: attributesOf(named) }
  }

  start(): void {
    const every = (ms: number, work: () => void) => {
      const timer = setInterval(work, ms)
      timer.unref()
      this.#timers.push(timer)
    }
    every(flushMs, () => void this.flush())
    if (this.#registry !== undefined) every(this.#metricsIntervalMs, () => void this.sendMetrics())
  }

  /** Takes a span that has ended. */
  add({ traceId, spanId, parentId, name, kind, startMs, endMs, failed, attributes }: Span): void {
    if (this.#spans.length >= maxQueued) {
      this.#onDropped()
      return
    }
    this.#spans.push({
      traceId,
      spanId,
      ...(parentId === undefined ? {} : { parentSpanId: parentId }),
      name,
      kind: kind === 'server' ? 2 : 1,
      startTimeUnixNano: nanos(startMs),
      endTimeUnixNano: nanos(endMs),
      attributes: attributesOf(attributes),
      status: failed ? { code: 2 } : {},
    })
  }

  /** Sends what is queued; what the collector does not take stays for the next time. */
  flush(): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      while (this.#spans.length > 0) {
        const batch = this.#spans.slice(0, maxBatch)
        const scopeSpans = [{ scope: { name: '@gw/gateway' }, spans: batch }]
        if (!(await this.#post('/v1/traces', { resourceSpans: [{ resource: this.#resource, scopeSpans }] }))) return
        this.#spans = this.#spans.slice(batch.length)
      }
    })
    return this.#sending
  }

  /** Sends the figures as they are now. */
  async sendMetrics(): Promise<void> {
    if (this.#registry === undefined) return
    const read = (await this.#registry.getMetricsAsJSON()) as unknown as MetricObjectWithValues<MetricValue<string>>[]
    const at = { startTimeUnixNano: nanos(this.#startedMs), timeUnixNano: nanos(Date.now()) }
    const metrics = read.map((metric) => otlpMetric(metric, at)).filter((metric) => metric !== undefined)
    const scopeMetrics = [{ scope: { name: '@gw/gateway' }, metrics }]
    await this.#post('/v1/metrics', { resourceMetrics: [{ resource: this.#resource, scopeMetrics }] })
  }

  /** Sends what is left, once, and gives up after a second. */
  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer)
    const late = setTimeout(() => this.#stopping.abort(), stopMs)
    await this.flush()
    await this.sendMetrics()
    clearTimeout(late)
  }

  async #post(path: string, body: object): Promise<boolean> {
    try {
      const response = await fetch(`${this.#base}${path}`, {
        method: 'POST',
        headers: { ...this.#headers, 'content-type': 'application/json' },
        body: JSON.stringify(body),
        redirect: 'manual',
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#stopping.signal]),
      })
      await response.body?.cancel()
      // What the collector finds wrong, it finds wrong again.
      return response.ok || (response.status >= 400 && response.status < 500 && response.status !== 429)
    } catch {
      return false
    }
  }
}

const cumulative = 2

function otlpMetric({ name, help, type, values }: MetricObjectWithValues<MetricValue<string>>, at: object) {
  const about = { name, description: help }
  const points = values.map(({ labels, value }) => ({ ...at, attributes: attributesOf(labels), asDouble: value }))
  switch (String(type)) {
    case 'counter':
      return { ...about, sum: { aggregationTemporality: cumulative, isMonotonic: true, dataPoints: points } }
    case 'gauge':
      return { ...about, gauge: { dataPoints: points } }
    case 'histogram':
      return { ...about, histogram: { aggregationTemporality: cumulative, dataPoints: histogramPoints(values, at) } }
    default:
      return undefined
  }
}

interface HistogramPoint {
  readonly labels: Record<string, string | number>
  readonly bounds: number[]
  readonly below: number[]
  sum: number
  count: number
}

/** Prometheus counts all values below each bound, OTLP those between two of them. */
function histogramPoints(values: readonly MetricValue<string>[], at: object): object[] {
  const points = new Map<string, HistogramPoint>()
  for (const value of values as readonly (MetricValue<string> & { readonly metricName?: string })[]) {
    const { le, ...labels } = value.labels as Record<string, string | number>
    const key = JSON.stringify(labels)
    const point = points.get(key) ?? { labels, bounds: [], below: [], sum: 0, count: 0 }
    points.set(key, point)
    if (value.metricName?.endsWith('_sum')) point.sum = value.value
    else if (value.metricName?.endsWith('_count')) point.count = value.value
    else if (le !== '+Inf') {
      point.bounds.push(Number(le))
      point.below.push(value.value)
    }
  }
  return [...points.values()].map(({ labels, bounds, below, sum, count }) => ({
    ...at,
    attributes: attributesOf(labels),
    count: String(count),
    sum,
    explicitBounds: bounds,
    bucketCounts: [...below, count].map((upTo, i) => String(upTo - (below[i - 1] ?? 0))),
  }))
}

function attributesOf(values: Readonly<Record<string, unknown>>): object[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value:
      typeof value !== 'number'
        ? { stringValue: String(value) }
        : Number.isInteger(value)
          ? { intValue: String(value) }
          : { doubleValue: value },
  }))
}

function nanos(ms: number): string {
  return `${Math.round(ms * 1_000)}000`
}
