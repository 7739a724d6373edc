import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { adminApp } from './admin/app.ts'
import { sessionFile } from './admin/session-file.ts'
import { GatewayError } from './errors.ts'
import type { Gateway } from './gateway.ts'
import { type Listener, listen } from './listener.ts'
import type { AdminOptions } from './options.ts'

/** Where a running gateway is reached. */
export interface RunningGateway {
  readonly url: string
  readonly adminUrl: string | undefined
  readonly adminToken: string | undefined
  /** Drains for `drainDelayMs`, waits for what is under way, hands the rest over, and closes. Idempotent. */
  stop(options?: { readonly drainDelayMs?: number }): Promise<void>
  /** Settles when it has stopped, whoever began that. */
  readonly stopped: Promise<void>
}

/** What serving needs beside the gateway itself. */
export interface ServeOptions {
  readonly host: string
  readonly port: number
  readonly admin: AdminOptions | undefined
  /** The longest body that any route takes, as of now. */
  readonly maxBodyBytes: () => number
  /** Called when the stop begins. */
  readonly onStop: () => void
  /** Closes stores and everything else that the gateway opened, after the last request. */
  readonly close: () => Promise<void>
}

/** Listens for requests, and for the admin API on a listener of its own; starts the gateway between the two and the first answer. */
export async function serve(gateway: Gateway, options: ServeOptions): Promise<RunningGateway> {
  const { host, port, maxBodyBytes } = options
  const { enabled = true, host: adminHost = '127.0.0.1', port: adminPort = 8001, ...more } = options.admin ?? {}
  const { token, readToken, allowedHosts } = more
  if (enabled && token === undefined && !isLoopback(adminHost)) {
    throw new GatewayError(
      'admin_token_missing',
      `Expected \`admin.token\` because \`admin.host\` is ${adminHost}, which others can reach`,
    )
  }
  const { admission, engine } = gateway
  const closing = () => admission.phase === 'draining' || admission.phase === 'stopped'
  const listeners: Listener[] = []
  try {
    const main = await listen((request, env) => gateway.fetch(request, env as never), {
      host,
      port,
      option: '`port` or PORT',
      maxBodyBytes,
      closing,
    })
    listeners.push(main)
    const adminToken = enabled ? (token ?? freshAdminToken(engine.directory)) : undefined
    if (adminToken !== undefined) {
      const admin = adminApp(gateway, {
        token: adminToken,
        loopback: isLoopback(adminHost),
        ...(readToken === undefined ? {} : { readToken }),
        ...(allowedHosts === undefined ? {} : { allowedHosts }),
        sessions: sessionFile(engine.directory, [token, readToken], (error) => gateway.report(error)),
      })
      listeners.push(
        await listen((request, env) => admin.fetch(request, env as never), {
          host: adminHost,
          port: adminPort,
          option: '`admin.port` or GW_ADMIN_PORT',
          maxBodyBytes,
          closing,
        }),
      )
    }
    await gateway.start()
    let stopping: Promise<void> | undefined
    let settle: (stopping: Promise<void>) => void = () => {}
    const stopped = new Promise<void>((resolve) => {
      settle = resolve
    })
    stopped.catch(() => {})
    const stop = ({ drainDelayMs = gateway.settings.drainDelayMs } = {}) => {
      stopping ??= stopServing(gateway, listeners, drainDelayMs, options)
      settle(stopping)
      return stopping
    }
    return { url: main.url, adminUrl: listeners[1]?.url, adminToken, stop, stopped }
  } catch (error) {
    for (const listener of listeners) listener.abort()
    await Promise.all(listeners.map((listener) => listener.close()))
    throw error
  }
}

async function stopServing(
  { admission, checkpoints, settings }: Gateway,
  listeners: readonly Listener[],
  drainDelayMs: number,
  { onStop, close }: ServeOptions,
): Promise<void> {
  admission.phase = 'draining'
  onStop()
  if (drainDelayMs > 0) await new Promise((resolve) => setTimeout(resolve, drainDelayMs))
  const { gracefulShutdownMs } = settings
  const deadline = performance.now() + gracefulShutdownMs
  const closed = Promise.all(listeners.map((listener) => listener.close()))
  await checkpoints.stop({ gracefulShutdownMs })
  let timer: ReturnType<typeof setTimeout> | undefined
  const graceOver = new Promise((resolve) => {
    timer = setTimeout(resolve, Math.max(0, deadline - performance.now()))
  })
  await Promise.race([closed, graceOver])
  clearTimeout(timer)
  for (const listener of listeners) listener.abort()
  await closed
  admission.phase = 'stopped'
  await close()
}

function freshAdminToken(directory: string): string {
  const token = randomBytes(24).toString('base64url')
  writeFileSync(join(directory, 'admin-token'), `${token}\n`, { mode: 0o600 })
  return token
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
}
