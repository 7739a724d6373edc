import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** How a request ended, for the figures. */
export interface RequestFigures {
  readonly method: string
  /** The route's pattern, or `unmatched`: never the raw path, so that the label set stays bounded. */
  readonly route: string
  readonly status: number
  readonly durationSeconds: number
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const maxCustomMetrics = 200
/** Of the runtime's own figures, gauges that end like counters. */
const misnamed = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** Values that are kept elsewhere, one for each set of labels. */
export type Readings<Label extends string> = Iterable<readonly [labels: Readonly<Record<Label, string>>, value: number]>

/** The gateway's figures in Prometheus' terms, with OpenTelemetry's names for HTTP. */
export class Metrics {
  readonly registry = new Registry()
  readonly #namespace: string
  readonly #duration: Histogram<'http_request_method' | 'http_route' | 'http_response_status_code'>
  /** One child a label set: looking labels up by their values is what costs in prom-client. */
  readonly #children = new Map<
    string,
    Histogram.Internal<'http_request_method' | 'http_route' | 'http_response_status_code'>
  >()
  readonly #custom = new Map<string, Histogram<string>>()
  readonly #transitions: Counter<'name'>

  constructor(namespace: string) {
    this.#namespace = namespace
    collectDefaultMetrics({ register: this.registry, prefix: `${namespace}_` })
    for (const name of misnamed) this.registry.removeSingleMetric(`${namespace}_${name}`)
    this.#duration = new Histogram({
      name: `${namespace}_http_server_request_duration_seconds`,
      help: 'Duration of HTTP server requests.',
      labelNames: ['http_request_method', 'http_route', 'http_response_status_code'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10],
      registers: [this.registry],
    })
    this.#transitions = new Counter({
      name: `${namespace}_transitions_total`,
      help: 'Transitions of runs, keys, breakers and pools by name.',
      labelNames: ['name'],
      registers: [this.registry],
    })
  }

  /** Reads `collect` at each scrape; where that fails, the figure is left out. */
  gauge<Label extends string = never>(
    name: string,
    help: string,
    collect: () => number | Readings<Label> | Promise<Readings<Label>>,
    labelNames: readonly Label[] = [],
  ): void {
    new Gauge<Label>({
      name: `${this.#namespace}_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      async collect() {
        this.reset()
        // A reset leaves 0 where there are no labels, which nobody has read.
        if (labelNames.length === 0) this.remove({})
        for (const [labels, value] of await readingsOf(collect)) this.set(labels, value)
      },
    })
  }

  /** As {@link gauge}, for what only grows. */
  counter<Label extends string = never>(
    name: string,
    help: string,
    collect: () => number | Readings<Label>,
    labelNames: readonly Label[] = [],
  ): void {
    new Counter<Label>({
      name: `${this.#namespace}_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      async collect() {
        this.reset()
        for (const [labels, value] of await readingsOf(collect)) this.inc(labels, value)
      },
    })
  }

  observe({ method, route, status, durationSeconds }: RequestFigures): void {
    const key = `${method} ${status} ${route}`
    let child = this.#children.get(key)
    if (child === undefined) {
      child = this.#duration.labels({
        http_request_method: methods.has(method) ? method : '_OTHER',
        http_route: route,
        http_response_status_code: String(status),
      })
      this.#children.set(key, child)
    }
    child.observe(durationSeconds)
  }

  count(name: string): void {
    this.#transitions.inc({ name })
  }

  /**
   * Records one value of a metric of the application's own, as a histogram named after it.
   * Labels must be the same set at every call; at most 200 names are kept.
   */
  record(name: string, value: number, labels: Readonly<Record<string, string | number | boolean>>): void {
    let histogram = this.#custom.get(name)
    if (histogram === undefined) {
      if (this.#custom.size >= maxCustomMetrics) {
        throw new RangeError(`Expected at most ${maxCustomMetrics} metric names, got \`${name}\` as one more`)
      }
      histogram = new Histogram({
        name: `${this.#namespace}_${name}`,
        help: `Recorded by the application: ${name}.`,
        labelNames: Object.keys(labels),
        registers: [this.registry],
      })
      this.#custom.set(name, histogram)
    }
    histogram.observe(Object.fromEntries(Object.entries(labels).map(([label, text]) => [label, String(text)])), value)
  }
}

async function readingsOf<Label extends string>(
  collect: () => number | Readings<Label> | Promise<Readings<Label>>,
): Promise<Readings<Label>> {
  try {
    const read = await collect()
    return typeof read === 'number' ? [[{} as Record<Label, string>, read]] : read
  } catch {
    return []
  }
}
