import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type NoteSigner, noteSigner } from '@gw/events/proofs'
import { GatewayError } from './errors.ts'

/**
 * The signer of the log's checkpoints: with the Ed25519 key that is given as PKCS #8 in PEM, or with one that lies in `directory` as
 * `signing-key.pem` (mode 0600), made at the first use.
 */
export async function signerOf(name: string, directory: string, given: string | undefined): Promise<NoteSigner> {
  const key = given === undefined ? keyIn(directory) : keyOf(given, '`audit.signingKey`')
  const usages = { private: ['sign'], public: ['verify'] } as const
  const imported = async (which: KeyObject, use: readonly ('sign' | 'verify')[]) =>
    crypto.subtle.importKey(
      which.type === 'private' ? 'pkcs8' : 'spki',
      which.export({ format: 'der', type: which.type === 'private' ? 'pkcs8' : 'spki' } as never) as never,
      'Ed25519',
      true,
      [...use],
    )
  return noteSigner(name, {
    privateKey: await imported(key, usages.private),
    publicKey: await imported(createPublicKey(key), usages.public),
  })
}

function keyIn(directory: string): KeyObject {
  const file = join(directory, 'signing-key.pem')
  try {
    return keyOf(readFileSync(file, 'utf8'), file)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const { privateKey } = generateKeyPairSync('ed25519')
  const partial = join(directory, `signing-key.${randomUUID()}.partial`)
  const descriptor = openSync(partial, 'wx', 0o600)
  try {
    writeFileSync(descriptor, String(privateKey.export({ format: 'pem', type: 'pkcs8' })))
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
  try {
    // A link fails where another process was first, whose key holds then.
    linkSync(partial, file)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  } finally {
    rmSync(partial, { force: true })
  }
  const folder = openSync(directory, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
  return keyOf(readFileSync(file, 'utf8'), file)
}

function keyOf(pem: string, where: string): KeyObject {
  try {
    const key = createPrivateKey(pem)
    if (key.asymmetricKeyType === 'ed25519') return key
  } catch {
    // Said below, without a word of the key.
  }
  throw new GatewayError('invalid_option', `Expected ${where} to be an Ed25519 private key as PKCS #8 in PEM`)
}
