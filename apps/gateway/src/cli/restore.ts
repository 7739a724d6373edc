import { restore } from '@gw/checkpoint/tiered'
import pc from 'picocolors'
import { coldStoreAt } from '../cold-tier.ts'
import { gatewayOptionsOf } from '../config/compose.ts'
import { loadConfig } from '../config/load.ts'
import { openEngine } from '../engine.ts'
import { GatewayError } from '../errors.ts'

/** `gw restore`: brings back every backed-up request from the cold tier into the store that the configuration names. Safe to repeat. */
export async function restoreRequests({ config: file }: { readonly config?: string }): Promise<void> {
  const { env } = process
  try {
    const { config } = await loadConfig({ cwd: process.cwd(), file: file ?? env['GW_CONFIG'], env })
    const options = gatewayOptionsOf(config)
    if (options.coldTier === undefined)
      throw new GatewayError('invalid_option', 'Expected `coldTier.url` or GW_S3_URL to say where the backup is')
    const engine = await openEngine(options)
    try {
      const restored = await restore({ cold: coldStoreAt(options.coldTier.url), into: engine.checkpointStore() })
      console.log(
        Object.entries(restored)
          .map(([name, value]) => `${name} ${typeof value === 'object' ? JSON.stringify(value) : value}`)
          .join(', '),
      )
    } finally {
      await engine.close()
    }
  } catch (error) {
    console.error(pc.red(error instanceof Error ? error.message : String(error)))
    process.exit(error instanceof GatewayError ? 78 : 1)
  }
}
