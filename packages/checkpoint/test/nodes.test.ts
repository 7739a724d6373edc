import { connectPostgres, type PostgresTransaction, postgresDatabase } from '@gw/postgres'
import { freshDatabase, postgres } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import { expect, test } from 'vitest'
import type { CheckpointStore } from '../src/index.ts'
import { memoryCheckpointStore } from '../src/stores/memory.ts'
import { postgresCheckpointStore } from '../src/stores/postgres.ts'
import { refusalOf, type Write } from '../src/unit.ts'
import { atEnd, gate, processOn } from './fixture.ts'

const leaseMs = 600
/** What a test waits for at most: a busy machine must not fail it. */
const patience = { timeout: 60_000, interval: 20 }

/** A store of its own connections, as each process has. */
function connected(url: string) {
  const client = connectPostgres(url)
  const db = postgresDatabase(drizzle(client))
  atEnd(async () => {
    await db.close()
    await client.end()
  })
  return { db, store: postgresCheckpointStore({ db }) }
}

/** A store whose process is dead or paused: until it wakes, nothing that it is asked for happens. */
function pausable(store: CheckpointStore) {
  let awake = Promise.resolve()
  let wake = () => {}
  return {
    store: {
      ...store,
      unit() {
        const unit = store.unit()
        return { add: unit.add.bind(unit), commit: () => awake.then(() => unit.commit()) }
      },
      held: (owner: string) => awake.then(() => store.held(owner)),
    } satisfies CheckpointStore,
    pause() {
      awake = new Promise((resolve) => {
        wake = resolve
      })
    },
    wake: () => wake(),
  }
}

test('checkpoint R1, R4: a node that is silent for longer than its lease loses its runs; awake again it changes nothing', async () => {
  const url = await freshDatabase()
  const paused = pausable(connected(url).store)
  const [entered, go] = [gate(), gate()]
  const effects: string[] = []
  const a = processOn(
    paused.store,
    async (run) => {
      await run.step('one', () => effects.push('a'))
      await run.step('two', async () => {
        entered.open()
        await go.passed
        return 'late'
      })
    },
    { nodeId: 'a', leaseMs },
  )
  const late = a.post()
  await entered.passed
  const [run] = (await a.checkpoints.list()).runs
  paused.pause()
  const silentFrom = performance.now()
  const b = processOn(
    connected(url).store,
    async (inB) => {
      await inB.step('one', () => effects.push('b'))
      return inB.step('two', () => inB.fence)
    },
    { nodeId: 'b', leaseMs },
  )
  await b.checkpoints.start()
  expect(await b.outcome(run!.id)).toBe('201 {"result":2}')
  console.log(`taken over and finished ${(performance.now() - silentFrom).toFixed(0)} ms after the silence began`)
  const before = [await b.checkpoints.get(run!.id), await b.checkpoints.steps(run!.id)]
  paused.wake()
  go.open()
  expect([(await late).status, (await late).headers.get('gw-run')]).toEqual([503, run!.id])
  expect([await b.checkpoints.get(run!.id), await b.checkpoints.steps(run!.id)]).toEqual(before)
  expect(effects).toEqual(['a'])
})

test('checkpoint R4: after a pause the signal of a run that others have taken aborts, though its handler writes nothing', async () => {
  const store = memoryCheckpointStore({ shared: true })
  const paused = pausable(store)
  const aborted = gate<unknown>()
  const entered = gate()
  const a = processOn(
    paused.store,
    (run) => {
      run.signal.addEventListener('abort', () => aborted.open(run.signal.reason))
      entered.open()
      return new Promise(() => {})
    },
    { nodeId: 'a', leaseMs: 90 },
  )
  const answer = a.post()
  await entered.passed
  paused.pause()
  const b = processOn(store, () => 'mine', { nodeId: 'b', leaseMs: 90 })
  await b.checkpoints.start()
  await expect.poll(async () => (await b.checkpoints.list()).runs[0]?.status, patience).toBe('completed')
  paused.wake()
  expect(await aborted.passed).toMatchObject({ code: 'lease_lost' })
  expect((await answer).status).toBe(503)
})

test('checkpoint R1: a node that was silent for longer than its lease goes on with what nobody has taken', async () => {
  let elapsed = 0
  const store = memoryCheckpointStore({ shared: true, now: () => elapsed })
  const [entered, go, checked] = [gate(), gate(), gate()]
  const a = processOn(
    {
      ...store,
      async held(owner) {
        const held = await store.held(owner)
        if (elapsed > 0) checked.open()
        return held
      },
    },
    async () => {
      entered.open()
      await go.passed
      return 'mine'
    },
    { nodeId: 'a', leaseMs: 90 },
  )
  const answer = a.post()
  await entered.passed
  elapsed = 91
  await checked.passed
  go.open()
  expect((await answer).status).toBe(201)
})

test('checkpoint R1: two nodes with one id are two owners, and neither takes what the other runs', async () => {
  const url = await freshDatabase()
  const begun: number[] = []
  const go = gate()
  const nodes = [0, 1].map((n) =>
    processOn(
      connected(url).store,
      async (run) => {
        begun.push(n)
        await go.passed
        return run.fence
      },
      { nodeId: 'same', leaseMs: 60_000 },
    ),
  )
  const answers = nodes.map((node) => node.post())
  await expect.poll(() => begun.length, patience).toBe(2)
  for (let i = 0; i < 3; i++) for (const node of nodes) await node.checkpoints.sweep()
  go.open()
  for (const answer of await Promise.all(answers)) expect(await answer.json()).toEqual({ result: 1 })
  expect(begun.sort()).toEqual([0, 1])
})

test('checkpoint R1: five hundred runs of a dead node are taken once each by two others', async () => {
  const url = await freshDatabase()
  const left = connected(url).store
  const dead = processOn(left, () => new Promise(() => {}), { nodeId: 'dead', leaseMs: 100 })
  await dead.checkpoints.start()
  const ids = (await Promise.all(Array.from({ length: 500 }, () => dead.post({}, { prefer: 'wait=0' })))).map(
    (response) => response.headers.get('gw-run')!,
  )
  await dead.checkpoints.stop({ gracefulShutdownMs: 0 })
  const finished: string[] = []
  const others = ['b', 'c'].map((nodeId) =>
    processOn(connected(url).store, (run) => finished.push(run.id), { nodeId, leaseMs, maxConcurrentRuns: 50 }),
  )
  await Promise.all(others.map(({ checkpoints }) => checkpoints.start()))
  await expect
    .poll(async () => (await others[0]!.checkpoints.counts()).completed, { ...patience, interval: 100 })
    .toBe(500)
  expect([...finished].sort()).toEqual([...ids].sort())
})

test('checkpoint L2: a run that ends on one node wakes those who wait for it on another, and a cancellation reaches its owner', async () => {
  const url = await freshDatabase()
  const [entered, go, aborted] = [gate(), gate(), gate()]
  const a = processOn(
    connected(url).store,
    async (run, body) => {
      run.signal.addEventListener('abort', () => aborted.open())
      entered.open()
      if ((body as { waits?: boolean }).waits) await aborted.passed
      else await go.passed
    },
    { leaseMs: 60_000 },
  )
  const b = processOn(connected(url).store, () => 1, { leaseMs: 60_000 })
  await b.checkpoints.start()
  b.checkpoints.serve({ routes: [] })
  const answer = a.post()
  await entered.passed
  const [run] = (await a.checkpoints.list()).runs
  const waited = b.checkpoints.wait(run!.id, { timeoutMs: 60_000 })
  go.open()
  expect((await waited)?.status).toBe(201)
  expect((await answer).status).toBe(201)
  const other = a.post({ waits: true })
  await expect.poll(() => a.checkpoints.live, patience).toBe(1)
  const [second] = (await b.checkpoints.list({ status: 'running' })).runs
  await b.checkpoints.cancel(second!.id, { actor: 'me' })
  expect((await other).status).toBe(409)
})

test("checkpoint S5: the user's rows and the step commit together on PostgreSQL, and a run of another owner writes neither", async () => {
  const url = await freshDatabase()
  const { db, store } = connected(url)
  await db.migrate('user', ['CREATE TABLE ledger (run text)'])
  const rows = async () => Number((await db.query<{ n: string }>(sql`SELECT count(*) AS n FROM ledger`))[0]!.n)
  const process = processOn(store, async (run) => {
    const insert = (tx: PostgresTransaction) => tx.execute(sql`INSERT INTO ledger VALUES (${run.id})`)
    await run
      .transaction<PostgresTransaction, void>('bad', async (tx) => {
        await insert(tx)
        throw new Error('no')
      })
      .catch(() => {})
    return run.transaction<PostgresTransaction, string>('good', async (tx) => {
      await insert(tx)
      return 'kept'
    })
  })
  const response = await process.post()
  expect([await response.json(), await rows()]).toEqual([{ result: 'kept' }, 1])
  const [entered, go] = [gate(), gate()]
  const zombie = processOn(connected(url).store, (run) =>
    run.transaction<PostgresTransaction, void>('late', async (tx) => {
      await tx.execute(sql`INSERT INTO ledger VALUES ('late')`)
      entered.open()
      await go.passed
    }),
  )
  const late = zombie.post()
  await entered.passed
  const [run] = (await zombie.checkpoints.list({ status: 'running' })).runs
  const claim = { owner: 'thief/1', operations: ['job'], orphans: [], alone: true, limit: 9, now: 0 }
  await committed(store, store.claim(claim))
  go.open()
  expect([(await late).status, await rows()]).toEqual([503, 1])
  expect((await store.get(run!.id))?.owner).toBe('thief/1')
})

test('checkpoint G1: PostgreSQL restarting under load loses no run and finishes each once', async () => {
  const server = await postgres()
  atEnd(() => server.stop())
  const { store, db } = connected(server.url)
  await db.migrate('user', ['CREATE TABLE work (run text, item int)'])
  const process = processOn(
    store,
    async (run) => {
      for (let item = 0; item < 4; item++)
        await run.transaction<PostgresTransaction, void>('item', async (tx) => {
          await tx.execute(sql`INSERT INTO work VALUES (${run.id}, ${item})`)
        })
    },
    { leaseMs: 1_000 },
  )
  await process.checkpoints.start()
  const accepted: string[] = []
  let ending = false
  const clients = Array.from({ length: 8 }, async () => {
    while (!ending) {
      const response = await process.post({}, { prefer: 'respond-async' }).catch(() => undefined)
      if (response?.status === 202) accepted.push(response.headers.get('gw-run')!)
      await new Promise((resolve) => setTimeout(resolve, response?.status === 202 ? 10 : 50))
    }
  })
  for (const fault of ['kill', 'restart'] as const) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    if (fault === 'kill') await server.kill()
    await server.restart()
  }
  await new Promise((resolve) => setTimeout(resolve, 500))
  ending = true
  await Promise.all(clients)
  expect(accepted.length).toBeGreaterThan(0)
  for (const id of accepted) expect(await process.outcome(id)).toContain('201')
  const rows = await db.query<{ run: string; n: string; items: string }>(
    sql`SELECT run, count(*) AS n, count(DISTINCT item) AS items FROM work GROUP BY run`,
  )
  for (const id of accepted) expect(rows.find(({ run }) => run === id)).toMatchObject({ n: '4', items: '4' })
}, 90_000)

async function committed(store: CheckpointStore, write: Write): Promise<void> {
  const unit = store.unit()
  unit.add(write)
  await unit.commit().catch((error: unknown) => {
    throw refusalOf(error) ?? error
  })
}
