import { randomBytes } from 'node:crypto'
import type { AdminRole } from './visitor.ts'

const maxSessions = 1_000
const idleMs = 12 * 3_600_000

interface Session {
  readonly role: AdminRole
  usedAt: number
}

/** The log-ins of browsers. They end with this process, when they are not used for 12 hours, and at log-out. */
export class Sessions {
  readonly #now: () => number
  /** Least recently used first. */
  readonly #sessions = new Map<string, Session>()

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Begins a session; the id is all that the browser gets. */
  begin(role: AdminRole): string {
    if (this.#sessions.size >= maxSessions) {
      const [oldest] = this.#sessions.keys()
      this.#sessions.delete(oldest!)
    }
    const id = randomBytes(32).toString('base64url')
    this.#sessions.set(id, { role, usedAt: this.#now() })
    return id
  }

  find(id: string): AdminRole | undefined {
    const session = this.#sessions.get(id)
    if (session === undefined) return undefined
    this.#sessions.delete(id)
    if (this.#now() - session.usedAt > idleMs) return undefined
    session.usedAt = this.#now()
    this.#sessions.set(id, session)
    return session.role
  }

  end(id: string): void {
    this.#sessions.delete(id)
  }
}
