import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { apiTokens, principalOf } from './api-tokens.ts'
import { applyConfig, gatewayOptionsOf } from './config/compose.ts'
import type { ConfigSources, LoadedConfig } from './config/load.ts'
import { followConfig, type LiveConfig } from './config/reload.ts'
import { RouteTable } from './config/route-table.ts'
import { GatewayError } from './errors.ts'
import { createGateway, type Gateway } from './gateway.ts'
import { asksForHealth } from './health.ts'

/** A gateway whose routes come from its configuration, and the means to change it while it runs. */
export interface ConfiguredServer {
  readonly gateway: Gateway
  readonly live: LiveConfig
}

/** The server that `gw start` runs where there is a configuration file: a gateway in front of the upstreams that it names. */
export async function createConfiguredServer(loaded: LoadedConfig, sources: ConfigSources): Promise<ConfiguredServer> {
  const { config } = loaded
  const tokens = config.apiTokens ?? {}
  const gateway = await createGateway({ ...gatewayOptionsOf(config), principal: principalOf(tokens) })
  try {
    const authenticated = apiTokens(tokens)
    gateway.use(async function authentication(c, next) {
      return asksForHealth(c) ? next() : authenticated(c, next)
    })
    if (config.app !== undefined) await registerApp(gateway, config.app, loaded.file)
    const table = new RouteTable(gateway)
    applyConfig(gateway, table, undefined, config)
    const live = followConfig(gateway, table, sources, loaded)
    gateway.configuration = () => live.inForce
    gateway.onShutdown(async () => {
      live.close()
      await table.close()
    })
    return { gateway, live }
  } catch (error) {
    await gateway.close()
    throw error
  }
}

/** Has a module of the application add its routes, in front of those of the configuration. */
async function registerApp(gateway: Gateway, app: string, configFile: string | undefined): Promise<void> {
  const file = resolve(configFile === undefined ? '.' : dirname(configFile), app)
  const refused = (what: string, cause?: unknown) =>
    new GatewayError('invalid_configuration', `app: ${file} ${what}`, cause === undefined ? {} : { cause })
  const module = (await import(pathToFileURL(file).href).catch((error: unknown) => {
    throw refused('cannot be loaded', error)
  })) as { readonly register?: unknown }
  if (typeof module.register !== 'function') throw refused('does not export a function `register(gateway)`')
  await module.register(gateway)
}
