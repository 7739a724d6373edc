import { bytesOf, joinBytes } from './bytes.ts'
import { hmacSha256, sha256 } from './sha256.ts'

/**
 * Encrypts under a key of each subject's own. What `erase` has taken the key of can never be read again, wherever copies of it
 * lie: in the log, its archive or a backup. Keep the keys outside all of those. One keyring may serve several stores.
 */
export interface Keyring {
  /** `aad` must be given again to decrypt: it ties the bytes to their place. Rejects for an erased subject. */
  encrypt(
    subject: string,
    bytes: Uint8Array<ArrayBuffer>,
    aad: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer>>
  /** Undefined when the subject's key is gone. Rejects when bytes or `aad` are not what was encrypted. */
  decrypt(
    subject: string,
    bytes: Uint8Array<ArrayBuffer>,
    aad: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined>
  /** Destroys the subject's key. Answers whether there was one. Afterwards it is never made again. */
  erase(subject: string): Promise<boolean>
}

/** Where a keyring keeps its keys. */
export interface KeyTable {
  /** The subject's key, after storing `fresh` where it has none; undefined when it was erased. */
  keyOf(subject: string, fresh: () => Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined
  /** The subject's key as it is. */
  find(subject: string): Uint8Array<ArrayBuffer> | undefined
  erase(subject: string): boolean
}

/** The one who is asked for has been erased, and is not to come back by being mentioned. */
export class ErasedSubjectError extends Error {
  override readonly name = 'ErasedSubjectError'
  readonly code = 'subject_erased'
}

const nonceLength = 12

/**
 * AES-256-GCM (NIST SP 800-38D) under the keys of a table. The nonce follows from key, place and content, so that the same bytes at
 * the same place give the same ciphertext: a repeated append can be told from a conflicting one, and no nonce meets two contents.
 */
export function keyringOn(table: KeyTable): Keyring {
  const subtle = (key: Uint8Array<ArrayBuffer>) =>
    crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt'])
  return {
    async encrypt(subject, bytes, aad) {
      const key = table.keyOf(subject, () => crypto.getRandomValues(new Uint8Array(32)))
      if (key === undefined) throw new ErasedSubjectError('This subject has been erased')
      const iv = nonceOf(key, bytes, aad)
      const algorithm = { name: 'AES-GCM', iv, additionalData: aad }
      return joinBytes(iv, new Uint8Array(await crypto.subtle.encrypt(algorithm, await subtle(key), bytes)))
    },
    async decrypt(subject, bytes, aad) {
      const key = table.find(subject)
      if (key === undefined) return undefined
      const algorithm = { name: 'AES-GCM', iv: bytes.slice(0, nonceLength), additionalData: aad }
      return new Uint8Array(await crypto.subtle.decrypt(algorithm, await subtle(key), bytes.slice(nonceLength)))
    },
    async erase(subject) {
      return table.erase(subject)
    },
  }
}

function nonceOf(key: Uint8Array, bytes: Uint8Array, aad: Uint8Array): Uint8Array<ArrayBuffer> {
  const place = hmacSha256(hmacSha256(key, bytesOf('gw nonce')), aad)
  return joinBytes(hmacSha256(place, bytes).subarray(0, nonceLength))
}

/** The name under which a subject's key lies: the table itself names nobody. */
export function keyName(subject: string): Uint8Array {
  return sha256(bytesOf(`gw key ${subject}`))
}

/** Keeps keys in this process: for tests. */
export function memoryKeyring(): Keyring {
  const keys = new Map<string, Uint8Array<ArrayBuffer> | undefined>()
  return keyringOn({
    keyOf(subject, fresh) {
      if (!keys.has(subject)) keys.set(subject, fresh())
      return keys.get(subject)
    },
    find: (subject) => keys.get(subject),
    erase(subject) {
      const had = keys.get(subject) !== undefined
      keys.get(subject)?.fill(0)
      keys.set(subject, undefined)
      return had
    },
  })
}
