import { createHash, timingSafeEqual } from 'node:crypto'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { Context, MiddlewareHandler } from 'hono'
import { getCookie } from 'hono/cookie'
import { problem } from '../problem.ts'
import { LoginThrottle } from './login-throttle.ts'
import { type SessionKeeping, Sessions } from './sessions.ts'
import type { AdminEnv, AdminRole } from './visitor.ts'

/** How the admin listener knows who may do what. */
export interface AdminAccess {
  /** Whoever brings it may do everything. */
  readonly token: string
  /** Whoever brings it may look. */
  readonly readToken?: string
  /** Whether the listener is on loopback: then the names that requests may call it by are checked, against DNS rebinding. */
  readonly loopback: boolean
  /** Further names that it may be called by. */
  readonly allowedHosts?: readonly string[]
  /** Where the log-ins of browsers are kept over a restart. */
  readonly sessions?: SessionKeeping
}

/** The cookie that holds a browser's session. */
export const sessionCookie = 'gw_admin'

const maxAuthorizationLength = 4_096
const safe: ReadonlySet<string> = new Set(['GET', 'HEAD'])
/** Looks that are made by POST. */
const looks: ReadonlySet<string> = new Set(['/admin/events/verify'])

/** Decides who asks. Refuses whoever is nobody, whoever comes from elsewhere, and whoever may only look and wants to act. */
export class Authentication {
  readonly sessions: Sessions
  readonly throttle: LoginThrottle
  readonly #access: AdminAccess
  readonly #digests: readonly (readonly [AdminRole, Buffer])[]

  constructor(
    access: AdminAccess,
    { sessions = new Sessions(undefined, access.sessions), throttle = new LoginThrottle() } = {},
  ) {
    this.#access = access
    this.sessions = sessions
    this.throttle = throttle
    this.#digests = [
      ...(access.readToken === undefined ? [] : [['read', digestOf(access.readToken)] as const]),
      ['operate', digestOf(access.token)],
    ]
  }

  /**
   * Begins a browser's session. Answers with its id, with `undefined` for a wrong token, and with `wait` where this address has to.
   */
  logIn(c: Context, token: string): { readonly session: string } | { readonly wait: number } | undefined {
    const address = addressOf(c)
    const wait = this.throttle.waitMs(address)
    if (wait > 0) return { wait }
    const role = token.length > maxAuthorizationLength ? undefined : this.#roleOf(token)
    if (role !== undefined) return { session: this.sessions.begin(role) }
    this.throttle.failed(address, c.req.path, token.slice(0, maxAuthorizationLength))
    return undefined
  }

  /** Refuses what was sent here under a name that is not this listener's (DNS rebinding), and changes that another page sent. */
  origin(): MiddlewareHandler<AdminEnv> {
    const { loopback, allowedHosts = [] } = this.#access
    return async function origin(c, next) {
      const host = c.req.header('host') ?? new URL(c.req.url).host
      if (loopback && !isLoopbackName(host) && !allowedHosts.includes(host.replace(/:\d+$/, '').toLowerCase()))
        return problem(c, 403, 'host_not_allowed', 'This listener is not called by that name', {
          detail: 'Expected `Host` to be a loopback address, localhost, or one of `admin.allowedHosts`',
        })
      if (!safe.has(c.req.method)) {
        const from = c.req.header('origin')
        const site = c.req.header('sec-fetch-site')
        const elsewhere =
          (from !== undefined && !(URL.canParse(from) && new URL(from).host === host)) ||
          (site !== undefined && site !== 'same-origin' && site !== 'none')
        if (elsewhere) return problem(c, 403, 'cross_origin', 'Changes are accepted from the same origin only')
      }
      await next()
      c.res.headers.set('cache-control', 'no-store')
    }
  }

  /**
   * Finds out who asks, by bearer token or session, into `c.var.role` and `c.var.actor`. `stranger` answers those who are nobody, where
   * the refusal alone is not what they should see.
   */
  visitor({
    stranger = (_c: Context, refusal: Response): Response | Promise<Response> => refusal,
  } = {}): MiddlewareHandler<AdminEnv> {
    const identified = (c: Context<AdminEnv>) => this.#identified(c)
    return async function visitor(c, next) {
      const found = identified(c)
      if (found instanceof Response) return stranger(c, found)
      const address = addressOf(c)
      c.set('role', found)
      c.set('actor', `${found === 'operate' ? 'admin' : 'reader'}@${address}`)
      await next()
    }
  }

  #identified(c: Context<AdminEnv>): AdminRole | Response {
    if (authorizations(c) > 1) return refused(c, 400, 'duplicate_field', 'Expected one `Authorization` field')
    const authorization = c.req.header('authorization')
    if (authorization === undefined) {
      const role = this.sessions.find(getCookie(c, sessionCookie) ?? '')
      if (role === undefined) return refused(c, 401, 'unauthenticated', 'The admin API needs its bearer token')
      // A browser sends a cookie along for any page: one of the two says that it is ours.
      const said = c.req.header('origin') !== undefined || c.req.header('sec-fetch-site') !== undefined
      if (safe.has(c.req.method) || said) return role
      return problem(c, 403, 'cross_origin', 'Expected `Origin` or `Sec-Fetch-Site` on a change by a session')
    }
    if (authorization.length > maxAuthorizationLength)
      return refused(
        c,
        400,
        'token_too_long',
        `Expected \`Authorization\` to have at most ${maxAuthorizationLength} characters`,
      )
    const address = addressOf(c)
    const wait = this.throttle.waitMs(address)
    if (wait > 0)
      return problem(c, 429, 'too_many_failures', 'Too many wrong tokens from this address', {
        headers: { 'retry-after': String(Math.ceil(wait / 1_000)) },
      })
    const given = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(authorization)?.[1]
    const role = given === undefined ? undefined : this.#roleOf(given)
    if (role !== undefined) return role
    if (authorization.trim() !== '' && !/^bearer *$/i.test(authorization))
      this.throttle.failed(address, c.req.path, authorization)
    return refused(c, 401, 'unauthenticated', 'The admin API needs its bearer token')
  }

  /** Compares with every token, in constant time. */
  #roleOf(token: string): AdminRole | undefined {
    const given = digestOf(token)
    let found: AdminRole | undefined
    for (const [role, digest] of this.#digests) if (timingSafeEqual(given, digest)) found = role
    return found
  }
}

/** Refuses changes to whoever may only look. */
export function permission(): MiddlewareHandler<AdminEnv> {
  return async function permission(c, next) {
    if (c.var.role !== 'operate' && !safe.has(c.req.method) && !looks.has(c.req.path))
      return problem(c, 403, 'read_only', 'This token may look and not act')
    return next()
  }
}

/** The peer's address. */
export function addressOf(c: Context): string {
  try {
    return getConnInfo(c).remote.address ?? 'unknown'
  } catch {
    return 'unknown'
  }
}

function refused(c: Context, status: 400 | 401, code: string, title: string): Response {
  return problem(c, status, code, title, { headers: { 'www-authenticate': 'Bearer realm="gateway admin"' } })
}

/** How many `Authorization` fields there are: Fetch shows several as one. */
function authorizations(c: Context<AdminEnv>): number {
  const raw = c.env?.incoming?.rawHeaders ?? []
  let count = 0
  for (let i = 0; i < raw.length; i += 2) if (raw[i]!.toLowerCase() === 'authorization') count++
  return count
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

function isLoopbackName(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(host)
}
