import { join } from 'node:path'
import type { CheckpointStore } from '@gw/checkpoint'
import { sealedCheckpointStore } from '@gw/checkpoint/sealed'
import type { EventPrivacy } from '@gw/events'
import { type SqliteKeyring, sqliteKeyring } from '@gw/events/keyring'
import { type Keyring, memoryKeyring, subjectPrivacy } from '@gw/events/privacy'
import type { Engine } from './engine.ts'
import { GatewayError } from './errors.ts'

/** What is personal, and where the keys lie that it is encrypted with: one for each subject, which an erasure destroys. */
export interface PrivacyOptions {
  /**
   * The file of the keys: `keys.db` in the data directory with the embedded database, whose backups never hold it. Gateways that share a
   * database share the keys too: give them one file, or a `keyring`; without either nothing is encrypted there.
   */
  readonly keysFile?: string
  readonly keyring?: Keyring
  /** JSON pointers (RFC 6901) to what is personal in the data of your own events, by type; whose it is says an event's subject. */
  readonly personal?: Readonly<Record<string, readonly string[]>>
}

/** A keyring that is opened at its first use and closed with the gateway. */
export interface GatewayKeyring extends Keyring {
  close(): void
}

/** The keyring of a gateway, or `undefined` where it has none. */
export function keyringOf({ keysFile, keyring }: PrivacyOptions, engine: Engine): GatewayKeyring | undefined {
  if (keyring !== undefined) return { ...keyring, close() {} }
  if (keysFile !== undefined) return opened(keysFile)
  if (engine.kind === 'sqlite') return opened(join(engine.directory, 'keys.db'))
  return engine.kind === 'memory' ? { ...memoryKeyring(), close() {} } : undefined
}

function opened(file: string): GatewayKeyring {
  let ring: SqliteKeyring | undefined
  const open = (): SqliteKeyring => {
    ring ??= sqliteKeyring({ file })
    return ring
  }
  return {
    encrypt: async (subject, bytes, aad) => open().encrypt(subject, bytes, aad),
    decrypt: async (subject, bytes, aad) => open().decrypt(subject, bytes, aad),
    erase: async (subject) => open().erase(subject),
    close() {
      ring?.close()
      ring = undefined
    },
  }
}

/** A store that encrypts the payloads of requests that are somebody's (`subject` of a durable route), and leaves the others alone. */
export function withSubjectsSealed(store: CheckpointStore, keyring: Keyring | undefined): CheckpointStore {
  if (keyring === undefined) return store
  return sealedCheckpointStore({ store, keyring: keyring as never, subjectsOnly: true })
}

/** Types that the gateway itself appends in a unit with something else, where nothing can be encrypted. */
const own: ReadonlySet<string> = new Set(['request_received', 'operation_completed', 'operation_failed'])

/** Encrypts what is personal in events. Throws `invalid_option`. */
export function eventPrivacyOf({ personal }: PrivacyOptions, keyring: Keyring | undefined): EventPrivacy | undefined {
  if (personal === undefined) return undefined
  if (keyring === undefined)
    throw new GatewayError(
      'invalid_option',
      'Expected `privacy.keysFile` or `privacy.keyring` where `privacy.personal` is given',
    )
  for (const type of Object.keys(personal))
    if (own.has(type))
      throw new GatewayError(
        'invalid_option',
        `Expected \`privacy.personal\` to name types of your own, got \`${type}\``,
      )
  return subjectPrivacy({ keyring, fields: personal })
}
