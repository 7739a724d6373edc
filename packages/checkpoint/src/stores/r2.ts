import { type ColdStore, type PutAnswer, sameBytes } from '../cold.ts'
import { CheckpointError } from '../errors.ts'
import { aboveZero, aFunction, checkOptions, having } from '../option-rules.ts'
import { type ColdDeadline, checkedName, coldDeadline, coldPrefix, folderOf } from './bucket.ts'

export type { ColdStore, PutAnswer } from '../cold.ts'

/** What the store needs of a Worker's binding to an R2 bucket. */
export interface R2Bucket {
  get(key: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>
  /** Resolves to `null` where the condition does not hold. */
  put(key: string, value: Uint8Array, options: { readonly onlyIf: Headers }): Promise<object | null>
  list(options: {
    readonly prefix: string
    readonly limit: number
    readonly startAfter?: string
    readonly cursor?: string
  }): Promise<{
    readonly objects: readonly { readonly key: string }[]
    readonly truncated: boolean
    readonly cursor?: string
  }>
  delete(key: string): Promise<void>
}

/** Which bucket, and how long it may take. */
export interface R2CheckpointStoreOptions {
  /** The binding, from the Worker's environment. */
  readonly bucket: R2Bucket
  /** A folder inside the bucket. Everything stays below it. */
  readonly prefix?: string
  /** After this a call settles, with all its repeats: 15 s. */
  readonly deadlineMs?: number
  readonly random?: () => number
}

/**
 * Keeps cold objects in a bucket of Cloudflare R2, through a Worker's binding. From elsewhere R2 is a bucket of
 * `s3CheckpointStore`. https://developers.cloudflare.com/r2/api/workers/workers-api-reference/
 */
export function r2CheckpointStore(options: R2CheckpointStoreOptions): ColdStore {
  checkOptions(options, rules)
  const { bucket, deadlineMs = 15_000, random = () => Math.random() } = options
  const prefix = folderOf(options.prefix)
  const deadline = () => coldDeadline(deadlineMs, random)

  /** Repeats `call`, which may be repeated, until the bucket has a word on it. */
  async function settled<Value>(
    what: string,
    call: () => Promise<Value>,
    time: ColdDeadline,
    code: 'cold_unavailable' | 'cold_unknown',
  ): Promise<Value> {
    for (let tries = 0; ; tries++) {
      try {
        return await within(Math.max(1, time.leftMs() / 2), call)
      } catch (cause) {
        if (!(await time.pause(tries))) throw failure(code, what, cause)
      }
    }
  }

  const read = (key: string, time: ColdDeadline, code: 'cold_unavailable' | 'cold_unknown') =>
    settled(
      `get ${key}`,
      async () => {
        const object = await bucket.get(prefix + key)
        return object === null ? undefined : new Uint8Array(await object.arrayBuffer())
      },
      time,
      code,
    )

  async function put(name: string, bytes: Uint8Array): Promise<PutAnswer> {
    const key = checkedName(name)
    const time = deadline()
    const write = () => bucket.put(prefix + key, bytes, { onlyIf: new Headers({ 'if-none-match': '*' }) })
    for (let tries = 0; ; tries++) {
      let unknown: unknown
      try {
        if ((await within(Math.max(1, time.leftMs() / 2), write)) !== null) return 'stored'
      } catch (error) {
        unknown = error
      }
      const there = await read(key, time, 'cold_unknown')
      if (there !== undefined) return sameBytes(there, bytes) ? 'stored' : 'exists'
      if (!(await time.pause(tries))) throw failure('cold_unknown', `put ${key}`, unknown)
    }
  }

  async function list(
    under: string,
    { after, limit = Number.POSITIVE_INFINITY }: { readonly after?: string; readonly limit?: number } = {},
  ): Promise<string[]> {
    const names: string[] = []
    const time = deadline()
    const start = after === undefined ? {} : { startAfter: prefix + checkedName(after) }
    for (let cursor: string | undefined; names.length < limit; ) {
      const from = cursor === undefined ? start : { cursor }
      const page = await settled(
        `list ${under}`,
        () =>
          bucket.list({ prefix: prefix + checkedName(under), limit: Math.min(1_000, limit - names.length), ...from }),
        time,
        'cold_unavailable',
      )
      for (const { key } of page.objects) names.push(key.slice(prefix.length))
      if (!page.truncated || page.cursor === undefined) break
      cursor = page.cursor
    }
    return names
  }

  async function remove(name: string): Promise<void> {
    const key = checkedName(name)
    await settled(`delete ${key}`, () => bucket.delete(prefix + key), deadline(), 'cold_unknown')
  }

  async function probe(): Promise<void> {
    const name = `probe/${crypto.randomUUID()}`
    const answers = [await put(name, Uint8Array.of(1)), await put(name, Uint8Array.of(2))]
    await remove(name)
    if (answers.join() !== 'stored,exists')
      throw new CheckpointError(
        'condition_ignored',
        'The bucket does not honour `If-None-Match: *`, so objects could be overwritten; it cannot be used',
      )
  }

  return { probe, put, list, remove, get: async (name) => read(checkedName(name), deadline(), 'cold_unavailable') }
}

const rules = {
  bucket: { ...having('a binding to an R2 bucket', 'put'), required: true },
  prefix: coldPrefix,
  deadlineMs: aboveZero,
  random: aFunction,
}

/** A binding has no signal: what comes after the time is not waited for. */
async function within<Value>(limitMs: number, call: () => Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${Math.ceil(limitMs)} ms`)), limitMs)
  })
  try {
    return await Promise.race([call(), late])
  } finally {
    clearTimeout(timer)
  }
}

function failure(code: 'cold_unavailable' | 'cold_unknown', what: string, cause: unknown): CheckpointError {
  const why =
    cause === undefined ? 'its condition fails, and nothing is there' : String((cause as Error)?.message ?? cause)
  return new CheckpointError(code, `The bucket did not settle ${what}: ${why}`, cause === undefined ? {} : { cause })
}
