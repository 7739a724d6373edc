import { pack, type RunBundle, unpack } from './bundle.ts'
import { type ColdStore, sameBytes } from './cold.ts'
import { CheckpointError } from './errors.ts'
import type { RunRecord } from './run-record.ts'
import type { Seal } from './seal.ts'
import { sha256Hex } from './sha256.ts'

/** The completed runs in the cold store: one object each, named by when it may go and by a hash of what it is. */
export interface Archive {
  /** Resolves once the bundle was read back equal. `conflict`: another installation put a different run of this id and revision. */
  put(bundle: RunBundle): Promise<'stored' | 'conflict'>
  get(record: RunRecord): Promise<RunBundle | undefined>
  remove(record: RunRecord): Promise<void>
  /** Removes what was to be kept until `now`; resolves to how many objects that were. */
  expire(now: number): Promise<number>
  /** Every bundle that is to be kept beyond `now`, a page at a time. */
  pages(now: number): AsyncGenerator<readonly RunBundle[]>
}

const folder = 'runs/'
const pageSize = 500
const never = 999_999_999_999_999

export function archiveOf(cold: ColdStore, seal: Seal, namespace: string): Archive {
  const nameOf = ({ id, revision, expiresAt = never }: RunRecord) =>
    `${folder}${digits(expiresAt)}-${sha256Hex(JSON.stringify([namespace, id, revision]))}`

  async function fetched(
    name: string,
  ): Promise<{ readonly bundle: RunBundle; readonly bytes: Uint8Array } | undefined> {
    const object = await cold.get(name)
    if (object === undefined) return undefined
    const bytes = await seal.open(object, { run: '', kind: name })
    const bundle = unpack(bytes) as RunBundle
    if (nameOf(bundle.record) !== name)
      throw new CheckpointError('corrupt_record', `The cold object ${name} holds another run`)
    return { bundle, bytes }
  }

  return {
    async put(bundle) {
      const name = nameOf(bundle.record)
      const bytes = pack(bundle)
      await cold.put(name, await seal.seal(bytes, { run: '', kind: name }))
      const there = await fetched(name)
      if (there === undefined)
        throw new CheckpointError('cold_unknown', `The cold object ${name} is not there after its put`)
      return sameBytes(there.bytes, bytes) ? 'stored' : 'conflict'
    },
    async get(record) {
      return (await fetched(nameOf(record)))?.bundle
    },
    remove: (record) => cold.remove(nameOf(record)),
    async expire(now) {
      let removed = 0
      for (;;) {
        const names = await cold.list(folder, { limit: pageSize })
        const over = names.filter((name) => expiryOf(name) <= now)
        for (const name of over) await cold.remove(name)
        removed += over.length
        if (over.length < pageSize) return removed
      }
    },
    async *pages(now) {
      for (let after = `${folder}${digits(Math.max(0, now))}-z`; ; ) {
        const names = await cold.list(folder, { after, limit: pageSize })
        for (let at = 0; at < names.length; at += 8) {
          const found = await Promise.all(names.slice(at, at + 8).map(fetched))
          yield found.flatMap((each) => (each === undefined ? [] : [each.bundle]))
        }
        if (names.length < pageSize) return
        after = names.at(-1)!
      }
    },
  }
}

/** Numbers as names that sort as numbers do. */
export function digits(number: number): string {
  return String(Math.trunc(number)).padStart(15, '0')
}

function expiryOf(name: string): number {
  return Number(name.slice(folder.length, folder.length + 15))
}
