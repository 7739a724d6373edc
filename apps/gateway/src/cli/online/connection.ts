import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DetailedError, parseResponse } from 'hono/client'
import { type AdminClient, adminClient } from '../../admin/client.ts'
import { configuredStores } from '../configured.ts'
import { CommandError, exit } from '../failure.ts'

/** Flags by which a command finds a running gateway. */
export interface GatewayFlags {
  /** The admin listener. */
  readonly url?: string
  readonly tokenFile?: string
  readonly config?: string
  readonly dataDir?: string
}

/** A running gateway that can be asked. */
export interface Connection {
  readonly url: string
  readonly client: AdminClient
  /** Waits for an answer; what the gateway refuses is a `CommandError` with its sentence. */
  readonly ask: typeof parseResponse
  /** Asks for what is not JSON. */
  fetch(path: string, init?: RequestInit): Promise<Response>
}

/** The gateway that flags, environment and configuration name. */
export async function connectionOf(flags: GatewayFlags): Promise<Connection> {
  const { env } = process
  // A configuration that is refused is no reason not to ask a gateway that runs.
  const stores = await configuredStores(flags).catch(() => undefined)
  const admin = stores?.loaded.config.admin
  const host = admin?.host ?? env['GW_ADMIN_HOST'] ?? '127.0.0.1'
  const port = admin?.port ?? env['GW_ADMIN_PORT'] ?? 8001
  const url = urlOf(flags.url ?? `http://${reachable(host)}:${port}`)
  const dataDir = stores?.dataDir ?? flags.dataDir ?? env['GW_DATA_DIR'] ?? './data'
  const token = tokenOf(flags, admin?.token ?? env['GW_ADMIN_TOKEN'], dataDir)
  const asking: typeof fetch = async (input, init) => {
    try {
      return await fetch(input, init)
    } catch {
      throw new CommandError(
        `No gateway answers at ${url}: start one with gw start, or name its admin listener with --url`,
        exit.unavailable,
      )
    }
  }
  const client = adminClient({ url, token, fetch: asking })
  const ask = (async (response: never) => {
    try {
      return await parseResponse(response)
    } catch (error) {
      throw refusalOf(error, url)
    }
  }) as typeof parseResponse
  return {
    url,
    client,
    ask,
    async fetch(path, init = {}) {
      const headers = new Headers(init.headers)
      headers.set('authorization', `Bearer ${token}`)
      const response = await asking(`${url}${path}`, { ...init, headers })
      if (!response.ok) await ask(response as never)
      return response
    },
  }
}

/** A listener on every address is reached on this machine's own. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  if (host === '::') return '[::1]'
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}

function urlOf(text: string): string {
  const url = URL.parse(/^https?:\/\//.test(text) ? text : `http://${text}`)
  if (url === null || url.host === '')
    throw new CommandError(`Expected --url to be like http://127.0.0.1:8001, got \`${text}\``, exit.usage)
  return url.origin
}

function tokenOf({ tokenFile }: GatewayFlags, given: string | undefined, dataDir: string): string {
  if (tokenFile === undefined && given !== undefined) return given
  const file = tokenFile ?? join(dataDir, 'admin-token')
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    throw new CommandError(
      `Expected a token in ${file}: set --data-dir to the gateway's data directory, or GW_ADMIN_TOKEN`,
      exit.denied,
    )
  }
}

interface Problem {
  readonly detail?: unknown
  readonly title?: unknown
  readonly code?: unknown
}

function refusalOf(error: unknown, url: string): unknown {
  if (!(error instanceof DetailedError)) return error
  const status = error.statusCode ?? 0
  const data: unknown = (error.detail as { readonly data?: unknown } | undefined)?.data
  const problem = (typeof data === 'object' && data !== null ? data : {}) as Problem
  const sentence = [problem.detail, problem.title].find((text) => typeof text === 'string' && text !== '')
  if (status === 401)
    return new CommandError(
      `The gateway at ${url} does not know the token: set GW_ADMIN_TOKEN, or --data-dir to its data directory`,
      exit.denied,
    )
  // The main listener of a gateway says so of the paths that it does not have.
  if (sentence === undefined || typeof problem.code !== 'string' || sentence === 'There is nothing at this path')
    return new CommandError(
      `What answers at ${url} is not the admin listener of a gateway (status ${status})`,
      exit.unavailable,
    )
  return new CommandError(
    String(sentence),
    status === 403 ? exit.denied : status === 503 ? exit.unavailable : exit.failed,
  )
}
