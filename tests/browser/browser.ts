import { ensureInstalled, findProgram } from '@gw/services'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'

/** Starts Debian's Chromium, which stays at home: what it would do by itself is switched off. */
export async function launch(): Promise<Browser> {
  await ensureInstalled(['chromium'])
  const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
    .map(findProgram)
    .find((path) => path !== undefined)
  return chromium.launch({
    executablePath: executablePath!,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** The two widths that everything is looked at. */
export const widths = { narrow: { width: 360, height: 780 }, wide: { width: 1_280, height: 900 } } as const

/** What went wrong on a page without anybody asking: errors in the console, and requests to elsewhere. */
export interface Complaints {
  readonly all: string[]
}

/** A browser context that notes every complaint of its pages. */
export async function visit(
  browser: Browser,
  origin: string,
  options: BrowserContextOptions = {},
): Promise<{ readonly context: BrowserContext; readonly page: Page; readonly complaints: Complaints }> {
  const context = await browser.newContext({
    viewport: widths.wide,
    baseURL: origin,
    reducedMotion: 'reduce',
    ...options,
  })
  context.setDefaultTimeout(20_000)
  const all: string[] = []
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') all.push(`${message.type()}: ${message.text()}`)
  })
  context.on('weberror', (error) => all.push(`exception: ${error.error().message}`))
  context.on('request', (request) => {
    const url = request.url()
    if (!url.startsWith(`${origin}/`) && !url.startsWith('data:')) all.push(`request to ${url}`)
  })
  return { context, page: await context.newPage(), complaints: { all } }
}
