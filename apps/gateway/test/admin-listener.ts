import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type AdminClient, adminClient } from '../src/admin/client.ts'
import { createGateway, type Gateway, type GatewayOptions, type RunningGateway } from '../src/index.ts'

export const operateToken = 'operate-0123456789abcdef0123456789abcdef'
export const readToken = 'read-0123456789abcdef0123456789abcdef'

/** A running gateway with its admin listener, and the means to ask it. */
export interface Admin {
  readonly gateway: Gateway
  readonly running: RunningGateway
  readonly url: string
  readonly dataDir: string
  readonly client: AdminClient
  readonly reader: AdminClient
  /** Asks with the operator's token, unless other fields are given. */
  ask(path: string, init?: RequestInit & { readonly token?: string | undefined }): Promise<Response>
  post(path: string, body?: unknown): Promise<Response>
}

/** Starts a gateway on free ports; `routes` registers what it serves. It stops when the test ends. */
export async function adminOf(
  options: GatewayOptions = {},
  routes: (gateway: Gateway) => void = () => {},
): Promise<Admin> {
  const dataDir = options.dataDir ?? join(mkdtempSync(join(tmpdir(), 'gw-admin-')), 'data')
  const gateway = await createGateway({
    gracefulShutdownMs: 200,
    ...options,
    dataDir,
    admin: { port: 0, token: operateToken, readToken, ...options.admin },
  })
  routes(gateway)
  const running = await gateway.run({ port: 0 }).catch(async (error: unknown) => {
    await gateway.close()
    throw error
  })
  onTestFinished(() => running.stop({ drainDelayMs: 0 }))
  const url = running.adminUrl!
  return {
    gateway,
    running,
    url,
    dataDir,
    client: adminClient({ url, token: operateToken }),
    reader: adminClient({ url, token: readToken }),
    ask: (path, { token = operateToken, ...init } = {}) =>
      fetch(`${url}${path}`, { ...init, headers: { authorization: `Bearer ${token}`, ...init.headers } }),
    post: (path, body) =>
      fetch(`${url}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${operateToken}`, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
  }
}
