import type { IncomingMessage } from 'node:http'

/** What somebody may do: look, or act too. */
export type AdminRole = 'read' | 'operate'

/** Who asks the admin API. */
export interface Visitor {
  readonly role: AdminRole
  /** The name in audit events. */
  readonly actor: string
}

/** What the admin API finds in its context. A caller in this process says who it asks for by `visitor`, which no request can set. */
export interface AdminEnv {
  Bindings: {
    readonly visitor?: Visitor
    readonly incoming?: IncomingMessage
  }
  Variables: {
    role: AdminRole
    actor: string
    requestId: string
  }
}
