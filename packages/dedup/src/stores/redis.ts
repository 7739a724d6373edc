import { bytesOf, hexOf } from '../crypto.ts'
import { DedupError, onlyKnown, onlyPositive } from '../errors.ts'
import { newSecret, secretFrom } from '../secret.ts'
import type { ClaimAnswer, DedupStore, KeyLink, KeyListener, KeyRecord, NewClaim, StoredResponse } from '../store.ts'
import type { Durability, Unit, Write } from '../unit.ts'
import { commandsOf, listenOn, type RedisClient, type RedisSubscriber } from './redis-client.ts'
import { textOf } from './redis-commands.ts'
import { Scripts } from './redis-run.ts'
import { type RedisRisk, risksOf } from './redis-safety.ts'

export type { IoRedisClient, IoRedisCluster, IoRedisSubscriber } from './ioredis-client.ts'
export type { NodeRedisClient, NodeRedisCluster, NodeRedisSubscriber } from './node-redis-client.ts'
export type { RedisClient, RedisSubscriber } from './redis-client.ts'
export { ioRedisClientOptions, redisClientOptions } from './redis-client-options.ts'
export type { RedisRisk } from './redis-safety.ts'

/** What a Redis store is made on. */
export interface RedisDedupStoreOptions {
  /**
   * A connected client of the `redis` or the `ioredis` package, single or Cluster; whoever made it closes it. See
   * {@link redisClientOptions} and {@link ioRedisClientOptions}.
   */
  readonly client: RedisClient
  /** A second connected client, for news of settled keys from other processes. Without it, waiting polls only. */
  readonly subscriber?: RedisSubscriber
  /** What the names of keys begin with: `gw:dd:`. */
  readonly prefix?: string
  /** After how long without an answer a call fails: 5,000. */
  readonly deadlineMs?: number
  /** How many replicas must have a claim or an answer, and how long they may take, before it counts: none are waited for. */
  readonly wait?: { readonly replicas: number; readonly timeoutMs: number }
  /** Refuses to open a server whose settings put keys at risk, with `store_unsafe`. Otherwise they are told to `onRisk`. */
  readonly strict?: boolean
  /** Told what of the server puts keys at risk, once, when the store opens: `console.warn`. */
  readonly onRisk?: (risks: readonly RedisRisk[]) => void
}

const knownOptions = new Set(['client', 'subscriber', 'prefix', 'deadlineMs', 'wait', 'strict', 'onRisk'])

/**
 * Keeps keys in Redis or a Redis Cluster: fast, and best effort. A failover forgets claims and answers that had not reached the
 * replica, unless `wait` is set; PostgreSQL is the store for at most one execution.
 */
export function redisDedupStore(options: RedisDedupStoreOptions): DedupStore {
  onlyKnown(options, knownOptions)
  const { client, subscriber, prefix = 'gw:dd:', deadlineMs = 5_000, wait, strict = false } = options
  const { onRisk = (risks) => console.warn(`Redis: ${risks.map(({ message }) => message).join('; ')}`) } = options
  onlyPositive({ deadlineMs, 'wait.replicas': wait?.replicas, 'wait.timeoutMs': wait?.timeoutMs })
  const redis = new Scripts(commandsOf(client), deadlineMs)
  const channel = `${prefix}settled`
  /** The braces keep what belongs to one key in one slot of a Cluster. */
  const nameOf = (key: string) => `${prefix}{${key}}`
  let checked: Promise<void> | undefined
  /** What an answer of this server means, as its settings say. */
  let level: Durability = 'memory'

  async function check(): Promise<void> {
    const risks = await redis.bounded(risksOf(redis.commands, wait?.replicas ?? 0))
    const has = (code: RedisRisk['code']) => risks.some((risk) => risk.code === code)
    level =
      wait !== undefined
        ? 'replicated'
        : has('not_persisted') || has('unchecked')
          ? 'memory'
          : has('not_synced')
            ? 'os'
            : 'fsync'
    if (risks.length === 0) return
    if (strict || has('read_only')) throw new DedupError('store_unsafe', risks.map(({ message }) => message).join('; '))
    onRisk(risks)
  }

  /** What only one server knows is not kept yet. */
  async function replicated(key: string): Promise<boolean> {
    if (wait === undefined) return true
    const { replicas, timeoutMs } = wait
    return Number(await redis.bounded(redis.commands.wait(nameOf(key), replicas, timeoutMs))) >= replicas
  }

  const procedures: Readonly<Record<string, (args: never) => Promise<unknown>>> = {
    async claim(claim: NewClaim): Promise<number> {
      const answer = await store.tryClaim(claim)
      if (answer.kind === 'claimed') return answer.fence
      throw new DedupError('refused', 'The key is held', { reason: 'held' })
    },
    async complete(args: { link: KeyLink; response: StoredResponse; windowMs: number | undefined }) {
      const { link, response, windowMs } = args
      const settled = await redis.run('complete', nameOf(link.key), [
        link.token,
        String(response.status),
        JSON.stringify(response.headers),
        response.body === undefined ? '0' : '1',
        response.body ?? '',
        windowMs === undefined ? '' : String(windowMs),
        channel,
      ])
      if (Number(settled) === 1 && !(await replicated(link.key)))
        throw new DedupError('unknown', 'The answer did not reach as many replicas as it should')
      return settlementOf(settled)
    },
    extend: async ({ link, leaseMs }: { link: KeyLink; leaseMs: number }) =>
      settlementOf(await redis.run('extend', nameOf(link.key), [link.token, String(leaseMs)])),
    attach: async ({ link, run }: { link: KeyLink; run: string }) =>
      settlementOf(await redis.run('attach', nameOf(link.key), [link.token, run])),
    release: async ({ link }: { link: KeyLink }) =>
      settlementOf(await redis.run('release', nameOf(link.key), [link.token, channel])),
  }

  const store: DedupStore = {
    durable: true,
    shared: true,
    joinable: false,
    database: client,
    open() {
      checked ??= check().catch((error: unknown) => {
        checked = undefined
        throw error
      })
      return checked
    },
    async secret(given) {
      const { made, bytes } = await newSecret(given)
      const name = `${prefix}secret`
      await redis.send(name, ['SET', name, `${made ? 'made' : 'given'}:${hexOf(bytes)}`, 'NX'])
      const [kind, kept = ''] = textOf(await redis.send(name, ['GET', name])).split(':')
      return secretFrom({ made: kind === 'made', bytes: bytesOf(kept) }, given)
    },
    async tryClaim(claim): Promise<ClaimAnswer> {
      const answer = (await redis.run('claim', nameOf(claim.key), [
        claim.token,
        claim.fingerprint,
        claim.principalHash,
        claim.link ?? '',
        String(claim.leaseMs),
        String(claim.windowMs),
        claim.replaces ?? '',
      ])) as [number, unknown, unknown]
      if (Number(answer[0]) === 0) return { kind: 'held', record: recordOf(claim.key, textOf(answer[1]), answer[2]) }
      if (!(await replicated(claim.key))) {
        await redis.run('release', nameOf(claim.key), [claim.token, channel])
        throw new DedupError('unavailable', 'The claim did not reach as many replicas as it should')
      }
      return { kind: 'claimed', fence: Number(textOf(answer[1])) }
    },
    async get(key, { awaited = false } = {}) {
      const answer = (await redis.run('get', nameOf(key), [awaited ? '1' : '0'])) as [number, unknown, unknown] | null
      return answer === null || !Array.isArray(answer) ? undefined : recordOf(key, textOf(answer[1]), answer[2])
    },
    unit: () => new RedisUnit(procedures, level),
    claim: (claim) => ({ procedure: 'claim', args: claim }),
    complete: (link, response, windowMs) => ({ procedure: 'complete', args: { link, response, windowMs } }),
    extend: (link, leaseMs) => ({ procedure: 'extend', args: { link, leaseMs } }),
    attach: (link, run) => ({ procedure: 'attach', args: { link, run } }),
    release: (link) => ({ procedure: 'release', args: { link } }),
    async erase(principalHash) {
      let erased = 0
      await redis.commands.scan(`${prefix}{*}`, async (name) => {
        erased += Number(await redis.run('erase', name, [principalHash]))
      })
      return erased
    },
    // Redis forgets what is over by itself.
    sweep: async () => 0,
    ...(subscriber === undefined
      ? {}
      : {
          async watch(listener: KeyListener) {
            return listenOn(subscriber, channel, (name) => listener.settled?.(name.slice(prefix.length + 1, -1)))
          },
        }),
  }
  return store
}

class RedisUnit implements Unit {
  readonly #procedures: Readonly<Record<string, (args: never) => Promise<unknown>>>
  readonly #durability: Durability
  #write: Write | undefined
  #onCommitted: ((result: unknown) => void) | undefined

  constructor(procedures: Readonly<Record<string, (args: never) => Promise<unknown>>>, durability: Durability) {
    this.#procedures = procedures
    this.#durability = durability
  }

  add(write: Write, onCommitted?: (result: unknown) => void): void {
    if (this.#write !== undefined)
      throw new DedupError('invalid_option', 'A unit of Redis carries one write: keys and runs commit apart')
    this.#write = write
    this.#onCommitted = onCommitted
  }

  async commit(): Promise<Durability> {
    if (this.#write !== undefined) {
      const result = await this.#procedures[this.#write.procedure]!(this.#write.args as never)
      this.#onCommitted?.(result)
    }
    return this.#durability
  }
}

function settlementOf(answer: unknown): 'ok' | 'stale' {
  return Number(answer) === 1 ? 'ok' : 'stale'
}

function recordOf(key: string, text: string, body: unknown): KeyRecord {
  const [state, token = '', fence, fingerprint = '', principalHash = '', link, lease, window, status, headers = ''] =
    text.split('\n')
  const base = {
    key,
    token,
    fence: Number(fence),
    fingerprint,
    principalHash,
    link: link === '' ? undefined : link,
    leaseRemainingMs: Number(lease),
    windowRemainingMs: Math.max(0, Number(window)),
  }
  if (state === '1') return { ...base, state: 'in_flight', response: undefined }
  const fields = fieldsOf(headers)
  if (state !== '2' || fields === undefined || !/^[1-5]\d\d$/.test(status ?? ''))
    return { ...base, state: 'corrupt', response: undefined }
  const response = { status: Number(status), headers: fields, body: body instanceof Uint8Array ? body : undefined }
  return { ...base, state: 'completed', response }
}

function fieldsOf(text: string): StoredResponse['headers'] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? (value as [string, string][]) : undefined
  } catch {
    return undefined
  }
}
