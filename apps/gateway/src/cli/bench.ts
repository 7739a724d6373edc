import { randomUUID } from 'node:crypto'
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import { Pool } from 'undici'
import { configuredStores } from './configured.ts'
import { CommandError, exit, messageOf } from './failure.ts'
import { textOf } from './online/request-actions.ts'
import { progressOf } from './progress.ts'
import { facts, table } from './table.ts'
import { count, paint, period } from './terminal.ts'

/** What a load is made of. */
export interface BenchFlags {
  readonly duration: number
  readonly connections: number
  readonly method?: string
  readonly header?: readonly string[]
  readonly body?: string
  readonly keys?: boolean
  readonly config?: string
  readonly json?: boolean
}

interface Load {
  readonly pool: Pool
  readonly path: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
  readonly keys: boolean
}

interface Figures {
  requests: number
  bytes: number
  readonly statuses: Map<string, number>
  readonly latency: RecordableHistogram
}

/** `gw bench`: keeps so many requests under way for a while, and says what came of it. */
export async function bench(target: string, flags: BenchFlags): Promise<void> {
  const url = await urlOf(target, flags)
  const body = flags.body === undefined ? undefined : textOf(flags.body)
  const { duration, connections, method = body === undefined ? 'GET' : 'POST', keys = false } = flags
  const pool = new Pool(url.origin, { connections, pipelining: 1 })
  const load: Load = { pool, path: url.pathname + url.search, method, headers: headersOf(flags, body), body, keys }
  const figures: Figures = { requests: 0, bytes: 0, statuses: new Map(), latency: createHistogram() }
  try {
    // One that fails says why; a thousand would only be counted.
    await one(load, { ...figures, statuses: new Map(), latency: createHistogram() }).catch((error: unknown) => {
      throw new CommandError(`${url.origin} does not answer: ${messageOf(error)}`, exit.unavailable, { cause: error })
    })
    const began = performance.now()
    let ending = false
    const progress = progressOf('Asking', { of: duration / 1_000, unit: 's' })
    const timer = setInterval(() => progress.at((performance.now() - began) / 1_000), 200)
    // What was measured so far is an answer too.
    process.once('SIGINT', () => {
      ending = true
    })
    const worker = async () => {
      while (!ending && performance.now() - began < duration)
        await one(load, figures).catch((error) => note(figures, error))
    }
    await Promise.all(Array.from({ length: connections }, worker))
    const seconds = (performance.now() - began) / 1_000
    clearInterval(timer)
    progress.end()
    report(url, load, figures, seconds, connections, flags.json === true)
  } finally {
    await pool.destroy()
  }
}

async function one({ pool, path, method, headers, body, keys }: Load, figures: Figures): Promise<void> {
  const key = keys ? { 'idempotency-key': randomUUID() } : {}
  const began = performance.now()
  const answer = await pool.request({
    path,
    method: method as 'GET',
    headers: { ...headers, ...key },
    body: body ?? null,
  })
  for await (const chunk of answer.body) figures.bytes += (chunk as Uint8Array).length
  figures.latency.record(Math.max(1, Math.round((performance.now() - began) * 1_000)))
  figures.requests++
  const status = String(answer.statusCode)
  figures.statuses.set(status, (figures.statuses.get(status) ?? 0) + 1)
}

function note({ statuses }: Figures, error: unknown): void {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'failed'
  statuses.set(code, (statuses.get(code) ?? 0) + 1)
}

async function urlOf(target: string, { config }: BenchFlags): Promise<URL> {
  if (!target.startsWith('/')) {
    const url = URL.parse(target)
    if (url === null || !/^https?:$/.test(url.protocol))
      throw new CommandError(`Expected a path like /api/orders, or a URL, got \`${target}\``, exit.usage)
    return url
  }
  const { loaded } = await configuredStores(config === undefined ? {} : { config })
  const { host = '127.0.0.1', port = 8000 } = loaded.config
  return new URL(target, `http://${host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host}:${port}`)
}

function headersOf({ header = [] }: BenchFlags, body: string | undefined): Record<string, string> {
  const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
  for (const line of header) {
    const [, name, value] = /^([^:\s]+):\s*(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined)
      throw new CommandError(`Expected --header to be like 'Name: value', got \`${line}\``, exit.usage)
    headers[name.toLowerCase()] = value
  }
  return headers
}

const percentiles = [50, 90, 99, 99.9] as const

function report(url: URL, load: Load, figures: Figures, seconds: number, connections: number, json: boolean): void {
  const { requests, bytes, statuses, latency } = figures
  const ms = (micros: number) => Math.round(micros) / 1_000
  const latencyMs = {
    mean: requests === 0 ? 0 : ms(latency.mean),
    ...Object.fromEntries(
      percentiles.map((share) => [`p${share}`, requests === 0 ? 0 : ms(latency.percentile(share))]),
    ),
    max: requests === 0 ? 0 : ms(latency.max),
  }
  const rps = requests / seconds
  const good = [...statuses].every(([status]) => /^[23]/.test(status))
  if (!good) process.exitCode = exit.failed
  if (json) {
    const shown = { url: url.href, method: load.method, connections, seconds, requests, rps, bytes, latencyMs }
    console.log(JSON.stringify({ ...shown, statuses: Object.fromEntries(statuses) }))
    return
  }
  console.log(
    facts([
      ['load', `${load.method} ${url.href}, ${connections} at once for ${period(seconds * 1_000)}`],
      ['requests', count(requests)],
      ['rate', { text: `${count(rps)} requests/s`, colour: paint.bold }],
      [
        'answers',
        {
          text: [...statuses].map(([status, number]) => `${status} × ${count(number)}`).join(', '),
          colour: good ? paint.green : paint.red,
        },
      ],
    ]),
  )
  const columns = Object.keys(latencyMs).map((title) => ({ title, right: true }))
  console.log(
    `\n${table([{ title: 'latency' }, ...columns], [['ms', ...Object.values(latencyMs).map((value) => value.toFixed(2))]])}`,
  )
}
