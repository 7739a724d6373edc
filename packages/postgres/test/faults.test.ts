import { type FaultProxy, faultProxy, type Postgres, postgres } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import plainPostgres from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { postgresDatabase } from '../src/index.ts'
import { append, code, commit, type Items, items, put } from './items.ts'

const deadlineMs = 600
let server: Postgres
const open: { close(): Promise<void> }[] = []

beforeAll(async () => {
  server = await postgres()
})
afterEach(async () => {
  for (const made of open.splice(0).reverse()) await made.close()
})
afterAll(() => server.stop())

async function database(url: string, options: Parameters<typeof items>[1] = {}): Promise<Items> {
  const name = `gw_${Math.random().toString(36).slice(2)}`
  await server.psql(`create database ${name}`)
  const changed = new URL(url)
  changed.pathname = `/${name}`
  const made = await items(changed.href, { deadlineMs, ...options })
  open.push(made)
  return made
}

/** What the server has, asked past the proxy. */
async function truth(made: Items): Promise<string> {
  return server.psql('select key from item order by key', String(made.client.options.database))
}

async function through(onBytes?: NonNullable<Parameters<typeof faultProxy>[1]>['onBytes']): Promise<FaultProxy> {
  const proxy = await faultProxy(server.url, onBytes === undefined ? {} : { onBytes })
  open.push(proxy)
  return proxy
}

/** Commits until one succeeds; gives how long that took. */
async function recovery(made: Items, key: string): Promise<number> {
  const started = performance.now()
  for (let i = 0; ; i++) {
    if ((await code(commit(made.db, put(`${key}${i}`)))) === 'no error') return performance.now() - started
    if (performance.now() - started > 20_000) throw new Error('did not recover')
  }
}

describe('a fault on the way, and what is said of the unit', () => {
  const commitSent = (bytes: Buffer) => bytes.includes('commit\0')
  const statementSent = (bytes: Buffer) => bytes.includes('insert into item') || bytes.includes('"a"')
  const cases = [
    { name: 'nothing gets out', at: () => true, mode: 'blackhole', says: 'unavailable', applied: false },
    {
      name: 'the statements’ answers are lost',
      at: statementSent,
      mode: 'half-open-s2c',
      says: 'unavailable',
      applied: false,
    },
    { name: 'the COMMIT is lost', at: commitSent, mode: 'blackhole', says: 'unknown', applied: false },
    { name: 'the COMMIT’s answer is lost', at: commitSent, mode: 'half-open-s2c', says: 'unknown', applied: true },
    { name: 'the connection is reset at the COMMIT', at: commitSent, mode: 'refuse', says: 'unknown', applied: false },
    {
      name: 'the connection is refused from the statements on',
      at: statementSent,
      mode: 'refuse',
      says: 'unavailable',
      applied: false,
    },
  ] as const
  for (const { name, at, mode, says, applied } of cases) {
    test(`G2 N2: ${name}: ${says}, in time, truly, and the next unit gets through`, async () => {
      let armed = false
      const proxy = await through((direction, bytes, set) => {
        if (!armed || direction !== 'c2s' || !at(bytes)) return
        armed = false
        set(mode)
      })
      const made = await database(proxy.url, { lanes: 1 })
      await commit(made.db, put('before'))
      armed = true
      const started = performance.now()
      expect(await code(commit(made.db, put('a')))).toBe(says)
      expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
      expect(armed).toBe(false)
      // What is on the wire has had its time.
      await expect.poll(() => truth(made), { timeout: 3_000 }).toBe(applied ? 'a\nbefore' : 'before')
      await proxy.set('pass')
      expect(await recovery(made, 'after')).toBeLessThan(2_000)
      expect((await truth(made)).includes('a\n')).toBe(applied)
      expect(made.db.health.state).toBe('open')
    })
  }

  test('G1: a connection that is reset before its COMMIT costs nothing while the deadline lasts', async () => {
    let armed = false
    const proxy = await through((direction, bytes, set) => {
      if (!armed || direction !== 'c2s' || !statementSent(bytes)) return
      armed = false
      set('reset')
      setTimeout(() => set('pass'), 50)
    })
    const made = await database(proxy.url, { deadlineMs: 5_000 })
    await commit(made.db, put('before'))
    armed = true
    expect(await code(commit(made.db, put('a'), append('a')))).toBe('no error')
    expect(proxy.counts.resets).toBeGreaterThan(0)
    expect(await made.keys('entry')).toEqual(['a'])
  })

  test('N2: a unit that lost its connection late still has its deadline, with the server gone', async () => {
    const proxy = await through()
    const made = await database(proxy.url, { lanes: 1 })
    await commit(made.db, put('before'))
    await new Promise((resolve) => setTimeout(resolve, deadlineMs / 2))
    // The queue's own watch, set for the unit before, has ended by then.
    made.before(async () => {
      await new Promise((resolve) => setTimeout(resolve, (deadlineMs * 3) / 4))
      await proxy.set('refuse')
    })
    const started = performance.now()
    expect(await code(commit(made.db, put('a')))).toBe('unavailable')
    expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
    expect(made.db.health.pendingWrites).toBe(0)
  })

  test('G2: a unit that is told `unavailable` while its batch is on its way is not committed with the others', async () => {
    const made = await database(server.url, { deadlineMs: 2_000, lanes: 1 })
    let release = () => {}
    let goOn: Promise<unknown> = new Promise<void>((resolve) => {
      release = resolve
    })
    made.before(() => goOn.then(() => {}))
    const opening = code(commit(made.db, put('opening')))
    await expect.poll(() => made.batches.length).toBe(1)
    const early = code(commit(made.db, put('early')))
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const late = code(commit(made.db, put('late')))
    goOn = early
    release()
    expect(await Promise.all([opening, early, late])).toEqual(['no error', 'unavailable', 'no error'])
    expect(made.batches.map(({ keys }) => keys.join())).toEqual(['opening', 'early,late', 'late'])
    expect(await truth(made)).toBe('late\nopening')
  })

  test('N2: a procedure that never ends costs nobody else more than its deadline', async () => {
    const made = await database(server.url, { lanes: 1 })
    made.db.define('endless', { locks: () => [], run: () => new Promise(() => {}) })
    expect(await code(commit(made.db, { procedure: 'endless', args: null }))).toBe('unavailable')
    expect(await code(commit(made.db, put('a')))).toBe('no error')
  })

  test('P2 G1: a unit whose connection was lost goes before what came later', async () => {
    const made = await database(server.url, { deadlineMs: 5_000, lanes: 1 })
    const on = { locks: [{ name: 'entries', shared: false }] }
    let second: Promise<string> | undefined
    made.before(async () => {
      if (second !== undefined) return
      second = code(commit(made.db, append('second', on)))
      await server.psql(
        `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${String(made.client.options.database)}'`,
      )
    })
    expect([await code(commit(made.db, append('first', on))), await second]).toEqual(['no error', 'no error'])
    expect(await made.keys('entry')).toEqual(['first', 'second'])
  })

  test('G1: a unit under which connection after connection breaks is given up, and the others go on', async () => {
    const made = await database(server.url, { deadlineMs: 5_000, lanes: 1 })
    made.db.define('poison', {
      locks: () => [],
      async run(tx, batch) {
        await tx.execute(sql`select pg_terminate_backend(pg_backend_pid())`)
        return batch.map(() => ({ result: 1 }))
      },
    })
    const told = await Promise.all([
      code(commit(made.db, put('a'), append('a'))),
      code(commit(made.db, { procedure: 'poison', args: null })),
      code(commit(made.db, put('b'))),
    ])
    expect(told).toEqual(['no error', 'unavailable', 'no error'])
  })

  test('G2: a transaction whose COMMIT was not answered is unknown', async () => {
    for (const [mode, applied] of [
      ['half-open-s2c', 't'],
      ['refuse', ''],
    ] as const) {
      let armed = false
      const proxy = await through((direction, bytes, set) => {
        if (armed && direction === 'c2s' && commitSent(bytes)) set(mode)
      })
      const made = await database(proxy.url)
      armed = true
      const told = code(made.db.transaction(async (tx) => tx.execute(sql`insert into item (key) values ('t')`)))
      expect(await told).toBe('unknown')
      await expect.poll(() => truth(made)).toBe(applied)
    }
  })

  test('N2: reads and transactions keep the deadline on a half-open connection, and work after it', async () => {
    const proxy = await through()
    const made = await database(proxy.url)
    await made.db.query(sql`select 1`)
    await made.db.transaction(async (tx) => tx.execute(sql`select 1`))
    await proxy.set('half-open-s2c')
    const started = performance.now()
    const told = await Promise.all([
      code(made.db.query(sql`select 1`)),
      code(made.db.transaction(async (tx) => tx.execute(sql`insert into item (key) values ('t')`))),
    ])
    expect(told).toEqual(['unknown', 'unavailable'])
    expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
    await proxy.set('pass')
    expect(await made.keys()).toEqual([])
    expect(await made.db.transaction(async (tx) => (await tx.execute(sql`select 1 as one`))[0])).toEqual({ one: 1 })
  })

  test('N2: a transaction whose work does not end gives its connection’s place to the next', async () => {
    const made = await database(server.url, { connect: { maxConnections: 1 } })
    let end = () => {}
    const never = made.db.transaction(
      () =>
        new Promise<void>((resolve) => {
          end = resolve
        }),
    )
    expect(await code(never)).toBe('unavailable')
    expect(await code(made.db.transaction(async (tx) => tx.execute(sql`select 1`)))).toBe('no error')
    end()
  })

  test('N2: a server that cannot be reached is unavailable within the deadline, and health says so', async () => {
    const proxy = await through()
    const made = await database(proxy.url)
    await proxy.set('refuse')
    const started = performance.now()
    expect(await Promise.all([code(commit(made.db, put('a'))), code(commit(made.db, put('b')))])).toEqual([
      'unavailable',
      'unavailable',
    ])
    expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
    expect(made.db.health).toMatchObject({ state: 'unavailable', pendingWrites: 0 })
    expect(await code(made.db.query(sql`select 1`))).toBe('unavailable')
    await proxy.set('pass')
    expect(await recovery(made, 'after')).toBeLessThan(2_000)
  })
})

describe('the server', () => {
  test('G1: killed and started again under load, it has every acknowledged unit whole, none half, and work goes on', async () => {
    const made = await database(server.url, { deadlineMs: 3_000 })
    const acknowledged: string[] = []
    const codes: Record<string, number> = {}
    let stop = false
    const writers = Array.from({ length: 32 }, async (_, w) => {
      for (let i = 0; !stop; i++) {
        const key = `${w}-${i}`
        const said = await code(commit(made.db, put(key), append(key)))
        if (said === 'no error') acknowledged.push(key)
        codes[said] = (codes[said] ?? 0) + 1
      }
    })
    for (let round = 0; round < 3; round++) {
      await expect.poll(() => acknowledged.length, { timeout: 10_000 }).toBeGreaterThan(200 * (round + 1))
      await server.kill()
      await server.restart()
      expect(await recovery(made, `round${round}-`)).toBeLessThan(2_000)
    }
    stop = true
    await Promise.all(writers)
    const [there, entries] = [new Set(await made.keys()), new Set(await made.keys('entry'))]
    expect(acknowledged.filter((key) => !there.has(key) || !entries.has(key))).toEqual([])
    expect([...there].filter((key) => !key.startsWith('round') && !entries.has(key))).toEqual([])
    expect([...entries].filter((key) => !there.has(key))).toEqual([])
    expect(Object.keys(codes).filter((said) => !['no error', 'unknown', 'unavailable'].includes(said))).toEqual([])
  })

  test('G1 N2: stopped in its tracks, no call outlives its deadline; afterwards all work again', async () => {
    const made = await database(server.url)
    await Promise.all([commit(made.db, put('a')), made.db.query(sql`select 1`)])
    server.pause()
    try {
      const started = performance.now()
      const told = await Promise.all([
        ...Array.from({ length: 20 }, (_, i) => code(commit(made.db, put(`k${i}`)))),
        code(made.db.query(sql`select 1`)),
        code(made.db.transaction(async (tx) => tx.execute(sql`select 1`))),
      ])
      expect(new Set(told)).toEqual(new Set(['unavailable', 'unknown']))
      expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
    } finally {
      server.resume()
    }
    expect(await recovery(made, 'after')).toBeLessThan(2_000)
    expect((await truth(made)).split('\n').filter((key) => key.startsWith('k'))).toEqual([])
  })

  test('G1: a session that the server ends is replaced', async () => {
    const made = await database(server.url, { deadlineMs: 3_000 })
    await commit(made.db, put('a'))
    await server.psql(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${String(made.client.options.database)}'`,
    )
    expect(await code(commit(made.db, put('b')))).toBe('no error')
  })

  test('G1: with all its connections taken it is unavailable, and the next units get through when one is free', async () => {
    const small = await postgres({ maxConnections: 5, settings: { superuser_reserved_connections: 0 } })
    try {
      const made = await items(small.url, { deadlineMs, lanes: 1 })
      open.push(made)
      await made.client.unsafe('select 1')
      const hogs = await items(small.url, { migrate: false, lanes: 4, deadlineMs })
      // They stay open, idle.
      await Promise.all(Array.from({ length: 4 }, () => hogs.client.unsafe('select pg_sleep(0.1)')))
      await expect(small.psql('select 1')).rejects.toThrow('clients')
      expect(await code(commit(made.db, put('a')))).toBe('unavailable')
      await hogs.close()
      expect(await recovery(made, 'after')).toBeLessThan(5_000)
    } finally {
      for (const made of open.splice(0).reverse()) await made.close()
      await small.stop()
    }
  })

  test('D1: a commit is replicated when a standby has it, and on one disk when the wait for it was cancelled', async () => {
    const alone = await postgres({ settings: { synchronous_standby_names: 'nowhere', synchronous_commit: 'local' } })
    try {
      const local = await items(alone.url)
      open.push(local)
      expect(await commit(local.db, put('a'))).toBe('fsync')
      await alone.psql('alter system set synchronous_commit = off')
      await alone.psql('select pg_reload_conf()')
      await expect.poll(() => commit(local.db, append('under way')), { timeout: 4_000 }).toBe('memory')
      await local.client.unsafe('alter role postgres set synchronous_commit = on')
      const waiting = await items(alone.url, { migrate: false })
      open.push(waiting)
      const level = commit(waiting.db, put('b'))
      const cancel = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
      await expect.poll(() => alone.psql(cancel), { timeout: 4_000 }).toBe('t')
      expect(await level).toBe('fsync')
    } finally {
      for (const made of open.splice(0).reverse()) await made.close()
      await alone.stop()
    }
  })

  test('L2: a listener hears again after the server was started anew, and no more once it has stopped', async () => {
    const made = await database(server.url, { deadlineMs: 3_000 })
    const heard: string[] = []
    const stop = await made.db.listen('news', (payload) => heard.push(payload))
    const stopQuoted = await made.db.listen('a "quoted" one', (payload) => heard.push(payload))
    await made.client`select pg_notify('a "quoted" one', 'zero')`
    await expect.poll(() => heard.splice(0)).toEqual(['zero'])
    await stopQuoted()
    await made.client`select pg_notify('news', 'one')`
    await expect.poll(() => heard).toEqual(['one'])
    await server.restart()
    await expect
      .poll(
        async () => {
          await made.db.query(sql`select pg_notify('news', 'two')`).catch(() => {})
          return heard.includes('two')
        },
        { timeout: 10_000 },
      )
      .toBe(true)
    await stop()
    heard.length = 0
    await made.db.query(sql`select pg_notify('news', 'three')`)
    const other = await made.db.listen('news', (payload) => heard.push(`other ${payload}`))
    await made.db.query(sql`select pg_notify('news', 'four')`)
    await expect.poll(() => heard).toEqual(['other four'])
    await other()
  })

  test('N2 L2: a connection that becomes half-open at the first word is unavailable in time, and listening works after it', async () => {
    let armed = true
    const proxy = await through((direction, bytes, set) => {
      if (!armed || direction !== 'c2s' || !bytes.includes('listen "news"')) return
      armed = false
      set('blackhole')
    })
    // Without the guard of `connectPostgres`.
    const client = plainPostgres(proxy.url)
    const db = postgresDatabase(drizzle(client), { deadlineMs })
    open.push({
      async close() {
        await db.close()
        await client.end({ timeout: 1 })
      },
    })
    const started = performance.now()
    expect(await code(db.listen('news', () => {}))).toBe('unavailable')
    expect(performance.now() - started).toBeLessThan(deadlineMs + 1_000)
    expect(armed).toBe(false)
    await proxy.set('pass')
    const heard: string[] = []
    await db.listen('news', (payload) => heard.push(payload))
    await server.psql("notify news, 'heard'")
    await expect.poll(() => heard).toEqual(['heard'])
  })

  test('L2: a half-open listener is noticed and listens again, on any client', async () => {
    const proxy = await through()
    const client = plainPostgres(proxy.url, { onnotice: () => {} })
    const db = postgresDatabase(drizzle(client), { deadlineMs })
    open.push({
      async close() {
        await db.close()
        await client.end({ timeout: 1 })
      },
    })
    const heard: string[] = []
    await db.listen('news', (payload) => heard.push(payload))
    await proxy.set('blackhole')
    const before = proxy.counts.connections
    await expect.poll(() => proxy.counts.connections, { timeout: 5_000 }).toBeGreaterThan(before)
    expect(await code(db.query(sql`select 1`))).toBe('unavailable')
    await proxy.set('pass')
    await expect
      .poll(
        async () => {
          await server.psql("notify news, 'healed'")
          return heard.length
        },
        { timeout: 10_000 },
      )
      .toBeGreaterThan(0)
  })
})
