import { hc } from 'hono/client'
import type { AdminApi } from './app.ts'
import type { AdminEnv, Visitor } from './visitor.ts'

/** Where an admin API is, and who asks. */
export interface AdminClientOptions {
  /** `http://127.0.0.1:8001` */
  readonly url: string
  readonly token?: string
  readonly fetch?: typeof fetch
}

/** Every route of the admin API as a call, with the types of what it takes and answers. */
export type AdminClient = ReturnType<typeof hc<AdminApi>>

/**
 * A typed client of the admin API. Read an answer with `parseResponse` of `hono/client`, which throws a `DetailedError` for a problem:
 *
 * ```ts
 * const { requests } = await parseResponse(client.admin.requests.$get({ query: { status: 'parked' } }))
 * ```
 */
export function adminClient({ url, token, fetch: ask }: AdminClientOptions): AdminClient {
  return hc<AdminApi>(url, {
    ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
    ...(ask === undefined ? {} : { fetch: ask }),
  })
}

/** The same client on an API in this process, for a visitor whose role is known: the dashboard's. */
export function clientWithin(
  api: {
    request(
      input: string | URL | Request,
      init?: RequestInit,
      bindings?: AdminEnv['Bindings'],
    ): Response | Promise<Response>
  },
  visitor: Visitor,
): AdminClient {
  return adminClient({ url: 'http://admin', fetch: async (input, init) => api.request(input, init, { visitor }) })
}
