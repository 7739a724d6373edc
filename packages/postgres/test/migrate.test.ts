import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { freshDatabase } from '@gw/services'
import { sql } from 'drizzle-orm'
import { afterEach, expect, test } from 'vitest'
import { code, type Items, items } from './items.ts'

const open: Items[] = []
async function fresh(): Promise<Items> {
  const made = await items(await freshDatabase(), { migrate: false })
  open.push(made)
  return made
}
afterEach(async () => {
  for (const made of open.splice(0)) await made.close()
})

test('X1: five processes that migrate at once all succeed, and each step ran once', async () => {
  const url = await freshDatabase()
  const child = fileURLToPath(new URL('./migrating-child.ts', import.meta.url))
  const children = Array.from({ length: 5 }, () =>
    spawn(process.execPath, ['--conditions=@gw/source', child, url], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  await Promise.all(children.map(({ stdout }) => once(stdout, 'data')))
  for (const { stdin } of children) stdin.end('go')
  const codes = await Promise.all(children.map(async (running) => (await once(running, 'exit'))[0]))
  expect(codes).toEqual([0, 0, 0, 0, 0])
  const made = await items(url, { migrate: false })
  open.push(made)
  expect(await made.db.query(sql`select n from once`)).toEqual([{ n: 1 }])
  expect(await made.db.query(sql`select * from gw_schema`)).toEqual([{ owner: 'app', version: 2 }])
})

test('X1: only what is missing is applied, each owner by itself', async () => {
  const { db } = await fresh()
  const first = ['create table a (n int)']
  await db.migrate('one', first)
  await Promise.all([
    db.migrate('one', [...first, 'alter table a add m int']),
    db.migrate('two', ['create table b (n int)']),
  ])
  await db.migrate('one', [...first, 'alter table a add m int'])
  expect(await db.query(sql`select owner, version from gw_schema order by owner`)).toEqual([
    { owner: 'one', version: 2 },
    { owner: 'two', version: 1 },
  ])
})

test('X1: a database ahead of the code is refused and left as it is', async () => {
  const { db } = await fresh()
  await db.migrate('one', ['create table a (n int)', 'create table b (n int)'])
  expect(await code(db.migrate('one', ['create table a (n int)']))).toBe('schema_too_new')
  expect(await db.query(sql`select version from gw_schema`)).toEqual([{ version: 2 }])
})

test('X1: a step that fails leaves nothing of its migration', async () => {
  const { db } = await fresh()
  expect(await code(db.migrate('one', ['create table a (n int)', 'create tabel b (n int)']))).toBe('procedure_failed')
  expect(await db.query(sql`select to_regclass('a') as a, to_regclass('gw_schema') as s`)).toEqual([
    { a: null, s: null },
  ])
  await db.migrate('one', ['create table a (n int)', 'create table b (n int)'])
})
