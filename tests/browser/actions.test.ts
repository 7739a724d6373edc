import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Complaints, visit, widths } from './browser.ts'
import { logIn } from './log-in.ts'
import { type Scene, scene } from './scene.ts'

let set: Scene

beforeAll(async () => {
  set = await scene()
}, 120_000)
afterAll(() => set?.close())

const json = async <Answer>(path: string) => (await (await set.server.admin(path)).json()) as Answer
const statusOf = async (id: string) =>
  (await json<{ request: { status: string } }>(`/admin/requests/${id}`)).request.status
/** The newest event of a type about a subject: what an action leaves before it is done. */
const eventOf = async (type: string, subject?: string) => {
  const query = new URLSearchParams({ event_type: type, ...(subject === undefined ? {} : { subject }) })
  const { events } = await json<{ events: { actor: string; data: unknown }[] }>(`/admin/audit-trail?${query}`)
  return events.at(-1)
}
const done = (page: Page) => page.locator('main > .lost[role=status]').innerText()

/** A request of an operation that only this test acts on. */
async function fresh(operation: string, body: unknown, status: string): Promise<string> {
  const answer = await set.server.post(`/api/${operation}`, body, { prefer: 'respond-async' })
  const id = answer.headers.get('gw-run')!
  await answer.arrayBuffer()
  await expect.poll(() => statusOf(id), { timeout: 20_000 }).toBe(status)
  return id
}

describe.each([
  ['in dialogs, 1,280 px', true, widths.wide],
  ['without JavaScript, 360 px', false, widths.narrow],
] as const)('%s', (_, javaScriptEnabled, viewport) => {
  let page: Page
  let complaints: Complaints
  let close: () => Promise<void>

  beforeAll(async () => {
    const visited = await visit(set.browser, set.server.adminUrl, { javaScriptEnabled, viewport })
    page = visited.page
    complaints = visited.complaints
    close = () => visited.context.close()
    await logIn(page)
  })
  afterAll(async () => {
    await close()
    expect(complaints.all).toEqual([])
  })

  /** Asks for an action, looks at what it says it will do, and confirms it. */
  async function act(from: string, action: string, submit: string, fill?: () => Promise<void>): Promise<string> {
    await page.goto(from)
    await page.locator('main').getByText(action, { exact: true }).first().click()
    const form = page.locator(javaScriptEnabled ? 'dialog form[data-confirm]' : 'main form[data-confirm]')
    await form.waitFor()
    const effect = await form.locator('.effect').innerText()
    await fill?.()
    await form.getByRole('button', { name: submit }).click()
    await page.waitForURL(/[?&](done|erased)=/)
    return effect
  }

  test('gateway G11: a parked request is resolved by what somebody found out, and the step counts as done', async () => {
    const id = await set.newest('dispute', 'parked')
    const effect = await act(`/requests/${id}`, 'Resolve…', 'Decide', async () => {
      await page.check('input[value=done]')
      await page.fill('input[name=value]', '{"paid":"by hand"}')
    })
    expect(effect).toContain('pay out')
    expect(await done(page)).toContain('decision')
    await expect.poll(() => statusOf(id), { timeout: 20_000 }).toBe('completed')
    expect(await eventOf('checkpoint.resolve', id)).toMatchObject({ actor: 'admin@127.0.0.1' })
  })

  test('gateway G11: a waiting request gets its signal, another is cancelled', async () => {
    const signalled = await fresh('approval', {}, 'waiting')
    await act(`/requests/${signalled}`, 'Send signal…', 'Send it', async () => {
      expect(await page.inputValue('input[name=name]')).toBe('approved')
      await page.fill('textarea[name=value]', '{"by":"cfo"}')
    })
    await expect.poll(() => statusOf(signalled), { timeout: 20_000 }).toBe('completed')
    const cancelled = await fresh('approval', {}, 'waiting')
    await act(`/requests/${cancelled}`, 'Cancel…', 'Cancel it')
    await expect.poll(() => statusOf(cancelled), { timeout: 20_000 }).toBe('cancelled')
    expect(await eventOf('checkpoint.cancel', cancelled)).toMatchObject({ actor: 'admin@127.0.0.1' })
  })

  test('gateway G11: a failed request is retried from its last kept step, and forked from a step with an edited body', async () => {
    const failed = await fresh('refund', { n: 1 }, 'failed')
    expect(await act(`/requests/${failed}`, 'Retry now…', 'Retry it now')).toContain('kept step')
    expect(await eventOf('checkpoint.retry', failed)).toMatchObject({ actor: 'admin@127.0.0.1' })
    const paid = await fresh('payment', { amount: 5 }, 'completed')
    await act(`/requests/${paid}`, 'Fork…', 'Start the fork', async () => {
      await page.selectOption('select[name=fromStep]', 'charge#1')
      await page.check('input[name=edit]')
      await page.fill('textarea[name=body]', '{"amount": 77}')
    })
    const fork = new URL(page.url()).pathname.split('/').at(-1)!
    expect(fork).not.toBe(paid)
    await expect.poll(() => statusOf(fork), { timeout: 20_000 }).toBe('completed')
    const { outcome } = await json<{ outcome: { body: { value: unknown } } }>(`/admin/requests/${fork}/payloads`)
    expect(outcome.body.value).toMatchObject({ amount: 77 })
  })

  test('gateway G11: what a filter shows is cancelled after a count that changes nothing', async () => {
    const ids = [await fresh('approval', {}, 'waiting'), await fresh('approval', {}, 'waiting')]
    const before = await json<{ requests: unknown[] }>('/admin/requests?operation=approval&status=waiting')
    const effect = await act(
      '/requests?operation=approval&status=waiting',
      'Cancel…',
      `Cancel ${before.requests.length} requests`,
    )
    expect(effect).toContain(`${before.requests.length} requests are not finished`)
    expect(await done(page)).toContain(`${before.requests.length} requests were asked to end`)
    for (const id of ids) await expect.poll(() => statusOf(id), { timeout: 20_000 }).toBe('cancelled')
    expect(await eventOf('admin.requests.bulk')).toMatchObject({ data: { action: 'cancel' } })
  })

  test('gateway G11: of what is ticked, those that the action fits are retried and the others stay', async () => {
    const failed = await fresh('refund', { n: 2 }, 'failed')
    await page.goto('/requests?operation=refund')
    await page.check(`input[value="${failed}"]`)
    await page.getByText('Retry now…').click()
    const form = page.locator(javaScriptEnabled ? 'dialog form[data-confirm]' : 'main form[data-confirm]')
    await form.getByText('Retry 1 request').first().waitFor()
    await form.getByRole('button', { name: 'Retry 1 request' }).click()
    await page.waitForURL(/done=retry/)
    expect(await done(page)).toContain('1 request was queued')
    expect(new URL(page.url()).searchParams.get('operation')).toBe('refund')
    expect(await eventOf('checkpoint.retry', failed)).toMatchObject({ actor: 'admin@127.0.0.1' })
  })

  test('gateway G11: a breaker is held open, held closed and reset, and says so', async () => {
    for (const [action, submit, state] of [
      ['Hold open…', 'Hold it open', 'OPEN'],
      ['Hold closed…', 'Hold it closed', 'CLOSED'],
      ['Reset…', 'Reset it', 'CLOSED'],
    ] as const) {
      await page.goto('/breakers')
      await act('/breakers', action, submit)
      const breaker = await json<{ state: string }>('/admin/circuit-breakers/card-network')
      expect([action, breaker.state]).toEqual([action, state])
    }
    expect(await page.locator('#card-network').innerText()).toContain('reset')
    expect(await eventOf('admin.circuit-breaker.open', 'card-network')).toMatchObject({ actor: 'admin@127.0.0.1' })
  })

  test('gateway G11: a pool gets new bounds and new connections, and shows who has kept one too long', async () => {
    await act('/pools', 'Resize…', 'Resize it', async () => {
      await page.fill('input[name=max]', javaScriptEnabled ? '9' : '11')
    })
    const pools = await json<{ connection_pools: { main: { maxConnections: number } } }>('/admin/connection-pools')
    expect(pools.connection_pools.main.maxConnections).toBe(javaScriptEnabled ? 9 : 11)
    await act('/pools', 'Refresh…', 'Refresh it')
    expect(await eventOf('pool.refresh', 'main')).toMatchObject({ actor: 'admin@127.0.0.1' })
    await page.getByText('Where it was taken').first().click()
    await page.locator('#main .payload').first().getByText('gateway.ts').waitFor()
  })

  test('gateway G11: a key is found by what the client sent, and the keys of a principal are erased', async () => {
    const key = `mine-${javaScriptEnabled}`
    await set.server.post('/api/payment', { amount: 3 }, { 'idempotency-key': key, 'x-user-id': 'eve' })
    const find = `/keys?${new URLSearchParams({ key, principal: 'eve', route: '/api/payment' })}`
    await page.goto(find)
    expect(await page.locator('#found-key').innerText()).toContain('answered')
    await act('/keys', "Erase a principal's…", 'Erase them', () => page.fill('input[name=principal]', 'eve'))
    expect(await done(page)).toContain('1 kept answers were removed')
    await page.goto(find)
    expect(await page.locator('main').innerText()).toContain('There is no such key')
  })

  test('gateway G11: garbage is collected and a backup is written, with what came of it', async () => {
    await act('/storage', 'Collect…', 'Collect')
    expect(await done(page)).toContain('deleted')
    await act('/storage', 'Back up…', 'Back up')
    expect(await done(page)).toMatch(/The backup is there: [\d.]+ [KM]B/)
    expect(await page.locator('#storage-parts').innerText()).not.toContain('There is none in a file')
  })

  test('gateway G11: an action that no longer fits says so, and changes nothing', async () => {
    const id = await fresh('approval', {}, 'waiting')
    await page.goto(`/requests/${id}/cancel`)
    await set.server.admin(`/admin/requests/${id}/cancel`, { method: 'POST' })
    await expect.poll(() => statusOf(id), { timeout: 20_000 }).toBe('cancelled')
    await page.getByRole('button', { name: 'Cancel it' }).click()
    await page.getByText('It was not done').waitFor()
    await page.locator('[role=alert] .note').last().getByText('already finished').waitFor()
    complaints.all.splice(0)
  })
})

test('gateway G11: the trail is searched, one event is proved and its proof downloaded', async () => {
  const { context, page } = await visit(set.browser, set.server.adminUrl)
  await logIn(page)
  await page.goto('/audit')
  await page.fill('#filter-event_type', 'request_received')
  await page.fill('#filter-user_id', 'ann')
  await page.click('button:has-text("Filter")')
  await page.waitForURL(/event_type=request_received/)
  expect(new Set(await page.locator('tbody th a').allInnerTexts())).toEqual(new Set(['request_received']))
  await page.locator('tbody th a').first().click()
  await page.click('a:has-text("Prove it")')
  await page.getByText('Signed checkpoint').waitFor()
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('a:has-text("Download")')])
  expect(download.suggestedFilename()).toMatch(/^proof-\d+\.json$/)
  await page.goto('/audit/verification')
  expect(await page.locator('main').innerText()).toContain('The log is whole.')
  await context.close()
})
