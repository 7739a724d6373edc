import type { Context } from 'hono'
import { joined } from './crypto.ts'
import { Sha256 } from './sha256.ts'
import type { SpillStore } from './spill.ts'

/** The body, read once and left where Hono's `c.req.json()` and the like find it; `too_large` as soon as that is known. */
export async function boundedBody(c: Context, maxBytes: number): Promise<Uint8Array | 'too_large'> {
  const declared = c.req.header('content-length')
  if (declared !== undefined && Number(declared) > maxBytes) return 'too_large'
  if (declared !== undefined || hasCachedBody(c)) {
    const bytes = new Uint8Array(await c.req.arrayBuffer())
    return bytes.length > maxBytes ? 'too_large' : bytes
  }
  const { body } = c.req.raw
  if (body === null) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > maxBytes) return 'too_large'
    chunks.push(chunk)
  }
  const bytes = joined(chunks)
  leave(c, bytes)
  return bytes
}

function hasCachedBody(c: Context): boolean {
  for (const name in c.req.bodyCache) if (Object.hasOwn(c.req.bodyCache, name)) return true
  return false
}

/** Hono awaits what it finds here, whatever its type says. */
function leave(c: Context, bytes: Uint8Array<ArrayBuffer>): void {
  const whole = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer
  c.req.bodyCache.arrayBuffer = Promise.resolve(whole) as unknown as ArrayBuffer
}

/** Writes a body that is too long for memory to `spill`, and gives the handler a stream of it. Resolves to its SHA-256. */
export async function spilledBody(c: Context, spill: SpillStore, name: string): Promise<Uint8Array> {
  const hash = new Sha256()
  const { body } = c.req.raw
  const writer = await spill.write(name)
  try {
    if (body !== null) {
      for await (const chunk of body) {
        hash.update(chunk)
        await writer.append(chunk)
      }
    }
    await writer.finish()
  } catch (error) {
    await writer.abort()
    throw error
  }
  replaceBody(c, await spill.read(name))
  return hash.digest()
}

function replaceBody(c: Context, body: ReadableStream<Uint8Array> | undefined): void {
  // `duplex` is needed for a streamed body by the Fetch standard, and absent from the DOM's types.
  const init = { body: body ?? null, duplex: 'half' } as RequestInit
  const { url, headers, signal } = c.req.raw
  c.req.raw = new Request(url, { ...init, method: c.req.method, headers, signal })
}

/** The SHA-256 that a request declares of its own content (RFC 9530 §2), or `undefined`. */
export function declaredDigest(field: string | undefined): Uint8Array | undefined {
  const match = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?:,|$)/.exec(field ?? '')
  return match === null ? undefined : Uint8Array.from(atob(match[1]!), (character) => character.charCodeAt(0))
}

/** Checks a body against its declared digest while the handler reads it. */
export interface DigestCheck {
  /** Reads what the handler left, and says whether the body was what it declared. */
  holds(): Promise<boolean>
}

/** Puts a {@link DigestCheck} between the request and its handler. A body that is not as declared fails at its end. */
export function checkDigest(c: Context, declared: Uint8Array): DigestCheck {
  const hash = new Sha256()
  let verdict: boolean | undefined
  const judge = () => {
    const digest = hash.digest()
    verdict = digest.every((byte, i) => byte === declared[i])
    return verdict
  }
  const { body } = c.req.raw
  if (body === null) {
    judge()
    return { holds: async () => verdict! }
  }
  const checked = body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        hash.update(chunk)
        controller.enqueue(chunk)
      },
      flush(controller) {
        if (!judge()) controller.error(new TypeError('The body is not what its Content-Digest declared'))
      },
    }),
  )
  replaceBody(c, checked)
  return {
    async holds() {
      const { raw } = c.req
      if (verdict === undefined && raw.body !== null && !raw.bodyUsed)
        await raw.body.pipeTo(new WritableStream()).catch(() => {})
      return verdict === true
    },
  }
}
