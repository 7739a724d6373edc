// `pnpm docs:screenshots`: writes the pictures of the README into docs/screenshots, from the real dashboard in a real Chromium.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { launch, visit } from './browser.ts'
import { operateToken, testServer } from './server.ts'

const folder = fileURLToPath(new URL('../../docs/screenshots/', import.meta.url))
mkdirSync(folder, { recursive: true })

const server = await testServer()
await server.start()
const browser = await launch()

/** What such a gateway sees in half a minute. */
async function traffic(): Promise<void> {
  const until = performance.now() + 30_000
  for (let i = 0; performance.now() < until; i++) {
    const key = { 'idempotency-key': `order-${i % 40}` }
    await Promise.all([
      server.post('/api/payment', { amount: (i * 37) % 100 }, key),
      server.post('/api/payment', { amount: (i * 53) % 100 }, { 'x-user-id': 'bob' }),
      fetch(`${server.url}/api/balance`),
    ])
    if (i % 25 === 0) await server.post('/api/refund', {})
    await delay(40)
  }
}

try {
  for (const path of ['/api/approval', '/api/dispute']) await server.post(path, {}, { prefer: 'respond-async' })
  await server.post('/api/report', { items: 400, item_ms: 200 }, { prefer: 'respond-async' })
  await traffic()
  await server.post('/test/break-ledger')
  await server.post('/api/transfer', {}, { prefer: 'respond-async' })
  const listed = await (await server.admin('/admin/requests?operation=transfer')).json()
  const transfer = (listed as { requests: { id: string }[] }).requests[0]!.id

  for (const colorScheme of ['light', 'dark'] as const) {
    const { context, page } = await visit(browser, server.adminUrl, { colorScheme })
    await page.goto('/')
    await page.fill('#token', operateToken)
    await page.press('#token', 'Enter')
    await page.waitForURL('**/')
    const pictures = { overview: '/', request: `/requests/${transfer}` }
    for (const [name, path] of Object.entries(pictures)) {
      await page.goto(path)
      await delay(2_000)
      await page.screenshot({ path: join(folder, `${name}-${colorScheme}.png`) })
    }
    await context.close()
  }
} finally {
  await browser.close()
  await server.kill()
}
// What drives the browser keeps a pipe open behind it.
process.exit()
