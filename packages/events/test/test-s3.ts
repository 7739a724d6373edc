import { AwsClient } from 'aws4fetch'
import type { ArchiveTarget } from '../src/archive-target.ts'
import { type S3Client, s3Archive } from '../src/s3.ts'

/** A folder in a bucket of a real S3, as it is handed to a child process. */
export interface TestS3 {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly region: string
  readonly url: string
}

/** A client that tries nothing again, so that each answer reaches the archive. */
export function clientOf({ accessKeyId, secretAccessKey, region }: TestS3): S3Client {
  return new AwsClient({ accessKeyId, secretAccessKey, region, service: 's3', retries: 0 })
}

/** An archive in that folder. */
export function s3Of(place: TestS3): ArchiveTarget {
  return s3Archive({ client: clientOf(place), url: place.url })
}
