import type { ArchiveTarget } from './archive-target.ts'
import { textOf } from './bytes.ts'
import { EventError, refuseUnknown } from './errors.ts'

/** What is needed of `AwsClient` of aws4fetch. */
export interface S3Client {
  fetch(url: string, init?: RequestInit): Promise<Response>
}

interface Answer {
  readonly status: number
  readonly body: Uint8Array<ArrayBuffer>
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
  const unavailable = (what: string, answer: string, cause?: unknown) =>
    new EventError('archive_unavailable', `S3 answered ${answer} to ${what}`, cause === undefined ? {} : { cause })

  async function send(what: string, at: string, init?: RequestInit): Promise<Answer> {
    try {
      const response = await client.fetch(at, init)
      return { status: response.status, body: new Uint8Array(await response.arrayBuffer()) }
    } catch (error) {
      throw unavailable(what, 'nothing', error)
    }
  }

  async function get(name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { status, body } = await send(`GET ${name}`, urlOf(name))
    if (status === 200) return body
    if (status === 404) return undefined
    throw unavailable(`GET ${name}`, String(status))
  }

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
        const headers = { 'if-none-match': '*', 'content-type': 'application/octet-stream', ...lock }
        const answer = await send(`PUT ${name}`, urlOf(name), { method: 'PUT', body: bytes, headers }).catch(
          (failure: EventError) => failure,
        )
        if (!(answer instanceof EventError)) {
          if (answer.status === 200) return 'created'
          if (answer.status === 412) return 'exists'
          if (answer.status !== 409 && answer.status < 500) throw unavailable(`PUT ${name}`, String(answer.status))
        }
        // Whether it was written is not known, by this call or by another under way: what is there now tells.
        const found = await get(name)
        if (found !== undefined) return sameBytes(found, bytes) ? 'created' : 'exists'
        if (answer instanceof EventError) throw answer
        if (answer.status !== 409 || attempt === 5) throw unavailable(`PUT ${name}`, String(answer.status))
      }
    },
    get,
    async list(prefix) {
      const names: string[] = []
      let token: string | undefined
      do {
        const query = new URLSearchParams({ 'list-type': '2', prefix: folder + prefix })
        if (token !== undefined) query.set('continuation-token', token)
        const { status, body } = await send(`LIST ${prefix}`, `${place.origin}/${bucket}?${query}`)
        if (status !== 200) throw unavailable(`LIST ${prefix}`, String(status))
        const text = textOf(body)
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

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
