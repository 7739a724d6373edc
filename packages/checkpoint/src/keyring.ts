/**
 * Holds one key a subject, apart from the data and its backups. The same keyring serves every store that keeps a subject's data.
 *
 * `erase` makes everything that was encrypted for the subject unreadable for good, in every copy.
 */
export interface Keyring {
  /** Encrypts under the subject's key, which is made at first use. */
  encrypt(subject: string, bytes: Uint8Array, aad: Uint8Array): Promise<Uint8Array>
  /** Resolves to `undefined` once the subject is erased. Rejects where the bytes or `aad` are not those of `encrypt`. */
  decrypt(subject: string, bytes: Uint8Array, aad: Uint8Array): Promise<Uint8Array | undefined>
  erase(subject: string): Promise<unknown>
}
