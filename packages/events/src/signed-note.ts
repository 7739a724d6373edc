import { base64Of, bytesOf, fromBase64, hexOf, joinBytes, sameBytes } from './bytes.ts'
import { EventError } from './errors.ts'
import { sha256 } from './sha256.ts'

/** Signs checkpoints under a name (C2SP signed-note, Ed25519). */
export interface NoteSigner {
  readonly name: string
  /** The public part as text, to be kept where verification happens. */
  readonly verifier: string
  sign(text: string): Promise<Uint8Array>
}

/** What a tree was at a size. */
export interface Checkpoint {
  /** Whose log it is. */
  readonly origin: string
  readonly size: bigint
  readonly root: Uint8Array
}

const ed25519 = Uint8Array.of(1)

function keyId(name: string, publicKey: Uint8Array): Uint8Array {
  return sha256(bytesOf(`${name}\n`), ed25519, publicKey).subarray(0, 4)
}

/** Makes a signer from a WebCrypto Ed25519 key pair, whose public key can be exported. */
export async function noteSigner(name: string, { privateKey, publicKey }: CryptoKeyPair): Promise<NoteSigner> {
  if (name === '' || /[\s+]/u.test(name))
    throw new EventError('invalid_option', `Expected \`name\` to have no spaces and no +, got \`${name}\``)
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', publicKey))
  const id = keyId(name, raw)
  return {
    name,
    verifier: `${name}+${hexOf(id)}+${base64Of(joinBytes(ed25519, raw))}`,
    async sign(text) {
      return joinBytes(id, new Uint8Array(await crypto.subtle.sign('Ed25519', privateKey, bytesOf(text))))
    },
  }
}

/** A fresh key pair for {@link noteSigner}. */
export async function newNoteKey(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as CryptoKeyPair
}

/** A checkpoint as a signed note (C2SP tlog-checkpoint). */
export async function signedNote({ origin, size, root }: Checkpoint, signer: NoteSigner): Promise<string> {
  const text = `${origin}\n${size}\n${base64Of(root)}\n`
  return `${text}\n\u2014 ${signer.name} ${base64Of(await signer.sign(text))}\n`
}

/**
 * The checkpoint of a note that one of the verifiers (as text) has signed. Throws `invalid_proof` when none has, and for anything
 * that is not such a note.
 */
export async function openNote(note: string, verifiers: readonly string[]): Promise<Checkpoint> {
  const end = note.indexOf('\n\n')
  const text = note.slice(0, end + 1)
  const [, origin, size, root] = /^([^\n]+)\n(0|[1-9]\d{0,19})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*$/.exec(text) ?? []
  if (end < 0 || origin === undefined || size === undefined || root === undefined)
    throw new EventError('invalid_proof', 'Expected a signed checkpoint')
  for (const line of note.slice(end + 2).split('\n')) {
    const [, name, encoded] = /^\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? []
    if (name === undefined || encoded === undefined) continue
    const signature = bytesOrNone(encoded)
    for (const verifier of verifiers)
      if (await hasSigned(verifier, name, signature, text))
        return { origin, size: BigInt(size), root: fromBase64(root) }
  }
  throw new EventError('invalid_proof', 'No known key has signed the checkpoint')
}

/** Somebody else's line may hold anything, and takes nothing from the others. */
function bytesOrNone(base64: string): Uint8Array {
  try {
    return fromBase64(base64)
  } catch {
    return new Uint8Array()
  }
}

async function hasSigned(verifier: string, name: string, signature: Uint8Array, text: string): Promise<boolean> {
  const [, known, id, encoded] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/.exec(verifier) ?? []
  if (known === undefined || encoded === undefined)
    throw new EventError('invalid_option', 'Expected a verifier to be `<name>+<key id>+<key>`')
  const key = fromBase64(encoded)
  const raw = key.subarray(1)
  if (known !== name || key[0] !== 1 || raw.length !== 32 || signature.length !== 68) return false
  const expected = keyId(name, raw)
  if (hexOf(expected) !== id || !sameBytes(expected, signature.subarray(0, 4))) return false
  const imported = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify'])
  return crypto.subtle.verify('Ed25519', imported, signature.slice(4), bytesOf(text))
}
