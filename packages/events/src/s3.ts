import type { ArchiveTarget } from './archive-target.ts'
import { EventError, refuseUnknown } from './errors.ts'

/** What is needed of `AwsClient` of aws4fetch. */
export interface S3Client {
  fetch(url: string, init?: RequestInit): Promise<Response>
}

/** A bucket, or a folder in one. */
export interface S3ArchiveOptions {
  readonly client: S3Client
  /** The bucket's URL, with a prefix where wanted: `https://s3.example/bucket/gateway`. */
  readonly url: string
  /** Keeps objects from being deleted or changed, where the bucket has Object Lock. */
  readonly objectLock?: { readonly mode: 'GOVERNANCE' | 'COMPLIANCE'; readonly retainMs: number }
  readonly now?: () => number
}

/** Keeps objects in S3 or what speaks like it. */
export function s3Archive(options: S3ArchiveOptions): ArchiveTarget {
  const { client, url, objectLock, now = () => Date.now(), ...unknown } = options
  refuseUnknown(unknown)
  if (!URL.canParse(url)) throw new EventError('invalid_option', `Expected \`url\` to be a URL, got \`${url}\``)
  const place = new URL(url)
  const [, bucket = '', ...folders] = place.pathname.replace(/\/$/, '').split('/')
  const folder = folders.length === 0 ? '' : `${folders.join('/')}/`
  const urlOf = (name: string) =>
    `${place.origin}/${bucket}/${(folder + name).split('/').map(encodeURIComponent).join('/')}`
  const failed = (what: string, { status }: Response) =>
    new EventError('archive_damaged', `S3 answered ${status} to ${what}`)

  return {
    async put(name, bytes) {
      for (let attempt = 1; ; attempt++) {
        const lock: Record<string, string> =
          objectLock === undefined
            ? {}
            : {
                'x-amz-object-lock-mode': objectLock.mode,
                'x-amz-object-lock-retain-until-date': new Date(now() + objectLock.retainMs).toISOString(),
              }
        const response = await client.fetch(urlOf(name), {
          method: 'PUT',
          body: bytes,
          headers: { 'if-none-match': '*', 'content-type': 'application/octet-stream', ...lock },
        })
        await response.arrayBuffer()
        if (response.ok) return 'created'
        if (response.status === 412) return 'exists'
        // Another conditional write of this name is under way; who was first shows at the next try.
        if (response.status !== 409 || attempt === 5) throw failed(`PUT ${name}`, response)
      }
    },
    async get(name) {
      const response = await client.fetch(urlOf(name))
      const bytes = new Uint8Array(await response.arrayBuffer())
      if (response.ok) return bytes
      if (response.status === 404) return undefined
      throw failed(`GET ${name}`, response)
    },
    async list(prefix) {
      const names: string[] = []
      let token: string | undefined
      do {
        const query = new URLSearchParams({ 'list-type': '2', prefix: folder + prefix })
        if (token !== undefined) query.set('continuation-token', token)
        const response = await client.fetch(`${place.origin}/${bucket}?${query}`)
        const text = await response.text()
        if (!response.ok) throw failed(`LIST ${prefix}`, response)
        for (const [, key] of text.matchAll(/<Key>([^<]*)<\/Key>/g)) names.push(unescaped(key!).slice(folder.length))
        const next = /<NextContinuationToken>([^<]*)</.exec(text)?.[1]
        token = next === undefined ? undefined : unescaped(next)
      } while (token !== undefined)
      return names.sort()
    },
  }
}

function unescaped(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}
