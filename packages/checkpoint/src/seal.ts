import { type Compression, canCompress, compress, decompress } from './compression.ts'
import { crcOf } from './crc32.ts'
import { CheckpointError } from './errors.ts'
import type { Keyring } from './keyring.ts'
import { checkOptions, having, type OptionRule, zeroOrMore } from './option-rules.ts'
import { joined } from './pieces.ts'

/** AES-256 keys by id. New payloads are sealed with `current`; the others open what was sealed before. */
export interface SealKeys {
  readonly current: string
  /** 32 bytes each. A key stays until nothing is left that it sealed. */
  readonly keys: ReadonlyMap<string, Uint8Array>
}

/** How payloads are sealed. */
export interface SealOptions {
  /** Bound into each seal, so that a payload of one installation does not open in another: `gw`. */
  readonly namespace?: string
  /** Compresses payloads longer than this, and keeps the shorter form; never, unless given. */
  readonly compressAboveBytes?: number
  /** `gzip`, which every runtime reads, unless given. */
  readonly compression?: Compression
  /** Encrypts with AES-256-GCM; without keys an envelope carries a checksum instead. */
  readonly keys?: SealKeys
  /** Encrypts what belongs to a subject with the subject's own key. */
  readonly keyring?: Keyring
}

/** What a payload is: a seal opens only under the name it was made under. */
export interface SealContext {
  readonly run: string
  readonly kind: string
}

/** Puts payloads into envelopes that say how they were made, and takes them out. */
export interface Seal {
  seal(bytes: Uint8Array, context: SealContext, subject?: string): Promise<Uint8Array>
  /**
   * Rejects with `not_sealed` for bytes that are no envelope, `key_unknown` for a key that is not among the keys, `seal_broken` for any
   * other key, any other context and any changed byte, `payload_erased` where the subject's key is gone, and with the keyring's own
   * error where that fails.
   */
  open(envelope: Uint8Array, context: SealContext): Promise<Uint8Array>
}

/**
 * The envelope: `GWSL`, version 1, compression (0 none, 1 gzip, 2 zstd), cipher (0 checksum, 1 AES-256-GCM, 2 keyring), the length of the
 * key's name (the key id, or the subject) in two bytes, the name, and the content. All that stands before the content is authenticated
 * with it. AES content is a nonce of 12 bytes and the ciphertext with its tag; a checksum's is a CRC-32 and the bytes.
 */
const magic = Uint8Array.of(0x47, 0x57, 0x53, 0x4c)
const version = 1
const headBytes = 9
const nonceBytes = 12
const compressions: readonly (Compression | undefined)[] = [undefined, 'gzip', 'zstd']
const ciphers = { checksum: 0, aes: 1, keyring: 2 } as const
const [encoder, decoder] = [new TextEncoder(), new TextDecoder()]

/** Makes a seal of validated options. */
export function createSeal(options: SealOptions = {}): Seal {
  checkOptions(options, sealRules)
  const {
    namespace = 'gw',
    compressAboveBytes = Number.POSITIVE_INFINITY,
    compression = 'gzip',
    keys,
    keyring,
  } = options
  const imported = new Map<string, Promise<CryptoKey>>()

  function keyOf(id: string): Promise<CryptoKey> {
    let key = imported.get(id)
    if (key === undefined) {
      const raw = keys?.keys.get(id)
      if (raw === undefined)
        throw new CheckpointError(
          'key_unknown',
          `The payload was sealed with key \`${id}\`, which is not among the keys`,
        )
      key = crypto.subtle.importKey('raw', raw as Uint8Array<ArrayBuffer>, 'AES-GCM', false, ['encrypt', 'decrypt'])
      imported.set(id, key)
    }
    return key
  }

  function boundTo(head: Uint8Array, { run, kind }: SealContext): Uint8Array<ArrayBuffer> {
    return joined([head, encoder.encode(JSON.stringify([namespace, run, kind]))])
  }

  return {
    async seal(bytes, context, subject) {
      const smaller = bytes.length > compressAboveBytes ? await compress(bytes, compression) : bytes
      const [content, packed] =
        smaller.length < bytes.length ? [smaller, compressions.indexOf(compression)] : [bytes, 0]
      if (subject !== undefined && keyring !== undefined) {
        const head = headOf(packed, ciphers.keyring, subject)
        return joined([head, await keyring.encrypt(subject, content, boundTo(head, context))])
      }
      if (keys === undefined) {
        const head = headOf(packed, ciphers.checksum, '')
        return joined([head, checksum(boundTo(head, context), content), content])
      }
      const head = headOf(packed, ciphers.aes, keys.current)
      const iv = crypto.getRandomValues(new Uint8Array(nonceBytes))
      const parameters = { name: 'AES-GCM', iv, additionalData: boundTo(head, context) }
      const sealed = await crypto.subtle.encrypt(
        parameters,
        await keyOf(keys.current),
        content as Uint8Array<ArrayBuffer>,
      )
      return joined([head, iv, new Uint8Array(sealed)])
    },

    async open(envelope, context) {
      const { packed, cipher, name, head, content } = opened(envelope)
      const aad = boundTo(head, context)
      let bytes: Uint8Array
      if (cipher === ciphers.aes) bytes = await decrypted(content, aad, await keyOf(name))
      else if (cipher === ciphers.keyring) bytes = await recovered(content, aad, name, keyring)
      else {
        // Where keys are given, a checksum alone would let anyone forge a payload.
        if (keys !== undefined)
          throw new CheckpointError('not_sealed', 'The payload is not encrypted, and keys are given')
        bytes = content.subarray(4)
        if (content.length < 4 || !equal(content.subarray(0, 4), checksum(aad, bytes))) throw broken()
      }
      const how = compressions[packed]
      if (how === undefined) return bytes
      return decompress(bytes, how).catch((cause: unknown) => {
        throw broken(cause)
      })
    },
  }
}

/** The rules of {@link SealOptions} where no payload is known to be a subject's. */
export const sealRulesWithoutKeyring: Readonly<Record<string, OptionRule>> = {
  namespace: { expected: 'a text', accepts: (value) => typeof value === 'string' && value !== '' },
  compressAboveBytes: zeroOrMore,
  compression: {
    expected: '`gzip`, or `zstd` where the runtime has it',
    accepts: (value) => (value === 'gzip' || value === 'zstd') && canCompress(value),
  },
  keys: { expected: '`{ current, keys }` with keys of 32 bytes, `current` among them', accepts: areKeys },
}

/** The rules of {@link SealOptions}, for stores that take them among their own. */
export const sealRules: Readonly<Record<string, OptionRule>> = {
  ...sealRulesWithoutKeyring,
  keyring: having('a keyring', 'encrypt', 'decrypt', 'erase'),
}

function areKeys(value: unknown): boolean {
  const { current, keys } = (value ?? {}) as Partial<SealKeys>
  if (!(keys instanceof Map) || typeof current !== 'string' || !keys.has(current)) return false
  return [...keys].every(
    ([id, key]) =>
      typeof id === 'string' && encoder.encode(id).length <= 255 && key instanceof Uint8Array && key.length === 32,
  )
}

function headOf(packed: number, cipher: number, name: string): Uint8Array {
  const named = encoder.encode(name)
  if (named.length > 0xffff) throw new CheckpointError('invalid_option', 'The subject is longer than 65,535 bytes')
  return joined([magic, Uint8Array.of(version, packed, cipher, named.length >> 8, named.length & 0xff), named])
}

function opened(envelope: Uint8Array) {
  if (envelope.length < headBytes || !equal(envelope.subarray(0, 4), magic))
    throw new CheckpointError('not_sealed', 'The payload is not in an envelope, or its first bytes are damaged')
  const [, , , , at, packed, cipher, high, low] = envelope as unknown as readonly number[]
  const end = headBytes + (high! << 8) + low!
  if (at !== version || packed! >= compressions.length || cipher! > ciphers.keyring || envelope.length < end)
    throw broken()
  return {
    packed: packed!,
    cipher: cipher!,
    name: decoder.decode(envelope.subarray(headBytes, end)),
    head: envelope.subarray(0, end),
    content: envelope.subarray(end),
  }
}

async function decrypted(
  content: Uint8Array,
  additionalData: Uint8Array<ArrayBuffer>,
  key: CryptoKey,
): Promise<Uint8Array> {
  const [iv, sealed] = [content.subarray(0, nonceBytes), content.subarray(nonceBytes)] as Uint8Array<ArrayBuffer>[]
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: iv!, additionalData }, key, sealed!))
  } catch (cause) {
    throw broken(cause)
  }
}

async function recovered(
  content: Uint8Array,
  aad: Uint8Array,
  subject: string,
  keyring: Keyring | undefined,
): Promise<Uint8Array> {
  if (keyring === undefined)
    throw new CheckpointError('key_unknown', 'The payload belongs to a subject, and no keyring is given')
  const bytes = await keyring.decrypt(subject, content, aad)
  if (bytes === undefined)
    throw new CheckpointError('payload_erased', 'The payload was erased with the key of its subject')
  return bytes
}

function checksum(aad: Uint8Array, content: Uint8Array): Uint8Array {
  const crc = crcOf([aad, content])
  return Uint8Array.of(crc >>> 24, crc >>> 16, crc >>> 8, crc)
}

function broken(cause?: unknown): CheckpointError {
  return new CheckpointError(
    'seal_broken',
    'The payload was changed, or sealed with another key or for another place',
    { cause },
  )
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
