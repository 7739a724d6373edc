import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { durable } from '../src/index.ts'
import { crashEverywhere, type Life } from '../src/testkit.ts'
import { runtimeTimers, type Timers } from '../src/timers.ts'

const request = (app: Hono) => app.request('/orders', { method: 'POST', body: '{}' })

function orders({ checkpoints, effect }: Life, kept: boolean): Hono {
  const app = new Hono()
  app.post('/orders', durable({ checkpoints, operation: 'order' }), async (c) => {
    const { run } = c.var
    for (const name of ['reserve', 'charge', 'ship'])
      if (kept) await run.step(name, () => effect(name, () => name))
      else await effect(name, () => name)
    return c.json({ done: true }, 201)
  })
  return app
}

test('checkpoint C1, P1: killed at every durable write, an accepted request is finished, and only the step under way is repeated', async () => {
  const trials = await crashEverywhere({ app: (life) => orders(life, true), request })
  // Accept, three steps and outcome; each before, after, and with its reply lost.
  expect(trials).toHaveLength(15)
  for (const trial of trials) {
    if (!trial.accepted) {
      expect([trial.write, trial.death, trial.effects]).toEqual([1, 'before', {}])
      continue
    }
    expect([trial.status, trial.body]).toEqual([201, '{"done":true}'])
    const counts = Object.values(trial.effects)
    expect(counts).toHaveLength(3)
    expect(counts.reduce((sum, n) => sum + n, 0)).toBeLessThanOrEqual(4)
    if (trial.death !== 'before') expect(counts).toEqual([1, 1, 1])
  }
})

test('checkpoint C1: when the trials are over, no timer of a killed life is left to keep the process running', async () => {
  const armed = new Map<unknown, number>()
  const timers: Timers = {
    ...runtimeTimers,
    setTimeout(work, afterMs) {
      const timer = runtimeTimers.setTimeout(() => {
        armed.delete(timer)
        work()
      }, afterMs)
      armed.set(timer, afterMs)
      return timer
    },
    clearTimeout(timer) {
      armed.delete(timer)
      runtimeTimers.clearTimeout(timer)
    },
  }
  await crashEverywhere({ app: (life) => orders(life, true), request, manager: { timers } })
  // One slice of a poll may still run out.
  expect([...armed.values()].filter((afterMs) => afterMs > 1_250)).toEqual([])
})

test('checkpoint C1: the kit finds a handler that repeats what it should have kept', async () => {
  const trials = await crashEverywhere({ app: (life) => orders(life, false), request })
  expect(Math.max(...trials.flatMap(({ effects }) => Object.values(effects)))).toBe(2)
})
