import { afterAll, beforeAll, expect, test } from 'vitest'
import { visit } from './browser.ts'
import { logIn } from './log-in.ts'
import { type Scene, scene } from './scene.ts'

let set: Scene

beforeAll(async () => {
  set = await scene()
}, 120_000)
afterAll(() => set?.close())

test('gateway G11: the overview moves by itself: figures, plots, counts', async () => {
  const { context, page, complaints } = await visit(set.browser, set.server.adminUrl)
  await logIn(page)
  await page.locator('.uplot canvas').first().waitFor({ timeout: 30_000 })
  const completed = page.locator('[data-count=completed]')
  const before = await completed.innerText()
  await expect.poll(() => completed.innerText(), { timeout: 20_000 }).not.toBe(before)
  await expect.poll(() => page.locator('gw-figure[column=requests]').innerText(), { timeout: 20_000 }).not.toBe('0')
  await page.locator('gw-connection[data-state=live]').waitFor()
  await page.locator('gw-plot summary').first().click()
  await page.locator('gw-plot tbody tr').first().waitFor()
  await context.close()
  expect(complaints.all).toEqual([])
})

test('gateway G11: the list follows, is held by Pause, keeps what is ticked, and is walked by keys', async () => {
  const { context, page, complaints } = await visit(set.browser, set.server.adminUrl)
  await logIn(page)
  await page.goto('/requests')
  const first = () => page.locator('tbody tr').first().getAttribute('id')
  const before = await first()
  await expect.poll(first, { timeout: 20_000 }).not.toBe(before)
  await page.click('button[data-pause]')
  await page.locator('button[data-pause][aria-pressed=true]').waitFor()
  await page.getByText('Paused: there is news').waitFor()
  const held = await first()
  await page.waitForTimeout(3_000)
  expect(await first()).toBe(held)
  const row = page.locator('tbody tr').nth(0)
  const id = (await row.getAttribute('id'))!.replace('row-', '')
  await page.keyboard.press('j')
  await page.keyboard.press('j')
  await page.keyboard.press('k')
  await page.locator(`tr.cursor#row-${id}`).waitFor()
  await page.keyboard.press('x')
  await page.locator(`input[value="${id}"]:checked`).waitFor()
  await page.locator('[data-ticked]').getByText('1 ticked on this page', { exact: true }).waitFor()
  await page.click('button[data-pause]')
  await expect.poll(first, { timeout: 20_000 }).not.toBe(held)
  await page.keyboard.press('/')
  await page.locator('#filter-text:focus').waitFor()
  await page.keyboard.press('Escape')
  await page.keyboard.press('?')
  await page.locator('dialog').getByText('Next row').waitFor()
  await page.keyboard.press('Escape')
  await page.locator('dialog').waitFor({ state: 'detached' })
  await page.goto('/requests?operation=refund')
  await page.keyboard.press('j')
  await page.keyboard.press('Enter')
  await page.waitForURL(/\/requests\/[0-9a-f-]{36}$/)
  await context.close()
  expect(complaints.all).toEqual([])
})

test('gateway G11: a page that is open when the gateway is killed says so, comes back by itself, and shows what was recovered', async () => {
  const report = await set.newest('report', 'running')
  const { context, page } = await visit(set.browser, set.server.adminUrl)
  await logIn(page)
  const requestPage = await context.newPage()
  await requestPage.goto(`/requests/${report}`)
  await page.locator('gw-connection[data-state=live]').waitFor()
  await requestPage.locator('gw-connection[data-state=live]').waitFor()
  await set.server.kill('SIGKILL')
  for (const each of [page, requestPage]) {
    await each.getByText('The gateway does not answer.').waitFor()
    await each.locator('gw-connection[data-state=lost]').waitFor()
  }
  await set.server.start()
  for (const each of [page, requestPage]) {
    await each.locator('gw-connection[data-state=live]').waitFor({ timeout: 30_000 })
    await each.locator('#lost').waitFor({ state: 'hidden' })
  }
  await expect.poll(() => requestPage.locator('#facts').innerText(), { timeout: 30_000 }).toMatch(/Recoveries\s+1/)
  await requestPage.locator('#timeline').getByText('recovered once').waitFor()
  await context.close()
}, 90_000)

test('gateway G11: a page that stays open does not grow', async () => {
  const longMs = process.env['GW_TEST_LONG'] === '1' ? 600_000 : 8_000
  const { context, page } = await visit(set.browser, set.server.adminUrl)
  await logIn(page)
  await page.locator('.uplot canvas').first().waitFor({ timeout: 30_000 })
  const session = await context.newCDPSession(page)
  const size = async () => {
    await session.send('HeapProfiler.collectGarbage')
    const { metrics } = await session.send('Performance.getMetrics')
    const of = (name: string) => metrics.find((metric) => metric.name === name)!.value
    return { heap: of('JSHeapUsedSize'), nodes: of('Nodes'), listeners: of('JSEventListeners') }
  }
  await session.send('Performance.enable')
  await page.waitForTimeout(3_000)
  const before = await size()
  await page.waitForTimeout(longMs)
  const after = await size()
  console.log(
    `open for ${longMs / 1_000} s: heap ${Math.round(before.heap / 1_024)} → ${Math.round(after.heap / 1_024)} KiB, nodes ${before.nodes} → ${after.nodes}`,
  )
  expect(after.heap - before.heap).toBeLessThan(1_500_000)
  expect(after.nodes - before.nodes).toBeLessThan(500)
  expect(after.listeners - before.listeners).toBeLessThan(50)
  await context.close()
}, 660_000)
