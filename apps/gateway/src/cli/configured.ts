import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { GatewayConfigInput } from '../config/schema.ts'

/** Flags by which a command finds the stores. */
export interface StoreFlags {
  readonly config?: string
  readonly dataDir?: string
}

/** Where a gateway keeps things, as file, environment and flags say. */
export interface ConfiguredStores {
  readonly loaded: LoadedConfig
  /** Also with a database elsewhere: files of the process's own lie there. */
  readonly dataDir: string
  readonly databaseUrl: string | undefined
  readonly redisUrl: string | undefined
  readonly coldTierUrl: string | undefined
}

/** Reads the configuration as `gw start` would. Throws `invalid_configuration`. */
export async function configuredStores({ config: file, dataDir }: StoreFlags): Promise<ConfiguredStores> {
  const { env } = process
  const flags: GatewayConfigInput = dataDir === undefined ? {} : { dataDir }
  const loaded = await loadConfig({ cwd: process.cwd(), file: file ?? env['GW_CONFIG'], env, flags })
  const { config } = loaded
  return {
    loaded,
    dataDir: config.dataDir ?? './data',
    databaseUrl: config.databaseUrl,
    redisUrl: config.redisUrl,
    coldTierUrl: config.coldTier?.url,
  }
}
