import type { Appended } from './appender.ts'
import { base64Of, bytesOf, fromBase64, hexOf, textOf } from './bytes.ts'
import { EventError, refuseUnknown } from './errors.ts'
import type { NewEvent, StoredEvent } from './event.ts'
import type { EventPrivacy, EventStore } from './event-store.ts'
import type { Keyring } from './keyring.ts'
import { hmacSha256 } from './sha256.ts'

export { type Keyring, type KeyTable, keyringOn, memoryKeyring } from './keyring.ts'

/** What is personal in events, and whose it is. */
export interface SubjectPrivacyOptions {
  readonly keyring: Keyring
  /** JSON pointers (RFC 6901) into the data of each type, `*` for any one member. */
  readonly fields: Readonly<Record<string, readonly string[]>>
  /** Whose data an event holds: its `subject`, else its `actor`. */
  readonly subjectOf?: (event: Pick<NewEvent, 'type' | 'subject' | 'actor'>) => string | null
}

/**
 * Encrypts personal members before an event is stored, each under its subject's key and tied to log, stream, event and path. The
 * hash is over the ciphertext, so that a log verifies after its subjects were erased.
 */
export function subjectPrivacy(options: SubjectPrivacyOptions): EventPrivacy {
  const { keyring, fields, subjectOf = ({ subject, actor }) => subject ?? actor, ...unknown } = options
  refuseUnknown(unknown)
  const pathsOf = new Map(
    Object.entries(fields).map(([type, pointers]) => [
      type,
      pointers.map((pointer) => {
        if (!pointer.startsWith('/'))
          throw new EventError('invalid_option', `Expected a JSON pointer, got \`${pointer}\``)
        return pointer
          .slice(1)
          .split('/')
          .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
      }),
    ]),
  )
  return {
    covers: (type) => pathsOf.has(type),
    async seal(event: NewEvent, { log, stream }) {
      const subject = subjectOf(event)
      let data: unknown = JSON.parse(event.data)
      // Data may look as if it were encrypted; only what was encrypted here is left as it is.
      const done = new Set<unknown>()
      for (const path of pathsOf.get(event.type) ?? []) {
        data = await changed(data, path, '', done, async (value, place) => {
          if (subject === null)
            throw new EventError(
              'invalid_option',
              `Events of type \`${event.type}\` need a subject to be encrypted for`,
            )
          const aad = aadOf(log, stream, event.id, place)
          const sealed = await keyring.encrypt(subject, bytesOf(JSON.stringify(value)), aad)
          const stored = { $encrypted: base64Of(sealed) }
          done.add(stored)
          return stored
        })
      }
      return { ...event, data: JSON.stringify(data) }
    },
    async open(event: StoredEvent, log: string) {
      const subject = subjectOf(event)
      let data: unknown = JSON.parse(event.data)
      // The other way round: what was encrypted last holds what was encrypted before.
      for (const path of [...(pathsOf.get(event.type) ?? [])].reverse()) {
        data = await changed(data, path, '', new Set(), async (value, place) => {
          const sealed = sealedOf(value)
          if (sealed === undefined || subject === null) return value
          const aad = aadOf(log, event.stream, event.id, place)
          const opened = await keyring.decrypt(subject, fromBase64(sealed), aad)
          return opened === undefined ? '[erased]' : (JSON.parse(textOf(opened)) as unknown)
        })
      }
      return JSON.stringify(data)
    },
  }
}

function sealedOf(value: unknown): string | undefined {
  const sealed: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, '$encrypted') : undefined
  return typeof sealed === 'string' ? sealed : undefined
}

function aadOf(log: string, stream: string, id: string, path: string): Uint8Array<ArrayBuffer> {
  return bytesOf(JSON.stringify([log, stream, id, path]))
}

/** A copy in which what stands at the path is replaced, but for what lies within something that is `closed`. */
async function changed(
  value: unknown,
  [name, ...rest]: readonly string[],
  place: string,
  closed: ReadonlySet<unknown>,
  replace: (value: unknown, place: string) => Promise<unknown>,
): Promise<unknown> {
  if (name === undefined) return replace(value, place)
  if (typeof value !== 'object' || value === null || closed.has(value)) return value
  const names = name === '*' ? Object.keys(value) : Object.hasOwn(value, name) ? [name] : []
  const entries = new Map<string, unknown>(Object.entries(value))
  for (const each of names)
    entries.set(each, await changed(entries.get(each), rest, `${place}/${each}`, closed, replace))
  return Array.isArray(value) ? [...entries.values()] : Object.fromEntries(entries)
}

/** What else remembers a subject and is to forget it. */
export type ForgetSubject = (subject: string) => Promise<void>

/**
 * Erases a subject: destroys its key, has everything that was derived from its events forget it, and leaves a proof event that
 * says that it was done and by whom, and not who it was.
 */
export async function eraseSubject(
  events: EventStore,
  subject: string,
  {
    keyring,
    actor,
    forget = [],
  }: {
    readonly keyring: Keyring
    readonly actor: string
    /** For example: rebuilds projections, drops snapshots, deletes checkpoints and idempotency records of the subject. */
    readonly forget?: readonly ForgetSubject[]
  },
): Promise<Appended> {
  await events.start()
  await keyring.erase(subject)
  await dropSnapshots(events)
  for (const each of forget) await each(subject)
  const receipt = hexOf(hmacSha256(events.secret, bytesOf(subject)).subarray(0, 16))
  return events.append('subject.erased', { receipt }, { actor, stream: 'log' })
}

/** Snapshots may hold what was decrypted; they are made again from the events. */
async function dropSnapshots(events: EventStore): Promise<void> {
  for (;;) {
    const found = await events.store.registers('snapshot/')
    if (found.length === 0) return
    const unit = events.store.unit()
    for (const { name, version } of found) unit.add(events.store.setRegister(name, undefined, version))
    await unit.commit()
  }
}
