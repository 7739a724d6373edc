import { type ColdStore, s3CheckpointStore } from '@gw/checkpoint/s3'
import { type TieredCheckpointStore, tieredCheckpointStore } from '@gw/checkpoint/tiered'
import { AwsClient } from 'aws4fetch'
import type { Engine } from './engine.ts'
import { GatewayError } from './errors.ts'

/** What goes to S3, and when. */
export interface ColdTierOptions {
  /** `https://key:secret@host/bucket?region=…&prefix=…`, the bucket in the path. */
  readonly url: string
  /** A completed request's payloads move there so long after its end: 24 h. */
  readonly afterMs?: number
  /** Runs are backed up there so often: 5 min. */
  readonly backupIntervalMs?: number
  readonly onError?: (error: unknown) => void
}

/** The cold store that a URL names. Throws `invalid_option`. */
export function coldStoreAt(url: string): ColdStore {
  const { client, url: place, bucket, region, prefix } = bucketAt(url, '`coldTier.url`')
  return s3CheckpointStore({ client, bucket, endpoint: place.origin, region, ...(prefix === null ? {} : { prefix }) })
}

/** The bucket that a URL names, with its keys: `https://key:secret@host/bucket?region=…&prefix=…`. Throws `invalid_option`. */
export function bucketAt(url: string, option = '`audit.archive`') {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  const [bucket = '', ...folders] = (parsed?.pathname ?? '').replace(/^\/|\/$/g, '').split('/')
  if (
    parsed === undefined ||
    !/^https?:$/.test(parsed.protocol) ||
    parsed.username === '' ||
    !/^[a-z0-9.-]{3,63}$/.test(bucket) ||
    (option === '`coldTier.url`' && folders.length > 0)
  ) {
    throw new GatewayError('invalid_option', `Expected ${option} to be like https://key:secret@host/bucket?region=…`)
  }
  const region = parsed.searchParams.get('region') ?? 'us-east-1'
  const prefix = parsed.searchParams.get('prefix')
  const client = new AwsClient({
    accessKeyId: decodeURIComponent(parsed.username),
    secretAccessKey: decodeURIComponent(parsed.password),
    region,
    service: 's3',
  })
  return { client, url: new URL(parsed.pathname, parsed.origin), bucket, region, prefix }
}

/** An engine whose completed requests move on to S3 and whose requests are backed up there; the engine alone acknowledges. */
export function withColdTier(
  engine: Engine,
  { url, afterMs = 86_400_000, backupIntervalMs = 300_000, onError }: ColdTierOptions,
): Engine {
  const cold = coldStoreAt(url)
  let tiers: TieredCheckpointStore | undefined
  return {
    ...engine,
    get tiers() {
      return tiers?.tiers()
    },
    get health() {
      return engine.health
    },
    checkpointStore() {
      tiers ??= tieredCheckpointStore({
        primary: engine.checkpointStore(),
        cold,
        coldAfterMs: afterMs,
        backupIntervalMs,
        ...(onError === undefined ? {} : { onError }),
      })
      return tiers
    },
    async close() {
      await tiers?.close()
      await engine.close()
    },
  }
}
