import type { ColdStore } from '@gw/checkpoint/s3'
import type { ArchiveTarget } from '@gw/events/archive'
import { s3Archive } from '@gw/events/s3'
import { AwsClient } from 'aws4fetch'
import { coldStoreAt } from '../../cold-tier.ts'
import { CommandError, exit } from '../failure.ts'

/** A bucket, or a folder in one, as a command line names it. */
export interface Bucket {
  /** Without the secret. */
  readonly place: string
  /** For whole files that are written once: archives and backups. */
  readonly target: ArchiveTarget
  /** For the requests that the cold tier keeps there. */
  readonly cold: ColdStore
  /** The server's clock, from an answer's `Date`. */
  now(): Promise<number | undefined>
}

/** Whether a place is meant to be a bucket. */
export function isBucket(place: string): boolean {
  return /^(?:s3|https?):\/\//.test(place)
}

/**
 * `s3://bucket/prefix`, with the credentials, region and endpoint of the AWS variables, or
 * `https://key:secret@host/bucket?region=…&prefix=…` as `coldTier.url` has it.
 */
export function bucketAt(place: string, env: Readonly<Record<string, string | undefined>> = process.env): Bucket {
  const url = place.startsWith('s3://') ? fromVariables(place, env) : URL.parse(place)
  if (url === null || url.username === '' || url.password === '' || url.pathname.length < 4)
    throw new CommandError(
      'Expected s3://bucket/prefix with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or https://key:secret@host/bucket?region=…',
      exit.usage,
    )
  const region = url.searchParams.get('region') ?? 'us-east-1'
  const prefix = (url.searchParams.get('prefix') ?? '').replaceAll(/^\/|\/$/g, '')
  const client = new AwsClient({
    accessKeyId: decodeURIComponent(url.username),
    secretAccessKey: decodeURIComponent(url.password),
    region,
    service: 's3',
    retries: 3,
  })
  const bucket = url.pathname.replaceAll(/^\/|\/$/g, '')
  const folder = prefix === '' ? '' : `/${prefix}`
  return {
    place: `${url.origin}/${bucket}${folder}`,
    target: s3Archive({ client, url: `${url.origin}/${bucket}${folder}` }),
    cold: coldStoreAt(url.href),
    async now() {
      const { headers } = await client.fetch(`${url.origin}/${bucket}?list-type=2&max-keys=1`)
      const date = Date.parse(headers.get('date') ?? '')
      return Number.isNaN(date) ? undefined : date
    },
  }
}

function fromVariables(place: string, env: Readonly<Record<string, string | undefined>>): URL | null {
  const [, bucket = '', prefix = ''] = /^s3:\/\/([a-z0-9.-]{3,63})(?:\/([^?#]*))?$/.exec(place) ?? []
  const region = env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'] ?? 'us-east-1'
  const endpoint = env['AWS_ENDPOINT_URL_S3'] ?? env['AWS_ENDPOINT_URL'] ?? `https://s3.${region}.amazonaws.com`
  const url = URL.parse(`/${bucket}`, endpoint)
  if (url === null || bucket === '') return null
  url.username = encodeURIComponent(env['AWS_ACCESS_KEY_ID'] ?? '')
  url.password = encodeURIComponent(env['AWS_SECRET_ACCESS_KEY'] ?? '')
  url.searchParams.set('region', region)
  const trimmed = prefix.replace(/\/$/, '')
  if (trimmed !== '') url.searchParams.set('prefix', trimmed)
  return url
}
