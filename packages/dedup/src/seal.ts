import { type DedupCrypto, joined, lengthPrefixed } from './crypto.ts'
import { DedupError } from './errors.ts'
import type { StoredResponse } from './store.ts'

/** Keys that answers are sealed with at rest, by name: 32 bytes each. */
export interface EncryptionKeys {
  /** The one that new answers are sealed with. */
  readonly current: string
  /** Every one that kept answers may be sealed with: an old one stays here until its last answer's window is over. */
  readonly keys: Readonly<Record<string, Uint8Array>>
}

/** The field under which a sealed answer names its key; what it was sealed from is inside. */
const field = 'gw-sealed'
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** Seals answers with AES-256-GCM, bound to their key's record and status, and opens them. */
export interface Seal {
  seal(key: string, response: StoredResponse): StoredResponse | Promise<StoredResponse>
  /** Gives back an answer that is not sealed as it is. Throws or rejects `corrupt_record` when one was altered. */
  open(key: string, response: StoredResponse): StoredResponse | Promise<StoredResponse>
}

/** Makes a {@link Seal} of named keys. */
export function sealWith(crypto: DedupCrypto, { current, keys }: EncryptionKeys): Seal {
  const currentKey = keys[current]
  if (currentKey === undefined)
    throw new DedupError('invalid_option', `Expected \`encryption.keys\` to hold \`${current}\``)
  for (const [name, key] of Object.entries(keys)) {
    if (key.length !== 32)
      throw new DedupError('invalid_option', `Expected \`encryption.keys.${name}\` to have 32 bytes, got ${key.length}`)
  }
  const bound = (key: string, status: number) => lengthPrefixed([key, String(status)])
  return {
    seal(key, response) {
      const { status } = response
      const sealed = crypto.seal(currentKey, packed(response), bound(key, status))
      const made = (body: Uint8Array): StoredResponse => ({ status, headers: [[field, current]], body })
      return sealed instanceof Promise ? sealed.then(made) : made(sealed)
    },
    open(key, response) {
      const { status, headers, body } = response
      const [first] = headers
      if (first?.[0] !== field || body === undefined) return response
      const opening = keys[first[1]]
      if (opening === undefined) throw new DedupError('corrupt_record', `No encryption key is named \`${first[1]}\``)
      const failed = (cause: unknown): never => {
        throw new DedupError('corrupt_record', 'A kept answer was altered, or sealed with another key', { cause })
      }
      try {
        const plain = crypto.open(opening, body, bound(key, status))
        return plain instanceof Promise
          ? plain.then((bytes) => unpacked(status, bytes), failed)
          : unpacked(status, plain)
      } catch (cause) {
        return failed(cause)
      }
    },
  }
}

/** One byte for whether the body was retained, four for the length of the head, the head, the body. */
function packed({ headers, body }: StoredResponse): Uint8Array {
  const head = encoder.encode(JSON.stringify(headers))
  const prefix = new Uint8Array(5)
  prefix[0] = body === undefined ? 0 : 1
  new DataView(prefix.buffer).setUint32(1, head.length)
  return joined(body === undefined ? [prefix, head] : [prefix, head, body])
}

function unpacked(status: number, bytes: Uint8Array): StoredResponse {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(1)
  const headers = JSON.parse(decoder.decode(bytes.subarray(5, 5 + length))) as [string, string][]
  return { status, headers, body: bytes[0] === 1 ? bytes.subarray(5 + length) : undefined }
}
