import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { sqliteCheckpointStore } from '@gw/checkpoint/sqlite'
import { openDatabase } from '@gw/sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { operateToken, type TestServer, testServer } from './server.ts'

const stored = 100_000
let server: TestServer

beforeAll(async () => {
  server = await testServer()
  await server.post('/api/payment', { amount: 1 })
  const { requests } = (await (await server.admin('/admin/requests?limit=1')).json()) as { requests: { id: string }[] }
  await server.kill('SIGTERM')
  await fill(server.dataDir, requests[0]!.id)
  await server.start()
}, 180_000)
afterAll(() => server?.kill())

/** Copies a finished request so often, as it is accepted and finished by the store itself. */
async function fill(directory: string, id: string): Promise<void> {
  const db = await openDatabase({ directory })
  const store = sqliteCheckpointStore({ db })
  await store.open()
  const [run, input, outcome] = await Promise.all([store.get(id), store.input(id), store.outcome(id)])
  const began = Date.now() - stored * 10
  for (let at = 0; at < stored; ) {
    const units: Promise<unknown>[] = []
    for (let batch = 0; batch < 20 && at < stored; batch++) {
      const unit = store.unit()
      for (let i = 0; i < 250 && at < stored; i++, at++) {
        const createdAt = began + at * 10
        const hex = createdAt.toString(16).padStart(12, '0')
        const name = `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${at.toString(16).padStart(12, '0')}`
        const status = at % 1_000 === 0 ? 'failed' : 'completed'
        unit.add(
          store.accept(
            { ...run!, id: name, status, createdAt, updatedAt: createdAt + 5, principal: `user-${at % 50}`, links: {} },
            input!,
            { outcome: outcome! },
          ),
        )
      }
      units.push(unit.commit())
    }
    await Promise.all(units)
  }
  await db.close()
}

const page = (path: string) => server.admin(path, { headers: { accept: 'text/html' } })

test('gateway G11: with 100,000 requests stored the list answers at once, from its newest to its oldest page and by filter', async () => {
  const { counts } = (await (await server.admin('/admin/requests?limit=1')).json()) as {
    counts: Record<string, number>
  }
  expect(counts['completed']! + counts['failed']!).toBe(stored + 1)
  const cases = ['/requests', '/requests?status=failed', '/requests?principal=user-7', '/requests?operation=payment']
  const older = /href="([^"]*cursor=[^"]*)"/.exec(await (await page('/requests')).text())![1]!.replaceAll('&amp;', '&')
  for (let i = 0; i < 20; i++) await (await page('/requests')).text()
  for (const path of [...cases, older]) {
    const times: number[] = []
    for (let i = 0; i < 15; i++) {
      const began = performance.now()
      const answer = await page(path)
      const text = await answer.text()
      times.push(performance.now() - began)
      expect([answer.status, text.includes('50 on this page')]).toEqual([200, true])
    }
    const median = times.toSorted((a, b) => a - b)[7]!
    console.log(`${path.slice(0, 40)}: ${median.toFixed(1)} ms, the median of 15`)
    expect(median).toBeLessThan(250)
  }
})

test('gateway G11: a stream of the overview costs the gateway next to nothing', async () => {
  const busy = () => {
    const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10
  }
  const periodMs = 5_000
  const measure = async () => {
    const before = busy()
    await delay(periodMs)
    return busy() - before
  }
  const alone = await measure()
  const abort = new AbortController()
  const stream = await fetch(`${server.adminUrl}/live`, {
    headers: { authorization: `Bearer ${operateToken}` },
    signal: abort.signal,
  })
  let ticks = 0
  const reading = (async () => {
    for await (const chunk of stream.body!) if (Buffer.from(chunk).includes('data:')) ticks++
  })().catch(() => {})
  const watched = await measure()
  abort.abort()
  await reading
  const share = ((watched - alone) / periodMs) * 100
  console.log(
    `idle ${((alone / periodMs) * 100).toFixed(2)} % of a core, with a stream ${((watched / periodMs) * 100).toFixed(2)} %: ${share.toFixed(2)} % more, ${ticks} ticks`,
  )
  expect(ticks).toBeGreaterThanOrEqual(2)
  expect(share).toBeLessThan(10)
})
