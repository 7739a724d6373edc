import { s3CheckpointStore } from '@gw/checkpoint/s3'
import { AwsClient } from 'aws4fetch'
import { type Proof, proof } from '../proof.ts'
import { coldLaws, tieredLaws } from './cold.ts'

/** The laws of a cold store on a bucket of S3, and the suite of stores on what lies in front of one. */
export function s3Proofs(bucketUrl: string): Record<string, Proof> {
  const { username, password, origin, pathname } = new URL(bucketUrl)
  const fresh = () =>
    s3CheckpointStore({
      client: new AwsClient({
        accessKeyId: decodeURIComponent(username),
        secretAccessKey: decodeURIComponent(password),
        region: 'us-east-1',
        service: 's3',
      }),
      endpoint: origin,
      bucket: pathname.slice(1),
      prefix: crypto.randomUUID(),
    })
  return {
    cold: proof((test) => coldLaws(test, fresh)),
    tiered: proof((test) => tieredLaws(test, fresh)),
  }
}
