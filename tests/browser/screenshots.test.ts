import { mkdirSync, mkdtempSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { visit, widths } from './browser.ts'
import { logIn } from './log-in.ts'
import { type Scene, scene } from './scene.ts'

/** `pnpm screenshots` writes those of the documentation; else they go to a temporary folder, and the tree stays as it is. */
const kept = process.env['GW_TEST_SCREENSHOTS'] === '1'
const folder = kept
  ? fileURLToPath(new URL('../../docs/screenshots', import.meta.url))
  : mkdtempSync(join(tmpdir(), 'gw-screenshots-'))
let set: Scene

beforeAll(async () => {
  set = await scene()
}, 120_000)
afterAll(() => set?.close())

test('gateway G11: each page has its picture at both widths', async () => {
  mkdirSync(folder, { recursive: true })
  // Plots of the documentation have a few minutes to show.
  if (kept) await new Promise((resolve) => setTimeout(resolve, 110_000))
  const [payment, dispute] = await Promise.all([set.newest('payment', 'completed'), set.newest('dispute', 'parked')])
  const all = [
    ['overview', '/', 'light'],
    ['overview-dark', '/', 'dark'],
    ['requests', '/requests?status=queued,running,waiting,parked,failed,dead,cancelled', 'light'],
    ['request', `/requests/${payment}`, 'light'],
    ['request-parked', `/requests/${dispute}`, 'light'],
    ['audit-trail', '/audit', 'light'],
    ['keys', '/keys?key=order-1&principal=ann&route=/api/payment', 'light'],
    ['breakers', '/breakers', 'dark'],
    ['pools', '/pools', 'light'],
    ['storage', '/storage', 'light'],
    ['system', '/system', 'light'],
  ] as const
  for (const [size, { width }] of Object.entries(widths)) {
    const viewport = { width, height: 720 }
    const { context, page, complaints } = await visit(set.browser, set.server.adminUrl, { viewport })
    await page.goto('/login')
    await page.screenshot({ path: join(folder, `log-in-${size}.png`) })
    await logIn(page)
    for (const [name, path, colorScheme] of all) {
      await page.emulateMedia({ colorScheme })
      await page.goto(path)
      if (path === '/') await page.locator('.uplot canvas').first().waitFor({ timeout: 30_000 })
      await page.locator('gw-connection[data-state=live]').waitFor()
      const file = join(folder, `${name}-${size}.png`)
      await page.screenshot({ path: file })
      expect(statSync(file).size).toBeGreaterThan(4_000)
    }
    await context.close()
    expect(complaints.all).toEqual([])
  }
}, 300_000)
