import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import type { BreakerStore } from '@gw/breaker/sharing'
import type { CheckpointStore } from '@gw/checkpoint'
import { memoryCheckpointStore } from '@gw/checkpoint/memory'
import { postgresCheckpointStore } from '@gw/checkpoint/postgres'
import { sqliteCheckpointStore } from '@gw/checkpoint/sqlite'
import type { TierFigures } from '@gw/checkpoint/tiered'
import type { DedupStore } from '@gw/dedup'
import { memoryDedupStore } from '@gw/dedup/memory'
import { postgresDedupStore } from '@gw/dedup/postgres'
import { sqliteDedupStore } from '@gw/dedup/sqlite'
import { type EventLog, memoryEventStore } from '@gw/events'
import { postgresEventStore } from '@gw/events/postgres'
import { sqliteEventStore } from '@gw/events/sqlite'
import { connectPostgres, type PostgresDatabase, postgresDatabase } from '@gw/postgres'
import { type Database, openDatabase } from '@gw/sqlite'
import { drizzle } from 'drizzle-orm/postgres-js'
import { type ColdTierOptions, withColdTier } from './cold-tier.ts'
import { withRedis } from './redis-engine.ts'

/** How the engine is, for health and metrics. */
export interface EngineHealth {
  readonly state: 'open' | 'unavailable' | 'failed' | 'closed'
  readonly reason?: string
  readonly pendingWrites: number
  readonly commits: number
  /** How long the commits took together. */
  readonly commitMs: number
}

/** Where runs, keys and events are kept. Stores on one database commit together. */
export interface Engine {
  readonly kind: 'memory' | 'sqlite' | 'postgres'
  /** Where this process keeps files of its own: the admin token, logs of effects. */
  readonly directory: string
  readonly health: EngineHealth
  /** What lies where, and what is still to move; only with a cold tier. */
  readonly tiers?: TierFigures | undefined
  checkpointStore(): CheckpointStore
  dedupStore(): DedupStore
  eventLog(): EventLog
  /** What nodes know together of their breakers; only with Redis. */
  readonly breakerStore?: BreakerStore
  /** Calls `listener` once when the engine is lost for good, so that this process should end. */
  onFailed(listener: (cause: unknown) => void): void
  /** Closes what the engine itself opened. */
  close(): Promise<void>
}

/** What decides on the engine. */
export interface EngineOptions {
  readonly durable?: boolean
  readonly dataDir?: string
  readonly database?: Database
  /** `postgres://…`: state lies there, and any number of gateways may share it. */
  readonly databaseUrl?: string
  /** `redis://…`: idempotency keys lie there, and what nodes know together of their breakers. */
  readonly redisUrl?: string
  readonly coldTier?: ColdTierOptions
}

/** Opens the engine that the options ask for. Whoever opened it closes it. */
export async function openEngine({
  durable = true,
  dataDir = './data',
  database,
  databaseUrl,
  redisUrl,
  coldTier,
}: EngineOptions): Promise<Engine> {
  if (!durable) return memoryEngine(dataDir)
  const engine =
    databaseUrl === undefined
      ? await embeddedEngine({ directory: dataDir, database })
      : postgresEngine({ directory: dataDir, url: databaseUrl })
  try {
    const keyed = redisUrl === undefined ? engine : await withRedis(engine, redisUrl)
    return coldTier === undefined ? keyed : withColdTier(keyed, coldTier)
  } catch (error) {
    await engine.close()
    throw error
  }
}

/** An engine on one SQLite file. */
export interface EmbeddedEngine extends Engine {
  readonly kind: 'sqlite'
  readonly database: Database
}

/** The embedded engine, on a database that is given or on one opened in `directory`, which it then closes. */
async function embeddedEngine({
  directory,
  database,
}: {
  readonly directory: string
  readonly database: Database | undefined
}): Promise<EmbeddedEngine> {
  const db = database ?? (await openDatabase({ directory }))
  return {
    kind: 'sqlite',
    database: db,
    directory: db.directory,
    get health() {
      return db.health
    },
    checkpointStore: () => sqliteCheckpointStore({ db }),
    dedupStore: () => sqliteDedupStore({ db }),
    eventLog: () => sqliteEventStore({ db }),
    onFailed: (listener) => db.onFailed(listener),
    close: async () => {
      if (database === undefined) await db.close()
    },
  }
}

/** An engine on PostgreSQL, which any number of gateways share. */
export interface PostgresEngine extends Engine {
  readonly kind: 'postgres'
  readonly database: PostgresDatabase
  /** Where the server is, with its password. */
  readonly url: string
}

/** A lost server is not final: calls fail within their deadline until it is back. */
function postgresEngine({ directory, url }: { readonly directory: string; readonly url: string }): PostgresEngine {
  const client = connectPostgres(url)
  const db = postgresDatabase(drizzle(client))
  return {
    kind: 'postgres',
    database: db,
    url,
    directory: ownDirectory(directory),
    get health() {
      return db.health
    },
    checkpointStore: () => postgresCheckpointStore({ db }),
    dedupStore: () => postgresDedupStore({ db }),
    eventLog: () => postgresEventStore({ db }),
    onFailed() {},
    async close() {
      await db.close()
      await client.end({ timeout: 1 })
    },
  }
}

/** An engine that keeps everything in this process: nothing survives it. */
function memoryEngine(directory: string): Engine {
  let closed = false
  return {
    kind: 'memory',
    directory: ownDirectory(directory),
    get health() {
      return { state: closed ? ('closed' as const) : ('open' as const), pendingWrites: 0, commits: 0, commitMs: 0 }
    },
    checkpointStore: () => memoryCheckpointStore(),
    dedupStore: () => memoryDedupStore(),
    eventLog: () => memoryEventStore(),
    onFailed() {},
    async close() {
      closed = true
    },
  }
}

/** The directory for files of this process, made with mode 0700 where it is absent. */
function ownDirectory(directory: string): string {
  const path = resolve(directory)
  mkdirSync(path, { recursive: true, mode: 0o700 })
  return path
}
