/**
 * Options for `createClient` of the `redis` package, with which a connection that has died is noticed within the deadline and made again within a second.
 * In a Cluster they are its `defaults`.
 */
export function redisClientOptions({ deadlineMs = 5_000 }: { readonly deadlineMs?: number } = {}): {
  readonly disableOfflineQueue: true
  readonly pingInterval: number
  readonly commandOptions: { readonly timeout: 0 }
  readonly socket: {
    readonly connectTimeout: number
    readonly socketTimeout: number
    readonly reconnectStrategy: (retries: number) => number
  }
} {
  return {
    disableOfflineQueue: true,
    // An idle connection is not a dead one: it is asked more often than it may be silent.
    pingInterval: Math.ceil(deadlineMs / 3),
    commandOptions: { timeout: 0 },
    socket: {
      connectTimeout: deadlineMs,
      socketTimeout: deadlineMs,
      reconnectStrategy: backOffMs,
    },
  }
}

/**
 * Options for `new Redis` of the `ioredis` package, with the same effect. The client connects when it is told to, and a command that
 * finds it without a connection fails instead of waiting. In a Cluster they are its `redisOptions`.
 */
export function ioRedisClientOptions({ deadlineMs = 5_000 }: { readonly deadlineMs?: number } = {}): {
  readonly lazyConnect: true
  readonly enableOfflineQueue: false
  readonly autoResendUnfulfilledCommands: false
  readonly maxRetriesPerRequest: 0
  readonly connectTimeout: number
  readonly socketTimeout: number
  readonly retryStrategy: (retries: number) => number
} {
  return {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: deadlineMs,
    socketTimeout: deadlineMs,
    retryStrategy: backOffMs,
  }
}

/** Fifty milliseconds at first, a second at most, and never all clients at once. */
function backOffMs(retries: number): number {
  return Math.min(1_000, 50 * 2 ** Math.min(retries, 5)) * (0.5 + Math.random() / 2)
}
