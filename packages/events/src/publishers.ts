import { base64Of, bytesOf } from './bytes.ts'
import { EventError, refuseUnknown, requireTimer, requireWhole } from './errors.ts'
import type { Publish } from './relay.ts'
import { hmacSha256 } from './sha256.ts'

/** What is needed of a node-redis client: one that sends commands. */
export interface RedisStreamClient {
  sendCommand(args: string[]): Promise<unknown>
}

/** Publishes to a Redis stream: `XADD <key> * id <id> event <JSON>`. */
export function redisStreamPublisher(options: {
  readonly client: RedisStreamClient
  readonly key: string
  /** Roughly how many entries the stream keeps: all of them. */
  readonly maxEntries?: number
}): Publish {
  const { client, key, maxEntries, ...unknown } = options
  refuseUnknown(unknown)
  if (maxEntries !== undefined) requireWhole('maxEntries', maxEntries)
  const trim = maxEntries === undefined ? [] : ['MAXLEN', '~', String(maxEntries)]
  return async (event) => {
    await client.sendCommand(['XADD', key, ...trim, '*', 'id', event.id, 'event', JSON.stringify(event)])
  }
}

/** Where and how a webhook is called. */
export interface WebhookOptions {
  readonly url: string
  /** Signs each call (Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`). */
  readonly secret?: Uint8Array
  /** After how long an unanswered call has failed: 10,000. */
  readonly timeoutMs?: number
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>
  readonly now?: () => number
}

/** Publishes by `POST` of a structured CloudEvent. Any answer of 200 to 299 acknowledges; redirects are not followed. */
export function webhookPublisher(options: WebhookOptions): Publish {
  const { url, secret, timeoutMs = 10_000, fetch = globalThis.fetch, now = () => Date.now(), ...unknown } = options
  refuseUnknown(unknown)
  requireTimer('timeoutMs', timeoutMs)
  if (!URL.canParse(url)) throw new EventError('invalid_option', `Expected \`url\` to be a URL, got \`${url}\``)
  return async (event) => {
    const body = JSON.stringify(event)
    const headers: Record<string, string> = {
      'content-type': 'application/cloudevents+json',
      'idempotency-key': event.id,
      'webhook-id': event.id,
    }
    if (secret !== undefined) {
      const timestamp = String(Math.floor(now() / 1_000))
      headers['webhook-timestamp'] = timestamp
      headers['webhook-signature'] = `v1,${base64Of(hmacSha256(secret, bytesOf(`${event.id}.${timestamp}.${body}`)))}`
    }
    const response = await fetch(url, {
      method: 'POST',
      headers,
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    await response.body?.cancel()
    if (!response.ok) throw new EventError('publish_failed', `The webhook answered ${response.status}`)
  }
}
