/**
 * `node bench/breaker.ts [--rounds n] [--json]`: what a breaker costs, beside bare cockatiel and opossum's defaults.
 *
 * All sides in one process, alternating; medians of the rounds. Goals: a closed call at most 2.5 × cockatiel's and faster
 * than opossum's, a refusal at most 0.3 × opossum's, a failing call at most 2 × cockatiel's.
 */
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { CountBreaker, circuitBreaker, handleAll, SamplingBreaker } from 'cockatiel'
import Opossum from 'opossum'
import { CircuitBreaker } from '../dist/index.js'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '9' }, json: { type: 'boolean', default: false } },
})
const rounds = Number(values.rounds)
const year = 365 * 24 * 3_600_000
const ok = async (): Promise<number> => 1
const down = new Error('down')
const failing = async (): Promise<number> => {
  throw down
}
// A caller that gets an error made anew, as callers do: opossum does the same.
const sampling = { threshold: 0.999_999, duration: 300_000, minimumRps: 1e9 }
const ours = (): CircuitBreaker =>
  new CircuitBreaker({
    name: 'ours',
    failureThreshold: Number.POSITIVE_INFINITY,
    failureRatio: 1,
    openMs: year,
    minimumCalls: 1e9,
  })
const exact = (): CircuitBreaker => new CircuitBreaker({ name: 'ours', failureThreshold: 5, openMs: year })
const policy = () => circuitBreaker(handleAll, { halfOpenAfter: year, breaker: new SamplingBreaker(sampling) })
const signal = new AbortController().signal

interface Side {
  readonly name: string
  readonly calls: number
  /** One call; a rejection is part of it. */
  readonly make: () => Promise<() => Promise<unknown>>
}

async function opened<Target>(
  target: Target,
  fail: (target: Target) => Promise<unknown>,
  isOpen: (target: Target) => boolean,
): Promise<Target> {
  while (!isOpen(target)) await fail(target).catch(() => {})
  return target
}

const suites: Readonly<Record<string, readonly Side[]>> = {
  closed: [
    { name: 'bare async function', calls: 200_000, make: async () => ok },
    {
      name: 'cockatiel',
      calls: 200_000,
      make: async () => {
        const bare = policy()
        return () => bare.execute(ok)
      },
    },
    {
      name: 'opossum',
      calls: 100_000,
      make: async () => {
        const breaker = new Opossum(ok)
        return () => breaker.fire()
      },
    },
    {
      name: '@gw/breaker',
      calls: 200_000,
      make: async () => {
        const breaker = exact()
        return () => breaker.run(ok)
      },
    },
    {
      name: '@gw/breaker with a signal',
      calls: 200_000,
      make: async () => {
        const breaker = exact()
        return () => breaker.run(ok, { signal })
      },
    },
    {
      name: '@gw/breaker with a call timeout',
      calls: 100_000,
      make: async () => {
        const breaker = new CircuitBreaker({ name: 'ours', callTimeoutMs: 10_000 })
        return () => breaker.run(ok)
      },
    },
  ],
  rejected: [
    {
      name: 'cockatiel',
      calls: 50_000,
      make: async () => {
        const bare = await opened(
          circuitBreaker(handleAll, { halfOpenAfter: year, breaker: new CountBreaker({ threshold: 0.5, size: 5 }) }),
          (target) => target.execute(failing),
          (target) => target.state === 1,
        )
        return () => bare.execute(ok)
      },
    },
    {
      name: 'opossum',
      calls: 50_000,
      make: async () => {
        const breaker = await opened(
          new Opossum(failing, { resetTimeout: 2 ** 30 }),
          (target) => target.fire(),
          (target) => target.opened,
        )
        return () => breaker.fire()
      },
    },
    {
      name: '@gw/breaker',
      calls: 50_000,
      make: async () => {
        const breaker = await opened(
          exact(),
          (target) => target.run(failing),
          (target) => target.state === 'OPEN',
        )
        return () => breaker.run(ok)
      },
    },
  ],
  failing: [
    { name: 'bare async function', calls: 50_000, make: async () => failing },
    {
      name: 'cockatiel',
      calls: 50_000,
      make: async () => {
        const bare = policy()
        return () => bare.execute(failing)
      },
    },
    {
      name: 'opossum',
      calls: 500,
      make: async () => {
        const breaker = new Opossum(failing, { volumeThreshold: 1e9 })
        return () => breaker.fire()
      },
    },
    {
      name: '@gw/breaker',
      calls: 50_000,
      make: async () => {
        const breaker = ours()
        return () => breaker.run(failing)
      },
    },
    {
      name: '@gw/breaker, forced closed, threshold 5',
      calls: 50_000,
      make: async () => {
        const breaker = exact()
        breaker.forceClose({ actor: 'bench' })
        return () => breaker.run(failing)
      },
    },
  ],
}
const goals: Readonly<Record<string, readonly (readonly [side: string, against: string, atMost: number])[]>> = {
  closed: [
    ['@gw/breaker', 'cockatiel', 2.5],
    ['@gw/breaker', 'opossum', 1],
  ],
  rejected: [['@gw/breaker', 'opossum', 0.3]],
  failing: [['@gw/breaker', 'cockatiel', 2]],
}

async function nanoseconds(call: () => Promise<unknown>, calls: number): Promise<number> {
  const start = process.hrtime.bigint()
  for (let n = 0; n < calls; n++) {
    try {
      await call()
    } catch {
      // Part of what is measured.
    }
  }
  return Number(process.hrtime.bigint() - start) / calls
}

const rows: { name: string; value: number; unit: string; ratio: number }[] = []
let missed = 0
for (const [suite, sides] of Object.entries(suites)) {
  const samples = new Map<string, number[]>(sides.map(({ name }) => [name, []]))
  const calls = new Map<string, () => Promise<unknown>>()
  for (const { name, make } of sides) calls.set(name, await make())
  for (let round = 0; round <= rounds; round++) {
    for (const side of sides) {
      const value = await nanoseconds(calls.get(side.name)!, side.calls)
      if (round > 0) samples.get(side.name)!.push(value)
    }
  }
  const median = (name: string): number => {
    const sorted = samples.get(name)!.toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)]!
  }
  const reference = suite === 'rejected' ? 'opossum' : 'cockatiel'
  for (const { name } of sides) {
    rows.push({
      name: `${suite}: ${name}`,
      value: Math.round(median(name)),
      unit: 'ns/call',
      ratio: Number((median(name) / median(reference)).toFixed(3)),
    })
  }
  for (const [side, against, atMost] of goals[suite]!) {
    const ratio = median(side) / median(against)
    if (ratio > atMost) missed++
    if (!values.json)
      console.log(
        `${suite}: ${side} is ${ratio.toFixed(2)} × ${against}, goal ${atMost}: ${ratio <= atMost ? 'reached' : 'MISSED'}`,
      )
  }
}

const machine = { cores: cpus().length, node: process.version, platform: process.platform }
if (values.json) console.log(JSON.stringify({ suite: 'breaker', machine, rows }))
else {
  console.log(`\n${machine.cores} cores, Node ${machine.node}, medians of ${rounds} alternating rounds\n`)
  for (const { name, value, unit, ratio } of rows)
    console.log(`${name.padEnd(52)} ${String(value).padStart(7)} ${unit}  ${ratio.toFixed(2).padStart(6)} ×`)
}
process.exit(missed > 0 && !values.json ? 1 : 0)
