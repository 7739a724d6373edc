import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { Keyring } from '../src/keyring.ts'

/** A keyring in memory, as the gateway's is in a file of its own: AES-256-GCM, one key a subject, gone for good when erased. */
export function memoryKeyring(): Keyring {
  const keys = new Map<string, Buffer>()
  const erased = new Set<string>()
  return {
    async encrypt(subject, bytes, aad) {
      if (erased.has(subject)) throw Object.assign(new Error(`${subject} is erased`), { code: 'subject_erased' })
      const key = keys.get(subject) ?? randomBytes(32)
      keys.set(subject, key)
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(aad)
      return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
    },
    async decrypt(subject, bytes, aad) {
      const key = keys.get(subject)
      if (key === undefined) {
        if (erased.has(subject)) return undefined
        throw new Error(`There is no key of ${subject}`)
      }
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 })
      decipher.setAAD(aad).setAuthTag(bytes.subarray(-16))
      return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()])
    },
    async erase(subject) {
      keys.delete(subject)
      erased.add(subject)
    },
  }
}
