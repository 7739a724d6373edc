/** `pnpm crash --cycles n [--seed s]`: kills the real server again and again, and holds it to every answer that it gave. */
import { closeSync, fsyncSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type Asked, check, type Received } from './checker.ts'
import { type ServerProcess, startServer } from './server.ts'

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '50' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
})
const cycles = Number(values.cycles)
const random = mulberry32(Number(values.seed))
const folder = mkdtempSync(join(tmpdir(), 'gw-crash-'))
const dataDir = join(folder, 'data')
const journal = openSync(join(folder, 'journal'), 'a')

/** Where a kill is aimed: accept.before falls into the claim's commit, which is the run's as well. */
const aims = { claim: 'accept.before', accept: 'accept.after', step: 'step', outcome: 'outcome' } as const
const kills: Record<keyof typeof aims | 'anywhere', number> = { claim: 0, accept: 0, step: 0, outcome: 0, anywhere: 0 }
const asked: Asked[] = []
const received: Received[] = []
const startTimes: number[] = []
const recoveryTimes: number[] = []
let sent = 0
let answered = 0

for (let cycle = 0; cycle < cycles; cycle++) {
  const aim = cycle % 5 === 4 ? undefined : (Object.keys(aims) as (keyof typeof aims)[])[cycle % 5]!
  const server = await startServer(dataDir, aim === undefined ? {} : { GW_FAILPOINT: failpoint(aim) })
  if (cycle > 0) startTimes.push(server.startMs)
  await load(server, aim === undefined)
  const { signal } = await server.exited
  if (signal !== 'SIGKILL') throw new Error(`Expected the server to be killed, it ended with ${server.errors()}`)
  kills[aim ?? 'anywhere']++
}
const last = await startServer(dataDir)
startTimes.push(last.startMs)
const resumed = performance.now()
await Promise.all(asked.map((each) => finish(last, each)))
recoveryTimes.push(performance.now() - resumed)
const report = check(asked, received, await foundAt(last))
last.process.kill('SIGKILL')
closeSync(journal)

const successRatio = answered / sent
console.log(
  `seed ${values.seed}, ${cycles} cycles, ${sent} requests sent, ${(successRatio * 100).toFixed(1)} % answered`,
)
console.log(
  `acknowledged ${report.acknowledged} of ${report.asked}, lost ${report.lost}, duplicated rows ${report.duplicatedRows}, repeated executions ${report.repeatedExecutions}, different answers ${report.differentAnswers}, unfinished ${report.unfinished}`,
)
console.log(
  `restart p50 ${percentile(startTimes, 0.5)} ms, max ${percentile(startTimes, 1)} ms; every key answered ${percentile(recoveryTimes, 1)} ms after the last restart`,
)
console.log(
  `kills: ${Object.entries(kills)
    .map(([name, n]) => `${name} ${n}`)
    .join(', ')}`,
)
const least = Math.min(5, Math.floor(cycles / 10))
const aimed = (Object.keys(aims) as (keyof typeof aims)[]).every((name) => kills[name] >= least)
const failed =
  report.lost + report.duplicatedRows + report.differentAnswers + report.unfinished > 0 || successRatio < 0.2 || !aimed
if (failed) console.error(`FAILED; what it left is in ${folder}`)
else rmSync(folder, { recursive: true })
process.exit(failed ? 1 : 0)

function failpoint(aim: keyof typeof aims): string {
  const point = aims[aim].includes('.') ? aims[aim] : `${aims[aim]}.${random() < 0.5 ? 'before' : 'after'}`
  return `${point}:${5 + Math.floor(random() * 40)}`
}

/** Concurrent payments and jobs until the server is gone; half of the time the key is one that was asked before. */
async function load(server: ServerProcess, kill: boolean): Promise<void> {
  let gone = false
  void server.exited.then(() => {
    gone = true
  })
  if (kill) void delay(50 + random() * 500).then(() => server.process.kill('SIGKILL'))
  const client = async () => {
    for (let i = 0; !gone && i < 2_000; i++) {
      const again = asked.length > 0 && random() < 0.3
      const each = again ? asked[Math.floor(random() * asked.length)]! : newRequest()
      await ask(server, each).catch(() => {})
    }
  }
  await Promise.all(Array.from({ length: 12 }, client))
  if (!gone) server.process.kill('SIGKILL')
}

function newRequest(): Asked {
  const n = asked.length
  const job = random() < 0.15
  const each: Asked = {
    key: `key-${n}`,
    kind: job ? 'job' : 'payment',
    customer: `customer-${n}`,
    items: job ? 5 + Math.floor(random() * 20) : 0,
  }
  asked.push(each)
  return each
}

async function ask(server: ServerProcess, { key, kind, customer, items }: Asked): Promise<boolean> {
  sent++
  const [path, body] =
    kind === 'payment'
      ? ['/api/payment', { amount: 10, currency: 'EUR', payment_method: 'card', customer_id: customer }]
      : ['/api/long-running-process', { type: 'report', user_id: customer, items, item_ms: 2 }]
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  answered++
  if (response.status !== 200 && response.status !== 201) {
    if (response.status === 409 || response.status === 503 || response.status === 202) return false
    throw new Error(`${key} was answered ${response.status} ${text}`)
  }
  const answer = { key, status: response.status, body: text, run: response.headers.get('gw-run') ?? '' }
  writeSync(journal, `${JSON.stringify(answer)}\n`)
  fsyncSync(journal)
  received.push(answer)
  return true
}

async function finish(server: ServerProcess, each: Asked): Promise<void> {
  for (const deadline = performance.now() + 60_000; performance.now() < deadline; ) {
    if (await ask(server, each).catch(() => false)) return
    await delay(100)
  }
}

async function foundAt(server: ServerProcess): Promise<Parameters<typeof check>[2]> {
  const get = async <Answer>(path: string) => (await (await fetch(`${server.url}${path}`)).json()) as Answer
  const ledger = new Map<string, number>()
  const work = new Map<string, number[]>()
  for (const { key, kind, customer } of asked) {
    if (kind === 'payment')
      ledger.set(
        customer,
        (await get<{ payments: unknown[] }>(`/api/payments?customer_id=${customer}`)).payments.length,
      )
    else {
      const run = received.find((answer) => answer.key === key)?.run
      if (run !== undefined)
        work.set(
          run,
          (await get<{ rows: { item: number }[] }>(`/api/work/${run}`)).rows.map(({ item }) => item),
        )
    }
  }
  const effects = new Map<string, number[]>()
  for (const line of readFileSync(join(dataDir, 'effects.log'), 'utf8').split('\n')) {
    if (!line.endsWith('}')) continue
    const { run, item } = JSON.parse(line) as { run: string; item: number }
    effects.set(run, [...(effects.get(run) ?? []), item])
  }
  return { ledger, work, effects }
}

function percentile(times: readonly number[], at: number): number {
  const sorted = [...times].sort((a, b) => a - b)
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? 0)
}

function mulberry32(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
