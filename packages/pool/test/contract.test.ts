import { createRequire } from 'node:module'
import genericPool from 'generic-pool'
import { describe, expect, test } from 'vitest'

const require = createRequire(import.meta.url)

interface Waiting {
  readonly length: number
  direct: object | undefined
}

/** generic-pool as the engine builds on it, with an idle list and a queue of our own. */
function bare(max: number) {
  const items: { obj: object }[] = []
  const queue: Waiting & { dequeue(): object | undefined } = {
    direct: undefined,
    get length() {
      return this.direct === undefined ? 0 : 1
    },
    dequeue() {
      return this.direct
    },
  }
  const idle = {
    get length() {
      return items.length
    },
    shift: () => items.pop(),
    unshift: (item: { obj: object }) => items.push(item),
    iterator: () => items[Symbol.iterator](),
  }
  const calls: string[] = []
  const factory = {
    create: async () => ({ made: calls.push('create') }),
    destroy: async () => calls.push('destroy'),
  }
  const supply = (instance: object) =>
    function supplied() {
      return instance
    }
  const { Pool, DefaultEvictor } = genericPool as unknown as {
    Pool: new (...args: unknown[]) => Record<string, never>
    DefaultEvictor: unknown
  }
  const pool = new Pool(DefaultEvictor, supply(idle), supply(queue), factory, {
    min: 0,
    max,
    autostart: false,
    fifo: false,
  })
  return { pool: pool as unknown as Bare, queue, items, calls }
}

interface Bare {
  readonly _config: { max: number }
  readonly size: number
  readonly borrowed: number
  _dispense(): void
  _dispatchResource(): boolean
  _createResource(): void
  release(kept: object): Promise<void>
  destroy(kept: object): Promise<void>
}

const settle = () => new Promise((resolve) => setImmediate(resolve))

describe('the members of generic-pool that the engine uses', () => {
  test('contract: it is 3.9.0, pinned exactly', () => {
    expect(require('generic-pool/package.json').version).toBe('3.9.0')
    expect(require('@gw/pool/package.json').dependencies['generic-pool']).toMatch(/^(catalog:|3\.9\.0)$/)
  })

  test('contract: the constructor takes the classes of evictor, deque and queue, and uses what they give', () => {
    const { pool, queue, items } = bare(2)
    expect((pool as unknown as { _availableObjects: object })._availableObjects).toHaveProperty('shift')
    expect((pool as unknown as { _waitingClientsQueue: object })._waitingClientsQueue).toBe(queue)
    expect(items).toEqual([])
  })

  test('contract: `_createResource` calls `create` at once and puts what it gives among the idle', async () => {
    const { pool, items, calls } = bare(2)
    pool._createResource()
    expect(calls).toEqual(['create'])
    expect(pool.size).toBe(1)
    await settle()
    expect(items.map((item) => item.obj)).toEqual([{ made: 1 }])
    expect(pool.size).toBe(1)
  })

  test('contract: `_dispense` goes through `this._createResource`, once for each that is missing, up to `_config.max`', () => {
    const { pool, queue } = bare(2)
    let created = 0
    ;(pool as unknown as { _createResource(): void })._createResource = () => {
      created++
    }
    queue.direct = { state: 'PENDING', resolve() {} }
    pool._dispense()
    expect(created).toBe(1)
    pool._config.max = 0
    pool._dispense()
    expect(created).toBe(1)
  })

  test('contract: `_dispatchResource` lends the next idle one to what `dequeue` gives, in the same turn', async () => {
    const { pool, queue } = bare(2)
    pool._createResource()
    await settle()
    const taken: object[] = []
    queue.direct = { state: 'PENDING', resolve: (kept: object) => taken.push(kept) }
    pool._dispatchResource()
    expect(taken).toEqual([{ made: 1 }])
    expect(pool.borrowed).toBe(1)
  })

  test('contract: `release` and `destroy` act in the same turn, and a failed `create` asks `_dispense` again', async () => {
    const { pool, queue, items, calls } = bare(2)
    pool._createResource()
    await settle()
    let taken: object = {}
    queue.direct = {
      state: 'PENDING',
      resolve(kept: object) {
        taken = kept
      },
    }
    pool._dispatchResource()
    queue.direct = undefined
    pool.release(taken)
    expect(items).toHaveLength(1)
    queue.direct = { state: 'PENDING', resolve() {} }
    pool._dispatchResource()
    queue.direct = undefined
    pool.destroy(taken)
    expect(calls).toEqual(['create', 'destroy'])
    expect(pool.size).toBe(0)
  })
})
