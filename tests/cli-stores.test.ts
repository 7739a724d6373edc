import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createBucket, freshDatabase, s3Request, sharedRedis, sharedS3 } from '@gw/services'
import { expect, test } from 'vitest'
import { startServer } from './crash/server.ts'

const cli = fileURLToPath(new URL('../apps/gateway/dist/cli.js', import.meta.url))

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}

function gw(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const cwd = mkdtempSync(join(tmpdir(), 'gw-cli-'))
    execFile(process.execPath, [cli, ...args], { cwd, env: { ...process.env, ...env } }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })
}

async function pay(url: string, amount: number) {
  const answer = await fetch(`${url}/api/payment`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': `key-${amount}` },
    body: JSON.stringify({ amount, currency: 'EUR', payment_method: 'card', customer_id: 'ann' }),
  })
  return { run: answer.headers.get('gw-run')!, text: await answer.text() }
}

test('G12: a backup of PostgreSQL, taken while its gateway runs, restores into an empty database, keys and events with it', async () => {
  const [url, empty] = [await freshDatabase(), await freshDatabase()]
  const folder = mkdtempSync(join(tmpdir(), 'gw-pg-'))
  const env = { DATABASE_URL: url, GW_DRAIN_DELAY: '0s' }
  const first = await startServer(join(folder, 'one'), env)
  const paid = [await pay(first.url, 1), await pay(first.url, 2)]
  const made = await gw(['backup', join(folder, 'backups'), '--json'], env)
  expect([made.code, made.err]).toEqual([0, ''])
  const { id, events, runs } = JSON.parse(made.out)
  expect(runs).toMatchObject({ completed: 2 })
  expect(await gw(['restore', join(folder, 'backups')], env)).toMatchObject({
    code: 1,
    err: expect.stringContaining('restore into an empty database'),
  })
  const examined = await gw(['doctor', '--json', '--data-dir', join(folder, 'one')], env)
  expect(JSON.parse(examined.out).findings).toContainEqual(
    expect.objectContaining({ check: 'postgres', state: 'ok', detail: expect.stringMatching(/^PostgreSQL \d+/) }),
  )
  first.process.kill('SIGTERM')
  await first.exited

  const restored = await gw(['restore', join(folder, 'backups'), '--json'], { DATABASE_URL: empty })
  expect([restored.err, restored.code]).toEqual(['', 0])
  expect(JSON.parse(restored.out)).toMatchObject({ id })
  const inspected = await gw(['inspect', empty, '--json'])
  expect([inspected.code, JSON.parse(inspected.out)]).toMatchObject([
    0,
    { runs: { total: 2 }, keys: { keys: 2, answered: 2 }, damage: { runs: [], log: { ok: true } } },
  ])
  expect(inspected.out).not.toContain(new URL(empty).password || 'no password at all')
  const verified = await gw(['events', 'verify', empty, '--json'])
  expect([verified.code, JSON.parse(verified.out).head]).toEqual([0, { position: events.position, hash: events.hash }])

  const second = await startServer(join(folder, 'two'), { ...env, DATABASE_URL: empty })
  for (const { run, text } of paid)
    expect(await (await fetch(`${second.url}/requests/${run}/response`)).text()).toBe(text)
  expect((await pay(second.url, 1)).text).toBe(paid[0]!.text)
  expect((await pay(second.url, 3)).text).toContain('succeeded')
  second.process.kill('SIGTERM')
  await second.exited
  expect(await gw(['migrate', '--check'], { DATABASE_URL: empty })).toMatchObject({ code: 0 })
  expect((await gw(['migrate', '--check'], { DATABASE_URL: await freshDatabase() })).code).toBe(1)
})

test('G12: a backup in S3 restores, is inspected there, and its secret is never printed', async () => {
  const s3 = await sharedS3()
  const bucket = `cli-${Date.now()}`
  await createBucket(s3, bucket)
  const folder = mkdtempSync(join(tmpdir(), 'gw-s3-'))
  const aws = {
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    AWS_REGION: s3.region,
    AWS_ENDPOINT_URL: s3.url,
  }
  const place = `s3://${bucket}/nightly`
  const first = await startServer(join(folder, 'data'), { GW_DRAIN_DELAY: '0s' })
  const { run, text } = await pay(first.url, 5)
  const made = await gw(['backup', place, '--data-dir', join(folder, 'data')], aws)
  expect([made.err, made.code]).toEqual(['', 0])
  first.process.kill('SIGKILL')
  await first.exited
  const inspected = await gw(['inspect', place], aws)
  expect([inspected.code, inspected.out]).toEqual([0, expect.stringContaining('No damage')])
  const restored = await gw(['restore', place, '--data-dir', join(folder, 'again')], aws)
  expect([restored.err, restored.code]).toEqual(['', 0])
  for (const { out, err } of [made, inspected, restored]) expect(out + err).not.toContain(s3.secretAccessKey)
  const second = await startServer(join(folder, 'again'), { GW_DRAIN_DELAY: '0s' })
  expect(await (await fetch(`${second.url}/requests/${run}/response`)).text()).toBe(text)
  second.process.kill('SIGKILL')
  await second.exited
  const wrong = await gw(['backup', place, '--data-dir', join(folder, 'again')], {
    ...aws,
    AWS_SECRET_ACCESS_KEY: 'wrong',
  })
  expect([wrong.code === 0, wrong.err]).toEqual([false, expect.stringContaining('403')])
})

test('G12: inspect and doctor say what the settings of a Redis put at risk', async () => {
  const { url } = await sharedRedis()
  const inspected = await gw(['inspect', url, '--json'])
  expect([inspected.code, JSON.parse(inspected.out)]).toMatchObject([0, { kind: 'redis', nodes: 1 }])
  const examined = await gw(['doctor', '--json'], { REDIS_URL: url })
  const { findings } = JSON.parse(examined.out) as { readonly findings: readonly { readonly check: string }[] }
  expect(findings.filter(({ check }) => check === 'redis')).toEqual([expect.objectContaining({ state: 'ok' })])
  expect(findings.filter(({ check }) => check === 'redis policies')).toHaveLength(
    JSON.parse(inspected.out).risks.length,
  )
  expect(await gw(['inspect', 'redis://127.0.0.1:1'])).toMatchObject({ code: 69 })
})

test('G12: inspect reads a whole cold tier and names what is broken in it; doctor says whether its bucket can be used', async () => {
  const s3 = await sharedS3()
  const bucket = `tier-${Date.now()}`
  await createBucket(s3, bucket)
  const url = new URL(`/${bucket}?region=${s3.region}`, s3.url)
  url.username = s3.accessKeyId
  url.password = s3.secretAccessKey
  const server = await startServer(join(mkdtempSync(join(tmpdir(), 'gw-tier-')), 'data'), {
    GW_S3_URL: url.href,
    GW_DRAIN_DELAY: '0s',
  })
  for (const amount of [1, 2, 3]) await pay(server.url, amount)
  server.process.kill('SIGTERM')
  expect((await server.exited).code).toBe(0)

  const whole = await gw(['inspect', url.href, '--json'])
  expect([whole.code, JSON.parse(whole.out)]).toMatchObject([0, { coldTier: { read: { runs: 3 } }, damage: [] }])
  const doctor = async (at: string) => {
    const { out } = await gw(['doctor', '--json'], { GW_S3_URL: at })
    return JSON.parse(out).findings.filter(({ check }: { readonly check: string }) => /^(s3|clock)$/.test(check))
  }
  expect(await doctor(url.href)).toEqual([
    expect.objectContaining({ check: 's3', state: 'ok' }),
    expect.objectContaining({ check: 'clock', state: 'ok' }),
  ])
  const stranger = new URL(url)
  stranger.password = 'wrong'
  expect(await doctor(stranger.href)).toEqual([expect.objectContaining({ check: 's3', state: 'failed' })])

  const listed = await (await s3Request(s3, 'GET', `/${bucket}`, { query: { 'list-type': '2' } })).text()
  const [, segment] = /<Key>([^<]*backup\/[^<]*\/\d{15})<\/Key>/.exec(listed) ?? []
  expect((await s3Request(s3, 'PUT', `/${bucket}/${segment}`, { body: 'not what was written' })).status).toBe(200)
  const broken = await gw(['inspect', url.href, '--json'])
  expect([broken.code, JSON.parse(broken.out).damage]).toEqual([1, [expect.stringMatching(/^cold tier: /)]])
  for (const { out, err } of [whole, broken]) expect(out + err).not.toContain(s3.secretAccessKey)
})

test('G12: doctor notices that this clock is away from the one that leases go by', async () => {
  const ahead = 'const { now } = Date; Date.now = () => now() + 3_600_000'
  const { code, out } = await gw(['doctor', '--json'], {
    DATABASE_URL: await freshDatabase(),
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(ahead)}`,
  })
  expect(JSON.parse(out).findings).toContainEqual(
    expect.objectContaining({
      check: 'clock',
      state: 'failed',
      detail: expect.stringMatching(/^this machine is .* ahead of PostgreSQL$/),
    }),
  )
  expect(code).toBe(1)
})
