import axe, { type AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { visit, widths } from './browser.ts'
import { logIn } from './log-in.ts'
import { pagesOf, type Scene, scene } from './scene.ts'
import { operateToken, readToken } from './server.ts'

let set: Scene
let pages: Awaited<ReturnType<typeof pagesOf>>

beforeAll(async () => {
  set = await scene()
  pages = await pagesOf(set)
}, 120_000)
afterAll(() => set?.close())

const rules = {
  all: { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] },
  colours: { runOnly: { type: 'rule', values: ['color-contrast'] } },
} as const

/** WCAG 2.1 AA, by axe; brought in past the page's own policy, which forbids it to everybody else. */
async function violations(page: Page, what: keyof typeof rules): Promise<string[]> {
  const { violations } = (await page.evaluate(`axe.run(document, ${JSON.stringify(rules[what])})`)) as AxeResults
  return violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes.map(({ html, any }) => `${html.slice(0, 160)} ${any[0]?.message ?? ''}`).join(' | ')}`,
  )
}

const overflow = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)

test.each([
  ['360 px', widths.narrow],
  ['1,280 px', widths.wide],
])(
  'gateway G11: every page works without JavaScript, %s',
  async (_, viewport) => {
    const { context, page, complaints } = await visit(set.browser, set.server.adminUrl, {
      viewport,
      javaScriptEnabled: false,
    })
    await logIn(page)
    for (const [path, heading] of pages) {
      await page.goto(path)
      expect(await page.locator('h1').innerText()).toMatch(heading)
      expect([path, await overflow(page)]).toEqual([path, 0])
    }
    // A line needs two slots of five seconds, and the server has just been started.
    const shown = async (path: string, selector: string) => {
      await page.goto(path)
      return page.locator(selector).count()
    }
    await expect.poll(() => shown('/', 'gw-plot svg polyline'), { timeout: 60_000, interval: 500 }).toBeGreaterThan(4)
    await page.locator('gw-plot summary').first().click()
    await page.locator('gw-plot table tbody tr').first().waitFor()
    await page.goto('/requests')
    await page.selectOption('#filter-status', 'parked')
    await page.click('button:has-text("Filter")')
    await page.waitForURL(/[?&]status=parked/)
    expect(new Set(await page.locator('tbody .badge').allInnerTexts())).toEqual(new Set(['parked']))
    // Requests fill a page as they come.
    await expect.poll(() => shown('/requests', 'a:has-text("Older")'), { timeout: 60_000, interval: 500 }).toBe(1)
    const first = await page.locator('tbody tr').first().getAttribute('id')
    await page.click('a:has-text("Older")')
    await page.waitForURL(/[?&]cursor=/)
    expect(await page.locator(`tbody tr#${first}`).count()).toBe(0)
    if (viewport === widths.narrow) {
      await page.click('button[aria-label="Menu"]')
      await page.click('nav a:has-text("Pools")')
      await page.getByRole('heading', { name: 'Pools', exact: true }).waitFor()
    }
    await context.close()
    expect(complaints.all.filter((each) => !each.includes('404 (Not Found)'))).toEqual([])
  },
  120_000,
)

test('gateway G11: pages have no inline script or style, a policy that forbids them, and assets named by their content', async () => {
  for (const [path] of [...pages, ['/login', /x/] as const]) {
    const response = await set.server.admin(path, { headers: { accept: 'text/html' } })
    const text = await response.text()
    expect([path, text.match(/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:/gi)]).toEqual([path, null])
    expect(text.startsWith('<!DOCTYPE html><html lang="en"')).toBe(true)
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'")
    expect(policy).not.toContain('unsafe')
    expect(response.headers.get('cache-control')).toBe('no-store')
  }
  const page = await (await fetch(`${set.server.adminUrl}/login`)).text()
  const assets = [...page.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)].map(([, url]) => url!)
  expect(assets).toHaveLength(3)
  for (const url of assets) {
    const answer = await fetch(set.server.adminUrl + url)
    expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    expect(url).toMatch(/-[\w-]{16}\.(js|css|svg)$/)
    await answer.arrayBuffer()
  }
})

test('gateway G11: the log-in takes the token once, gives a cookie that no script reads, and leads back to where one was going', async () => {
  const { context, page } = await visit(set.browser, set.server.adminUrl)
  await page.goto('/requests?status=parked')
  expect(new URL(page.url()).pathname).toBe('/login')
  await page.fill('input[name=token]', 'a'.repeat(40))
  await page.click('button[type=submit]')
  await page.locator('[role=alert]').getByText('not the token').waitFor()
  await page.fill('input[name=token]', operateToken)
  await page.click('button[type=submit]')
  await page.waitForURL('**/requests?status=parked')
  const cookies = await context.cookies()
  const [session] = cookies.filter(({ name }) => name === 'gw_admin')
  expect(session).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/' })
  expect(JSON.stringify(cookies)).not.toContain(operateToken)
  await page.click('button[aria-label="Log out"]')
  await page.waitForURL('**/login')
  await page.goto('/')
  expect(new URL(page.url()).pathname).toBe('/login')
  await context.close()
})

test('gateway G11: changes from another origin, and a way back to one, are refused', async () => {
  const dispute = await set.newest('dispute', 'parked')
  const post = (path: string, origin: string, body = '') =>
    set.server.admin(path, {
      method: 'POST',
      headers: { origin, 'content-type': 'application/x-www-form-urlencoded' },
      body,
      redirect: 'manual',
    })
  expect((await post(`/requests/${dispute}/cancel`, 'http://evil.example')).status).toBe(403)
  expect((await post('/login', 'http://evil.example', `token=${operateToken}`)).status).toBe(403)
  for (const next of ['//evil.example/', 'https://evil.example/', '/\\evil.example', 'javascript:alert(1)']) {
    const answer = await post(
      '/login',
      set.server.adminUrl,
      new URLSearchParams({ token: operateToken, next }).toString(),
    )
    expect([next, answer.status, answer.headers.get('location')]).toEqual([next, 303, '/'])
  }
})

test('gateway G11: who may only look sees every page and no action', async () => {
  const { context, page, complaints } = await visit(set.browser, set.server.adminUrl)
  await logIn(page, readToken)
  for (const [path] of pages) {
    if (/\/(resolve|fork|open|resize|drain)$|bulk/.test(path)) continue
    await page.goto(path)
    const offered = await page
      .locator('main form[method=post], main [data-dialog], main a[download*="request-"], main button[name=action]')
      .count()
    expect([path, offered]).toEqual([path, 0])
  }
  const dispute = await set.newest('dispute', 'parked')
  const refused = await page.request.post(`/requests/${dispute}/cancel`, {
    headers: { origin: set.server.adminUrl },
    form: {},
  })
  expect(refused.status()).toBe(403)
  await page.click('button[aria-label^="Colours"]')
  await page.locator('html[data-theme=dark]').waitFor()
  await context.close()
  expect(complaints.all.filter((each) => !each.includes('404 (Not Found)'))).toEqual([])
})

test('gateway G11: secrets in payloads are masked and sizes are said', async () => {
  const refund = await set.newest('refund', 'failed')
  const text = await (await set.server.admin(`/requests/${refund}`, { headers: { accept: 'text/html' } })).text()
  expect(text).not.toContain('hunter2')
  expect(text).toContain('[redacted]')
  expect(text).toMatch(/Body, json, \d+ B/)
})

test('gateway G11: every page fits, breaks no rule of axe, asks nothing of elsewhere and logs no error, narrow and wide, light and dark', async () => {
  // What changes while axe looks at its colours is not where axe saw it.
  await set.calm()
  const { context, page, complaints } = await visit(set.browser, set.server.adminUrl)
  const found: string[] = []
  const look = async (path: string) => {
    await page.evaluate(axe.source)
    for (const [name, viewport] of Object.entries(widths)) {
      await page.setViewportSize(viewport)
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme })
        const broken = await violations(page, colorScheme === 'light' ? 'all' : 'colours')
        found.push(...broken.map((each) => `${path}, ${name}, ${colorScheme}: ${each}`))
      }
      const wider = await overflow(page)
      if (wider > 0) found.push(`${path} is ${wider} px wider than ${viewport.width}`)
    }
  }
  await page.goto('/login')
  await look('/login')
  await logIn(page)
  for (const [path, heading] of pages) {
    const response = await page.goto(path)
    expect([path, response?.status()]).toEqual([path, path === '/nothing' ? 404 : 200])
    expect(await page.locator('h1').innerText()).toMatch(heading)
    if (path === '/') await page.locator('.uplot').first().waitFor({ timeout: 30_000 })
    await look(path)
  }
  await context.close()
  expect(found).toEqual([])
  expect(complaints.all.filter((each) => !each.includes('404 (Not Found)'))).toEqual([])
}, 180_000)
