import { faultProxy, freshDatabase, sharedPostgres } from '@gw/services'
import { afterEach, describe, expect, test } from 'vitest'
import { connectPostgres } from '../src/index.ts'
import { code } from './items.ts'

const open: (() => Promise<void>)[] = []

async function client(options: Parameters<typeof connectPostgres>[1] = {}) {
  const server = await sharedPostgres()
  const proxy = await faultProxy(server.url)
  const made = connectPostgres(proxy.url, { deadlineMs: 400, ...options })
  open.push(() => made.end({ timeout: 1 }), proxy.close)
  return { client: made, proxy, server }
}

afterEach(async () => {
  for (const end of open.splice(0)) await end()
})

describe('connectPostgres', () => {
  test('N2: a query on a half-open connection rejects at the deadline, and the next one works after it', async () => {
    const { client: sql, proxy } = await client()
    await sql`select 1`
    await proxy.set('blackhole')
    const started = performance.now()
    expect(await code(Promise.resolve(sql`select ${1}::int`))).toBe('CONNECTION_CLOSED')
    expect(performance.now() - started).toBeLessThan(1_500)
    await proxy.set('pass')
    await expect.poll(() => code(Promise.resolve(sql`select 1`)), { timeout: 2_000 }).toBe('no error')
  })

  test('N2: the answer to a described, a pipelined and a cursor statement is waited for as well', async () => {
    for (const run of [
      (sql: ReturnType<typeof connectPostgres>) => sql`select ${'never prepared before'}::text`,
      (sql: ReturnType<typeof connectPostgres>) => Promise.all([1, 2, 3].map((n) => sql`select ${n}::int`)),
      (sql: ReturnType<typeof connectPostgres>) => sql`select generate_series(1, 3)`.cursor(1, () => {}),
    ]) {
      const { client: sql, proxy } = await client({ maxConnections: 1 })
      await sql`select 1`
      await proxy.set('blackhole')
      expect(await code(Promise.resolve(run(sql)))).toBe('CONNECTION_CLOSED')
    }
  })

  test('N2: a connection that has nothing to answer may be silent for longer than the deadline', async () => {
    const { client: sql, proxy } = await client()
    const heard: string[] = []
    await sql.listen('guard', (payload) => heard.push(payload))
    const [before] = await sql`select pg_backend_pid() as pid`
    const connections = proxy.counts.connections
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await sql.notify('guard', 'still here')
    await expect.poll(() => heard).toEqual(['still here'])
    expect((await sql`select pg_backend_pid() as pid`)[0]).toEqual(before)
    expect(proxy.counts.connections).toBe(connections)
  })

  test('N2: an answer in many pieces, a slow reader of a cursor and a slow COPY are not cut off', async () => {
    const { client: sql, proxy } = await client({ maxConnections: 1 })
    expect((await sql`select repeat('x', 1000) as x from generate_series(1, 5000)`).length).toBe(5_000)
    const seen: number[] = []
    await sql`select generate_series(1, 3) as n`.cursor(1, async ([row]) => {
      seen.push(Number(row?.['n']))
      await new Promise((resolve) => setTimeout(resolve, 500))
    })
    expect(seen).toEqual([1, 2, 3])
    await sql`create temporary table copied (n int)`
    const copy = await sql`copy copied from stdin`.writable()
    copy.write('1\n')
    await new Promise((resolve) => setTimeout(resolve, 600))
    await new Promise<void>((resolve) => copy.end('2\n', resolve))
    expect((await sql`select count(*)::int as n from copied`)[0]).toEqual({ n: 2 })
    expect(proxy.counts.connections).toBe(1)
  })

  test('a statement that takes longer than the deadline ends with its connection', async () => {
    const { client: sql } = await client()
    expect(await code(Promise.resolve(sql`select pg_sleep(5)`))).toBe('CONNECTION_CLOSED')
  })

  test('N1: it connects again within two seconds of the server being back', async () => {
    const { client: sql, proxy } = await client()
    await sql`select 1`
    await proxy.set('refuse')
    const told = new Set<string>()
    for (let i = 0; i < 12; i++) told.add(await code(Promise.resolve(sql`select 1`)))
    expect([...told].at(-1)).toBe('ECONNREFUSED')
    await proxy.set('pass')
    const started = performance.now()
    await expect.poll(() => code(Promise.resolve(sql`select 1`)), { timeout: 10_000 }).toBe('no error')
    expect(performance.now() - started).toBeLessThan(2_000)
  })

  test('names itself to the server, drops notices and bounds its connections', async () => {
    const url = await freshDatabase()
    const sql = connectPostgres(url, { maxConnections: 2, applicationName: 'mine' })
    open.push(() => sql.end())
    const rows = await Promise.all(
      Array.from(
        { length: 10 },
        () => sql`select current_setting('application_name') as name, pg_backend_pid() as pid`,
      ),
    )
    expect(rows[0]?.[0]?.['name']).toBe('mine')
    expect(new Set(rows.map(([row]) => row?.['pid'])).size).toBeLessThanOrEqual(2)
    await sql`drop table if exists nothing_here`
  })

  test('refuses options that cannot be right, and shows no password', async () => {
    for (const options of [{ deadlineMs: 0 }, { deadlineMs: 2 ** 31 }, { maxConnections: 0.5 }, { max: 3 }]) {
      expect(() => connectPostgres('postgres://localhost/x', options as never)).toThrow('Expected `')
    }
    expect(() => connectPostgres('mysql://me:secret@localhost/x')).toThrow('Expected `url`')
    expect(() => connectPostgres('mysql://me:secret@localhost/x')).not.toThrow('secret')
  })
})
