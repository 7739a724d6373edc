import { setTimeout as sleep } from 'node:timers/promises'
import genericPool from 'generic-pool'

/** What the bare library does, a scenario for each row; run as a process of its own, which some of them hang or end. */
interface Bare {
  readonly size: number
  readonly pending: number
  readonly borrowed: number
  readonly available: number
  acquire(priority?: number): Promise<Resource>
  release(resource: Resource): Promise<void>
  destroy(resource: Resource): Promise<void>
  use(run: (resource: Resource) => unknown): Promise<unknown>
  drain(): Promise<void>
  clear(): Promise<void>
  ready(): Promise<void>
  max: number
  readonly _waitingClientsQueue: { readonly tail: { reject(error: Error): void } }
}

interface Resource {
  readonly id: number
  dead: boolean
}

let made = 0
let destroyed = 0
const create = async (): Promise<Resource> => ({ id: ++made, dead: false })
const destroy = async (resource: Resource): Promise<void> => {
  destroyed++
  resource.dead = true
}
const pool = (factory: object, options: object) =>
  genericPool.createPool({ create, destroy, ...factory } as never, options) as unknown as Bare
const refused = () => Promise.reject(new Error('refused'))
const within = (promise: Promise<unknown>, ms: number) =>
  Promise.race([
    promise.then(
      () => 'settled',
      (error: Error) => error.name,
    ),
    sleep(ms, 'pending'),
  ])

const scenarios: Record<string, () => Promise<unknown>> = {
  async G1() {
    const bare = pool({ create: refused }, { max: 10, acquireTimeoutMillis: 200 })
    return within(bare.acquire(), 1_000)
  },
  async G2() {
    let connects = 0
    const failing = async () => {
      connects++
      await sleep(1)
      throw new Error('refused')
    }
    const bare = pool({ create: failing }, { max: 10, acquireTimeoutMillis: 10_000 })
    for (let index = 0; index < 100; index++) bare.acquire().catch(() => {})
    await sleep(500)
    return connects
  },
  async cause() {
    const failing = async () => {
      await sleep(1)
      throw new Error('refused')
    }
    const bare = pool({ create: failing }, { max: 10, acquireTimeoutMillis: 100 })
    const error = await bare.acquire().catch((error: Error) => error)
    return { message: (error as Error).message, cause: (error as Error).cause === undefined }
  },
  async G3() {
    const bare = pool({}, { max: 3 })
    const first = await Promise.all([bare.acquire(), bare.acquire(), bare.acquire()])
    for (const resource of first) bare.release(resource)
    await bare.clear()
    const next = await Promise.all([1, 2, 3, 4, 5, 6].map(() => Promise.race([bare.acquire(), sleep(100)])))
    return { dead: next.filter((resource) => resource?.dead).length, borrowed: bare.borrowed }
  },
  async G4() {
    let unhandled = 0
    process.on('unhandledRejection', () => unhandled++)
    const bare = pool({ validate: refused }, { max: 1, testOnBorrow: true, acquireTimeoutMillis: 100 })
    const outcomes = [await within(bare.acquire(), 500), await within(bare.acquire(), 500)]
    return { unhandled, outcomes, size: bare.size }
  },
  async G4b() {
    const bare = pool(
      { validate: () => new Promise(() => {}) },
      { max: 1, testOnBorrow: true, acquireTimeoutMillis: 100 },
    )
    return [await within(bare.acquire(), 500), await within(bare.acquire(), 500)]
  },
  async G5() {
    const bare = pool({}, { max: 1 })
    const error = await bare.use(() => 42).catch((error: Error) => error.name)
    return { error, borrowed: bare.borrowed }
  },
  async G6() {
    let tries = 0
    const late = async () => {
      if (++tries <= 3) throw new Error('refused')
      return create()
    }
    const bare = pool({ create: late }, { min: 3, max: 5, evictionRunIntervalMillis: 20 })
    await sleep(700)
    return bare.size
  },
  async G7() {
    pool({}, { min: 2, max: 5, idleTimeoutMillis: 20, evictionRunIntervalMillis: 10 })
    await sleep(500)
    return { made, destroyed }
  },
  async G8() {
    const bare = pool({}, { max: 10, idleTimeoutMillis: 20 })
    const all = await Promise.all(Array.from({ length: 10 }, () => bare.acquire()))
    for (const resource of all) bare.release(resource)
    await sleep(300)
    return bare.size
  },
  async G9() {
    const bare = pool({}, { max: 1 })
    const resource = await bare.acquire()
    bare.release(resource)
    bare.release(resource)
    await sleep(100)
    return 'alive'
  },
  async G10() {
    const bare = pool({}, { max: 1 })
    const resource = await bare.acquire()
    bare.acquire().catch(() => {})
    bare._waitingClientsQueue.tail.reject(new Error('aborted'))
    const pending = bare.pending
    const next = bare.acquire()
    bare.release(resource)
    return { pending, next: await within(next, 200), available: bare.available }
  },
  async G11() {
    const throwing = () => {
      throw new Error('at once')
    }
    const bare = pool({ create: throwing }, { max: 1 })
    try {
      bare.acquire().catch(() => {})
      return 'rejected'
    } catch {
      return { threw: true, pending: bare.pending }
    }
  },
  async G12() {
    let uncaught = 0
    process.on('uncaughtException', () => uncaught++)
    const throwing = () => {
      throw new Error('at once')
    }
    const bare = pool({ destroy: throwing }, { max: 3, idleTimeoutMillis: 20, evictionRunIntervalMillis: 10 })
    const all = await Promise.all([bare.acquire(), bare.acquire(), bare.acquire()])
    for (const resource of all) bare.release(resource)
    await sleep(400)
    return { uncaught, size: bare.size }
  },
  async G13() {
    const bare = pool({}, { max: 1 })
    await bare.acquire()
    return within(bare.drain(), 500)
  },
  async G23() {
    const bare = pool({}, { max: 1, priorityRange: 2, acquireTimeoutMillis: 100 })
    const first = await bare.acquire()
    bare.acquire(1).catch(() => {})
    await sleep(50)
    bare.acquire(0).catch(() => {})
    const drained = bare.drain()
    await sleep(70)
    bare.release(first)
    return { drained: await within(drained, 500), borrowed: bare.borrowed }
  },
  async G14() {
    const bare = pool({}, { max: 1 })
    try {
      bare.max = 5
    } catch {
      return 'read only'
    }
    return bare.max
  },
  async G16() {
    const bare = pool(
      {},
      { max: 10, idleTimeoutMillis: 500, evictionRunIntervalMillis: 10, numTestsPerEvictionRun: 100 },
    )
    const all = await Promise.all(Array.from({ length: 10 }, () => bare.acquire()))
    for (const resource of all) bare.release(resource)
    for (const untilMs = performance.now() + 1_200; performance.now() < untilMs; ) {
      await bare.release(await bare.acquire())
      await sleep(5)
    }
    return bare.size
  },
  async G19() {
    let tries = 0
    const hanging = () => {
      tries++
      return new Promise<Resource>(() => {})
    }
    const bare = pool({ create: hanging }, { max: 1, acquireTimeoutMillis: 100 })
    const outcomes = [await within(bare.acquire(), 500), await within(bare.acquire(), 500)]
    return { tries, outcomes, size: bare.size }
  },
  async G21() {
    const bare = pool({}, { max: 1 })
    const resource = await bare.acquire()
    await bare.release(resource)
    resource.dead = true
    const removal = await bare.destroy(resource).catch((error: Error) => error.message)
    return { removal, lentDead: (await bare.acquire()).dead }
  },
  async G22() {
    const bare = pool({}, { max: 1, priorityRange: 2 })
    const first = await bare.acquire()
    const order: number[] = []
    const ask = (priority: number) =>
      bare.acquire(priority).then((resource) => {
        order.push(priority)
        return bare.release(resource)
      })
    const asked = [ask(1)]
    await sleep(200)
    for (let index = 0; index < 50; index++) asked.push(ask(0))
    bare.release(first)
    await Promise.all(asked)
    return order.indexOf(1)
  },
  async G25() {
    let connects = 0
    const slow = async () => {
      connects++
      await sleep(5)
      return create()
    }
    const bare = pool({ create: slow }, { max: 50 })
    await Promise.all(Array.from({ length: 50 }, async () => bare.release(await bare.acquire())))
    return connects
  },
  async G26() {
    const failing = async () => {
      await sleep(5)
      throw new Error('refused')
    }
    await pool({ create: failing }, { min: 1, max: 1 }).ready()
    return 'ready'
  },
}

const answer = await scenarios[process.argv[2] as string]!()
process.stdout.write(JSON.stringify(answer), () => process.exit(0))
