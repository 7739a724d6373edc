import type { Context, Hono } from 'hono'
import { type ClientResponse, DetailedError, parseResponse } from 'hono/client'
import { getCookie } from 'hono/cookie'
import { type AdminClient, adminClient } from '../admin/client.ts'
import type { AdminEnv } from '../admin/visitor.ts'
import type { Gateway } from '../gateway.ts'
import type { FiguresFeed } from './figures-feed.ts'
import type { Visitor } from './view/layout.tsx'

/** What pages are made from. */
export interface PageServices {
  readonly gateway: Gateway
  readonly feed: FiguresFeed
  /** The admin API, for callers in this process. */
  readonly api: Hono<AdminEnv>
}

/** The context of a page. */
export type PageContext = Context<AdminEnv>

export const themeCookie = 'gw_theme'

/** The admin API in the name of whoever asks for the page; what it does bears their request's id. */
export function clientOf({ api }: PageServices, c: PageContext): AdminClient {
  const { role, actor, requestId } = c.var
  return adminClient({
    url: 'http://admin',
    fetch: async (input: RequestInfo | URL, init?: RequestInit) => {
      const request = new Request(input, init)
      request.headers.set('x-request-id', requestId)
      return api.fetch(request, { visitor: { role, actor } })
    },
  })
}

/** Who looks at a page, and how. */
export function visitorOf(c: PageContext): Visitor {
  return {
    role: c.var.role,
    actor: c.var.actor,
    theme: themeOf(c),
    session: c.req.header('authorization') === undefined,
  }
}

/** The colours that this browser has chosen. */
export function themeOf(c: Context): 'light' | 'dark' | undefined {
  const theme = getCookie(c, themeCookie)
  return theme === 'light' || theme === 'dark' ? theme : undefined
}

/** Reads the answer of a client's call; a problem is thrown as a `Refusal`. */
export function read<Answer extends ClientResponse<unknown>>(
  call: Promise<Answer>,
): ReturnType<typeof parseResponse<Answer>> {
  return parseResponse(call).catch(refuse)
}

function refuse(error: unknown): never {
  if (!(error instanceof DetailedError)) throw error
  const { data = {} } = error.detail as {
    readonly data?: { readonly title?: string; readonly detail?: string; readonly code?: string }
  }
  throw new Refusal(error.statusCode ?? 500, data.code ?? 'internal_error', data.detail ?? data.title ?? error.message)
}

/** What the admin API refused, and why. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** A path of this origin, whatever was asked for. */
export function samePage(path: string): string {
  return /^\/(?![/\\])[\x21-\x7e]*$/.test(path) ? path : '/'
}
