import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { assets, iconUrl, moduleUrl, styleUrl } from '../src/dashboard/assets.ts'
import { moduleText, styleText } from '../src/dashboard/bundle.ts'
import { filtersOf } from '../src/dashboard/filters.ts'
import { samePage } from '../src/dashboard/page-context.ts'

test('gateway G11: the module has less than 40 kB gzipped, evaluates no text and asks nothing of elsewhere', () => {
  const bytes = gzipSync(moduleText).length
  console.log(`module ${bytes} bytes gzipped, style sheet ${gzipSync(styleText).length}`)
  expect(bytes).toBeLessThan(40_000)
  expect(moduleText).not.toMatch(/\beval\(|new Function|innerHTML|document\.write|https?:\/\/(?!www\.w3\.org)/)
  expect(styleText).not.toMatch(/@import|url\(/)
})

test('gateway G11: assets are kept by browsers for good, compressed where they can be, and gone with their content', async () => {
  for (const [url, text] of [
    [moduleUrl, moduleText],
    [styleUrl, styleText],
  ] as const) {
    const plain = await assets().request(url)
    expect([plain.headers.get('content-encoding'), await plain.text()]).toEqual([null, text])
    const small = await assets().request(url, { headers: { 'accept-encoding': 'br, gzip' } })
    expect(small.headers.get('content-encoding')).toBe('gzip')
    expect(small.headers.get('cache-control')).toContain('immutable')
  }
  expect((await assets().request(iconUrl)).headers.get('content-type')).toBe('image/svg+xml')
  expect((await assets().request('/assets/dashboard-0000000000000000.js')).status).toBe(404)
})

test('gateway G11: filters of an address leave out what is empty or unknown, and read times as UTC', () => {
  expect(
    filtersOf('http://x/requests?text=+a+&status=&from=2026-01-31T12:00&other=1', ['text', 'status', 'from']),
  ).toEqual({ text: 'a', from: '2026-01-31T12:00Z' })
})

test('gateway G11: the way back is a path of this origin, whatever was asked for', () => {
  expect(samePage('/requests?status=parked')).toBe('/requests?status=parked')
  for (const path of ['//evil', '/\\evil', 'https://evil', 'javascript:1', '/a b', '/a\r\nSet-Cookie: x', ''])
    expect([path, samePage(path)]).toEqual([path, '/'])
})
