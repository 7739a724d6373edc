import type { Page } from 'playwright-core'
import { operateToken } from './server.ts'

/** Logs in as a person does. */
export async function logIn(page: Page, token: string = operateToken): Promise<void> {
  await page.goto('/login')
  await page.fill('input[name=token]', token)
  await page.click('button[type=submit]')
  await page.waitForURL((url) => url.pathname !== '/login')
}
