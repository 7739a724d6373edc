import { createHash, randomBytes } from 'node:crypto'
import type { AdminRole } from './visitor.ts'

const maxSessions = 1_000
const idleMs = 12 * 3_600_000
/** How old what is kept of a session's last use may be. */
const keptUseMs = 60_000

/** A session as it is kept: by the digest of its id, which alone opens nothing. */
export interface KeptSession {
  readonly digest: string
  readonly role: AdminRole
  readonly usedAt: number
}

/** Where sessions are while no process is. */
export interface SessionKeeping {
  load(): readonly KeptSession[]
  save(sessions: readonly KeptSession[]): void
}

interface Session {
  readonly role: AdminRole
  usedAt: number
  savedAt: number
}

/**
 * The log-ins of browsers. They end when they are not used for 12 hours, at log-out, and with this process unless they are kept: then a
 * page that was open finds its way back after a restart.
 */
export class Sessions {
  readonly #now: () => number
  readonly #keeping: SessionKeeping | undefined
  /** By digest, least recently used first. */
  readonly #sessions = new Map<string, Session>()

  constructor(now: () => number = () => Date.now(), keeping?: SessionKeeping) {
    this.#now = now
    this.#keeping = keeping
    for (const { digest, role, usedAt } of keeping?.load() ?? [])
      this.#sessions.set(digest, { role, usedAt, savedAt: usedAt })
  }

  /** Begins a session; the id is all that the browser gets. */
  begin(role: AdminRole): string {
    if (this.#sessions.size >= maxSessions) {
      const [oldest] = this.#sessions.keys()
      this.#sessions.delete(oldest!)
    }
    const id = randomBytes(32).toString('base64url')
    const now = this.#now()
    this.#sessions.set(digestOf(id), { role, usedAt: now, savedAt: now })
    this.#save()
    return id
  }

  find(id: string): AdminRole | undefined {
    const digest = digestOf(id)
    const session = this.#sessions.get(digest)
    if (session === undefined) return undefined
    this.#sessions.delete(digest)
    const now = this.#now()
    if (now - session.usedAt > idleMs) return undefined
    session.usedAt = now
    this.#sessions.set(digest, session)
    if (now - session.savedAt > keptUseMs) {
      session.savedAt = now
      this.#save()
    }
    return session.role
  }

  end(id: string): void {
    if (this.#sessions.delete(digestOf(id))) this.#save()
  }

  #save(): void {
    this.#keeping?.save([...this.#sessions].map(([digest, { role, usedAt }]) => ({ digest, role, usedAt })))
  }
}

function digestOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url')
}
