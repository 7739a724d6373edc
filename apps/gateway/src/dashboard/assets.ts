import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { Hono } from 'hono'
import { moduleText, styleText } from './bundle.ts'

const iconText =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#2a4fcf"/><path d="M7 11l9-4.5 9 4.5v10l-9 4.5-9-4.5zM12 16l3 3 6-6" fill="none" stroke="#fff" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></svg>'

interface Asset {
  readonly url: string
  readonly type: string
  readonly plain: string
  readonly gzipped: Uint8Array<ArrayBuffer>
}

const moduleAsset = asset('dashboard', 'js', 'text/javascript; charset=utf-8', moduleText)
const styleAsset = asset('dashboard', 'css', 'text/css; charset=utf-8', styleText)
const iconAsset = asset('icon', 'svg', 'image/svg+xml', iconText)

export const moduleUrl: string = moduleAsset.url
export const styleUrl: string = styleAsset.url
export const iconUrl: string = iconAsset.url

/** What browsers load beside the pages. The name of each holds the hash of its content, so it is kept for good. */
export function assets(): Hono {
  const app = new Hono()
  for (const { url, type, plain, gzipped } of [moduleAsset, styleAsset, iconAsset]) {
    app.get(url, (c) => {
      const fields = {
        'content-type': type,
        'cache-control': 'public, max-age=31536000, immutable',
        'x-content-type-options': 'nosniff',
        vary: 'accept-encoding',
      }
      return /\bgzip\b/.test(c.req.header('accept-encoding') ?? '')
        ? c.body(gzipped, 200, { ...fields, 'content-encoding': 'gzip' })
        : c.body(plain, 200, fields)
    })
  }
  return app
}

function asset(name: string, ending: string, type: string, plain: string): Asset {
  const hash = createHash('sha256').update(plain).digest('base64url').slice(0, 16)
  return { url: `/assets/${name}-${hash}.${ending}`, type, plain, gzipped: new Uint8Array(gzipSync(plain)) }
}
