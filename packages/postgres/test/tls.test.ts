import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FaultProxy, faultProxy, type Postgres, postgres } from '@gw/services'
import { sql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/postgres-js'
import plainPostgres from 'postgres'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { connectPostgres, postgresDatabase } from '../src/index.ts'
import { code } from './items.ts'

let folder: string
let server: Postgres
let proxy: FaultProxy
const open: (() => Promise<void>)[] = []
const encrypted = sql`select ssl, application_name as name from pg_stat_ssl join pg_stat_activity using (pid) where pid = pg_backend_pid()`

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'gw-tls-'))
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-days', '2', '-nodes', '-newkey', 'rsa:2048']
  execFileSync('openssl', ['req', '-x509', ...subject, '-keyout', key, '-out', certificate], { stdio: 'ignore' })
  chmodSync(key, 0o600)
  chmodSync(folder, 0o755)
  if (process.getuid?.() === 0) chownSync(key, Number(execFileSync('id', ['-u', 'postgres'], { encoding: 'utf8' })), 0)
  server = await postgres({ settings: { ssl: 'on', ssl_key_file: key, ssl_cert_file: certificate } })
  proxy = await faultProxy(server.url)
})
afterEach(async () => {
  for (const end of open.splice(0).reverse()) await end()
  await proxy.set('pass')
})
afterAll(async () => {
  await proxy.close()
  await server.stop()
  rmSync(folder, { recursive: true })
})

test('N2: with sslmode=require all goes encrypted, and the deadline holds on a half-open connection', async () => {
  const client = connectPostgres(`${proxy.url}?sslmode=require`, { deadlineMs: 500 })
  const db = postgresDatabase(drizzle(client), { deadlineMs: 500 })
  open.push(
    () => client.end({ timeout: 1 }),
    () => db.close(),
  )
  expect(await db.query(encrypted)).toEqual([{ ssl: true, name: 'durable-gateway' }])
  expect(await client`select 1 as one`).toEqual([{ one: 1 }])
  await proxy.set('blackhole')
  const told = await Promise.all([code(Promise.resolve(client`select 1`)), code(db.query(sql`select 1`))])
  expect(told).toEqual(['CONNECTION_CLOSED', 'unknown'])
  await proxy.set('pass')
  await expect.poll(() => code(db.query(sql`select 1`))).toBe('no error')
})

test('N2: a certificate that nobody vouches for is refused where it is to be checked', async () => {
  const client = connectPostgres(`${proxy.url}?sslmode=verify-full`, { deadlineMs: 500 })
  open.push(() => client.end({ timeout: 1 }))
  expect(await code(Promise.resolve(client`select 1`))).toMatch(/CERT|SELF_SIGNED/)
})

test('N2: TLS that is required of a server without it is refused, preferred it goes without', async () => {
  const plain = await postgres({ settings: { ssl: 'off' } })
  open.push(plain.stop)
  const required = connectPostgres(`${plain.url}?sslmode=require`, { deadlineMs: 500 })
  const preferred = connectPostgres(`${plain.url}?sslmode=prefer`, { deadlineMs: 500 })
  open.push(
    () => required.end({ timeout: 1 }),
    () => preferred.end({ timeout: 1 }),
  )
  expect(await code(Promise.resolve(required`select 1`))).toBe('unavailable')
  expect(await code(Promise.resolve(preferred`select 1`))).toBe('no error')
})

test('N2: the TLS of a client of postgres.js itself is kept', async () => {
  const client = plainPostgres(server.url, { ssl: { rejectUnauthorized: false } })
  const db = postgresDatabase(drizzle(client))
  open.push(
    () => client.end({ timeout: 1 }),
    () => db.close(),
  )
  expect(await db.query(encrypted)).toMatchObject([{ ssl: true }])
})
